import errno
import json
import shutil
from pathlib import Path

import datasets
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from lm_eval import evaluate
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

from lm_eval_codd.rows import DataError, content_hash, read_lines, read_texts

QUESTION = {"question": "1 + 1?", "answer": "#### 2"}


class TransportError(Exception):
    """As in httpx, and in httpx2, of which huggingface_hub brings one or the other."""


class ConnectTimeout(TransportError):
    pass


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.fixture
def data_dir(tmp_path):
    """A data folder with one GSM8K row."""
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text(json.dumps(QUESTION) + "\n")
    return tmp_path


class TestContentHash:
    def test_does_not_depend_on_the_order_of_keys_or_on_further_columns(self):
        other = {"id": 7, "answer": "#### 2", "question": "1 + 1?"}
        assert content_hash([QUESTION], ["question", "answer"]) == content_hash([other], ["question", "answer"])

    def test_changes_with_a_character_and_with_the_order_of_rows(self):
        columns = ["question", "answer"]
        changed = {**QUESTION, "question": "1 + 1 ?"}
        hashes = {content_hash(rows, columns) for rows in ([QUESTION, changed], [changed, QUESTION], [QUESTION] * 2)}
        assert len(hashes) == 3


class TestProvenance:
    @pytest.mark.parametrize(("name", "rows"), [("codd_gsm8k", 1319), ("codd_math500", 500), ("codd_mbpp", 500)])
    def test_the_published_sets_are_recognised(self, load_task, shared_dir, name, rows):
        data = load_task(name, shared_dir / "data").config.metadata["data"]
        assert data["rows"] == data["expected_rows"] == rows
        assert data["sha256"] == data["expected_sha256"]
        assert data["is_published_set"]

    def test_a_changed_row_is_not_the_published_set(self, load_task, shared_dir, tmp_path):
        lines = (shared_dir / "data" / "gsm8k" / "test.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "gsm8k").mkdir()
        (tmp_path / "gsm8k" / "test.jsonl").write_text("".join([*lines[:-1], json.dumps(QUESTION)]))
        data = load_task("codd_gsm8k", tmp_path).config.metadata["data"]
        assert data["rows"] == 1319
        assert not data["is_published_set"]

    def test_invented_gpqa_rows_say_so_in_the_log_and_in_the_printed_name(
        self, load_task, invented_dir, tmp_path, caplog
    ):
        (tmp_path / "gpqa_synthetic").symlink_to(invented_dir / "gpqa")
        config = load_task("codd_gpqa", tmp_path).config
        assert config.metadata["data"]["expected_rows"] == 448
        assert not config.metadata["data"]["is_published_set"]
        assert config.task_alias == "codd_gpqa (3 rows, not the published 448)"
        assert "cannot be compared with published ones" in caplog.text

    def test_448_invented_gpqa_rows_are_still_not_gpqa(self, load_task, invented_dir, tmp_path):
        line = (invented_dir / "gpqa" / "train.jsonl").read_text().splitlines(keepends=True)[0]
        (tmp_path / "gpqa_synthetic").mkdir()
        (tmp_path / "gpqa_synthetic" / "train.jsonl").write_text(line * 448)
        assert not load_task("codd_gpqa", tmp_path).config.metadata["data"]["is_published_set"]

    def test_gpqa_itself_is_preferred_to_its_stand_in(self, load_task, invented_dir, tmp_path):
        for folder in ("gpqa", "gpqa_synthetic"):
            (tmp_path / folder).symlink_to(invented_dir / "gpqa")
        assert load_task("codd_gpqa", tmp_path).config.metadata["data"]["source"] == f"{tmp_path}/gpqa/train.jsonl"

    def test_results_carry_it(self, task_manager, monkeypatch, data_dir):
        monkeypatch.setenv("CODD_DATA_DIR", str(data_dir))
        tasks = task_manager.load(["codd_gsm8k"])
        results = evaluate(lm=get_model("dummy")(), task_dict=tasks, bootstrap_iters=0)
        assert results["configs"]["codd_gsm8k"]["metadata"]["data"] == {
            "source": f"{data_dir}/gsm8k/test.jsonl",
            "rows": 1,
            "sha256": content_hash([QUESTION], ["question", "answer"]),
            "expected_rows": 1319,
            "expected_sha256": "4558614006a05b676b45f3df0f3267f8c59e77365bbfb424e1f38c7b4add3f5b",
            "is_published_set": False,
        }


class TestHub:
    def test_is_the_default_and_hashes_like_a_file(self, load_task, monkeypatch, data_dir):
        asked = []

        def load_dataset(*args, **kwargs):
            asked.append((args, kwargs))
            return datasets.Dataset.from_list([{"answer": QUESTION["answer"], "question": QUESTION["question"]}])

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        from_hub = load_task("codd_gsm8k", None).config.metadata["data"]
        from_file = load_task("codd_gsm8k", data_dir).config.metadata["data"]
        assert asked == [(("openai/gsm8k", "main"), {"split": "test", "revision": None})]
        assert from_hub["source"] == "openai/gsm8k (main, test)"
        assert from_hub["sha256"] == from_file["sha256"]

    @pytest.mark.parametrize(
        ("name", "hub"),
        [
            ("codd_gsm8k", ("openai/gsm8k", "main", "test")),
            ("codd_math500", ("HuggingFaceH4/MATH-500", "default", "test")),
            ("codd_gpqa", ("Idavidrein/gpqa", "gpqa_main", "train")),
            ("codd_mbpp", ("google-research-datasets/mbpp", "full", "test")),
            ("humaneval_opendllm", ("openai/openai_humaneval", "openai_humaneval", "test")),
            ("humaneval_plus_opendllm", ("evalplus/humanevalplus", "default", "test")),
            ("mbpp_plus_opendllm", ("evalplus/mbppplus", "default", "test")),
        ],
    )
    def test_names_of_the_data_sets(self, load_task, invented_dir, name, hub):
        config = load_task(name, invented_dir).config
        assert (config.dataset_path, config.dataset_name, config.test_split) == hub

    def test_a_gated_set_says_what_to_do_in_one_line(self, load_task, monkeypatch):
        def load_dataset(path, *args, **kwargs):
            raise datasets.exceptions.DatasetNotFoundError(
                f"Dataset '{path}' is a gated dataset on the Hub. You must be authenticated to access it."
            )

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        with pytest.raises(
            DataError, match=r"accept its terms at .*Idavidrein/gpqa.*HF_TOKEN.*CODD_DATA_DIR"
        ) as raised:
            load_task("codd_gpqa", None)
        assert "\n" not in str(raised.value)

    def test_no_network_says_what_to_do_in_one_line(self, load_task, monkeypatch):
        def load_dataset(*args, **kwargs):
            raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub (LocalEntryNotFoundError)\nmore")

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        with pytest.raises(DataError, match="go online, or name a folder") as raised:
            load_task("codd_gsm8k", None)
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize(
        ("error", "is_said"),
        [
            (OfflineModeIsEnabled("Offline mode is enabled."), True),
            (LocalEntryNotFoundError("not in the cache"), True),
            (ConnectTimeout("timed out"), True),
            (caused(RuntimeError("cannot build it"), ConnectionResetError("reset by peer")), True),
            (ValueError("Couldn't find cache for openai/gsm8k for config 'main'"), True),
            (RuntimeError("Dataset scripts are no longer supported, but found gsm8k.py"), False),
            (ValueError("Unknown split 'test'"), False),
            (FileNotFoundError("no data file"), False),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_to_go_online_is_said_only_where_it_helps(self, load_task, monkeypatch, error, is_said):
        def load_dataset(*args, **kwargs):
            raise error

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        with pytest.raises(DataError) as raised:
            load_task("codd_gsm8k", None)
        advice = "name a folder with a copy in CODD_DATA_DIR"
        said = f"{'go online, or ' if is_said else ''}{advice} [{error}]"
        assert str(raised.value) == f"codd_gsm8k: cannot load openai/gsm8k (main): {said}"


class TestLocalFiles:
    def test_a_missing_folder_is_named(self, load_task, tmp_path):
        with pytest.raises(DataError, match=r"`CODD_DATA_DIR=.*/nowhere` is not a folder; give an existing one"):
            load_task("codd_gsm8k", tmp_path / "nowhere")

    def test_a_missing_file_is_named_with_its_columns(self, load_task, tmp_path):
        with pytest.raises(DataError, match=r"no file .*mbpp/test.jsonl; put JSON lines with task_id, text, code"):
            load_task("codd_mbpp", tmp_path)

    def test_a_missing_column_is_named(self, load_task, data_dir):
        (data_dir / "gsm8k" / "test.jsonl").write_text('{"question": "1 + 1?"}\n')
        with pytest.raises(DataError, match=r"row 1 of .* has no answer; give rows with question, answer$"):
            load_task("codd_gsm8k", data_dir)

    def test_a_broken_line_is_named(self, load_task, data_dir):
        (data_dir / "gsm8k" / "test.jsonl").write_text(json.dumps(QUESTION) + "\n{\n")
        with pytest.raises(DataError, match=r"test.jsonl, line 2 is not JSON"):
            load_task("codd_gsm8k", data_dir)

    @pytest.mark.parametrize(
        "line, reason", [(b'{"question": "\xff"}', "is not JSON: not UTF-8"), (b"[1]", "no JSON object")]
    )
    def test_a_line_of_another_kind_is_named(self, load_task, data_dir, line, reason):
        (data_dir / "gsm8k" / "test.jsonl").write_bytes(line + b"\n")
        with pytest.raises(DataError, match=rf"test.jsonl, line 1 .*{reason}"):
            load_task("codd_gsm8k", data_dir)

    @pytest.mark.parametrize("content", ["", "\n"])
    def test_an_empty_file_is_an_error(self, load_task, data_dir, content):
        (data_dir / "gsm8k" / "test.jsonl").write_text(content)
        with pytest.raises(DataError, match=r"has no rows; copy the file again$"):
            load_task("codd_gsm8k", data_dir)

    def test_blank_lines_are_no_rows(self, load_task, data_dir):
        of_one = load_task("codd_gsm8k", data_dir).config.metadata["data"]
        (data_dir / "gsm8k" / "test.jsonl").write_text(f"\n{json.dumps(QUESTION)}\n \t\r\n\n")
        assert load_task("codd_gsm8k", data_dir).config.metadata["data"] == of_one

    def test_a_line_is_numbered_as_an_editor_does(self, load_task, data_dir):
        (data_dir / "gsm8k" / "test.jsonl").write_text(f"{json.dumps(QUESTION)}\n\n{{\n")
        with pytest.raises(DataError, match=r"test.jsonl, line 3 is not JSON"):
            load_task("codd_gsm8k", data_dir)

    @pytest.mark.parametrize(
        ("task", "file"), [("codd_gsm8k", "gsm8k/test.jsonl"), ("sudoku_wino", "sudoku/4x4_test_sudoku.csv")]
    )
    @pytest.mark.parametrize("function", ["is_file", "open"])
    def test_one_that_may_not_be_read_is_said_in_one_line(self, load_task, tmp_path, monkeypatch, task, file, function):
        """The tests may run as a user who may read everything."""
        path, before = tmp_path / file, getattr(Path, function)
        path.parent.mkdir()
        path.touch()

        def refuse(self, *args, **kwargs):
            if self == path:
                raise PermissionError(errno.EACCES, "Permission denied")
            return before(self, *args, **kwargs)

        monkeypatch.setattr(Path, function, refuse)
        with pytest.raises(DataError, match=rf"^{task}: .* cannot be read: Permission denied: ") as raised:
            load_task(task, tmp_path)
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize("read", [read_lines, read_texts])
    def test_a_folder_in_place_of_a_file_is_said_in_one_line(self, tmp_path, read):
        with pytest.raises(DataError, match=r"^a task: .* cannot be read: Is a directory$"):
            read("a task", tmp_path)

    def test_lines_of_text_in_another_encoding_are_refused(self, tmp_path):
        (tmp_path / "corpus.txt").write_bytes(b"one\n\ntw\xff\n")
        with pytest.raises(DataError, match=r"^a task: .*corpus.txt is no text in UTF-8: .*; copy the file again$"):
            read_texts("a task", tmp_path / "corpus.txt")
        (tmp_path / "corpus.txt").write_bytes(b"one\n\ntwo")
        assert read_texts("a task", tmp_path / "corpus.txt") == ["one\n", "\n", "two"]


class TestPlaces:
    def test_tasks_load_from_inside_a_package_as_they_are_shipped(self, tasks_dir, tmp_path, monkeypatch, invented_dir):
        shipped = tmp_path / "lm_eval_codd" / "tasks"
        shutil.copytree(tasks_dir, shipped)
        monkeypatch.setenv("CODD_DATA_DIR", str(invented_dir))
        monkeypatch.chdir(tmp_path)
        names = ["codd_gpqa", "codd_gsm8k", "codd_math500", "codd_mbpp"]
        assert sorted(TaskManager(include_defaults=False, include_path=str(shipped)).load(names)["tasks"]) == names
