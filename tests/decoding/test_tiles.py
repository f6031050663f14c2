"""A circuit in decoders that mask again: against enumeration, against its rule written out, and as properties."""

import math
from importlib import import_module

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.circuits.hmm import HMM
from lm_eval_codd.decoding import candidates
from lm_eval_codd.decoding import logits as logits_in_pieces
from lm_eval_codd.decoding.canvas import Canvas, Drafts, Ids
from lm_eval_codd.decoding.coupling.tiles import Tiles
from lm_eval_codd.settings import TILED
from tests.decoding.test_coupling import EOS, LATENTS, MASK, VOCAB, WINDOW, FixedBackbone, exact_joint, random_circuit
from tests.decoding.test_loop import PROMPTS
from tests.device_waits import Operations

NUMBER = 5_000
TAU = 0.7
SMALL = {"gen_length": 20, "num_steps": 8, "stop_at_eos": False, "pc_frac": 0.9}
VARIANTS = [
    {"decoder": "p2"},
    {"decoder": "p2", "eta": 3.0, "temperature": 0.8},
    {"decoder": "p2", "form": "paper", "score": "logp", "cfg_scale": 0.5},
    {"decoder": "p2", "score": "diff_top2", "pc_sampling": "marginal"},
    {"decoder": "open_dllm"},
    {"decoder": "open_dllm", "variant": "p2_upgraded", "temperature": 0.8, "top_p": 0.9, "top_k": 30},
    {"decoder": "open_dllm", "variant": "p2_upgraded_remdm", "pc_sampling": "map"},
    {"decoder": "corrective", "threshold": 0.02, "pc_frac": 1.5},
    {"decoder": "corrective", "remask_schedule": "linear", "temperature": 1.0},
    {"decoder": "corrective", "mad_k": 0.5},
]


def two_tiles(seed=2):
    """Logits at two windows after a prompt of one token, of which the mask has none."""
    table = torch.randn(2 * WINDOW, VOCAB, generator=torch.Generator().manual_seed(seed))
    table[:, MASK] = -torch.inf
    return FixedBackbone(table)


def counts_of(backbone, circuit, draft, decoder):
    """How often each window of three comes out of one step that decides all masks, from a draft."""
    config = codd.DecodingConfig(decoder=decoder, num_steps=1, temperature=1.0, pc_frac=1.5, stop_at_eos=False)
    rows = {"drafts": [draft] * NUMBER, "repeats": list(range(NUMBER))}
    outputs = codd.generate(backbone, [[0]] * NUMBER, config, circuit=circuit, **rows)
    assert {output.num_circuit for output in outputs} == {math.ceil(len(draft) / WINDOW)}
    tokens = torch.tensor([output.tokens for output in outputs])
    shape = (VOCAB,) * len(draft)
    place = sum(tokens[:, t] * VOCAB ** (len(draft) - 1 - t) for t in range(len(draft)))
    return torch.bincount(place, minlength=VOCAB ** len(draft)).view(shape).double()


def assert_drawn_from(counts, joint):
    expected = counts.sum() * joint
    assert counts[expected == 0].sum() == 0
    often = expected > 5
    chi_square = ((counts - expected)[often] ** 2 / expected[often]).sum()
    freedom = int(often.sum()) - 1
    assert freedom > 2
    assert chi_square < freedom + 5 * (2 * freedom) ** 0.5


