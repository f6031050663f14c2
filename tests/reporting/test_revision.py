"""The Code Revision Benchmark in reports: means over cells, and the published ones."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from lm_eval_codd.__main__ import main
from lm_eval_codd.atlas.revision_means import read_revision
from lm_eval_codd.code_revision.cells import CELLS
from lm_eval_codd.code_revision.scopes import METRICS
from lm_eval_codd.reporting.against_revision import check_against_revision
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.runs.yaml_file import read_yaml
from lm_eval_codd.settings import DecodingConfig

REFERENCE = Path(__file__).parents[2] / "results" / "paper" / "code_revision.yaml"
HEADLINE = [cell for cell in CELLS if cell.number == 1]
# 3,213 programs, as published.
SIZES = {cell: 268 if place < 9 else 267 for place, cell in enumerate(HEADLINE)}
CHECKPOINT = "Shuibai12138/Open-Dcoder-0.5B-mixture-mdm-step2000"
PUBLISHED = read_yaml(REFERENCE)["models"][2]["scores"]["n=1"]


def write(folder, shares, *, sizes=SIZES, checkpoint=CHECKPOINT, published=True, timeouts=0, **settings):
    """A results file of lm-eval: cells of these sizes, each with these shares by name."""
    config = DecodingConfig(**{"decoder": "corrective", "num_steps": 5, "threshold": 0.9, **settings})
    scores, configs, documents = {}, {}, {}
    for cell, n in sizes.items():
        task = f"codd_{cell.slug}"
        of_cell = {"timeout_t4,run": timeouts / n, "timeout_t4_stderr,run": 0.0}
        for name, metric in METRICS.items():
            share = shares[name](cell) if callable(shares[name]) else shares[name]
            # Whole programs; what is lost by rounding is less than half of one.
            share = share if name == "gap" else round(share * n) / n
            stderr = 0.01 if name == "gap" else math.sqrt(share * (1 - share) / (n - 1))
            of_cell |= {f"{metric},run": share, f"{metric}_stderr,run": stderr}
        scores[task] = of_cell
        metadata = {"reported": "pass_at_1_t4,run", "data": {"is_published_set": published}}
        configs[task] = {"metadata": metadata}
        documents[task] = {"original": n, "effective": n}
    run = folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    content = {
        "results": scores,
        "configs": configs,
        "n-samples": documents,
        "config": {
            "family": "dream",
            "settings": dataclasses.asdict(config),
            "pretrained": checkpoint,
            "model_dtype": "torch.bfloat16",
        },
    }
    (run / "results_1.json").write_text(json.dumps(content))
    return folder


def check(folder, level=0.01):
    published = read_revision(REFERENCE, read_yaml(REFERENCE))
    return check_against_revision(read_folder(folder), published, against="paper", level=level)


class TestTable:
    def rows(self, folder):
        (table,) = build_report(read_folder(folder)).tables
        return table, [dict(zip(table.header, row, strict=True)) for row in table.rows]

    def test_has_the_unweighted_mean_over_cells_and_that_over_programs(self, tmp_path):
        sizes = {HEADLINE[0]: 100, HEADLINE[1]: 300}
        shares = {**PUBLISHED, "T=4": lambda cell: 0.5 if cell == HEADLINE[0] else 0.1}
        _, (macro, micro) = self.rows(write(tmp_path, shares, sizes=sizes, timeouts=2))
        assert (macro["mean"], macro["cells"], macro["programs"]) == ("macro", "2 of 12", "400")
        assert macro["T=4"].startswith("0.3000 ± ")
        assert micro["T=4"].startswith("0.2000 ± ")
        assert macro["timeouts"] == "4"
        stderr = math.sqrt(0.25 / 99 + 0.09 / 299) / 2
        assert float(macro["T=4"].split(" ± ")[1]) == pytest.approx(stderr, abs=1e-4)

    def test_has_all_numbers_and_data_sets_where_there_are_more_than_the_headline(self, tmp_path):
        _, rows = self.rows(write(tmp_path, PUBLISHED, sizes=dict.fromkeys(CELLS, 10)))
        assert {row["cells of"]: row["cells"] for row in rows} == {
            "n=1": "12 of 12",
            "all n": "60 of 60",
            **dict.fromkeys([f"{name}, all n" for name in ("human-eval", "human-eval+", "mbpp", "mbpp+")], "15 of 15"),
        }

    def test_says_where_programs_are_not_the_published_ones(self, tmp_path):
        table, _ = self.rows(write(tmp_path, PUBLISHED, published=False))
        assert any("not the published programs" in note for note in table.notes)

    def test_is_part_of_the_report(self, tmp_path, capsys):
        assert main(["report", str(write(tmp_path, PUBLISHED))]) == 0
        said = capsys.readouterr().out
        assert "Code Revision Benchmark" in said
        assert "12 of 12" in said
        assert "crb_humaneval" not in said  # no 60 columns of an accuracy table
        for style in ("csv", "latex", "html"):
            assert main(["report", str(tmp_path), "--format", style]) == 0
        assert main(["report", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0

    def test_takes_the_cells_of_a_groups_run(self, tmp_path):
        run = write(tmp_path, PUBLISHED) / "run"
        record = {"status": "finished", "task": "codd_crb_1", "results": "results_1.json", "identity": {}}
        (run / "run.json").write_text(json.dumps(record))
        _, (macro, _) = self.rows(tmp_path)
        assert macro["cells"] == "12 of 12"


class TestPublished:
    def test_is_read_as_printed(self):
        published = read_revision(REFERENCE, read_yaml(REFERENCE))
        assert len(published.models) == 3
        assert published.models["fredzzp/open-dcoder-0.5B"]["n=1"]["T=4"] == 0.2632
        assert all(list(scores["n=1"]) == list(METRICS) for scores in published.models.values())
        last = published.models[CHECKPOINT]
        of_datasets = [last[f"{name}, all n"]["T=4"] for name in ("human-eval", "human-eval+", "mbpp", "mbpp+")]
        assert sum(of_datasets) / 4 == pytest.approx(last["all n"]["T=4"], abs=1e-4)

    @pytest.mark.parametrize(
        ("scores", "said"),
        [
            ({"n=9": {"T=1": 0.1}}, "no cells or metrics"),
            ({"n=1": {"T=9": 0.1}}, "no cells or metrics"),
            ({"n=1": {"T=1": 14.5}}, "T=1 is 14.5, which is no share"),
        ],
    )
    def test_that_is_laid_out_otherwise_is_refused(self, scores, said):
        data = {"models": [{"checkpoint": "a/b", "scores": scores}], "settings": {}, "programs": {}}
        with pytest.raises(ValueError, match=said):
            read_revision(Path("own.yaml"), data)


class TestCheck:
    def test_equal_figures_are_consistent(self, tmp_path):
        found = check(write(tmp_path, PUBLISHED))
        assert found.exit_status == 0
        assert len(found.cells) == 8
        assert max(abs(one.difference) for one in found.cells) < 0.002
        assert found.missing[0] == "fredzzp/open-dcoder-0.5B: all 8 figures"
        assert f"{CHECKPOINT.split('/')[1]} all n T=4" in found.missing

    def test_a_drop_is_a_regression_and_a_rise_is_none(self, tmp_path):
        lower = check(write(tmp_path / "a", {**PUBLISHED, "T=4": PUBLISHED["T=4"] - 0.06}))
        assert [one.label.split()[-1] for one in lower.failed] == ["T=4"]
        assert lower.exit_status == 1
        higher = check(write(tmp_path / "b", {**PUBLISHED, "T=4": PUBLISHED["T=4"] + 0.06}))
        assert higher.exit_status == 0
        assert "1 above" in higher.conclusion()

    def test_says_what_it_could_have_seen(self, tmp_path):
        for one in check(write(tmp_path, PUBLISHED)).cells:
            spread = math.sqrt(2) * float(one.measured.split(" ± ")[1])
            assert 3 * spread < one.detectable.drop < 3.5 * spread  # 8 figures at 0.01
            assert one.detectable.drop == one.detectable.rise

    @pytest.mark.parametrize(
        ("others", "said"),
        [
            ({"checkpoint": "GSAI-ML/LLaDA-8B-Base"}, "no published figures of GSAI-ML/LLaDA-8B-Base"),
            ({"num_steps": 4}, "num_steps=4, the published runs have 5"),
            ({"threshold": 0.8}, "threshold=0.8, the published runs have 0.9"),
            ({"temperature": 0.2}, "temperature=0.2, the published runs have 0.0"),
            ({"published": False}, "its programs or their tests are not the published ones"),
            ({"sizes": dict(list(SIZES.items())[:-1])}, "T=4: 11 of 12 cells"),
            ({"sizes": {**SIZES, HEADLINE[0]: 260}}, "3205 programs, the published ones are 3213"),
        ],
    )
    def test_what_is_no_measurement_of_it_is_refused(self, tmp_path, others, said):
        found = check(write(tmp_path, PUBLISHED, **others))
        assert found.exit_status == 2
        assert any(said in line for line in found.refused)

    def test_takes_a_copy_in_a_folder_of_the_same_name(self, tmp_path):
        assert check(write(tmp_path, PUBLISHED, checkpoint=f"/models/{CHECKPOINT.split('/')[1]}")).exit_status == 0

    def test_is_a_command(self, tmp_path, capsys):
        write(tmp_path, PUBLISHED)
        assert main(["check", str(tmp_path), "--against", str(REFERENCE)]) == 0
        assert "OK: all consistent" in capsys.readouterr().out
        assert main(["check", str(tmp_path), "--against", str(REFERENCE), "--table", "1"]) == 2
        assert "`--table 1` selects from tables of the CoDD paper" in capsys.readouterr().err
