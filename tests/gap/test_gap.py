"""The misspecification gap: against a count by hand, and on the demo."""

import json
import math

import pytest
import torch

from lm_eval_codd import __main__ as program
from lm_eval_codd.backbones import load_backbone
from lm_eval_codd.demo import CHECKPOINT
from lm_eval_codd.gap.cli import suggestion
from lm_eval_codd.gap.measure import COUPLED, ONE_STEP, SEQUENTIAL, Gap, Mean, measure, num_masked
from lm_eval_codd.settings import LikelihoodConfig, RouterOptions
from tests.conftest import random_circuit
from tests.likelihood.conftest import Tiny, pairs_of


@pytest.fixture(scope="module")
def gap():
    circuit = random_circuit(0, num_positions=3, num_latents=3, vocab_size=6)
    return measure(Tiny(), pairs_of(12, (4, 6, 7)), (0.3, 1.0), circuit)


class TestMeasure:
    def test_everything_masked_is_the_chain_rule_and_the_product(self, gap):
        model, pairs = Tiny(), pairs_of(12, (4, 6, 7))
        one_step, chain = 0.0, 0.0
        for prompt, target in pairs:
            log_p = model.log_p(prompt, [model.mask_id] * len(target))
            one_step += sum(float(log_p[i, token]) for i, token in enumerate(target))
            for i, token in enumerate(target):
                canvas = [*target[:i], *[model.mask_id] * (len(target) - i)]
                chain += float(model.log_p(prompt, canvas)[i, token])
        number = sum(len(target) for _, target in pairs)
        assert gap.means[ONE_STEP][1].value == pytest.approx(one_step / number, abs=1e-4)
        assert gap.means[SEQUENTIAL][1].value == pytest.approx(chain / number, abs=1e-4)

    def test_bands_hold_their_means_and_gains_are_differences(self, gap):
        for means in gap.means.values():
            assert all(one.low <= one.value <= one.high for one in means)
        for row, gain in enumerate(gap.gain):
            difference = gap.means[COUPLED][row].value - gap.means[ONE_STEP][row].value
            assert gain.value == pytest.approx(difference, abs=1e-9) and math.isfinite(gain.low)

    def test_answers_that_hold_the_mask_are_said_once(self, harness_log):
        model = Tiny()
        measure(model, [([1], [2, model.mask_id]), ([1], [2, 3])], (0.5, 1.0))
        (line,) = harness_log.messages
        assert line.startswith(f"1 targets hold the mask token (id {model.mask_id})")

    def test_a_token_at_least_is_masked(self):
        assert [num_masked(4, ratio) for ratio in (0.01, 0.5, 1.0)] == [1, 2, 4]

    def test_one_masked_token_is_the_same_one_after_the_other(self):
        gap = measure(Tiny(), pairs_of(6, (5,)), (0.1,))
        assert gap.means[SEQUENTIAL][0].value == pytest.approx(gap.means[ONE_STEP][0].value, abs=1e-6)
        assert gap.gain == () and COUPLED not in gap.means


class TestSuggestion:
    def gap_of(self, *lows):
        ratios = tuple(round(0.2 * (i + 1), 1) for i in range(len(lows)))
        return Gap(ratios, {}, tuple(Mean(low + 0.1, low, low + 0.2) for low in lows))

    @pytest.mark.parametrize(
        ("lows", "said"),
        [
            ((0.3, 0.1, -0.1), "helps up to 0.4 of the tokens masked, not surely at 0.6: pc_frac=0.6"),
            ((0.3, 0.1), "pc_frac=1.1"),
            ((-0.1, 0.2), "no pc_frac is suggested"),
            ((math.nan, 0.2), "no pc_frac is suggested"),
            ((0.3, math.nan), "helps up to 0.2 of the tokens masked, not surely at 0.4: pc_frac=0.4"),
        ],
    )
    def test_a_pc_frac_is_where_the_gain_ends(self, lows, said):
        assert said in suggestion(self.gap_of(*lows))


