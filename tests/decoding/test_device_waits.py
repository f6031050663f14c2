"""The loop waits for the device once a step: for the counts that say what comes next."""

import pytest
import torch

import lm_eval_codd as codd
from tests.decoding.test_coupling import random_circuit
from tests.decoding.test_loop import PROMPTS, SMALL
from tests.device_waits import Operations


class TestASteps:
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"alg": "margin", "temperature": 0.7, "top_p": 0.9, "top_k": 9},
            {"alg": "entropy", "alg_temp": 0.5, "confidence_eos_eot_inf": True},
            {"threshold": 0.5},
            {"cfg_scale": 1.0},
            {"cache": "dual"},
            {"cache": "prefix", "factor": 1.0},
            {"paradigm": "full"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("coupled", [False, True])
    def test_operations_wait_for_nothing(self, backbone, settings, coupled):
        if coupled and settings.get("paradigm") == "full":
            pytest.skip("where its windows lie depends on the confidences, so that they have to be looked at")
        circuit = random_circuit(backbone.vocab_size, SMALL["block_length"], 4, sharpness=1.0) if coupled else None
        assert circuit is None or circuit.always_possible  # found out once, before the first step
        config = codd.DecodingConfig(pc_frac=1.5, **SMALL, **settings)
        with Operations() as operations:
            outputs = codd.generate(backbone, PROMPTS, config, circuit=circuit, batch_size=3)
        assert operations.num_waits == 0
        assert operations.num_launches > 1000
        assert all(output.num_circuit for output in outputs) == coupled

    @pytest.mark.parametrize(
        "settings",
        [{}, {"compat": True, "temperature": 0.7}, {"selection": "random", "max_block_steps": 2}, {"cache": "dual"}],
        ids=str,
    )
    @pytest.mark.parametrize("coupled", [False, True])
    def test_nor_do_those_of_cad(self, backbone, settings, coupled):
        circuit = random_circuit(backbone.vocab_size, 8, 4, sharpness=1.0) if coupled else None
        assert circuit is None or circuit.always_possible
        config = codd.DecodingConfig(decoder="cad", pc_frac=1.5, gen_length=32, block_length=8, **settings)
        with Operations() as operations:
            outputs = codd.generate(backbone, PROMPTS, config, circuit=circuit, batch_size=3)
        assert operations.num_waits == 0
        assert all(output.num_circuit for output in outputs) == coupled

    @pytest.mark.parametrize("settings", [{}, {"paradigm": "full", "history_length": 1}], ids=str)
    def test_nor_do_those_of_klass(self, backbone, settings):
        given = {"threshold": 0.02, "kl_threshold": 1.0, **SMALL, **settings}
        with Operations() as operations:
            codd.generate(backbone, PROMPTS, codd.DecodingConfig(decoder="klass", **given), batch_size=3)
        assert operations.num_waits == 0

    @pytest.mark.parametrize("settings", [{"paradigm": "full"}, {"temperature": 0.7, "error_proxy": "margin"}], ids=str)
    def test_nor_do_those_of_eb(self, backbone, settings):
        config = codd.DecodingConfig(decoder="eb", gen_length=32, block_length=16, gamma=9.0, **settings)
        with Operations() as operations:
            codd.generate(backbone, PROMPTS, config, batch_size=3)
        assert operations.num_waits == 0

    @pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "stop_at_eos": False}], ids=str)
    def test_nor_do_those_of_wino(self, load, settings):
        config = codd.DecodingConfig(decoder="wino", gen_length=32, block_length=16, threshold=0.02, **settings)
        with Operations() as operations:
            codd.generate(load("llada-tiny"), PROMPTS, config, batch_size=3)
        assert operations.num_waits == 0

    def test_nor_do_they_while_somebody_watches(self, backbone):
        with Operations() as operations:
            codd.generate(backbone, PROMPTS, codd.DecodingConfig(**SMALL), on_step=lambda event: None)
        assert operations.num_waits == 0

    @pytest.mark.parametrize(
        "look",
        [
            lambda commit: commit.nonzero(),
            lambda commit: bool(commit.any()),
            lambda commit: int(commit.sum()),
            lambda commit: commit[commit],
            lambda commit: torch.tensor([1, 2], device=commit.device),
            lambda commit: commit.new_tensor([1, 2]),
            lambda commit: commit[:, [0, 1]],
        ],
    )
    def test_a_wait_is_seen(self, backbone, look):
        with Operations() as operations:
            config = codd.DecodingConfig(**SMALL)
            codd.generate(backbone, PROMPTS, config, on_step=lambda event: look(event.commit))
        assert operations.num_waits == 8
