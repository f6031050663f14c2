"""Files are looked at before the first run starts; each fault is a line that names the file."""

import errno
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lm_eval_codd.runs import file_checks
from lm_eval_codd.runs.circuit_header import CircuitHeader, read_header
from lm_eval_codd.runs.file_checks import find_problems
from lm_eval_codd.runs.make_run import parse_run

CIRCUITS = Path(__file__).parents[1] / "golden" / "circuits"
JPC = CIRCUITS / "tiny_enum" / "model.jpc"


def problem(text: str) -> str:
    """The one problem of a run; empty where it has none."""
    problems = find_problems({"name": parse_run(f"--model_alias llada {text}")})
    assert len(problems) <= 1
    return "".join(problems)


@pytest.fixture
def text_of(checkpoint, monkeypatch) -> Callable[[str], str]:
    monkeypatch.delenv(file_checks.DATA_DIR, raising=False)
    return lambda task: f"--llada_ckpt '{checkpoint}' --task {task}"


@pytest.fixture
def text(text_of) -> str:
    return text_of("gsm8k")


class TestTasks:
    def test_are_lm_evals_or_the_users(self, text_of, tmp_path):
        assert "unknown task `gsm8`; did you mean `gsm8k`" in problem(text_of("gsm8"))
        assert not problem(text_of("stock:gsm8k"))
        mine = text_of("mine")
        assert "unknown task `mine`" in problem(mine)
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "mine.yaml").write_text("task: mine\noutput_type: generate_until\n")
        assert not problem(f"{mine} --include_path '{tmp_path}/own'")

    def test_that_ask_for_likelihoods_have_no_fault(self, text_of):
        assert not problem(text_of("arc_easy"))
        assert not problem(text_of("mmlu"))

    def test_that_execute_programs_need_a_word(self, text_of):
        humaneval = text_of("stock:humaneval")
        assert "say --confirm_run_unsafe_code" in problem(humaneval)
        assert not problem(f"{humaneval} --confirm_run_unsafe_code")
        assert not problem(text_of("mbpp"))


