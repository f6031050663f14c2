"""Trainings of the family: every loss falls, a killed run ends as one that was not, and what is written loads."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.__main__ import main
from lm_eval_codd.dit.training import distil, run
from lm_eval_codd.dit.training.distil import distil_dit
from lm_eval_codd.dit.training.learning import Weights
from lm_eval_codd.dit.training.noise import bound_of_batch, gamma_range, spread_times
from lm_eval_codd.dit.training.run import train_dit
from lm_eval_codd.dit.training.settings import TRAINED, DistillationConfig, DiTTrainingConfig

from .conftest import random_dit

LENGTH = 8


class Killed(BaseException):
    pass


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Rows of 0 .. 5, each id followed by the next or the one after that."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(6, (300, 1), generator=generator)
    for _ in range(LENGTH - 1):
        rows = torch.cat([rows, (rows[:, -1:] + 1 + torch.randint(2, (300, 1), generator=generator)) % 6], dim=1)
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(json.dumps({"ids": row}) + "\n" for row in rows.tolist()))
    return path


@pytest.fixture
def settings(data) -> Callable[..., DiTTrainingConfig]:
    def make(algo: str = "duo", **changes: Any) -> DiTTrainingConfig:
        small = {"column": "ids", "vocab_size": 6 if algo == "duo" else 7, "held_out": 40, "batch_size": 32}
        sizes = {"hidden_dim": 16, "cond_dim": 8, "n_blocks": 1, "n_heads": 2}
        pace = {"steps": 7, "save_every": 3, "lr": 5e-3, "warmup": 5, "ema": 0.9}
        given = {"algo": algo, "data": str(data), "device": "cpu", **small, **sizes, **pace, **changes}
        return DiTTrainingConfig(**given)

    return make


@pytest.fixture(scope="session")
def teacher(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    sizes = {"hidden_dim": 16, "cond_dim": 8, "n_blocks": 1, "n_heads": 2, "vocab_size": 6}
    pace = {"steps": 150, "lr": 5e-3, "warmup": 5, "ema": 0.9, "batch_size": 32}
    train_dit(DiTTrainingConfig(algo="duo", data=str(data), column="ids", device="cpu", **sizes, **pace), folder)
    return folder


@pytest.fixture
def student(data, teacher) -> Callable[..., DistillationConfig]:
    def make(**changes: Any) -> DistillationConfig:
        pace = {"rounds": 3, "round_steps": 3, "jumps": 8, "save_every": 2, "lr": 3e-3, "warmup": 2, "ema": 0.8}
        given = {"column": "ids", "held_out": 40, "batch_size": 32, "device": "cpu", **pace, **changes}
        return DistillationConfig(teacher=str(teacher), data=str(data), **given)

    return make


@pytest.fixture
def kill_at(monkeypatch):
    """Make a run die as an update begins."""

    def arrange(step: int) -> None:
        for module in (run, distil):
            original = module._Learner.update

            def dying(self, number, original=original):
                if number == step:
                    raise Killed
                return original(self, number)

            monkeypatch.setattr(module._Learner, "update", dying)

    return arrange


def same(one: Path, other: Path) -> bool:
    weights = [codd.load_dit(folder, device="cpu").network.state_dict() for folder in (one, other)]
    return all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


class TestLearning:
    @pytest.mark.parametrize("algo", TRAINED)
    def test_the_bound_falls_from_that_of_chance_towards_the_entropy(self, settings, tmp_path, algo):
        report = train_dit(settings(algo, steps=200, save_every=200, held_out=100), tmp_path / "out")
        before, after = report["history"]
        # Constant logits of a new network; d3pm's last step costs as much again.
        chance = math.log(report["model"]["vocab_size"]) * (2 if algo == "d3pm" else 1)
        assert before["bound"] == pytest.approx(chance, abs=0.25)
        entropy = (math.log(6) + (LENGTH - 1) * math.log(2)) / LENGTH
        if algo == "ar":  # says nothing of the first id
            entropy = math.log(2)
        assert entropy - 4 * after["bound_stderr"] < after["bound"] < before["bound"] - 0.1

    @pytest.mark.parametrize("algo", TRAINED)
    def test_what_is_written_loads_and_samples(self, settings, tmp_path, algo):
        config = settings(algo, steps=2, bos_id=0 if algo == "ar" else None)
        report = train_dit(config, tmp_path / "out")
        assert json.loads((tmp_path / "out" / "training.json").read_text()) == report
        assert not list((tmp_path / "out").glob("*checkpoint*"))
        dit = codd.load_dit(tmp_path / "out", device="cpu")
        assert (dit.algo, dit.max_length, dit.vocab_size) == (algo, LENGTH, config.vocab_size)
        assert dit.mask_id == (None if algo == "duo" else 6)
        predictor = "analytic" if algo == "sedd" else "ancestral"
        [(tokens, _)] = codd.sample_dit(dit, 1, LENGTH, 2, predictor)
        assert len(tokens) == LENGTH

    def test_the_averaged_weights_are_what_is_written_and_measured(self, settings, tmp_path, monkeypatch):
        seen = {}
        original = Weights.bound
        monkeypatch.setattr(Weights, "bound", lambda self, rows: seen.update(weights=self) or original(self, rows))
        train_dit(settings(), tmp_path / "out")
        written = codd.load_dit(tmp_path / "out", device="cpu").network.state_dict()
        average, last = (each.network.state_dict() for each in (seen["weights"].average, seen["weights"].dit))
        assert all(torch.equal(written[name], average[name]) for name in written)
        assert not torch.equal(last["vocab_embed.embedding"], average["vocab_embed.embedding"])

    def test_the_average_forgets_the_start_by_the_ramp(self):
        model = random_dit("duo", vocab_size=7, length=5)
        weights = Weights(model, DiTTrainingConfig(algo="duo", data="x", warmup=0, lr=1e-2, ema=0.3))
        first, expected = [p.detach().clone() for p in model.network.parameters()], None
        for step in range(4):
            x0 = torch.randint(7, (4, 5), generator=torch.Generator().manual_seed(step))
            weights.update(bound_of_batch(model, x0, torch.Generator().manual_seed(step)).mean(), step)
            decay = min(0.3, (1 + step) / (10 + step))
            before = first if expected is None else expected
            now = [p.detach().clone() for p in model.network.parameters()]
            expected = [decay * old + (1 - decay) * new for old, new in zip(before, now, strict=True)]
        for mean, wanted in zip(weights.average.network.parameters(), expected, strict=True):
            torch.testing.assert_close(mean, wanted)

    def test_the_curriculum_comes_first_and_then_the_bound(self, settings, tmp_path, monkeypatch):
        asked = []
        original = run.curriculum_loss
        monkeypatch.setattr(run, "curriculum_loss", lambda *given: asked.append(given[4:]) or original(*given))
        train_dit(settings(curriculum_steps=4, gamma_min=-3.0, tau=0.1), tmp_path / "out")
        assert len(asked) == 4
        low, high, tau = asked[0]
        assert (low, tau) == (-3.0, 0.1)
        assert high == gamma_range(6, None, None)[1]

    @pytest.mark.parametrize(("warmup", "is_said"), [(7, True), (6, False)])
    def test_a_run_that_ends_before_its_warm_up_says_so(self, settings, tmp_path, caplog, warmup, is_said):
        train_dit(settings("ar", warmup=warmup), tmp_path / "out")
        assert ("`warmup=7` is not below the 7 updates of this run" in caplog.text) == is_said

    def test_the_losses_between_two_figures_are_summed_up(self, settings, tmp_path):
        history = train_dit(settings(steps=7, save_every=3), tmp_path / "out")["history"]
        assert [row["step"] for row in history] == [0, 3, 6, 7]
        assert ["loss_std" in row for row in history] == [False, True, True, True]
        assert history[-1]["loss_std"] == 0  # of one update


class TestNoise:
    def test_times_are_one_in_each_stratum(self):
        t = spread_times(10, torch.Generator().manual_seed(0)).sort().values
        strata = ((t - 1e-3) / (1 - 1e-3) * 10).floor()
        assert strata.tolist() == list(range(10))

    @pytest.mark.parametrize("size", [6, 32, 50258])
    def test_the_range_of_gamma_goes_from_hardly_any_noise_to_hardly_any_signal(self, size):
        low, high = gamma_range(size, None, None)
        p, _ = codd.diffusion_transform(torch.tensor([low, high]), size)
        alpha = (size * p - 1) / (size - 1)
        assert alpha[0] == pytest.approx(0.99, abs=2e-3)
        assert alpha[1] == pytest.approx(0.01, abs=2e-3)
        assert gamma_range(size, -2.5, -1.0) == (-2.5, -1.0)


class TestDistilling:
    def test_the_student_comes_near_its_teacher_at_a_jump(self, student, tmp_path):
        given = {"rounds": 1, "round_steps": 100, "jumps": 2, "save_every": 100, "held_out": 100}
        report = distil_dit(student(**given), tmp_path / "out")
        before, after = (row["held_out_loss"] for row in report["history"])
        assert 0 < after < 0.9 * before
        assert codd.load_dit(tmp_path / "out", device="cpu").algo == "duo"

    def test_before_the_first_update_it_is_the_teacher(self, student, tmp_path, teacher):
        report = distil_dit(student(held_out=100), tmp_path / "out")
        assert report["history"][0]["bound"] == pytest.approx(
            json.loads((teacher / "training.json").read_text())["figures"]["bound"]
        )

    @pytest.mark.parametrize("next_teacher", ["student", "average"])
    def test_jumps_double_and_the_student_becomes_the_teacher(self, student, tmp_path, monkeypatch, next_teacher):
        seen = []
        original = distil.distillation_loss

        def loss(student, teacher, x0, t, jump, *rest):
            each = [model.network.vocab_embed.embedding for model in (teacher, student)]
            if each[1].requires_grad:  # an update, not a figure
                seen.append((jump, *(embedding.detach().clone() for embedding in each)))
            return original(student, teacher, x0, t, jump, *rest)

        monkeypatch.setattr(distil, "distillation_loss", loss)
        distil_dit(student(next_teacher=next_teacher), tmp_path / "out")
        assert [jump for jump, _, _ in seen] == [1 / 8] * 3 + [2 / 8] * 3 + [4 / 8] * 3
        for start in (3, 6):
            teacher, now = seen[start][1:]
            assert torch.equal(teacher, now) == (next_teacher == "student")
            assert not torch.equal(teacher, seen[start - 1][1])

    def test_another_algorithm_is_refused(self, settings, student, tmp_path):
        train_dit(settings("mdlm"), tmp_path / "mdlm")
        config = DistillationConfig(**{**vars(student()), "teacher": str(tmp_path / "mdlm")})
        with pytest.raises(ValueError, match="DUO's alone"):
            distil_dit(config, tmp_path / "out")


class TestResuming:
    @pytest.mark.parametrize("algo", TRAINED)
    def test_a_killed_training_ends_as_an_undisturbed_one_bit_for_bit(
        self, settings, tmp_path, kill_at, monkeypatch, algo
    ):
        config = settings(algo, **({"curriculum_steps": 5} if algo == "duo" else {}))
        whole = train_dit(config, tmp_path / "whole")
        kill_at(5)
        with pytest.raises(Killed):
            train_dit(config, tmp_path / "killed")
        monkeypatch.undo()
        assert not (tmp_path / "killed" / "config.json").exists()
        assert train_dit(config, tmp_path / "killed", resume=True)["history"] == whole["history"]
        assert same(tmp_path / "whole", tmp_path / "killed")

    @pytest.mark.parametrize("step", [5, 7])
    def test_a_killed_distillation_too(self, student, tmp_path, kill_at, monkeypatch, step):
        """With a checkpoint within the second round, and one at its end."""
        whole = distil_dit(student(), tmp_path / "whole")
        kill_at(step)
        with pytest.raises(Killed):
            distil_dit(student(), tmp_path / "killed")
        monkeypatch.undo()
        assert distil_dit(student(), tmp_path / "killed", resume=True)["history"] == whole["history"]
        assert same(tmp_path / "whole", tmp_path / "killed")

    def test_other_settings_or_data_are_refused(self, settings, tmp_path, kill_at, monkeypatch):
        kill_at(5)
        with pytest.raises(Killed):
            train_dit(settings(), tmp_path / "out")
        monkeypatch.undo()
        with pytest.raises(ValueError, match="holds a run already; give --resume"):
            train_dit(settings(), tmp_path / "out")
        with pytest.raises(ValueError, match=r"`lr=0.1` differs from the run in .*, which had lr=0.005"):
            train_dit(settings(lr=0.1), tmp_path / "out", resume=True)

    def test_a_checkpoint_is_not_overwritten(self, settings, teacher):
        (teacher / "training.json").rename(teacher / "other.json")
        try:
            with pytest.raises(ValueError, match="holds a checkpoint already, which is not overwritten"):
                train_dit(settings(), teacher)
        finally:
            (teacher / "other.json").rename(teacher / "training.json")


class TestSettings:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"algo": "udlm"}, "`algo=udlm` is not known; use one of duo, mdlm, sedd, d3pm, ar"),
            ({"algo": "mdlm", "curriculum_steps": 5}, "is of DUO alone; leave it out for algo=mdlm"),
            ({"tau": 0.1}, "`tau=0.1` is of the curriculum; give curriculum_steps too"),
            ({"curriculum_steps": 5, "gamma_min": 2.0, "gamma_max": 1.0}, "`gamma_min=2` must be below `gamma_max=1`"),
            ({"hidden_dim": 18, "n_heads": 4}, "use a hidden_dim that is a multiple of 8"),
            ({"ema": 1.0}, "`ema=1` is out of range; it must be at least 0 and below 1"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_is_read(self, settings, given, said):
        with pytest.raises(ValueError, match=said):
            settings(**given)

    def test_a_jump_over_all_of_the_time_is_refused(self, student):
        with pytest.raises(ValueError, match=r"`rounds=5` would jump 16/8 of the time at the end; use fewer rounds"):
            student(rounds=5)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"vocab_size": None}, "`vocab_size` is not known without a `tokenizer`"),
            ({"vocab_size": 5}, "has ids from 0 to 5, and `vocab_size=5` ends at 4; give a larger one"),
            ({"algo": "mdlm", "mask_id": 3}, "holds the mask, 3, which is no token of rows"),
            ({"bos_id": 9}, "`bos_id=9` is outside of `vocab_size=6`"),
            ({"held_out": 300}, "`held_out=300` leaves nothing to train on: .* has 300 rows of 8 ids"),
            ({"length": 9}, "row 1 has 8 ids, not 9; cut all to one length"),
        ],
    )
    def test_data_that_do_not_fit_are_refused_and_nothing_is_written(self, settings, tmp_path, given, said):
        with pytest.raises(ValueError, match=said):
            train_dit(settings(**given), tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestCommands:
    def flags(self, config: object, output: Path) -> list[str]:
        given = {name: value for name, value in vars(config).items() if value is not None}
        return [*(f"--{name}={value}" for name, value in given.items()), f"--output={output}"]

    def test_train_says_what_came_out(self, settings, tmp_path, capsys):
        flags = self.flags(settings("mdlm"), tmp_path / "out")
        assert main(["dit", "train", *flags]) == 0
        said = capsys.readouterr()
        assert "bound, nats per token of held-out rows: " in said.out
        assert f"wrote {tmp_path / 'out'}\n" in said.out
        assert "mdlm: 100%" in said.err
        assert main(["dit", "train", *flags, "--resume"]) == 0
        assert "finished already, nothing was changed" in capsys.readouterr().out

    def test_distil_says_what_came_out(self, student, tmp_path, capsys):
        assert main(["dit", "distil", *self.flags(student(), tmp_path / "out")]) == 0
        said = capsys.readouterr().out
        assert "divergence from the last teacher on held-out rows: " in said
        assert "(of the teacher " in said

    @pytest.mark.parametrize("command", ["train", "distil"])
    def test_help_explains_every_setting(self, capsys, command):
        with pytest.raises(SystemExit) as stopped:
            main(["dit", command, "--help"])
        assert stopped.value.code == 0
        said = capsys.readouterr().out
        assert all(name in said for name in ("--data", "--gamma_min", "--ema", "--resume"))
