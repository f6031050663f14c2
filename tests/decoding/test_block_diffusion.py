"""The block decoder: its families' official decodes, rows that never touch each other, and what is not copied."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.backbones import Backbone
from lm_eval_codd.settings import approximations_of, departures_of, rule_of

# Those that have a family of their own; bd3lm is A2D's.
RULES = ("sdar", "llada2", "llada21", "fast_dllm_v2")
A2D = ("a2d_qwen2", "a2d_qwen3", "a2d_llama")
VOCAB, MASK = 113, 111

# The settings of a case by their names here.
NAMES = {
    **{"max_new_tokens": "gen_length", "block_size": "block_length", "small_block_size": "small_block_length"},
    **{"steps": "num_steps", "denoising_steps": "num_steps", "confidence_threshold": "threshold"},
    **{"minimal_topk": "minimal_per_step", "remasking_strategy": "remask", "stop_token": "eos_id"},
}
# Few steps and low thresholds, so that rows finish their blocks at different steps.
QUICK = {
    "sdar": {"block_length": 4, "threshold": 0.4},
    "sdar_greedy": {"block_length": 4, "threshold": 0.4},
    "llada2": {"block_length": 8, "threshold": 0.3},
    "llada21": {"block_length": 8, "threshold": 0.3, "editing_threshold": 0.3, "max_post_steps": 4},
    "fast_dllm_v2": {"block_length": 8, "threshold": 0.3, "small_block_length": 4},
    "bd3lm": {"block_length": 8, "num_steps": 4},
}
LENGTHS = (3, 8, 13, 5, 16, 11, 1)


class Recomputing:
    """A backbone without caches: everything is computed anew in every step."""

    def __init__(self, backbone: Backbone, favours_mask: float = 0.0) -> None:
        self._backbone, self._favours_mask = backbone, favours_mask
        self.family, self.mask_id, self.eos_id, self.eot_id = backbone.family, backbone.mask_id, backbone.eos_id, None
        self.vocab_size = backbone.vocab_size
        self.fed: list[torch.Tensor] = []

    def logits(self, tokens, attention_mask=None, positions=None):
        self.fed.append(tokens.clone())
        logits = self._backbone.logits(tokens, attention_mask, positions).clone()
        logits[..., MASK] += self._favours_mask
        return logits


@pytest.fixture(scope="module")
def load(golden_dir: Path):
    """(family, block length) -> its golden backbone, each loaded once."""
    loaded = {}

    def _load(name: str, block_length: int | None = None) -> Backbone:
        block_length = block_length or QUICK[name]["block_length"]
        if (name, block_length) not in loaded:
            folder = golden_dir / "families" / ("a2d_qwen3" if name == "bd3lm" else name)
            facts = json.loads((folder / "facts.json").read_text())
            ids = {"mask_id": facts["mask_id"], "eos_id": facts["eos_id"]}
            loaded[name, block_length] = codd.load_backbone(
                folder, attention="block", block_length=block_length, device="cpu", **ids
            )
        return loaded[name, block_length]

    return _load


def config_of(rule: str, **given) -> codd.DecodingConfig:
    return codd.DecodingConfig(**{"decoder": "block_diffusion", "rule": rule, "gen_length": 16, **QUICK[rule], **given})


def prompts(lengths=LENGTHS) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(6, MASK, (length,), generator=generator).tolist() for length in lengths]


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
    def test_every_token_and_every_forward_is_the_familys_own(self, load, golden_dir, rule, keeps):
        wrong, rows = [], cases(golden_dir, rule)
        for case in rows if keeps else rows[::4]:
            config, prompt, answer = settings_of(rule, case)
            backbone = load(rule, config.block_length)
            (got,) = codd.generate(backbone if keeps else Recomputing(backbone), [prompt], config)
            length = min(len(answer), config.gen_length)
            if (got.tokens[:length], got.num_forward) != (answer[:length], case["num_forward"]):
                wrong.append(case["name"])
        assert len(rows) >= 14 and not wrong

    def test_fast_dllm_v2s_whole_answer_where_gen_length_has_room_for_its_last_token(self, load, golden_dir):
        longer = 0
        for case in cases(golden_dir, "fast_dllm_v2"):
            config, prompt, answer = settings_of("fast_dllm_v2", case)
            longer += len(answer) > config.gen_length
            config = dataclasses.replace(config, gen_length=config.gen_length + 1)
            (got,) = codd.generate(load("fast_dllm_v2"), [prompt], config)
            filled = answer + [config.eos_id] * (config.gen_length - len(answer))
            assert (got.tokens, got.num_forward) == (filled, case["num_forward"]), case["name"]
        assert longer == 3

    def test_fast_dllm_v2s_block_cache_too_which_approximates(self, load, golden_dir):
        rows = cases(golden_dir, "fast_dllm_v2", block_cache=True)
        for case in rows:
            case["args"].pop("use_block_cache")
            config, prompt, answer = settings_of("fast_dllm_v2", case)
            config = dataclasses.replace(config, cache="dual")
            assert approximations_of(vars(config)) == ("cache=dual",)
            (got,) = codd.generate(load("fast_dllm_v2"), [prompt], config)
            length = min(len(answer), config.gen_length)
            assert (got.tokens[:length], got.num_forward) == (answer[:length], case["num_forward"]), case["name"]
        assert len(rows) == 5
        with pytest.raises(
            ValueError, match="`cache=dual` needs a backbone that keeps keys and values, and Recomputing"
        ):
            codd.generate(Recomputing(load("fast_dllm_v2")), [prompt], config)

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

    def test_a_block_that_a_family_numbers_from_the_prompts_start_is_begun_by_the_prompt(self, load):
        backbone = Recomputing(load("llada2"))
        codd.generate(backbone, [prompts()[2]], config_of("llada2", gen_length=3))
        assert {fed.shape[1] for fed in backbone.fed} == {16}  # 13 tokens and the rest of their block

    @pytest.mark.parametrize("rule", RULES)
    def test_an_end_token_saves_forwards_and_changes_no_token_before_it(self, load, rule):
        backbone, (prompt,) = load(rule), prompts(LENGTHS[2:3])
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
    def test_a_row_is_the_same_alone_in_a_batch_and_after_a_refill(self, load, rule, cfg_scale, temperature):
        backbone, rows = load(rule), prompts()
        config = config_of(rule, temperature=temperature, eos_id=40, cfg_scale=cfg_scale)
        alone = [codd.generate(backbone, [row], config)[0] for row in rows]
        assert codd.generate(backbone, rows, config) == alone
        assert codd.generate(backbone, rows, config, batch_size=3) == alone
        assert codd.generate(Recomputing(backbone), rows, config, batch_size=2) == alone

    def test_a_row_is_the_same_with_a_block_cache_too(self, load):
        backbone, rows, config = load("fast_dllm_v2"), prompts(), config_of("fast_dllm_v2", cache="dual", eos_id=40)
        alone = [codd.generate(backbone, [row], config)[0] for row in rows]
        assert codd.generate(backbone, rows, config, batch_size=3) == alone
        assert alone != codd.generate(backbone, rows, config_of("fast_dllm_v2", eos_id=40))

    @pytest.mark.parametrize("rule", [*RULES, "bd3lm"])
    def test_an_empty_prompt_is_answered(self, load, rule):
        # Its first block holds masks alone, equal at every position: rounding decides which are the surest.
        empty, other = codd.generate(load(rule), [[], prompts()[0]], config_of(rule))
        assert len(empty.tokens) == 16
        assert other == codd.generate(load(rule), [prompts()[0]], config_of(rule))[0]

    @pytest.mark.parametrize("rule", RULES)
    def test_a_circuit_couples_the_block_that_a_row_is_at(self, load, make_circuit, rule):
        backbone, rows = load(rule), prompts()[:4]
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
    def test_masks_in_a_prompt_that_opens_a_block_change_no_other_rows_coupling(self, load, make_circuit, rule):
        length = QUICK[rule]["block_length"]
        circuit = make_circuit(num_positions=length, vocab_size=VOCAB, dtype=torch.float32)
        config = config_of(rule, pc_frac=2.0, pc_sampling="map", threshold=0.9)
        rows = [[MASK, 9, MASK], [7, 8], [9, 8, MASK], *prompts((length + 1,))]
        alone = [codd.generate(load(rule), [row], config, circuit)[0] for row in rows]
        assert codd.generate(load(rule), rows, config, circuit) == alone

    def test_a_circuit_couples_what_a_shorter_last_block_has(self, load):
        rows = torch.rand(9 + VOCAB, 3, generator=torch.Generator().manual_seed(3))
        tables = [table.pow(4) / table.pow(4).sum(-1, keepdim=True) for table in (rows[0], rows[1:4], rows[9:].T)]
        whole, short = (codd.circuits.HMM(*tables, num_positions) for num_positions in (8, 3))
        settings = {"gen_length": 3, "num_steps": 1, "pc_frac": 2.0, "pc_sampling": "marginal"}
        answers = [
            codd.generate(load("bd3lm"), [[]], config_of("bd3lm", **settings, **more), circuit)[0]
            for more, circuit in (({}, whole), ({"block_length": 3}, short))
        ]
        assert answers[0].num_circuit == 1 and answers[0].tokens == answers[1].tokens
        longer = config_of("bd3lm", **{**settings, "gen_length": 12, "pc_sampling": "latent"})
        given = prompts((3, 16, 13))
        alone = [codd.generate(load("bd3lm"), [row], longer, whole)[0] for row in given]
        assert codd.generate(load("bd3lm"), given, longer, whole) == alone
        assert [one.num_circuit for one in alone] == [2, 2, 2]


class TestWhatIsNotCopied:
    """Of the authors' code: decodes that never end, crashes, and tokens of a prompt that are lost."""

    @pytest.mark.parametrize(
        ("rule", "most", "num_blocks"),
        [("sdar", 5, 5), ("llada2", 8, 3), ("llada21", 12, 3), ("fast_dllm_v2", 9, 2), ("bd3lm", 9, 2)],
    )
    def test_a_block_ends_where_the_mask_itself_is_predicted_and_is_counted(self, load, rule, most, num_blocks):
        backbone = Recomputing(load(rule), favours_mask=100.0)
        (got,) = codd.generate(backbone, [prompts()[2]], config_of(rule))  # 13 tokens, and 16 of an answer
        assert MASK in got.tokens
        assert got.num_forward <= most * num_blocks + 1  # and one for the prompt
        assert got.num_capped == num_blocks

    @pytest.mark.parametrize("rule", [*RULES, "bd3lm"])
    def test_only_blocks_that_were_left_with_masks_are_counted(self, load, rule):
        # Nothing but the first block's masks are predicted as masks.
        backbone, (row,) = Recomputing(load(rule)), prompts(LENGTHS[2:3])
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
        assert [one.num_capped for one in codd.generate(load(rule), [row], config_of(rule))] == [0]

    @pytest.mark.parametrize("remask", ["static", "dynamic", "sequential"])
    def test_sdar_never_writes_over_a_prompt_that_opens_a_block(self, load, remask):
        threshold = {} if remask == "dynamic" else {"threshold": None}
        for row in prompts((5, 6, 7)):
            backbone = Recomputing(load("sdar"), favours_mask=-100.0)
            config = config_of("sdar", num_steps=1, remask=remask, **threshold)
            (got,) = codd.generate(backbone, [row], config)
            assert all(fed[0, : len(row)].tolist() == row[: fed.shape[1]] for fed in backbone.fed)
            assert MASK not in got.tokens

    def test_sdar_from_the_left_never_writes_over_a_token_beyond_a_predicted_mask(self, load):
        # Officially a step writes its share of adjoining positions, from the first mask on, whatever stands there.
        backbone, (row,) = Recomputing(load("sdar", 8), favours_mask=-100.0), prompts((8,))
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

    def test_fast_dllm_v2_reads_a_prompt_of_exactly_one_block(self, load):
        first, second = prompts((8, 8))
        config = config_of("fast_dllm_v2", threshold=0.9)
        answers = codd.generate(load("fast_dllm_v2"), [first, second], config)
        assert answers[0].tokens != answers[1].tokens
        whole = load("fast_dllm_v2").logits(torch.tensor([[*first, MASK]]))
        assert answers[0].tokens[0] == int(whole[0, 8].argmax())

    @pytest.mark.parametrize("stop_at_eos", [True, False])
    def test_fast_dllm_v2s_shorter_answers_are_filled_up_to_gen_length(self, load, stop_at_eos):
        eos = VOCAB - 1
        config = config_of("fast_dllm_v2", gen_length=20, stop_at_eos=stop_at_eos, eos_id=eos)
        (got,) = codd.generate(load("fast_dllm_v2"), prompts((11,)), config)
        (official,) = codd.generate(load("fast_dllm_v2"), prompts((11,)), dataclasses.replace(config, gen_length=16))
        # Two blocks fit, the first of them begun by three tokens of the prompt, and one token more.
        assert got.tokens == official.tokens[:14] + [eos] * 6 and eos not in got.tokens[:14]
        assert (got.num_answer_tokens, got.num_forward) == (14, official.num_forward)
        assert len(official.tokens) == 16

    def test_a_mask_that_fast_dllm_v2_appends_is_decided_alike_without_a_cache(self, load):
        backbone, (row,) = load("fast_dllm_v2"), prompts((8,))
        first = int(backbone.logits(torch.tensor([row]), positions=torch.tensor([[8]])).argmax())
        config = config_of("fast_dllm_v2", small_block_length=1, mask_id=first)
        kept = codd.generate(backbone, [row], config)
        assert codd.generate(Recomputing(backbone), [row], config) == kept

    def test_sdars_own_greedy_is_sure_of_every_token_and_a_true_one_is_not(self, load):
        row = prompts()[2]
        true = config_of("sdar", threshold=0.95)
        own = config_of("sdar", threshold=0.95, temperature=1.0, top_k=1)
        sure = {name: [] for name in ("true", "own")}
        for name, config in (("true", true), ("own", own)):
            codd.generate(
                load("sdar"), [row], config, on_step=lambda event, name=name: sure[name].append(event.confidence)
            )
        assert torch.cat(sure["own"], 1).unique().tolist() == [1.0]
        assert torch.cat(sure["true"], 1).min() < 0.9
        assert "top_k=1" in departures_of(vars(true))[0] and not departures_of(vars(own))

    @pytest.mark.parametrize("remask", ["dynamic", "static"])
    def test_sdars_true_greedy_has_a_name_of_its_own_and_cannot_draw(self, load, remask):
        named, plain, own = (
            config_of(rule, remask=remask, threshold=0.5 if remask == "dynamic" else None, **given)
            for rule, given in (
                ("sdar_greedy", {}),
                ("sdar", {}),
                ("sdar", {"temperature": 1.0, "top_k": 1}),
            )
        )
        rows = prompts()
        assert codd.generate(load("sdar"), rows, named) == codd.generate(load("sdar"), rows, plain)
        assert codd.generate(load("sdar"), rows, named) != codd.generate(load("sdar"), rows, own)
        assert not named.draws(coupled=False) and departures_of(vars(named)) == departures_of(vars(plain))
        assert "rule=sdar_greedy" in rule_of(vars(named)).split()


