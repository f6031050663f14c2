"""A decoder is an axis of its own: its runs stand in the tables of the others, in rows of their own."""

from lm_eval_codd.reporting.cells import BASE, group_runs, key_of
from lm_eval_codd.reporting.plots import _line_of, draw
from lm_eval_codd.reporting.runs import read_folder
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
