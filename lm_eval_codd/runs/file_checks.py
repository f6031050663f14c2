"""Files that runs need, looked at before the first run starts: from headers, so that it takes no time."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lm_eval_codd.catalogue import DATA_DIR
from lm_eval_codd.demo import packaged
from lm_eval_codd.files import special_tokens
from lm_eval_codd.files.disk import explained
from lm_eval_codd.files.untrusted import read_safetensors_header, shard_names
from lm_eval_codd.names import unknown_name
from lm_eval_codd.registration import tasks_dir
from lm_eval_codd.runs import checkpoints
from lm_eval_codd.runs.circuit_header import CircuitHeader, find_circuit, read_header
from lm_eval_codd.runs.recognition import mask_token, reader
from lm_eval_codd.runs.run import Run, is_own_task
from lm_eval_codd.runs.unconditional import UnconditionalRun
from lm_eval_codd.settings import DECODERS
from lm_eval_codd.task_files import read_task_file, task_files

if TYPE_CHECKING:
    from lm_eval_codd.settings import Family

_WEIGHTS: Final = "model.safetensors"
_VOCABULARY: Final = ("embedding_size", "vocab_size")
_TOKEN_IDS: Final = ("mask_id", "eos_id", "eot_id")


def find_problems(runs: Mapping[str, Run]) -> list[str]:
    """A line for each thing that keeps some of the runs from being possible, and which they are."""
    found: dict[str, list[str]] = {}
    for name, run in runs.items():
        for check in _OF_UNCONDITIONAL if isinstance(run, UnconditionalRun) else _CHECKS:
            try:
                check(run)
            except ValueError as error:
                found.setdefault(str(error), []).append(name)
    return [f"{text}  [{names[0] if len(names) == 1 else f'{len(names)} runs'}]" for text, names in found.items()]


def _check_task(run: Run) -> None:
    """Task names against lm-eval's index, and what a task needs against what there is."""
    if is_own_task(run.task):
        return
    files = task_files(run.include_path)
    if not files.names:
        return
    if not files.has(run.task):
        raise ValueError(unknown_name(run.task, [name for name in files.names if name.isprintable()], kind="task"))
    for name, config in files.configs(run.task):
        if config.get("unsafe_code") and not run.confirm_run_unsafe_code:
            raise ValueError(
                f"`--task {run.task}`: {name} executes programs that the model has written, without a sandbox; say "
                "--confirm_run_unsafe_code where that is safe"
            )


def _check_data(run: Run) -> None:
    """The file of a task of this package below CODD_DATA_DIR."""
    written = os.environ.get(DATA_DIR)
    if not written or not is_own_task(run.task) or run.comes_with_rows:
        return
    folder = Path(written).expanduser()
    if not folder.is_dir():
        raise ValueError(f"`{DATA_DIR}={written}` is not a folder; give an existing one, or unset it for the hub")
    config = read_task_file(tasks_dir() / run.short_task / f"{run.task}.yaml").get("dataset_kwargs") or {}
    names = [config[key] for key in ("file", "stand_in") if config.get(key)]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if names and path is None:
        raise ValueError(
            f"{run.task}: no file {folder / names[0]}; put the benchmark's rows there, or unset {DATA_DIR} for the hub"
        )
    if path is not None:
        _check_rows(run.task, path, config.get("columns") or [])


def _check_rows(task: str, path: Path, columns: list[str]) -> None:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            if path.suffix == ".csv":
                row = next(csv.DictReader(lines), None)
            else:
                first = next((line for line in lines if line.strip()), "")
                row = json.loads(first) if first else None
    except OSError as error:
        raise ValueError(f"{task}: {path} cannot be read: {explained(error, path)}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{task}: {path} is no text in UTF-8 ({error}); copy the file again") from None
    except ValueError as error:
        raise ValueError(
            f"{task}: the first line of {path} is not JSON ({error}); put the rows there as JSON lines"
        ) from None
    if row is None:
        raise ValueError(f"{task}: {path} has no rows; put the benchmark's rows there as JSON lines")
    missing = [column for column in columns if not isinstance(row, dict) or column not in row]
    if missing:
        raise ValueError(
            f"{task}: the first row of {path} has no {', '.join(missing)}; give rows with {', '.join(columns)}"
        )
    if path.suffix == ".csv" and (None in row or None in row.values()):
        raise ValueError(f"{task}: the first row of {path} has not as many fields as its heading; copy the file again")


def _check_checkpoint(run: Run) -> None:
    """A checkpoint's weights, tokenizer and token ids, where it is on this machine."""
    folder = checkpoints.folder_of(run.checkpoint, packaged.CHECKPOINTS)
    if folder is None or checkpoints.is_hub_id(run.checkpoint):
        return
    config = checkpoints.read_json(folder / "config.json")
    _check_weights(run.checkpoint, folder)
    own = [folder / "tokenizer.json"], [folder / name for name in ("vocab.json", "merges.txt")]
    if not any(all(path.is_file() for path in files) for files in own[: 1 if run.family == "llada" else 2]):
        raise ValueError(f"checkpoint {run.checkpoint} has no tokenizer.json; add its tokenizer's files")
    size = vocabulary(config)
    for name in _TOKEN_IDS:
        value = getattr(run.config, name)
        source = f"`--{name} {value}`"
        if value is None and name != "eot_id":
            value = config.get(name.replace("_id", "_token_id"))
            value = value[0] if isinstance(value, list) and value else value
            source = f"`{name.replace('_id', '_token_id')}` {value} of its config.json"
            if value is None:
                value, source = _by_tokenizer(folder, name, run.family), f"`{name}` of its tokenizer's files"
            if value is None:
                raise ValueError(f"checkpoint {run.checkpoint} names no {name.replace('_', ' ')}; give --{name}")
        if size is not None and isinstance(value, int) and not 0 <= value < size:
            raise ValueError(f"{source} is outside the {size} tokens of {run.checkpoint}; give another --{name}")


