"""`check --against SOURCE`: a verdict for each published cell, on results that are made from the cells themselves."""

import dataclasses
import json
from xml.etree import ElementTree

import pytest

from lm_eval_codd.atlas.cell import Cell
from lm_eval_codd.atlas.plan import Plan, plan_cells
from lm_eval_codd.atlas.source import Source
from lm_eval_codd.reporting import against_atlas, atlas_output
from lm_eval_codd.reporting.against_atlas import check_against_atlas
from lm_eval_codd.reporting.cli import check_main
from lm_eval_codd.reporting.runs import read_folder
from tests.atlas.results_of import right_answers, write_cell
from tests.reporting.judged import ROW, check, one


def one_of(cell, folder):
    """The verdict on a cell of which the folder has its run."""
    write_cell(folder, cell)
    return one(folder, cell.label)


def planned(against=ROW, assumed=()):
    return plan_cells([against], dict(assumed)).ready[0]


class TestReproduced:
    def test_while_the_interval_holds_the_figure(self, tmp_path):
        """4.4 points below at n=1319 is outside of 99%, 3.2 inside."""
        right, n = right_answers(planned())
        write_cell(tmp_path / "in", planned(), right=right - round(0.032 * n))
        write_cell(tmp_path / "out", planned(), right=right - round(0.044 * n))
        assert one(tmp_path / "in").verdict == "reproduced"
        judged = one(tmp_path / "out")
        assert judged.verdict == "differs"
        assert judged.difference == pytest.approx(-4.4, abs=0.1)

    def test_says_what_could_have_been_seen_and_means_it(self, tmp_path):
        """At the smallest drop that is said the verdict turns."""
        write_cell(tmp_path / "a", planned())
        drop = one(tmp_path / "a").readings[0].seen.drop
        cell, n = planned().cell, planned().cell.n
        for name, share, verdict in (("b", drop + 0.1, "differs"), ("c", drop - 0.1, "reproduced")):
            write_cell(tmp_path / name, planned(), right=round((cell.value - share) / 100 * n))
            assert one(tmp_path / name).verdict == verdict

    def test_holds_all_intervals_of_a_check_together(self, tmp_path):
        """The more cells are compared, the wider each interval."""
        ready = [cell for cell in plan_cells(["dream"]).ready if cell.cell.n]
        for number, cell in enumerate(ready):
            write_cell(tmp_path / "results", cell, number=number)
        alone = one(tmp_path / "results", f"dream:{ready[0].cell.id}").readings[0]
        among = next(j for j in check(tmp_path / "results", "dream").cells if j.cell.id == ready[0].cell.id).readings[0]
        assert among.high - among.low > 1.2 * (alone.high - alone.low)

    def test_under_any_of_the_figures_that_may_be_it_and_says_which(self, tmp_path):
        cell = planned()
        assert cell.candidates == ("exact_match,strict-match", "exact_match,flexible-extract")
        folder = write_cell(tmp_path / "results", cell, metric="exact_match,flexible-extract")
        path = folder / "results_2026.json"
        path.write_text(
            path.read_text().replace(
                '"exact_match,flexible-extract"', '"exact_match,strict-match": 0.0, "exact_match,flexible-extract"', 1
            )
        )
        judged = one(tmp_path / "results")
        assert (judged.verdict, judged.reasons) == ("reproduced", ("as exact_match,flexible-extract",))
        assert [reading.metric for reading in judged.readings] == [
            "exact_match,flexible-extract",
            "exact_match,strict-match",
        ]

    def test_of_a_group_when_all_of_its_tasks_are_there(self, tmp_path):
        group = planned("llada:llada-base.mmlu.lik")
        folder = write_cell(tmp_path / "results", group)
        assert one(tmp_path / "results", group.label).readings[0].counts == right_answers(group)
        path = folder / "results_2026.json"
        path.write_text(path.read_text().replace("mmlu_anatomy", "mmlu_gone"))
        assert one(tmp_path / "results", group.label).verdict == "not run"

    def test_says_what_of_the_task_was_not_checked(self, tmp_path):
        write_cell(tmp_path / "results", planned("dllm:dllm.a2d.mdlm.mmlu"))
        found = check(tmp_path / "results", "dllm:dllm.a2d.mdlm.mmlu")
        assert found.cells[0].verdict == "reproduced"
        assert "; unverified: that the fork's group takes" in atlas_output.as_text(found).replace("|", ";")
        assert "; unverified: that the fork's group takes" in atlas_output.as_junit(found)

    def test_shows_what_others_measured(self, tmp_path):
        write_cell(tmp_path / "results", planned())
        assert one(tmp_path / "results").others == ("dLLM has 70.7 (length 256 in its script)",)


