"""What a result says about answers that came from logits which were not numbers."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from lm_eval_codd import DecodingConfig
from lm_eval_codd.decoding import Generation
from lm_eval_codd.models.journal import Kept, Keys
from lm_eval_codd.models.masked_setup import MaskedSetup, made_by
from lm_eval_codd.models.record import Record, Totals, _is_alone


def a_model():
    config = DecodingConfig()
    return MaskedSetup(
        config=config,
        backbone=SimpleNamespace(mask_id=8),
        circuit=None,
        max_length=9,
        world_size=1,
        lacks_template=False,
    )


def made(config=None, circuit_dtype=torch.float32, **backbone):
    """What answers of these settings are found by."""
    ids = {"mask_id": 1, "eos_id": 2, "eot_id": None, "family": "llada", "identity": "sha256:1"}
    circuit = SimpleNamespace(identity="sha256:2", emission=torch.zeros(1, dtype=circuit_dtype))
    model = SimpleNamespace(**{**ids, "dtype": torch.bfloat16, **backbone})
    return made_by(config or DecodingConfig(), model, circuit)


class TestTimes:
    """Whether they were taken alone on the device."""

    @pytest.mark.parametrize("found", [True, False, None])
    def test_of_a_cpu_are_as_the_watch_saw_it(self, found):
        watch = SimpleNamespace(cpu_is_own=lambda: found)
        assert _is_alone(watch, SimpleNamespace(device=torch.device("cpu"), world_size=1)) is found

    def test_of_another_device_are_not_known(self):
        assert _is_alone(None, SimpleNamespace(device=torch.device("meta"), world_size=1)) is None

    def test_of_gpus_are_of_all_that_a_single_process_sees(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda place: SimpleNamespace(uuid=f"u{place}"))
        watch = SimpleNamespace(gpus_are_own=lambda uuids: uuids)
        assert _is_alone(watch, SimpleNamespace(device=torch.device("cuda:1"), world_size=1)) == ["u0", "u1"]
        assert _is_alone(watch, SimpleNamespace(device=torch.device("cuda:1"), world_size=2)) == ["u1"]


class TestMadeBy:
    def test_holds_no_setting_that_has_its_default(self):
        names = {field.name for field in dataclasses.fields(DecodingConfig)}
        assert names & made().keys() == {"mask_id", "eos_id", "eot_id"}  # the backbone's

    @pytest.mark.parametrize(
        "other",
        [
            {"circuit_dtype": torch.float64},
            {"identity": "sha256:3"},
            {"family": "dream"},
            {"dtype": torch.float32},
            {"mask_id": 9},
            {"eos_id": 9},
            {"eot_id": 9},
        ],
        ids=str,
    )
    def test_tells_models_and_circuits_apart(self, other):
        assert Keys(made(**other)).of([1], 0) != Keys(made()).of([1], 0)

    @pytest.mark.parametrize(
        "other",
        [{"alg": "margin"}, {"num_steps": 64}, {"pc_frac": 0.5}, {"threshold": 0.9}, {"stop_at_eos": False}],
        ids=str,
    )
    def test_tells_settings_apart(self, other):
        assert Keys(made(DecodingConfig(**other))).of([1], 0) != Keys(made()).of([1], 0)

    def test_of_steps_said_either_way_is_one(self):
        assert made(DecodingConfig(tokens_per_step=4)) == made(DecodingConfig(num_steps=128))
        assert made(DecodingConfig(threshold=0.9, num_steps=64)) == made(DecodingConfig(threshold=0.9))


class TestSeconds:
    def test_deviate_as_the_answers_of_all_ranks_do(self):
        ranks = [Totals(), Totals()]
        for rank, seconds in zip(ranks, ((1.0, 3.0), (2.0, 2.0)), strict=True):
            for of_answer in seconds:
                rank.add(Kept(Generation([1], 1, 8), of_answer))
        totals = Totals.over_ranks(ranks)
        assert totals.decoding_seconds == 4.0
        assert totals.seconds_deviation(2) == pytest.approx(0.5**0.5)


def test_blocks_that_were_left_with_masks_are_counted_and_said(caplog):
    record = Record()
    for number in (0, 2, 1):
        record.totals.add(Kept(Generation([1, 2], 2, 8, num_capped=number), 0.0))
    assert (record.totals.requests, record.totals.capped_answers, record.totals.capped_blocks) == (3, 2, 3)
    record.log_warnings(a_model())
    (message,) = [entry.getMessage() for entry in caplog.records]
    assert message.startswith("in 2 of 3 answers 3 blocks hold masks still: the model predicted the mask itself there")


class TestNonfiniteLogits:
    def test_are_counted_by_answer_and_by_step(self):
        totals = Totals()
        for number in (0, 3, 0, 1):
            totals.add(Kept(Generation([1, 2], 2, 8, num_nonfinite=number), 0.0))
        assert (totals.requests, totals.nonfinite_answers, totals.nonfinite_steps) == (4, 2, 4)

    def test_are_said_in_the_log_once(self, caplog):
        record = Record()
        record.totals.add(Kept(Generation([1], 1, 8, num_nonfinite=3), 0.0))
        for _ in range(2):
            record.log_warnings(a_model())
        (message,) = [entry.getMessage() for entry in caplog.records]
        assert message.startswith("in 1 of 1 answers the backbone's logits held NaN or +inf, or ruled out every token")
        assert "(3 of 8 evaluations)" in message
        assert "\n" not in message

    def test_where_there_were_none_nothing_is_said(self, caplog):
        record = Record()
        record.totals.add(Kept(Generation([1], 1, 8), 0.0))
        record.log_warnings(a_model())
        assert not caplog.records
