"""What the block decoder does not copy of the authors' code."""

import dataclasses

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.settings import departures_of, rule_of
from tests.decoding.blocks import LENGTHS, MASK, QUICK, RULES, VOCAB, Recomputing, config_of, prompts


class TestWhatIsNotCopied:
    """Of the authors' code: decodes that never end, crashes, and tokens of a prompt that are lost."""

    @pytest.mark.parametrize(
        ("rule", "most", "num_blocks"),
        [("sdar", 5, 5), ("llada2", 8, 3), ("llada21", 12, 3), ("fast_dllm_v2", 9, 2), ("bd3lm", 9, 2)],
    )
    def test_a_block_ends_where_the_mask_itself_is_predicted_and_is_counted(self, load_blocks, rule, most, num_blocks):
        backbone = Recomputing(load_blocks(rule), favours_mask=100.0)
        (got,) = codd.generate(backbone, [prompts()[2]], config_of(rule))  # 13 tokens, and 16 of an answer
        assert MASK in got.tokens
        assert got.num_forward <= most * num_blocks + 1  # and one for the prompt
        assert got.num_capped == num_blocks

    @pytest.mark.parametrize("rule", [*RULES, "bd3lm"])
    def test_only_blocks_that_were_left_with_masks_are_counted(self, load_blocks, rule):
        # Nothing but the first block's masks are predicted as masks.
        backbone, (row,) = Recomputing(load_blocks(rule)), prompts(LENGTHS[2:3])
        logits, length = backbone.logits, QUICK[rule]["block_length"]
        end = -(-(len(row) + 1) // length) * length if rule != "bd3lm" else len(row) + length

        def favouring(tokens, attention_mask=None, positions=None):
            scores = logits(tokens, attention_mask, positions)
            scores[..., MASK] += torch.where(positions < end, 100.0, -100.0)
            return scores

        backbone.logits = favouring
        got = codd.generate(backbone, [row, row[:-1]], config_of(rule, stop_at_eos=False, eos_id=VOCAB - 1))
        assert [one.num_capped for one in got] == [1, 1]
        assert MASK not in got[0].tokens[length:]
        assert [one.num_capped for one in codd.generate(load_blocks(rule), [row], config_of(rule))] == [0]

    @pytest.mark.parametrize("remask", ["static", "dynamic", "sequential"])
    def test_sdar_never_writes_over_a_prompt_that_opens_a_block(self, load_blocks, remask):
        threshold = {} if remask == "dynamic" else {"threshold": None}
        for row in prompts((5, 6, 7)):
            backbone = Recomputing(load_blocks("sdar"), favours_mask=-100.0)
            config = config_of("sdar", num_steps=1, remask=remask, **threshold)
            (got,) = codd.generate(backbone, [row], config)
            assert all(fed[0, : len(row)].tolist() == row[: fed.shape[1]] for fed in backbone.fed)
            assert MASK not in got.tokens

    def test_sdar_from_the_left_never_writes_over_a_token_beyond_a_predicted_mask(self, load_blocks):
        # Officially a step writes its share of adjoining positions, from the first mask on, whatever stands there.
        backbone, (row,) = Recomputing(load_blocks("sdar", 8), favours_mask=-100.0), prompts((8,))
        logits = backbone.logits

        def masking_the_first(tokens, attention_mask=None, positions=None):
            scores = logits(tokens, attention_mask, positions)
            if (tokens[:, 8:16] == MASK).all():
                scores[..., MASK] += torch.where(positions == 8, 200.0, 0.0)
            return scores

        backbone.logits = masking_the_first
        config = config_of("sdar", block_length=8, gen_length=8, num_steps=4, remask="sequential", threshold=None)
        written = []
        (got,) = codd.generate(
            backbone, [row], config, on_step=lambda event: written.append(event.columns[event.commit])
        )
        assert [columns.tolist() for columns in written if len(columns)] == [[0, 1], [0, 2], [3, 4], [5, 6]]
        assert (got.tokens.index(MASK), got.num_capped) == (7, 1)
        after_first = next(fed for fed in backbone.fed if fed.shape[1] > 9 and fed[0, 9] != MASK)
        assert got.tokens[1] == after_first[0, 9]

    def test_fast_dllm_v2_reads_a_prompt_of_exactly_one_block(self, load_blocks):
        first, second = prompts((8, 8))
        config = config_of("fast_dllm_v2", threshold=0.9)
        answers = codd.generate(load_blocks("fast_dllm_v2"), [first, second], config)
        assert answers[0].tokens != answers[1].tokens
        whole = load_blocks("fast_dllm_v2").logits(torch.tensor([[*first, MASK]]))
        assert answers[0].tokens[0] == int(whole[0, 8].argmax())

    @pytest.mark.parametrize("stop_at_eos", [True, False])
    def test_fast_dllm_v2s_shorter_answers_are_filled_up_to_gen_length(self, load_blocks, stop_at_eos):
        eos = VOCAB - 1
        config = config_of("fast_dllm_v2", gen_length=20, stop_at_eos=stop_at_eos, eos_id=eos)
        (got,) = codd.generate(load_blocks("fast_dllm_v2"), prompts((11,)), config)
        (official,) = codd.generate(
            load_blocks("fast_dllm_v2"), prompts((11,)), dataclasses.replace(config, gen_length=16)
        )
        # Two blocks fit, the first of them begun by three tokens of the prompt, and one token more.
        assert got.tokens == official.tokens[:14] + [eos] * 6 and eos not in got.tokens[:14]
        assert (got.num_answer_tokens, got.num_forward) == (14, official.num_forward)
        assert len(official.tokens) == 16

    def test_a_mask_that_fast_dllm_v2_appends_is_decided_alike_without_a_cache(self, load_blocks):
        backbone, (row,) = load_blocks("fast_dllm_v2"), prompts((8,))
        first = int(backbone.logits(torch.tensor([row]), positions=torch.tensor([[8]])).argmax())
        config = config_of("fast_dllm_v2", small_block_length=1, mask_id=first)
        kept = codd.generate(backbone, [row], config)
        assert codd.generate(Recomputing(backbone), [row], config) == kept

    def test_sdars_own_greedy_is_sure_of_every_token_and_a_true_one_is_not(self, load_blocks):
        row = prompts()[2]
        true = config_of("sdar", threshold=0.95)
        own = config_of("sdar", threshold=0.95, temperature=1.0, top_k=1)
        sure = {name: [] for name in ("true", "own")}
        for name, config in (("true", true), ("own", own)):
            codd.generate(
                load_blocks("sdar"), [row], config, on_step=lambda event, name=name: sure[name].append(event.confidence)
            )
        assert torch.cat(sure["own"], 1).unique().tolist() == [1.0]
        assert torch.cat(sure["true"], 1).min() < 0.9
        assert "top_k=1" in departures_of(vars(true))[0] and not departures_of(vars(own))

    @pytest.mark.parametrize("remask", ["dynamic", "static"])
    def test_sdars_true_greedy_has_a_name_of_its_own_and_cannot_draw(self, load_blocks, remask):
        named, plain, own = (
            config_of(rule, remask=remask, threshold=0.5 if remask == "dynamic" else None, **given)
            for rule, given in (
                ("sdar_greedy", {}),
                ("sdar", {}),
                ("sdar", {"temperature": 1.0, "top_k": 1}),
            )
        )
        rows = prompts()
        assert codd.generate(load_blocks("sdar"), rows, named) == codd.generate(load_blocks("sdar"), rows, plain)
        assert codd.generate(load_blocks("sdar"), rows, named) != codd.generate(load_blocks("sdar"), rows, own)
        assert not named.draws(coupled=False) and departures_of(vars(named)) == departures_of(vars(plain))
        assert "rule=sdar_greedy" in rule_of(vars(named)).split()
