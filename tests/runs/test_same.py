import itertools

import pytest

from lm_eval_codd.runs.gates import block_gates
from lm_eval_codd.runs.make_run import make_run
from lm_eval_codd.runs.naming import run_name
from lm_eval_codd.runs.same import answers_key, merge
from lm_eval_codd.runs.sweep import parse_sweep, typed


def named(text: str):
    found = [make_run(typed(point)) for point in parse_sweep(f"model_alias=llada task=gsm8k {text}").points()]
    return {run_name(run): run for run in found}


def merged(text: str, rank=lambda name: 0):
    kept, remarks = merge(named(text), rank)
    return list(kept.values()), remarks


class TestRunsThatAreTheSame:
    def test_open_the_same_gates_and_are_otherwise_equal(self):
        kept, remarks = merged("num_steps=64 pc_ckpt=a/b pc_frac=0.3,0.4,0.5,0.6 pc_temperature=0.1,0.2")
        assert [(run.config.pc_frac, run.config.pc_temperature) for run in kept] == [
            (0.3, 0.1),
            (0.3, 0.2),
            (0.6, 0.1),
            (0.6, 0.2),
        ]
        assert remarks == [
            "merged   at 64 steps, blocks of 32 of 512: pc_frac 0.3, 0.4, 0.5 open the same gates; pc_frac 0.3 stands "
            "for all (4 runs less)"
        ]

    @pytest.mark.parametrize("steps", [64, 128, 256])
    def test_are_those_of_equal_gates_for_every_pair_of_fractions(self, steps):
        fractions = [twentieth / 20 for twentieth in range(1, 22)]
        runs = {frac: next(iter(named(f"num_steps={steps} pc_ckpt=a/b pc_frac={frac}").values())) for frac in fractions}
        for one, other in itertools.combinations(fractions, 2):
            alike = block_gates(runs[one].config, "llada") == block_gates(runs[other].config, "llada")
            assert (answers_key(runs[one]) == answers_key(runs[other])) == alike

    def test_are_not_those_with_more_steps_where_a_ratio_lies_between(self):
        kept, remarks = merged("num_steps=128 pc_ckpt=a/b pc_frac=0.3,0.4,0.5")
        assert [run.config.pc_frac for run in kept] == [0.3, 0.4]
        assert "pc_frac 0.4, 0.5 open the same gates" in remarks[0]

    @pytest.mark.parametrize("difference", ["alg=margin,entropy", "seed=1,2", "pc_sampling=latent,map", "tag=a,b"])
    def test_are_not_those_that_differ_in_anything_else(self, difference):
        kept, remarks = merged(f"num_steps=64 pc_ckpt=a/b pc_frac=0.3 {difference}")
        assert (len(kept), remarks) == (2, [])

    def test_are_not_known_in_the_full_paradigm(self):
        kept, _ = merged("num_steps=64 paradigm=full pc_ckpt=a/b pc_frac=0.3,0.5")
        assert len(kept) == 2

    def test_reversed_gates_count_by_what_they_open(self):
        kept, remarks = merged("num_steps=64 pc_ckpt=a/b reverse_frac=true pc_frac=0.3,0.4,0.5")
        assert [run.config.pc_frac for run in kept] == [0.3, 0.5]
        assert "pc_frac 0.3, 0.4 open" in remarks[0]

    def test_windows_are_not_read_in_blocks(self):
        kept, remarks = merged("num_steps=64 pc_ckpt=a/b pc_windows=best,cover")
        assert len(kept) == 1
        assert "pc_windows best, cover" in remarks[0]

    def test_keep_their_gates_with_a_cache_but_not_with_a_time_grid_or_a_threshold(self):
        text = "num_steps=64 pc_ckpt=a/b pc_frac=0.3,0.5"
        assert len(merged(f"{text} cache=dual")[0]) == 1
        assert len(merged(f"{text} cache=none,dual")[0]) == 2
        assert len(merged(f"{text} threshold=0.9")[0]) == 2
        dream = make_run({"model_alias": "dream", "task": "gsm8k", "dream_block": True, "cache": "dual"})
        assert block_gates(dream.config, "dream") is None
        assert block_gates(dream.config, "llada") is not None


class TestACircuitThatNeverActs:
    def test_is_the_run_without_it(self):
        kept, remarks = merged("num_steps=16 pc_ckpt=a/b,none pc_frac=0.3,0.5 pc_temperature=0.1,0.2")
        assert [run.circuit for run in kept] == [None]
        assert remarks[0].startswith("merged   at 16 steps, blocks of 32 of 512: the circuit never acts with ")
        assert remarks[0].endswith("the run without it stands for all (4 runs less)")

    def test_is_one_run_where_there_is_none_without_it(self):
        kept, remarks = merged("num_steps=16 pc_ckpt=a/b pc_frac=0.3,0.5 pc_temperature=0.1,0.2")
        assert [run.config.pc_frac for run in kept] == [0.3]
        assert "(3 runs less)" in remarks[0]


