"""Every setting of a decode and every argument of a model can be given wherever a user names settings."""

import dataclasses
import json
from pathlib import Path

import pytest

from lm_eval_codd.launch.command import build_command, model_args
from lm_eval_codd.models.arguments import argument_names
from lm_eval_codd.models.gen_kwargs import Settings
from lm_eval_codd.models.llada import LLaDA
from lm_eval_codd.runs.make_run import make_run, parse_run
from lm_eval_codd.runs.naming import run_name
from lm_eval_codd.runs.run_flags import FLAGS, NAMES_HERE
from lm_eval_codd.runs.sweep import parse_sweep, typed
from lm_eval_codd.settings import DECODERS, DecodingConfig, facts_of, reads
from lm_eval_codd.settings.block_rules import RULES
from tests.run_files import checkpoint_folder

RUN = "--model_alias llada --task demo --gen_length 32"

# Arguments of a model that a run of the launcher has no flag for, and what stands in their place.
ELSEWHERE = {
    "pretrained": "--llada_ckpt",
    "revision": "owner/name@revision",
    "peft_revision": "owner/name@revision",
    "pc_revision": "owner/name@revision",
    "planner_revision": "owner/name@revision",
    "device": "--gpus",
    "device_map": "a run has one device",
    "journal": "in its folder",
    "own_defaults": "a run's flags say everything",
    "max_batch_size": "where `auto` starts; changes no answer",
    "attn_implementation": "does nothing",
    "trust_remote_code": "does nothing",
}
# What a setting is read beside.
_SCHEDULE = {"router": "ec", "ec_schedule": "bell_gaussian", "ec_k_min": 2, "ec_k_max": 8}
BESIDE = {
    "tokens_per_step": {"num_steps": None},
    "entropy_threshold": {"selection": "entropy"},
    **{name: {"router": "ec"} for name in ("ec_k", "ec_gates", "ec_scope")},
    **{name: _SCHEDULE for name in ("ec_schedule", "ec_k_min", "ec_k_max", "ec_sigma")},
}
# By the rule of a block that reads a setting, checkpoints that have it.
OF_RULE = {
    "sdar": {"masked_lm_ckpt": "owner/sdar", "family": "sdar"},
    "llada2": {"masked_lm_ckpt": "owner/llada2", "family": "llada2"},
    "llada21": {"masked_lm_ckpt": "owner/llada2.1", "family": "llada2"},
    "fast_dllm_v2": {"masked_lm_ckpt": "owner/fast_dllm_v2", "family": "fast_dllm_v2"},
}
CANDIDATES = {"int": (2, 4, 16, 64), "float": (0.5, 0.25, 1.5, -0.5), "str": ("linear",), "bool": (True, False)}


def another(field: dataclasses.Field) -> tuple[str, object]:
    """A decoder that reads the setting, and a value of it that is allowed there and not the default."""
    for decoder in DECODERS:
        if field.name == "decoder":
            return "cad", "cad"
        if not reads(decoder, field.name):
            continue
        for value in facts_of(field).choices or CANDIDATES[str(field.type).partition(" ")[0]]:
            try:
                config = DecodingConfig.for_family(
                    "llada",
                    decoder=decoder,
                    **{"gen_length": 32, **BESIDE.get(field.name, {}), field.name: value},
                )
            except ValueError:
                continue
            usual = {facts.defaults.get(field.name) for facts in RULES.values()}
            if value not in {
                field.default,
                getattr(DecodingConfig(decoder=decoder, gen_length=32), field.name),
                *usual,
            }:
                return decoder, getattr(config, field.name)
    raise AssertionError(f"no value to try for {field.name}")


