"""Runs of tasks that ask for likelihoods: their flags, names, identities, arguments and prices."""

import pytest

from lm_eval_codd.launch import jobs
from lm_eval_codd.launch.command import model_args
from lm_eval_codd.runs import record
from lm_eval_codd.runs.estimate import stated
from lm_eval_codd.runs.identity import filled
from lm_eval_codd.runs.make_run import parse_run
from lm_eval_codd.runs.naming import run_name
from lm_eval_codd.runs.same import answers_key

ARC = "--model_alias llada --llada_ckpt a/base --chat_template false --task arc_easy"


class TestSettings:
    def test_reach_the_model_the_name_and_the_identity(self):
        run = parse_run(f"{ARC} --num_samples 64 --ladder official --ladder_size 8 --cfg_scale 0.5")
        args = model_args(run)
        assert (args["num_samples"], args["ladder"], args["ladder_size"], args["cfg_scale"]) == (64, "official", 8, 0.5)
        assert "num_samples-64" in run_name(run) and "ladder-official" in run_name(run)
        assert run.identity()["likelihood"] == '{"ladder": "official", "ladder_size": 8, "num_samples": 64}'
        assert (run.likelihoods.num_samples, run.likelihoods.cfg_scale) == (64, 0.5)

    def test_defaults_are_written_nowhere(self):
        run = parse_run(f"{ARC} --num_samples 128 --is_greedy false")
        assert run == parse_run(ARC)
        assert "likelihood" not in run.identity() and not {"num_samples", "estimator"} & model_args(run).keys()
        assert filled(run.identity())["likelihood"] is None

    def test_other_projects_names_are_read(self):
        assert parse_run(f"{ARC} --mc_num 32 --cfg 0.5") == parse_run(f"{ARC} --num_samples 32 --cfg_scale 0.5")
        assert parse_run(f"{ARC} --nll_type ar_ftb").likelihoods.estimator == "chain"

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ("--estimator mcmc", "`estimator=mcmc` is not known"),
            ("--ladder official --num_samples 20", "not made of whole ladders"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_starts(self, more, message):
        with pytest.raises(ValueError, match=message):
            parse_run(f"{ARC} {more}")


class TestWhatDecodesNothing:
    MORE = "--alg margin --num_steps 128 --gen_length 4096 --threshold 0.9 --temperature 1"

    def test_is_named_and_identified_by_what_it_reads(self):
        run = parse_run(ARC)
        assert run_name(run) == "llada_arc_easy_mc_ckpt-a--base_no-template"
        assert parse_run(f"{ARC} {self.MORE}") == run
        assert (run.rule, run.config.approximations) == ("mc", ())
        assert run_name(parse_run(f"{ARC} --estimator chain --seed 7")).startswith("llada_arc_easy_chain_ckpt-a--base_")
        assert "_seed-7" in run_name(parse_run(f"{ARC} --seed 7"))
        args = model_args(parse_run(f"{ARC} {self.MORE} --cfg_scale 0.5 --mask_id 9"))
        assert args == {"pretrained": "a/base", "own_defaults": False, "cfg_scale": 0.5, "mask_id": 9}

    def test_a_group_is_too_and_one_that_also_asks_for_text_is_not(self, tmp_path):
        assert run_name(parse_run(ARC.replace("arc_easy", "mmlu"))).startswith("llada_mmlu_mc_")
        for name, kind in (("asks", "multiple_choice"), ("writes", "generate_until")):
            (tmp_path / f"{name}.yaml").write_text(f"task: {name}\noutput_type: {kind}\n")
        (tmp_path / "both.yaml").write_text("group: both\ntask: [asks, writes]\n")
        names = [
            run_name(parse_run(f"{ARC.replace('arc_easy', task)} --include_path '{tmp_path}'"))
            for task in ("asks", "both")
        ]
        assert names[0].startswith("llada_asks_mc_") and names[1].startswith("llada_both_low_confidence_steps256_")

    def test_an_answer_need_not_fit_the_model_and_wrong_values_are_refused_still(self, checkpoint):
        def text(task="arc_easy", max_length=300):
            return f"--model_alias llada --llada_ckpt '{checkpoint}' --task {task} --max_length {max_length}"

        assert parse_run(text()).max_length == 300
        with pytest.raises(ValueError, match="`--max_length 0` must be 1 or more"):
            parse_run(text(max_length=0))
        with pytest.raises(ValueError, match="must be more than `--gen_length 512`"):
            parse_run(text(task="gsm8k"))
        with pytest.raises(ValueError, match="`temperature=-1"):
            parse_run(f"{text()} --temperature -1")

    @pytest.mark.parametrize("steps", [256, 64])
    def test_what_an_older_version_finished_under_the_rule_and_steps_is_found(self, tmp_path, steps):
        run = parse_run(ARC)
        older = run.identity()
        older["config"] |= {"num_steps": steps}
        folder = tmp_path / f"llada_arc_easy_low_confidence_steps{steps}_ckpt-a--base_no-template"
        folder.mkdir()
        (folder / "results_1.json").write_text("{}")
        about = {"status": "finished", "results": "results_1.json", "ended": "then", "identity": older}
        record.write(folder, about)
        assert jobs.select([f"{ARC} --num_steps {steps}"], [], tmp_path, {}).finished == {folder.name}
        assert jobs.select([f"{ARC} --seed 7"], [], tmp_path, {}).finished == frozenset()


class TestPrice:
    def test_a_question_has_four_choices_of_so_many_masks_at_most(self):
        run = parse_run(f"{ARC} --num_samples 32 --limit 10")
        assert (run.num_forward, run.is_bound) == (128, True)
        estimate = stated(0.5)(run, None)
        assert (estimate.seconds, estimate.is_bound) == (0.5 * 128 * 10, True)
        assert parse_run(f"{ARC.replace('arc_easy', 'wikitext')} --num_samples 32").num_forward == 32
        assert parse_run(ARC.replace("arc_easy", "gsm8k")).is_bound is False

    def test_seeds_draw_masks_and_are_not_merged(self):
        one, other = (answers_key(parse_run(f"{ARC} --seed {seed}")) for seed in (1, 2))
        assert one != other
        generate = ARC.replace("arc_easy", "gsm8k")
        one, other = (answers_key(parse_run(f"{generate} --seed {seed}")) for seed in (1, 2))
        assert one == other