class TestCheckpoints:
    def test_the_fixture_and_the_demo_have_no_fault(self, text):
        assert not problem(text)
        assert not problem("--llada_ckpt demo --task demo --gen_length 32 --pc_ckpt demo")

    def test_without_weights_or_tokenizer_are_named(self, text, checkpoint):
        (checkpoint / "tokenizer.json").unlink()
        assert "has no tokenizer.json" in problem(text)
        (checkpoint / "model.safetensors").unlink()
        assert "has a config.json and no model.safetensors; fetch its weights" in problem(text)

    @pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", 7])
    def test_with_shards_outside_of_their_folder_are_refused(self, text, checkpoint, name):
        (checkpoint / "model.safetensors").rename(checkpoint.parent / "other.safetensors")
        (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
        assert "model.safetensors.index.json has" in problem(text)

    @pytest.mark.parametrize("content", ["[" * 100_000, "[]", "{", '{"a": '])
    def test_whose_files_are_no_json_are_refused(self, text, checkpoint, content):
        (checkpoint / "config.json").write_text(content)
        with pytest.raises(ValueError, match=r"config\.json (is not valid|holds no) JSON.*; fetch the file again"):
            problem(text)

    def test_with_missing_or_torn_shards_are_named(self, text, checkpoint):
        names = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
        (checkpoint / "model.safetensors").rename(checkpoint / "model-1.safetensors")
        (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
        assert "lacks 1 of its 2 shards (model-2.safetensors)" in problem(text)
        header = json.dumps({"b": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
        (checkpoint / "model-2.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(15))
        assert f"is cut short: {8 + len(header) + 15} bytes of" in problem(text)
        (checkpoint / "model-2.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
        assert "model-2.safetensors of a checkpoint: the file is damaged" in problem(text)

    @pytest.mark.parametrize(
        ("change", "more", "message"),
        [
            ({}, "--mask_id 99", "`--mask_id 99` is outside the 99 tokens"),
            ({}, "--eot_id 500", "`--eot_id 500` is outside the 99 tokens"),
            ({"eos_token_id": [100, 3]}, "", "`eos_token_id` 100 of its config.json is outside the 99 tokens"),
            ({"mask_token_id": None}, "", "names no mask id; give --mask_id"),
            ({"mask_token_id": None}, "--mask_id 5", ""),
        ],
    )
    def test_with_an_id_outside_the_vocabulary_are_named(self, text, checkpoint, change, more, message):
        config = json.loads((checkpoint / "config.json").read_text())
        (checkpoint / "config.json").write_text(json.dumps({**config, **change}))
        found = problem(f"{text} {more}")
        assert message in found and bool(message) == bool(found)


class TestCircuits:
    def test_headers_tell_positions_and_tokens(self, tmp_path):
        from lm_eval_codd.circuits import load_circuit, save_circuit

        for path in CIRCUITS.glob("*/*.jpc"):
            circuit = load_circuit(path)
            sizes = CircuitHeader(circuit.num_positions, circuit.vocab_size)
            assert read_header(path) == sizes
            assert read_header(save_circuit(circuit, tmp_path / "c.safetensors")) == sizes
            assert read_header(save_circuit(circuit, tmp_path / "c.jpc")) == sizes

    def test_the_content_of_large_tables_is_not_read(self, tmp_path):
        import tracemalloc

        import torch

        from lm_eval_codd.circuits import HMM, save_circuit

        circuit = HMM(torch.ones(4) / 4, torch.ones(4, 4) / 4, torch.ones(4, 50_000) / 50_000, 3)
        path = save_circuit(circuit, tmp_path / "large.jpc")
        tracemalloc.start()
        assert read_header(path) == CircuitHeader(3, 50_000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < path.stat().st_size / 4

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "it is empty"),
            (b"hello", "it is not a readable .jpc file"),
            (pickle.dumps([]), "it is not a circuit: it has no leaves"),
            (pickle.dumps(Path("x")), "it asks to load `pathlib"),
        ],
    )
    def test_that_are_none_are_refused(self, text, tmp_path, content, message):
        (tmp_path / "c.jpc").write_bytes(content)
        assert message in problem(f"{text} --pc_ckpt '{tmp_path}/c.jpc'")

    def test_cut_short_are_refused(self, text, tmp_path):
        (tmp_path / "c.jpc").write_bytes(JPC.read_bytes()[:-40])
        assert "damaged or cut short" in problem(f"{text} --pc_ckpt '{tmp_path}/c.jpc'")

    def test_a_folder_without_one_is_refused(self, text, tmp_path):
        (tmp_path / "none").mkdir()
        assert "it holds no circuit; it must have one of circuit.safetensors" in problem(
            f"{text} --pc_ckpt '{tmp_path}/none'"
        )

    def test_must_fit_the_blocks_and_the_vocabulary(self, text, tmp_path):
        header = read_header(JPC)
        shutil.copy(JPC, tmp_path / "c.jpc")
        text = f"{text} --pc_ckpt '{tmp_path}/c.jpc'"
        assert f"`--block_length 32` must equal the window of {header.num_positions} positions" in problem(text)
        window = header.num_positions
        fitting = f"{text} --block_length {window} --gen_length {8 * window} --num_steps 8"
        assert f"knows {header.vocab_size} tokens, fewer than the 99 of" in problem(fitting)
        full = f"{text} --paradigm full --gen_length {window - 1} --num_steps 1"
        assert any(
            f"is shorter than the window of {window}" in line
            for line in find_problems({"a": parse_run(f"--model_alias llada {full}")})
        )


class TestData:
    ROW = json.dumps({"question": "", "answer": ""})

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "codd_gsm8k: no file "),
            ("", "test.jsonl has no rows"),
            ("\n \n", "test.jsonl has no rows"),
            ("{\n", "the first line of "),
            ('{"question": ""}\n', "has no answer; give rows with question, answer"),
            ("[1]\n", "has no question, answer"),
            (f"{ROW}\n", ""),
            (f"\n{ROW}\n", ""),
        ],
    )
    def test_must_have_rows_with_the_columns_that_are_read(self, text, tmp_path, monkeypatch, content, message):
        (tmp_path / "data" / "gsm8k").mkdir(parents=True)
        monkeypatch.setenv(file_checks.DATA_DIR, str(tmp_path / "data"))
        if content is not None:
            (tmp_path / "data" / "gsm8k" / "test.jsonl").write_text(content)
        found = problem(text)
        assert message in found and bool(message) == bool(found)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "sudoku_wino: no file "),
            (b"", "has no rows"),
            (b"Puzzle,Solution\n", "has no rows"),
            (b"Puzzle\n0123\n", "has no Solution"),
            (b"Puzzle,Solution\n0123\n", "has not as many fields as its heading; copy the file again"),
            (b"Puzzle,Solution\n0123,4123,1\n", "has not as many fields as its heading; copy the file again"),
            (b"Puzzle,Solution\n\xff,1\n", "is no text in UTF-8"),
            (b"Puzzle,Solution\n0123,4123\n", ""),
        ],
    )
    def test_a_table_must_have_them_too(self, text_of, tmp_path, monkeypatch, content, message):
        (tmp_path / "data" / "sudoku").mkdir(parents=True)
        monkeypatch.setenv(file_checks.DATA_DIR, str(tmp_path / "data"))
        if content is not None:
            (tmp_path / "data" / "sudoku" / "4x4_test_sudoku.csv").write_bytes(content)
        found = problem(text_of("sudoku_wino"))
        assert message in found and bool(message) == bool(found)

    def test_must_be_readable(self, text, tmp_path, monkeypatch):
        """The tests may run as a user who may read everything."""
        path, before = tmp_path / "gsm8k" / "test.jsonl", Path.open

        def refuse(self, *args, **kwargs):
            if self == path:
                raise PermissionError(errno.EACCES, "Permission denied")
            return before(self, *args, **kwargs)

        path.parent.mkdir()
        path.touch()
        monkeypatch.setenv(file_checks.DATA_DIR, str(tmp_path))
        monkeypatch.setattr(Path, "open", refuse)
        assert problem(text).startswith(f"codd_gsm8k: {path} cannot be read: Permission denied: ")

    def test_must_be_in_a_folder(self, text, tmp_path, monkeypatch):
        monkeypatch.setenv(file_checks.DATA_DIR, str(tmp_path / "none"))
        assert "is not a folder" in problem(text)
        assert not problem("--llada_ckpt demo --task demo --gen_length 32")
        assert not problem("--llada_ckpt demo --task coupling_shuffle --gen_length 32")
