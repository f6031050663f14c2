"""Whole runs: what they learn, what they write, and that a killed one goes on as if nothing had happened."""

import json

import pytest
import torch

from lm_eval_codd.__main__ import main
from lm_eval_codd.circuits import HMM, load_circuit, save_circuit
from lm_eval_codd.training import run, stages
from lm_eval_codd.training.run import train_circuit

TABLES = ("initial", "transition", "emission")


class Killed(BaseException):
    pass


def same(one: HMM, other: HMM) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in TABLES)


@pytest.fixture
def kill_at(monkeypatch):
    """Make a stage die as its step begins."""

    def arrange(stage, step):
        original = stage.step

        def dying(self, circuit, index):
            if index == step:
                raise Killed
            return original(self, circuit, index)

        monkeypatch.setattr(stage, "step", dying)

    return arrange


class TestLearning:
    @pytest.mark.parametrize("update", ["em", "anemone"])
    def test_what_is_held_out_improves_over_the_backbone_alone(self, settings, tmp_path, update):
        report = train_circuit(settings(ml_update=update, steps=30), tmp_path / "out")
        figures = {(row["stage"], row["step"]): row["coupled"] for row in report["history"]}
        assert figures["conditional", 0] < figures["conditional", 30]
        assert report["figures"]["coupled"] > report["figures"]["backbone"] + 1

    def test_what_is_written_can_be_loaded_and_says_how_it_was_made(self, settings, tmp_path, data_file):
        report = train_circuit(settings(), tmp_path / "out")
        circuit = load_circuit(tmp_path / "out")
        assert (circuit.num_positions, circuit.num_latents, circuit.vocab_size) == (4, 4, 512)
        assert json.loads((tmp_path / "out" / "training.json").read_text()) == report
        assert report["circuit"]["identity"] == circuit.identity
        assert report["settings"]["data"] == str(data_file)
        assert report["data"]["num_train"] == 18
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["circuit.safetensors", "training.json"]

    def test_evidence_from_a_cache_teaches_the_same(self, settings, tmp_path):
        live = train_circuit(settings(), tmp_path / "live")
        cached = settings(evidence_cache=str(tmp_path / "cache"), evidence_draws=2)
        assert train_circuit(cached, tmp_path / "cached")["figures"]["coupled"] == pytest.approx(
            live["figures"]["coupled"], abs=1e-2
        )

    def test_a_circuit_to_start_from_is_where_it_starts(self, settings, tmp_path):
        first = train_circuit(settings(objective="ml", steps=None), tmp_path / "first")
        second = train_circuit(settings(objective="conditional", init=str(tmp_path / "first")), tmp_path / "second")
        assert second["history"][0]["coupled"] == first["figures"]["coupled"]
        assert {row["stage"] for row in second["history"]} == {"conditional"}


class TestResuming:
    @pytest.mark.parametrize("update", ["em", "anemone"])
    @pytest.mark.parametrize(
        ("stage", "step"),
        [(stages.MaximumLikelihood, 5), (stages.ConditionalLikelihood, 0), (stages.ConditionalLikelihood, 5)],
    )
    def test_a_killed_run_ends_as_an_undisturbed_one(
        self, settings, tmp_path, kill_at, monkeypatch, stage, step, update
    ):
        config = settings(ml_update=update)
        whole = train_circuit(config, tmp_path / "whole")
        with monkeypatch.context():
            kill_at(stage, step)
            with pytest.raises(Killed):
                train_circuit(config, tmp_path / "killed")
            assert not (tmp_path / "killed" / "training.json").exists()
            monkeypatch.undo()
        resumed = train_circuit(config, tmp_path / "killed", resume=True)
        assert resumed["history"] == whole["history"]
        assert same(load_circuit(tmp_path / "whole"), load_circuit(tmp_path / "killed"))

    def test_only_the_steps_after_the_checkpoint_are_done_again(self, settings, tmp_path, kill_at, monkeypatch):
        kill_at(stages.ConditionalLikelihood, 5)
        with pytest.raises(Killed):
            train_circuit(settings(), tmp_path / "out")
        monkeypatch.undo()
        done = []
        original = stages.ConditionalLikelihood.step
        monkeypatch.setattr(
            stages.ConditionalLikelihood, "step", lambda *given: done.append(given[2]) or original(*given)
        )
        monkeypatch.setattr(stages.MaximumLikelihood, "step", None)
        train_circuit(settings(), tmp_path / "out", resume=True)
        assert done == [4, 5]

    def test_a_folder_with_a_run_needs_resume(self, settings, tmp_path, kill_at, monkeypatch):
        kill_at(stages.ConditionalLikelihood, 5)
        with pytest.raises(Killed):
            train_circuit(settings(), tmp_path / "out")
        monkeypatch.undo()
        with pytest.raises(ValueError, match=r"holds a run already; give --resume"):
            train_circuit(settings(), tmp_path / "out")
        with pytest.raises(ValueError, match=r"`num_latents=5` differs from the run in .*, which had num_latents=4"):
            train_circuit(settings(num_latents=5), tmp_path / "out", resume=True)

    def test_resuming_a_finished_run_changes_nothing(self, settings, tmp_path):
        report = train_circuit(settings(), tmp_path / "out", resume=True)
        with pytest.raises(ValueError, match="holds a run already"):
            train_circuit(settings(), tmp_path / "out")
        assert train_circuit(settings(), tmp_path / "out", resume=True) == report
        assert train_circuit(settings(device=None, save_every=9), tmp_path / "out", resume=True) == report

    def test_resuming_a_finished_run_with_other_settings_is_refused_as_an_unfinished_one_is(self, settings, tmp_path):
        train_circuit(settings(), tmp_path / "out")
        with pytest.raises(ValueError, match=r"`num_latents=5` differs from the finished run in .* num_latents=4"):
            train_circuit(settings(num_latents=5), tmp_path / "out", resume=True)

    def test_a_finished_run_from_before_a_setting_had_that_settings_default(self, settings, tmp_path):
        report = train_circuit(settings(), tmp_path / "out")
        path = tmp_path / "out" / "training.json"
        del report["settings"]["top_k_evidence"]
        path.write_text(json.dumps(report))
        assert train_circuit(settings(), tmp_path / "out", resume=True) == report
        with pytest.raises(ValueError, match=r"`top_k_evidence=8` differs .* had top_k_evidence=None"):
            train_circuit(settings(top_k_evidence=8), tmp_path / "out", resume=True)

    def test_a_damaged_report_is_one_line(self, settings, tmp_path):
        (tmp_path / "training.json").write_text("{")
        with pytest.raises(ValueError, match=r"training.json cannot be read as the report of a run"):
            train_circuit(settings(), tmp_path, resume=True)

    def test_a_damaged_checkpoint_is_one_line(self, settings, tmp_path):
        (tmp_path / "checkpoint.safetensors").write_bytes(b"\0" * 100)
        with pytest.raises(ValueError, match=r"checkpoint.safetensors cannot be read"):
            train_circuit(settings(), tmp_path, resume=True)


