"""Corrective refinement against its authors' own code on a formula in place of a model, and its rules here."""

import json
from pathlib import Path

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.decoding import candidates
from lm_eval_codd.decoding import logits as logits_in_pieces
from lm_eval_codd.decoding.decoders.corrective import low_outliers, shares_of
from lm_eval_codd.trace import record
from tests.decoding.stub_backbone import StubBackbone
from tests.decoding.test_loop import PROMPTS
from tests.device_waits import Operations

FOLDER = Path(__file__).parent.parent / "golden" / "decoders"
MASK = 31
NOT_REPRODUCED = {
    "left2right_AR": "another decoder: one leftmost mask a step, left to right, and nothing is masked again",
    "left2right_AR_too_few_steps": "the same",
}
SMALL = {"decoder": "corrective", "num_steps": 6}
DRAFTS = [[20 + index, 7, 9] * (1 + index) for index in range(len(PROMPTS))]


def cases(name: str) -> list[dict]:
    content = json.loads((FOLDER / name).read_text())
    return content if isinstance(content, list) else content["cases"]


ALL = cases("corrective.json")
EXACT = [case for case in ALL if case["id"] not in NOT_REPRODUCED]


def config_of(case, **settings) -> codd.DecodingConfig:
    params = case["params"]
    given = {"num_steps": params["steps"]}
    threshold = params.get("confidence_threshold", -1)
    if params["algorithm"].endswith("MAD"):
        given["mad_k"] = params.get("mad_k", 2.5)
    elif threshold == -1:
        given["remask_schedule"] = params.get("remask_scheduler", "linear")
    else:
        given["threshold"] = threshold
    return codd.DecodingConfig(decoder="corrective", stop_at_eos=False, **{**given, **settings})


def decode(case, *, prompt_length, **settings):
    """The outputs of a case's rows, split into prompts and drafts at a column; the steps' events; the rows fed."""
    backbone, events, rows = StubBackbone(case["stub"]), [], case["input_ids"]
    outputs = codd.generate(
        backbone,
        [row[:prompt_length] for row in rows],
        config_of(case, **settings),
        on_step=events.append,
        drafts=[row[prompt_length:] for row in rows],
        fixed=[[bool(fixed) for fixed in row[prompt_length:]] for row in case["fix_mask"]],
    )
    return outputs, events, backbone.calls


def states_of(events, row):
    """step -> a row's answer after it."""
    return {
        int(event.number[place]): event.answer[place].tolist()
        for event in events
        for place in range(len(event.rows))
        if event.rows[place] == row
    }


