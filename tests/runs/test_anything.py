"""Whatever is typed or written for a run: a meaning, or one line."""

import json
import shlex

import yaml
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_codd.runs.file_checks import find_problems
from lm_eval_codd.runs.make_run import parse_runs
from lm_eval_codd.runs.run_flags import ELSEWHERE, FLAGS
from lm_eval_codd.runs.sweep import parse_changes, parse_sweep, read_sweeps, typed
from lm_eval_codd.task_files import TaskFiles, read_task_file
from tests.anything import VALUES, WORDS, changed, outcome
from tests.run_files import checkpoint_folder

NAMES = st.sampled_from([flag.name for flag in (*FLAGS, *ELSEWHERE)] + ["", "x", "task@gsm8k", "num_steps@", "\x00"])
PAIRS = st.lists(st.tuples(NAMES, WORDS), max_size=5)
LISTS = st.lists(st.tuples(NAMES, st.lists(WORDS, max_size=3)), max_size=4)
TASKS = st.sampled_from(["gsm8k", "demo", "math500,gsm8k", "mmlu", "stock:gsm8k", "", "crb", "coupling"])


class TestRunStrings:
    @given(st.text(max_size=80))
    def test_any_text(self, text):
        outcome(parse_runs, text)

    @given(TASKS, PAIRS)
    def test_any_flags(self, task, pairs):
        text = shlex.join([f"--{name}={value}" for name, value in [("task", task), *pairs]])
        for run in outcome(parse_runs, text, {"model_alias": "llada", "llada_ckpt": "demo"}) or []:
            identity = run.identity()
            assert json.loads(json.dumps(identity)) == identity
            outcome(find_problems, {"name": run})

    @given(
        TASKS, st.lists(st.tuples(st.sampled_from(["num_steps", "gen_length", "seed"]), st.integers(1, 9)), max_size=2)
    )
    def test_a_flag_is_read_with_a_blank_as_with_a_sign(self, task, pairs):
        defaults = {"model_alias": "llada", "llada_ckpt": "demo", "task": task}
        signs = shlex.join([f"--{name}={32 * value}" for name, value in pairs])
        blanks = shlex.join([part for name, value in pairs for part in (f"--{name}", str(32 * value))])
        assert outcome(parse_runs, signs, defaults) == outcome(parse_runs, blanks, defaults)


class TestSweeps:
    @given(st.text(max_size=60))
    def test_any_text(self, text):
        outcome(parse_sweep, text)
        outcome(parse_changes, text)

    @given(LISTS)
    def test_a_line_and_a_file_of_the_same_lists_are_the_same(self, tmp_path_factory, lists):
        lists = [("model_alias", ["llada"]), ("task", ["gsm8k", "demo"]), *lists]
        lists = [(name, [text.strip() for text in values]) for name, values in lists]
        line = outcome(parse_sweep, shlex.join([f"{name}={','.join(values)}" for name, values in lists]))
        path = tmp_path_factory.mktemp("sweep") / "sweep.yaml"
        path.write_text(json.dumps(dict(lists), ensure_ascii=False), encoding="utf-8", errors="replace")
        file = outcome(read_sweeps, path)
        texts = [text for _, values in lists for text in values]
        simple = len(dict(lists)) == len(lists) and not any("," in text or "\ud800" in text for text in texts)
        if line is not None and file is not None and simple:
            assert [*line.points()] == [*file[0].points()]
            for point in line.points():
                outcome(typed, point)

    @given(st.one_of(st.dictionaries(NAMES, VALUES, max_size=4), VALUES), st.sampled_from(["fixed", "best", ""]))
    def test_any_file(self, tmp_path_factory, content, select):
        path = tmp_path_factory.mktemp("sweep") / "sweep.yaml"
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8", errors="replace")
        outcome(read_sweeps, path, select)

    @given(st.binary(max_size=60))
    def test_any_bytes(self, tmp_path_factory, content):
        path = tmp_path_factory.mktemp("sweep") / "sweep.yaml"
        path.write_bytes(content)
        outcome(read_sweeps, path)


class TestTaskFiles:
    @given(st.one_of(st.binary(max_size=80), st.dictionaries(st.text(max_size=8), VALUES, max_size=4)))
    def test_any_file(self, tmp_path_factory, content):
        folder = tmp_path_factory.mktemp("tasks")
        text = content if isinstance(content, bytes) else yaml.safe_dump({"task": "one", **content}).encode()
        (folder / "one.yaml").write_bytes(text)
        assert isinstance(read_task_file(folder / "one.yaml"), dict)
        files = TaskFiles(folder)
        for name in files.names:
            assert all(isinstance(config, dict) for _, config in files.configs(name))

    def test_one_nested_too_deeply_or_written_out_for_ever_is_none(self, tmp_path):
        path = tmp_path / "one.yaml"
        path.write_text("task: one\na: " + "[" * 100_000)
        assert read_task_file(path) == {}
        doubled = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
        path.write_text(f"a0: &a0 [x]\n{doubled}b: !function [*a59]\n")
        assert read_task_file(path)["b"] == ""


CONFIG = {"model_type": "llada", "max_sequence_length": 4096, "vocab_size": 99, "mask_token_id": 98, "eos_token_id": 97}


class TestCheckpoints:
    @given(st.data())
    def test_any_files_of_one_in_a_dry_run(self, tmp_path_factory, data):
        folder = checkpoint_folder(tmp_path_factory.mktemp("checkpoint"))
        name = data.draw(st.sampled_from(["config.json", "tokenizer_config.json", "tokenizer.json", "weights"]))
        if name == "weights":
            (folder / "model.safetensors").unlink()
            index = data.draw(changed({"weight_map": {"a": "model-1.safetensors"}}))
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
            (folder / "model-1.safetensors").write_bytes(data.draw(st.binary(max_size=40)))
        elif name == "config.json":
            (folder / name).write_text(json.dumps(data.draw(changed(CONFIG))))
        else:
            (folder / name).write_text(json.dumps(data.draw(VALUES)))
        alias = data.draw(st.sampled_from(["llada", "masked_lm"]))
        text = shlex.join(["--model_alias", alias, f"--{alias}_ckpt", str(folder), "--task", "demo"])
        for run in outcome(parse_runs, text) or []:
            outcome(find_problems, {"name": run})