def test_experts_that_choose_tokens_are_measured_so(golden_dir):
    backbone = load_backbone(golden_dir / "families" / "lladamoe", mask_id=111, dtype="float64", device="cpu")
    pairs, router = [([7, 9, 30], [20, 21, 22]), ([8], [50, 51])], RouterOptions(router="ec", ec_k=2)
    found = measure(backbone, pairs, (1.0,), router=router)
    routed, total = backbone.routed_by(LikelihoodConfig(**vars(router))), 0.0
    for prompt, target in pairs:
        logits = routed.logits(torch.tensor([[*prompt, *[111] * len(target)]]))[0, len(prompt) :]
        total += float(logits.log_softmax(dim=-1).gather(1, torch.tensor(target)[:, None]).sum())
    assert found.means[ONE_STEP][0].value == pytest.approx(total / 5)
    assert measure(backbone, pairs, (1.0,)).means[ONE_STEP][0].value != pytest.approx(total / 5, abs=1e-2)


class TestCommand:
    def test_on_the_demo(self, tmp_path, capsys):
        data = tmp_path / "answers.jsonl"
        rows = (CHECKPOINT.parent / "tune.jsonl").read_text().splitlines()[:12]
        data.write_text("\n".join(rows) + "\n")
        files = ["--json", str(tmp_path / "gap.json"), "--plot", str(tmp_path / "gap.png")]
        asked = ["gap", "--model", "demo", "--circuit", "demo", "--data", str(data), "--ratios", "0.5,1"]
        assert program.main([*asked, *files, "--suggest", "--device", "cpu"]) == 0
        out = capsys.readouterr().out
        assert "12 answers" in out and "pc_frac" in out
        figures = json.loads((tmp_path / "gap.json").read_text())
        assert figures["ratios"] == [0.5, 1.0]
        assert (tmp_path / "gap.png").read_bytes()[:4] == b"\x89PNG"
        # The signs of the paper that stand outside of the bands, where everything is masked.
        at_once = {kind: means[-1] for kind, means in figures["means"].items()}
        assert at_once[SEQUENTIAL]["low"] > at_once[ONE_STEP]["high"]
        assert at_once[COUPLED]["low"] > at_once[ONE_STEP]["high"] and figures["gain"][-1]["low"] > 0

    def test_figures_are_written_without_a_circuit_too(self, tmp_path, capsys):
        data, file = tmp_path / "answers.jsonl", tmp_path / "gap.json"
        data.write_text((CHECKPOINT.parent / "tune.jsonl").read_text().splitlines()[0] + "\n")
        asked = ["gap", "--model", "demo", "--data", str(data), "--ratios", "1", "--json", str(file), "--device", "cpu"]
        assert program.main(asked) == 0
        assert json.loads(file.read_text())["helps_until"] is None

    def test_a_checkpoint_without_experts_is_one_line(self, tmp_path, capsys):
        data = tmp_path / "answers.jsonl"
        data.write_text((CHECKPOINT.parent / "tune.jsonl").read_text().splitlines()[0] + "\n")
        assert program.main(["gap", "--model", "demo", "--data", str(data), "--router", "ec"]) == 2
        assert "`router=ec` is for mixtures of experts, and `demo` has none" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--ratios", "0,2"], "`--ratios 0,2` must be shares above 0 and at most 1"),
            (["--suggest"], "`--suggest` is for a circuit"),
            (["--pc_temperature", "0.5"], "`--pc_temperature` is for a circuit"),
            (["--limit", "-1"], "`--limit -1` must be at least 1"),
            (["--limit", "0"], "`--limit 0` must be at least 1"),
            (["--plot", "gap.gif"], "`--plot gap.gif` must end in one of .png, .svg, .pdf"),
            (["--ec_k", "2"], "`ec_k=2` is read by router=ec, not by `router=tc`"),
            (["--router", "ex"], "`router=ex` is not known; use one of tc, ec"),
        ],
    )
    def test_wrong_flags_are_one_line(self, more, message, capsys):
        assert program.main(["gap", "--model", "demo", "--data", "x.jsonl", *more]) == 2
        assert message in capsys.readouterr().err
