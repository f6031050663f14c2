"""P2 against its authors' own code on a formula in place of a model, and what holds beyond it."""

import itertools
import json
import math
from pathlib import Path

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.decoding.candidates import Support
from lm_eval_codd.decoding.decoders import path_planning
from lm_eval_codd.decoding.decoders.revision import Plan
from lm_eval_codd.settings import decoder_options as options
from tests.decoding.stub_backbone import StubBackbone
from tests.decoding.test_batches import an_end
from tests.decoding.test_loop import PROMPTS

FOLDER = Path(__file__).parent.parent / "golden" / "decoders"
MASK = 31
SMALL = {"decoder": "p2", "gen_length": 24, "num_steps": 8}


def cases(name: str) -> list[dict]:
    return json.loads((FOLDER / name).read_text())["cases"]


# Left out: `p2_plus_sampling`, another decoder (one order for the whole batch, no remasking).
CASES = [case for case in cases("p2.json") if case["fn"] == "p2_sampling"] + cases("p2_ties.json")


def config_of(case, **settings) -> codd.DecodingConfig:
    params = case["params"]
    given = {name: params[name] for name in ("num_steps", "eta", "kappa") if name in params}
    given |= {"temperature": params["tau"], "score": params.get("score_fn", "logp")}
    return codd.DecodingConfig(decoder="p2", stop_at_eos=False, **{**given, **settings})


def split(row: list[int], as_draft: bool) -> dict:
    """A golden's row as a prompt and masks, or all of it as a draft."""
    if as_draft:
        return {"prompts": [[]], "drafts": [row]}
    start = row.index(MASK) if MASK in row else len(row)
    return {"prompts": [row[:start]], "drafts": [row[start:]]}


class TestItIsTheOfficialDecode:
    @pytest.mark.parametrize("as_draft", [False, True], ids=["prompt", "draft"])
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
    def test_states_output_and_evaluations(self, case, as_draft):
        for index, row in enumerate(case["xt"]):
            backbone = StubBackbone(case["stub"])
            planner = case["planner_stub"] and StubBackbone(case["planner_stub"])
            request = split(row, as_draft)
            (output,) = codd.generate(backbone, config=config_of(case), planner=planner, **request)
            assert request["prompts"][0] + output.tokens == case["output"][index]
            # The steps after those change nothing: nothing is masked, and nothing will be.
            calls = [[call[index]] for call in case["calls"]]
            assert backbone.calls == calls[: output.num_forward]
            assert all(call == [case["output"][index]] for call in calls[output.num_forward :])
            if planner:
                assert planner.calls == [[call[index]] for call in case["planner_calls"]]
            assert output.num_planner == (output.num_forward if planner else 0)

    def test_every_case_but_the_other_decoders_is_here(self):
        assert len(CASES) == 32

    def test_rows_of_one_batch_have_plans_of_their_own(self):
        case = next(case for case in CASES if case["id"] == "batch2_unequal_masks")
        backbone = StubBackbone(case["stub"])
        outputs = codd.generate(backbone, [[], []], config_of(case), drafts=case["xt"])
        assert [output.tokens for output in outputs] == case["output"]
        assert backbone.calls == case["calls"]

    @pytest.mark.parametrize(
        "case", cases("p2_schedule.json"), ids=lambda case: f"{case['kappa']}-{case['num_steps']}-{case['num_masked']}"
    )
    def test_counts(self, case):
        plan = Plan(path_planning.shares_of(case["kappa"], case["num_steps"]), torch.device("cpu"))
        variable = torch.ones(1, case["num_masked"], dtype=torch.bool)
        steps = range(case["num_steps"])
        assert [int(plan(torch.tensor([step]), variable)) for step in steps] == case["num_to_mask"]

    def test_the_plans_of_the_settings_are_those_of_the_decoder(self):
        assert tuple(path_planning.KAPPAS) == options.KAPPAS