class TestNotComparable:
    @pytest.mark.parametrize(
        "how, said",
        [
            ({"settings": {"gen_length": 512}}, "gen_length=512 (published 1024)"),
            ({"settings": {"stop_at_eos": True}}, "stop_at_eos=yes (published no)"),
            ({"settings": {"cache": "dual"}}, "cache=dual (published none)"),
            ({"change": {"chat_template_sha": "1" * 64}}, "chat template=yes (published no)"),
            ({"change": {"n-shot": {"gsm8k": 3}}}, "num_fewshot=3 (published 5)"),
            ({"change": {"n-samples": {"gsm8k": {"original": 1319, "effective": 100}}}}, "100 of 1319 documents"),
            (
                {"change": {"n-samples": {"gsm8k": {"original": 500, "effective": 500}}}},
                "500 documents (published 1319)",
            ),
        ],
    )
    def test_names_the_setting_that_differs(self, how, said, tmp_path):
        write_cell(tmp_path / "results", planned(), right=0, **how)
        judged = one(tmp_path / "results")
        assert judged.verdict == "not comparable"
        assert said in judged.reasons[0]

    def test_a_figure_without_an_error_is_neither_reproduced_nor_different(self, tmp_path):
        folder = write_cell(tmp_path / "results", planned())
        path = folder / "results_2026.json"
        data = json.loads(path.read_text())
        data["results"]["gsm8k"] = {"exact_match,strict-match": 0.12345, "exact_match_stderr,strict-match": "N/A"}
        path.write_text(json.dumps(data))
        judged = one(tmp_path / "results")
        assert judged.verdict == "not comparable"
        assert "has no standard error of exact_match,strict-match or exact_match,flexible-extract" in judged.reasons[0]

    def test_a_limit_beyond_the_last_document_is_none(self, tmp_path):
        folder = write_cell(tmp_path / "results", planned())
        path = folder / "results_2026.json"
        data = json.loads(path.read_text())
        data["config"]["limit"] = 2000.0
        path.write_text(json.dumps(data))
        assert one(tmp_path / "results").verdict == "reproduced"

    @pytest.mark.parametrize(("shots", "said"), [(None, "shots=none (published 4)"), ('{"shots": 5}', "shots=5")])
    def test_names_another_number_of_examples_in_a_tasks_own_prompts(self, tmp_path, shots, said):
        cell = planned("dllm:dllm.dream-instruct.mmlu")
        assert one_of(cell, tmp_path / "same").verdict == "reproduced"
        other = dataclasses.replace(cell.recipe.run, metadata=shots)
        cell = dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, run=other))
        judged = one_of(cell, tmp_path / "other")
        assert judged.verdict == "not comparable" and said in judged.reasons[0]

    @pytest.mark.parametrize("name", ["planner", "tokenizer", "peft", "pc"])
    def test_names_a_part_that_the_published_model_has_not(self, name, tmp_path):
        folder = write_cell(tmp_path / "results", planned())
        path = folder / "results_2026.json"
        data = json.loads(path.read_text())
        data["config"][name] = "own/part"
        path.write_text(json.dumps(data))
        judged = one(tmp_path / "results")
        assert judged.verdict == "not comparable"
        assert f"{'circuit' if name == 'pc' else name}=part (published none)" in judged.reasons[0]

    def test_another_task_of_the_benchmark_is_named(self, tmp_path):
        codd = planned("codd:table1.base.margin.gsm8k.64")
        write_cell(tmp_path / "results", codd)
        judged = one(tmp_path / "results", "fast_dllm:fast-dllm.llada.gsm8k.256.baseline")
        assert judged.verdict == "not comparable"
        assert "task=codd_gsm8k (published gsm8k)" in judged.reasons[0]

    @pytest.mark.parametrize("settings", [{"seed": 7}, {"pc_frac": 0.9}, {"eps": 0.5}, {"mask_id": 126336}])
    def test_what_changes_nothing_is_no_difference(self, settings, tmp_path):
        write_cell(tmp_path / "results", planned(), settings=settings)
        assert one(tmp_path / "results").verdict == "reproduced"

    def test_a_run_of_another_cell_is_no_failed_attempt(self, tmp_path):
        ready = {one.cell.id: one for one in plan_cells(["llada"]).ready}
        write_cell(tmp_path / "results", ready["llada-base.gsm8k.pure1024"])
        verdicts = {one.cell.id: one.verdict for one in check(tmp_path / "results", "llada").cells}
        assert verdicts["llada-base.gsm8k.pure1024"] == "reproduced"
        assert verdicts["llada-base.gsm8k.pure256"] == "not run"
        assert one(tmp_path / "results", "llada:llada-base.gsm8k.pure256").verdict == "not comparable"

    @pytest.mark.parametrize("pc_frac, verdict", [(0.3, "reproduced"), (0.6, "not comparable")])
    def test_values_that_open_the_same_gates_are_no_difference(self, pc_frac, verdict, tmp_path):
        """At 64 steps a block's mask ratios are 1, 3/4, 1/2 and 1/4: 0.3 and 0.5 are one decode, 0.6 is another."""
        label = "codd:table4.codd.random.gpqa.64.0.5.0.1"
        cell = planned(label, [("pc_ckpt", "own/gpqa-pc")])
        folder = write_cell(
            tmp_path / "results", cell, settings={"pc_frac": pc_frac}, published={label: {"pc_ckpt": "own/gpqa-pc"}}
        )
        assert folder.is_dir() and one(tmp_path / "results", label).verdict == verdict

    def test_another_circuit_is_one(self, tmp_path):
        label = "codd:table5.codd.random.mbpp.64.0.5.0.1"
        folder = write_cell(tmp_path / "results", planned(label))
        assert one(tmp_path / "results", label).verdict == "reproduced"
        path = folder / "results_2026.json"
        path.write_text(path.read_text().replace("il18/dream-code-pc", "own/other-pc"))
        judged = one(tmp_path / "results", label)
        assert judged.verdict == "not comparable"
        assert judged.reasons[0].endswith("circuit=other-pc (published dream-code-pc)")

    def test_another_checkpoint_is_none_of_the_cells(self, tmp_path):
        write_cell(tmp_path / "results", planned("llada:llada-base.gsm8k.pure1024"))
        write_cell(tmp_path / "results", planned("fast_dllm:fast-dllm.llada.gsm8k.256.baseline"), number=1)
        assert one(tmp_path / "results").verdict == "reproduced"


