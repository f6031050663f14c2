"""DiffusionGemma through transformers' own class and `generate`: canvases of random ids, denoised one after the other.

It has no mask, so nothing of this project's decoding, circuits or likelihoods applies to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
import transformers

from lm_eval_codd.backbones.checkpoint import Checkpoint, CheckpointError, find_checkpoint
from lm_eval_codd.backbones.forward import device_of
from lm_eval_codd.backbones.loading import quietly
from lm_eval_codd.backbones.placement import default_dtype, parse_dtype, place

if TYPE_CHECKING:
    from lm_eval_codd.settings.native import NativeSettings

MODEL_TYPE: Final = "diffusion_gemma"
ARCHITECTURE: Final = "DiffusionGemmaForBlockDiffusion"
_SAMPLER: Final = "EntropyBoundSamplerConfig"
# Settings by the names of `generate`.
_NAMES: Final[Mapping[str, str]] = {
    "num_steps": "max_denoising_steps",
    **{name: name for name in ("t_min", "t_max", "stability_threshold", "confidence_threshold")},
}


class NativeAnswer(NamedTuple):
    """What `generate` made of a prompt.

    tokens: gen_length ids; what follows the first end token is that token.
    num_answer_tokens: before the first end token, all of them when there is none.
    num_forward: denoising steps, over all canvases. Each canvas has one pass more, over what is before it.
    """

    tokens: list[int]
    num_answer_tokens: int
    num_forward: int


class Native:
    """A loaded checkpoint. Built by `load_native`.

    Attributes:
        model: the transformers model.
        source, identity: as of `Backbone`.
        canvas_length: tokens that are denoised together.
        ends: ids at which an answer ends; the first of them fills what follows.
        vocab_size, max_length, num_parameters, dtype, device: likewise.
    """

    def __init__(self, model: Any, checkpoint: Checkpoint, ends: tuple[int, ...]) -> None:
        text = model.config.text_config
        self.model, self.source, self.identity, self.ends = model, checkpoint.source, checkpoint.identity, ends
        self.canvas_length: int = model.config.canvas_length
        self.vocab_size: int = text.vocab_size
        self.max_length: int = text.max_position_embeddings
        self.num_parameters: int = model.num_parameters()
        self.dtype, self.device = model.dtype, device_of(model.get_input_embeddings())
        self._gpus = gpus_of(model, self.device)

    def room_for(self, gen_length: int) -> int:
        """Tokens of the prompt that are left beside an answer, which takes whole canvases."""
        return self.max_length - -(-gen_length // self.canvas_length) * self.canvas_length

    def resolved(self, settings: NativeSettings) -> dict[str, Any]:
        """What `generate` goes by, under the settings' names: as asked, else the checkpoint's own, else the class's."""
        own, usual = self.model.generation_config, self.model.generation_config._get_default_generation_params()

        def first(name: str, theirs: str) -> Any:
            values = (getattr(settings, name), getattr(own, theirs, None), usual[theirs])
            return next(value for value in values if value is not None)

        bound = settings.entropy_bound
        if bound is None:
            bound = (own.sampler_config or usual["sampler_config"]).entropy_bound
        return {
            "gen_length": settings.gen_length,
            **{name: first(name, theirs) for name, theirs in _NAMES.items()},
            "entropy_bound": bound,
            "seed": settings.seed,
        }

    @torch.no_grad()
    def answer(self, prompt: Sequence[int], settings: NativeSettings, key: int) -> NativeAnswer:
        """Answer one prompt.

        The class draws from torch's global streams, in which rows of a batch share their numbers: so one row at a time,
        from streams of its own. The global ones stay as they were.

        Args:
            prompt: token ids, at least one.
            settings: see `NativeSettings`.
            key: of its random numbers (`noise.row_keys`); equal keys draw alike.
        """
        asked = self.resolved(settings)
        sampler = getattr(transformers.models.diffusion_gemma.generation_diffusion_gemma, _SAMPLER)
        steps = _Steps()
        with global_streams(self._gpus, key & (2**63 - 1)):
            made = self.model.generate(
                torch.tensor([list(prompt)], device=self.device),
                max_new_tokens=settings.gen_length,
                eos_token_id=list(self.ends),
                pad_token_id=self.ends[0],
                sampler_config=sampler(entropy_bound=asked["entropy_bound"]),
                streamer=steps,
                **{theirs: asked[name] for name, theirs in _NAMES.items()},
            )
        tokens = made.sequences[0, len(prompt) :].tolist()[: settings.gen_length]
        length = next((at for at, token in enumerate(tokens) if token in self.ends), len(tokens))
        filled = tokens[: length + 1] + [self.ends[0]] * (settings.gen_length - length - 1)
        return NativeAnswer(filled, length, steps.number)


