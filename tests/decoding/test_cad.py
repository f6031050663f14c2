"""CAD against CD4LM's own code on a formula in place of a model, and its rules where the plugin departs from it."""

import json
from pathlib import Path

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.settings import DECODERS
from tests.decoding.stub_lm import StubLM
from tests.decoding.test_batches import an_end
from tests.decoding.test_coupling import random_circuit
from tests.decoding.test_loop import PROMPTS

FOLDER = Path(__file__).parent.parent / "golden" / "decoders"
NAMES = {
    "confidence_threshold": "threshold",
    "entropy_threshold": "entropy_threshold",
    "min_tokens_per_step": "min_per_step",
    "max_tokens_per_step": "max_per_step",
    "eos_threshold_ratio": "eos_ratio",
    "max_steps_per_block": "max_block_steps",
    "max_steps": "max_block_steps",
    "selection_method": "selection",
    "gen_length": "gen_length",
    "block_length": "block_length",
    "cfg_scale": "cfg_scale",
}
OFFICIAL = {
    "gen_length": 128,
    "block_length": 32,
    "confidence_threshold": 0.8,
    "min_tokens_per_step": 1,
    "max_tokens_per_step": 4,
    "eos_threshold_ratio": 0.5,
}
SMALL = {"decoder": "cad", "gen_length": 32, "block_length": 8}


def cases(name: str) -> list[dict]:
    content = json.loads((FOLDER / name).read_text())
    return content if isinstance(content, list) else content["cases"]


EXACT = [case for case in cases("cad.json") if case["fn"] != "fixed.generate"]


class Stub:
    """The goldens' formula as a backbone."""

    family, eos_id, eot_id = "llada", 0, None

    def __init__(self, case):
        self.model = StubLM(**case["stub"])
        self.vocab_size, self.mask_id = self.model.vocab, case["params"].get("mask_id", 126336)

    def logits(self, tokens, attention_mask=None, positions=None):
        self.model.calls.append(tokens.tolist())
        return self.model.logits_for(tokens)[torch.arange(len(tokens))[:, None], positions]


def config_of(case, **settings) -> codd.DecodingConfig:
    params = {**OFFICIAL, **case["params"]}
    if case["fn"] == "generate":
        params["block_length"] = params["gen_length"]
    if params.get("selection_method") == "entropy":
        del params["confidence_threshold"]
    given = {NAMES[name]: value for name, value in params.items() if name in NAMES}
    return codd.DecodingConfig(**{"decoder": "cad", "stop_at_eos": False, **given, **settings})


def decode(case, **settings):
    """The answer, and how many tokens each step committed."""
    backbone, steps = Stub(case), []
    (output,) = codd.generate(
        backbone,
        [case["prompt"]],
        config_of(case, **settings),
        on_step=lambda event: steps.append(int(event.commit.sum())),
    )
    return output, steps, backbone.model.calls


class TestItIsTheOfficialDecode:
    @pytest.mark.parametrize("case", EXACT, ids=lambda case: case["id"])
    def test_states_output_and_evaluations(self, case):
        output, steps, calls = decode(case, compat=True)
        assert calls == case["calls"]
        assert case["prompt"] + output.tokens == case["output"]
        assert output.num_forward == case["nfe"]
        assert steps == [one["tokens"] for one in case["stats"]]

    @pytest.mark.parametrize("case", cases("cad_ties.json"), ids=lambda case: case["id"])
    def test_where_all_scores_are_equal_the_counts_are(self, case):
        output, steps, _ = decode(case, compat=True)
        assert output.num_forward == case["nfe"]
        assert steps == [one["tokens"] for one in case["stats"]]

    def test_every_case_but_the_baselines_is_here(self):
        assert len(EXACT) == 30

    def test_drawn_cases_commit_within_the_bounds_and_fill_the_answer(self, shared_dir):
        for case in json.loads((shared_dir / "golden" / "decoders" / "cad_rng.json").read_text())["cases"]:
            settings = {"temperature": case["params"].get("temperature", 0.0)}
            output, steps, _ = decode(case, **settings)
            config = config_of(case, **settings)
            assert config.mask_id not in output.tokens and sum(steps) == config.gen_length
            assert all(step <= config.max_per_step for step in steps)


