"""A checkpoint's files: found in a folder or fetched from the hub, described without loading any weights."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.demo.packaged import CHECKPOINTS
from lm_eval_codd.files.hub_ids import is_hub_id
from lm_eval_codd.files.untrusted import StoredTensor, read_object, read_safetensors_header, shard_names

CONFIG_FILES: Final = ("*.json", "*.jinja", "merges.txt")
WEIGHT_FILES: Final = ("*.safetensors",)

_WEIGHTS: Final = "model.safetensors"
_ADAPTER: Final = "adapter_config.json"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
# What wrappers of a model in training add to the names of its weights.
_WRAPPERS: Final = {
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
    "base_model.model.": "peft",
    "module.": "DataParallel (or DeepSpeed)",
}
_DTYPES: Final = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

# What decides a model's answers: shape, weights, tokenizer. Read-mes and training logs do not.
_IDENTITY_FILES: Final = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "adapter_config.json",
    "adapter_model.safetensors",
)
_SAMPLE_BYTES: Final = 1 << 16
_NUM_SAMPLES: Final = 256


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """Files of a checkpoint on this machine.

    Attributes:
        source: the folder or hub id, as it was given.
        folder: where the files are.
        commit: the hub's commit hash; None for a folder.
        kind: what messages call it: `checkpoint`, or `adapter`.
    """

    source: str
    folder: Path
    commit: str | None = None
    kind: str = "checkpoint"

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json. Raises `CheckpointError` when there is none."""
        if not (self.folder / "config.json").is_file():
            raise CheckpointError(f"checkpoint `{self.source}` has no config.json; give a folder or a hub id that has")
        return self.read_json("config.json")

    @property
    def max_length(self) -> int | None:
        """Tokens of prompt and answer together that config.json says; None where it does not."""
        lengths = (self.config.get(name) for name in ("max_sequence_length", "max_position_embeddings"))
        return next((length for length in lengths if type(length) is int and length > 0), None)

    def tokenizer_files(self) -> dict[str, Any]:
        """Arguments for `from_pretrained` with which a tokenizer is made of the folder's files alone.

        Older releases of transformers go by names in tokenizer_config.json, of files outside of the folder too.

        Raises:
            CheckpointError: that file is no JSON.
        """
        return {name: None for name in self.read_json("tokenizer_config.json") if name.endswith("_file")}

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the checkpoint; empty when it is not there."""
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            return read_object(path)
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{self.kind} `{self.source}`: {name} {error}; fetch the file again") from None

    @cached_property
    def weight_files(self) -> list[Path]:
        """The safetensors shards. Raises `CheckpointError` when there are none, or when one of them is missing."""
        files = [self.folder / name for name in self._weight_names]
        missing = [path.name for path in files if not path.is_file()]
        if missing == [_WEIGHTS]:
            pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in self.folder.glob(pattern))
            found = f", only pickle files, which are not read ({', '.join(pickles)})" if pickles else ""
            raise CheckpointError(
                f"checkpoint `{self.source}` has no {_WEIGHTS}{found}; save it with safe_serialization=True"
            )
        if missing:
            raise CheckpointError(
                f"checkpoint `{self.source}` lacks {len(missing)} of its {len(files)} shards ({missing[0]}); "
                "fetch the rest"
            )
        return files

    @property
    def _weight_names(self) -> list[str]:
        # As transformers chooses; a folder may hold a circuit or an adapter in safetensors as well.
        index = f"{_WEIGHTS}.index.json"
        if (self.folder / _WEIGHTS).is_file() or not (self.folder / index).is_file():
            return [_WEIGHTS]
        try:
            return shard_names(self.read_json(index))
        except CheckpointError:
            raise
        except ValueError as error:
            raise CheckpointError(f"checkpoint `{self.source}`: {index} {error}; fetch the file again") from None

    @cached_property
    def stored(self) -> dict[str, StoredTensor]:
        """Each stored tensor by its name: its dtype and shape, from the headers of the weight files."""
        return {name: tensor for path in self.weight_files for name, tensor in _header(path).items()}

    @cached_property
    def stored_dtype(self) -> str:
        """Name of the dtype that most of the stored numbers have, such as `bfloat16`."""
        sizes: Counter[str] = Counter()
        for tensor in self.stored.values():
            sizes[tensor.dtype] += tensor.size
        return _DTYPES[sizes.most_common(1)[0][0]]

    def refuse_unusable_weights(self) -> None:
        """Raise `CheckpointError` for weights that would load as other ones than they are, from their headers alone."""
        if (self.folder / _ADAPTER).is_file():
            raise CheckpointError(
                f"checkpoint `{self.source}` has an {_ADAPTER} beside its config.json, and where peft is installed "
                "that adapter would be loaded with it; move it to a folder of its own, and give that as peft="
            )
        if not self.stored:
            raise CheckpointError(f"checkpoint `{self.source}`: its weight files hold no tensors; fetch them again")
        quantised = [name for name, tensor in self.stored.items() if tensor.dtype not in _DTYPES]
        if quantised:
            raise CheckpointError(
                f"checkpoint `{self.source}` stores {len(quantised)} of {len(self.stored)} tensors as numbers of "
                f"another kind ({quantised[0]} as {self.stored[quantised[0]].dtype}), so it is quantised, and no "
                f"dtype= undoes that; give the checkpoint that it was made from, in {', '.join(_DTYPES.values())}"
            )
        for part, wrapper in _WRAPPERS.items():
            name = next((name for name in self.stored if f".{part}" in f".{name}"), None)
            if name is not None:
                raise CheckpointError(
                    f"checkpoint `{self.source}` was saved with its wrapper: {wrapper} put `{part}` into the names of "
                    f"its weights ({name}); save the model inside of it, or rename them without `{part}`"
                )

    @cached_property
    def identity(self) -> str:
        """The commit on the hub, or a hash of the folder's files: equal for equal files, wherever they lie.

        Small files are hashed whole, weights by their size, header and evenly spread samples (at most 16 MiB a file):
        a trained checkpoint differs everywhere, and reading 16 GB at every start would cost half a minute.
        """
        if self.commit:
            return self.commit
        digest = hashlib.sha256()
        for name in (*self._weight_names, *_IDENTITY_FILES):
            path = self.folder / name
            if path.is_file():
                digest.update(f"{name}\0{path.stat().st_size}\0".encode())
                update_with_samples(digest, path)
        return f"sha256:{digest.hexdigest()[:24]}"


def find_checkpoint(
    source: str | Path,
    revision: str | None = None,
    *,
    files: tuple[str, ...] = CONFIG_FILES + WEIGHT_FILES,
    kind: str = "checkpoint",
) -> Checkpoint:
    """The checkpoint's files, fetched from the hub unless `source` is a folder or one of the package's.

    Args:
        source: a folder, a hub id (`owner/name`), or a name of `packaged.CHECKPOINTS`.
        revision: branch, tag or commit on the hub.
        files: patterns of what to fetch from the top of the hub's repository. Code and pickles never are.
        kind: what messages call it: `checkpoint`, or `adapter`.

    Raises:
        CheckpointError: there is no such folder or repository, or the hub cannot be reached.
    """
    source = str(source)
    if not source.strip():
        raise CheckpointError(f"no {kind} is named; give a folder, or a hub id such as owner/name")
    folder = Path(source).expanduser()
    if source in CHECKPOINTS and not folder.is_dir():
        folder = CHECKPOINTS[source]
        if not folder.is_dir():
            raise CheckpointError(
                f"checkpoint `{source}` is not in this installation ({folder}); reinstall the package"
            )
    if folder.is_dir():
        if revision is not None:
            raise CheckpointError(f"`revision={revision}` is for hub ids; `{source}` is a folder, leave it out")
        return Checkpoint(source, folder, kind=kind)
    if folder.exists():
        raise CheckpointError(f"{kind} `{source}` is a file; give the folder that it lies in")
    if not is_hub_id(source):
        raise CheckpointError(f"{kind} `{source}` does not exist; give a folder, or a hub id such as owner/name")
    return _fetch(source, revision, files, kind)


def _fetch(hub_id: str, revision: str | None, files: tuple[str, ...], kind: str) -> Checkpoint:
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(hub_id, revision=revision, allow_patterns=list(files), ignore_patterns=["*/*"])
    except errors.GatedRepoError:
        reason = "it is gated: accept its terms on the hub, then `hf auth login`"
    except errors.RepositoryNotFoundError:
        reason = "no such folder here, and no such repository on the hub (a private one needs `hf auth login`)"
    except errors.RevisionNotFoundError:
        reason = f"the repository has no `revision={revision}`"
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        reason = "no such folder here, not in the hub's cache, and the hub cannot be reached"
    except Exception as error:  # of the HTTP library, which changes with the version of the hub's client
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        commit = Path(folder).name
        return Checkpoint(hub_id, Path(folder), commit if _COMMIT.fullmatch(commit) else None, kind)
    raise CheckpointError(f"{kind} `{hub_id}` cannot be fetched: {reason}")


def _header(path: Path) -> dict[str, StoredTensor]:
    try:
        return read_safetensors_header(path)[0]
    except (ValueError, OSError) as error:
        raise CheckpointError(f"weights: the file `{path}` {error}; fetch it again") from None


def identity_of_file(path: Path) -> str:
    """Of a checkpoint that is one file: a hash of its size and of what `update_with_samples` takes of it."""
    digest = hashlib.sha256(str(path.stat().st_size).encode())
    update_with_samples(digest, path)
    return f"sha256:{digest.hexdigest()[:24]}"


def update_with_samples(digest: hashlib._Hash, path: Path) -> None:
    """Feed a digest with a file, or with evenly spread samples of a large one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _NUM_SAMPLES * _SAMPLE_BYTES:
            digest.update(file.read())
            return
        for index in range(_NUM_SAMPLES):
            file.seek(index * (size - _SAMPLE_BYTES) // (_NUM_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
