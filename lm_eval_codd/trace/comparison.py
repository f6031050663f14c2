"""One prompt decoded as in an evaluation: from the backbone alone and, when there is one, with the circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, cast

from lm_eval_codd.settings import extensions_of, rule_of
from lm_eval_codd.trace.recording import Trace, record

if TYPE_CHECKING:
    from lm_eval_codd.models.diffusion_lm import DiffusionLM
    from lm_eval_codd.settings import DecodingConfig

BACKBONE = "backbone"
WITH_CIRCUIT = "backbone and circuit"
# Stands for an end token.
END = "\u220e"


@dataclass(frozen=True)
class Comparison:
    """What is shown.

    Attributes:
        model: the checkpoint, and the circuit when there is one.
        alg: the remasking rule.
        is_log: whether its confidences are logarithms (of a probability, or an entropy with its sign turned).
        approximations: settings that set the decode apart from an exact one, such as `cache=dual`.
        extensions: what of the decode with the circuit has no reference, such as `circuit with decoder=p2`.
        settings: what else was decided, by name: those that count here and those that are not the defaults.
        prompt: its text, as the network reads it.
        traces: the decodes by name, one or two.
        texts: each token's own text, for the tokens in the traces.
        answers: each decode's text up to its end.
        mask_id, end_ids: tokens with a meaning.
    """

    model: str
    alg: str
    is_log: bool
    approximations: tuple[str, ...]
    extensions: tuple[str, ...]
    settings: Mapping[str, object]
    prompt: str
    traces: Mapping[str, Trace]
    texts: Mapping[int, str]
    answers: Mapping[str, str]
    mask_id: int
    end_ids: tuple[int, ...]

    @cached_property
    def num_frames(self) -> int:
        """Frames of the longer decode."""
        return max(len(trace.frames) for trace in self.traces.values())


def compare(lm: DiffusionLM, question: str) -> Comparison:
    """Decode a question with every step recorded; put through the tokenizer's chat template when it has one."""
    prompt = question
    if lm.tokenizer.chat_template:
        prompt = lm.apply_chat_template([{"role": "user", "content": question}])
    ids = lm.tok_encode(prompt)
    room = lm.max_length - lm.config.gen_length
    if len(ids) > room:
        raise ValueError(
            f"`prompt` has {len(ids)} tokens and `gen_length={lm.config.gen_length}` leaves it {room} of "
            f"`max_length={lm.max_length}`; shorten one of them"
        )
    traces = {BACKBONE: record(lm.backbone, ids, lm.config)}
    model = lm.backbone.source
    if lm.circuit is not None:
        traces[WITH_CIRCUIT] = record(lm.backbone, ids, lm.config, lm.circuit)
        model = f"{model} with {lm.circuit.source}"
    eos_id, eot_id = lm.backbone.eos_id, lm.backbone.eot_id
    return Comparison(
        model=model,
        alg=rule_of(vars(lm.config)),
        is_log=_is_log(lm.config),
        approximations=lm.config.approximations,
        extensions=extensions_of(vars(lm.config), coupled=lm.circuit is not None),
        settings=_settings(lm.config, has_circuit=lm.circuit is not None),
        prompt=prompt,
        traces=traces,
        texts={token: token_text(lm, token) for token in sorted(_tokens(traces))},
        answers={name: _answer(lm, trace) for name, trace in traces.items()},
        mask_id=lm.backbone.mask_id,
        end_ids=(eos_id,) if eot_id is None else (eos_id, eot_id),
    )


def _is_log(config: DecodingConfig) -> bool:
    if config.decoder == "p2":
        return config.form == "released" and config.score != "diff_top2"
    return "entropy" in (config.alg, config.selection)


def _settings(config: DecodingConfig, *, has_circuit: bool) -> dict[str, object]:
    """What is not the default, and what counts in any case; the decoder comes first."""
    always = [] if config.steps_follow_confidence else ["num_steps"]
    always += ["gen_length"]
    always += ["paradigm"] if config.reads("paradigm") else []
    always += ["block_length"] if config.goes_by_blocks else []
    always += ["pc_frac", "pc_temperature"] if has_circuit else []
    defaults = {field.name: field.default for field in fields(config)}
    names = sorted(defaults, key=lambda name: (name != "decoder", name not in always))
    values = {name: getattr(config, name) for name in names}
    return {name: value for name, value in values.items() if name in always or value != defaults[name]}


def token_text(lm: DiffusionLM, token: int) -> str:
    """A token's own text; of an end token, which may be as long as a word and stand there by the hundred, a mark."""
    return END if token in (lm.backbone.eos_id, lm.backbone.eot_id) else cast("str", lm.tokenizer.decode([token]))


def _answer(lm: DiffusionLM, trace: Trace) -> str:
    tokens = trace.generation.tokens[: trace.generation.num_answer_tokens]
    return cast("str", lm.tokenizer.decode(list(tokens), skip_special_tokens=True))


def _tokens(traces: Mapping[str, Trace]) -> set[int]:
    frames = [frame for trace in traces.values() for frame in trace.frames]
    candidates = [candidate for frame in frames for candidate in frame.candidates]
    return {
        *(token for frame in frames for token in frame.canvas),
        *(candidate.token for candidate in candidates),
        *(candidate.alone_token for candidate in candidates),
    }
