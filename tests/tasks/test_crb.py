"""The Code Revision Benchmark: which programs a task has, what it asks for, and how answers are scored."""

import hashlib
import json
import math

import pytest
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from lm_eval_codd.code_revision import inputs as inputs_module
from lm_eval_codd.code_revision.cells import CELLS, NUMBERS, Cell
from lm_eval_codd.rows import DataError
from lm_eval_codd.templates import templates_of

NAME = "codd_crb_humaneval_operator_1"
CELL = Cell("human-eval", "operator", 1)
HEAD = 'def add(x, y):\n    """Add.\n    """\n\n'
TESTS = {
    "task_id": "Own/0",
    "prompt": HEAD,
    "canonical_solution": "    return x + y\n",
    "test": "def check(f):\n    assert f(2, 3) == 5\n",
    "entry_point": "add",
}
ROW = {
    "task_id": "Own/0",
    "function_head": HEAD,
    "buggy_body": "    return x - y\n",
    "error_positions": [3],
    "test_passed": False,
}
MADE = {**ROW, "dataset": "human-eval", "error_type": "operator", "n_replace": 1, "tokenizer": "t", "new_sample": False}
PUBLISHED = "Open-Dcoder-0.5B-mixture-mdm-step2000_operator_2_wrong_1_evaluated.jsonl"


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    (tmp_path / "humaneval").mkdir()
    (tmp_path / "humaneval" / "test.jsonl").write_text(lines(TESTS))
    monkeypatch.setenv("CODD_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def load(data_dir, tasks_dir):
    """A function (inputs, name) -> the task."""

    def run(inputs=None, name=NAME, **metadata):
        metadata |= {} if inputs is None else {"inputs": str(inputs)}
        manager = TaskManager(include_defaults=False, include_path=str(tasks_dir), metadata=metadata)
        return manager.load([name])["tasks"][name]

    return run


@pytest.fixture
def made(data_dir):
    """A function (rows) -> a file of `crb make`."""

    def write(*rows):
        path = data_dir / "made.jsonl"
        path.write_text(lines(*rows))
        return path

    return write


@pytest.fixture(scope="module")
def utils(tasks_dir):
    return load_yaml(tasks_dir / "crb" / f"{NAME}.yaml")["process_results"].__globals__


class TestFiles:
    def test_there_is_one_a_cell(self, tasks_dir):
        configs = [load_yaml(path) for path in (tasks_dir / "crb").glob("codd_crb_*_*.yaml")]
        cells = {}
        for config in configs:
            given = dict(config["dataset_kwargs"])
            assert len(given.pop("md5")) == 32
            cells[config["task"]] = Cell(**given)
        assert cells == {f"codd_{cell.slug}": cell for cell in CELLS}
        assert len({config["dataset_kwargs"]["md5"] for config in configs}) == 60

    @pytest.mark.parametrize("number", NUMBERS)
    def test_a_group_has_the_twelve_cells_of_its_number(self, tasks_dir, number):
        group = load_yaml(tasks_dir / "crb" / f"codd_crb_{number}.yaml")
        assert group["task"] == [f"codd_{cell.slug}" for cell in CELLS if cell.number == number]

    def test_groups_take_the_unweighted_mean_of_every_metric(self, tasks_dir):
        metrics = [one["metric"] for one in load_yaml(tasks_dir / "crb" / f"{NAME}.yaml")["metric_list"]]
        for name in ("codd_crb", "codd_crb_1"):
            group = load_yaml(tasks_dir / "crb" / f"{name}.yaml")
            assert [one["metric"] for one in group["aggregate_metric_list"]] == metrics
            assert not any(one["weight_by_size"] for one in group["aggregate_metric_list"])
        assert load_yaml(tasks_dir / "crb" / "codd_crb.yaml")["task"] == [f"codd_crb_{number}" for number in NUMBERS]


class TestInputs:
    def test_only_programs_that_fail_are_revised(self, load, made):
        passing = {**MADE, "test_passed": True, "buggy_body": "    return y + x\n"}
        task = load(made(MADE, passing))
        assert [doc["buggy_body"] for doc in task.test_docs()] == ["    return x - y\n"]
        assert task.config.metadata["data"]["passed_before"] == 1

    def test_of_a_file_are_the_rows_of_the_cell(self, load, made):
        path = made(MADE, {**MADE, "error_type": "var", "new_sample": True})
        assert len(load(path).test_docs()) == 1
        var = load(path, "codd_crb_humaneval_var_1")
        assert var.config.metadata["data"]["new_samples"] == 1
        assert var.config.task_alias == "codd_crb_humaneval_var_1 (1 programs, a new sample)"

    @pytest.mark.parametrize("layout", ["open-dcoder-0.5B", "buggy_datasets", "."])
    def test_of_a_folder_are_found_in_each_layout(self, load, data_dir, layout):
        folder = data_dir / "inputs" / layout / "human-eval" / "evaluated"
        folder.mkdir(parents=True)
        (folder / PUBLISHED).write_text(lines(ROW))
        task = load(data_dir / "inputs")
        assert task.config.metadata["tokenizer"] == "fredzzp/open-dcoder-0.5B"
        assert len(task.test_docs()) == 1
        assert task.config.metadata["data"]["is_published_set"] is False

    def test_that_somebody_built_are_found_under_their_name(self, load, data_dir):
        folder = data_dir / "crb" / "human-eval" / "evaluated"
        folder.mkdir(parents=True)
        (folder / "own_operator_2_wrong_1_evaluated.jsonl").write_text(lines(ROW))
        task = load()  # without `inputs` they come from the data folder
        assert task.config.metadata["tokenizer"] is None
        (folder / "other_operator_2_wrong_1_evaluated.jsonl").write_text(lines(ROW))
        with pytest.raises(DataError, match="several files of this cell"):
            load()

    def test_are_the_published_ones_by_content_alone(self, load, data_dir, monkeypatch):
        folder = data_dir / "inputs" / "human-eval" / "evaluated"
        folder.mkdir(parents=True)
        (folder / PUBLISHED).write_text(lines(ROW))
        tests = {"Own/0": {name: TESTS[name] for name in ("test", "entry_point", "prompt")}}
        datasets = inputs_module.DATASETS
        digest = hashlib.sha256(json.dumps(tests, sort_keys=True).encode()).hexdigest()
        changed = {**datasets, "human-eval": datasets["human-eval"]._replace(tests_sha256=digest)}
        monkeypatch.setattr(inputs_module, "DATASETS", changed)
        md5 = hashlib.md5((folder / PUBLISHED).read_bytes()).hexdigest()
        task = load(data_dir / "inputs")
        for expected, is_published in ((md5, True), ("0" * 32, False)):
            task.download({**CELL._asdict(), "md5": expected})
            assert task.config.metadata["data"]["is_published_set"] is is_published

    def test_come_from_the_hub_at_the_published_revision(self, data_dir, monkeypatch):
        import huggingface_hub

        path, asked = data_dir / PUBLISHED, []
        path.write_text(lines(ROW))

        def download(*args, **kwargs):
            asked.append((args, kwargs))
            return str(path)

        monkeypatch.delenv("CODD_DATA_DIR")
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        found = inputs_module.read_inputs(CELL, None)
        assert found.rows == [ROW]
        assert found.source == f"Shuibai12138/crb-paper-inputs at 21cae174: {PUBLISHED}"
        ((hub, name), options) = asked[0]
        assert (hub, name) == ("Shuibai12138/crb-paper-inputs", f"open-dcoder-0.5B/human-eval/evaluated/{PUBLISHED}")
        assert options == {"repo_type": "dataset", "revision": "21cae17423b073b152e997746876d6b828b18358"}

    @pytest.mark.parametrize(
        ("error", "advice"), [(ConnectionError, "go online, or name a copy or"), (OSError, "name a copy or")]
    )
    def test_that_the_hub_does_not_give_are_asked_for_in_one_line(self, monkeypatch, error, advice):
        import huggingface_hub

        def fail(*args, **kwargs):
            raise error("no file\nat all")

        monkeypatch.delenv("CODD_DATA_DIR", raising=False)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        said = (
            rf"cannot load {inputs_module.HUB}: {advice} a file of your own with `--metadata inputs=PATH` \[no file\]$"
        )
        with pytest.raises(DataError, match=said):
            inputs_module.read_inputs(CELL, None)

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ({**MADE, "error_type": "var"}, "no programs of human-eval operator 1; it has human-eval var 1"),
            (ROW, "has no dataset, error_type, n_replace"),
            ({**MADE, "error_positions": []}, "error_positions is"),
            ({**MADE, "test_passed": None}, "test_passed is None, not a bool"),
            ({**MADE, "test_passed": True}, "passes its tests; there is nothing to revise"),
            ({**MADE, "task_id": "Own/1"}, "has no task Own/1"),
        ],
    )
    def test_that_cannot_be_used_are_said_in_one_line(self, load, made, row, said):
        with pytest.raises(DataError) as caught:
            load(made(row))
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_that_are_not_there_are_said(self, load, data_dir):
        with pytest.raises(DataError, match="does not exist"):
            load(data_dir / "nowhere")
        with pytest.raises(DataError, match="make the file with `lm-eval-codd crb make`"):
            load()