class TestThePapersForm:
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
    def test_at_eta_1_it_is_the_released_one_where_no_scores_are_equal(self, case):
        if case["ties"] or "score_fn" in case["params"]:
            pytest.skip("scores that are equal, or another score")
        planner = case["planner_stub"] and StubBackbone(case["planner_stub"])
        outputs = [
            codd.generate(
                StubBackbone(case["stub"]),
                config=config_of(case, form=form, eta=1.0),
                planner=planner,
                **split(case["xt"][0], as_draft=True),
            )
            for form in ("released", "paper")
        ]
        assert outputs[0] == outputs[1]

    @pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 3.0])
    def test_as_many_as_planned_stay_those_with_the_largest_g(self, eta):
        """Equation 7 from the stub's own logits, a step at a time."""
        backbone, events = StubBackbone({"vocab": 32, "seed": 7, "bias": {"31": -3000}}), []
        config = codd.DecodingConfig(decoder="p2", form="paper", eta=eta, gen_length=16, num_steps=6, kappa="sine")
        codd.generate(backbone, [[5, 9, 14]], config, on_step=events.append)
        before = torch.full((16,), MASK)
        for number, event in enumerate(events):
            ids = torch.cat([torch.tensor([5, 9, 14]), before])[None]
            best = backbone.model.logits_for(ids)[0, 3:].double().softmax(dim=-1).max(dim=-1)
            weight = torch.where(before == MASK, eta, 1.0)
            num_kept = 16 - int(16 * (1 - math.sin(math.pi * (number + 1) / 12)))
            kept = torch.zeros(16, dtype=torch.bool)
            kept[(weight * best.values).argsort(descending=True, stable=True)[:num_kept]] = True
            expected = torch.where(kept, torch.where(before == MASK, best.indices, before), MASK)
            assert event.answer[0].tolist() == expected.tolist()
            before = expected
        assert len(events) == 5


class TestEta:
    def taken_back(self, backbone, **settings):
        counts = []
        config = codd.DecodingConfig(**{**SMALL, "num_steps": 12, **settings})
        codd.generate(backbone, PROMPTS, config, on_step=lambda event: counts.append(int(event.taken_back.sum())))
        return sum(counts)

    def test_none_takes_nothing_back_and_more_takes_more(self, backbone):
        none, some, more = (self.taken_back(backbone, eta=eta) for eta in (0.0, 1.0, 8.0))
        assert none == 0 < some < more

    def test_with_the_lead_as_score_the_sign_is_reversed(self, backbone):
        assert self.taken_back(backbone, score="diff_top2", eta=0.0) > self.taken_back(
            backbone, score="diff_top2", eta=8.0
        )

    def test_ancestral_sampling_only_commits(self, backbone):
        assert self.taken_back(backbone, score="random", eta=0.0, temperature=1.0) == 0


VARIANTS = [
    {"form": form, **extra}
    for form, extra in itertools.product(
        ["released", "paper"], [{}, {"eta": 0.4}, {"temperature": 0.8}, {"kappa": "poly05", "cfg_scale": 0.5}]
    )
] + [{"score": "diff_top2", "temperature": 0.5}, {"score": "random"}, {"num_steps": 30}]


class TestARowIsAlone:
    @pytest.mark.parametrize("planned", [False, True], ids=["alone", "planned"])
    @pytest.mark.parametrize("options", VARIANTS, ids=str)
    def test_batches_of_1_and_of_7_decode_alike(self, backbone, options, planned):
        planner = backbone if planned else None
        end = an_end(backbone, codd.DecodingConfig(stop_at_eos=False, **{**SMALL, **options}))
        config = codd.DecodingConfig(eos_id=end, **{**SMALL, **options})
        alone = [codd.generate(backbone, [prompt], config, planner=planner)[0] for prompt in PROMPTS]
        assert codd.generate(backbone, PROMPTS, config, planner=planner) == alone
        assert codd.generate(backbone, PROMPTS, config, planner=planner, batch_size=3) == alone

    @pytest.mark.parametrize("options", VARIANTS, ids=str)
    def test_so_they_do_from_drafts_of_different_lengths(self, backbone, options):
        mask = backbone.mask_id
        drafts = [[mask if place % 3 else 40 + place for place in range(5 + 4 * row)] for row in range(len(PROMPTS))]
        config = codd.DecodingConfig(stop_at_eos=False, **{**SMALL, **options})
        alone = [
            codd.generate(backbone, [prompt], config, drafts=[draft])[0]
            for prompt, draft in zip(PROMPTS, drafts, strict=True)
        ]
        assert codd.generate(backbone, PROMPTS, config, drafts=drafts, batch_size=3) == alone
        for draft, output in zip(drafts, alone, strict=True):
            assert all(
                new == old or old == mask for new, old in zip(output.tokens, draft, strict=True)
            )  # what is given stays