def _check_folder(run: Run) -> None:
    """Of a checkpoint without prompts, whose tokenizer may be another's, where it is a folder on this machine."""
    folder = checkpoints.folder_of(run.checkpoint, packaged.CHECKPOINTS)
    if folder is not None and folder.is_dir() and not checkpoints.is_hub_id(run.checkpoint):
        _check_weights(run.checkpoint, folder)


def _by_tokenizer(folder: Path, name: str, family: Family) -> int | None:
    if name == "mask_id":
        return mask_token(folder, family)
    found = special_tokens.end_of_text(reader(folder))
    return None if found is None else found.id


def _check_weights(checkpoint: str, folder: Path) -> None:
    index, names = folder / f"{_WEIGHTS}.index.json", [_WEIGHTS]
    if index.is_file() and not (folder / _WEIGHTS).is_file():
        content = checkpoints.read_json(index)
        try:
            names = shard_names(content)
        except ValueError as error:
            raise ValueError(f"checkpoint {checkpoint}: {index.name} {error}; fetch the file again") from None
    missing = [name for name in names if not (folder / name).is_file()]
    if missing == [_WEIGHTS]:
        raise ValueError(
            f"checkpoint {checkpoint} has a config.json and no {_WEIGHTS}; fetch its weights (pickles are not read)"
        )
    if missing:
        raise ValueError(f"checkpoint {checkpoint} lacks {len(missing)} of its {len(names)} shards ({missing[0]})")
    for name in names:
        try:
            read_safetensors_header(folder / name)
        except (OSError, ValueError) as error:
            raise ValueError(f"weights {folder / name} of a checkpoint: the file {error}; fetch it again") from None


def _check_planner(run: Run) -> None:
    """A planner's weights and its vocabulary against the backbone's, where they are on this machine."""
    path = None if run.planner is None else checkpoints.folder_of(run.planner, packaged.CHECKPOINTS)
    if run.planner is None or path is None or checkpoints.is_hub_id(run.planner):
        return
    _check_weights(run.planner, path)
    folder = checkpoints.folder_of(run.checkpoint, packaged.CHECKPOINTS)
    own, size = (None if at is None else vocabulary(checkpoints.read_json(at / "config.json")) for at in (path, folder))
    if own is not None and size is not None and own != size:
        raise ValueError(
            f"`--planner_ckpt {run.planner}` knows {own} tokens, and {run.checkpoint} {size}; use a model with the "
            "backbone's own tokenizer"
        )


def _check_circuit(run: Run) -> None:
    """A circuit against the run's blocks and the backbone's vocabulary, as far as both are on this machine."""
    path = None if run.circuit is None else checkpoints.folder_of(run.circuit, packaged.CIRCUITS)
    if path is None:
        return
    try:
        header = read_header(find_circuit(path))
    except ValueError as error:
        raise ValueError(f"`--pc_ckpt {run.circuit}`: it {error}") from None
    _check_window(run, header)
    folder = checkpoints.folder_of(run.checkpoint, packaged.CHECKPOINTS)
    size = None if folder is None else vocabulary(checkpoints.read_json(folder / "config.json"))
    if size is not None and header.vocab_size is not None and header.vocab_size < size:
        raise ValueError(
            f"`--pc_ckpt {run.circuit}` knows {header.vocab_size} tokens, fewer than the {size} of {run.checkpoint}; "
            "use a circuit made for this backbone"
        )


def _check_window(run: Run, header: CircuitHeader) -> None:
    window, config = header.num_positions, run.config
    if isinstance(run, UnconditionalRun):  # there is no block, and a row's windows may be of any length
        return
    if window is None or DECODERS[config.decoder].circuits == "tiles" or run.decodes_nothing:
        return
    if config.goes_by_blocks and config.block_length != window:
        raise ValueError(
            f"`--block_length {config.block_length}` must equal the window of {window} positions of {run.circuit}; "
            f"set --block_length {window}, or use another circuit"
        )
    if config.gen_length < window:
        raise ValueError(
            f"`--gen_length {config.gen_length}` is shorter than the window of {window} positions of {run.circuit}; "
            f"use at least {window}"
        )


def vocabulary(config: Mapping[str, Any]) -> int | None:
    """Logit columns of a checkpoint by its config.json; None where it does not say."""
    return next((config[name] for name in _VOCABULARY if isinstance(config.get(name), int) and config[name]), None)


_CHECKS: Final[tuple[Callable[[Run], None], ...]] = (
    _check_task,
    _check_data,
    _check_checkpoint,
    _check_planner,
    _check_circuit,
)
_OF_UNCONDITIONAL: Final[tuple[Callable[[Run], None], ...]] = (
    _check_task,
    _check_data,
    _check_folder,
    _check_circuit,
)
