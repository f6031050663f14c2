"""The circuit in the loop, against enumeration on tiny circuits and as properties of whole decodes."""

import itertools

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.circuits.hmm import HMM
from lm_eval_codd.settings import ALGS, PC_SAMPLING
from tests.decoding.test_loop import PROMPTS

VOCAB, WINDOW, LATENTS = 5, 3, 2
MASK, EOS = 4, 3


def random_circuit(vocab, window, latents, seed=6, sharpness=3.0):
    generator = torch.Generator().manual_seed(seed)

    def rows(*shape):
        return (sharpness * torch.randn(*shape, generator=generator)).softmax(-1)

    return HMM(rows(latents), rows(latents, latents), rows(latents, vocab), window)


class FixedBackbone:
    """Logits by position in the answer, whatever the canvas."""

    family, mask_id, eos_id, eot_id, vocab_size = "llada", MASK, EOS, None, VOCAB

    def __init__(self, table, prompt_length=1):
        self.table, self.prompt_length = table, prompt_length

    def logits(self, tokens, attention_mask=None, positions=None):
        return self.table[positions - self.prompt_length]


def fixed_backbone(seed=1):
    table = torch.randn(WINDOW, VOCAB, generator=torch.Generator().manual_seed(seed))
    table[:, MASK] = -torch.inf
    return FixedBackbone(table)


def exact_joint(circuit, table, tau):
    """[V, V, V]: p_theta^(1/tau) p_omega / Z of a window of three by enumeration, float64."""
    weights = (table.double() / tau).softmax(-1)
    joint = torch.zeros(VOCAB, VOCAB, VOCAB, dtype=torch.float64)
    for path in itertools.product(range(LATENTS), repeat=WINDOW):
        a, b, c = path
        prior = circuit.initial[a] * circuit.transition[a, b] * circuit.transition[b, c]
        leaf = [circuit.emission[z].double() * weights[t] for t, z in enumerate(path)]
        joint += prior.double() * torch.einsum("i,j,k->ijk", *leaf)
    return joint / joint.sum()


def counts_of(config, circuit, backbone, number):
    prompts, repeats = [[0]] * number, list(range(number))
    outputs = codd.generate(backbone, prompts, config, circuit=circuit, repeats=repeats)
    counts = torch.zeros(VOCAB, VOCAB, VOCAB)
    for output in outputs:
        counts[tuple(output.tokens)] += 1
    return counts


ONE_STEP = {
    "gen_length": WINDOW,
    "block_length": WINDOW,
    "num_steps": 1,
    "temperature": 1.0,
    "pc_frac": 1.5,
    "alg": "random",
    "stop_at_eos": False,
}