class TestRefusals:
    @pytest.mark.parametrize(
        ("rule", "given", "message"),
        [
            ("sdar", {"editing_threshold": 0.9}, "`editing_threshold=0.9` is read by rule=llada21, not by `rule=sdar`"),
            (
                "llada21",
                {"num_steps": 8},
                "`num_steps=8` is read by rule=sdar or rule=sdar_greedy or rule=llada2 or rule=bd3lm, not by",
            ),
            ("sdar_greedy", {"temperature": 1.0}, "`temperature=1` is read by rule=sdar or rule=llada2 or"),
            ("sdar_greedy", {"top_k": 1}, "`top_k=1` is read by rule=sdar or rule=llada2 or rule=llada21, not by"),
            ("sdar_greedy", {"top_p": 0.9}, "`top_p=0.9` is read by rule=sdar or rule=llada2 or rule=llada21 or"),
            ("sdar", {"remask": "static", "threshold": 0.5}, "`threshold=0.5` is read by remask=dynamic"),
            ("sdar", {"cfg_scale": 1.0}, "`cfg_scale=1` goes with `rule=bd3lm`, whose authors have guidance, not with"),
            ("sdar", {"pc_sampling": "any_order"}, "`pc_sampling=any_order` commits"),
            ("sdar", {"cache": "dual"}, "`cache=dual` is read by rule=fast_dllm_v2, not by `rule=sdar`"),
            ("fast_dllm_v2", {"cache": "prefix"}, "`cache=prefix` does nothing with `decoder=block_diffusion`"),
            ("fast_dllm_v2", {"small_block_length": 3}, "`small_block_length=3` does not divide `block_length=8`; use"),
            ("fast_dllm_v2", {"gen_length": 7}, "`gen_length=7` is less than a block of `block_length=8`"),
            ("llada3", {}, "`rule=llada3` is not known; use one of sdar, sdar_greedy"),
        ],
    )
    def test_a_setting_that_the_rule_does_not_read(self, rule, given, message):
        with pytest.raises(ValueError) as error:
            codd.DecodingConfig(
                **{"decoder": "block_diffusion", "rule": rule, "gen_length": 24, **QUICK.get(rule, {}), **given}
            )
        assert str(error.value).startswith(message)

    def test_another_decoder_on_a_block_causal_checkpoint(self, load):
        with pytest.raises(ValueError, match="`decoder=unmasking` looks at whole answers, and this sdar check"):
            codd.generate(load("sdar"), [[7]], codd.DecodingConfig(gen_length=32))

    def test_a_checkpoint_that_sees_both_ways(self, golden_dir):
        folder = golden_dir / "families" / "a2d_qwen3"
        backbone = codd.load_backbone(folder, mask_id=MASK, eos_id=5, device="cpu")
        with pytest.raises(ValueError, match="`decoder=block_diffusion` has no rule for llada checkpoints; give rule="):
            codd.DecodingConfig(decoder="block_diffusion").with_rule("llada")
        with pytest.raises(ValueError, match="this a2d one's attention is full; use decoder=unmasking"):
            codd.generate(backbone, [[7]], config_of("sdar"))

    def test_blocks_of_another_length_than_the_checkpoints_are_said(self, load, caplog):
        codd.generate(load("sdar"), [[7]], config_of("sdar", block_length=8))
        assert "`block_length=8` is decoded with, and the checkpoint's own blocks are of 4" in caplog.text


class TestDefaults:
    def test_a_familys_own_decoder_rule_and_thresholds(self):
        sdar = codd.DecodingConfig.for_family("sdar")
        assert (sdar.decoder, sdar.rule, sdar.block_length, sdar.num_steps) == ("block_diffusion", "sdar", 4, 4)
        assert (sdar.remask, sdar.threshold, sdar.editing_threshold) == ("dynamic", 0.85, None)
        assert codd.DecodingConfig.for_family("sdar", remask="static").threshold is None
        edits = codd.DecodingConfig.for_family("llada2", rule="llada21")
        assert (edits.threshold, edits.editing_threshold, edits.max_post_steps) == (0.95, 0.9, 16)

    def test_the_rule_of_the_backbones_family_where_none_is_given(self, load):
        given = codd.DecodingConfig(decoder="block_diffusion", block_length=8, gen_length=16)
        named = codd.DecodingConfig(decoder="block_diffusion", block_length=8, gen_length=16, rule="llada2")
        assert codd.generate(load("llada2"), [[7]], given) == codd.generate(load("llada2"), [[7]], named)
