"""The block decoder: its families' official decodes, and rows that never touch each other."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.settings import approximations_of
from tests.decoding.blocks import LENGTHS, MASK, QUICK, RULES, VOCAB, Recomputing, config_of, prompts

A2D = ("a2d_qwen2", "a2d_qwen3", "a2d_llama")

# The settings of a case by their names here.
NAMES = {
    **{"max_new_tokens": "gen_length", "block_size": "block_length", "small_block_size": "small_block_length"},
    **{"steps": "num_steps", "denoising_steps": "num_steps", "confidence_threshold": "threshold"},
    **{"minimal_topk": "minimal_per_step", "remasking_strategy": "remask", "stop_token": "eos_id"},
}


def cases(golden_dir: Path, rule: str, *, block_cache: bool = False) -> list[dict]:
    rows = json.loads((golden_dir / "families" / rule / "decoded.json").read_text())
    return [row for row in rows if bool(row["args"].get("use_block_cache")) == block_cache]


def settings_of(rule: str, case: dict) -> tuple[codd.DecodingConfig, list[int], list[int]]:
    """The settings of an official decode, its prompt, and the answer that they give."""
    args, (prompt,), (output,) = dict(case["args"]), case["prompt"], case["output"]
    early = args.pop("eos_early_stop", False) or rule == "fast_dllm_v2"
    given = {NAMES.get(name, name): value for name, value in args.items()}
    if "remask" in given:
        given["remask"] = given["remask"].removeprefix("low_confidence_")
    if case["name"].startswith("topk1"):
        given["temperature"] = 1.0  # what it is officially; nothing is drawn from one token
    answer = output if rule.startswith("llada") else output[len(prompt) :]
    if rule == "sdar":  # never cut there, so that the blocks are the same
        given["gen_length"] = len(answer)
    settings = {"decoder": "block_diffusion", "rule": rule, "stop_at_eos": early, **given}
    return codd.DecodingConfig(**settings), prompt, answer


class TestOfficialDecodes:
    @pytest.mark.parametrize("keeps", [True, False], ids=["kept", "recomputed"])
    @pytest.mark.parametrize("rule", RULES)
    def test_every_token_and_every_forward_is_the_familys_own(self, load_blocks, golden_dir, rule, keeps):
        wrong, rows = [], cases(golden_dir, rule)
        for case in rows if keeps else rows[::4]:
            config, prompt, answer = settings_of(rule, case)
            backbone = load_blocks(rule, config.block_length)
            (got,) = codd.generate(backbone if keeps else Recomputing(backbone), [prompt], config)
            length = min(len(answer), config.gen_length)
            if (got.tokens[:length], got.num_forward) != (answer[:length], case["num_forward"]):
                wrong.append(case["name"])
        assert len(rows) >= 14 and not wrong

    def test_fast_dllm_v2s_whole_answer_where_gen_length_has_room_for_its_last_token(self, load_blocks, golden_dir):
        longer = 0
        for case in cases(golden_dir, "fast_dllm_v2"):
            config, prompt, answer = settings_of("fast_dllm_v2", case)
            longer += len(answer) > config.gen_length
            config = dataclasses.replace(config, gen_length=config.gen_length + 1)
            (got,) = codd.generate(load_blocks("fast_dllm_v2"), [prompt], config)
            filled = answer + [config.eos_id] * (config.gen_length - len(answer))
            assert (got.tokens, got.num_forward) == (filled, case["num_forward"]), case["name"]
        assert longer == 3

    def test_fast_dllm_v2s_block_cache_too_which_approximates(self, load_blocks, golden_dir):
        rows = cases(golden_dir, "fast_dllm_v2", block_cache=True)
        for case in rows:
            case["args"].pop("use_block_cache")
            config, prompt, answer = settings_of("fast_dllm_v2", case)
            config = dataclasses.replace(config, cache="dual")
            assert approximations_of(vars(config)) == ("cache=dual",)
            (got,) = codd.generate(load_blocks("fast_dllm_v2"), [prompt], config)
            length = min(len(answer), config.gen_length)
            assert (got.tokens[:length], got.num_forward) == (answer[:length], case["num_forward"]), case["name"]
        assert len(rows) == 5
        with pytest.raises(
            ValueError, match="`cache=dual` needs a backbone that keeps keys and values, and Recomputing"
        ):
            codd.generate(Recomputing(load_blocks("fast_dllm_v2")), [prompt], config)

    @pytest.mark.parametrize("keeps", [True, False], ids=["kept", "recomputed"])
    @pytest.mark.parametrize("name", A2D)
    def test_block_causal_a2d_too_whose_blocks_are_counted_from_the_prompts_end(self, golden_dir, name, keeps):
        folder, num_rows = golden_dir / "families" / name, 0
        backbone = codd.load_backbone(folder, mask_id=MASK, eos_id=5, attention="block", block_length=8, device="cpu")
        cases = [
            case
            for file in ("decoded_bd3lm.json", "decoded_bd3lm_guided.json")
            for case in json.loads((folder / file).read_text())
        ]
        for case in cases:
            gen_length, longest = case["args"]["max_new_tokens"], -(-max(map(len, case["prompt"])) // 8) * 8
            config = codd.DecodingConfig(
                decoder="block_diffusion",
                block_length=8,
                gen_length=gen_length,
                num_steps=-(-case["args"]["steps"] // -(-gen_length // 8)),  # of a block
                cfg_scale=case["args"].get("cfg_scale", 0.0),
                stop_at_eos=False,
            )
            got = codd.generate(backbone if keeps else Recomputing(backbone), case["prompt"], config)
            assert max(one.num_forward for one in got) == case["num_forward"]
            for one, output in zip(got, case["output"], strict=True):
                # A row ends with its own end token, where the authors' goes on until all have one.
                answer = output[longest:]
                length = min(len(answer), 8 * (answer.index(5) // 8 + 1) if 5 in answer else len(answer))
                assert one.tokens[:length] == answer[:length]
                num_rows += 1
        assert num_rows == 11

    def test_a_block_that_a_family_numbers_from_the_prompts_start_is_begun_by_the_prompt(self, load_blocks):
        backbone = Recomputing(load_blocks("llada2"))
        codd.generate(backbone, [prompts()[2]], config_of("llada2", gen_length=3))
        assert {fed.shape[1] for fed in backbone.fed} == {16}  # 13 tokens and the rest of their block

    @pytest.mark.parametrize("rule", RULES)
    def test_an_end_token_saves_forwards_and_changes_no_token_before_it(self, load_blocks, rule):
        backbone, (prompt,) = load_blocks(rule), prompts(LENGTHS[2:3])
        everything = codd.generate(backbone, [prompt], config_of(rule, stop_at_eos=False, eos_id=MASK + 1))[0]
        end = everything.tokens[4]
        place = everything.tokens.index(end)
        (stopped,) = codd.generate(backbone, [prompt], config_of(rule, eos_id=end))
        assert stopped.tokens[: place + 1] == everything.tokens[: place + 1]
        assert stopped.num_answer_tokens == place and set(stopped.tokens[place:]) == {end}
        assert stopped.num_forward < everything.num_forward
        assert stopped.num_capped == 0  # what was never begun was not left


class TestRows:
    @pytest.mark.parametrize("temperature", [0.0, 0.8])
    @pytest.mark.parametrize(("rule", "cfg_scale"), [*((rule, 0.0) for rule in (*RULES, "bd3lm")), ("bd3lm", 0.5)])
    def test_a_row_is_the_same_alone_in_a_batch_and_after_a_refill(self, load_blocks, rule, cfg_scale, temperature):
        backbone, rows = load_blocks(rule), prompts()
        config = config_of(rule, temperature=temperature, eos_id=40, cfg_scale=cfg_scale)
        alone = [codd.generate(backbone, [row], config)[0] for row in rows]
        assert codd.generate(backbone, rows, config) == alone
        assert codd.generate(backbone, rows, config, batch_size=3) == alone
        assert codd.generate(Recomputing(backbone), rows, config, batch_size=2) == alone

    def test_a_row_is_the_same_with_a_block_cache_too(self, load_blocks):
        backbone, rows = load_blocks("fast_dllm_v2"), prompts()
        config = config_of("fast_dllm_v2", cache="dual", eos_id=40)
        alone = [codd.generate(backbone, [row], config)[0] for row in rows]
        assert codd.generate(backbone, rows, config, batch_size=3) == alone
        assert alone != codd.generate(backbone, rows, config_of("fast_dllm_v2", eos_id=40))

    @pytest.mark.parametrize("rule", [*RULES, "bd3lm"])
    def test_an_empty_prompt_is_answered(self, load_blocks, rule):
        # Its first block holds masks alone, equal at every position: rounding decides which are the surest.
        empty, other = codd.generate(load_blocks(rule), [[], prompts()[0]], config_of(rule))
        assert len(empty.tokens) == 16
        assert other == codd.generate(load_blocks(rule), [prompts()[0]], config_of(rule))[0]

    @pytest.mark.parametrize("rule", RULES)
    def test_a_circuit_couples_the_block_that_a_row_is_at(self, load_blocks, make_circuit, rule):
        backbone, rows = load_blocks(rule), prompts()[:4]
        length = QUICK[rule]["block_length"]
        circuit = make_circuit(num_positions=length, vocab_size=VOCAB, dtype=torch.float32)
        config = config_of(rule, pc_frac=2.0, pc_sampling="map", threshold=0.9)
        coupled = [codd.generate(backbone, [row], config, circuit)[0] for row in rows]
        assert codd.generate(backbone, rows, config, circuit) == coupled
        plain = codd.generate(backbone, rows, config)
        assert all(one.num_circuit for one in coupled) and [one.tokens for one in coupled] != [
            one.tokens for one in plain
        ]

    @pytest.mark.parametrize("rule", RULES)
    def test_masks_in_a_prompt_that_opens_a_block_change_no_other_rows_coupling(self, load_blocks, make_circuit, rule):
        length = QUICK[rule]["block_length"]
        circuit = make_circuit(num_positions=length, vocab_size=VOCAB, dtype=torch.float32)
        config = config_of(rule, pc_frac=2.0, pc_sampling="map", threshold=0.9)
        rows = [[MASK, 9, MASK], [7, 8], [9, 8, MASK], *prompts((length + 1,))]
        alone = [codd.generate(load_blocks(rule), [row], config, circuit)[0] for row in rows]
        assert codd.generate(load_blocks(rule), rows, config, circuit) == alone

    def test_a_circuit_couples_what_a_shorter_last_block_has(self, load_blocks):
        rows = torch.rand(9 + VOCAB, 3, generator=torch.Generator().manual_seed(3))
        tables = [table.pow(4) / table.pow(4).sum(-1, keepdim=True) for table in (rows[0], rows[1:4], rows[9:].T)]
        whole, short = (codd.circuits.HMM(*tables, num_positions) for num_positions in (8, 3))
        settings = {"gen_length": 3, "num_steps": 1, "pc_frac": 2.0, "pc_sampling": "marginal"}
        answers = [
            codd.generate(load_blocks("bd3lm"), [[]], config_of("bd3lm", **settings, **more), circuit)[0]
            for more, circuit in (({}, whole), ({"block_length": 3}, short))
        ]
        assert answers[0].num_circuit == 1 and answers[0].tokens == answers[1].tokens
        longer = config_of("bd3lm", **{**settings, "gen_length": 12, "pc_sampling": "latent"})
        given = prompts((3, 16, 13))
        alone = [codd.generate(load_blocks("bd3lm"), [row], longer, whole)[0] for row in given]
        assert codd.generate(load_blocks("bd3lm"), given, longer, whole) == alone
        assert [one.num_circuit for one in alone] == [2, 2, 2]
