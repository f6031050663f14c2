import sys

import pytest

from lm_eval_codd.__main__ import main
from lm_eval_codd.reporting.cells import group_runs
from lm_eval_codd.reporting.pareto_plot import on_front
from lm_eval_codd.reporting.plots import draw, save_plots, to_svg
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.stats import paired_interval
from tests.reporting.synthetic import outcomes, write_run

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    for benchmark in ("math500", "gsm8k"):
        for steps in (64, 128):
            write_run(results, outcomes(50, steps // 8), benchmark=benchmark, steps=steps)
            write_run(results, outcomes(50, steps // 6), benchmark=benchmark, steps=steps, circuit="il18/$x$_pc")
    for frac in (0.5, 0.7):
        write_run(results, outcomes(50, 20), benchmark="gsm8k", circuit="il18/$x$_pc", pc_frac=frac)
    return group_runs(read_folder(results).runs)


class TestAccuracy:
    @pytest.fixture
    def figure(self, groups):
        return dict(draw(groups))["llada-block-accuracy-nfe"]

    def test_has_a_panel_a_benchmark(self, figure):
        assert [axes.get_title() for axes in figure.axes] == [
            "math500\nmath_verify,none",
            "gsm8k\nexact_match,flexible-extract",
        ]

    def test_has_a_line_a_strategy_the_base_dashed(self, figure):
        for axes in figure.axes:
            styles = {line.get_label(): line.get_linestyle() for line in axes.lines}
            assert styles == {"low_confidence, base": "--", "low_confidence, CoDD": "-"}

    def test_lines_go_through_the_measurements(self, figure):
        (base, _) = figure.axes[0].lines
        assert list(base.get_xdata()) == [64.0, 128.0]
        assert list(base.get_ydata()) == [16.0, 32.0]

    def test_bands_are_one_standard_error(self, figure):
        band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
        error = 100 * (0.16 * 0.84 / 50) ** 0.5
        assert {round(16 - error, 6), round(16 + error, 6)} <= {round(float(y), 6) for y in band}

    def test_the_systems_have_a_colour_each(self, figure):
        for axes in figure.axes:
            base, codd = (line.get_color() for line in axes.lines)
            assert base != codd

    def test_the_axes_have_ticks_that_a_person_reads(self, groups, figure):
        assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["64", "128"]
        assert list(figure.axes[0].get_yticks()) == [0, 20, 40, 60, 80, 100]
        assert figure.axes[0].get_ylim() == (0, 105)
        seconds = dict(draw(groups))["llada-block-accuracy-seconds"].axes[0]
        assert [label.get_text() for label in seconds.get_xticklabels()] == ["2", "5", "10"]

    def test_against_seconds_there_is_one_too(self, groups):
        figure = dict(draw(groups))["llada-block-accuracy-seconds"]
        assert figure.axes[0].get_xlabel() == "seconds a sample"

    def test_times_that_are_no_speeds_are_said_to_be_none(self, tmp_path):
        for steps, alone in ((64, True), (128, False), (32, None)):
            write_run(tmp_path, outcomes(50, 20), steps=steps, config={"alone_on_device": alone})
        figures = dict(draw(group_runs(read_folder(tmp_path).runs)))
        for name in ("llada-block-accuracy-seconds", "llada-block-pareto-seconds"):
            assert figures[name].axes[0].get_xlabel() == "seconds a sample (not all taken alone on the device)"


class TestFronts:
    @pytest.fixture
    def figures(self, tmp_path):
        for steps, base, codd in ((128, 40, 45), (64, 30, 44), (32, 20, 20)):
            write_run(tmp_path, [1] * base + [0] * (50 - base), steps=steps)
            write_run(tmp_path, [1] * codd + [0] * (50 - codd), steps=steps, circuit="pc")
        return dict(draw(group_runs(read_folder(tmp_path).runs)))

    def test_have_full_markers_where_nothing_else_is_better_and_cheaper(self, figures):
        (panel,) = figures["llada-block-pareto-nfe"].axes
        points = {
            (bar.get_label(), bar.lines[0].get_xdata()[0]): bar.lines[0].get_markerfacecolor() != "white"
            for bar in panel.containers
        }
        assert points == {
            ("low_confidence, base", 128): False,
            ("low_confidence, CoDD", 128): True,
            ("low_confidence, base", 64): False,
            ("low_confidence, CoDD", 64): True,
            ("low_confidence, base", 32): True,
            ("low_confidence, CoDD", 32): True,
        }

    def test_have_the_paired_interval_to_the_base_of_the_most_steps(self, figures):
        (panel,) = figures["llada-block-pareto-nfe"].axes
        bars = {bar.get_label() + str(bar.lines[0].get_xdata()[0]): bar for bar in panel.containers}
        (segments,) = bars["low_confidence, base64.0"].lines[2]
        low, high = sorted(segments.get_segments()[0][:, 1])
        wanted = paired_interval(0, 10, 50)
        assert (low, high) == pytest.approx(tuple(80 + 100 * bound for bound in wanted))
        assert not bars["low_confidence, base128.0"].lines[2], "the reference itself has no difference"
        assert "paired with base low_confidence 128" in panel.get_title()

    def test_have_no_bar_of_graded_items_that_are_too_few_for_an_interval(self, tmp_path):
        for steps, score in ((128, 0.5), (64, 0.4), (32, 0.3)):
            write_run(tmp_path, [score] * 5, benchmark="mbpp", steps=steps)
        (panel,) = dict(draw(group_runs(read_folder(tmp_path).runs)))["llada-block-pareto-nfe"].axes
        assert len(panel.containers) == 3 and not any(bar.lines[2] for bar in panel.containers)

    def test_are_all_named_inside_of_the_picture(self, tmp_path):
        for steps in (32, 64, 128):
            write_run(tmp_path, outcomes(50, steps // 4), steps=steps)
            options = {"decoder": "open_dllm", "variant": "p2_upgraded_remdm"}
            write_run(tmp_path, outcomes(50, steps // 3), steps=steps, name=f"open{steps}", **options)
            write_run(tmp_path, outcomes(50, steps // 3), steps=steps, name=f"p2{steps}", decoder="p2", eta=2.0)
        figure = dict(draw(group_runs(read_folder(tmp_path).runs)))["llada-block-pareto-nfe"]
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert any("variant=p2_upgraded_remdm" in text.get_text() for text in legend.get_texts())
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width

    def test_against_seconds_there_is_one_too(self, figures):
        assert figures["llada-block-pareto-seconds"].axes[0].get_xlabel() == "seconds a sample"

    @pytest.mark.parametrize(
        ("points", "wanted"),
        [
            ([(1, 50), (2, 60), (2, 55), (3, 60)], [True, True, False, False]),
            ([(1, 50), (1, 50)], [True, True]),
            ([(1, 50), (2, 50)], [True, False]),
        ],
    )
    def test_are_what_nothing_else_beats(self, points, wanted):
        assert on_front(points) == wanted


class TestApproximateRuns:
    @pytest.fixture
    def axes(self, tmp_path):
        for steps in (64, 128):
            write_run(tmp_path, outcomes(50, steps // 8), steps=steps)
            write_run(tmp_path, outcomes(50, steps // 8), steps=steps, cache="dual", name=f"cached{steps}")
        for threshold, nfe in ((0.7, 20.0), (0.9, 30.0)):
            config = {"mean_nfe": nfe}
            write_run(tmp_path, outcomes(50, 9), threshold=threshold, name=f"sure{threshold}", config=config)
        return dict(draw(group_runs(read_folder(tmp_path).runs)))["llada-block-accuracy-nfe"].axes[0]

    def test_are_lines_of_their_own_with_open_markers_one_over_all_thresholds(self, axes):
        found = {line.get_label(): (list(line.get_xdata()), line.get_fillstyle()) for line in axes.lines}
        assert found == {
            "low_confidence, base": ([64.0, 128.0], "full"),
            "low_confidence, base, cache=dual": ([64.0, 128.0], "none"),
            "low_confidence, base, threshold": ([20.0, 30.0], "left"),
        }

    def test_are_all_named_inside_of_the_picture(self, axes):
        figure = axes.figure
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert [text.get_text() for text in legend.get_texts()][-1] == "band: one standard error"
        assert len(legend.get_texts()) == 4
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width


class TestHeatMaps:
    def test_show_every_point_of_the_grid(self, groups):
        figure = dict(draw(groups))["llada-block-grid-gsm8k-codd"]
        panel = figure.axes[0]
        assert panel.get_title() == "low_confidence, 64 steps"
        assert [label.get_text() for label in panel.get_yticklabels()] == ["0.3", "0.5", "0.7"]
        assert [text.get_text() for text in panel.texts] == ["20.00", "40.00", "40.00"]


class TestFiles:
    def test_are_png_and_svg(self, groups, tmp_path):
        paths = save_plots(groups, tmp_path / "plots")
        assert len(paths) == 10
        for path in paths:
            start = path.read_bytes()[:200]
            assert start.startswith(b"\x89PNG") if path.suffix == ".png" else b"<?xml" in start

    def test_are_equal_for_equal_data(self, groups):
        first, second = (to_svg(next(draw(groups))[1]) for _ in range(2))
        assert first == second


class TestTheCommand:
    def test_writes_page_and_plots(self, tmp_path, capsys):
        write_run(tmp_path / "results", outcomes(50, 20))
        page, plots = tmp_path / "new" / "page.html", tmp_path / "plots"
        assert main(["report", str(tmp_path / "results"), "--html", str(page), "--plots", str(plots)]) == 0
        assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
        assert len(list(plots.iterdir())) == 4
        assert f"wrote {page}" in capsys.readouterr().out

    def test_without_matplotlib_says_what_to_install(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        write_run(tmp_path / "results", outcomes(50, 20))
        assert main(["report", str(tmp_path / "results"), "--plots", str(tmp_path)]) == 2
        assert capsys.readouterr().err == "lm-eval-codd report: plots need matplotlib; pip install matplotlib\n"
