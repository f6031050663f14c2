"""`DecodingConfig`: every setting of a decode, resolved and checked, and the families' defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from lm_eval_codd.names import check_names, explains_unknown_names
from lm_eval_codd.settings.block_rules import RULES
from lm_eval_codd.settings.decoder_options import checked_schedule
from lm_eval_codd.settings.decoders import (
    DECODERS,
    only_read,
    own_defaults,
    reads,
)
from lm_eval_codd.settings.decoding_fields import ALG_ALIASES, DecodingFields
from lm_eval_codd.settings.derived import approximations_of, steps_follow_confidence
from lm_eval_codd.settings.fields import AT_LEAST_0, checked, either, unknown_value
from lm_eval_codd.settings.refusals import (
    refuse_approximations,
    refuse_blocks,
    refuse_options,
    refuse_two_of_one,
    refuse_unread,
    refuse_unread_by_rule,
    resolved_steps,
)
from lm_eval_codd.settings.routing import refuse_routing

Family = Literal["llada", "dream", "a2d", "open_dllm", "sdar", "llada2", "fast_dllm_v2"]
FAMILIES: Final[tuple[Family, ...]] = get_args(Family)

FAMILY_DEFAULTS: Final[Mapping[Family, Mapping[str, Any]]] = {
    "llada": {},
    # What CoDD's harness really ran (top_k=50 was slipped in by transformers 4.x, and the published numbers have it).
    "dream": {"paradigm": "full", "alg": "entropy", "temperature": 0.2, "top_p": 0.95, "top_k": 50},
    "a2d": {"counts": "rounded"},
    "open_dllm": {"paradigm": "full", "alg": "entropy"},
    "sdar": {"decoder": "block_diffusion", "rule": "sdar", "block_length": 4},
    "llada2": {"decoder": "block_diffusion", "rule": "llada2"},
    "fast_dllm_v2": {"decoder": "block_diffusion", "rule": "fast_dllm_v2"},
}

# Of families that have checkpoints of either attention: the rule of the block-causal ones.
RULE_IF_BLOCKS: Final[Mapping[str, str]] = {"a2d": "bd3lm"}
# Families whose confidences are of the distribution that tokens are drawn from; of all others, the untempered one.
SCORE_WHAT_IS_DRAWN: Final = ("dream", "open_dllm")
# Families whose logits at a position are computed one position earlier.
SHIFTED: Final = ("dream", "open_dllm", "fast_dllm_v2")


def usual_decoder(family: str) -> str:
    """The decoder of a family's published numbers."""
    return str(FAMILY_DEFAULTS.get(cast("Family", family), {}).get("decoder", DecodingFields.decoder))


