"""The same comparison under several templates, or with several seeds."""

import json

import pytest

from lm_eval_codd.reporting.cells import group_runs
from lm_eval_codd.reporting.clustered import clustered_mean
from lm_eval_codd.reporting.formats import to_markdown
from lm_eval_codd.reporting.plots import draw
from lm_eval_codd.reporting.repeated import compare, families, ranks
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from tests.reporting.synthetic import outcomes, write_run

PC = "il18/llada-gsm-pc"


def under(results, template, right, *, circuit=None, alg="low_confidence", **given):
    """A run of a template, each with prompts of its own."""
    name = f"{template}_{alg}_{'codd' if circuit else 'base'}{given.pop('suffix', '')}"
    folder = write_run(
        results, right, circuit=circuit, alg=alg, name=name, prompt=given.pop("prompt", f"{template}: {{}}"), **given
    )
    (path,) = folder.glob("results_*.json")
    data = json.loads(path.read_text())
    if template != "paper":
        data["configs"]["codd_gsm8k"]["metadata"]["template"] = template
    path.write_text(json.dumps(data))
    return folder


@pytest.fixture
def results(tmp_path):
    """CoDD is ahead by 20, by 10, and behind by 5 points."""
    for template, base, codd in (("paper", 40, 60), ("stock", 50, 60), ("wording", 45, 40)):
        under(tmp_path, template, [1] * base + [0] * (100 - base))
        under(tmp_path, template, [1] * codd + [0] * (100 - codd), circuit=PC)
    return tmp_path


def tables(results):
    built = build_report(read_folder(results))
    return [table for table in built.tables if "by template" in table.title or "whatever the template" in table.title]


class TestTemplates:
    def test_say_who_is_ahead_in_how_many(self, results):
        _, compared = tables(results)
        (row,) = compared.rows
        assert row[:6] == ["CoDD (low_confidence) over base", "2 of 3", "+20.00", "+10.00", "-5.00", "+8.33"]
        assert list(compared.header[:2]) == ["ahead", "in templates"]

    @pytest.mark.parametrize(
        ("base", "codd", "answer", "figures"),
        [
            ([0], [1], "from 1 document: +100.00 points over all, ahead in 2 of 2", ["-", "-", "1.00"]),
            (
                [0, 0],
                [1, 1],
                "from 2 documents: +100.00 points over all, ahead in 2 of 2",
                ["-", "-", "0.50"],
            ),
            (
                [1, 0] * 20,
                [1, 0] * 20,
                "from 40 documents that score alike: +0.00 points over all (+0.00 to +0.00), ahead in 0 of 2",
                ["+0.00 to +0.00", "-", "1.00"],
            ),
        ],
    )
    def test_of_too_few_documents_or_of_none_that_changed_tell_nothing(self, tmp_path, base, codd, answer, figures):
        for template in ("paper", "stock"):
            under(tmp_path, template, base)
            under(tmp_path, template, codd, circuit=PC)
        scores, compared = tables(tmp_path)
        assert f"cannot tell whether CoDD (low_confidence) beats base {answer} templates" in compared.notes
        assert compared.rows[0][-4:-1] == figures
        assert not any("inf" in cell for row in (*scores.rows, *compared.rows) for cell in row)

    @pytest.mark.parametrize(
        ("codd", "answer"),
        [
            ((60, 60, 60), "yes, CoDD (low_confidence) beats base under each: +20.00 points over all ("),
            ((70, 70, 38), "over all, but not under each, CoDD (low_confidence) beats base: +19.33 points over all ("),
            ((20, 20, 20), "no, the other way round than CoDD (low_confidence) beats base: -20.00 points over all ("),
            ((40, 40, 41), "cannot tell whether CoDD (low_confidence) beats base, where a difference from 0.66 on "),
        ],
    )
    def test_answer_the_titles_question_in_a_sentence(self, tmp_path, codd, answer):
        for template, right in zip(("paper", "stock", "wording"), codd, strict=True):
            under(tmp_path, template, [1] * 40 + [0] * 60)
            under(tmp_path, template, [1] * right + [0] * (100 - right), circuit=PC)
        _, compared = tables(tmp_path)
        assert compared.title.endswith("does it hold whatever the template? Differences in points")
        (said,) = [note for note in compared.notes if note.startswith(answer)]
        assert said.endswith(f"ahead in {sum(right > 40 for right in codd)} of 3 templates")

    def test_that_cannot_be_compared_are_no_answer(self, results):
        under(results, "marker", [1] * 50 + [0] * 50)
        under(results, "marker", [1] * 50 + [0] * 50, circuit=PC, prompt="another {}")
        _, compared = tables(results)
        assert (
            "cannot tell whether CoDD (low_confidence) beats base: not under all templates could they be compared"
            in compared.notes
        )

    def test_the_error_over_all_is_clustered_by_document(self, results):
        (family,) = families(group_runs(read_folder(results).runs))
        (versus,) = compare(family)
        changes = [[0.0] * 3 for _ in range(100)]
        for place, (first, last, change) in enumerate(((40, 60, 1.0), (50, 60, 1.0), (40, 45, -1.0))):
            for document in range(first, last):
                changes[document][place] = change
        wanted = clustered_mean(changes)
        assert versus.over_all.mean == pytest.approx(0.25 / 3)
        assert versus.over_all.stderr == pytest.approx(wanted.stderr, rel=1e-12)
        assert (versus.over_all.clusters, versus.over_all.n) == (100, 300)

    def test_have_a_rank_for_each_method(self, results):
        scores, _ = tables(results)
        assert scores.rows[0][2:5] == ["40.00 ± 4.90 (2)", "50.00 ± 5.00 (2)", "45.00 ± 4.97 (1)"]
        assert "2 different rankings over 3 templates" in scores.notes

    def test_that_agree_are_said_to(self, tmp_path):
        for template in ("paper", "stock"):
            under(tmp_path, template, [1, 0, 0])
            under(tmp_path, template, [1, 1, 0], circuit=PC)
        assert "the ranking is the same under all 2 templates" in tables(tmp_path)[0].notes

    def test_of_equal_accuracy_share_a_rank(self, tmp_path):
        for template in ("paper", "stock"):
            under(tmp_path, template, [1, 0])
            under(tmp_path, template, [0, 1], circuit=PC)
        (family,) = families(group_runs(read_folder(tmp_path).runs))
        assert set(ranks(family)["stock"].values()) == {1}
        assert compare(family)[0].wins == 0

    def test_are_never_mixed_in_one_table(self, results):
        groups = group_runs(read_folder(results).runs)
        assert len(groups) == 3
        assert sum("template=stock" in group.title for group in groups) == 1

    def test_title_names_the_protocol_without_a_template(self, results):
        for table in tables(results):
            assert "template=" not in table.title

    def test_rules_are_compared_too(self, tmp_path):
        for template, first, second in (("paper", 8, 6), ("stock", 5, 7)):
            for alg, right in (("low_confidence", first), ("margin", second)):
                under(tmp_path, template, [1] * right + [0] * (10 - right), alg=alg)
        _, compared = tables(tmp_path)
        assert compared.rows[0][:4] == ["margin (base) over low_confidence", "1 of 2", "-20.00", "+20.00"]

    def test_compare_only_runs_of_the_same_prompts(self, results, tmp_path):
        under(results, "newlines", [1] * 50 + [0] * 50)
        under(results, "newlines", [1] * 50 + [0] * 50, circuit=PC, prompt="other: {}")
        _, compared = tables(results)
        assert compared.rows[0][compared.header.index("template newlines")] == "- [a]"
        assert compared.rows[0][compared.header.index("over all")] == "-"
        assert "[a] no difference: their prompts differ" in compared.notes

    def test_count_only_where_both_have_them(self, results):
        under(results, "newlines", [1] * 50 + [0] * 50)
        _, compared = tables(results)
        assert "template newlines" not in compared.header

    def test_of_one_template_make_no_such_table(self, tmp_path):
        under(tmp_path, "paper", [1, 0])
        under(tmp_path, "paper", [1, 1], circuit=PC)
        assert tables(tmp_path) == []

    def test_the_best_of_a_grid_is_said_to_be_one(self, results):
        under(results, "stock", [1] * 55 + [0] * 45, circuit=PC, pc_frac=0.7, suffix="7")
        assert any(note.startswith("CoDD under stock: the best of 2 settings") for note in tables(results)[0].notes)

    def test_stand_in_no_table_of_the_paper(self, tmp_path):
        from lm_eval_codd.reporting.report import objections

        under(tmp_path, "stock", outcomes(1319, 900))
        (run,) = read_folder(tmp_path).runs
        assert "template=stock is not the paper's" in objections(run)