class TestDeparturesFromTheOfficialCode:
    def named(self, name):
        return next(case for case in EXACT if case["id"] == name)

    @pytest.mark.parametrize("case", EXACT, ids=lambda case: case["id"])
    def test_no_mask_is_left_and_none_is_chosen(self, case):
        if case["params"].get("min_tokens_per_step", 1) > case["params"].get("max_tokens_per_step", 4):
            pytest.skip("refused without compat")
        output, _, _ = decode(case)
        assert Stub(case).mask_id not in output.tokens

    def test_a_model_that_predicts_masks_leaves_them_only_with_compat(self):
        case = self.named("model_predicts_mask")
        assert 31 in decode(case, compat=True)[0].tokens
        assert 31 not in decode(case)[0].tokens

    def test_a_forced_step_decides_blocked_positions_too(self):
        case = self.named("eos_blocked_and_forced_leaves_masks")
        assert 126336 in decode(case, compat=True)[0].tokens
        output, _, _ = decode(case, eos_id=126081)
        assert 126336 not in output.tokens

    def test_end_ids_are_the_checkpoints(self):
        case = self.named("qwen_eos_ids_blocked")
        official = decode(case, compat=True)[0]
        assert decode(case, eos_id=151643, eot_id=151645)[0].tokens == official.tokens
        ordinary = decode(case)[0]
        assert ordinary.num_forward != official.num_forward

    @pytest.mark.parametrize("ratio", [0.3, 0.5, 1.0])
    def test_end_tokens_wait_for_their_share_of_the_answer_where_anything_else_can_be_committed(self, ratio):
        case, ends, events = self.named("eos_ratio_0.5"), torch.tensor([126081, 126348]), []
        config = config_of(case, eos_id=126081, eot_id=126348, eos_ratio=ratio)
        codd.generate(Stub(case), [case["prompt"]], config, on_step=events.append)
        num_decided = num_waiting = 0
        for event in events:
            is_end = torch.isin(event.tokens, ends)
            is_early = num_decided / config.gen_length < ratio
            if is_early and not is_end.all():
                assert not (event.commit & is_end).any()
                num_waiting += int(is_end.sum())
            num_decided += int(event.commit.sum())
        assert num_waiting


OPTIONS = [
    {},
    {"threshold": 0.1},
    {"threshold": 2.0, "min_per_step": 3},
    {"threshold": 0.0, "max_per_step": 3},
    {"selection": "entropy", "entropy_threshold": -2.0},
    {"selection": "random"},
    {"max_block_steps": 2},
    {"max_block_steps": 0},
    {"eos_ratio": 1.0, "min_per_step": 2},
    {"temperature": 0.8, "threshold": 0.05},
    {"cfg_scale": 1.0},
    {"block_length": 32},
    {"compat": True, "min_per_step": 4, "max_per_step": 2},
    {"cache": "dual", "threshold": 0.1},
    {"cache": "prefix", "threshold": 0.1},
]


class TestARowIsAlone:
    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_batches_of_1_and_of_7_decode_alike(self, backbone, options):
        end = an_end(backbone, codd.DecodingConfig(stop_at_eos=False, **{**SMALL, **options}))
        config = codd.DecodingConfig(eos_id=end, **{**SMALL, **options})
        alone = [codd.generate(backbone, [prompt], config)[0] for prompt in PROMPTS]
        assert codd.generate(backbone, PROMPTS, config) == alone
        assert codd.generate(backbone, PROMPTS, config, batch_size=3) == alone

    @pytest.mark.parametrize("pc_sampling", ["latent", "marginal", "map", "any_order"])
    def test_so_they_do_with_a_circuit(self, backbone, pc_sampling):
        circuit = random_circuit(backbone.vocab_size, 8, 4, sharpness=6.0)
        config = codd.DecodingConfig(pc_frac=1.5, pc_sampling=pc_sampling, threshold=0.1, **SMALL)
        alone = [codd.generate(backbone, [prompt], config, circuit)[0] for prompt in PROMPTS]
        assert codd.generate(backbone, PROMPTS, config, circuit, batch_size=4) == alone
        assert all(output.num_circuit for output in alone)
        assert alone != codd.generate(backbone, PROMPTS, config)


