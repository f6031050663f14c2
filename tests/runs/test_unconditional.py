"""Runs of models without prompts: their flags, names, identities, arguments and cost; what cannot be."""

import dataclasses
import json
import shutil

import pytest

from lm_eval_codd.catalogue import CHECKPOINT_FLAGS, DIT_MODELS, MODEL_ALIASES, NATIVE
from lm_eval_codd.dit.config import MODEL_TYPES
from lm_eval_codd.launch.command import build_command, model_args
from lm_eval_codd.models.coupling_lm import CouplingLM
from lm_eval_codd.models.dit_lm import DLM
from lm_eval_codd.registration import MODELS
from lm_eval_codd.runs import record
from lm_eval_codd.runs.estimate import stated
from lm_eval_codd.runs.file_checks import find_problems
from lm_eval_codd.runs.identity import filled, from_identity
from lm_eval_codd.runs.make_run import make_run, parse_run
from lm_eval_codd.runs.naming import run_name
from lm_eval_codd.runs.run_flags import ELSEWHERE as OTHER_NAMES
from lm_eval_codd.runs.run_flags import FLAGS, NAMES_HERE
from lm_eval_codd.runs.sweep import parse_sweep, typed
from lm_eval_codd.runs.unconditional import ALL_KINDS, KINDS
from lm_eval_codd.settings.dit import ALGO_OF_TYPE

HUB = "--dit_ckpt kuleshov-group/mdlm-owt"
SAMPLES = f"--model_alias mdlm {HUB} --task dlm_gen_ppl"
BOUNDS = f"--model_alias mdlm {HUB} --task dlm_ppl_ptb"
# Arguments of a model that have no flag, and what stands in their place.
ELSEWHERE = {
    "pretrained": "--dit_ckpt, --coupling_ckpt",
    "revision": "owner/name@revision",
    "pc_revision": "owner/name@revision",
    "device": "--gpus",
    "journal": "in its folder",
    "max_batch_size": "where `auto` starts; changes no answer",
    "trust_remote_code": "does nothing",
    "steps": "--num_steps",
}
# A value of each setting that is not its default.
OTHERS = {"seed": 7, "num_steps": 8, "gen_length": 5, "predictor": "analytic", "noise_removal": "none"}
OTHERS |= {"p_nucleus": 0.5, "use_float64": False, "mode": "joint", "num_samples": 3, "append_eos": True}
OTHERS |= {"is_greedy": True, "pc_frac": 0.5, "reverse_frac": True}
OTHERS |= {
    "psi_modes": "constant-0.5/pure-pc/pure-posterior",
    "psi_shares": "0.2/0.6",
    "psi_times": "linear-constant-linear-0.1",
}
# What a setting is read with.
BESIDE = {
    "psi_modes": " --predictor psi --psi_shares 0.2/0.6",
    "pc_frac": " --pc_ckpt il18/some-pc",
    "reverse_frac": " --pc_ckpt il18/some-pc",
}
BESIDE["psi_shares"] = f" --predictor psi --psi_modes {OTHERS['psi_modes']}"
BESIDE["psi_times"] = f"{BESIDE['psi_modes']} --psi_modes {OTHERS['psi_modes']}"
OTHERS |= {"temperature": 0.5, "top_p": 0.5, "z_scale": 0.5, "steps": 8, "tau": 0.5, "eta": 0.5}


@pytest.fixture
def folder(golden_dir, tmp_path):
    """An MDLM's folder."""
    shutil.copytree(golden_dir / "dit" / "hf-mdlm-tiny", tmp_path / "mdlm")
    if not (tmp_path / "mdlm" / "model.safetensors").is_file():
        shutil.copy(golden_dir / "dit" / "hf-duo-tiny" / "model.safetensors", tmp_path / "mdlm")
    return tmp_path / "mdlm"


@pytest.fixture
def coupling(golden_dir):
    file = golden_dir / "latent" / "coupling_v3_transformer.pt"
    return f"--model_alias coupling --coupling_ckpt '{file}' --task dlm_gen_ppl"