class TestRequest:
    def test_has_head_and_body_apart(self, load, made):
        task = load(made(MADE))
        asked = json.loads(task.doc_to_text(task.test_docs()[0]))
        assert asked == {"context": f"{HEAD}\n", "draft": "    return x - y\n", "rounds": 4, "positions": [3]}
        # Which models that do not revise drafts stop at.
        assert task.config.generation_kwargs["draft"] is True

    @pytest.mark.parametrize(
        ("template", "context"),
        [
            ("paper", f"{HEAD}\n"),
            ("wording", f"# Correct the body of this function.\n{HEAD}\n"),
            ("marker", f"```python\n{HEAD}\n"),
            ("newlines", f"\n\n{HEAD}\n"),
        ],
    )
    def test_has_another_text_before_the_same_draft_under_a_template(self, load, made, template, context):
        usual, task = load(made(MADE)), load(made(MADE), template=template)
        assert (usual.config.metadata["template"], task.config.metadata["template"]) == ("paper", template)
        asked, otherwise = (json.loads(one.doc_to_text(one.test_docs()[0])) for one in (usual, task))
        assert otherwise == {**asked, "context": context}

    def test_has_the_same_templates_in_every_cell(self):
        wanted = ["paper", "wording", "marker", "newlines"]
        assert all(list(templates_of(f"codd_{cell.slug}")) == wanted for cell in CELLS)