class TestDrawsAgainstEnumeration:
    @pytest.mark.parametrize("pc_sampling", ["latent", "any_order"])
    @pytest.mark.parametrize("tau", [1.0, 0.5])
    def test_a_step_draws_from_the_exact_joint(self, pc_sampling, tau):
        circuit, backbone, number = random_circuit(VOCAB, WINDOW, LATENTS), fixed_backbone(), 20_000
        config = codd.DecodingConfig(**ONE_STEP, pc_sampling=pc_sampling, pc_temperature=tau)
        counts = counts_of(config, circuit, backbone, number)
        expected = number * exact_joint(circuit, backbone.table, tau)
        assert counts[expected == 0].sum() == 0
        often = expected > 5
        chi_square = ((counts - expected)[often] ** 2 / expected[often]).sum()
        freedom = int(often.sum()) - 1
        assert chi_square < freedom + 5 * (2 * freedom) ** 0.5

    def test_the_joint_is_not_a_product_so_the_test_above_can_fail(self):
        circuit, backbone = random_circuit(VOCAB, WINDOW, LATENTS), fixed_backbone()
        joint = exact_joint(circuit, backbone.table, 1.0)
        product = torch.einsum("i,j,k->ijk", joint.sum((1, 2)), joint.sum((0, 2)), joint.sum((0, 1)))
        assert (joint - product).abs().sum() > 0.5

    def test_marginal_draws_each_position_from_its_exact_marginal(self):
        circuit, backbone, number = random_circuit(VOCAB, WINDOW, LATENTS), fixed_backbone(), 20_000
        counts = counts_of(codd.DecodingConfig(**ONE_STEP, pc_sampling="marginal"), circuit, backbone, number)
        joint = exact_joint(circuit, backbone.table, 0.7)
        for others in ((1, 2), (0, 2), (0, 1)):
            assert (counts.sum(others) / number - joint.sum(others)).abs().max() < 0.02

    def test_map_follows_the_most_likely_latent_path(self):
        circuit, backbone = random_circuit(VOCAB, WINDOW, LATENTS, seed=5), fixed_backbone(6)
        weights = (backbone.table.double() / 0.7).softmax(-1)
        leaf = weights @ circuit.emission.double().T

        def score(path):
            a, b, c = path
            prior = circuit.initial[a] * circuit.transition[a, b] * circuit.transition[b, c]
            return float(prior * leaf[0, a] * leaf[1, b] * leaf[2, c])

        best = max(itertools.product(range(LATENTS), repeat=WINDOW), key=score)
        tokens = (weights * circuit.emission[list(best)].double()).argmax(-1).tolist()
        config = codd.DecodingConfig(**ONE_STEP | {"temperature": 0.0}, pc_sampling="map")
        assert codd.generate(backbone, [[0]], config, circuit=circuit)[0].tokens == tokens

    def test_greedy_any_order_is_sequential_conditioning(self):
        circuit, backbone = random_circuit(VOCAB, WINDOW, LATENTS, seed=2), fixed_backbone(3)
        joint = exact_joint(circuit, backbone.table, 0.7)
        known: dict[int, int] = {}
        while len(known) < WINDOW:
            index = tuple(known.get(t, slice(None)) for t in range(WINDOW))
            left = [t for t in range(WINDOW) if t not in known]
            conditional = joint[index] / joint[index].sum()
            marginals = [conditional.movedim(i, 0).reshape(VOCAB, -1).sum(1) for i in range(len(left))]
            surest = max(range(len(left)), key=lambda i: marginals[i].max())
            known[left[surest]] = int(marginals[surest].argmax())
        settings = ONE_STEP | {"temperature": 0.0, "alg": "low_confidence"}
        config = codd.DecodingConfig(**settings, pc_sampling="any_order")
        output = codd.generate(backbone, [[0]], config, circuit=circuit)[0]
        assert output.tokens == [known[t] for t in range(WINDOW)]
        assert output.num_circuit == WINDOW


SMALL = {"gen_length": 32, "block_length": 8, "num_steps": 16, "stop_at_eos": False}