class TestFlags:
    def test_the_launcher_runs_every_model_but_two_and_names_what_does(self):
        assert {*MODEL_ALIASES, "dlm", NATIVE} == {name for name in MODELS if not name.startswith("codd_")}
        assert set(ALGO_OF_TYPE) == set(MODEL_TYPES) and set(DIT_MODELS.values()) < set(KINDS)

    @pytest.mark.parametrize("model", [DLM, CouplingLM])
    def test_every_argument_has_one_or_something_in_its_place(self, model):
        flags = {flag.name for flag in FLAGS}
        assert {name for name in model._arguments() if NAMES_HERE.get(name, name) not in flags} <= ELSEWHERE.keys()

    @pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ALL_KINDS[0].settings)])
    def test_settings_of_the_dit_family_reach_the_model_from_flags_and_sweeps(self, name):
        is_bounds = name in ALL_KINDS[0].settings().of_bounds() and name != "seed"
        base = BOUNDS if is_bounds else SAMPLES
        text = f"{base}{BESIDE.get(name, '')} --{name} {OTHERS[name]}"
        run = parse_run(text)
        assert model_args(run)[name] == OTHERS[name]
        words = text.replace("--", "").split()
        (point,) = parse_sweep(" ".join(map("=".join, zip(words[::2], words[1::2], strict=True)))).points()
        assert make_run(typed(point)) == run
        without = base if name in ("psi_modes", "psi_shares") else base + BESIDE.get(name, "")
        assert run_name(run) != run_name(parse_run(without))

    @pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ALL_KINDS[1].settings)])
    def test_settings_of_coupling_models_too(self, name, coupling):
        flag = "num_steps" if name == "steps" else name
        run = parse_run(f"{coupling} --{flag} {OTHERS[name]}")
        assert model_args(run)[name] == OTHERS[name] and run_name(run) != run_name(parse_run(coupling))

    def test_arguments_of_the_model(self, folder):
        more = f"--algo sedd --ema false --mask_id 30 --dtype float32 --max_length 8 --tokenizer '{folder}'"
        run = parse_run(f"--model_alias sedd --dit_ckpt '{folder}' --task dlm_gen_ppl {more}")
        assert model_args(run) == {
            **{"pretrained": str(folder), "tokenizer": str(folder), "algo": "sedd", "ema": False, "mask_id": 30},
            **{"dtype": "float32", "max_length": 8, "num_steps": 1024},
        }

    def test_old_names_of_tokenizers_have_an_owner(self):
        assert parse_run(f"{SAMPLES} --tokenizer gpt2").tokenizer == "openai-community/gpt2"

    def test_numbers_among_a_tasks_arguments_are_numbers(self):
        run = parse_run(f"{SAMPLES} --metadata samples=8,protocol=coupling")
        assert json.loads(run.metadata) == {"samples": 8, "protocol": "coupling"}

    def test_its_command(self, tmp_path):
        command = build_command(parse_run(f"{SAMPLES} --num_steps 8"), tmp_path, "cpu")
        assert command[command.index("--model") + 1] == "mdlm" and "--apply_chat_template" not in command
        assert command[command.index("--tasks") + 1] == "dlm_gen_ppl" and "own_defaults" not in " ".join(command)


class TestMessages:
    @pytest.mark.parametrize("alias", [alias for alias in MODEL_ALIASES if alias != "masked_lm"])
    def test_name_what_was_typed_whatever_the_model_calls_it(self, alias, folder, golden_dir):
        home, checkpoint = CHECKPOINT_FLAGS[alias], "a/b"
        if alias == "coupling":
            checkpoint = golden_dir / "latent" / "coupling_v3_transformer.pt"
        for flag in OTHER_NAMES:
            if flag.name == "is_check_greedy":  # a word that is no truth value is another flag's
                continue
            own = {"model_path": home, "model_name_or_path": home, "pretrained": home, "model": "model_alias"}
            given = {"model_alias": alias, home: checkpoint, "task": "gsm8k"}
            given.pop(own.get(flag.name), None)
            bad = -5 if flag.kind.startswith(("int", "float")) else "nonsense!"
            text = " ".join(f"--{name} '{value}'" for name, value in {**given, flag.name: bad}.items())
            with pytest.raises(ValueError) as caught:
                parse_run(text)
            assert f"`{flag.name}={bad}" in str(caught.value) or f"`--{flag.name}`" in str(caught.value)

    def test_a_length_that_is_too_long_is_said_under_its_name(self, folder):
        with pytest.raises(ValueError) as caught:
            parse_run(f"--model_alias mdlm --dit_ckpt '{folder}' --task dlm_gen_ppl --length 64")
        assert str(caught.value).startswith("`--gen_length 64` is more than the 12 tokens that ")
        assert str(caught.value).endswith("; `length=64` (DUO) is read as `gen_length=64`")

    def test_a_setting_is_said_under_the_name_of_its_flag(self, coupling):
        with pytest.raises(ValueError) as caught:
            parse_run(f"{coupling} --num_steps 0")
        assert str(caught.value) == "`num_steps=0` is out of range; it must be at least 1"

    @pytest.mark.parametrize("wrong", ["--max_length -5", "--mask_id -1"])
    def test_numbers_below_the_least(self, wrong):
        with pytest.raises(ValueError, match=f"`{wrong}` must be [01] or more"):
            parse_run(f"{SAMPLES} {wrong}")

    def test_a_coupling_model_has_no_likelihoods(self, coupling):
        with pytest.raises(ValueError, match=r"`--task dlm_ppl_ptb` asks for likelihoods, .* samples alone"):
            parse_run(coupling.replace("dlm_gen_ppl", "dlm_ppl_ptb"))