class TestItIsTheOfficialRefinement:
    @pytest.mark.parametrize("prompt_length", [0, 4])
    @pytest.mark.parametrize("case", EXACT, ids=lambda case: case["id"])
    def test_states_output_and_evaluations(self, case, prompt_length):
        outputs, events, calls = decode(case, prompt_length=prompt_length)
        for row, output in enumerate(outputs):
            assert output.tokens == case["output"][row][prompt_length:]
            assert output.num_forward <= case["nfe"]
            states, before = states_of(events, row), case["input_ids"][row]
            assert len(states) == output.num_forward
            for number, official in enumerate(case["history"]):
                after = official["sequence"][row]
                # A step that is left out is one that changed nothing.
                assert states.get(number, before[prompt_length:]) == after[prompt_length:]
                if number in states:
                    assert case["calls"][number][row] == before
                before = after
        fed = [row for call in calls for row in call]
        assert len(fed) == sum(output.num_forward for output in outputs)
        assert all(row in [one for call in case["calls"] for one in call] for row in fed)

    @pytest.mark.parametrize("case", EXACT, ids=lambda case: case["id"])
    def test_a_row_freezes_when_the_official_one_does(self, case):
        outputs, _, _ = decode(case, prompt_length=0)
        if config_of(case).remask_schedule is None and "predicts_mask" not in case["id"]:
            assert [output.num_forward for output in outputs] == [
                # The last step has nothing to fill where a visible row was never masked.
                0 if case["params"]["steps"] == 1 else steps
                for steps in case["actual_steps"]
            ]

    @pytest.mark.parametrize("case", EXACT, ids=lambda case: case["id"])
    def test_confidences(self, case):
        _, events, _ = decode(case, prompt_length=0)
        variable = [tuple(place) for place in (1 - torch.tensor(case["fix_mask"])).nonzero().tolist()]
        compared = 0
        for event in events:
            confidences = case["history"][int(event.number[0])]["conf_variable"]
            official = dict(zip(variable, confidences, strict=True))
            for place, row in enumerate(event.rows.tolist()):
                for column, confidence in zip(event.columns[place].tolist(), event.confidence[place], strict=True):
                    if confidence > -torch.inf:  # what fills up a row has that
                        assert float(confidence) == pytest.approx(official[row, column], abs=2e-6)
                        compared += 1
        assert compared or not events

    def test_what_is_left_out_is_named(self):
        assert len(ALL) == 41
        assert {case["id"] for case in ALL} - {case["id"] for case in EXACT} == set(NOT_REPRODUCED)

    @pytest.mark.parametrize("case", cases("corrective_schedule.json"), ids=str)
    def test_schedules(self, case):
        shares = torch.tensor(shares_of(case["schedule"], case["steps"]))
        numbers = (torch.tensor(case["variable"]).float() * shares).long()
        assert numbers.tolist() == case["num_to_remask"]

    @pytest.mark.parametrize("case", cases("corrective_mad.json"), ids=str)
    def test_outliers(self, case):
        values, among = torch.tensor([case["conf"]]), torch.tensor([case["variable"]]).bool()
        assert low_outliers(values, among, case["k"]).int().tolist() == [case["low_outlier"]]
        # What else the row is filled up with does not count.
        values = torch.cat([values, torch.zeros(1, 3)], dim=1)
        among = torch.cat([among, torch.zeros(1, 3, dtype=torch.bool)], dim=1)
        assert low_outliers(values, among, case["k"]).int().tolist() == [[*case["low_outlier"], 0, 0, 0]]

    @pytest.mark.parametrize("options", [{"remask_schedule": "linear"}, {"remask_schedule": "fixed_0.5"}], ids=str)
    def test_where_all_scores_are_equal_the_counts_are(self, options):
        case = {"stub": {"vocab": 32, "const": 64}, "input_ids": [[5] * 12], "fix_mask": [[0] * 12]}
        case["params"] = {"steps": 5, "algorithm": "self_conf-remask:vanilla"}
        _, events, _ = decode(case, prompt_length=0, **{"remask_schedule": None, **options})
        shares = shares_of(options["remask_schedule"], 5)
        expected = [int(12 * share) for share in shares[:-1]] + [0]
        assert [int((event.answer == MASK).sum()) for event in events] == expected


OPTIONS = [
    {},
    {"threshold": 0.0013},
    {"threshold": 2.0},
    {"remask_schedule": "linear"},
    {"remask_schedule": "cosine"},
    {"remask_schedule": "fixed_0.4"},
    {"mad_k": 0.0},
    {"mad_k": 1.5},
    {"threshold": 0.02, "temperature": 0.8, "top_p": 0.9, "top_k": 30},
    {"remask_schedule": "linear", "temperature": 1.0},
    {"threshold": 0.02, "cfg_scale": 1.0},
]


