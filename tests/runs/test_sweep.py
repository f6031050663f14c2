import pytest
import yaml

from lm_eval_codd.catalogue import COUPLING_CONTROL
from lm_eval_codd.launch.errors import NotStarted
from lm_eval_codd.launch.jobs import select
from lm_eval_codd.runs import paper
from lm_eval_codd.runs.make_run import make_run
from lm_eval_codd.runs.sweep import is_file, parse_changes, parse_sweep, read_sweeps, typed

BASE = "model_alias=llada task=gsm8k,math500"


@pytest.fixture(scope="module")
def tables():
    return yaml.safe_load((paper.paper_dir() / "codd_tables.yaml").read_text(encoding="utf-8"))["tables"]


def runs(text: str):
    return [make_run(typed(point)) for point in parse_sweep(text).points()]


def written(tmp_path, text: str):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return path


class TestNamesOfOtherProjects:
    def test_their_values_are_read_too(self):
        (run,) = runs("model_alias=llada task=gsm8k nll_type=mc num_mc=32")
        assert run == make_run(
            {"model_alias": "llada", "task": "gsm8k", "estimator": "mc_bernoulli", "num_samples": 32}
        )

    def test_are_said_where_something_is_wrong(self, tmp_path):
        file = written(tmp_path, "model_alias: llada\ntask: gsm8k\nblock_size: [32, -1]\n")
        with pytest.raises(NotStarted) as caught:
            select([], read_sweeps(file), tmp_path, {})
        assert "`block_length=-1` is out of range" in str(caught.value)
        assert "; `block_size` (dLLM, Fast-dLLM v2) is read as `block_length`  [" in str(caught.value)


class TestTheProduct:
    def test_is_of_all_lists(self):
        found = runs(f"{BASE} alg=low_confidence,margin num_steps=256,128,64")
        assert len(found) == len(set(found)) == 12
        assert {(run.short_task, run.config.alg, run.config.num_steps) for run in found} == {
            (task, alg, steps)
            for task in ("gsm8k", "math500")
            for alg in ("low_confidence", "margin")
            for steps in (256, 128, 64)
        }

    def test_has_the_tasks_of_groups(self):
        found = runs("model_alias=llada task=coupling_control,gsm8k num_steps=64,32")
        assert [run.short_task for run in found[::2]] == [*COUPLING_CONTROL, "gsm8k"]

    def test_values_are_those_of_the_flags(self):
        (run,) = runs(
            "model_alias=dream task=gsm8k top_k=none temperature=0 batch-size=auto dream_block=true limit=0.5"
        )
        assert (run.config.top_k, run.config.temperature, run.config.paradigm) == (None, 0.0, "block")
        assert (run.batch_size, run.limit) == ("auto", 0.5)

    def test_keys_may_have_the_names_of_other_projects(self):
        assert runs(f"{BASE} steps=64 remasking=margin pc=a/b") == runs(f"{BASE} num_steps=64 alg=margin pc_ckpt=a/b")
        with pytest.raises(ValueError, match="unknown key `model_path`; here it is `pretrained`"):
            runs(f"{BASE} model_path=a/b")

    def test_quotes_keep_a_path_with_spaces_together(self, checkpoint):
        (run,) = runs(f"model_alias=llada task=gsm8k 'llada_ckpt={checkpoint}'")
        assert run.checkpoint == str(checkpoint)


