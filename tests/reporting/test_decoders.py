"""A decoder is an axis of its own: its runs stand in the tables of the others, in rows of their own."""

from importlib import import_module

from lm_eval_codd.reporting.accuracy_plots import line_of
from lm_eval_codd.reporting.cells import BASE, group_runs, key_of
from lm_eval_codd.reporting.decoder_table import decoder_table
from lm_eval_codd.reporting.plots import draw
from lm_eval_codd.reporting.report import objections
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.summary import format_table
from lm_eval_codd.reporting.tables import accuracy_table
from lm_eval_codd.settings import DECODERS, REVISING
from tests.reporting.synthetic import write_run

RIGHT, WORSE = [1, 1, 1, 0] * 5, [1, 0, 1, 0] * 5


def write_all(results):
    for circuit, right in ((None, WORSE), ("il18/llada-gsm-pc", RIGHT)):
        write_run(results, right, steps=64, circuit=circuit)
        for number, options in enumerate(({}, {"threshold": 0.5}, {"max_per_step": 8})):
            write_run(results, right, circuit=circuit, name=f"cad{number}{circuit is None}", decoder="cad", **options)
    return read_folder(results).runs


class TestRows:
    def test_of_a_decoder_are_named_by_it_and_its_options_in_the_table_of_the_same_protocol(self, tmp_path):
        (group,) = group_runs(write_all(tmp_path))
        assert [alg for alg, system in group.rows if system == BASE] == [
            "low_confidence",
            "cad",
            "cad max_per_step=8",
            "cad threshold=0.5",
        ]
        assert {key.steps for key in group.cells} == {0, 64}
        assert all(not cell.refusal for cell in group.cells.values())
        assert "demo adaptive" not in group.title and "threshold" not in group.title

    def test_pair_a_circuit_with_the_base_of_the_same_decoder_and_options(self, tmp_path):
        (group,) = group_runs(write_all(tmp_path))
        pairs = [(base.key.alg, codd.key.alg) for base, codd in group.pairs()]
        assert len(pairs) == 4 and all(one == other for one, other in pairs)

    def test_have_their_own_word_in_place_of_steps(self, tmp_path):
        columns = {key_of(run).column.schedule for run in write_all(tmp_path)}
        assert columns == {"64", "adaptive"}

    def test_of_the_other_family_stand_beside_its_blocks(self, tmp_path):
        write_run(tmp_path, RIGHT, family="dream", paradigm="block", checkpoint="d/ream")
        write_run(tmp_path, RIGHT, family="dream", decoder="cad", checkpoint="d/ream", name="cad")
        (group,) = group_runs(read_folder(tmp_path).runs)
        assert {alg for alg, _ in group.rows} == {"low_confidence", "cad"}


class TestAgainstFixedSteps:
    def test_of_at_least_as_many_network_evaluations_over_the_same_items(self, tmp_path):
        for steps, right in ((64, RIGHT), (32, [0] * 20), (16, WORSE)):
            write_run(tmp_path, right, steps=steps)
        few = {"mean_nfe": 12.5, "mean_answer_tokens": 50.0}
        write_run(tmp_path, RIGHT, name="cad", decoder="cad", config=few)
        write_run(tmp_path, RIGHT, name="many", decoder="cad", max_per_step=1, config={"mean_nfe": 128.0})
        (group,) = group_runs(read_folder(tmp_path).runs)
        table = decoder_table(group)
        few, many = sorted(table.rows, key=lambda row: float(row[5]))
        assert few[1:4] == ["base", "cad", "low_confidence"]
        assert few[4:12] == ["75.00", "12.5", "4.00", "50.00", "16.0", "20", "5", "0"]
        assert many[4:12] == ["75.00", "128.0", "0.25", "75.00", "64.0", "20", "0", "0"]

    def test_is_no_table_where_there_is_no_other_decoder(self, tmp_path):
        write_run(tmp_path, RIGHT)
        (group,) = group_runs(read_folder(tmp_path).runs)
        assert decoder_table(group) is None


class TestWhoRevises:
    def test_is_said_below_the_tables_that_have_such_a_decoder(self, tmp_path):
        write_run(tmp_path, RIGHT)
        write_run(tmp_path, RIGHT, name="cad", decoder="cad")
        (group,) = group_runs(read_folder(tmp_path).runs)
        assert not [note for note in [*accuracy_table(group).notes, *decoder_table(group).notes] if "again" in note]
        write_run(tmp_path, RIGHT, name="p2", decoder="p2", alg="low_confidence")
        write_run(tmp_path, RIGHT, name="corrective", decoder="corrective", threshold=0.5)
        (group,) = group_runs(read_folder(tmp_path).runs)
        told = (
            "corrective and p2 may mask again what was written, and look at the whole answer in each step; what "
            "low_confidence and cad wrote stays"
        )
        assert told in accuracy_table(group).notes
        assert told in decoder_table(group).notes

    def test_within_a_block_is_told_apart(self, tmp_path):
        write_run(tmp_path, RIGHT)
        write_run(tmp_path, RIGHT, name="wino", decoder="wino")
        (group,) = group_runs(read_folder(tmp_path).runs)
        told = "wino may mask again what was written in a block, until it is full; what low_confidence wrote stays"
        assert told in accuracy_table(group).notes

    def test_is_what_the_decoders_themselves_say(self):
        revising = []
        for name, facts in DECODERS.items():
            module, _, attribute = facts.target.partition(":")
            if getattr(import_module(module), attribute).revises:
                revising.append(name)
        assert tuple(revising) == REVISING