class TestDrawsAgainstEnumeration:
    @pytest.mark.parametrize("decoder", TILED)
    def test_a_tiles_masks_come_from_the_exact_joint(self, decoder):
        circuit, backbone = random_circuit(VOCAB, WINDOW, LATENTS), two_tiles()
        counts = counts_of(backbone, circuit, [MASK] * WINDOW, decoder)
        assert_drawn_from(counts, exact_joint(circuit, backbone.table[:WINDOW], TAU))

    @pytest.mark.parametrize("decoder", TILED)
    def test_given_the_tokens_that_stand_there(self, decoder):
        circuit, backbone = random_circuit(VOCAB, WINDOW, LATENTS), two_tiles()
        evidence = backbone.table[:WINDOW].clone()
        evidence[1] = torch.full((VOCAB,), -torch.inf).index_fill(0, torch.tensor([2]), 0.0)
        counts = counts_of(backbone, circuit, [MASK, 2, MASK], decoder)
        assert_drawn_from(counts, exact_joint(circuit, evidence, TAU))

    @pytest.mark.parametrize("decoder", TILED)
    def test_what_a_short_last_tile_lacks_is_summed_out(self, decoder):
        """An answer of five: a whole tile, of which two are given, and two of the three positions of another."""
        circuit, backbone = random_circuit(VOCAB, WINDOW, LATENTS), two_tiles()
        first = backbone.table[:WINDOW].clone()
        first[:2] = torch.full((2, VOCAB), -torch.inf)
        first[0, 1] = first[1, 3] = 0.0
        second = torch.cat([backbone.table[WINDOW : WINDOW + 2], torch.zeros(1, VOCAB)])
        joint = torch.einsum(
            "abc,de->abcde", exact_joint(circuit, first, TAU), exact_joint(circuit, second, TAU).sum(2)
        )
        assert_drawn_from(counts_of(backbone, circuit, [1, 3, MASK, MASK, MASK], decoder), joint)

    def test_which_is_no_product_nor_what_an_end_token_there_would_make_of_it(self):
        circuit, backbone = random_circuit(VOCAB, WINDOW, LATENTS), two_tiles()
        own, end = backbone.table[WINDOW : WINDOW + 2], torch.full((1, VOCAB), -torch.inf)
        end[0, EOS] = 0.0
        joint, with_end = (
            exact_joint(circuit, torch.cat([own, last]), TAU).sum(2) for last in (torch.zeros(1, VOCAB), end)
        )
        for other in (joint.sum(1)[:, None] * joint.sum(0), with_end):
            assert (joint - other).abs().sum() > 0.5


class TestScores:
    """A circuit of one latent draws nothing, so that the coupled logits are known: tempered ones plus its emission."""

    CIRCUIT = HMM(torch.ones(1), torch.ones(1, 1), torch.tensor([[0.5, 0.1, 0.3, 0.05, 0.05]]), WINDOW)

    def events(self, backbone, draft, **settings):
        events = []
        config = codd.DecodingConfig(num_steps=3, pc_frac=1.5, stop_at_eos=False, **settings)
        given = {"drafts": [draft], "fixed": [[False] * len(draft)], "on_step": events.append}
        codd.generate(backbone, [[0]], config, circuit=self.CIRCUIT, **given)
        return events

    @pytest.mark.parametrize(
        "settings",
        [
            {"decoder": "corrective"},
            {"decoder": "open_dllm", "variant": "p2_upgraded"},
            {"decoder": "open_dllm"},
            {"decoder": "p2", "form": "paper"},
        ],
        ids=str,
    )
    def test_masked_positions_have_those_of_the_coupled_logits_and_visible_ones_the_backbones(self, settings):
        backbone, draft = two_tiles(), [MASK, 2, MASK, 1, MASK]
        coupled = (backbone.table / TAU + self.CIRCUIT.emission.log()).double().softmax(-1)
        alone = backbone.table.double().softmax(-1)
        current = settings["decoder"] == "corrective" or "variant" in settings
        (event, *_) = self.events(backbone, draft, **settings)
        assert event.columns[0].tolist() == [0, 1, 2, 3, 4]
        for place, token in enumerate(draft):
            scores = coupled[place] if token == MASK else alone[place]
            best = token if token != MASK and current else int(scores.argmax())
            assert float(event.confidence[0, place]) == pytest.approx(float(scores[best]), abs=1e-6)
            if token == MASK:
                assert int(event.tokens[0, place]) in (best, MASK)

    def test_what_the_circuit_rules_out_stays_with_the_backbone_and_is_counted(self):
        circuit = HMM(torch.ones(1), torch.ones(1, 1), torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0]]), WINDOW)
        table = torch.full((2 * WINDOW, VOCAB), -torch.inf)
        table[:, 2] = 0.0
        table[WINDOW:, 1] = -5.0
        config = codd.DecodingConfig(decoder="p2", num_steps=1, gen_length=2 * WINDOW, pc_frac=1.5)
        (output,) = codd.generate(FixedBackbone(table), [[0]], config, circuit=circuit)
        assert output.tokens == [2] * WINDOW + [1] * WINDOW
        assert (output.num_circuit, output.num_impossible, output.num_nonfinite) == (2, 1, 0)


