"""The demonstration of the DiT family: its language, its own small form, and its stages. Its figures take minutes."""

import json
import math
from dataclasses import asdict

import dit_demo
import dit_figures
import dit_measures
import pytest
import torch
from dit_language import FLOOR, LENGTH, SHARES, SIZE, Chain

from lm_eval_codd.dit import DiT
from lm_eval_codd.dit.config import DiTConfig, Ids
from lm_eval_codd.dit.network import Network


@pytest.fixture(scope="module")
def chain():
    return Chain(0)


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """What the small form leaves behind."""
    output = tmp_path_factory.mktemp("demo")
    dit_demo.main(["--output", str(output), "--small", "--workers", "1"])
    return output


class TestLanguage:
    def test_every_token_has_three_successors_and_three_predecessors(self, chain):
        for dim in (0, 1):
            assert torch.allclose(chain.transition.sum(dim), torch.ones(SIZE).double())
            assert ((chain.transition > 0).sum(dim) == len(SHARES)).all()
        assert not chain.transition.diagonal().any()
        assert not torch.equal(chain.transition, Chain(1).transition)

    def test_rows_are_its_own_and_as_likely_as_its_entropy_says(self, chain):
        rows = chain.sample(4000, torch.Generator().manual_seed(3))
        nats = chain.nats(rows)
        assert not chain.illegal(rows).any()
        assert abs(nats.mean() - chain.entropy) < 4 * nats.std() / math.sqrt(len(rows))

    def test_the_entropy_is_that_of_all_rows(self, chain):
        """Of rows of three: the sum over every path."""
        step = chain.transition
        paths = step[:, :, None] * step[None] / SIZE
        nats = -(paths * paths.clamp(min=1e-300).log()).sum()
        assert float(nats) == pytest.approx(math.log(SIZE) + 2 * chain.entropy_rate)

    def test_what_it_never_says_is_counted_and_floored(self, chain):
        follower = int(chain.transition[5].argmax())
        stranger = int((chain.transition[5] == 0).nonzero()[0])
        row = torch.tensor([[5, follower], [5, stranger], [5, SIZE], [SIZE, 5]])
        assert chain.illegal(row).tolist() == [0, 1, 1, 1]
        first = math.log(SIZE)
        assert chain.nats(row).tolist() == pytest.approx(
            [
                (first - math.log(SHARES[0])) / 2,
                *[(first - math.log(FLOOR)) / 2] * 2,
                (-math.log(FLOOR) - math.log(FLOOR)) / 2,
            ]
        )


def test_the_spread_of_normal_numbers_has_the_known_error():
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0)).tolist()
    std, stderr = dit_measures.spread_of(values)
    assert std == pytest.approx(1, abs=0.05)
    assert stderr == pytest.approx(1 / math.sqrt(2 * 2000), rel=0.1)


def test_every_row_of_the_bounds_has_noise_of_its_own(chain):
    """A uniform predictor's bound is log V on average; noise that rows share would not average out."""
    config = DiTConfig("mdlm", SIZE + 1, 8, 4, 1, 2, LENGTH, False, False, Ids(SIZE, None, None))
    nats = dit_measures.bounds(
        DiT(Network(config).requires_grad_(False), config), chain.sample(512, torch.Generator()), 2
    )
    assert abs(nats.mean() - math.log(SIZE)) < 4 * nats.std() / math.sqrt(512) + 1e-3 * math.log(SIZE)


def test_a_bound_below_the_entropy_is_an_error():
    figures = {"language": {"log_size": 3.5}, "models": {"mdlm": {"excess": [-0.004, 0.001]}}}
    dit_demo.check_bounds(figures)
    figures["models"]["mdlm"]["excess"][0] = -0.007
    with pytest.raises(ValueError, match=r"the bound of mdlm is 0.0070 nats below the entropy, of error 0.0010"):
        dit_demo.check_bounds(figures)


class TestSmallForm:
    def test_it_makes_every_figure_and_every_plot(self, output):
        figures = json.loads((output / "figures.json").read_text())
        assert figures["models"].keys() == {*dit_demo.ALGOS, "student"}
        for name, model in figures["models"].items():
            assert all(math.isfinite(value) for value in (*model["bound"], *model["excess"]))
            assert model["excess"][0] == pytest.approx(model["bound"][0] - model["exact"][0], abs=1e-3)
            assert model["curve"][0][0] == 0
            for by_steps in model["samples"].values():
                assert list(by_steps) == ([str(LENGTH)] if name == "ar" else ["1", "2"])
                for steps, found in by_steps.items():
                    assert 0 <= found["illegal"][0] <= 1
                    if name not in ("ar", "mdlm"):  # whose cache may save some
                        assert found["nfe"] == [int(steps) + 1, 0]
        assert len(figures["curriculum"]["training"]["curriculum"]) == 2
        assert {path.name for path in output.glob("*.png")} == {
            f"dit-{name}.png" for name in ("bounds", "samples", "student", "curriculum")
        }

    def test_what_is_done_is_not_done_again(self, output, monkeypatch, capsys):
        before = (output / "figures.json").read_text()
        (output / "done" / "measure-mdlm.json").unlink()
        monkeypatch.setattr(dit_demo, "train_dit", None)
        monkeypatch.setattr(dit_demo, "save_plots", lambda *given: None)
        dit_demo.main(["--output", str(output), "--small", "--workers", "1"])
        assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["measure mdlm"]
        after = json.loads((output / "figures.json").read_text())
        assert {**after, "seconds": None} == {**json.loads(before), "seconds": None}

    def test_another_plan_needs_another_folder(self, output):
        with pytest.raises(SystemExit, match="holds a run of another plan"):
            dit_demo.main(["--output", str(output), "--workers", "1"])

    def test_stages_come_after_those_that_they_need(self):
        seen = set()
        for name, (_, after) in dit_demo.stages(dit_demo.SMALL).items():
            assert seen.issuperset(after)
            seen.add(name)


class TestRecord:
    """What a whole run found, as docs/dit.md shows it."""

    @pytest.fixture
    def record(self):
        return json.loads(dit_figures.FIGURES.read_text(encoding="utf-8"))

    def test_it_is_of_the_plan_that_the_script_has(self, record):
        assert record["plan"] == json.loads(json.dumps(asdict(dit_measures.Plan())))

    def test_the_page_has_its_figures(self, record):
        page = dit_figures.PAGE.read_text(encoding="utf-8")
        assert dit_figures.with_tables(page, record) == page
        assert all(f"(dit-{name}.png)" in page for name in ("bounds", "samples", "student", "curriculum"))

    def test_no_bound_is_below_the_entropy_and_all_have_fallen(self, record):
        dit_demo.check_bounds(record)
        for name in dit_demo.ALGOS:
            curve = record["models"][name]["curve"]
            assert curve[-1][1] < curve[0][1] - 2

    def test_samples_get_better_with_steps(self, record):
        for name in ("duo", "mdlm", "sedd", "d3pm"):
            for by_steps in record["models"][name]["samples"].values():
                nats = [found["nats"][0] for found in by_steps.values()]
                assert nats == sorted(nats, reverse=True)
