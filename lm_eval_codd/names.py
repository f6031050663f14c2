"""Names of arguments: what other projects call a setting of this one, and what an unknown name could have meant.

One table for all places where a user names a setting: `--model_args`, `--gen_kwargs`, the launcher's flags and
`DecodingConfig`. A name with one meaning here is read as that; one that means something else, or nothing, is explained.
Imports nothing heavy: the launcher and the settings stand on it.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")


class Elsewhere(NamedTuple):
    """What another project calls something that exists here.

    Attributes:
        here: its name here.
        projects: who calls it so.
        read: from a value there to the value here.
    """

    here: str
    projects: str
    read: Callable[[Any], Any] = lambda value: value


def _device_map(parallelize: Any) -> str | None:
    return "auto" if str(parallelize).lower() in ("true", "1", "yes") else None


_NLL_TYPES: Final = {"mc": "mc_bernoulli", "ar_ftb": "chain"}

READ_AS: Final[Mapping[str, Elsewhere]] = {
    "steps": Elsewhere("num_steps", "LLaDA, Fast-dLLM, dLLM"),
    "diffusion_steps": Elsewhere("num_steps", "Dream, Fast-dLLM"),
    "max_new_tokens": Elsewhere("gen_length", "Dream, dLLM, transformers"),
    "max_gen_toks": Elsewhere("gen_length", "lm-eval"),
    "max_tokens": Elsewhere("gen_length", "OpenAI, vLLM"),
    "max_completion_tokens": Elsewhere("gen_length", "OpenAI"),
    "block_size": Elsewhere("block_length", "dLLM, Fast-dLLM v2"),
    "remasking": Elsewhere("alg", "LLaDA, Fast-dLLM, dLLM"),
    "confidence_threshold": Elsewhere("threshold", "SDAR"),
    "conf_threshold": Elsewhere("threshold", "KLASS"),
    "kl_history_length": Elsewhere("history_length", "KLASS"),
    "cfg": Elsewhere("cfg_scale", "LLaDA, dLLM"),
    "mc_num": Elsewhere("num_samples", "LLaDA, Dream, dLLM"),
    "num_mc": Elsewhere("num_samples", "DUO"),
    "length": Elsewhere("gen_length", "DUO"),
    "is_check_greedy": Elsewhere("is_greedy", "LLaDA, dLLM"),
    "nll_type": Elsewhere("estimator", "Dream", lambda form: _NLL_TYPES.get(str(form), form)),
    "mask_token_id": Elsewhere("mask_id", "Dream, transformers"),
    "eos_token_id": Elsewhere("eos_id", "transformers"),
    "stop": Elsewhere("until", "OpenAI, vLLM"),
    "stop_strings": Elsewhere("until", "transformers"),
    "stop_sequences": Elsewhere("until", "lm-eval's API models"),
    "model_path": Elsewhere("pretrained", "LLaDA, Fast-dLLM"),
    "model_name_or_path": Elsewhere("pretrained", "dLLM, transformers"),
    "llada_ckpt": Elsewhere("pretrained", "CoDD"),
    "dream_ckpt": Elsewhere("pretrained", "CoDD"),
    "peft_ckpt": Elsewhere("peft", "CoDD"),
    "pc_ckpt": Elsewhere("pc", "CoDD"),
    "torch_dtype": Elsewhere("dtype", "transformers"),
    "max_model_len": Elsewhere("max_length", "vLLM"),
    "parallelize": Elsewhere("device_map", "lm-eval's hf", _device_map),
    "save_dir": Elsewhere("journal", "Fast-dLLM"),
}

_SAME: Final[Mapping[str, str]] = {}
_OF_GEN_KWARGS: Final = "it belongs into --gen_kwargs"

# Names that mean something else here, or nothing; the text completes "unknown argument `name`; ...".
EXPLAINED: Final[Mapping[str, str]] = {
    "use_cache": "Fast-dLLM's is `cache=prefix` here, or `cache=dual` with its dual_cache (approximate); lm-eval's "
    "store of answers is its option --use_cache PATH",
    "dual_cache": "here it is `cache=dual` (approximate)",
    "classifier_free_guidance": "here it is `cfg_scale`, which is smaller by 1: `cfg_scale=0` is off",
    "denoising_steps": "here it is `num_steps` of the whole answer: denoising_steps times the number of blocks",
    "unmask_strategy": "`decoder=klass` commits all that is ready, which is `all`; leave it out",
    "escape_until": "an answer is cut at the task's `until` strings; other ones are given as --gen_kwargs until=...",
    "log_type": "`estimator=chain` goes from left to right, which is Dream's `ftb`; leave it out",
    "sampling_eps": "`estimator=mc_bernoulli` has Dream's 0.001; leave it out",
    "show_speed": "every result has NFE, tokens and seconds; leave it out",
    "num_return_sequences": "a task says how often a prompt is answered (`repeats`)",
    "load_in_8bit": "checkpoints are not quantised here; use dtype=bfloat16",
    "load_in_4bit": "checkpoints are not quantised here; use dtype=bfloat16",
    "quantization": "checkpoints are not quantised here; use dtype=bfloat16",
    "data_parallel_size": "start one process a GPU: accelerate launch -m lm_eval ...",
    "tensor_parallel_size": "a checkpoint is spread over GPUs with device_map=auto",
    "until": _OF_GEN_KWARGS,
    "do_sample": _OF_GEN_KWARGS,
}


class ReadAs(str):
    """A line that says of what a user typed how it is read.

    name: here.
    """

    name: str

    def __new__(cls, text: str, name: str) -> ReadAs:
        """See the class."""
        line = super().__new__(cls, text)
        line.name = name
        return line


def read_as(given: Mapping[str, Any], known: Collection[str], here: Mapping[str, str] = _SAME) -> list[ReadAs]:
    """A line for each argument that `translate` reads under another name."""
    lines = []
    for typed, value in given.items():
        elsewhere = None if typed in known else READ_AS.get(typed)
        if elsewhere is not None and (name := here.get(elsewhere.here, elsewhere.here)) in known:
            text = f"`{typed}={value}` ({elsewhere.projects}) is read as `{name}={elsewhere.read(value)}`"
            lines.append(ReadAs(text, name))
    return lines


@contextlib.contextmanager
def as_typed(said: Iterable[ReadAs]) -> Iterator[None]:
    """What is wrong with a setting is said beside the name that its user typed: one of these lines ends the error's."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        said = [line for line in said if line not in message and re.search(rf"\b{line.name}\b", message)]
        if said:
            error.args = ("; ".join([message, *said]),)
        raise