class TestGates:
    @pytest.mark.parametrize(
        ("settings", "calls"),
        [
            ({"pc_frac": 0.0}, 0),
            ({"pc_frac": 0.25}, 0),  # ratios of a block: 8/8, 6/8, 4/8, 2/8; strictly below
            ({"pc_frac": 0.3}, 4),
            ({"pc_frac": 0.75}, 8),
            ({"pc_frac": 1.0}, 12),
            ({"pc_frac": 1.1}, 16),
            ({"pc_frac": 0.5, "reverse_frac": True}, 8),
            ({"pc_frac": 1.0, "reverse_frac": True}, 0),
        ],
    )
    def test_the_blocks_mask_ratio_opens_it(self, backbone, settings, calls):
        circuit = random_circuit(512, 8, 3)
        outputs = codd.generate(backbone, PROMPTS, codd.DecodingConfig(**SMALL, **settings), circuit=circuit)
        assert [output.num_circuit for output in outputs] == [calls] * len(PROMPTS)

    def test_one_step_runs_never_fire(self, backbone):
        config = codd.DecodingConfig(gen_length=8, block_length=8, num_steps=1, pc_frac=1.0)
        output = codd.generate(backbone, PROMPTS[:1], config, circuit=random_circuit(512, 8, 3))[0]
        assert output.num_circuit == 0

    @pytest.mark.parametrize("paradigm", ["block", "full"])
    def test_a_gate_that_never_opens_changes_nothing(self, backbone, paradigm):
        config = codd.DecodingConfig(**SMALL, paradigm=paradigm, pc_frac=0.0)
        with_circuit = codd.generate(backbone, PROMPTS, config, circuit=random_circuit(512, 8, 3))
        assert with_circuit == codd.generate(backbone, PROMPTS, config)

    def test_a_circuit_that_knows_nothing_changes_no_token(self, backbone):
        flat = HMM(torch.ones(1), torch.ones(1, 1), torch.full((1, 512), 1 / 512), 8)
        config = codd.DecodingConfig(**SMALL, pc_frac=1.5, pc_temperature=1.0)
        coupled = codd.generate(backbone, PROMPTS, config, circuit=flat)
        alone = codd.generate(backbone, PROMPTS, config)
        assert [output.tokens for output in coupled] == [output.tokens for output in alone]

    def test_a_circuit_that_knows_everything_has_its_way(self, backbone):
        wanted = torch.arange(20, 28)
        emission = torch.full((8, 1, 512), 1e-30)
        emission[torch.arange(8), 0, wanted] = 1.0
        sure = HMM(torch.ones(1), torch.ones(7, 1, 1), emission, 8)
        config = codd.DecodingConfig(**SMALL, pc_frac=1.5)
        output = codd.generate(backbone, PROMPTS[:1], config, circuit=sure)[0]
        assert output.tokens == wanted.tolist() * 4


class TestARowIsAlone:
    @pytest.mark.parametrize("pc_sampling", PC_SAMPLING)
    @pytest.mark.parametrize(
        ("paradigm", "pc_windows"), [("block", "best"), ("full", "best"), ("full", "cover")], ids=str
    )
    def test_batches_of_1_and_of_7_decode_alike(self, backbone, pc_sampling, paradigm, pc_windows):
        circuit = random_circuit(512, 8, 6)
        config = codd.DecodingConfig(
            **SMALL, pc_sampling=pc_sampling, paradigm=paradigm, pc_windows=pc_windows, pc_frac=0.9
        )
        together = codd.generate(backbone, PROMPTS, config, circuit=circuit)
        assert together == [codd.generate(backbone, [prompt], config, circuit=circuit)[0] for prompt in PROMPTS]
        assert all(output.num_circuit for output in together)

    @pytest.mark.parametrize(("alg", "paradigm"), list(itertools.product(ALGS, ["block", "full"])))
    def test_under_every_rule_with_sampling(self, backbone, alg, paradigm):
        circuit = random_circuit(512, 8, 6)
        config = codd.DecodingConfig(
            **SMALL, alg=alg, paradigm=paradigm, temperature=0.5, top_p=0.9, top_k=30, pc_frac=0.9
        )
        together = codd.generate(backbone, PROMPTS, config, circuit=circuit)
        assert together == [codd.generate(backbone, [prompt], config, circuit=circuit)[0] for prompt in PROMPTS]