def rule(answer, fixed, config, window):
    """(tile, which of its positions take coupled logits, which are silent) of each open tile of one row's answer."""
    found = []
    for start in range(0, len(answer), window):
        tokens, stays = answer[start : start + window], fixed[start : start + window]
        masked = [token == MASK for token in tokens]
        takes = [mask and not stay for mask, stay in zip(masked, stays, strict=True)]
        share = sum(masked) / len(tokens)
        is_open = share > config.pc_frac if config.reverse_frac else share < config.pc_frac
        if is_open and any(takes):
            beyond = window - len(tokens)
            silent = [mask and stay for mask, stay in zip(masked, stays, strict=True)] + [True] * beyond
            found.append((start // window, takes + [False] * beyond, silent))
    return found


class TestTheRule:
    @pytest.mark.parametrize("settings", [{"pc_frac": 0.6}, {"pc_frac": 2.0}, {"pc_frac": 0.5, "reverse_frac": True}])
    @pytest.mark.parametrize("seed", range(6))
    def test_open_tiles_of_rows_of_different_lengths(self, seed, settings):
        generator = torch.Generator().manual_seed(seed)
        lengths, window = [11, 1, 8, 20, 3, 0, 12], 4
        drafts = [torch.randint(1, 3, (n,), generator=generator).mul(2).tolist() for n in lengths]  # 2, or a mask
        fixed = [(torch.rand(n, generator=generator) < 0.3).tolist() for n in lengths]
        canvas = Canvas.from_prompts(
            PROMPTS,
            20,
            Ids(MASK, (EOS,)),
            seed=0,
            repeats=[0] * len(PROMPTS),
            device=torch.device("cpu"),
            drafts=Drafts(drafts, fixed),
        )
        config = codd.DecodingConfig(decoder="p2", **settings)
        windows = Tiles(config, random_circuit(VOCAB, window, 2)).windows(canvas)
        expected = [
            (row, canvas.answer_start + window * tile, takes, silent)
            for row, (draft, stays) in enumerate(zip(drafts, fixed, strict=True))
            for tile, takes, silent in rule(draft, stays, config, window)
        ]
        found = zip(windows.row, windows.columns[:, 0], windows.takes, windows.silent, strict=True)
        assert [(int(a), int(b), c.tolist(), d.tolist()) for a, b, c, d in found] == expected
        assert windows.num_masked == sum(sum(takes) + sum(silent) for _, _, takes, silent in expected)
        assert torch.equal(windows.columns - windows.columns[:, :1], torch.arange(window).expand(len(expected), -1))

    def test_the_ratio_is_of_the_rows_own_positions(self):
        """Two masks of a last tile of two are all of it, not two of eight."""
        draft = [5] * 8 + [511, 511]
        circuit, backbone = random_circuit(512, 8, 3), FixedBackbone(torch.zeros(10, 512))
        backbone.mask_id, backbone.vocab_size = 511, 512
        for frac, expected in ((0.5, 0), (1.5, 1)):
            config = codd.DecodingConfig(decoder="p2", num_steps=1, pc_frac=frac)
            (output,) = codd.generate(backbone, [[0]], config, circuit=circuit, drafts=[draft])
            assert output.num_circuit == expected


class TestGates:
    @pytest.mark.parametrize("settings", VARIANTS, ids=str)
    def test_one_that_never_opens_changes_nothing(self, backbone, settings):
        config = codd.DecodingConfig(**{**SMALL, **settings, "pc_frac": 0.0})
        circuit = random_circuit(backbone.vocab_size, 8, 3)
        assert codd.generate(backbone, PROMPTS, config, circuit=circuit) == codd.generate(backbone, PROMPTS, config)

    @pytest.mark.parametrize("settings", VARIANTS, ids=str)
    def test_a_circuit_that_knows_nothing_changes_no_token(self, backbone, settings):
        size = backbone.vocab_size
        flat = HMM(torch.ones(1), torch.ones(1, 1), torch.full((1, size), 1 / size), 8)
        config = codd.DecodingConfig(**{**SMALL, **settings, "pc_frac": 1.5, "pc_temperature": 1.0})
        coupled = codd.generate(backbone, PROMPTS, config, circuit=flat)
        alone = codd.generate(backbone, PROMPTS, config)
        assert [output.tokens for output in coupled] == [output.tokens for output in alone]
        assert all(output.num_circuit for output in coupled)

    def test_one_that_knows_everything_has_its_way(self, backbone):
        wanted = torch.arange(20, 28)
        emission = torch.full((8, 1, backbone.vocab_size), 1e-30)
        emission[torch.arange(8), 0, wanted] = 1.0
        sure = HMM(torch.ones(1), torch.ones(7, 1, 1), emission, 8)
        config = codd.DecodingConfig(**{**SMALL, "pc_frac": 1.5}, decoder="p2")
        (output,) = codd.generate(backbone, PROMPTS[:1], config, circuit=sure)
        assert output.tokens == (wanted.tolist() * 3)[:20]

    @pytest.mark.parametrize("frac", [0.3, 0.9])
    def test_one_evaluation_is_counted_for_each_open_tile(self, backbone, frac):
        mask, events = backbone.mask_id, []
        config = codd.DecodingConfig(**{**SMALL, "pc_frac": frac}, decoder="open_dllm", variant="p2_upgraded")
        circuit = random_circuit(backbone.vocab_size, 8, 3)
        (output,) = codd.generate(backbone, PROMPTS[:1], config, circuit=circuit, on_step=events.append)
        answers = [[mask] * 20, *(event.answer[0].tolist() for event in events[:-1])]
        tiles = [answer[start : start + 8] for answer in answers for start in (0, 8, 16)]
        assert output.num_circuit == sum(0 < tile.count(mask) / len(tile) < frac for tile in tiles) > 0
        assert int(events[-1].num_circuit) == output.num_circuit


class TestARowIsAlone:
    @pytest.mark.parametrize("settings", VARIANTS, ids=str)
    def test_batches_of_1_and_of_7_decode_alike(self, backbone, settings):
        circuit, config = random_circuit(backbone.vocab_size, 8, 6), codd.DecodingConfig(**{**SMALL, **settings})
        alone = [codd.generate(backbone, [prompt], config, circuit=circuit)[0] for prompt in PROMPTS]
        assert codd.generate(backbone, PROMPTS, config, circuit=circuit) == alone
        assert codd.generate(backbone, PROMPTS, config, circuit=circuit, batch_size=3) == alone
        assert all(output.num_circuit for output in alone)
        assert [one.tokens for one in alone] != [one.tokens for one in codd.generate(backbone, PROMPTS, config)]

    @pytest.mark.parametrize("settings", VARIANTS, ids=str)
    def test_so_they_do_from_drafts_of_different_lengths_with_fixed_masks(self, backbone, settings):
        circuit, config = random_circuit(backbone.vocab_size, 8, 6), codd.DecodingConfig(**{**SMALL, **settings})
        lengths = range(5, 5 + 4 * len(PROMPTS), 4)
        drafts = [[backbone.mask_id if place % 3 else 40 + place for place in range(length)] for length in lengths]
        fixed = [[place % 5 == 1 for place in range(len(draft))] for draft in drafts]
        given = {"drafts": drafts, "fixed": fixed}
        together = codd.generate(backbone, PROMPTS, config, circuit=circuit, batch_size=3, **given)
        for prompt, draft, mine, output in zip(PROMPTS, drafts, fixed, together, strict=True):
            alone = codd.generate(backbone, [prompt], config, circuit=circuit, drafts=[draft], fixed=[mine])
            assert alone == [output]
            assert output.tokens[1::5] == draft[1::5]

    def test_with_a_planner_too_which_sees_what_the_circuit_chose(self, backbone):
        circuit, config = random_circuit(backbone.vocab_size, 8, 6), codd.DecodingConfig(**SMALL, decoder="p2")
        alone = [codd.generate(backbone, [p], config, circuit=circuit, planner=backbone)[0] for p in PROMPTS]
        together = codd.generate(backbone, PROMPTS, config, circuit=circuit, planner=backbone, batch_size=3)
        assert together == alone
        assert all(output.num_planner and output.num_circuit for output in alone)

    def test_repetitions_of_a_prompt_draw_latents_of_their_own(self, backbone):
        circuit, config = random_circuit(backbone.vocab_size, 8, 6), codd.DecodingConfig(**SMALL, decoder="p2")
        repeats = [0, 1, 2]
        outputs = codd.generate(backbone, [PROMPTS[0]] * 3, config, circuit=circuit, repeats=repeats)
        assert len({tuple(output.tokens) for output in outputs}) > 1


class TestCost:
    @pytest.mark.parametrize("settings", VARIANTS, ids=str)
    def test_a_step_waits_for_nothing_but_its_counts_and_gates(self, backbone, settings, monkeypatch):
        circuit = random_circuit(backbone.vocab_size, 8, 4, sharpness=1.0)
        assert circuit.always_possible
        read, tolist = [], torch.Tensor.tolist
        config = codd.DecodingConfig(**{**SMALL, **settings})
        with Operations() as operations:
            monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: read.append(tensor.shape) or tolist(tensor))
            (output,) = codd.generate(backbone, PROMPTS[:1], config, circuit=circuit)
            monkeypatch.undo()
        assert operations.num_waits == 0
        gates = [shape for shape in read if shape == (1, 3)]
        counts = [shape for shape in read if shape == (3, 1)]
        assert (len(gates), len(counts)) == (output.num_forward, output.num_forward + 1)

    def test_logits_of_visible_positions_never_exist_at_once(self, backbone, monkeypatch):
        circuit, drafts = random_circuit(backbone.vocab_size, 8, 6), [[5, 6, backbone.mask_id, 7] * 8] * len(PROMPTS)
        config = codd.DecodingConfig(decoder="corrective", remask_schedule="fixed_0.1", num_steps=3, pc_frac=1.0)
        expected = codd.generate(backbone, PROMPTS, config, circuit=circuit, drafts=drafts)
        num_rows, head = [], backbone.head
        monkeypatch.setattr(backbone, "head", lambda hidden, out=None: num_rows.append(len(hidden)) or head(hidden))
        monkeypatch.setattr(candidates, "rows_at_a_time", lambda logits: 5)
        monkeypatch.setattr(logits_in_pieces, "_ROOM", 0)
        assert codd.generate(backbone, PROMPTS, config, circuit=circuit, drafts=drafts) == expected
        assert max(num_rows) == 8 * len(PROMPTS)  # the masks of the first step, of 32 positions a row


class TestCircuitsOfOtherKinds:
    @pytest.mark.parametrize("settings", VARIANTS, ids=str)
    def test_a_float64_circuit_decodes_too_in_float32(self, backbone, settings, monkeypatch):
        circuit, config = random_circuit(backbone.vocab_size, 8, 6), codd.DecodingConfig(**{**SMALL, **settings})
        single = codd.generate(backbone, PROMPTS[:2], config, circuit=circuit)
        dtypes, tempered = set(), candidates.tempered_support
        for name in ("path_planning", "open_dllm", "corrective"):
            module = import_module(f"lm_eval_codd.decoding.decoders.{name}")
            spy = lambda logits, config: dtypes.add(logits.dtype) or tempered(logits, config)  # noqa: E731
            monkeypatch.setattr(module, "tempered_support", spy)
        assert codd.generate(backbone, PROMPTS[:2], config, circuit=circuit.to(torch.float64)) == single
        assert dtypes <= {torch.float32}


class TestSettings:
    @pytest.mark.parametrize("decoder", TILED)
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"pc_sampling": "any_order"},
                "`pc_sampling=any_order` commits .*, and `decoder={}` writes them at once; use",
            ),
            ({"pc_windows": "cover"}, "`pc_windows=cover` is read by decoder=unmasking, not by `decoder={}`"),
        ],
    )
    def test_what_cannot_be_is_one_line(self, decoder, settings, message):
        with pytest.raises(ValueError, match=message.format(decoder)):
            codd.DecodingConfig(decoder=decoder, **settings)

    @pytest.mark.parametrize("decoder", TILED)
    def test_a_window_may_be_longer_than_the_answer(self, backbone, decoder):
        circuit = random_circuit(backbone.vocab_size, 32, 3)
        config = codd.DecodingConfig(**{**SMALL, "gen_length": 5, "pc_frac": 1.5}, decoder=decoder)
        outputs = codd.generate(backbone, PROMPTS, config, circuit=circuit)
        assert all(output.num_circuit and len(output.tokens) == 5 for output in outputs)


def test_every_decoder_that_masks_again_is_here():
    assert {settings["decoder"] for settings in VARIANTS} == set(TILED)