class TestAssumed:
    CELL = "codd:table1.codd.margin.gsm8k.64"

    def test_runs_count_for_the_cell_and_say_so(self, tmp_path):
        assumed = {"pc_frac": "0.5", "pc_temperature": "0.2"}
        cell = planned(self.CELL, assumed.items())
        write_cell(tmp_path / "results", cell, published={self.CELL: assumed})
        judged = one(tmp_path / "results", self.CELL)
        assert judged.verdict == "reproduced"
        assert judged.reasons == ("assumed pc_frac=0.5", "assumed pc_temperature=0.2")

    def test_may_be_said_to_the_check_for_runs_that_were_made_otherwise(self, tmp_path, capsys):
        write_cell(tmp_path / "results", planned(self.CELL, {"pc_frac": "0.5", "pc_temperature": "0.2"}.items()))
        arguments = [str(tmp_path / "results"), "--against", self.CELL, "--assume"]
        assert check_main([*arguments, "pc_frac=0.5,pc_temperature=0.2"]) == 0
        assert "assumed pc_frac=0.5; assumed pc_temperature=0.2" in capsys.readouterr().out
        assert check_main([*arguments, "pc_frac=0.7,pc_temperature=0.2"]) == 2
        with pytest.raises(ValueError, match="unknown assumption `pc_frak`"):
            check_main([*arguments, "pc_frak=1"])

    def test_without_a_word_of_it_there_is_no_run_of_the_cell(self, tmp_path):
        cell = planned(self.CELL, {"pc_frac": "0.5", "pc_temperature": "0.2"}.items())
        write_cell(tmp_path / "results", cell)
        assert one(tmp_path / "results", self.CELL).verdict == "not run"


class TestSuspect:
    def test_figures_never_decide(self, tmp_path):
        cell = planned("codd:table2.base.margin.gpqa.256")
        write_cell(tmp_path / "results", cell, right=0)
        found = check(tmp_path / "results", cell.label)
        assert (found.cells[0].verdict, found.exit_status) == ("differs", 0)