class TestOverDecoders:
    def test_each_has_the_settings_that_it_reads(self):
        found = set(runs(f"{BASE} decoder=unmasking,cad,p2 num_steps=32,64 alg=margin eta=0.5 max_per_step=4,8"))
        configs = [run.config for run in found]
        assert {(one.decoder, one.num_steps, one.eta, one.max_per_step) for one in configs} == {
            ("unmasking", 32, 1.0, 32),
            ("unmasking", 64, 1.0, 32),
            ("cad", None, 1.0, 4),
            ("cad", None, 1.0, 8),
            ("p2", 32, 0.5, 32),
            ("p2", 64, 0.5, 32),
        }
        assert len(found) == 2 * 6 and {run.config.alg for run in found} == {"margin", "low_confidence"}

    def test_one_that_none_of_them_reads_is_refused_as_with_one_decoder(self):
        for decoders in ("p2", "p2,cad"):
            with pytest.raises(ValueError, match="`alg=margin` is read by decoder=unmasking, not by `decoder=p2`"):
                runs(f"{BASE} decoder={decoders} alg=margin")

    def test_an_unknown_one_is_named(self):
        with pytest.raises(ValueError, match=r"`decoder=cda` is not known; .*did you mean cad"):
            runs(f"{BASE} decoder=p2,cda num_steps=8")


class TestSettingsThatGoTogether:
    def test_do_not_multiply(self):
        found = runs(f"{BASE} pc_ckpt@gsm8k=il18/llada-gsm-pc pc_ckpt@math500=il18/llada-math-pc num_steps=64,128")
        assert {(run.short_task, run.circuit) for run in found} == {
            ("gsm8k", "il18/llada-gsm-pc"),
            ("math500", "il18/llada-math-pc"),
        }
        assert len(found) == 4

    def test_take_the_place_of_the_list_for_all_tasks(self):
        found = runs(f"{BASE} pc_ckpt=none,a/b pc_ckpt@gsm8k=none,c/d")
        assert [(run.short_task, run.circuit) for run in found] == [
            ("gsm8k", None),
            ("gsm8k", "c/d"),
            ("math500", None),
            ("math500", "a/b"),
        ]

    def test_tasks_without_a_circuit_of_their_own_have_none(self):
        found = runs(f"{BASE} pc_ckpt@gsm8k=a/b pc_frac=0.5")
        assert [run.circuit for run in found] == ["a/b", None]


class TestAWrongSweep:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (f"{BASE} num_step=64", "unknown key `num_step`; did you mean `num_steps`"),
            (f"{BASE} alg=", "`alg` has no values; give at least one, or leave it out"),
            (f"{BASE} alg=a,,b", "`alg` has an empty or nested value"),
            (f"{BASE} alg=margin alg=entropy", "`alg` is given twice; put all of its values into one list"),
            (f"{BASE} --alg=margin alg=entropy", "`alg` is given twice"),
            (f"{BASE} pc_ckpt@gsm8k=a/b pc_ckpt@gsm8k=c/d", "`pc_ckpt@gsm8k` is given twice"),
            (f"{BASE} pc_ckpt@gsm=a/b", "`pc_ckpt@gsm` is for a task that is not swept; its tasks are gsm8k, math500"),
            (f"{BASE} pc_ckpt@=a/b", "`pc_ckpt@` is not a key"),
            (f"{BASE} alg margin", "`alg` is not key=value"),
            (f"{BASE} 'alg=margin", "a quote or a backslash is left open"),
            ("model_alias=llada", "`task` is missing"),
            ("task=gsm8k", "`model_alias` is missing"),
            ("", "`model_alias` is missing"),
        ],
    )
    def test_is_one_line(self, text, message):
        with pytest.raises(ValueError) as error:
            parse_sweep(text)
        assert message in str(error.value)
        assert str(error.value).startswith("`--sweep '")
        assert "\n" not in str(error.value)


