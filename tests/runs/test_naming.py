import itertools
import re

import pytest

from lm_eval_codd.runs.make_run import parse_run
from lm_eval_codd.runs.naming import former_name, labels, run_name


def name(text: str) -> str:
    return run_name(parse_run(text))


LLADA = "--model_alias llada --task gsm8k"


class TestReadability:
    def test_a_default_that_another_setting_takes_the_place_of_is_not_in_the_name(self):
        text = "--model_alias llada --task gsm8k --decoder corrective"
        assert "threshold" not in name(f"{text} --remask_schedule linear")
        assert "threshold" not in name(text)
        assert name(f"{text} --threshold 0.5").endswith("_threshold-0.5")

    def test_lm_evals_own_task_of_a_name_that_is_ours_too_is_told_apart(self):
        text = "--model_alias llada --task stock:gsm8k --num_shot 4"
        assert name(text) == "llada_stock-gsm8k_low_confidence_steps256_shot4"

    def test_shots_are_named_where_they_are_given_and_0_has_a_former_name(self):
        own, none = (parse_run(f"--model_alias llada --task gsm8k_cot {more}") for more in ("", "--num_shot 0"))
        assert run_name(own) == "llada_gsm8k_cot_low_confidence_steps256"
        assert run_name(none) == "llada_gsm8k_cot_low_confidence_steps256_shot0"
        assert (former_name(own), former_name(none)) == (None, run_name(own))
        assert former_name(parse_run(f"{LLADA} --num_shot 0")) is None

    def test_a_prompt_without_a_template_or_with_one_of_another_name_is_named(self, checkpoint):
        text = f"{LLADA} --llada_ckpt '{checkpoint}' --chat_template"
        assert name(f"{text} auto") == name(f"{text} true") == name(text.removesuffix(" --chat_template"))
        assert "_no-template" in name(f"{text} false")
        (checkpoint / "chat_template.jinja").unlink()
        assert name(f"{text} auto") == name(f"{text} false")

    def test_a_default_run_is_model_task_rule_and_steps(self):
        assert name(LLADA) == "llada_gsm8k_low_confidence_steps256"
        assert name("--model_alias dream --task mbpp --num_steps 64") == "dream_mbpp_entropy_steps64"

    def test_what_is_not_default_is_named(self):
        text = f"{LLADA} --num_steps 64 --pc_ckpt il18/llada-math-pc --pc_frac 0.5 --temperature 0.2 --limit 8 --tag x"
        assert name(text) == (
            "llada_gsm8k_low_confidence_steps64_pc-il18--llada-math-pc_temperature-0.2_pc_frac-0.5_limit8_tag-x"
        )

    def test_approximations_are_named_and_a_threshold_takes_the_place_of_the_steps(self):
        assert name(f"{LLADA} --cache dual") == "llada_gsm8k_low_confidence_steps256_cache-dual"
        assert name(f"{LLADA} --cache dual --threshold 0.9") == "llada_gsm8k_low_confidence_cache-dual_threshold-0.9"

    def test_the_official_protocol_is_one_word(self):
        assert name(f"{LLADA} --protocol official") == "llada_gsm8k_low_confidence_steps256_official"


class TestLabels:
    def labels(self, *more: str) -> list[str]:
        runs = [parse_run(f"{LLADA} {text}") for text in more]
        return list(labels({run_name(run): run for run in runs}).values())

    def test_are_what_differs_and_the_whole_name_of_a_single_run(self):
        assert self.labels("--num_steps 64", "--num_steps 128 --pc_ckpt a/b") == ["steps64", "steps128 pc-a--b"]
        assert self.labels("--num_steps 64") == ["llada_gsm8k_low_confidence_steps64"]

    def test_are_whole_names_where_the_parts_do_not_tell(self):
        assert self.labels("", "--num_steps 64")[0] == "steps256"
        found = self.labels("--tag a/b", "--tag a/b --limit 8", "")
        assert found[2] == "llada_gsm8k_low_confidence_steps256"


class TestSafety:
    @pytest.mark.parametrize("tag", ["../../etc", "a b", "x/y", "é", "a\nb", "-", "x" * 400, "'\"$*"])
    def test_any_tag_gives_one_plain_path_part(self, tag):
        run = parse_run(LLADA, {"tag": tag})
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,200}", run_name(run))

    def test_a_long_name_is_cut_and_stays_unique(self):
        one, two = (run_name(parse_run(LLADA, {"tag": "x" * 400 + end})) for end in "ab")
        assert one != two


class TestUniqueness:
    def test_runs_that_differ_in_any_one_flag_have_different_names(self, tmp_path_factory):
        folders = [tmp_path_factory.mktemp(parent) / "llada" for parent in ("one", "two")]
        for folder in folders:
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")
        variants = [
            "",
            "--num_steps 64",
            "--alg margin",
            "--gen_length 256",
            "--block_length 64",
            "--paradigm full",
            "--temperature 0.2",
            "--temperature 0.25",
            "--top_p 0.9",
            "--top_k 5",
            "--alg_temp 0.5",
            "--cfg_scale 1",
            "--eps 0.01",
            "--cache prefix",
            "--cache dual",
            "--cache dual --num_steps 64",
            "--cache dual --threshold 0.9",
            "--threshold 0.9",
            "--threshold 0.95",
            "--factor 0.9",
            "--seed 7",
            "--stop_at_eos false",
            "--protocol official",
            "--logits_eos_inf",
            "--confidence_eos_eot_inf",
            "--mask_id 5",
            "--eos_id 5",
            "--eot_id 5",
            "--dtype float32",
            "--dtype bfloat16",
            "--batch_size 8",
            "--batch_size auto",
            "--limit 8",
            "--limit 0.5",
            "--sample_sid 0 --sample_eid 8",
            "--chat_template false",
            "--chat_template tool_use",
            "--tag a",
            "--tag A",
            "--tag a_b",
            "--tag a-b",
            "--tag 'a b'",
            "--tag a_limit8",
            "--tag a --limit 8",
            *(f"--llada_ckpt '{folder}'" for folder in folders),
            "--llada_ckpt GSAI-ML/LLaDA-1.5",
            "--llada_ckpt GSAI-ML/LLaDA-1.5_limit8",
            "--llada_ckpt GSAI-ML/LLaDA-1.5 --limit 8",
            "--llada_ckpt demo --gen_length 128",
            "--peft_ckpt a/b",
            "--pc_ckpt a/b",
            "--pc_ckpt a/b --pc_frac 0.5",
            "--pc_ckpt a/b --pc_temperature 0.5",
            "--pc_ckpt a/b --reverse_frac",
            "--pc_ckpt a/b --pc_sampling map",
            "--pc_ckpt a/b --pc_windows cover",
        ]
        names = {variant: name(f"{LLADA} {variant}") for variant in variants}
        for (one, name_of_one), (two, name_of_two) in itertools.combinations(names.items(), 2):
            assert name_of_one != name_of_two, (one, two)

    def test_equal_runs_have_equal_names(self):
        assert name(f"{LLADA} --num_steps=64 --top_k 0") == name(f"--task gsm8k {LLADA[:19]} --tokens_per_step 8")
        assert name(f"{LLADA} --factor 1 --num_steps 64") == name(f"{LLADA} --factor 1.0")