class TestIdentity:
    TEXTS = (
        SAMPLES,
        f"{SAMPLES} --num_steps 8 --noise_removal greedy --seed 3 --tag x",
        f"{BOUNDS} --num_samples 4 --mask_id 3 --limit 5",
        "--model_alias dit_ar --dit_ckpt a/b@main --task dlm_ppl_ptb",
        "--model_alias duo --dit_ckpt a/b --task dlm_gen_ppl --sample_sid 1 --sample_eid 4",
    )

    @pytest.mark.parametrize("text", TEXTS)
    def test_a_run_is_what_was_written_of_it(self, text, tmp_path):
        run = parse_run(text)
        written = json.loads(json.dumps(run.identity()))
        assert from_identity(written) == run and filled(written) == filled(run.identity())
        record.write(tmp_path, {"status": "finished", "identity": written, "results": "results_x.json"})
        (tmp_path / "results_x.json").touch()
        assert record.finished(tmp_path, run) and not record.differences(tmp_path, run)
        assert record.otherwise(record.read(tmp_path), run) == []
        other = parse_run(f"{text.replace(' --seed 3', '')} --seed 99")
        assert record.differences(tmp_path, other) == [f"seed={3 if '--seed 3' in text else 1234}"]

    def test_defaults_are_not_in_it(self):
        assert parse_run(SAMPLES).identity()["config"] == {}

    def test_names_tell_runs_apart(self):
        texts = [*self.TEXTS, f"{SAMPLES} --p_nucleus 0.9", f"{SAMPLES} --tokenizer gpt2", f"{BOUNDS} --mode joint"]
        assert len({run_name(parse_run(text)) for text in texts}) == len(texts)
        assert run_name(parse_run(SAMPLES)) == "mdlm_dlm_gen_ppl_ancestral_steps1024_ckpt-kuleshov-group--mdlm-owt"

    def test_what_is_usual_or_not_read_makes_no_other_run(self):
        assert parse_run(f"{SAMPLES} --predictor ancestral --pc_ckpt none --num_samples 9") == parse_run(SAMPLES)
        assert parse_run(f"{BOUNDS} --predictor analytic --mode suffix") == parse_run(BOUNDS)


class TestCost:
    @pytest.mark.parametrize(
        ("text", "answers", "passes", "is_bound"),
        [
            (f"{SAMPLES} --num_steps 8", 1024, 9, True),
            (f"{SAMPLES} --num_steps 8 --noise_removal none --metadata samples=5", 5, 8, True),
            (f"{SAMPLES.replace('mdlm ', 'duo ')} --num_steps 8 --limit 3", 3, 9, False),
            (f"{SAMPLES.replace('mdlm ', 'dit_ar ')}", 1024, 1023, False),
            (f"{BOUNDS} --num_samples 4", None, 4, True),
            (f"{BOUNDS} --num_samples 4 --limit 6", 6, 4, True),
        ],
    )
    def test_passes(self, text, answers, passes, is_bound):
        run = parse_run(text)
        assert (run.num_answers, run.num_forward, run.is_bound) == (answers, passes, is_bound)
        assert run.cost > 0
        estimate = stated(0.5)(run, None)
        assert estimate is None if answers is None else estimate.seconds == 0.5 * answers * passes

    def test_of_coupling_models(self, coupling):
        assert parse_run(f"{coupling} --num_steps 8").num_forward == 8 and parse_run(coupling).num_forward == 1

    def test_extensions_are_said(self):
        assert parse_run(f"{SAMPLES} --pc_ckpt il18/x").extensions == ("a circuit in the samplers of the DiT family",)
        assert parse_run(SAMPLES).extensions == ()


