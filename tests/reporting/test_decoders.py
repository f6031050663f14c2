"""A decoder is an axis of its own: its runs stand in the tables of the others, in rows of their own."""

from lm_eval_codd.reporting.cells import BASE, group_runs, key_of
from lm_eval_codd.reporting.plots import _line_of, draw
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.tables import decoder_table
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
        write_run(tmp_path, RIGHT, name="cad", decoder="cad", config={"mean_nfe": 12.5})
        write_run(tmp_path, RIGHT, name="many", decoder="cad", max_per_step=1, config={"mean_nfe": 128.0})
        (group,) = group_runs(read_folder(tmp_path).runs)
        table = decoder_table(group)
        few, many = sorted(table.rows, key=lambda row: float(row[3]))
        assert few[1:9] == ["base", "cad", "12.5", "low_confidence", "16.0", "20", "5", "0"]
        assert many[3:9] == ["128.0", "low_confidence", "64.0", "20", "0", "0"]

    def test_is_no_table_where_there_is_no_other_decoder(self, tmp_path):
        write_run(tmp_path, RIGHT)
        (group,) = group_runs(read_folder(tmp_path).runs)
        assert decoder_table(group) is None


class TestPictures:
    def test_thresholds_are_points_of_one_line_and_other_options_are_not(self, tmp_path):
        assert _line_of("cad threshold=0.5 max_per_step=8") == _line_of("cad threshold=0.9 max_per_step=8")
        assert _line_of("cad selection=entropy entropy_threshold=-1") == "cad selection=entropy"
        figures = dict(draw(group_runs(write_all(tmp_path))))
        (figure,) = [figure for name, figure in figures.items() if name.endswith("accuracy-nfe")]
        labels = [line.get_label() for line in figure.axes[0].get_lines()]
        assert sorted(labels) == sorted(
            f"{rule}, {system}"
            for rule in ("low_confidence", "cad", "cad max_per_step=8")
            for system in ("base", "CoDD")
        )
