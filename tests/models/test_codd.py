import pytest
import torch

from lm_eval_codd import backbones, circuits
from lm_eval_codd.circuits.hmm import HMM
from lm_eval_codd.models.codd import CoddDream, CoddLLaDA
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.settings import REVISING, TILED

SHORT = {"num_steps": 4, "gen_length": 16, "block_length": 16, "device": "cpu"}
PROMPTS = ["a", "bb bb", "c" * 9]


@pytest.fixture(autouse=True)
def circuit(monkeypatch):
    """What `pc=` names: a random circuit over windows of 16 tokens, enough for either checkpoint."""
    generator = torch.Generator().manual_seed(0)

    def table(*shape):
        return torch.rand(shape, generator=generator).square().softmax(-1)

    circuit = HMM(table(8), table(8, 8), (40 * table(8, 512)).softmax(-1), num_positions=16)
    monkeypatch.setattr(circuits, "load_circuit", lambda path, revision: circuit, raising=False)
    return circuit


class TestCircuit:
    def test_it_acts_and_is_in_the_result(self, checkpoints, ask, circuit):
        lm = CoddLLaDA(checkpoints["llada"], pc="a.jpc", pc_frac=0.9, **SHORT)
        answers = ask(lm, PROMPTS)
        info = lm.get_model_info()
        assert answers != ask(LLaDA(checkpoints["llada"], **SHORT), PROMPTS)
        assert 0 < info["circuit_calls"] <= info["nfe"]
        assert (info["pc"], info["circuit_identity"]) == ("a.jpc", circuit.identity)
        assert info["warnings"] == []

    def test_one_that_never_acted_is_said_in_result_and_log(self, checkpoints, ask, harness_log):
        lm = CoddLLaDA(checkpoints["llada"], pc="a.jpc", **{**SHORT, "num_steps": 1})
        ask(lm, PROMPTS)
        (warning,) = lm.get_model_info()["warnings"]
        assert warning.startswith("the circuit never acted")
        assert warning in harness_log.text

    @pytest.mark.parametrize("decoder", TILED)
    def test_with_a_decoder_that_masks_again_the_result_calls_it_an_extension(self, checkpoints, ask, decoder):
        settings = {"decoder": decoder, "num_steps": 4, "gen_length": 24, "device": "cpu"}
        lm = CoddLLaDA(checkpoints["llada"], pc="a.jpc", pc_frac=1.5, **settings)
        alone = LLaDA(checkpoints["llada"], **settings)
        assert ask(lm, PROMPTS) != ask(alone, PROMPTS)
        info = lm.get_model_info()
        assert info["circuit_calls"] > 0 and info["warnings"] == []
        assert info["extensions"] == [f"circuit with decoder={decoder}"]
        assert alone.get_model_info()["extensions"] == []
        assert CoddLLaDA(checkpoints["llada"], pc="a.jpc", **SHORT).get_model_info()["extensions"] == []

    def test_a_use_that_a_decoder_has_not_is_said_before_the_checkpoint_is_loaded(self, checkpoints, monkeypatch):
        monkeypatch.setattr(backbones, "load_backbone", lambda *args, **settings: pytest.fail("loaded"))
        for decoder in REVISING:
            with pytest.raises(ValueError, match=f"`pc_sampling=any_order` commits .* `decoder={decoder}` writes"):
                CoddLLaDA(checkpoints["llada"], pc="a.jpc", decoder=decoder, pc_sampling="any_order", device="cpu")

    def test_it_and_an_adapter_can_be_pinned(self, checkpoints, monkeypatch, circuit):
        asked = {}
        monkeypatch.setattr(circuits, "load_circuit", lambda path, revision: asked.update({path: revision}) or circuit)
        load = backbones.load_backbone

        def load_backbone(path, *, peft, peft_revision, **settings):
            asked[peft] = peft_revision
            return load(path, **settings)

        monkeypatch.setattr(backbones, "load_backbone", load_backbone)
        pinned = {"pc": "a/b", "pc_revision": 12, "peft": "c/d", "peft_revision": "v1"}
        info = CoddLLaDA(checkpoints["llada"], **pinned, **SHORT).get_model_info()
        assert asked == {"a/b": "12", "c/d": "v1"}
        assert (info["pc_revision"], info["peft_revision"]) == ("12", "v1")

    @pytest.mark.parametrize(("model", "family"), [(CoddLLaDA, "llada"), (CoddDream, "dream")])
    def test_answers_do_not_depend_on_the_batch(self, checkpoints, ask, model, family):
        settings = {**SHORT, "gen_length": 32, "num_steps": 8, "pc": "a.jpc", "pc_frac": 0.9}
        one, all_at_once = (ask(model(checkpoints[family], batch_size=size, **settings), PROMPTS) for size in (1, 3))
        assert one == all_at_once