class TestSettings:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (
                {"gen_length": 30},
                r"`gen_length=30` cannot be cut into windows of `window=4`; use a gen_length of 28 or 32",
            ),
            ({"objective": "mle"}, "`objective=mle` is not known; use one of ml, conditional, both"),
            ({"steps": 3, "epochs": 2}, "`epochs=2` and `steps=3` say the same"),
            ({"objective": "ml"}, "give ml_epochs"),
            ({"objective": "conditional"}, "starts from a circuit; give init="),
            ({"ml_step_size": 0}, "above 0 and at most 1"),
            ({"num_latents": 0}, "at least 1"),
            ({"lr": float("inf")}, "`lr=inf` is out of range"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_is_read(self, settings, given, said):
        with pytest.raises(ValueError, match=said):
            settings(**given)

    @pytest.mark.parametrize(
        ("shape", "said"),
        [((4, 100, 4), "4 positions over 100 tokens; it must .* 512"), ((4, 512, 8), "8 positions .* it must have 4 ")],
    )
    def test_a_circuit_to_start_from_must_fit(self, settings, tmp_path, shape, said):
        num_latents, vocab_size, num_positions = shape
        rows = torch.full((num_latents, num_latents), 1 / num_latents)
        circuit = HMM(rows[0].clone(), rows, torch.full((num_latents, vocab_size), 1 / vocab_size), num_positions)
        path = save_circuit(circuit, tmp_path / "other.safetensors")
        with pytest.raises(ValueError, match=said):
            train_circuit(settings(init=str(path)), tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestCommand:
    def test_it_trains_and_says_what_came_out(self, settings, tmp_path, capsys):
        config = settings()
        flags = [f"--{name}={getattr(config, name)}" for name in ("backbone", "data", "held_out", "window", "steps")]
        flags += ["--num_latents=4", "--ml_epochs=1", "--batch_size=5", "--device=cpu", f"--output={tmp_path / 'out'}"]
        assert main(["train-circuit", *flags]) == 0
        said = capsys.readouterr()
        assert "held-out log-likelihood per masked token: backbone alone -13." in said.out
        assert "conditional: 100%" in said.err
        assert load_circuit(tmp_path / "out").num_latents == 4

    def test_a_finished_run_is_not_said_to_be_written_again(self, settings, tmp_path, capsys):
        config = settings()
        train_circuit(config, tmp_path / "out")
        flags = [f"--{name}={value}" for name, value in vars(config).items() if value is not None]
        assert main(["train-circuit", *flags, f"--output={tmp_path / 'out'}", "--resume"]) == 0
        said = capsys.readouterr().out
        assert f"finished already, nothing was changed in {tmp_path / 'out'}: " in said
        assert "wrote" not in said

    @pytest.mark.parametrize("worse", [True, False])
    def test_a_circuit_that_is_worse_than_none_is_said_loudly(self, settings, tmp_path, caplog, monkeypatch, worse):
        measured = run.measure

        def measure(*given):
            figures = measured(*given)
            return figures | {"coupled": figures["backbone"] + (-1 if worse else 1)}

        monkeypatch.setattr(run, "measure", measure)
        train_circuit(settings(), tmp_path / "out")
        assert ("THIS CIRCUIT IS WORSE THAN NONE" in caplog.text) == worse
        caplog.clear()
        train_circuit(settings(), tmp_path / "out", resume=True)
        assert ("THIS CIRCUIT IS WORSE THAN NONE" in caplog.text) == worse

    def test_an_error_is_one_line(self, settings, tmp_path, capsys):
        flags = ["--backbone", settings().backbone, "--data", "none.jsonl", "--output", str(tmp_path / "out")]
        assert main(["train-circuit", *flags]) == 2
        assert capsys.readouterr().err == (
            "lm-eval-codd train-circuit: `data=none.jsonl`: no such file; give a .jsonl file or a data set of the hub\n"
        )
        assert not (tmp_path / "out").exists()

    def test_help_needs_no_torch_and_explains_every_setting(self, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(["train-circuit", "--help"])
        assert stopped.value.code == 0
        said = capsys.readouterr().out
        assert all(name in said for name in ("--question_column", "--top_k_evidence", "--resume"))
