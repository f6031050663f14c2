"""`DiTSettings`: every setting of sampling from a model of the DiT family, and of its bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lm_eval_codd.names import explains_unknown_names
from lm_eval_codd.settings.decoding_fields import DecodingFields
from lm_eval_codd.settings.fields import AT_LEAST_1, Range, checked, either, setting, shared_with
from lm_eval_codd.settings.likelihood import LOWER_BOUND
from lm_eval_codd.settings.psi import MODES as PSI_MODES
from lm_eval_codd.settings.psi import Profile, read_words

# Of each algorithm, the usual one first.
PREDICTORS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "duo": ("ancestral", "psi"),
    "mdlm": ("ancestral", "analytic", "psi"),
    "sedd": ("analytic", "ancestral"),
    "d3pm": ("ancestral",),
    "ar": (),
}
PREDICTORS: Final = ("ancestral", "analytic", "psi")
# By `model_type` of published checkpoints, what they are where nothing else says it.
ALGO_OF_TYPE: Final[Mapping[str, str]] = {"DUO": "duo", "mdlm": "mdlm"}
NOISE_REMOVALS: Final = ("ancestral", "greedy", "none")
MODES: Final = ("suffix", "joint")
# Of results: those of a corpus have no context to keep clean.
WHOLE_WINDOWS: Final = "; windows of ids are scored whole (mode=joint)"


@explains_unknown_names("setting")
@dataclass(frozen=True, kw_only=True)
class DiTSettings:
    """Every setting that can change a sample or a bound. Frozen, validated at construction, written into results.

    What an algorithm does not read is refused where the algorithm is known (`for_algo`).

    Args:
        num_steps: of the grid of times; ar goes token by token.
        gen_length: tokens after the prompt; None fills the row up to the model's length.
        predictor: `ancestral`, `analytic` (sedd, mdlm), or `psi` (duo, mdlm); None: the algorithm's usual one.
        noise_removal: what comes after the grid: `ancestral` (of analytic its denoising step), `greedy` (the likeliest
            clean token), or `none`.
        p_nucleus: top-p on the predicted clean token; 1 keeps all.
        use_float64: of weights and noise of the draws. In float32 entropy and generative perplexity are lower.
        seed: of the draws and of the noise; each row has its own stream.
        mode: of bounds: `suffix` noises and scores the target alone, `joint` the context too; None: joint for duo.
        num_samples: draws of a bound.
        append_eos: an end token follows every target and text that is scored.
        is_greedy: whether to find out if the target is the likeliest.
        pc_frac, reverse_frac: of a circuit, as in decoding.
        psi_modes: of `predictor=psi`, which needs it: how much of a step is the posterior, as for `dit.psi_profile`:
            one mode (`max-capped-0.05`), or three, of high, middle and low noise
            (`pure-posterior/constant-0.5/pure-pc`).
        psi_shares: of the times, what is high and what is middle (`0.2/0.6`).
        psi_times: `linear`, or `linear-constant-linear-c`.

    Raises:
        ValueError: one line with the argument, its value, what is allowed and what to do.
    """

    num_steps: int = setting(1024, "steps of the grid of times", range=AT_LEAST_1, is_axis=True)
    gen_length: int | None = setting(None, "tokens to sample after the prompt", range=AT_LEAST_1)
    predictor: str | None = setting(
        None, "how a step goes to the next time: ancestral, analytic or psi", choices=PREDICTORS, is_axis=True
    )
    noise_removal: str = setting("ancestral", "what comes after the grid", choices=NOISE_REMOVALS, is_axis=True)
    p_nucleus: float = setting(
        1.0,
        "top-p on the predicted clean token; 1 keeps all",
        range=Range(lambda v: 0 < v <= 1, "above 0 and at most 1 (1 keeps all)"),
        is_axis=True,
    )
    use_float64: bool = setting(True, "draws in float64; float32 lowers entropy", is_axis=True)
    seed: int = shared_with(DecodingFields, "seed")
    mode: str | None = setting(None, "bounds: suffix scores the target, joint the context too", choices=MODES)
    num_samples: int = setting(128, "bounds: draws of a row", range=AT_LEAST_1)
    append_eos: bool = setting(False, "bounds: an end token follows what is scored")
    is_greedy: bool = setting(False, "bounds: whether the target is the likeliest")
    pc_frac: float = shared_with(DecodingFields, "pc_frac")
    reverse_frac: bool = shared_with(DecodingFields, "reverse_frac")
    psi_modes: str | None = setting(
        None, "predictor=psi: share of the posterior, such as max-capped-0.05; or three, with / between", is_axis=True
    )
    psi_shares: str = setting("0/0", "predictor=psi: shares of high and middle noise, such as 0.2/0.6", is_axis=True)
    psi_times: str = setting("linear", "predictor=psi: times, linear or linear-constant-linear-c", is_axis=True)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, checked(field, getattr(self, field.name), {}))
        if self.predictor == "analytic":
            for name, only in (("noise_removal", ("ancestral", "none")), ("p_nucleus", (1.0,))):
                if getattr(self, name) not in only:
                    raise ValueError(
                        f"`{name}={getattr(self, name)}` does not go with predictor=analytic; use predictor=ancestral"
                    )
        self._check_psi()

    def _check_psi(self) -> None:
        if self.predictor != "psi":
            self._refuse(
                ("psi_modes", "psi_shares", "psi_times"), "is read by predictor=psi; add that, or leave it out"
            )
        elif self.psi_modes is None:
            raise ValueError(
                f"`predictor=psi` needs `psi_modes`; give one, or three with / between: {', '.join(PSI_MODES)}"
            )
        elif self.p_nucleus != 1:
            raise ValueError(f"`p_nucleus={self.p_nucleus:g}` does not go with predictor=psi; use predictor=ancestral")
        else:
            self.profile()

    @classmethod
    def for_algo(cls, algo: str, *, coupled: bool, **given: Any) -> DiTSettings:
        """Settings of an algorithm, with its usual mode and predictor where none is given.

        Args:
            algo: duo, mdlm, sedd, d3pm or ar.
            coupled: whether a circuit takes part.
            **given: fields.

        Raises:
            ValueError: one line: a setting is impossible, or the algorithm does not read it.
        """
        settings = cls(**given)
        if algo == "ar":
            if settings.mode == "joint":
                raise ValueError("`mode=joint` is of diffusions: ar says log p(target | context) exactly; use suffix")
            settings._refuse(
                ("num_steps", "predictor", "noise_removal", "p_nucleus", "num_samples"),
                "is of diffusions, and ar draws each token after those before it; leave it out",
            )
        if not coupled:
            settings._refuse(("pc_frac", "reverse_frac"), "does nothing without a circuit; add pc=")
        elif (
            settings.predictor not in (None, "ancestral")
            or settings.noise_removal == "greedy"
            or settings.p_nucleus != 1
        ):
            raise ValueError(
                f"a circuit goes with predictor=ancestral alone, not with `predictor={settings.predictor}`, "
                f"`noise_removal={settings.noise_removal}`, `p_nucleus={settings.p_nucleus:g}`; leave these out, or pc="
            )
        elif not settings.use_float64:
            raise ValueError("`use_float64=False` does not go with a circuit; leave out one of them")
        known = PREDICTORS_OF[algo]
        usual = "ancestral" if coupled else known[0] if known else None
        predictor = settings.predictor or usual
        if known and predictor not in known:
            raise ValueError(f"`predictor={predictor}` is not one of {algo}; use {either(known)}")
        mode = settings.mode or ("joint" if algo == "duo" else "suffix")
        return dataclasses.replace(settings, predictor=predictor, mode=mode)

    def _refuse(self, names: tuple[str, ...], why: str) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in names and value != field.default:
                raise ValueError(f"`{field.name}={value}` {why}")

    @property
    def approximations(self) -> tuple[str, ...]:
        """None: each sampler is itself."""
        return ()

    def profile(self) -> Profile:
        """What `predictor=psi` is asked for. Raises `ValueError`, one line, for what cannot be."""
        assert self.psi_modes is not None
        return read_words(self.num_steps, self.psi_modes, self.psi_shares, self.psi_times, "psi_")

    @property
    def precision(self) -> str:
        """Of the draws."""
        return "float64" if self.use_float64 else "float32"

    def of_samples(self) -> dict[str, Any]:
        """The settings that change samples."""
        return {name: value for name, value in vars(self).items() if name not in _ONLY_BOUNDS}

    def of_bounds(self) -> dict[str, Any]:
        """The settings that change bounds."""
        return {name: vars(self)[name] for name in (*_ONLY_BOUNDS, "seed")}

    def extensions(self, algo: str, *, coupled: bool) -> tuple[str, ...]:
        """What nobody else's code can be held against."""
        found = ["a circuit in the samplers of the DiT family"] if coupled else []
        if algo == "sedd" and self.predictor == "ancestral":
            found.append("sedd's ancestral sampler, through the clean token that its scores imply")
        return tuple(found)

    def meaning(self, algo: str) -> str:
        """What log-likelihoods are, for results."""
        if algo == "ar":
            return "log-likelihood by the chain rule from left to right, exact"
        of_what = "the whole row, context included" if self.mode == "joint" else "the target, its context kept clean"
        steps = ", of 1000 steps" if algo == "d3pm" else ""
        windows = "" if self.mode == "joint" else WHOLE_WINDOWS
        return f"{LOWER_BOUND}{steps}, over {self.num_samples} draws of noise, of {of_what} (mode={self.mode}){windows}"


_ONLY_BOUNDS: Final = ("mode", "num_samples", "append_eos", "is_greedy")