class TestFiles:
    def test_weights_that_are_not_there(self, folder):
        run = parse_run(f"--model_alias mdlm --dit_ckpt '{folder}' --task dlm_gen_ppl")
        assert find_problems({"name": run}) == []
        (folder / "model.safetensors").unlink()
        (line,) = find_problems({"name": run})
        assert "has a config.json and no model.safetensors" in line

    def test_a_task_that_is_not_there(self, folder):
        run = parse_run(f"--model_alias mdlm --dit_ckpt '{folder}' --task dlm_ppl_wikitxt2")
        assert "dlm_ppl_wikitext2" in find_problems({"name": run})[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--model_alias mdlm --task dlm_gen_ppl", "`--dit_ckpt` is missing; give a folder or a hub id"),
        ("--model_alias coupling --task dlm_gen_ppl", "`--coupling_ckpt` is missing; give a file"),
        ("--model_alias coupling --coupling_ckpt a/b --task dlm_gen_ppl", "is no file; give a .pt of the training"),
        ("--model_alias dlm --dit_ckpt a/b --task dlm_gen_ppl", "leaves the algorithm to the checkpoint; name it: duo"),
        (f"--model_alias {NATIVE} --task gsm8k", f"; evaluate it with lm_eval --model {NATIVE}"),
        (f"{SAMPLES} --alg entropy", "`--alg` is not read with --model_alias mdlm; leave it out"),
        (f"{SAMPLES} --llada_ckpt a/b", "`--llada_ckpt` is not read with --model_alias mdlm; use --dit_ckpt"),
        (f"{SAMPLES} --dit_ckpt demo", "given twice"),
        (
            "--model_alias mdlm --dit_ckpt demo --task dlm_gen_ppl",
            "demo is a LLaDA checkpoint; use --model_alias llada",
        ),
        (f"{SAMPLES} --z_scale 0.5", "`--z_scale` is not read with --model_alias mdlm"),
        (f"{SAMPLES} --predictor psy", "`predictor=psy` is not known; use one of ancestral, analytic, psi"),
        (f"{SAMPLES} --predictor psi", "`predictor=psi` needs `psi_modes`; give one"),
        (f"{SAMPLES} --algo duo", "`--algo duo` is another model's; use --model_alias duo"),
        (f"{SAMPLES} --algo x", "`algo=x` is not known; use one of duo, mdlm, sedd, d3pm, ar"),
        (f"{SAMPLES} --pc_frac 0.5", "`--pc_frac` is read by a circuit only; add --pc_ckpt"),
        (f"{SAMPLES.replace('mdlm ', 'duo ')} --pc_ckpt a/b", "does not go with --model_alias duo, which has no mask"),
        (f"{SAMPLES.replace('mdlm ', 'dit_ar ')} --num_steps 8", "`num_steps=8` is of diffusions"),
        (f"{SAMPLES} --batch_size x", "`--batch_size x` must be a whole number"),
        ("--model_alias llada --task gsm8k --predictor analytic", "`--predictor` is of models without prompts"),
        ("--model_alias llada --task gsm8k --dit_ckpt a/b", "`--dit_ckpt` is not read with --model_alias llada"),
    ],
)
def test_what_cannot_be_is_one_line(text, said):
    with pytest.raises(ValueError) as caught:
        parse_run(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("alias", "more", "said"),
    [
        (
            "duo",
            "",
            "says that it is mdlm, and weights of all algorithms look alike; use --model_alias mdlm, or --algo",
        ),
        ("mdlm", "--max_length 13", "`--max_length 13` is more than the 12 tokens that"),
        ("mdlm", "--gen_length 13", "`--gen_length 13` is more than the 12 tokens that"),
    ],
)
def test_a_folder_that_is_something_else_is_one_line(folder, alias, more, said):
    with pytest.raises(ValueError) as caught:
        parse_run(f"--model_alias {alias} --dit_ckpt '{folder}' --task dlm_gen_ppl {more}")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_masked_models_folder_is_one_line(checkpoint):
    with pytest.raises(ValueError, match="is a checkpoint of model_type llada, and of the DiT family are DUO, mdlm"):
        parse_run(f"--model_alias mdlm --dit_ckpt '{checkpoint}' --task dlm_gen_ppl")
