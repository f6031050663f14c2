"""`router=ec` under lm-eval: answers, log-likelihoods, and what a result says of the experts."""

import shutil

import pytest
from lm_eval.api.instance import Instance
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from lm_eval_codd import backbones
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.models.masked_lm import MaskedLM
from lm_eval_codd.models.masked_setup import made_by, scored_by
from tests.backbones.experts.goldens import MODEL, megatron_folder

SETTINGS = {"num_steps": 4, "gen_length": 12, "block_length": 12, "device": "cpu", "dtype": "float32"}
EC = {"router": "ec", "ec_k": 2}
PROMPTS = ["a", "what is 2 + 3?", "bb bb", "c" * 20, "why", "one two three", "x y"]


@pytest.fixture(scope="module")
def checkpoint(golden_dir, tmp_path_factory):
    """A tiny LLaDA-MoE with a tokenizer of its 113 tokens."""
    folder = tmp_path_factory.mktemp("lladamoe") / "checkpoint"
    shutil.copytree(golden_dir / "families" / "lladamoe", folder)
    write_tokenizer(folder, 113, {"<|endoftext|>": 5, "<|mask|>": 111})
    return str(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny checkpoint in EC-DLM's own layout, trained with experts that choose tokens."""
    folder = megatron_folder(tmp_path_factory.mktemp("ecdlm") / "checkpoint", "ec_dyn_cos_sf")
    write_tokenizer(folder, MODEL["vocab"], {"<|endoftext|>": MODEL["eod"], "<|mask|>": MODEL["mask"]})
    return str(folder)


def write_tokenizer(folder, size, special):
    """As many of the printable characters as there is room for."""
    free = [index for index in range(size) if index not in special.values()]
    vocab = {chr(32 + number): index for number, index in zip(range(95), free, strict=False)} | special
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(BPE(vocab=vocab, merges=[])),
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        mask_token="<|mask|>",
    )
    fast.save_pretrained(folder)


def score(lm, pairs):
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0, metadata=("tiny", index, 1))
        for index, pair in enumerate(pairs)
    ]
    return lm.loglikelihood(requests, disable_tqdm=True)


class TestAnswers:
    def test_do_not_depend_on_the_batch_and_are_other_ones_than_token_choices(self, checkpoint, ask):
        alone = ask(LLaDA(checkpoint, batch_size=1, **EC, **SETTINGS), PROMPTS)
        assert ask(LLaDA(checkpoint, batch_size=7, **EC, **SETTINGS), PROMPTS) == alone
        assert ask(LLaDA(checkpoint, **SETTINGS), PROMPTS) != alone

    def test_of_token_choice_are_those_without_the_setting(self, checkpoint, ask):
        with_it, without = LLaDA(checkpoint, router="tc", **SETTINGS), LLaDA(checkpoint, **SETTINGS)
        assert ask(with_it, PROMPTS) == ask(without, PROMPTS)
        keys = [made_by(lm.config, lm.backbone, None) for lm in (with_it, without)]
        assert keys[0] == keys[1]
        assert "router" not in keys[0]
        assert "routing" not in with_it.get_model_info()

    def test_say_what_the_experts_did(self, checkpoint, ask):
        lm = LLaDA(checkpoint, batch_size=2, **EC, **SETTINGS)
        ask(lm, ["aaaa", "bbbbbbbb"])
        info = lm.get_model_info()
        routing = info["routing"]
        assert (routing["rows"], routing["rows_of_masks"]) == (info["nfe"], 0)
        assert (routing["mean_positions"], routing["mean_k"]) == (18.0, 2.0)  # 16 and 20
        assert routing["mean_capacity"] == (4 + 5) / 2
        assert routing["mean_experts_per_token"] == 2.0  # 8 experts, of 16 positions 4 each, of 20 positions 5
        assert routing["min_experts_per_token"] == 0 < routing["share_without_expert"] < 1
        assert info["extensions"] == ["router=ec"]
        assert any(
            line.startswith("`router=ec` exchanges how experts and tokens are paired") for line in info["warnings"]
        )

    def test_follow_a_schedule(self, checkpoint, ask):
        schedule = {"ec_schedule": "linear", "ec_k_min": 1, "ec_k_max": 8, "ec_gates": "post"}
        lm = LLaDA(checkpoint, router="ec", **schedule, **SETTINGS)
        ask(lm, ["aaaa"])
        masks = [12, 9, 6, 3]
        assert lm.get_model_info()["routing"]["mean_k"] == sum(round(1 + 7 * m / 16) for m in masks) / 4

    def test_are_journalled_apart(self, checkpoint, ask, tmp_path, decoded):
        journal = str(tmp_path / "journal")
        first = ask(LLaDA(checkpoint, journal=journal, **EC, **SETTINGS), PROMPTS[:2])
        ask(LLaDA(checkpoint, journal=journal, **SETTINGS), PROMPTS[:2])
        assert len(decoded) == 4
        again = LLaDA(checkpoint, journal=journal, **EC, **SETTINGS)
        assert (ask(again, PROMPTS[:2]), len(decoded)) == (first, 4)
        assert again.get_model_info()["routing"]["rows"] == 0