@explains_unknown_names("setting")
@dataclass(frozen=True, kw_only=True)
class DecodingConfig(DecodingFields):
    """Every setting that can change which tokens come out. Frozen, validated at construction, written into results.

    A setting that the decoder does not read (`settings.decoders`) is refused when it differs from its default.

    Args:
        decoder: `unmasking` (LLaDA's, Dream's and Fast-dLLM's: steps commit the surest masked positions), `cad`,
            `klass`, `eb`, `wino`, `p2`, `open_dllm`, `corrective`, or `block_diffusion`, for block-causal families.
        alg: remasking rule, which masked positions a step commits first: `low_confidence` (alias `maskgit_plus`),
            `topprob`, `margin` (`topk_margin`), `entropy` or `random` (`origin`). `topprob` is `low_confidence` but in
            a circuit's best windows, where it ranks by the largest untempered, untruncated probability, as officially.
        num_steps: denoising steps for the whole answer. None: `gen_length / tokens_per_step` when that is given,
            else 256. Not read with `threshold` or `factor`. Of `block_diffusion`: steps of a block, its length where
            it is None.
        tokens_per_step: the same said the other way; must agree with `num_steps` when both are given.
        gen_length: tokens to decode. `block_diffusion` decodes the blocks that they reach into, and cuts there.
        block_length: length of a semi-autoregressive block; read by the block paradigm, and by both with a `cache`.
        counts: how many tokens each step of a block commits: `even` (LLaDA's table, `num_steps` must divide over the
            blocks) or `rounded` (dLLM's: the rounded share of what is left, masks of earlier blocks compete, and
            neither `num_steps` nor `gen_length` need divide). None: `rounded` for A2D checkpoints, `even` for others;
            so whether they divide is checked where the family is known (`for_family`, `generate`).
        paradigm: `block` (LLaDA: blocks left to right, a fixed number of tokens each step) or `full` (Dream: the whole
            canvas, on a time grid). With a `cache` both go block by block, and the paradigm says how many tokens a
            step of a block commits: `full` by the time grid, stretched over the block; `block` by LLaDA's fixed
            numbers for LLaDA, by that grid for Dream (as Fast-dLLM does).
        temperature: 0 takes the most likely token; otherwise tokens are drawn at this temperature.
        top_p: nucleus in (0, 1]; None or 1 is off.
        top_k: number of most likely tokens kept; None or 0 is off.
        alg_temp: temperature of the remasking rule itself (Dream): positions are drawn without replacement from
            softmax(confidence / alg_temp). None or 0 takes the most confident.
        eps: where the time grid ends.
        cfg_scale: classifier-free guidance, logits = u + (cfg_scale + 1)(c - u); 0 is off.
        seed: of the random draws; each row has its own stream, made from the seed and its prompt.
        stop_at_eos: an answer ends at its first end token and what follows is filled with eos. False leaves the
            canvas as it was decoded, as the official code does.
        logits_eos_inf: the eos token can never be chosen (LLaDA).
        confidence_eos_eot_inf: end tokens may be chosen, but get no confidence, so they are committed last (LLaDA).
        mask_id, eos_id, eot_id: override the checkpoint's ids.
        pc_temperature: divides the backbone's logits before they become evidence for the circuit, 0 < tau <= 1.
        pc_frac: the circuit acts where the share of masked positions in the block or window is strictly below this.
        reverse_frac: it acts where the share is strictly above `pc_frac` instead.
        pc_sampling: how tokens come out of the coupled distribution: `latent`, `any_order`, `marginal` or `map`. At a
            temperature above 0, `any_order` draws from the joint only where `alg` does not look at the tokens drawn
            (`random`): with `low_confidence` those that turn out likely are committed first.
        pc_windows: windows of the full paradigm: `best` (the official single window) or `cover` (the paper's). Of
            decoders that mask again, windows tile the answer (an extension without a reference).
        cache: `none`; or approximate keys and values, kept from the full pass at the start of a block (Fast-dLLM):
            `prefix` reuses those before the block, `dual` those after it as well.
        threshold: confidence-aware parallel decoding (Fast-dLLM): each step commits every position whose confidence is
            at or above it, at least the surest one, and a block ends when it is full. 0 < threshold <= 1; None is off.
            `cad`, `klass` and `wino` have their own: 0.95, 0.9 and 0.6 by default, 0 or more. `corrective` masks
            again what is at or below it: 0.9 by default, 0 or more, and one of it, `remask_schedule` and `mad_k`.
        factor: the same with a bound that falls with the number: the surest n positions are committed while the n-th
            confidence is at least 1 - factor / (n + 1), at least the surest one. Not together with `threshold`.
        compat: what the official code does where it is plainly a bug (`cad`: the end ids of four checkpoints at once; a
            forced step leaves blocked positions masked; logits that are not finite become 0; the mask may be chosen).
            `router=ec`: the share of masks is of the padded width, so that rows are decoded one by one.
        router, ec_schedule, ec_k, ec_k_min, ec_k_max, ec_sigma, ec_gates, ec_scope: of mixtures of experts, see
            `RouterOptions`.
        **options: of one decoder, see `CadOptions` and its like in `settings.decoder_options`.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise ValueError(unknown_value("decoder", self.decoder, DECODERS))
        self._set("alg", ALG_ALIASES.get(self.alg, self.alg))
        ranges = {} if DECODERS[self.decoder].threshold is None else {"threshold": AT_LEAST_0}
        for field in dataclasses.fields(self):
            # One spelling of each value, so that two runs that decode alike also have the same settings.
            self._set(field.name, checked(field, getattr(self, field.name), ranges))
            # `compat` is the router's too, whatever the decoder.
            if getattr(self, field.name) != field.default and not (field.name == "compat" and self.router == "ec"):
                refuse_unread(self.decoder, field.name, getattr(self, field.name))
        refuse_two_of_one(self)
        refuse_unread_by_rule(self)
        if self.remask_schedule is not None:
            self._set("remask_schedule", checked_schedule(self.remask_schedule))
        for name, default in own_defaults(self.decoder, vars(self)).items():
            if getattr(self, name) is None:
                self._set(name, default)
        refuse_approximations(self)
        if reads(self.decoder, "num_steps"):
            self._set("num_steps", resolved_steps(self))
        if not any(map(self.has_rounded_counts, FAMILIES)):
            self.check_blocks()
        refuse_options(self)
        refuse_routing(self)

    @property
    def goes_by_blocks(self) -> bool:
        """Whether the answer is decoded block by block: the block paradigm, either one with a cache, and `cad`."""
        if reads(self.decoder, "paradigm"):
            return self.paradigm == "block" or self.cache != "none"
        return reads(self.decoder, "block_length")

    def has_rounded_counts(self, family: str | None = None) -> bool:
        """Whether a step of a block commits a rounded share, in a family or whatever the family is."""
        counts = self.counts or FAMILY_DEFAULTS.get(cast("Family", family), {}).get("counts", "even")
        follows_a_plan = self.decoder == "unmasking" and self.paradigm == "block" and not self.steps_follow_confidence
        return follows_a_plan and counts == "rounded"

    @property
    def num_blocks(self) -> int:
        """Blocks of the answer, where it `goes_by_blocks`; the last may be shorter with `counts=rounded`."""
        return -(-self.gen_length // self.block_length)

    @property
    def steps_of_block(self) -> int:
        """Of `num_steps`, those of one block, rounded up."""
        return -(-self.steps // self.num_blocks)

    @property
    def steps(self) -> int:
        """`num_steps`, of a decoder that reads it. Raises `ValueError` for another one."""
        if self.num_steps is None:
            raise ValueError(f"`decoder={self.decoder}` has no `num_steps`")
        return self.num_steps

    @property
    def steps_follow_confidence(self) -> bool:
        """Whether confidences say how many tokens a step commits (`threshold`, `factor`, `cad`), not `num_steps`."""
        return steps_follow_confidence(vars(self))

    def tells_topprob_apart(self, *, coupled: bool) -> bool:
        """Whether `topprob` and `low_confidence` may decode differently, with a circuit (`coupled`) or without.

        They rank by the same number where candidates are the most likely tokens of the whole vocabulary.
        """
        is_plain = self.temperature == 0 and self.top_p is None and self.top_k is None
        return coupled and not self.goes_by_blocks and self.pc_windows == "best" and not is_plain

    def draws(self, *, coupled: bool) -> bool:
        """Whether answers to a prompt differ from one another, by chance; with a circuit (`coupled`) or without."""
        chosen_at_random = "random" in (self.alg, self.selection, self.score)
        of_circuit = coupled and self.pc_sampling == "latent"
        return self.temperature > 0 or self.alg_temp is not None or chosen_at_random or of_circuit

    @property
    def approximations(self) -> tuple[str, ...]:
        """What sets the answers apart from an exact decode of a fixed schedule, as `cache=dual`; empty when nothing."""
        return approximations_of(vars(self))

    def usual(self, family: Family) -> dict[str, Any]:
        """What the settings are in the family with this decoder, where nothing else is given.

        A default of the decoder's that another setting has taken the place of is None, as it is here.
        """
        is_off = DECODERS[self.decoder].threshold is not None and not own_defaults(self.decoder, vars(self))
        replaced = {"threshold": None} if is_off else {}
        of_rule = {} if self.rule is None else {"rule": self.rule}
        usual = vars(DecodingConfig.for_family(family, decoder=self.decoder, **of_rule))
        return {**usual, "rule": FAMILY_DEFAULTS[family].get("rule"), **replaced}

    @classmethod
    def for_family(cls, family: Family, **given: Any) -> DecodingConfig:
        """The family's published defaults, overridden by what is given. Unknown names raise with the nearest one."""
        check_names(given, (field.name for field in dataclasses.fields(cls)), kind="setting")
        decoder = given.get("decoder", usual_decoder(family))
        config = cls(**{**only_read(decoder, FAMILY_DEFAULTS[family]), **given})
        config.check_family(family)
        return config

    def with_rule(self, family: str) -> DecodingConfig:
        """These settings with the rule that the block decoder follows for a family, where none is given.

        Raises:
            ValueError: the family has none.
        """
        if self.decoder != "block_diffusion" or self.rule is not None:
            return self
        rule = RULE_IF_BLOCKS.get(family, FAMILY_DEFAULTS.get(cast("Family", family), {}).get("rule"))
        if rule is None:
            raise ValueError(
                f"`decoder=block_diffusion` has no rule for {family} checkpoints; give rule={either(RULES)}"
            )
        return dataclasses.replace(self, rule=rule)

    def reads(self, name: str) -> bool:
        """Whether the decoder reads a setting."""
        return reads(self.decoder, name)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def check_family(self, family: str) -> None:
        """Raise `ValueError` where these settings do not go with a family, whose blocks are checked too."""
        if self.decoder == "wino" and family in SHIFTED:
            raise ValueError(
                f"`decoder=wino` scores a token at its own position, and {family} checkpoints do so one position "
                "earlier, for which its authors have no code; use another decoder"
            )
        self.check_blocks(family)

    def check_blocks(self, family: str | None = None) -> None:
        """Raise `ValueError` where answer and steps cannot be split over the blocks in a family, or whatever it is.

        Where `counts` is None, only a family says whether they must: `generate` asks with the backbone's.
        """
        if self.decoder != "block_diffusion" and self.goes_by_blocks and not self.has_rounded_counts(family):
            refuse_blocks(self, self.num_blocks, splits_steps=not self.steps_follow_confidence)