class TestScores:
    def score(self, utils, load, made, bodies, confidence=(0.9, 0.8, 0.9, 0.1)):
        task = load(made(MADE))
        doc = task.test_docs()[0]
        answer = json.dumps({"revised": bodies, "confidence": list(confidence)})
        (filtered,) = utils["run_rounds"]([[answer]], [doc])
        # lm-eval 0.4 hands over a list with the row's list, 0.5 that list.
        scores = utils["process_results"](doc, [filtered])
        assert scores == utils["process_results"](doc, filtered)
        return scores

    def test_of_rounds_are_apart(self, utils, load, made):
        right, wrong = "    return x + y\n", "    return x - y\n"
        scores = self.score(utils, load, made, [wrong, right, right, wrong])
        assert [scores[f"pass_at_1_t{number}"] for number in range(1, 5)] == [0, 1, 1, 0]
        assert [scores[f"timeout_t{number}"] for number in range(1, 5)] == [0, 0, 0, 0]

    def test_say_what_ran_out_of_time(self, utils, load, made, monkeypatch):
        monkeypatch.setitem(utils, "TIMEOUT_SECONDS", 0.5)
        endless = "    while True:\n        x = y\n"
        scores = self.score(utils, load, made, [endless, "    return x + y\n"] * 2)
        assert [scores[f"timeout_t{number}"] for number in range(1, 5)] == [1, 0, 1, 0]
        assert [scores[f"pass_at_1_t{number}"] for number in range(1, 5)] == [0, 1, 0, 1]

    def test_are_of_the_head_without_the_line_break_after_it(self, utils, load, made, monkeypatch):
        programs = []

        def run(pairs, timeout):
            programs.extend(pairs)
            return [utils["sandbox"].Outcome("passed")] * len(pairs)

        monkeypatch.setattr(utils["sandbox"], "run_programs", run)
        self.score(utils, load, made, ["    return x + y\n"] * 4)
        # Rounds that changed nothing are run once.
        assert programs == [(f"{HEAD}    return x + y\n", f"{TESTS['test']}\ncheck(add)")]

    def test_gap_and_hits(self, utils):
        scores = utils["localisation"]([0.5, 0.2, 0.9, 0.2, 0.6, 0.7], [3, 5])
        assert scores["confidence_gap"] == pytest.approx((0.5 + 0.2 + 0.9 + 0.6) / 4 - (0.2 + 0.7) / 2)
        # Of equal ones the leftmost is the least sure, which is a clean one here.
        assert [scores[f"hit_at_{number}"] for number in (1, 3, 5)] == [0, 1, 1]
        assert math.isnan(utils["localisation"]([0.5], [0])["confidence_gap"])

    @pytest.mark.parametrize("answer", ["def add", "[]", '{"revised": ["a"]}'])
    def test_an_answer_that_is_no_revision_is_refused(self, utils, load, made, answer):
        doc = load(made(MADE)).test_docs()[0]
        with pytest.raises(ValueError, match="--model_args decoder=corrective,num_steps=5"):
            utils["run_rounds"]([[answer]], [doc])

    def test_programs_are_run_unasked_only_where_they_are_confined(self, utils, load, made, monkeypatch):
        for confined in (True, False):
            monkeypatch.setattr(utils["sandbox"], "is_confined", lambda confined=confined: confined)
            assert load(made(MADE)).UNSAFE_CODE is not confined