class TestLikelihoods:
    def test_are_those_of_the_experts_and_keyed_by_them(self, checkpoint):
        lm = LLaDA(checkpoint, num_samples=8, **EC, **SETTINGS)
        plain = LLaDA(checkpoint, num_samples=8, **SETTINGS)
        pairs = [("one", " two"), ("x", "yz")]
        assert score(lm, pairs) != score(plain, pairs)
        assert scored_by(lm.likelihoods, lm.backbone, None)["router"] == "ec"
        assert "router" not in scored_by(plain.likelihoods, plain.backbone, None)
        assert lm.get_model_info()["routing"]["rows"] > 0

    def test_a_row_of_nothing_but_masks_is_warned_about(self, checkpoint):
        lm = LLaDA(checkpoint, cfg_scale=1.0, estimator="chain", is_greedy=False, **EC, **SETTINGS)
        score(lm, [("one", " two")])
        info = lm.get_model_info()
        assert info["routing"]["rows_of_masks"] == 1
        assert any("rows of nothing but masks" in line and "(1 of 8 rows" in line for line in info["warnings"])


class TestTrainedWithExpertChoice:
    def test_it_is_evaluated_so_without_being_asked_for(self, trained, ask):
        alone = ask(LLaDA(trained, batch_size=1, **SETTINGS), PROMPTS)
        lm = MaskedLM(trained, batch_size=7, **SETTINGS)
        assert ask(lm, PROMPTS) == alone
        info = lm.get_model_info()
        assert info["settings"]["router"] == "ec"
        assert 2 <= info["routing"]["mean_k"] <= 5
        assert not any("fine-tuning" in line for line in info["warnings"])

    def test_the_launchers_runs_say_so_themselves(self, trained):
        with pytest.raises(ValueError, match=r"`router=tc`: .* was trained with experts that choose tokens"):
            LLaDA(trained, own_defaults=False, **SETTINGS)


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"ec_k": 9}, "`ec_k=9` is more than the 8 experts of "),
            ({"cache": "dual"}, "`cache=dual` does not go with `router=ec`"),
            ({"ec_scope": "batch"}, "`ec_scope=batch` lets the rows of a batch compete for experts"),
            (
                {"compat": True, "batch_size": 7},
                "`compat=True` with `router=ec` takes the share of masks of the padded",
            ),
            ({"compat": True, "batch_size": "auto"}, "`compat=True` with `router=ec` takes the share of masks of the"),
            ({"ec_schedule": "bell", "ec_k_min": 1, "ec_k_max": 2}, "`ec_schedule=bell` gives each row its own"),
        ],
    )
    def test_come_before_weights_are_loaded(self, checkpoint, monkeypatch, settings, message):
        monkeypatch.setattr(backbones, "load_backbone", None)
        with pytest.raises(ValueError) as error:
            MaskedLM(checkpoint, router="ec", **settings, **SETTINGS)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)

    def test_a_checkpoint_without_experts(self, checkpoints, monkeypatch):
        monkeypatch.setattr(backbones, "load_backbone", None)
        with pytest.raises(ValueError, match=r"`router=ec` is for mixtures of experts, and .* has none; leave it out"):
            LLaDA(checkpoints["llada"], router="ec", **SETTINGS)
