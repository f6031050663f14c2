"""Tokens that a checkpoint's tokenizer files name, read as JSON: no tokenizer is built for that.

Of a checkpoint with the configuration of an ordinary autoregressive model, a mask token in these files is the one mark
of a diffusion model (spec/decoders.md 6). Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

# A JSON file of the checkpoint by its name; empty where it is not there.
Read = Callable[[str], Mapping[str, Any]]

_CONFIG: Final = "tokenizer_config.json"
_SPECIAL: Final = "special_tokens_map.json"
# How trainings of diffusion models spell it where they add it to another model's tokenizer.
MASK_SPELLINGS: Final = ("<M>", "<|mask|>", "<|MASK|>", "|<MASK|>", "<mask>", "[MASK]", "<|mdm_mask|>")


class Found(NamedTuple):
    """A token: its string, its id, and the file that says so."""

    token: str
    id: int
    file: str


def find_mask(read: Read, spellings: tuple[str, ...] = MASK_SPELLINGS) -> Found | None:
    """The mask token: the one that is declared as such, else one that is spelled as one; None where there is none."""
    for file in (_CONFIG, _SPECIAL):
        declared = _text(read(file).get("mask_token"))
        if declared and (found := find_token(read, declared)) is not None:
            return Found(declared, found.id, file)
    return find_token(read, *spellings)


def find_token(read: Read, *spellings: str) -> Found | None:
    """A token of the tokenizer's by its string, or by the first of several; None where no file has it."""
    for file, tokens in _vocabularies(read):
        for token in spellings:
            if token in tokens:
                return Found(token, tokens[token], file)
    return None


def end_of_text(read: Read) -> Found | None:
    """The tokenizer's eos token."""
    declared = _text(read(_CONFIG).get("eos_token"))
    return find_token(read, declared) if declared else None


def first_free_id(read: Read) -> int | None:
    """One more than the largest id that a file has; None where no file has any."""
    ids = [number for _, tokens in _vocabularies(read) for number in tokens.values()]
    return max(ids) + 1 if ids else None


def _vocabularies(read: Read) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Every file that gives tokens their ids, the smallest first. What has another form than expected gives none."""
    listed = _object(read(_CONFIG).get("added_tokens_decoder"))
    yield _CONFIG, _numbered({_text(entry): int(number) for number, entry in listed.items() if _is_id(number)})
    yield "added_tokens.json", _numbered(read("added_tokens.json"))
    whole = read("tokenizer.json")
    added = whole.get("added_tokens")
    entries = [entry for entry in added if isinstance(entry, Mapping)] if isinstance(added, list) else []
    yield "tokenizer.json", _numbered({_text(entry): entry.get("id") for entry in entries})
    vocabulary = _object(whole.get("model")).get("vocab")
    if isinstance(vocabulary, list):  # of a Unigram model: pairs of a token and its score, in order
        pairs = ((entry[0] if isinstance(entry, list) and entry else None) for entry in vocabulary)
        vocabulary = {token: number for number, token in enumerate(pairs) if isinstance(token, str)}
    yield "tokenizer.json", _numbered(_object(vocabulary))
    yield "vocab.json", _numbered(read("vocab.json"))


def _object(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}


def _numbered(content: Mapping[Any, Any]) -> dict[str, int]:
    """The entries that are a token and an id."""
    return {token: number for token, number in content.items() if isinstance(token, str) and type(number) is int}


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _text(token: Any) -> str | None:
    """A token's string, which these files hold bare or in an object."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else None