class TestExtensions:
    """A circuit with a decoder that masks again has no reference."""

    def write(self, results):
        for circuit, right in ((None, WORSE), ("il18/llada-gsm-pc", RIGHT)):
            write_run(results, right, steps=64, circuit=circuit)
            write_run(results, right, steps=64, circuit=circuit, decoder="p2", name=f"p2 {circuit is None}")
        return read_folder(results).runs

    def test_are_called_that_in_rows_of_their_own_with_a_footnote_at_each_score(self, tmp_path):
        (group,) = group_runs(self.write(tmp_path))
        assert group.rows == [
            ("low_confidence", "base"),
            ("low_confidence", "CoDD"),
            ("p2", "base"),
            ("p2", "CoDD (extension)"),
        ]
        table = accuracy_table(group)
        (score,) = [row[2] for row in table.rows if row[:2] == ["p2", "CoDD (extension)"]]
        assert score.endswith(" [a]")
        assert table.notes[-1] == "[a] this project's extension, without a reference: circuit with decoder=p2"

    def test_are_paired_with_the_base_of_their_decoder_and_held_against_fixed_steps_with_the_circuit(self, tmp_path):
        (group,) = group_runs(self.write(tmp_path))
        assert [(base.key[:2], codd.key[:2]) for base, codd in group.pairs()] == [
            (("low_confidence", "base"), ("low_confidence", "CoDD")),
            (("p2", "base"), ("p2", "CoDD (extension)")),
        ]
        rows = {row[1]: row for row in decoder_table(group).rows}
        assert (rows["CoDD (extension)"][3], rows["CoDD (extension)"][7]) == ("low_confidence", "75.00")

    def test_are_no_cells_of_the_paper(self, tmp_path):
        runs = {run.name: run for run in self.write(tmp_path)}
        said = "an extension (circuit with decoder=p2), of which the paper has none"
        assert said in objections(runs["p2 False"])
        assert not any("extension" in reason for reason in objections(runs["p2 True"]))

    def test_say_so_beside_a_score(self, tmp_path):
        runs = {run.name: run for run in self.write(tmp_path)}
        assert runs["p2 False"].score().endswith("; an extension)") and "extension" not in runs["p2 True"].score()
        lines = format_table([runs["p2 False"], runs["p2 True"]]).splitlines()
        assert " 0.7500^ " in lines[2] and "^" not in lines[3]
        assert lines[4].startswith("^ an extension of this project's without a reference")


class TestPictures:
    def test_thresholds_are_points_of_one_line_and_other_options_are_not(self, tmp_path):
        assert line_of("cad threshold=0.5 max_per_step=8") == line_of("cad threshold=0.9 max_per_step=8")
        assert line_of("cad selection=entropy entropy_threshold=-1") == "cad selection=entropy"
        figures = dict(draw(group_runs(write_all(tmp_path))))
        (figure,) = [figure for name, figure in figures.items() if name.endswith("accuracy-nfe")]
        labels = [line.get_label() for line in figure.axes[0].get_lines()]
        assert sorted(labels) == sorted(
            f"{rule}, {system}"
            for rule in ("low_confidence", "cad", "cad max_per_step=8")
            for system in ("base", "CoDD")
        )

    def test_decoders_are_set_against_each_other_where_there_are_several_without_a_circuit(self, tmp_path):
        for steps in (32, 64):
            write_run(tmp_path, RIGHT, steps=steps)
            write_run(tmp_path, WORSE, steps=steps, name=f"p2-{steps}", decoder="p2")
        write_run(tmp_path, RIGHT, circuit="il18/llada-gsm-pc")
        figures = dict(draw(group_runs(read_folder(tmp_path).runs)))
        (axes,) = figures["llada-block-decoders-nfe"].axes
        found = {line.get_label(): (list(line.get_xdata()), line.get_linestyle()) for line in axes.get_lines()}
        assert found == {
            "fixed steps, low_confidence": ([32.0, 64.0], "-"),
            "p2 (masks again)": ([32.0, 64.0], ":"),
        }
        assert len({line.get_color() for line in axes.get_lines()}) == 2
        (axes,) = figures["llada-block-accuracy-nfe"].axes
        assert {line.get_label() for line in axes.get_lines()} == {"low_confidence, base", "low_confidence, CoDD"}

    def test_there_is_no_picture_of_decoders_where_there_is_one(self, tmp_path):
        write_run(tmp_path, RIGHT)
        assert not [name for name, _ in draw(group_runs(read_folder(tmp_path).runs)) if "decoders" in name]
