"""Open-dLLM's samplers against their authors' own code on a formula in place of a model."""

import json
from pathlib import Path

import pytest
import torch

import lm_eval_codd as codd
from tests.decoding.stub_backbone import StubBackbone
from tests.decoding.test_batches import an_end
from tests.decoding.test_loop import PROMPTS
from tests.decoding.test_path_planning import MASK, split

FOLDER = Path(__file__).parent.parent / "golden" / "decoders"
SMALL = {"decoder": "open_dllm", "gen_length": 24, "num_steps": 8}
ALL = json.loads((FOLDER / "open_dllm.json").read_text())["cases"]
CASES = [case for case in ALL if case["params"]["alg"].startswith("p2")]
# Its other algs (maskgit_plus, entropy, topk_margin) are unmasking's full paradigm.
OTHERS = [case for case in ALL if not case["params"]["alg"].startswith("p2")]
VARIANTS = ["p2", "p2_upgraded", "p2_upgraded_remdm"]


def config_of(case, **settings) -> codd.DecodingConfig:
    params = case["params"]
    given = {name: params[name] for name in ("top_p", "top_k") if name in params}
    given |= {"num_steps": params["steps"], "variant": params["alg"].lower()}
    return codd.DecodingConfig(decoder="open_dllm", stop_at_eos=False, **{**given, **settings})


class TestItIsTheOfficialDecode:
    @pytest.mark.parametrize("as_draft", [False, True], ids=["prompt", "draft"])
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
    def test_states_output_and_evaluations(self, case, as_draft):
        for index, row in enumerate(case["x"]):
            # The padding of a batch is part of the formula's input, so it stays where it is.
            backbone, states = StubBackbone(case["stub"]), []
            request = split(row, as_draft)
            prompt = request["prompts"][0]
            (output,) = codd.generate(
                backbone,
                config=config_of(case),
                on_step=lambda event, prompt=prompt, states=states: states.append(prompt + event.answer[0].tolist()),
                **request,
            )
            assert prompt + output.tokens == case["output"][index]
            assert backbone.calls == [[call[index]] for call in case["calls"]]
            assert states == [state[index] for state in case["history"]]
            assert output.num_forward == case["nfe"]

    def test_every_case_is_here(self):
        assert (len(CASES), len(OTHERS)) == (25, 9)

    @pytest.mark.parametrize("case", OTHERS, ids=lambda case: case["id"])
    def test_its_other_algs_are_the_full_paradigm(self, case):
        (row,), backbone = case["x"], StubBackbone(case["stub"])
        backbone.family = "open_dllm"
        start = row.index(MASK)
        given = {"alg": case["params"]["alg"], "num_steps": case["params"]["steps"], "gen_length": len(row) - start}
        config = codd.DecodingConfig(paradigm="full", stop_at_eos=False, **given)
        (output,) = codd.generate(backbone, [row[:start]], config)
        assert row[:start] + output.tokens == case["output"][0]
        # Without the steps of the time grid that write nothing.
        assert backbone.calls == [
            call for number, call in enumerate(case["calls"]) if call not in case["calls"][:number]
        ]

    @pytest.mark.parametrize("family", ["open_dllm", "dream", "llada"])
    def test_they_score_what_is_drawn_from(self, family):
        backbone, events = StubBackbone(CASES[0]["stub"]), []
        backbone.family = family
        config = codd.DecodingConfig(paradigm="full", top_k=1, gen_length=8, num_steps=4, stop_at_eos=False)
        codd.generate(backbone, [[5, 9]], config, on_step=events.append)
        assert all((event.confidence == 1).all() for event in events) == (family != "llada")

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_rows_of_one_batch_have_plans_of_their_own(self, variant):
        case = next(case for case in CASES if case["id"] == "p2_batch2_leftpad")
        config = config_of(case, variant=variant)
        drafts = [*case["x"], [MASK, 3, *[MASK] * 13]]
        together = codd.generate(StubBackbone(case["stub"]), [[]] * 3, config, drafts=drafts)
        for draft, output in zip(drafts, together, strict=True):
            assert codd.generate(StubBackbone(case["stub"]), [[]], config, drafts=[draft]) == [output]


