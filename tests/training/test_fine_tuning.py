"""Whole runs of `train`: they learn, a killed one goes on as if nothing had happened, and what comes out decodes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

import lm_eval_codd as codd
from lm_eval_codd.__main__ import main
from lm_eval_codd.backbones import load_backbone
from lm_eval_codd.training import fine_tuning
from lm_eval_codd.training.fine_tuning import fine_tune
from lm_eval_codd.training.fine_tuning_settings import OBJECTIVES, VARIANTS, FineTuningConfig
from lm_eval_codd.training.objectives.batch import Batch
from lm_eval_codd.training.objectives.repr_align import _states

EACH = [(objective, variant) for objective in OBJECTIVES for variant in VARIANTS.get(objective, (None,))]


class Killed(BaseException):
    pass


@pytest.fixture(scope="session")
def dream_dir(golden_dir: Path, backbone_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden Dream checkpoint, whose outputs are shifted, with the tokenizer of the other one."""
    folder = tmp_path_factory.mktemp("dream")
    for file in (golden_dir / "decoding" / "models" / "dream-tiny").iterdir():
        shutil.copy(file, folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(backbone_dir / name, folder)
    return folder


@pytest.fixture(scope="session")
def teacher_dir(dream_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoregressive checkpoint of the same shape."""
    said = json.loads((dream_dir / "config.json").read_text())
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    shape = {name: said[name] for name in (*names, "num_key_value_heads")}
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teacher")
    Qwen2ForCausalLM(Qwen2Config(**shape, eos_token_id=470, tie_word_embeddings=False)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(dream_dir / name, folder)
    return folder


@pytest.fixture(scope="session")
def learned_dir(backbone_dir: Path, data_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint after a short training: DSCD has no gradient where a model knows nothing."""
    folder = tmp_path_factory.mktemp("learned")
    rows: dict[str, Any] = {"data": str(data_file), "held_out": 6, "steps": 60, "batch_size": 6, "device": "cpu"}
    fine_tune(FineTuningConfig(model=str(backbone_dir), objective="papl", lr=3e-3, **rows), folder)
    return folder


@pytest.fixture
def settings(
    backbone_dir: Path, dream_dir: Path, teacher_dir: Path, learned_dir: Path, data_file: Path
) -> Callable[..., FineTuningConfig]:
    """Settings of a run of a second or two, changed by keywords."""

    def make(objective: str = "corrective", **changes: Any) -> FineTuningConfig:
        small: dict[str, Any] = {
            "model": str(backbone_dir),
            "data": str(data_file),
            "objective": objective,
            "held_out": 6,
            "steps": 7,
            "batch_size": 6,
            "save_every": 4,
            "lr": 3e-3,
            "device": "cpu",
        }
        if objective == "repr_align":
            small |= {"model": str(dream_dir), "teacher": str(teacher_dir)}
        if objective == "dscd":
            small |= {"model": str(learned_dir), "lr": 1e-3}
        return FineTuningConfig(**(small | changes))

    return make


@pytest.fixture
def kill_at(monkeypatch):
    """Make a run die as an update begins."""

    def arrange(step):
        original = fine_tuning._Learner.update

        def dying(self, index):
            if index == step:
                raise Killed
            return original(self, index)

        monkeypatch.setattr(fine_tuning._Learner, "update", dying)

    return arrange


def same(one: Path, other: Path) -> bool:
    weights = [load_backbone(folder, device="cpu").model.state_dict() for folder in (one, other)]
    return all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


class TestLearning:
    @pytest.mark.parametrize(("objective", "variant"), EACH)
    def test_the_loss_falls_and_what_is_written_decodes(self, settings, tmp_path, objective, variant):
        changes = {} if variant is None else {"variant": variant}
        config = settings(objective, steps=18, **changes)
        report = fine_tune(config, tmp_path / "out")
        losses = [row["held_out_loss"] for row in report["history"]]
        assert all(torch.isfinite(torch.tensor(losses)))
        assert losses[-1] < losses[0] - 0.05
        assert json.loads((tmp_path / "out" / "training.json").read_text()) == report
        trained = load_backbone(tmp_path / "out", device="cpu")
        assert trained.identity != report["backbone"]["identity"]
        decoding = codd.DecodingConfig(gen_length=8, block_length=8, num_steps=4, paradigm="block", alg="margin")
        [answer] = codd.generate(trained, [[5, 6, 7]], decoding)
        assert len(answer.tokens) == 8
        assert not list((tmp_path / "out").glob("*checkpoint*"))

    @pytest.mark.parametrize("knows", [True, False])
    def test_updates_without_a_gradient_are_said(self, settings, tmp_path, caplog, backbone_dir, knows):
        fine_tune(settings("dscd") if knows else settings("dscd", model=str(backbone_dir)), tmp_path / "out")
        assert ("7 of 7 updates had no gradient and taught nothing" in caplog.text) != knows

    def test_the_embeddings_stay_under_repr_align_and_move_under_the_others(self, settings, tmp_path):
        for objective, moves in (("repr_align", False), ("path", True)):
            config = settings(objective)
            fine_tune(config, tmp_path / objective)
            before, after = (load_backbone(folder, device="cpu") for folder in (config.model, tmp_path / objective))
            for part in ("get_input_embeddings", "get_output_embeddings"):
                old, new = (getattr(backbone.model, part)().weight for backbone in (before, after))
                assert torch.equal(old, new) != moves

    def test_an_autoregressive_checkpoint_is_converted_and_recognised_afterwards(self, settings, tmp_path, teacher_dir):
        given = {"model": str(teacher_dir), "family": "open_dllm", "mask_id": 490}
        report = fine_tune(settings("repr_align", **given), tmp_path / "out")
        assert report["figures"]["held_out_loss"] < report["history"][0]["held_out_loss"]
        converted = load_backbone(tmp_path / "out", device="cpu")
        assert (converted.family, converted.mask_id, converted.scored_by_previous) == ("open_dllm", 490, True)

    def test_gen_length_fills_answers_with_end_of_text(self, settings, tmp_path, monkeypatch):
        seen = []
        original = Batch.of.__func__

        def of(cls, examples, generators):
            seen.extend(examples)
            return original(cls, examples, generators)

        monkeypatch.setattr(Batch, "of", classmethod(of))
        fine_tune(settings(gen_length=6, steps=1), tmp_path / "out")
        assert {len(example.answer) for example in seen} == {6}
        assert any(example.answer[-2:] == [470, 470] for example in seen)

    def test_the_teacher_of_repr_align_is_causal_and_padding_is_not_seen(self, teacher_dir):
        model = Qwen2ForCausalLM.from_pretrained(teacher_dir, dtype="float32").eval()
        tokens = torch.tensor([[4, 8, 15, 16, 23], [4, 8, 15, 0, 0]])
        real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
        with torch.no_grad():
            states = _states(model, tokens, real, torch.ones(5, 5, dtype=torch.bool).tril())
            alone = model(tokens[:1], output_hidden_states=True).hidden_states
        torch.testing.assert_close(states[0], torch.stack(alone, dim=2)[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(states[1, :3], states[0, :3], rtol=0, atol=1e-5)


class TestResuming:
    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_a_killed_run_ends_as_an_undisturbed_one_bit_for_bit(
        self, settings, tmp_path, kill_at, monkeypatch, objective
    ):
        config = settings(objective)
        whole = fine_tune(config, tmp_path / "whole")
        kill_at(6)
        with pytest.raises(Killed):
            fine_tune(config, tmp_path / "killed")
        monkeypatch.undo()
        assert not (tmp_path / "killed" / "model.safetensors").exists()
        resumed = fine_tune(config, tmp_path / "killed", resume=True)
        assert resumed["history"] == whole["history"]
        assert same(tmp_path / "whole", tmp_path / "killed")

    def test_other_settings_are_refused_and_a_folder_with_a_run_needs_resume(
        self, settings, tmp_path, kill_at, monkeypatch
    ):
        kill_at(6)
        with pytest.raises(Killed):
            fine_tune(settings(), tmp_path / "out")
        monkeypatch.undo()
        with pytest.raises(ValueError, match="holds a run already; give --resume"):
            fine_tune(settings(), tmp_path / "out")
        with pytest.raises(ValueError, match=r"`replaced=0.2` differs from the run in .*, which had replaced=0.1"):
            fine_tune(settings(replaced=0.2), tmp_path / "out", resume=True)

    def test_another_teacher_in_the_same_folder_is_refused(self, settings, tmp_path, kill_at, monkeypatch, learned_dir):
        teacher = tmp_path / "teacher"
        shutil.copytree(learned_dir, teacher)
        config = settings("dscd", teacher=str(teacher))
        kill_at(6)
        with pytest.raises(Killed):
            fine_tune(config, tmp_path / "out")
        monkeypatch.undo()
        fine_tune(settings("path", steps=1, model=str(learned_dir)), tmp_path / "other")
        shutil.copy(tmp_path / "other" / "model.safetensors", teacher)
        with pytest.raises(ValueError, match=r"`teacher identity=sha256:\w+` differs from the run in"):
            fine_tune(config, tmp_path / "out", resume=True)

    def test_a_finished_run_stays_as_it_is(self, settings, tmp_path):
        report = fine_tune(settings(), tmp_path / "out", resume=True)
        assert fine_tune(settings(device=None, save_every=3), tmp_path / "out", resume=True) == report
        with pytest.raises(ValueError, match=r"`lr=0.1` differs from the finished run in .* which had lr=0.003"):
            fine_tune(settings(lr=0.1), tmp_path / "out", resume=True)


class TestSettings:
    @pytest.mark.parametrize(
        ("objective", "given", "said"),
        [
            ("sft", {}, "`objective=sft` is not known; use one of papl, path, repr_align, dscd, corrective"),
            (
                "papl",
                {"variant": "nested"},
                "`variant=nested` is not read by `objective=papl`; leave it out, or use obj",
            ),
            (
                "path",
                {"alpha": 2.0},
                "`alpha=2.0` is not read by `objective=path`; leave it out, or use objective=papl",
            ),
            ("path", {"variant": "llada"}, "`variant=llada` is not known; use one of open_dllm_qwen2, open_dllm_qwen3"),
            ("repr_align", {"teacher": None}, "give `teacher=`, the autoregressive checkpoint"),
            ("corrective", {"replaced": 1.5}, "`replaced=1.5` is out of range; it must be 0 to 1"),
            ("papl", {"tau": 0.0}, "`tau=0` is out of range; it must be above 0"),
            ("dscd", {"steps": 2, "epochs": 2}, "`epochs=2` and `steps=2` say the same"),
            ("dscd", {"steps": 0}, "at least 1"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_is_read(self, settings, objective, given, said):
        with pytest.raises(ValueError, match=said):
            settings(objective, **given)

    def test_a_checkpoint_is_not_overwritten(self, settings, dream_dir):
        before = (dream_dir / "model.safetensors").read_bytes()
        with pytest.raises(ValueError, match="holds a checkpoint already, which is not overwritten"):
            fine_tune(settings("path", model=str(dream_dir)), dream_dir, resume=True)
        assert (dream_dir / "model.safetensors").read_bytes() == before

    def test_a_run_that_diverges_says_so_and_writes_no_checkpoint(self, settings, tmp_path):
        with pytest.raises(ValueError, match=r"the loss .* is (nan|inf); give a smaller `lr`"):
            fine_tune(settings("path", lr=1e30), tmp_path / "out")
        assert not (tmp_path / "out" / "model.safetensors").exists()

    def test_what_does_not_fit_the_model_is_refused(self, settings, tmp_path, backbone_dir, golden_dir, dream_dir):
        with pytest.raises(ValueError, match="in an autoregressive teacher token i"):
            fine_tune(settings("repr_align", model=str(backbone_dir)), tmp_path / "out")
        with pytest.raises(ValueError, match=r"teacher=.*` is DreamModel, and the model Qwen2ForCausalLM"):
            fine_tune(settings("repr_align", teacher=str(dream_dir)), tmp_path / "out")
        other = golden_dir.parents[1] / "lm_eval_codd" / "demo" / "checkpoint"
        with pytest.raises(ValueError, match=r"has 82 logit columns and the model 512; give a teacher of the same"):
            fine_tune(settings("dscd", teacher=str(other)), tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestCommand:
    def test_it_trains_and_says_what_came_out(self, settings, tmp_path, capsys):
        flags = [f"--{name}={value}" for name, value in vars(settings()).items() if value is not None]
        flags.append(f"--output={tmp_path / 'out'}")
        assert main(["train", *flags]) == 0
        said = capsys.readouterr()
        assert "loss on held-out rows: " in said.out
        assert f"wrote {tmp_path / 'out'}\n" in said.out
        assert "corrective: 100%" in said.err
        assert main(["train", *flags, "--resume"]) == 0
        assert "finished already, nothing was changed" in capsys.readouterr().out

    def test_an_error_is_one_line(self, settings, tmp_path, capsys):
        flags = ["--objective=papl", f"--model={settings().model}", "--data=none.jsonl", f"--output={tmp_path / 'o'}"]
        assert main(["train", *flags]) == 2
        assert capsys.readouterr().err == (
            "lm-eval-codd train: `data=none.jsonl`: no such file; give a .jsonl file or a data set of the hub\n"
        )

    def test_help_explains_every_setting(self, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(["train", "--help"])
        assert stopped.value.code == 0
        said = capsys.readouterr().out
        assert all(name in said for name in ("--objective", "--teacher", "--variant", "open_dllm_qwen3", "--resume"))