class TestBounds:
    def steps(self, backbone, **options):
        steps = []
        config = codd.DecodingConfig(stop_at_eos=False, **SMALL, **options)
        (output,) = codd.generate(
            backbone, PROMPTS[:1], config, on_step=lambda event: steps.append(int(event.commit.sum()))
        )
        assert sum(steps) == 32 and backbone.mask_id not in output.tokens
        return steps

    def test_nothing_is_sure_enough_the_least_is_committed(self, backbone):
        assert self.steps(backbone, threshold=2.0) == [1] * 32
        assert self.steps(backbone, threshold=2.0, min_per_step=3) == [3, 3, 2] * 4

    def test_everything_is_sure_enough_the_most_is_committed(self, backbone):
        assert self.steps(backbone, threshold=0.0, max_per_step=5) == [5, 3] * 4
        assert self.steps(backbone, threshold=0.0) == [8] * 4

    def test_the_step_after_the_last_decides_the_rest(self, backbone):
        assert self.steps(backbone, threshold=2.0, max_block_steps=2) == [1, 1, 6] * 4
        assert self.steps(backbone, threshold=2.0, max_block_steps=0, max_per_step=2) == [8] * 4

    @pytest.mark.parametrize("cache", ["dual", "prefix"])
    def test_a_cache_asks_for_as_much_and_fills_every_block(self, backbone, cache):
        assert self.steps(backbone, threshold=2.0, cache=cache) == [1] * 32

    def test_one_step_a_block_needs_nothing_of_a_cache(self, backbone):
        exact = codd.DecodingConfig(max_block_steps=0, **SMALL)
        cached = codd.DecodingConfig(max_block_steps=0, cache="dual", **SMALL)
        assert codd.generate(backbone, PROMPTS, exact) == codd.generate(backbone, PROMPTS, cached)


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"alg": "margin"}, "`alg=margin` is read by decoder=unmasking, not by `decoder=cad`"),
            ({"num_steps": 8}, "`num_steps=8` is read by decoder=unmasking"),
            ({"paradigm": "full"}, "`paradigm=full` is read by decoder=unmasking"),
            ({"min_per_step": 9, "max_per_step": 8}, "`min_per_step=9` is more than `max_per_step=8`"),
            ({"threshold": -0.1}, "`threshold=-0.1` is out of range; it must be 0 or more"),
            ({"selection": "entropy", "threshold": 0.5}, "`threshold=0.5` is not read with `selection=entropy`"),
            ({"entropy_threshold": -1}, "`entropy_threshold=-1` is not read with `selection=confidence`"),
            ({"gen_length": 100}, "`gen_length=100` cannot be cut into blocks"),
            ({"selection": "margin"}, "`selection=margin` is not known; use one of confidence, entropy, random"),
            ({"cache": "dual", "cfg_scale": 1.0}, "`cache=dual` does not go with guidance"),
        ],
    )
    def test_what_it_does_not_read_or_cannot_be_is_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            codd.DecodingConfig(decoder="cad", **settings)

    def test_its_options_are_refused_by_others(self):
        with pytest.raises(ValueError, match="`max_per_step=8` is read by decoder=cad, not by `decoder=unmasking`"):
            codd.DecodingConfig(max_per_step=8)
        with pytest.raises(ValueError, match="`compat=True` is read by decoder=cad"):
            codd.DecodingConfig(compat=True)
        for name in set(DECODERS) - {"cad"}:
            with pytest.raises(ValueError, match=f"not by `decoder={name}`"):
                codd.DecodingConfig(decoder=name, compat=True)
        with pytest.raises(ValueError, match=r"use one of unmasking, cad, .*\(did you mean cad"):
            codd.DecodingConfig(decoder="cadd")

    def test_a_familys_defaults_that_it_does_not_read_are_dropped(self):
        config = codd.DecodingConfig.for_family("dream", decoder="cad")
        assert (config.alg, config.paradigm, config.top_k, config.top_p) == ("low_confidence", "block", None, None)
        assert (config.temperature, config.threshold) == (0.2, 0.95)
        assert config.goes_by_blocks and config.steps_follow_confidence and not config.approximations