class TestVariants:
    def events(self, variant, **settings):
        backbone, events = StubBackbone({"vocab": 32, "seed": 5, "bias": {"31": -3000}}), []
        config = codd.DecodingConfig(decoder="open_dllm", variant=variant, gen_length=20, num_steps=8, **settings)
        codd.generate(backbone, [[5, 9, 14]], config, on_step=events.append)
        return backbone.model, events

    @pytest.mark.parametrize("temperature", [0.0, 0.9])
    def test_remdm_ranks_by_what_the_step_that_wrote_a_token_thought_of_it(self, temperature):
        model, events = self.events("p2_upgraded_remdm", temperature=temperature)
        before, written = torch.full((20,), MASK), torch.zeros(20, dtype=torch.float64)
        for event in events:
            probabilities = model.logits_for(torch.cat([torch.tensor([5, 9, 14]), before])[None])[0, 3:].softmax(-1)
            after, tokens = event.answer[0], torch.full((20,), MASK)
            tokens[event.columns[0]] = event.tokens[0].where(~event.taken_back[0], before[event.columns[0]])
            filled = torch.where(before == MASK, tokens, before)
            now = probabilities.gather(1, filled[:, None])[:, 0].double()
            # Masks that stay masks are masked by the plan or rank below all that is kept.
            written = torch.where(before == MASK, now, written)
            kept = after != MASK
            if kept.any() and not kept.all():
                assert written[kept].min() >= written[~kept].max() - 1e-6
            before = after
        assert sum(int(event.taken_back.sum()) for event in events)

    def test_they_differ(self):
        answers = {variant: self.events(variant)[1][-1].answer.tolist() for variant in VARIANTS}
        assert len({str(answer) for answer in answers.values()}) == 3

    def test_truncation_changes_the_score_of_p2_and_only_the_draws_of_the_others(self):
        for variant in VARIANTS:
            plain = self.events(variant)[1][-1].answer.tolist()
            cut = self.events(variant, top_k=2)[1][-1].answer.tolist()
            assert (plain == cut) == (variant != "p2")


OPTIONS = [
    {"variant": variant, **extra}
    for variant in VARIANTS
    for extra in ({}, {"temperature": 0.8, "top_p": 0.9, "top_k": 20}, {"num_steps": 30, "cfg_scale": 0.5})
]


class TestARowIsAlone:
    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_batches_of_1_and_of_7_decode_alike(self, backbone, options):
        end = an_end(backbone, codd.DecodingConfig(stop_at_eos=False, **{**SMALL, **options}))
        config = codd.DecodingConfig(eos_id=end, **{**SMALL, **options})
        alone = [codd.generate(backbone, [prompt], config)[0] for prompt in PROMPTS]
        assert codd.generate(backbone, PROMPTS, config) == alone
        assert codd.generate(backbone, PROMPTS, config, batch_size=3) == alone

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
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
            assert all(old in (new, mask) for new, old in zip(output.tokens, draft, strict=True))


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"cache": "prefix"}, "`cache=prefix` is read by .*, not by `decoder=open_dllm`"),
            ({"eta": 0.5}, r"`eta=0\.5` is read by decoder=p2, not by `decoder=open_dllm`"),
            (
                {"variant": "p2_upgraded_ReMDM"},
                "`variant=p2_upgraded_ReMDM` is not known; use one of p2,",
            ),
            ({"threshold": 0.9}, r"`threshold=0\.9` is read by .*, not by `decoder=open_dllm`"),
        ],
    )
    def test_what_it_does_not_read_or_cannot_be_is_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            codd.DecodingConfig(decoder="open_dllm", **settings)

    def test_a_familys_truncation_is_read(self):
        config = codd.DecodingConfig.for_family("dream", decoder="open_dllm")
        assert (config.alg, config.top_k, config.top_p, config.temperature) == ("low_confidence", 50, 0.95, 0.2)

    def test_a_planner_is_refused(self):
        backbone = StubBackbone({"vocab": 32})
        with pytest.raises(ValueError, match="`planner` is read by decoder=p2, not by `decoder=open_dllm`"):
            codd.generate(backbone, [[1]], codd.DecodingConfig(**SMALL), planner=backbone)
