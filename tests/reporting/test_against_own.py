import random

import pytest
import yaml

from lm_eval_codd.reporting.against_own import check_against_own
from lm_eval_codd.reporting.reference import read_references, write_references
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.samples import read_outcomes
from tests.reporting.synthetic import write_run

STEPS = (2, 4, 8, 16, 32)
DEMO = {"benchmark": "demo", "checkpoint": "demo", "gen_length": 32, "block_length": 32}


def base_outcomes(steps: int) -> list[int]:
    return [int(random.Random(item).random() < 0.2 + steps / 50) for item in range(300)]


def codd_outcomes(steps: int) -> list[int]:
    return [int(random.Random(item).random() < 0.35 + steps / 50) for item in range(300)]


def write_demo(results, *, base=base_outcomes, codd=codd_outcomes, part=slice(None), **fields):
    """The demo's sweep: base and CoDD at five step counts."""
    for steps in STEPS:
        write_run(results, base(steps)[part], steps=steps, **DEMO, **fields)
        write_run(results, codd(steps)[part], steps=steps, circuit="demo", **DEMO, **fields)
    return read_folder(results)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    path = folder / "reference.yaml"
    write_references(path, write_demo(folder / "results").runs)
    return path


def check(folder, reference):
    return check_against_own(folder, read_references(reference), against="own", level=0.01)


class TestTheFile:
    def test_gives_back_every_outcome(self, tmp_path, reference):
        runs = {run.name: run for run in write_demo(tmp_path).runs}
        references = read_references(reference)
        assert len(references) == len(runs) == 10
        for one in references:
            wanted = {key.doc_id: score for key, score in read_outcomes(runs[one.name]).items()}
            assert {key.doc_id: score for key, score in one.outcomes.items()} == wanted

    def test_is_compact_and_plain(self, reference):
        data = yaml.safe_load(reference.read_text())
        assert len(data["items"]) == 1
        assert reference.stat().st_size < 20_000
        assert data["cells"][0]["surroundings"]["hardware"] == "cpu (x86_64)"
        assert "torch" in data["cells"][0]["surroundings"]["versions"]

    def test_keeps_approximate_runs_apart_and_forgets_steps_that_they_do_not_read(self, tmp_path):
        right = [1, 0] * 10
        write_run(tmp_path / "then", right, steps=32, threshold=0.9, **DEMO, name="sure")
        write_run(tmp_path / "then", right, steps=32, cache="dual", **DEMO, name="cached")
        path = tmp_path / "reference.yaml"
        write_references(path, read_folder(tmp_path / "then").runs)
        write_run(tmp_path / "now", right, steps=8, threshold=0.9, **DEMO, name="sure at 8")
        write_run(tmp_path / "now", right, steps=32, **DEMO, name="exact")
        found = check(read_folder(tmp_path / "now"), path)
        assert [cell.label for cell in found.cells] == ["sure"]
        assert found.missing == ["cached"]
        assert found.refused == ["exact: the reference has no run with these settings"]

    def test_names_the_task_where_a_run_has_several(self, tmp_path, reference):
        cells = yaml.safe_load(reference.read_text())
        other = {**cells["cells"][0], "task": "codd_coupling_copy"}
        path = tmp_path / "reference.yaml"
        path.write_text(yaml.safe_dump({**cells, "cells": [*cells["cells"], other]}))
        first, *_, last = read_references(path)
        assert first.name == f"{other['run']}: codd_demo"
        assert last.name == f"{other['run']}: codd_coupling_copy"

    def test_holds_no_setting_that_is_a_default_so_that_a_new_one_changes_nothing(self, reference):
        for cell in yaml.safe_load(reference.read_text())["cells"]:
            assert cell["settings"].keys() == {"alg", "num_steps", "gen_length"}

    def test_of_another_format_is_refused(self, tmp_path):
        path = tmp_path / "old.yaml"
        path.write_text("format: lm_eval_codd results 0\ncells: []\n")
        with pytest.raises(ValueError, match="make it again with --update"):
            read_references(path)

    def test_that_was_cut_is_refused(self, tmp_path, reference):
        data = yaml.safe_load(reference.read_text())
        data["cells"][0]["outcomes"] = data["cells"][0]["outcomes"][:-1]
        (tmp_path / "cut.yaml").write_text(yaml.safe_dump(data))
        with pytest.raises(ValueError, match="is damaged"):
            read_references(tmp_path / "cut.yaml")

    def test_is_not_made_of_scores_that_are_fractions(self, tmp_path):
        write_run(tmp_path, [1, 0.5], **DEMO)
        with pytest.raises(ValueError, match="not 0 or 1"):
            write_references(tmp_path / "r.yaml", read_folder(tmp_path).runs)