class TestEnds:
    def test_an_end_token_saves_no_step_and_cuts_the_answer(self, backbone):
        whole = codd.generate(backbone, PROMPTS, codd.DecodingConfig(stop_at_eos=False, **SMALL))
        end = an_end(backbone, codd.DecodingConfig(stop_at_eos=False, **SMALL))
        cut = codd.generate(backbone, PROMPTS, codd.DecodingConfig(eos_id=end, **SMALL))
        assert any(end in answer.tokens for answer in whole)
        for one, other in zip(whole, cut, strict=True):
            length = one.tokens.index(end) if end in one.tokens else len(one.tokens)
            assert other.tokens == one.tokens[:length] + [end] * (len(one.tokens) - length)
            assert (other.num_answer_tokens, other.num_forward) == (length, one.num_forward)


class TestScores:
    def test_sure_positions_are_told_apart_as_in_float64(self):
        # float32 gives log-probability 0 to all of these.
        values = torch.tensor([[0.0, -17.0, -18.0], [0.0, -18.0, -18.0], [0.0, -19.0, -30.0]])
        score = path_planning._log_probability(Support(values), torch.zeros(3, dtype=torch.int64), None)
        exact = values.double().log_softmax(dim=-1)[:, 0]
        assert torch.allclose(score, exact, rtol=1e-5, atol=0)
        assert values.log_softmax(dim=-1)[1:, 0].eq(0).all()

    def test_unlikely_tokens_too(self):
        values = torch.tensor([[0.0, -200.0, 3.0]])
        score = path_planning._log_probability(Support(values), torch.tensor([1]), None)
        assert torch.allclose(score, values.double().log_softmax(dim=-1)[:, 1], rtol=1e-6)


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"cache": "dual"}, "`cache=dual` is read by .*, not by `decoder=p2`"),
            ({"threshold": 0.9}, "`threshold=0.9` is read by .*, not by `decoder=p2`"),
            ({"block_length": 8}, "`block_length=8` is read by .*, not by `decoder=p2`"),
            ({"alg": "entropy"}, "`alg=entropy` is read by decoder=unmasking, not by `decoder=p2`"),
            ({"top_k": 5}, "`top_k=5` is read by .*, not by `decoder=p2`"),
            ({"eta": -1}, "`eta=-1` is out of range; it must be 0 or more"),
            ({"kappa": "sinus"}, r"`kappa=sinus` is not known; use one of linear, sine, .*\(did you mean sine\?\)"),
            ({"form": "paper", "score": "random"}, "`score=random` is not read with `form=paper`"),
            ({"num_steps": 0}, "`num_steps=0` is out of range"),
        ],
    )
    def test_what_it_does_not_read_or_cannot_be_is_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            codd.DecodingConfig(decoder="p2", **settings)

    def test_its_options_are_refused_by_others(self):
        with pytest.raises(ValueError, match=r"`eta=0\.5` is read by decoder=p2, not by `decoder=cad`"):
            codd.DecodingConfig(decoder="cad", eta=0.5)

    def test_steps_need_not_divide_the_answer(self):
        config = codd.DecodingConfig(decoder="p2", gen_length=300, num_steps=7)
        assert config.num_steps == 7 and not config.goes_by_blocks and not config.approximations
        assert codd.DecodingConfig(decoder="p2").num_steps == 256

    def test_a_familys_defaults_that_it_does_not_read_are_dropped(self):
        config = codd.DecodingConfig.for_family("dream", decoder="p2")
        assert (config.alg, config.top_k, config.top_p, config.temperature) == ("low_confidence", None, None, 0.2)

    def test_a_planner_of_another_vocabulary_is_refused(self):
        backbone, planner = StubBackbone({"vocab": 32}), StubBackbone({"vocab": 33})
        with pytest.raises(ValueError, match="planner's vocabulary of 33 tokens is not the backbone's of 32; use"):
            codd.generate(backbone, [[1]], codd.DecodingConfig(**SMALL), planner=planner)

    def test_a_planner_is_refused_by_other_decoders(self):
        backbone = StubBackbone({"vocab": 32})
        with pytest.raises(ValueError, match="`planner` is read by decoder=p2, not by `decoder=cad`"):
            codd.generate(backbone, [[1]], codd.DecodingConfig(decoder="cad"), planner=backbone)
