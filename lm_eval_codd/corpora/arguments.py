"""What tasks on texts read of their own and of the model's arguments, which lm-eval hands them as metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.backbones.checkpoint import CONFIG_FILES, CheckpointError, find_checkpoint
from lm_eval_codd.backbones.plain_tokenizer import load_plain_tokenizer
from lm_eval_codd.dit.lightning import is_lightning, read_lightning
from lm_eval_codd.dit.packing import GROUP
from lm_eval_codd.latent.loading import is_coupling
from lm_eval_codd.rows import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Of published checkpoints, and of every published zero-shot perplexity.
_LENGTH: Final = 1024
_ALL: Final = "all"
_ADVICE: Final = "name the model's with --model_args ...,tokenizer=gpt2 (a hub id or a folder)"


class Arguments:
    """The arguments of a task.

    Args:
        task: its name, for messages.
        metadata: what its file says, under what `--model_args` and `--metadata` say.
    """

    def __init__(self, task: str, metadata: Mapping[str, Any]) -> None:
        self._task, self._given = task, metadata

    def flag(self, name: str, default: bool) -> bool:
        """True or false. Raises `DataError` for all else."""
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def number(self, name: str, default: int, least: int = 1) -> int:
        """A whole number. Raises `DataError` for all else."""
        value = self._given.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self._wrong(name, value, f"a whole number of at least {least}")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of some words, the first where none is given. Raises `DataError` for all else."""
        value = self._given.get(name, choices[0])
        if value not in choices:
            raise self._wrong(name, value, " or ".join(choices))
        return str(value)

    @property
    def group(self) -> int | None:
        """Texts that are packed together; None for all of them."""
        return None if self._given.get("group") == _ALL else self.number("group", GROUP)

    @property
    def path(self) -> Path | None:
        """The file that `data` names. Raises `DataError` where it is none."""
        given = self._given.get("data")
        if given is None:
            return None
        if not isinstance(given, str) or not Path(given).expanduser().is_file():
            raise self._wrong("data", given, "a file of JSON lines, or (.txt) of a text on each line")
        return Path(given).expanduser()

    @property
    def length(self) -> int:
        """Tokens of a row: as given, else what the checkpoint was trained with, else 1024.

        Raises:
            DataError: it is no length of a window.
            CheckpointError: the checkpoint cannot be found.
        """
        for name in ("length", "max_length"):
            if self._given.get(name) is not None:
                return self.number(name, _LENGTH, least=3)
        source = self._given.get("pretrained")
        if not isinstance(source, str):
            return _LENGTH
        if is_coupling(source):  # whose samples are all of one length, and short
            return _LENGTH
        if is_lightning(source):
            stored = read_lightning(source, algo=self._given.get("algo")).fields["model_length"]
        else:
            checkpoint = find_checkpoint(source, self._given.get("revision"), files=CONFIG_FILES)
            stored = checkpoint.config.get("model_length")
        return stored if isinstance(stored, int) and stored >= 3 else _LENGTH

    @property
    def tokenizer_source(self) -> tuple[str, str | None]:
        """Folder or hub id of the model's tokenizer, and its revision. Raises `DataError` where none is named."""
        if self._given.get("tokenizer") is not None:
            return str(self._given["tokenizer"]), None
        if not isinstance(self._given.get("pretrained"), str):
            raise DataError(f"{self._task}: it goes by token ids, and no tokenizer is named; {_ADVICE}")
        return self._given["pretrained"], self._given.get("revision")

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """That of the model. Raises `DataError` where none is named or it cannot be read."""
        try:
            return load_plain_tokenizer(*self.tokenizer_source)
        except CheckpointError as error:
            if self._given.get("tokenizer") is None:
                raise DataError(
                    f"{self._task}: `{self._given['pretrained']}` has no tokenizer that can be read; {_ADVICE}"
                ) from None
            raise DataError(f"{self._task}: {error}") from None

    def _wrong(self, name: str, value: object, allowed: str) -> DataError:
        return DataError(f"{self._task}: `{name}={value}` must be {allowed}; correct it in --metadata or --model_args")
