"""What a checkpoint argument names (the package's own, a folder, a hub id), checked as far as files here tell."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lm_eval_codd.demo import packaged
from lm_eval_codd.files import hub_ids
from lm_eval_codd.files.untrusted import read_object

# What a checkpoint, an adapter or a circuit is read from.
_READ: Final = (".safetensors", ".json", ".jinja", ".jpc", ".model", ".txt")
_LENGTHS: Final = ("max_sequence_length", "max_position_embeddings")


def resolve(flag: str, value: str, *, file_allowed: bool = False) -> str:
    """`value` in one spelling: a name of the package's own, the absolute path of what exists, or a hub id.

    A hub id may be pinned to a branch, tag or commit: `owner/name@revision`.

    Raises:
        ValueError: one line when it is none of them.
    """
    if is_packaged(value):
        return value
    path = Path(value).expanduser()
    if (value and path.is_dir()) or (file_allowed and path.is_file()):
        return str(path.resolve())
    if hub_ids.is_hub_id(value) or hub_ids.is_pinned_hub_id(value):
        return value
    raise ValueError(
        f"`--{flag} {value}`: there is no such {'file or ' if file_allowed else ''}folder, "
        f"and a hub id is written owner/name, or owner/name@revision"
    )


def is_packaged(checkpoint: str) -> bool:
    """Whether it is a name of a checkpoint or circuit that comes with the package."""
    return checkpoint in packaged.CHECKPOINTS


def is_hub_id(checkpoint: str) -> bool:
    """Whether a resolved checkpoint has to be fetched."""
    return not is_packaged(checkpoint) and not Path(checkpoint).is_absolute()


def split_revision(checkpoint: str) -> tuple[str, str | None]:
    """A resolved checkpoint without the revision that it is pinned to, and that revision."""
    if not is_hub_id(checkpoint):
        return checkpoint, None
    name, _, revision = checkpoint.partition("@")
    return name, revision or None


def folder_of(checkpoint: str, own: Mapping[str, Path]) -> Path | None:
    """Where a checkpoint's files are on this machine; None for a hub id that is not in the hub's cache.

    Args:
        checkpoint: in the spelling of `resolve`.
        own: what the package's names stand for.
    """
    if not is_hub_id(checkpoint):
        return own[checkpoint] if checkpoint in own else Path(checkpoint)
    name, revision = split_revision(checkpoint)
    repository = _hub_cache() / f"models--{name.replace('/', '--')}"
    try:
        commit = (repository / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision or ""
    folder = repository / "snapshots" / commit
    return folder if commit and folder.is_dir() else None


def chat_templates(folder: Path) -> list[str]:
    """Names of the chat templates of a checkpoint's tokenizer; a single one is called `default`."""
    names = [path.stem for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))]
    if (folder / "chat_template.jinja").is_file():
        return ["default", *names]
    for file in ("chat_template.json", "tokenizer_config.json"):
        found = read_json(folder / file).get("chat_template")
        if isinstance(found, list):
            names += [str(entry["name"]) for entry in found if isinstance(entry, dict) and entry.get("name")]
        elif found:
            names.insert(0, "default")
        if found:
            break
    return names


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a checkpoint's file; empty where there is no such file. Raises `ValueError` for any other."""
    if not path.is_file():
        return {}
    try:
        return read_object(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} {error}; fetch the file again") from None


def _hub_cache() -> Path:
    """Where huggingface_hub keeps what it has fetched, by the environment variables that it reads."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def check_model(flag: str, folder: str, gen_length: int | None) -> int | None:
    """Check a checkpoint folder against a run; returns the longest sequence it can take, None where unsaid.

    Args:
        flag: that named the folder.
        folder: of the checkpoint.
        gen_length: of an answer; None where nothing is decoded.

    Raises:
        ValueError: one line for a folder without a config, or shorter than the answer.
    """
    config = _read_config(flag, folder)
    length = next((config[name] for name in _LENGTHS if isinstance(config.get(name), int)), None)
    if length is not None and gen_length is not None and gen_length >= length:
        raise ValueError(
            f"`--gen_length {gen_length}` leaves no room for a prompt: {folder} takes {length} tokens in all; "
            f"use a smaller gen_length"
        )
    return length


def model_type(folder: str) -> str:
    """What config.json says it is, in small letters; empty where it does not say."""
    return str(read_json(Path(folder) / "config.json").get("model_type", "")).lower()


def check_adapter(flag: str, folder: str) -> None:
    """Raise `ValueError` for a folder that holds no adapter."""
    if not (Path(folder) / "adapter_config.json").is_file():
        raise ValueError(f"`--{flag} {folder}` holds no adapter_config.json; give the folder of a LoRA adapter")


def weight_bytes(checkpoint: str) -> int | None:
    """Size of a checkpoint's weight files, None where they are not on this machine."""
    if is_packaged(checkpoint) or is_hub_id(checkpoint):
        return None
    return sum(file.stat().st_size for file in Path(checkpoint).glob("*.safetensors")) or None


def fingerprint(checkpoint: str, own: Mapping[str, Path]) -> str | None:
    """Names, sizes and times of a local checkpoint's files as a hash; None for a hub id, whose revision is recorded.

    Cheap for any size of weights, and different once a file is written again, even with the same content: then the
    run that depends on it goes on from its journal, which looks at the content.

    Args:
        checkpoint: in the spelling of `resolve`.
        own: what the package's names stand for.
    """
    if is_hub_id(checkpoint):
        return None
    path = own[checkpoint] if checkpoint in own else Path(checkpoint)
    files = [path] if path.is_file() else [file for file in sorted(path.glob("[!.]*")) if file.suffix in _READ]
    if is_packaged(checkpoint):  # it came later than the demo, and the launcher reads none of the defaults in it
        files = [file for file in files if file.name != "generation_config.json"]
    digest = hashlib.sha256()
    for file in files:
        about = file.stat()
        digest.update(f"{file.name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _read_config(flag: str, folder: str) -> dict[str, Any]:
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ValueError(f"`--{flag} {folder}` holds no config.json; give the folder of a checkpoint")
    return read_json(path)
