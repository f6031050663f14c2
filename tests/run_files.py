"""Files that a run needs, as small as they can be: enough for whoever looks at headers only."""

import json
from pathlib import Path

from lm_eval_codd.registration import tasks_dir
from lm_eval_codd.task_files import read_task_file


def header_alone(**header: dict) -> bytes:
    """A .safetensors file of tables without content."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def circuit_file(path: Path) -> Path:
    """A file whose header is that of a circuit that fits the checkpoint."""
    emission = {"dtype": "F32", "shape": [4, 99], "data_offsets": [0, 0]}
    path.write_bytes(header_alone(__metadata__={"num_positions": "32"}, emission=emission))
    return path


def data_folder(folder: Path) -> None:
    """A row for each task of the package."""
    for path in tasks_dir().glob("*/*.yaml"):
        rows = read_task_file(path).get("dataset_kwargs", {})
        if "file" not in rows:  # a group of tasks, or one that is told its file
            continue
        file = folder / rows["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(dict.fromkeys(rows["columns"], "")) + "\n")


def checkpoint_folder(parent: Path) -> Path:
    """A folder that looks like a LLaDA checkpoint."""
    folder = parent / "tiny llada"
    folder.mkdir()
    config = {"model_type": "llada", "max_sequence_length": 4096, "vocab_size": 99, "mask_token_id": 98}
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 97}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(header_alone())
    return folder