class TestARowIsAlone:
    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_from_masks_batches_of_1_and_of_7_decode_alike(self, backbone, options):
        config = codd.DecodingConfig(gen_length=16, **SMALL, **options)
        alone = [codd.generate(backbone, [prompt], config)[0] for prompt in PROMPTS]
        assert codd.generate(backbone, PROMPTS, config) == alone
        assert codd.generate(backbone, PROMPTS, config, batch_size=3) == alone
        assert all(0 < output.num_forward <= 6 for output in alone)

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_from_drafts_of_different_lengths_too(self, backbone, options):
        config = codd.DecodingConfig(**SMALL, **options)
        fixed = [[place % 3 == 1 for place in range(len(draft))] for draft in DRAFTS]
        for given in (None, fixed):
            alone = [
                codd.generate(backbone, [prompt], config, drafts=[draft], fixed=None if given is None else [given[row]])
                for row, (prompt, draft) in enumerate(zip(PROMPTS, DRAFTS, strict=True))
            ]
            alone = [output for (output,) in alone]
            together = codd.generate(backbone, PROMPTS, config, drafts=DRAFTS, fixed=given, batch_size=4)
            assert together == alone
            assert codd.generate(backbone, PROMPTS, config, drafts=DRAFTS, fixed=given) == alone
        for output, draft, mine in zip(together, DRAFTS, fixed, strict=True):
            kept = [token == before for token, before, stays in zip(output.tokens, draft, mine, strict=True) if stays]
            assert all(kept)

    def test_rows_freeze_at_steps_of_their_own(self, backbone):
        config = codd.DecodingConfig(threshold=0.0013, **SMALL)
        outputs = codd.generate(backbone, PROMPTS, config, drafts=DRAFTS)
        assert {output.num_forward for output in outputs} == {2, 6}


class TestRefinement:
    def test_the_last_step_masks_nothing(self, backbone):
        for options in OPTIONS:
            config = codd.DecodingConfig(gen_length=16, stop_at_eos=False, mask_id=backbone.mask_id, **SMALL, **options)
            events = []
            codd.generate(backbone, PROMPTS[:2], config, on_step=events.append)
            last = [event for event in events if int(event.number[0]) == 5]
            assert all(not event.taken_back.any() for event in last)

    def test_one_step_leaves_a_visible_draft_as_it_is_and_asks_nothing(self, backbone):
        config = codd.DecodingConfig(decoder="corrective", num_steps=1)
        outputs = codd.generate(backbone, PROMPTS, config, drafts=DRAFTS)
        assert [output.tokens for output in outputs] == DRAFTS
        assert [output.num_forward for output in outputs] == [0] * len(DRAFTS)

    def test_a_threshold_of_1_decides_everything_again_and_0_nothing(self, backbone):
        def forwards(threshold):
            config = codd.DecodingConfig(threshold=threshold, **SMALL)
            outputs = codd.generate(backbone, PROMPTS, config, drafts=DRAFTS)
            return [output.tokens for output in outputs], {output.num_forward for output in outputs}

        assert forwards(1.0)[1] == {6}
        assert forwards(0.0) == (DRAFTS, {1})

    def test_an_end_token_may_be_taken_back_so_the_answer_is_cut_only_when_it_is_done(self, backbone):
        config = codd.DecodingConfig(threshold=1.0, eos_id=7, **SMALL)
        outputs = codd.generate(backbone, PROMPTS, config, drafts=DRAFTS)
        assert {output.num_forward for output in outputs} == {6}

    def test_no_step_waits_for_the_device(self, backbone):
        for options in OPTIONS:
            with Operations() as operations:
                config = codd.DecodingConfig(**SMALL, **options)
                codd.generate(backbone, PROMPTS, config, drafts=DRAFTS, batch_size=3, on_step=lambda event: None)
            assert operations.num_waits == 0

    @pytest.mark.parametrize("options", [{}, {"cfg_scale": 1.0}], ids=str)
    def test_logits_of_all_positions_never_exist_at_once(self, backbone, options, monkeypatch):
        config = codd.DecodingConfig(remask_schedule="linear", **SMALL, **options)
        expected = codd.generate(backbone, PROMPTS, config, drafts=DRAFTS)
        num_rows, head = [], backbone.head
        monkeypatch.setattr(backbone, "head", lambda hidden, out=None: num_rows.append(len(hidden)) or head(hidden))
        monkeypatch.setattr(candidates, "rows_at_a_time", lambda logits: 5)
        monkeypatch.setattr(logits_in_pieces, "_ROOM", 0)
        assert codd.generate(backbone, PROMPTS, config, drafts=DRAFTS) == expected
        assert max(num_rows) == (10 if options else 5)
        assert sum(num_rows) > 100

    def test_each_row_counts_its_steps_of_logits_that_are_no_numbers(self):
        case = next(case for case in EXACT if case["id"] == "thr0.9_steps4")
        stub = {**case["stub"], "nonfinite": [(5, 3, "nan")]}
        outputs, _, _ = decode({**case, "stub": stub}, prompt_length=0)
        # Nothing is unsure there, so that the last step, which looks at masks alone, does not see it.
        assert outputs[0].num_nonfinite == outputs[0].num_forward - 1 == 3

    def test_traces_show_what_was_taken_back(self, backbone):
        trace = record(backbone, PROMPTS[0], codd.DecodingConfig(gen_length=16, remask_schedule="linear", **SMALL))
        assert any(frame.taken_back for frame in trace.frames)
        assert not trace.frames[-1].taken_back