class TestFiles:
    def test_hold_one_sweep_or_several(self, tmp_path):
        one = "model_alias: llada\ntask: [gsm8k, math500]\nnum_steps: 64\npc_frac: [.3, 1e-1]\npc_ckpt: a/b\n"
        (sweep,) = read_sweeps(written(tmp_path, one))
        found = [make_run(typed(point)) for point in sweep.points()]
        assert [(run.config.num_steps, run.config.pc_frac) for run in found] == [(64, 0.3), (64, 0.1)] * 2
        many = "- {model_alias: llada, task: gsm8k}\n- {model_alias: dream, task: mbpp, dream_block: true}\n"
        assert [len(list(sweep.points())) for sweep in read_sweeps(written(tmp_path, many))] == [1, 1]

    def test_have_variants_that_select_names(self, tmp_path):
        text = "model_alias: llada\ntask: gsm8k\npc_ckpt: a/b\npc_frac: 0.5\nwide: {pc_frac: [0.3, 0.5, 0.7]}\n"
        path = written(tmp_path, text)
        assert len(list(read_sweeps(path)[0].points())) == 1
        assert len(list(read_sweeps(path, "wide")[0].points())) == 3
        with pytest.raises(ValueError, match=r"`--select narrow`: .* has no such variant"):
            read_sweeps(path, "narrow")

    def test_leave_a_value_to_be_given(self, tmp_path):
        text = "model_alias: llada\ntask: [gsm8k, gpqa]\npc_ckpt: a/b\npc_ckpt@gpqa: null\nnum_steps: [64, 128]\n"
        (sweep,) = read_sweeps(written(tmp_path, text))
        assert [point["task"] for point in sweep.points()] == ["gsm8k", "gsm8k"]
        assert sweep.missing() == {"pc_ckpt@gpqa": 2}
        given = sweep.updated(parse_changes("pc_ckpt@gpqa=c/d"))
        assert [point["pc_ckpt"] for point in given.points()] == ["a/b", "a/b", "c/d", "c/d"]
        assert given.missing() == {}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("model_alias: llada\ntask: a\ntask: b\n", "`task` is given twice"),
            ("model_alias: llada\ntask: []\n", "`task` has no values"),
            ("model_alias: llada\ntask: gsm8k\nalg: [[margin]]\n", "`alg` has an empty or nested value"),
            ("model_alias: llada\ntask: gsm8k\nnum_stepz: 3\n", "unknown key `num_stepz`"),
            ("just words\n", "is not a sweep"),
            ("", "is not a sweep"),
            ("a: [1\n", "line 2, is no YAML"),
            ("model_alias: !!python/object/apply:os.system ['true']\n", "is no YAML"),
            ("task: 2026-13-01\n", "is no YAML"),
            ("task: " + "[" * 100_000, "line 1, is nested more than 100 levels deep"),
            ("task: &t [*t]\n", "line 1, refers to itself (`*t` inside of `&t`)"),
        ],
    )
    def test_that_are_wrong_are_one_line(self, tmp_path, text, message):
        path = written(tmp_path, text)
        with pytest.raises(ValueError) as error:
            read_sweeps(path)
        assert message in str(error.value)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)

    def test_that_are_not_there_or_no_text_are_one_line(self, tmp_path):
        with pytest.raises(ValueError, match="cannot be read: No such file"):
            read_sweeps(tmp_path / "none.yaml")
        (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ValueError, match="is not UTF-8 text"):
            read_sweeps(tmp_path / "binary.yaml")

    def test_are_told_from_lists_by_their_name(self):
        assert is_file("results/paper/table1.yaml")
        assert not is_file("model_alias=llada task=gsm8k tag=x.yaml")


class TestChanges:
    def test_take_the_place_of_a_sweeps_values(self):
        sweep = parse_sweep(f"{BASE} num_steps=64 num_steps@gsm8k=128")
        changed = sweep.updated(parse_changes("num_steps=32 dtype=float32"))
        assert {(point["num_steps"], point["dtype"]) for point in changed.points()} == {("32", "float32")}

    def test_of_a_circuit_leave_sweeps_without_one_alone(self):
        change = parse_changes("pc_ckpt@gsm8k=a/b pc_frac=0.5 dtype=float32")
        assert list(parse_sweep(BASE).updated(parse_changes("pc_ckpt=a/b")).points()) == list(
            parse_sweep(BASE).points()
        )
        (gsm8k, math500) = (typed(point) for point in parse_sweep(f"{BASE} pc_ckpt=none").updated(change).points())
        assert (gsm8k["pc_ckpt"], math500["pc_ckpt"]) == ("a/b", "none")

    def test_cannot_add_tasks(self):
        with pytest.raises(ValueError, match="tasks belong to a sweep"):
            parse_changes("task=gpqa")


