"""The decode benchmark on a tiny backbone: every figure is there, and the loops that it compares agree."""

import json

import bench
import pytest
import torch
from benchmarks.decode import PRESETS
from benchmarks.model import Shape, make_sure, random_backbone, random_prompts
from benchmarks.workload import Workload

import lm_eval_codd as codd

SHARES = {"backbone", "lm_head", "sampling", "python"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("bench") / "figures.json"
    bench.main(["decode", "--shape", "tiny", "--device", "cpu", "--ladder", "--json", str(path)])
    return json.loads(path.read_text())["figures"]


class TestFigures:
    @pytest.fixture
    def figures(self, written) -> dict:
        return {name.removeprefix("decode."): figure["value"] for name, figure in written.items()}

    def test_ratios_are_there(self, figures):
        assert figures["samples_per_second_ratio"] > 0
        assert figures["samples_per_second_ratio_without_end"] > 0
        official, exact = figures["official.seconds_per_sample"], figures["exact.seconds_per_sample"]
        assert figures["samples_per_second_ratio"] == pytest.approx(official / exact, rel=0.01)

    @pytest.mark.parametrize("where", ["official", "circuit.official"])
    def test_the_official_loop_decodes_the_same(self, figures, where):
        assert figures[f"{where}.equal_answers"] == 100

    def test_an_early_end_spares_the_blocks_after_it(self, figures):
        assert figures["exact.nfe"] <= 8 < PRESETS["tiny"].num_steps
        assert figures["exact.tokens_per_forward"] == pytest.approx(13 / figures["exact.nfe"], rel=1e-3)

    @pytest.mark.parametrize(("mode", "parts"), [("exact", SHARES), ("circuit", SHARES | {"circuit", "coupling"})])
    def test_the_parts_add_up(self, figures, mode, parts):
        start = f"{mode}.share."
        share = {name.removeprefix(start): value for name, value in figures.items() if name.startswith(start)}
        assert share.keys() == parts
        assert sum(share.values()) == pytest.approx(100, abs=0.1)
        models = sum(share.get(name, 0) for name in ("backbone", "lm_head", "circuit"))
        assert figures[f"{mode}.outside_models"] == pytest.approx(100 - models, abs=0.1)

    def test_the_machines_limits(self, figures):
        assert all(figures[f"roofline.{part}"] > 0 for part in ("backbone", "lm_head", "circuit"))

    def test_approximate_modes_get_through(self, figures):
        for mode in ("prefix", "dual", "threshold", "dual_threshold", "dual_threshold_circuit"):
            assert figures[f"modes.{mode}.tokens_per_second_ratio"] > 0

    def test_a_batch_changes_nothing_in_float32(self, figures):
        assert figures["changed_by_batching.float32"] == 0

    def test_each_rung_of_the_ladder(self, figures):
        for rung in ("active_block", "float32", "batched", "early_end", "ours"):
            assert figures[f"ladder.{rung}.gain"] > 0

    def test_goals_are_for_the_published_shapes_only(self, written):
        assert written["decode.samples_per_second_ratio"]["goal"] == ""
        assert PRESETS["small"].goals["decode.samples_per_second_ratio"] == ">= 30"


@pytest.fixture(scope="module")
def workload() -> Workload:
    shape = Shape(layers=2, width=32, heads=2, mlp=64, vocab_size=600)
    backbone = random_backbone(shape, torch.float32, torch.device("cpu"), max_length=44, seed=0)
    return Workload(backbone, random_prompts(backbone, [12, 9, 5], 0), gen_length=32, end_at=13, batch_size=2)


class TestWorkload:
    CONFIG = codd.DecodingConfig(gen_length=32, block_length=8, num_steps=16)

    def test_every_answer_ends_where_it_is_forced_to(self, workload):
        run = workload.decode(self.CONFIG)
        assert [output.num_answer_tokens for output in run.outputs] == [13, 13, 13]
        workload.check_ends(run.outputs)

    def test_an_answer_that_ends_elsewhere_is_an_error(self, workload):
        outputs = workload.decode(self.CONFIG).outputs
        other = codd.Generation(outputs[0].tokens, 12, 8)
        with pytest.raises(RuntimeError, match=r"\[12, 13\] tokens instead of 13"):
            workload.check_ends([*outputs, other])

    def test_so_many_forward_passes_stand_for_all(self, workload):
        run = workload.decode(self.CONFIG, num_forward=3)
        assert run.outputs is None
        assert run.num_requests == 2
        assert len(workload.decode(self.CONFIG).outputs) == 3


class TestBackbone:
    def test_it_is_as_sure_as_is_said(self):
        shape = Shape(layers=2, width=64, heads=2, mlp=128, vocab_size=2000)
        backbone = random_backbone(shape, torch.float32, torch.device("cpu"), max_length=128, seed=0)
        make_sure(backbone, seed=0)
        prompts = random_prompts(backbone, [64] * 8, 3)
        canvas = torch.tensor([[*prompt, *[backbone.mask_id] * 32] for prompt in prompts])
        positions = torch.arange(64, 96).expand(8, -1)
        sure = backbone.logits(canvas, None, positions).softmax(-1).amax(-1) >= 0.9
        assert 0.2 < sure.float().mean() < 0.8