@pytest.mark.parametrize("field", dataclasses.fields(DecodingConfig), ids=lambda field: field.name)
class TestSettings:
    def arguments(self, field):
        decoder, value = another(field)
        more = {name: text for name, text in BESIDE.get(field.name, {}).items() if text is not None}
        return {"decoder": decoder, **more, "gen_length": 32, field.name: value}, value

    def test_reach_a_run_from_flags_and_sweeps_and_its_model_from_there(self, field):
        given, value = self.arguments(field)
        circuit = {"pc_ckpt": "demo"} if facts_of(field).is_circuits else {}
        model = {"model_alias": "llada", "llada_ckpt": "demo"}
        if given["decoder"] == "block_diffusion":  # the demo's attention is full
            rule = next((rule for rule, facts in RULES.items() if field.name in facts.reads), "llada2")
            model = {"model_alias": "masked_lm", **OF_RULE[rule]}
        words = {**model, "task": "demo", **given, **circuit}
        by_flags = parse_run(" ".join(f"--{name} {text}" for name, text in words.items()))
        (point,) = parse_sweep(" ".join(f"{name}={text}" for name, text in words.items())).points()
        assert make_run(typed(point)) == by_flags
        assert getattr(by_flags.config, field.name) in (value, None)  # None: said in another way (`num_steps`)
        said = "num_steps" if field.name == "tokens_per_step" else field.name
        assert model_args(by_flags)[said] == (32 // value if field.name == "tokens_per_step" else value)

    def test_reach_a_decode_from_model_args_and_gen_kwargs(self, field):
        given, value = self.arguments(field)
        assert getattr(Settings("llada", given).resolve({}), field.name) == value
        assert getattr(Settings("llada", {}).resolve(given), field.name) == value


class TestArguments:
    def test_have_a_flag_or_something_in_its_place(self):
        flags = {flag.name for flag in FLAGS}
        reached = {name for name in argument_names(LLaDA) if NAMES_HERE.get(name, name) in flags}
        assert argument_names(LLaDA) - reached == ELSEWHERE.keys()

    def test_reach_the_model(self, tmp_path, checkpoint):
        (tmp_path / "planner").mkdir()
        planner = checkpoint_folder(tmp_path / "planner")
        run = parse_run(
            f"--model_alias llada --task gsm8k --llada_ckpt '{checkpoint}' --decoder p2 --planner '{planner}' "
            f"--tokenizer '{checkpoint}' --add_bos_token false --max_length 2048 "
            """--chat_template_args '{"enable_thinking": false}' """
        )
        expected = {
            "planner": str(planner),
            "tokenizer": str(checkpoint),
            "add_bos_token": False,
            "max_length": 2048,
            "chat_template_args": {"enable_thinking": False},
        }
        args = model_args(run)
        assert {name: args[name] for name in expected} == expected
        assert "_planner-tiny-llada_tokenizer-tiny-llada_no-bos_enable_thinking-False_max_length-2048" in run_name(run)

    def test_a_planner_is_pinned_as_the_checkpoint_is(self):
        args = model_args(parse_run(f"{RUN} --decoder p2 --planner owner/name@abc"))
        assert (args["planner"], args["planner_revision"]) == ("owner/name", "abc")

    def test_none_is_in_the_identity_of_a_run_that_has_none(self):
        new = {"planner", "tokenizer", "add_bos_token", "chat_template_args", "metadata"}
        assert not new & parse_run(RUN).identity().keys()


class TestArgumentsOfATask:
    @pytest.mark.parametrize("written", ["clean=off", '{"clean": "off"}', '{"clean":"off"}'])
    def test_reach_lm_eval_and_the_name(self, written):
        run = parse_run(f"--model_alias llada --task gpqa --metadata '{written}'")
        command = build_command(run, Path("folder"), "cpu")
        assert json.loads(command[command.index("--metadata") + 1]) == {"clean": "off"}
        assert run_name(run) == "llada_gpqa_low_confidence_steps256_clean-off"

    @pytest.mark.parametrize("written", ["--template stock", "--metadata template=stock"])
    def test_a_template_is_one_of_them(self, written):
        run = parse_run(f"--model_alias llada --task math500 {written}")
        command = build_command(run, Path("folder"), "cpu")
        assert json.loads(command[command.index("--metadata") + 1]) == {"template": "stock"}
        assert run_name(run) == "llada_math500_low_confidence_steps256_prompt-stock"

    def test_the_papers_template_is_the_run_without_one(self):
        plain = parse_run("--model_alias llada --task math500")
        for written in ("--template paper", "--metadata template=paper"):
            assert parse_run(f"--model_alias llada --task math500 {written}") == plain
        assert "template" not in json.dumps(plain.identity()).replace("chat_template", "")

    def test_a_template_stands_beside_the_others(self):
        run = parse_run("--model_alias llada --task gpqa --template marker --metadata clean=off")
        assert json.loads(run.metadata) == {"clean": "off", "template": "marker"}

    def test_a_template_is_not_mistaken_for_a_chat_template(self, checkpoint):
        of_task = parse_run("--model_alias llada --task math500 --template stock")
        of_chat = parse_run("--model_alias llada --task math500 --chat_template stock")
        assert run_name(of_task) != run_name(of_chat)

    def test_templates_are_swept(self):
        sweep = (
            "model_alias=llada task=math500 num_steps=64 pc_ckpt=none,il18/llada-math-pc template=paper,stock,wording"
        )
        runs = [make_run(typed(point)) for point in parse_sweep(sweep).points()]
        assert len({run_name(run) for run in runs}) == 6
        assert sum(run.metadata is None for run in runs) == 2

    def test_are_swept(self):
        points = [*parse_sweep("model_alias=llada task=gpqa metadata=clean=off,clean=paper").points()]
        assert [run_name(make_run(typed(point)))[-5:] for point in points] == ["n-off", "paper"]


@pytest.mark.parametrize(
    "more, message",
    [
        ("--planner owner/name", "`--planner_ckpt owner/name` is read by --decoder p2; add that, or leave it out"),
        ("--tokenizer owner/name@abc", "`--tokenizer owner/name@abc`: a tokenizer is not pinned to a revision; "),
        ("--tokenizer nowhere", "`--tokenizer nowhere`: there is no such folder, "),
        ("--max_length 32", "`--max_length 32` must be more than `--gen_length 32`"),
        ("--max_length 900 --protocol official", "`--max_length` and `--protocol official` both say how long prompts"),
        ("--chat_template_args x", "`--chat_template_args x` must be a JSON object, such as "),
        ("--metadata clean", "`--metadata clean` must be name=value, such as clean=off, or a JSON object"),
        ("--template v9", "`--template v9`: codd_demo has no such template; use one of paper, wording, marker"),
        ("--metadata template=v9", "`--metadata template=v9`: codd_demo has no such template; use one of paper, "),
        (
            "--template wording --metadata template=marker",
            "`--template wording` contradicts `--metadata template=marker`",
        ),
        ("--add_bos_token=maybe", "`--add_bos_token maybe` must be true or false"),
    ],
)
def test_what_cannot_be_is_one_line(more, message):
    with pytest.raises(ValueError) as error:
        parse_run(f"{RUN} {more}")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