class TestTablesOfThePaper:
    def points(self, name, select="fixed"):
        sweeps = [
            sweep.updated(parse_changes("pc_ckpt@gpqa=own/gpqa-pc")) for sweep in paper.table_sweeps(name, select)
        ]
        return [make_run(typed(point)) for sweep in sweeps for point in sweep.points()]

    @pytest.mark.parametrize(("name", "number"), [("table1", 72), ("table2", 60), ("table6", 72)])
    def test_have_a_run_for_each_cell(self, tables, name, number):
        table = tables[name]
        cells = {
            (row["system"] == "codd", row["alg"], task, steps)
            for row in table["rows"]
            for task, values in row["acc"].items()
            for steps in values
        }
        found = self.points(name)
        assert {(run.family, run.config.paradigm) for run in found} == {(table["model"], table["paradigm"])}
        told = [(run.circuit is not None, run.config.alg, run.short_task, run.config.num_steps) for run in found]
        assert len(told) == len(cells) == number
        assert set(told) == cells

    @pytest.mark.parametrize("name", ["table4", "table5"])
    def test_have_a_run_for_each_cell_of_an_ablation(self, tables, name):
        table = tables[name]
        cells = [(c["alg"], c["steps"], c["pc_frac"], c["pc_temperature"]) for c in table["cells"]]
        found = self.points(name)
        assert {run.short_task for run in found} == {table["benchmark"]}
        told = [(r.config.alg, r.config.num_steps, r.config.pc_frac, r.config.pc_temperature) for r in found]
        assert sorted(told) == sorted(cells)
        assert self.points(name, "grid-max") == found

    def test_have_a_run_for_each_time_that_can_be_measured(self, tables):
        cells = [
            (row["system"], task, steps)
            for row in tables["table3"]["rows"]
            for task, values in row.items()
            if task != "system" and row["system"] != "diffu-grpo"
            for steps in values
        ]
        told = []
        for run in self.points("table3"):
            system = run.family if run.circuit is None else f"codd-{run.family}"
            system += "-any-order" if run.config.pc_sampling == "any_order" else ""
            told.append((system, run.short_task, run.config.num_steps))
        assert sorted(told) == sorted(cells)

    def test_grid_max_is_the_grid_of_the_ablation_and_fixed_one_setting(self, tables):
        for name, ablation in (("table1", "table4"), ("table6", "table5")):
            grid = {(c["pc_frac"], c["pc_temperature"]) for c in tables[ablation]["cells"]}
            with_circuit = [run.config for run in self.points(name, "grid-max") if run.circuit is not None]
            assert {(config.pc_frac, config.pc_temperature) for config in with_circuit} == grid
            fixed = [run.config for run in self.points(name) if run.circuit is not None]
            assert len({(config.pc_frac, config.pc_temperature) for config in fixed}) == 1
            assert len(with_circuit) == len(fixed) * len(grid)

    def test_take_the_published_circuit_of_each_benchmark(self):
        circuits = {(run.short_task, run.circuit) for run in self.points("table6") if run.circuit}
        assert circuits == {
            ("math500", "il18/dream-math-pc"),
            ("gsm8k", "il18/dream-gsm-pc"),
            ("mbpp", "il18/dream-code-pc"),
            ("gpqa", "own/gpqa-pc"),
        }

    def test_that_do_not_exist_are_one_line(self):
        with pytest.raises(ValueError, match="`paper=table7` is not known; use one of table1"):
            paper.table_sweeps("table7")
