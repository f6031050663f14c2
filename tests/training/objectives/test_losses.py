"""Losses, gradients and figures against the originals' (golden/decoders), and what follows from the formulas alone."""

import json
from pathlib import Path

import pytest
import torch

from lm_eval_codd.training.objectives.corrective import corrective_loss
from lm_eval_codd.training.objectives.dscd import dscd_lambda, dscd_loss
from lm_eval_codd.training.objectives.papl import papl_loss
from lm_eval_codd.training.objectives.path import path_loss
from lm_eval_codd.training.objectives.repr_align import repr_align_loss

GOLDENS = Path(__file__).parents[2] / "golden" / "decoders"


def cases(name: str) -> list[dict]:
    return json.loads((GOLDENS / f"{name}.json").read_text())["cases"]


def tensor(values: list, dtype: torch.dtype = torch.float64, *, grad: bool = False) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=grad)


def check_gradient(logits: torch.Tensor, loss: torch.Tensor, expected: list[float], tolerance: float) -> None:
    """Goldens of gradients are written with as many digits as `tolerance` asks for."""
    loss.backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.flatten(), tensor(expected, logits.dtype), rtol=0, atol=tolerance)


class TestPapl:
    @pytest.mark.parametrize("case", cases("loss_papl"))
    def test_goldens(self, case):
        logits = tensor(case["logits"], grad=True)
        masked = torch.tensor(case["mask"]).bool()
        loss, figures = papl_loss(logits, torch.tensor(case["x0"]), masked, case["alpha"], case["tau"])
        assert loss.item() == pytest.approx(case["loss"], abs=1e-9)
        expected = {name: value for name, value in case["metrics"].items() if name != "loss"}
        assert figures == pytest.approx(expected, abs=1e-9)
        check_gradient(logits, loss, case["grad_logits"], 1e-9)

    def test_without_a_mask_anywhere_there_is_nothing_to_learn(self):
        logits = torch.randn(2, 3, 5, requires_grad=True)
        loss, figures = papl_loss(logits, torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.bool))
        loss.backward()
        assert loss.item() == 0
        assert not logits.grad.any()
        assert figures["avg_correct_prob_on_masked"] == 0


class TestPath:
    @pytest.mark.parametrize("case", cases("loss_path"))
    def test_goldens(self, case):
        logits = tensor(case["logits"], grad=True)
        loss = path_loss(logits, torch.tensor(case["labels"]), tensor(case["mask_ratio"]), case["variant"])
        assert loss.item() == pytest.approx(case["loss"], abs=1e-9)
        check_gradient(logits, loss, case["grad_logits"], 1e-9)


class TestReprAlign:
    @pytest.mark.parametrize("case", cases("loss_repr_align"))
    def test_goldens(self, case):
        loss = repr_align_loss(tensor(case["student"]), tensor(case["teacher"]))
        assert loss.item() == pytest.approx(case["loss"], abs=1e-7)

    def test_no_labelled_token_gives_zero_and_not_nan(self):
        student = torch.zeros(0, 3, 4, requires_grad=True)
        loss = repr_align_loss(student, student.detach())
        loss.backward()
        assert loss.item() == 0


class TestDscd:
    @pytest.mark.parametrize("case", cases("loss_dscd"))
    def test_goldens(self, case):
        lam = case["lambda_val"]
        if lam is None:
            dynamic = case["dynamic"]
            lam = dscd_lambda(dynamic["step"], dynamic["total"], dynamic["i"], dynamic["f"], dynamic["w"])
        assert lam == pytest.approx(case["logged"]["lambda"], abs=1e-12)
        logits = tensor(case["student_logits"], torch.float32, grad=True)
        teacher, labels = tensor(case["teacher_logits"], torch.float32), torch.tensor(case["labels"])
        loss, parts = dscd_loss(logits, teacher, labels, lam, case["temperature"])
        assert loss.item() == pytest.approx(case["loss"], abs=1e-5)
        assert parts == pytest.approx({name: case["logged"][f"loss_{name}"] for name in parts}, abs=1e-5)
        if (labels == -100).all():
            assert not any(case["grad_student_logits"])
        else:
            check_gradient(logits, loss, case["grad_student_logits"], 1e-5)

    @pytest.mark.parametrize("case", cases("dscd_lambda"))
    def test_goldens_of_the_schedule(self, case):
        value = dscd_lambda(case["step"], case["total"], case["initial"], case["final"], case["warmup"])
        assert value == pytest.approx(case["value"], abs=1e-12)

    @pytest.mark.parametrize("which", ["student", "teacher"])
    def test_logits_that_are_not_finite_teach_nothing(self, which):
        logits = {"student": torch.randn(1, 2, 4), "teacher": torch.randn(1, 2, 4)}
        logits[which][0, 0, 1] = torch.nan
        loss, _ = dscd_loss(logits["student"], logits["teacher"], torch.tensor([[1, 2]]), 0.5)
        loss.backward()
        assert loss.item() == 0


class TestCorrective:
    @pytest.mark.parametrize("case", [case for case in cases("loss_path") if case["variant"] == "open_dllm_qwen2"])
    def test_with_nothing_replaced_it_is_the_path_loss(self, case):
        logits, labels = tensor(case["logits"], grad=True), torch.tensor(case["labels"])
        loss = corrective_loss(
            logits, labels, torch.zeros_like(labels).bool(), tensor(case["mask_ratio"]), "open_dcoder"
        )
        assert loss.item() == pytest.approx(case["loss"], abs=1e-9)
        check_gradient(logits, loss, case["grad_logits"], 1e-9)

    # Five tokens: the first masked, the second replaced, the third as it was, the last two masked and replaced.
    LABELS = ([2, 0, -100, 1], [1, 3, -100, -100])
    REPLACED = ([0, 1, 0, 0], [0, 1, 0, 0])
    RATIO = ([0.5] * 4, [0.2] * 4)

    def losses(self, logits: torch.Tensor) -> dict[str, list[tuple[float, float]]]:
        """(loss, ratio) of the masked and of the replaced tokens, one by one."""
        found: dict[str, list[tuple[float, float]]] = {"masked": [], "replaced": []}
        for row, labels in enumerate(self.LABELS):
            for column, label in enumerate(labels):
                if label != -100:
                    value = -logits[row, column].double().log_softmax(-1)[label].item()
                    kind = "replaced" if self.REPLACED[row][column] else "masked"
                    found[kind].append((value, self.RATIO[row][column]))
        return found

    @pytest.mark.parametrize("variant", ["open_dcoder", "llada"])
    def test_it_is_the_formula_added_up_token_by_token(self, variant):
        logits = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        given = [torch.tensor(self.LABELS), torch.tensor(self.REPLACED).bool(), torch.tensor(self.RATIO)]
        loss = corrective_loss(logits, *given, variant, num_tokens=8).item()
        found = self.losses(logits)
        wrong = 0.1 * sum(value for value, _ in found["replaced"]) / len(found["replaced"])
        if variant == "llada":
            assert loss == pytest.approx(sum(v / (0.999 * t + 0.001) for v, t in found["masked"]) / 8 + wrong, rel=1e-6)
            return
        both = found["masked"] + found["replaced"]
        sure = sum(2.718281828459045**-v * v / t for v, t in both) / len(both)
        assert loss == pytest.approx(sum(v for v, _ in both) / len(both) + sure + wrong, rel=1e-6)