class TestTheCommand:
    def test_says_everything_and_writes_junit_and_summary(self, tmp_path, capsys):
        results = tmp_path / "results"
        right, n = right_answers(planned())
        write_cell(results, planned(), right=right - n // 10)
        write_cell(results, planned("llada:llada-base.bbh.pure256"), number=1)
        junit, summary = tmp_path / "check.xml", tmp_path / "summary.md"
        outputs = ["--junit", str(junit), "--summary", str(summary)]
        assert check_main([str(results), "--against", "llada", *outputs]) == 1
        text = capsys.readouterr().out
        assert "DIFFERS" in text and "largest length: llada-base.bbh.autoregressive" in text
        assert text.splitlines()[-1].startswith("DIFFERS: 1 reproduced, 1 differs, ")
        suite = ElementTree.parse(junit).getroot().find("testsuite")
        assert (suite.get("tests"), suite.get("failures")) == ("129", "1")
        assert int(suite.get("skipped")) == 127
        assert summary.read_text().startswith("### ❌ DIFFERS: ")

    def test_of_a_folder_without_runs_has_nothing_to_compare(self, tmp_path, capsys):
        assert check_main([str(tmp_path), "--against", "wino"]) == 2
        assert capsys.readouterr().out.splitlines()[-1].startswith("nothing to compare with wino: ")

    def test_refuses_assumptions_without_a_source(self, tmp_path):
        with pytest.raises(ValueError, match="`--assume eta=1` is for the cells of a source; leave it out"):
            check_main([str(tmp_path), "--update", str(tmp_path / "reference.yaml"), "--assume", "eta=1"])

    def test_refuses_a_table_beside_a_source(self, tmp_path):
        with pytest.raises(ValueError, match="`--table 1` selects from published tables"):
            check_main([str(tmp_path), "--against", "wino", "--table", "1"])


class TestValues:
    """Figures that are no shares, of lm-eval's own command."""

    CELL = Cell(
        id="own.ppl",
        model="s-sahoo/duo",
        method="NELBO",
        benchmark="owt",
        value=23.2,
        decimals=1,
        unit="perplexity",
        complete="yes",
        lm_eval={"model": "dit", "model_args": {"num_samples": 8}, "tasks": "windows"},
        metrics=("word_perplexity,none",),
    )

    def judged(self, tmp_path, monkeypatch, value, cell=CELL, **config):
        source = Source("own", {"title": "T"}, (cell,))
        monkeypatch.setattr(against_atlas, "chosen_cells", lambda text: (source, [cell]))
        monkeypatch.setattr(against_atlas, "plan_cells", lambda texts: Plan())
        folder = tmp_path / "results" / "a"
        folder.mkdir(parents=True)
        data = {
            "results": {"windows": {"word_perplexity,none": value, "word_perplexity_stderr,none": 0.1}},
            "configs": {"windows": {"output_type": "loglikelihood_rolling"}},
            "n-samples": {"windows": {"original": 9, "effective": 9}},
            "n-shot": {},
            "config": {"pretrained": "s-sahoo/duo", "settings": {"num_samples": 8, **config}},
        }
        (folder / "results_1.json").write_text(json.dumps(data))
        (judged,) = check_against_atlas(read_folder(tmp_path / "results"), "own", level=0.01).cells
        return judged

    @pytest.mark.parametrize("value, verdict", [(23.4, "reproduced"), (23.7, "differs"), (22.7, "differs")])
    def test_are_held_against_their_standard_error(self, value, verdict, tmp_path, monkeypatch):
        judged = self.judged(tmp_path, monkeypatch, value)
        assert (judged.verdict, judged.difference) == (verdict, pytest.approx(value - 23.2))
        assert atlas_output.seen_of(judged.readings[0]) == "-0.3 / +0.3"

    def test_are_reproduced_within_the_band_that_counts_as_the_figure(self, tmp_path, monkeypatch):
        cell = dataclasses.replace(self.CELL, band=(23.0, 23.6))
        assert self.judged(tmp_path, monkeypatch, 23.7, cell).verdict == "reproduced"

    def test_under_another_argument_are_not_comparable(self, tmp_path, monkeypatch):
        judged = self.judged(tmp_path, monkeypatch, 23.2, num_samples=1)
        assert (judged.verdict, judged.reasons) == ("not comparable", ("a: num_samples=1 (published 8)",))
