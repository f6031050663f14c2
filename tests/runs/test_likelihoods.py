"""Runs of tasks that ask for likelihoods: their flags, names, identities, arguments and prices."""

import pytest

from lm_eval_codd.launch.command import model_args
from lm_eval_codd.runs.estimate import stated
from lm_eval_codd.runs.make_run import parse_run
from lm_eval_codd.runs.naming import run_name
from lm_eval_codd.runs.run import filled
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