class TestSettings:
    def test_it_has_a_threshold_where_nothing_else_says_what_is_masked_again(self):
        assert codd.DecodingConfig(decoder="corrective").threshold == 0.9
        assert codd.DecodingConfig(decoder="corrective", remask_schedule="linear").threshold is None
        assert codd.DecodingConfig(decoder="corrective", mad_k=2.5).threshold is None
        assert codd.DecodingConfig(decoder="corrective", threshold=1.5).threshold == 1.5
        assert codd.DecodingConfig(decoder="corrective", threshold=0).threshold == 0.0

    def test_schedules_have_one_spelling(self):
        def spelled(schedule):
            return codd.DecodingConfig(decoder="corrective", remask_schedule=schedule).remask_schedule

        assert spelled("cosine") == "cosine"
        assert spelled("fixed_.50") == spelled("fixed_0.5") == "fixed_0.5"
        assert spelled("fixed_1") == "fixed_1.0" and spelled("fixed_-0") == "fixed_0.0"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"threshold": 0.9, "mad_k": 2.5},
                "`threshold=0.9` and `mad_k=2.5` both say what is masked again; leave out one of them",
            ),
            ({"remask_schedule": "linear", "mad_k": 2.5}, "`remask_schedule=linear` and `mad_k=2.5` both say"),
            ({"remask_schedule": "linear", "threshold": 0.9}, "`threshold=0.9` and `remask_schedule=linear` both say"),
            (
                {"remask_schedule": "linaer"},
                "`remask_schedule=linaer` is not known; use linear or cosine or fixed_X with X from 0 to 1",
            ),
            ({"remask_schedule": "fixed_1.5"}, "`remask_schedule=fixed_1.5` is not known"),
            ({"remask_schedule": "fixed_nan"}, "`remask_schedule=fixed_nan` is not known"),
            ({"remask_schedule": 0.3}, "`remask_schedule=0.3` must be a word or None"),
            ({"threshold": -1}, "`threshold=-1` is out of range; it must be 0 or more"),
            ({"mad_k": -1}, "`mad_k=-1` is out of range; it must be 0 or more"),
            ({"cache": "dual"}, "`cache=dual` is read by .*, not by `decoder=corrective`"),
            ({"block_length": 16}, "`block_length=16` is read by .*, not by `decoder=corrective`"),
            ({"alg": "margin"}, "`alg=margin` is read by decoder=unmasking, not by `decoder=corrective`"),
            ({"max_per_step": 8}, "`max_per_step=8` is read by decoder=cad, not by `decoder=corrective`"),
        ],
    )
    def test_what_it_does_not_read_or_cannot_be_is_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            codd.DecodingConfig(decoder="corrective", **settings)

    def test_its_options_are_refused_by_others(self):
        for name, value in (("remask_schedule", "linear"), ("mad_k", 2.5)):
            for decoder in ("unmasking", "cad"):
                with pytest.raises(ValueError, match=f"`{name}={value}` is read by decoder=corrective, not by"):
                    codd.DecodingConfig(decoder=decoder, **{name: value})

    def test_a_rule_names_what_is_not_its_default(self):
        from lm_eval_codd.settings import rule_of

        def rule(**settings):
            return rule_of(vars(codd.DecodingConfig(decoder="corrective", **settings)))

        assert rule() == rule(threshold=0.9) == "corrective"
        assert rule(threshold=0.5) == "corrective threshold=0.5"
        assert rule(remask_schedule="fixed_.3") == "corrective remask_schedule=fixed_0.3"
        assert rule(mad_k=2.5) == "corrective mad_k=2.5"