class TestImpossibleEvidence:
    def test_the_backbone_decides_alone_and_it_is_counted(self):
        emission = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0]])
        circuit = HMM(torch.ones(1), torch.ones(1, 1), emission, WINDOW)
        table = torch.full((WINDOW, VOCAB), -torch.inf)
        table[:, 2] = 0.0
        config = codd.DecodingConfig(**ONE_STEP)
        output = codd.generate(FixedBackbone(table), [[0]], config, circuit=circuit)[0]
        assert output.tokens == [2, 2, 2]
        assert (output.num_circuit, output.num_impossible) == (1, 1)

    def test_possible_rows_beside_it_are_not_touched(self):
        emission = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0]])
        circuit = HMM(torch.ones(1), torch.ones(1, 1), emission, WINDOW)
        table = torch.full((2, WINDOW, VOCAB), -torch.inf)
        table[:, :, 2] = 0.0
        table[1, :, 1] = -5.0

        class ByPrompt(FixedBackbone):
            def logits(self, tokens, attention_mask=None, positions=None):
                return self.table[tokens[:, 0]].gather(1, (positions - 1)[..., None].expand(-1, -1, VOCAB))

        config = codd.DecodingConfig(**ONE_STEP)
        outputs = codd.generate(ByPrompt(table), [[0], [1]], config, circuit=circuit)
        assert [output.tokens for output in outputs] == [[2, 2, 2], [1, 1, 1]]
        assert [output.num_impossible for output in outputs] == [1, 0]


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "vocab", "message"),
        [
            ({"block_length": 16}, 512, "`block_length=16` must equal the circuit's window of 8 positions"),
            ({"paradigm": "full", "gen_length": 4}, 512, "`gen_length=4` is shorter than the circuit's window of 8"),
            ({}, 500, "circuit's vocabulary of 500 tokens is smaller than the backbone's 512"),
        ],
    )
    def test_a_circuit_that_does_not_fit(self, backbone, settings, vocab, message):
        with pytest.raises(ValueError, match=message):
            config = codd.DecodingConfig(**SMALL | settings)
            codd.generate(backbone, PROMPTS[:1], config, circuit=random_circuit(vocab, 8, 3))


class TestCircuitsOfOtherKinds:
    def test_a_float64_circuit_decodes_too(self, backbone):
        circuit, config = random_circuit(512, 8, 3), codd.DecodingConfig(**SMALL, pc_frac=0.9)
        single = codd.generate(backbone, PROMPTS[:2], config, circuit=circuit)
        assert codd.generate(backbone, PROMPTS[:2], config, circuit=circuit.to(torch.float64)) == single

    def test_one_on_another_device_is_copied_to_the_backbones(self, backbone):
        circuit, asked = random_circuit(512, 8, 3), []

        class Elsewhere:
            num_positions, vocab_size, device = 8, 512, torch.device("meta")

            def to(self, device):
                asked.append(device)
                return circuit

        config = codd.DecodingConfig(**SMALL, pc_frac=0.9)
        outputs = codd.generate(backbone, PROMPTS[:1], config, circuit=Elsewhere())
        assert outputs == codd.generate(backbone, PROMPTS[:1], config, circuit=circuit)
        assert asked == [backbone.device]

    def test_logits_that_a_backbone_keeps_are_not_written_into(self):
        class Keeps(FixedBackbone):
            def logits(self, tokens, attention_mask=None, positions=None):
                return self.table

        kept = Keeps(torch.zeros(1, WINDOW, VOCAB))
        config = codd.DecodingConfig(**ONE_STEP, logits_eos_inf=True)
        codd.generate(kept, [[0]], config, circuit=random_circuit(VOCAB, WINDOW, LATENTS))
        assert (kept.table == 0).all()


@pytest.mark.parametrize("pc_windows", ["best", "cover"])
def test_unsure_end_tokens_do_not_place_windows_either(pc_windows):
    """Else they would be members of the step, which are committed before all others."""
    length = 12
    table = torch.zeros(length, VOCAB)
    table[:, MASK] = -torch.inf
    table[0] = table[length - 1] = torch.tensor([0.0, 0.0, 0.0, 9.0, -torch.inf])  # sure of the end
    table[4:8, 1] = 5.0
    settings = {"gen_length": length, "num_steps": 3, "paradigm": "full", "stop_at_eos": False, "pc_frac": 0.0}
    config = codd.DecodingConfig(**settings, pc_windows=pc_windows, confidence_eos_eot_inf=True)
    events = []
    circuit = random_circuit(VOCAB, WINDOW, LATENTS)
    codd.generate(FixedBackbone(table), [[0]], config, circuit=circuit, on_step=events.append)
    first = events[0].columns[events[0].commit].tolist()
    assert set(first) <= {4, 5, 6, 7}
