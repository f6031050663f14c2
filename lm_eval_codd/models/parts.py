"""The parts of a model: where each comes from, and how they are loaded and held against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lm_eval_codd import backbones, circuits, decoding
from lm_eval_codd.backbones.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from lm_eval_codd.backbones.backbone import Backbone
    from lm_eval_codd.backbones.outline import Attention
    from lm_eval_codd.circuits.hmm import HMM
    from lm_eval_codd.models.recognition import Recognised
    from lm_eval_codd.settings import DecodingConfig


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where each part comes from, by the names of `--model_args`: folders, files or hub ids, and their revisions.

    lm-eval makes a number of a revision that looks like one; here it is text again.
    """

    pretrained: str
    revision: str | None = None
    peft: str | None = None
    pc: str | None = None
    peft_revision: str | None = None
    pc_revision: str | None = None
    planner: str | None = None
    planner_revision: str | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        for name in ("revision", "peft_revision", "pc_revision", "planner_revision"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, str(value))


class Parts(NamedTuple):
    """What a model decodes with; circuit and planner are None where there is none."""

    backbone: Backbone
    circuit: HMM | None
    planner: Backbone | None


def load_tokenizer_of(sources: Sources, recognised: Recognised) -> PreTrainedTokenizerFast:
    """The checkpoint's tokenizer, or the one that is given in its place. Raises `ValueError`, one line, without one."""
    if sources.tokenizer:
        return load_tokenizer(sources.tokenizer, recognised.tokenizer_layout, is_apart=True)
    return load_tokenizer(sources.pretrained, recognised.layout, sources.revision)


def load_parts(
    sources: Sources,
    config: DecodingConfig,
    recognised: Recognised,
    *,
    dtype: str | torch.dtype | None,
    device: str | torch.device | None,
    device_map: str | dict[str, Any] | None,
    decodes: bool = True,
) -> Parts:
    """Load them, what is small first, so that what cannot fit together is said before weights are read.

    Args:
        sources: of the parts.
        config: of the decode.
        recognised: what the checkpoint is.
        dtype: of the networks, as for `load_backbone`.
        device: likewise.
        device_map: likewise.
        decodes: whether answers are asked for, to whose blocks a circuit has to fit.

    Raises:
        ValueError: one line: a part cannot be loaded, or does not fit the settings or another part.
    """
    backbones.check_routing(sources.pretrained, config, recognised.layout, sources.revision, recognised.attention)
    attention = cast("Attention | None", recognised.attention)
    # Blocks are attended to as they are decoded.
    block_length = None if recognised.block_length is None else config.block_length
    outline = backbones.read_outline(
        sources.pretrained, recognised.layout, sources.revision, attention=attention, block_length=block_length
    )
    if decodes:
        decoding.check_backbone(outline, config)
    circuit = None if sources.pc is None else circuits.load_circuit(sources.pc, revision=sources.pc_revision)
    if circuit is not None:
        if decodes:
            decoding.check_window(config, circuit.num_positions)
        decoding.check_vocabulary(outline, circuit)
    # A planner is of the same vocabulary: ids that the one's files lack, the other's may lack too.
    ids: dict[str, Any] = {"mask_id": config.mask_id, "eos_id": config.eos_id, "eot_id": config.eot_id}
    if sources.planner is not None:
        planner_outline = backbones.read_outline(sources.planner, revision=sources.planner_revision)
        decoding.check_planner(outline, planner_outline, config)
        # Its weight files too: the backbone, whose weights are read first, would be loaded in vain.
        backbones.plan_backbone(sources.planner, revision=sources.planner_revision, **ids)
    backbone = backbones.load_backbone(
        sources.pretrained,
        family=recognised.layout,
        attention=attention,
        block_length=block_length,
        dtype=dtype,
        device=device,
        revision=sources.revision,
        peft=sources.peft,
        peft_revision=sources.peft_revision,
        device_map=device_map,
        **ids,
    )
    if circuit is not None:
        circuit = circuit.to(device=backbone.device)
    planner = None
    if sources.planner is not None:
        planner = backbones.load_backbone(
            sources.planner,
            dtype=dtype,
            device=backbone.device,
            revision=sources.planner_revision,
            **ids,
        )
    return Parts(backbone, circuit, planner)