# More names than anybody reads.
_MOST_SHOWN: Final = 200


def translate(
    given: Mapping[str, Any],
    known: Collection[str],
    *,
    kind: str = "argument",
    here: Mapping[str, str] = _SAME,
) -> tuple[dict[str, Any], list[ReadAs]]:
    """Arguments under the names that they have here.

    Args:
        given: names and values as a user typed them, all in one place.
        known: the names that this place takes; these are never read as anything else.
        kind: what the names are, for messages: `argument`, `flag`.
        here: where this place has another name than `--model_args` (`{"pretrained": "llada_ckpt"}`).

    Returns:
        The arguments by their names here; and a line for each one that was given under another name.

    Raises:
        ValueError: one line: the name is unknown, or one thing is given twice with two values.
    """
    translated: dict[str, Any] = {}
    typed_as: dict[str, str] = {}
    for typed, typed_value in given.items():
        name, value = typed, typed_value
        if typed not in known:
            elsewhere = READ_AS.get(typed)
            own = typed if elsewhere is None else elsewhere.here
            name = here.get(own, own)
            if name not in known:
                raise ValueError(unknown_name(typed, known, kind=kind))
            if elsewhere is not None:
                value = elsewhere.read(typed_value)
        if name in translated and translated[name] != value:
            other = typed_as[name]
            raise ValueError(
                f"`{other}={given[other]}` and `{typed}={typed_value}` both say `{name}`; leave out one of them"
            )
        translated[name], typed_as[name] = value, typed
    return translated, read_as(given, known, here)


def check_names(given: Iterable[str], known: Iterable[str], *, kind: str = "argument") -> None:
    """Raise `ValueError` for the first name of `given` that is not in `known`, with what it could have meant."""
    known = sorted(known)
    for name in given:
        if name not in known:
            raise ValueError(unknown_name(name, known, kind=kind))


def unknown_name(name: str, known: Iterable[str], *, kind: str = "argument") -> str:
    """One line: this name is not known; what it is called or means here, or which names are near."""
    known = sorted(known)
    near = near_names(name, known)
    if name in READ_AS:
        own = READ_AS[name].here
        elsewhere = EXPLAINED.get(own, "it is an argument of the model (--model_args)")
        hint = f"here it is `{own}`" + ("" if own in known else f", and {elsewhere}")
    elif name in EXPLAINED:
        hint = EXPLAINED[name]
    elif near:
        hint = f"did you mean {' or '.join(f'`{n}`' for n in near)}?"
    elif len(known) <= _MOST_SHOWN:
        hint = f"known are {', '.join(known)}"
    else:
        hint = f"none of the {len(known)} known is like it"
    return f"unknown {kind} `{name}`; {hint}"


def near_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Those of the names that are like it, in capitals or not, the nearest first."""
    by_lower: dict[str, list[str]] = {}
    for one in known:
        by_lower.setdefault(one.lower(), []).append(one)
    near = difflib.get_close_matches(name.lower(), by_lower, n=most)
    return [one for lower in near for one in by_lower[lower]][:most]


def explains_unknown_names(kind: str) -> Callable[[type[T]], type[T]]:
    """Decorate a dataclass so that an unknown keyword raises `ValueError` with what it could have meant."""

    def decorate(cls: type[T]) -> type[T]:
        init, names = cls.__init__, tuple(inspect.signature(cls).parameters)

        @functools.wraps(init)
        def checked(self: T, *args: Any, **given: Any) -> None:
            check_names(given, names, kind=kind)
            init(self, *args, **given)

        setattr(cls, "__init__", checked)  # noqa: B010 - an assignment is a type error
        return cls

    return decorate