class TestThePairedCheck:
    def test_the_same_answers_are_consistent(self, tmp_path, reference):
        found = check(write_demo(tmp_path), reference)
        assert (len(found.cells), len(found.gains), found.exit_status) == (10, 5, 0)
        assert {c.p for c in found.cells} == {1.0}
        assert found.notes == []

    def test_answers_shifted_by_a_document_fail(self, tmp_path, reference):
        """Each answer is scored against the next document's target, so that few are right."""

        def shifted(steps):
            return [int(item % 20 == 0) * score for item, score in enumerate(codd_outcomes(steps))]

        found = check(write_demo(tmp_path, codd=shifted), reference)
        assert found.exit_status == 1
        assert {c.label for c in found.failed if "base" not in c.label} == {
            f"llada_demo_low_confidence_steps{steps}_pc" for steps in STEPS
        }

    def test_a_circuit_that_no_longer_acts_fails(self, tmp_path, reference):
        found = check(write_demo(tmp_path, codd=base_outcomes), reference)
        assert found.exit_status == 1
        assert all(gain.verdict(0.01) == "below" for gain in found.gains)
        assert all(gain.measured == "+0.00" for gain in found.gains)

    def test_better_answers_fail_too_since_the_code_does_something_else(self, tmp_path, reference):
        found = check(write_demo(tmp_path, base=lambda steps: [1] * 300), reference)
        above = [c for c in found.cells if c.verdict(0.01) == "above"]
        assert len(above) == 5
        assert all(c in found.failed for c in above)

    def test_it_is_finer_than_an_unpaired_test(self, tmp_path, reference):
        """15 of 300 items turned wrong: 5 points, which Fisher's test could not see."""

        def worse(steps):
            scores, lost = base_outcomes(steps), 0
            for item in range(300):
                if scores[item] and lost < 15:
                    scores[item], lost = 0, lost + 1
            return scores

        found = check(write_demo(tmp_path, base=worse), reference)
        assert sum(c.verdict(0.01) == "below" for c in found.cells) == 5
        assert all("15 items changed" in c.marks for c in found.cells if c.verdict(0.01) == "below")

    def test_a_limit_is_compared_on_its_documents(self, tmp_path, reference):
        found = check(write_demo(tmp_path, part=slice(0, 40), limit=40), reference)
        assert (len(found.cells), found.exit_status) == (10, 0)
        assert "40 of the reference's 300 items" in found.cells[0].marks
        assert found.cells[0].measured.endswith("/40)")

    def test_a_drop_of_what_could_be_seen_is_seen(self, tmp_path, reference):
        (cell, *_) = check(write_demo(tmp_path / "a"), reference).cells
        lost = round(cell.detectable.drop * 300)

        def worse(count):
            def outcomes(steps):
                scores = base_outcomes(steps)
                for item in [i for i in range(300) if scores[i]][:count]:
                    scores[item] = 0
                return scores

            return outcomes

        seen = check(write_demo(tmp_path / "b", base=worse(lost)), reference)
        unseen = check(write_demo(tmp_path / "c", base=worse(3)), reference)
        assert (seen.exit_status, unseen.exit_status) == (1, 0)


class TestWhatCannotBeCompared:
    def test_other_prompts_are_refused(self, tmp_path, reference):
        found = check(write_demo(tmp_path, prompt="Q {}"), reference)
        assert found.exit_status == 2
        assert found.refused[0].endswith("their prompts differ")

    def test_other_settings_are_missing_and_named(self, tmp_path, reference):
        write_run(tmp_path, base_outcomes(2), steps=2, seed=7, name="seven", **DEMO)
        found = check(read_folder(tmp_path), reference)
        assert (len(found.missing), found.exit_status) == (10, 2)
        assert found.refused == ["seven: the reference has no run with these settings"]

    def test_a_failed_run_is_missing(self, tmp_path, reference):
        write_run(tmp_path, base_outcomes(2), steps=2, status="failed", **DEMO)
        assert len(check(read_folder(tmp_path), reference).missing) == 10

    def test_other_hardware_and_versions_are_told(self, tmp_path, reference):
        config = {"device_name": "NVIDIA H200", "versions": {"torch": "2.6.0"}}
        found = check(write_demo(tmp_path, config=config), reference)
        assert found.exit_status == 0
        assert "hardware: NVIDIA H200 here, cpu (x86_64) in the reference (10 of 10 runs)" in found.notes
        assert any(note.startswith("version of torch: 2.6.0 here, 2.13.0+cpu") for note in found.notes)

    def test_what_a_reference_does_not_have_is_no_difference_but_a_version_is(self, tmp_path, reference):
        old = yaml.safe_load(reference.read_text())
        for cell in old["cells"]:
            del cell["surroundings"]["answer_tokens"], cell["surroundings"]["versions"]["torch"]
        path = tmp_path / "old.yaml"
        path.write_text(yaml.safe_dump(old))
        found = check(write_demo(tmp_path / "runs"), path)
        assert found.exit_status == 0
        assert [note.partition(" here")[0] for note in found.notes] == ["version of torch: 2.13.0+cpu"]
