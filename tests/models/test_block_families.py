"""Block-causal families in lm-eval: official folders on real rows, whatever the batches and ranks."""

import json
import logging
import shutil

import pytest
from lm_eval.api.instance import Instance

from lm_eval_codd.models.masked_lm import MaskedLM
from tests.forked import PATIENCE
from tests.models.block_folders import BLOCK_LENGTH, FAMILIES, write_block_checkpoint
from tests.models.processes import answer_as, start_ranks
from tests.models.real_rows import TASKS, answers_of, evaluate

PROMPTS = ["a", "some more of it", "abc" * 7, "x y", "the fifth"]
SHORT = {"gen_length": 12, "dtype": "float32", "max_length": 96}
RULES = {
    "sdar": {"rule": "sdar", "threshold": 0.4},
    "llada2": {"rule": "llada2", "threshold": 0.3},
    "llada21": {"rule": "llada21", "threshold": 0.4, "editing_threshold": 0.4, "max_post_steps": 2},
    "fast_dllm_v2": {"rule": "fast_dllm_v2", "threshold": 0.3},
    "bd3lm": {"num_steps": 4},  # the name says the rest
}
FAMILY = {"sdar": "sdar", "llada2": "llada2", "llada21": "llada2", "fast_dllm_v2": "fast_dllm_v2", "bd3lm": "a2d_qwen3"}


@pytest.fixture(scope="module")
def folders(golden_dir, tmp_path_factory):
    """Family -> its folder, whose name matters to A2D alone."""
    return {
        name: write_block_checkpoint(golden_dir / "families" / name, tmp_path_factory.mktemp(name) / f"{name}-bd3lm")
        for name in FAMILIES
    }


@pytest.fixture
def run(folders, golden_dir, monkeypatch):
    """A function (rule, batch size) -> the result of four tasks, two rows each."""

    def _run(rule, batch_size):
        given = {"pretrained": folders[FAMILY[rule]], **SHORT, **RULES[rule], "gen_length": 16}
        return evaluate(monkeypatch, golden_dir, batch_size, **given)

    return _run


@pytest.mark.parametrize("rule", RULES)
def test_real_rows_of_four_tasks_are_answered_alike_in_batches_of_1_and_7(run, rule):
    one, seven = run(rule, 1), run(rule, 7)
    assert sorted(one["samples"]) == sorted(TASKS) and answers_of(one) == answers_of(seven)
    config = one["config"]
    assert (config["settings"]["decoder"], config["settings"]["rule"]) == ("block_diffusion", rule)
    assert (config["attention"], config["settings"]["block_length"]) == ("block", BLOCK_LENGTH[FAMILY[rule]])
    assert config["mean_nfe"] == seven["config"]["mean_nfe"] > 1
    assert bool(config["departures"]) == (rule == "sdar")


def test_experts_choose_tokens_of_blocks_where_the_window_is_said(folders, ask):
    given = {"device": "cpu", **SHORT, "gen_length": 16, "router": "ec", "ec_scope": "sequence"}
    one, seven = (MaskedLM(folders["llada2"], batch_size=size, **given) for size in (1, 7))
    assert ask(one, PROMPTS) == ask(seven, PROMPTS)
    info = seven.get_model_info()
    routing = info["routing"]
    assert routing["rows"] == info["nfe"] and list(routing["layers"]) == ["1"]  # its first layer has no experts
    assert routing["layers"]["1"]["share_without_expert"] == routing["share_without_expert"] > 0
    assert info["extensions"] == ["router=ec"] and info["settings"]["ec_scope"] == "sequence"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"router": "ec"}, "`router=ec` does not go with `decoder=block_diffusion`, which keeps finished blocks"),
        ({"router": "ec", "ec_scope": "batch"}, "`ec_scope=batch` lets the rows of a batch compete for experts"),
    ],
)
def test_experts_choose_tokens_of_blocks_nowhere_else(folders, given, message):
    with pytest.raises(ValueError) as error:
        MaskedLM(folders["llada2"], device="cpu", **given, **(SHORT | {"gen_length": 16}))
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.parametrize("rule", ["sdar", "fast_dllm_v2", "bd3lm"])
def test_two_processes_answer_as_one(folders, ask, tmp_path, rule):
    checkpoint, more = folders[FAMILY[rule]], [{}, {"temperature": 0.8}]
    if rule == "bd3lm":
        more.append({"cfg_scale": 0.5})
    decoders = [{"device": "cpu", **SHORT, "gen_length": 16, **RULES[rule], **one} for one in more]
    ranks = start_ranks(2, answer_as, "masked_lm", checkpoint, decoders, PROMPTS, tmp_path)
    alone = [ask(MaskedLM(checkpoint, **settings), PROMPTS) for settings in decoders]
    for rank in ranks:
        rank.join(PATIENCE)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [alone, alone]


class TestSettings:
    def test_a_block_is_as_long_as_the_checkpoint_says_or_the_user(self, folders):
        own = MaskedLM(folders["sdar"], device="cpu", **SHORT)
        assert (own.config.block_length, own.config.num_steps, own.backbone.block_length) == (4, 4, 4)
        other = MaskedLM(folders["sdar"], device="cpu", block_length=8, **SHORT)
        assert (other.config.block_length, other.config.num_steps, other.backbone.block_length) == (8, 8, 8)

    def test_token_editing_is_the_rule_of_a_checkpoint_with_2_1_in_its_name(self, folders, tmp_path, caplog):
        folder = shutil.copytree(folders["llada2"], tmp_path / "LLaDA2.1-tiny")
        with caplog.at_level(logging.INFO, logger="lm_eval.codd"):
            lm = MaskedLM(str(folder), device="cpu", **SHORT)
        assert (lm.config.rule, lm.config.editing_threshold) == ("llada21", 0.9)
        assert "`rule=llada21`, since llada2.1 is in the name" in caplog.text
        assert MaskedLM(str(folder), device="cpu", rule="llada2", **SHORT).config.rule == "llada2"

    def test_sdars_true_greedy_is_named_in_results_and_refuses_to_draw(self, folders, ask):
        lm = MaskedLM(folders["sdar"], device="cpu", rule="sdar_greedy", **SHORT)
        assert ask(lm, PROMPTS) == ask(MaskedLM(folders["sdar"], device="cpu", **SHORT), PROMPTS)
        info = lm.get_model_info()
        assert info["settings"]["rule"] == "sdar_greedy" and "sdar_greedy" in info["departures"][0]
        with pytest.raises(ValueError, match=r"`temperature=1` is read by rule=sdar or .* not by `rule=sdar_greedy`"):
            MaskedLM(folders["sdar"], device="cpu", rule="sdar_greedy", temperature=1.0, **SHORT)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_mask_and_ends_are_those_of_its_files(self, folders, family):
        backbone = MaskedLM(folders[family], device="cpu", **(SHORT | {"gen_length": 16})).backbone
        assert (backbone.mask_id, backbone.eos_id, backbone.eot_id) == (299, 297, 298)

    def test_log_likelihoods_are_refused_in_one_line(self, folders):
        lm = MaskedLM(folders["sdar"], device="cpu", **SHORT)
        request = Instance("loglikelihood", {}, ("a", " b"), idx=0, metadata=("tiny", 0, 1))
        with pytest.raises(ValueError, match="log-likelihoods of sdar checkpoints, which are block-causal, are not"):
            lm.loglikelihood([request])
