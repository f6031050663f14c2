"""DSCD, CD4LM's discrete-space consistency distillation (arXiv 2601.02236).

The student sees more masks than its teacher and learns to predict there what the teacher does, so that a later step's
answer is given at an earlier one.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from lm_eval_codd.backbones import load_backbone
from lm_eval_codd.training.objectives.token_losses import NO_LABEL, token_losses

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.training.fine_tuning_settings import FineTuningConfig
    from lm_eval_codd.training.objectives.batch import Batch

INITIAL_LAMBDA: Final = 0.9
FINAL_LAMBDA: Final = 0.5
WARMUP: Final = 0.1
# Each part of the loss is clamped to it; beyond it the gradient is zero.
_LARGEST: Final = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Dscd:
    """See the module. Neither of the two sees padding; in the authors' code the teacher does.

    Attributes:
        teacher: frozen.
        temperature: T.
        nested: whether the teacher's masks are a part of the student's.
    """

    teacher: Backbone
    temperature: float
    nested: bool
    trains_embeddings: ClassVar[bool] = True

    @classmethod
    def build(cls, config: FineTuningConfig, backbone: Backbone, tokenizer: PreTrainedTokenizerFast) -> Dscd:
        """See `OBJECTIVES`."""
        return cls(_load_teacher(config, backbone), config.temperature, nested=config.variant == "nested")

    def loss(self, backbone: Backbone, batch: Batch, step: int, total: int) -> Tensor:
        """See `Objective`."""
        drawn = [self._masks(len(answer), generator) for answer, generator in batch.rows()]
        for_student, for_teacher = (batch.stacked([row[i] for row in drawn]) for i in range(2))
        teacher = batch.logits(self.teacher, batch.answers.masked_fill(for_teacher, self.teacher.mask_id))
        student = batch.logits(backbone, batch.answers.masked_fill(for_student, backbone.mask_id))
        labels = batch.labels(for_student if self.nested else batch.in_answer).to(student.device)
        lam = dscd_lambda(step, total)
        return dscd_loss(student, teacher.to(student.device), labels, lam, self.temperature)[0]

    def _masks(self, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if not self.nested:
            return independent_masks(length, generator=generator)
        return nested_masks(length, random.Random(generator.initial_seed()), generator)


def dscd_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, lam: float, temperature: float = 2.0
) -> tuple[Tensor, dict[str, float]]:
    """Weigh consistency by `lam` and reconstruction by the rest (yihao-liang/CDLM, `ConsistencyTrainer.compute_loss`).

    Consistency is T^2 KL(teacher || student) of the distributions at temperature T, reconstruction the cross entropy,
    each a mean over the labelled positions of the batch and clamped to 0..5. Logits that are not finite, or no label
    at all, give 0.

    Args:
        student_logits: [..., V].
        teacher_logits: [..., V], without a gradient.
        labels: [...] int64, the answer's token where the student's is masked, else `NO_LABEL`.
        lam: 0 to 1, of `dscd_lambda`.
        temperature: T; the authors' README has 2, their script's default is 3.

    Returns:
        The loss, and its two parts after clamping as `consistency` and `reconstruction`.
    """
    labelled = labels != NO_LABEL
    if not labelled.any() or not torch.isfinite(student_logits).all():
        return student_logits.new_zeros((), requires_grad=True), {"consistency": 0.0, "reconstruction": 0.0}
    student = (student_logits[labelled] / temperature).log_softmax(-1)
    teacher = (teacher_logits[labelled].to(student.dtype) / temperature).softmax(-1)
    consistency = (kl_div(student, teacher, reduction="batchmean") * temperature**2).clamp(0, _LARGEST)
    reconstruction = token_losses(student_logits, labels).mean().clamp(0, _LARGEST)
    loss = lam * consistency + (1 - lam) * reconstruction
    if not torch.isfinite(loss):  # the teacher's logits were not
        return student_logits.new_zeros((), requires_grad=True), {"consistency": 0.0, "reconstruction": 0.0}
    return loss, {"consistency": consistency.item(), "reconstruction": reconstruction.item()}


def dscd_lambda(
    step: int, total: int, initial: float = INITIAL_LAMBDA, final: float = FINAL_LAMBDA, warmup: float = WARMUP
) -> float:
    """Weight of consistency: `initial` for the first `warmup` of `total` steps, then along a cosine to `final`."""
    done = step / total
    if done < warmup:
        return initial
    along = (done - warmup) / (1 - warmup)
    return initial + (final - initial) * (1 - 0.5 * (1 + math.cos(math.pi * along)))


def nested_masks(length: int, rng: random.Random, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """[L] bool each, what student and teacher find masked of an answer of L tokens; the teacher's is a part of it.

    Args:
        length: L, at least 1.
        rng: of the two ratios, drawn as the authors' collator does.
        generator: of the order in which positions are masked.
    """
    ratio_student = rng.uniform(0.40, 0.90)
    ratio_teacher = min(max(ratio_student * rng.uniform(0.30, 0.70), 0.10), 0.60)
    order = torch.randperm(length, generator=generator)
    num_student, num_teacher = mask_counts(length, ratio_student, ratio_teacher)
    return _first(order, num_student), _first(order, num_teacher)


def mask_counts(length: int, ratio_student: float, ratio_teacher: float) -> tuple[int, int]:
    """How many of an answer's tokens are masked for the student and for the teacher; short answers have few."""
    if length < 20:
        ratio_student = min(ratio_student, 0.5)
    if length <= 10:
        num_student, num_teacher = 2, 1
    else:
        num_student = max(int(length * ratio_student), max(2, math.ceil(0.1 * length)))
        num_teacher = int(length * ratio_teacher)
    num_student = min(num_student, length)
    return num_student, min(num_teacher, num_student)


def independent_masks(
    length: int, num_steps: int = 1000, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """[L] bool each, the authors' `use_nested_masking=False`: student and teacher masked independently.

    The student at time t of 1..N, the teacher at an earlier one, each a share sin^2 of its time. Labels are the whole
    answer then.
    """
    time = int(torch.randint(1, num_steps + 1, (1,), generator=generator))
    earlier = int(torch.randint(0, time, (1,), generator=generator))
    masks = []
    for at in (time, earlier):
        ratio = math.sin(math.pi / 2 * (at / num_steps + 0.008) / 1.008) ** 2
        num_masked = int(length * ratio)
        # Where none is masked, the original draws no order.
        order = torch.randperm(length, generator=generator) if num_masked else torch.arange(length)
        masks.append(_first(order, num_masked))
    return masks[0], masks[1]


def _first(order: Tensor, count: int) -> Tensor:
    """[L] bool: True at the first `count` positions of `order`."""
    return torch.zeros(len(order), dtype=torch.bool).index_fill_(0, order[:count], True)


def _load_teacher(config: FineTuningConfig, backbone: Backbone) -> Backbone:
    if config.teacher is None:  # as it was before training
        source, options = config.model, (config.family, "float32", backbone.device, config.revision)
        return load_backbone(source, *options, mask_id=config.mask_id)
    teacher = load_backbone(config.teacher, dtype="float32", device=backbone.device)
    if teacher.vocab_size != backbone.vocab_size:
        raise ValueError(
            f"`teacher={config.teacher}` has {teacher.vocab_size} logit columns and the model {backbone.vocab_size}; "
            "give a teacher of the same vocabulary"
        )
    return teacher