class TestTopprob:
    @pytest.mark.parametrize(
        "settings",
        [
            "",
            "paradigm=full temperature=0.5",
            "paradigm=full pc_ckpt=a/b",
            "paradigm=full temperature=0.5 pc_windows=cover pc_ckpt=a/b",
            "num_steps=64 pc_ckpt=a/b temperature=0.5",
        ],
    )
    def test_is_the_run_of_low_confidence(self, settings):
        kept, remarks = merged(f"alg=low_confidence,topprob {settings}")
        assert [run.config.alg for run in kept] == ["low_confidence"]
        assert (
            "alg low_confidence, topprob: they are one rule here; low_confidence stands for all (1 run less)"
            in remarks[0]
        )

    @pytest.mark.parametrize("cut", ["temperature=0.5", "top_k=5", "top_p=0.9"])
    def test_is_not_in_a_circuits_best_windows_where_candidates_are_cut_or_drawn(self, cut):
        kept, remarks = merged(f"alg=low_confidence,topprob paradigm=full pc_ckpt=a/b {cut}")
        assert (len(kept), remarks) == (2, [])

    def test_is_merged_with_gates_too(self):
        kept, remarks = merged("alg=low_confidence,topprob num_steps=64 pc_ckpt=a/b pc_frac=0.3,0.4")
        assert [(run.config.alg, run.config.pc_frac) for run in kept] == [("low_confidence", 0.3)]
        assert "pc_frac 0.3, 0.4 open the same gates; pc_frac 0.3 stands for all (3 runs less)" in remarks[0]


class TestSettingsWithoutEffect:
    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("gen_length=64 num_steps=64,128", "num_steps 64, 128: a block has no more steps that commit than tokens"),
            ("gen_length=32 num_steps=32,64 temperature=0.7", "num_steps 32, 64: a block has no more steps"),
            ("seed=1,2,3", "seed 1, 2, 3: nothing is drawn"),
            ("seed=1,2 pc_ckpt=a/b pc_sampling=map pc_frac=1.1", "seed 1, 2: nothing is drawn"),
            ("paradigm=full block_length=32,64", "block_length 32, 64: the whole canvas is one block"),
            ("eps=0.001,0.01", "eps 0.001, 0.01: there is no time grid"),
            ("eps=0.001,0.01 paradigm=full threshold=0.9", "eps 0.001, 0.01: there is no time grid"),
            ("pc_ckpt=a/b threshold=0.9 pc_windows=best,cover", "pc_windows best, cover: windows are the blocks"),
        ],
    )
    def test_make_one_run(self, text, why):
        kept, remarks = merged(text)
        assert len(kept) == len(remarks) == 1
        assert remarks[0].startswith(f"merged   {why}") and "stands for all" in remarks[0]

    @pytest.mark.parametrize(
        "text",
        [
            "gen_length=64 num_steps=32,64",
            "gen_length=64 num_steps=64,128 paradigm=full",
            "gen_length=64 num_steps=64,128 temperature=0.7",
            "gen_length=64 num_steps=64,128 alg=random",
            "gen_length=64 num_steps=64,128 pc_ckpt=a/b pc_frac=1.1",
            "seed=1,2 temperature=0.7",
            "seed=1,2 alg_temp=0.5",
            "seed=1,2 alg=random",
            "seed=1,2 pc_ckpt=a/b pc_sampling=any_order pc_frac=1.1",
            "block_length=32,64",
            "paradigm=full cache=prefix block_length=32,64",
            "eps=0.001,0.01 paradigm=full",
            "paradigm=full pc_ckpt=a/b pc_windows=best,cover",
            "decoder=cad selection=random seed=1,2",
            "decoder=p2 seed=1,2",
            "decoder=p2 gen_length=64 num_steps=64,128",
        ],
    )
    def test_have_one_elsewhere(self, text):
        kept, remarks = merged(text)
        assert (len(kept), remarks) == (2, [])


FULL = {"paradigm": "full", "num_steps": 4}
MAP = {"pc_sampling": "map", "pc_frac": 1.1, "num_steps": 4}
DRAWN = {"temperature": 1.0, "block_length": 16}


class TestTheProof:
    """What the rules say, held against decodes of the demo."""

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"num_steps": 16}, {"num_steps": 64}),
            ({**DRAWN, "num_steps": 16}, {**DRAWN, "num_steps": 64}),
            ({"num_steps": 4, "seed": 1}, {"num_steps": 4, "seed": 2}),
            ({**MAP, "seed": 1}, {**MAP, "seed": 2}),
            ({**FULL, "block_length": 8}, {**FULL, "block_length": 16}),
            ({"num_steps": 4, "eps": 0.001}, {"num_steps": 4, "eps": 0.5}),
        ],
    )
    def test_answers_and_passes_are_equal(self, one, other):
        import lm_eval_codd as codd

        backbone = codd.load_backbone("demo", dtype="float32", device="cpu")
        circuit = small_circuit(backbone.vocab_size) if "pc_sampling" in one else None
        decodes = []
        for settings in (one, other):
            config = codd.DecodingConfig(**{"gen_length": 16, "block_length": 8, **settings})
            outputs = codd.generate(backbone, [[5, 6, 7], [9]], config, circuit=circuit)
            decodes.append([(output.tokens, output.num_forward) for output in outputs])
        assert decodes[0] == decodes[1]


def small_circuit(vocab_size: int):
    import torch

    from lm_eval_codd.circuits import HMM

    generator = torch.Generator().manual_seed(0)
    tables = [torch.rand(*shape, generator=generator) for shape in ((3,), (3, 3), (3, vocab_size))]
    return HMM(*(table / table.sum(-1, keepdim=True) for table in tables), 8)


class TestTheOneThatIsKept:
    def test_is_the_one_that_is_there_already(self):
        kept, _ = merged("num_steps=64 pc_ckpt=a/b pc_frac=0.3,0.4,0.5", lambda name: "pc_frac-0.5" not in name)
        assert [run.config.pc_frac for run in kept] == [0.5]