class _Steps:
    """Counts denoising steps: `generate` hands a streamer each step's draft."""

    def __init__(self) -> None:
        self.number = 0

    def put(self, value: Any) -> None:
        """The prompt, or a canvas that is finished."""

    def put_draft(self, value: Any) -> None:
        """A step's canvas."""
        self.number += 1

    def end(self) -> None:
        """There is no more."""


def gpus_of(model: Any, device: torch.device) -> tuple[torch.device, ...]:
    """The GPUs on which a model may draw: where its weights are, and `device`, where its inputs go."""
    devices = dict.fromkeys([device, *(each.device for each in model.parameters())])
    return tuple(each for each in devices if each.type == "cuda")


@contextmanager
def global_streams(gpus: Sequence[torch.device], seed: int) -> Iterator[None]:
    """The global streams of the CPU and of some GPUs begin at a seed; afterwards they are what they were.

    `torch.manual_seed` begins those of every other GPU anew too, and nothing would give them back.
    """
    with torch.random.fork_rng(gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


def is_native(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is DiffusionGemma's."""
    return config.get("model_type") == MODEL_TYPE


def load_native(
    path_or_hub_id: str | Path,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    *,
    device_map: str | dict[str, Any] | None = None,
) -> Native:
    """Load a DiffusionGemma checkpoint. No code of it is run and no pickle is read.

    Args:
        path_or_hub_id: a folder or hub id.
        dtype: as for `load_backbone`.
        device: likewise.
        revision: likewise.
        device_map: likewise.

    Raises:
        CheckpointError: one line: it is none, or this transformers has no such class, or its files do not fit.
    """
    checkpoint = find_checkpoint(path_or_hub_id, revision)
    if not is_native(checkpoint.config):
        raise CheckpointError(
            f"checkpoint `{checkpoint.source}` is `model_type: {checkpoint.config.get('model_type')}`, not "
            f"{MODEL_TYPE}; use --model masked_lm, which says what it is"
        )
    kind = getattr(transformers, ARCHITECTURE, None)
    if kind is None:
        raise CheckpointError(
            f"checkpoint `{checkpoint.source}` needs transformers' {ARCHITECTURE}, which transformers "
            f"{transformers.__version__} does not have; install 5.23.0, with which it was tried"
        )
    placement = place(device, device_map)
    checkpoint.refuse_unusable_weights()
    try:
        with quietly():
            model, report = kind.from_pretrained(
                checkpoint.folder,
                dtype=parse_dtype(dtype) or default_dtype(checkpoint),
                device_map=placement,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises many kinds for files that do not fit
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise CheckpointError(
            f"checkpoint `{checkpoint.source}` cannot be loaded as {ARCHITECTURE} ({lines[-1][:300]}); fetch its files "
            "again"
        ) from error
    wrong = [name for kind_of in ("missing_keys", "unexpected_keys") for name in sorted(report[kind_of])]
    if wrong:
        raise CheckpointError(
            f"weights of `{checkpoint.source}` do not fit its config.json: {len(wrong)} are missing or unknown "
            f"({wrong[0]}); fetch them again"
        )
    return Native(model.eval().requires_grad_(False), checkpoint, _ends(model, checkpoint))


def _ends(model: Any, checkpoint: Checkpoint) -> tuple[int, ...]:
    """Of generation_config.json, else of config.json."""
    named = model.generation_config.eos_token_id
    named = model.config.text_config.eos_token_id if named is None else named
    ends = tuple(named) if isinstance(named, list | tuple) else () if named is None else (named,)
    if not ends:
        raise CheckpointError(
            f"checkpoint `{checkpoint.source}`: neither generation_config.json nor config.json has an eos_token_id, so "
            "no answer would end; fetch its files again"
        )
    return ends