class TestSeeds:
    def test_are_compared_and_clustered_alike(self, tmp_path):
        for seed, base, codd in ((1234, 4, 6), (1, 5, 6), (20, 4, 7)):
            for right, circuit in ((base, None), (codd, PC)):
                name = f"{seed}{'codd' if circuit else 'base'}"
                write_run(tmp_path, [1] * right + [0] * (10 - right), circuit=circuit, seed=seed, name=name)
        text = "\n".join(map(to_markdown, build_report(read_folder(tmp_path)).tables))
        assert "does it hold whatever the seed?" in text
        (family,) = families(group_runs(read_folder(tmp_path).runs))
        assert (family.axis, family.values) == ("seed", ("1", "20", "1234"))
        assert compare(family)[0].wins == 3
        assert "seed=" not in family.title


class TestThePicture:
    def test_has_a_line_a_method_and_its_ranks(self, results):
        pytest.importorskip("matplotlib")
        figure = dict(draw(group_runs(read_folder(results).runs)))["stability-template"]
        (panel,) = figure.axes
        lines = {container.get_label(): list(container.lines[0].get_ydata()) for container in panel.containers}
        assert lines == {"base": [40.0, 50.0, 45.0], "CoDD": [60.0, 60.0, 40.0]}
        assert [label.get_text() for label in panel.get_xticklabels()] == ["paper", "stock", "wording"]
        assert [text.get_text() for text in panel.texts] == ["2", "2", "1", "1", "1", "2"]
        assert "2 different rankings over 3 templates" in panel.get_title()

    def test_is_not_there_for_one_template(self, tmp_path):
        under(tmp_path, "paper", [1, 0])
        assert not any(name.startswith("stability") for name, _ in draw(group_runs(read_folder(tmp_path).runs)))
