import json
from pathlib import Path

from lm_eval._cli.harness import HarnessCLI

from lm_eval_codd.launch.command import build_command, model_args
from lm_eval_codd.registration import tasks_dir
from lm_eval_codd.runs.make_run import parse_run

OUT = Path("/out/name")


def understood(text: str):
    """What lm-eval's own parser makes of the command of a run."""
    command = build_command(parse_run(text), OUT, "cpu", ("python", "-m", "lm_eval_codd", "run"))
    assert command[:4] == ["python", "-m", "lm_eval_codd", "run"]
    return HarnessCLI()._parser.parse_args(["run", *command[4:]])


class TestTheCommandOfARun:
    def test_lm_eval_reads_back_every_value_as_it_was(self, tmp_path):
        folder = tmp_path / "a, b=c 'd' 1e5"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": "dream"}))
        (folder / "chat_template.jinja").write_text("{{ messages }}")
        quoted = str(folder).replace("'", "'\\''")
        text = f"--model_alias dream --llada_ckpt x --dream_ckpt '{quoted}' --task math500 --top_k none --dream_block"
        args = understood(text.replace("--llada_ckpt x ", ""))
        assert args.model == "dream"
        assert args.model_args == {
            "pretrained": str(folder),
            "own_defaults": False,
            "alg": "entropy",
            "num_steps": 256,
            "paradigm": "block",
            "top_k": None,
            "journal": str(OUT / "journal"),
        }
        assert args.tasks == ["codd_math500"]
        assert (args.apply_chat_template, args.log_samples, args.num_fewshot) == (True, True, 0)
        assert (args.batch_size, args.device) == ("1", "cpu")

    def test_results_land_in_the_runs_folder_itself(self):
        assert understood("--model_alias llada --task gsm8k").output_path == str(OUT / "results.json")

    def test_a_slice_is_sorted_unique_indices_and_a_limit_is_a_limit(self):
        sliced = understood("--model_alias llada --task gsm8k --sample_sid 3 --sample_eid 6")
        assert (sliced.samples, sliced.limit) == ({"codd_gsm8k": [3, 4, 5]}, None)
        limited = understood("--model_alias llada --task gsm8k --limit 0.25")
        assert (limited.samples, limited.limit) == (None, 0.25)

    def test_the_official_protocol_reaches_the_model(self):
        args = understood("--model_alias llada --task gsm8k --protocol official")
        assert (args.model_args["stop_at_eos"], args.model_args["max_length"]) == (False, 2304)

    def test_approximations_reach_the_model_without_the_steps_that_are_not_read(self):
        args = understood("--model_alias llada --task gsm8k --cache dual --threshold 0.9 --num_steps 64").model_args
        assert (args["cache"], args["threshold"], "num_steps" in args) == ("dual", 0.9, False)
        args = understood("--model_alias llada --task gsm8k --cache prefix --num_steps 64").model_args
        assert (args["cache"], args["num_steps"]) == ("prefix", 64)

    def test_hub_ids_go_with_the_commit_that_was_fetched_or_the_revision_they_are_pinned_to(self):
        run = parse_run("--model_alias llada --llada_ckpt a/b --task gsm8k --pc_ckpt c/d@v1 --peft_ckpt e/f@x")
        args = model_args(run, {"a/b": "c0ffee", "c/d@v1": "facade"})
        assert (args["pretrained"], args["revision"]) == ("a/b", "c0ffee")
        assert (args["pc"], args["pc_revision"]) == ("c/d", "facade")
        assert (args["peft"], args["peft_revision"]) == ("e/f", "x")
        assert "revision" not in model_args(run)

    def test_a_base_checkpoint_gets_no_chat_template_and_a_named_one_its_name(self, checkpoint):
        text = f"--model_alias llada --llada_ckpt '{checkpoint}' --task gsm8k"
        assert understood(text).apply_chat_template is True
        folder = checkpoint / "additional_chat_templates"
        folder.mkdir()
        (folder / "tool_use.jinja").write_text("{{ messages }}")
        assert understood(f"{text} --chat_template tool_use").apply_chat_template == "tool_use"
        assert "apply_chat_template" not in understood(f"{text} --chat_template false")
        (checkpoint / "chat_template.jinja").unlink()
        (folder / "tool_use.jinja").unlink()
        assert "apply_chat_template" not in understood(text)

    def test_a_task_keeps_its_own_shots_unless_a_number_is_given(self):
        text = "--model_alias llada --task gsm8k_cot"
        assert getattr(understood(text), "num_fewshot", None) is None
        assert understood(f"{text} --num_shot 0").num_fewshot == 0
        assert understood(f"{text} --num_shot 5").num_fewshot == 5

    def test_a_users_own_tasks_and_programs_reach_lm_eval(self, tmp_path):
        base = f"--model_alias llada --include_path '{tmp_path}'"
        text = f"{base} --task mine"
        assert understood(text).include_path == str(tmp_path)
        assert understood(f"{base} --task gsm8k").include_path == str(tasks_dir())
        assert "confirm_run_unsafe_code" not in understood(text)
        assert understood(f"{text} --confirm_run_unsafe_code").confirm_run_unsafe_code

    def test_a_circuit_selects_the_coupled_model(self):
        args = understood("--model_alias dream --task gsm8k --pc_ckpt a/b --pc_frac 0.5")
        assert args.model == "codd_dream"
        assert (args.model_args["pc"], args.model_args["pc_frac"]) == ("a/b", 0.5)
        assert "pc_frac" not in model_args(parse_run("--model_alias dream --task gsm8k --pc_ckpt none --pc_frac 0.5"))

    def test_a_run_over_several_gpus_is_spread_and_has_no_one_device(self, tmp_path):
        run = parse_run("--model_alias llada --task gsm8k")
        command = build_command(run, tmp_path, "cuda:0", is_spread=True)
        assert json.loads(command[command.index("--model_args") + 1])["device_map"] == "auto"
        assert "--device" not in command

    def test_a_shard_writes_into_the_journal_it_is_told(self, tmp_path):
        run = parse_run("--model_alias llada --task gsm8k")
        command = build_command(run, tmp_path, "cpu", journal=tmp_path / "other")
        assert json.loads(command[command.index("--model_args") + 1])["journal"] == str(tmp_path / "other")
