"""Runs of another decoder: their names, identities, arguments and what is refused."""

import pytest

from lm_eval_codd.launch.command import model_args
from lm_eval_codd.runs.make_run import parse_run
from lm_eval_codd.runs.naming import run_name
from lm_eval_codd.runs.same import answers_key
from lm_eval_codd.settings import departures_of

CAD = "--model_alias llada --task gsm8k --decoder cad"


def test_a_name_has_the_decoder_in_place_of_rule_and_steps_and_the_options_that_are_not_default():
    assert run_name(parse_run(CAD)) == "llada_gsm8k_cad"
    assert run_name(parse_run(f"{CAD} --threshold 0.95")) == "llada_gsm8k_cad"
    assert (
        run_name(parse_run(f"{CAD} --threshold 0.9 --max_per_step 8")) == "llada_gsm8k_cad_max_per_step-8_threshold-0.9"
    )
    assert run_name(parse_run("--model_alias llada --task gsm8k")) == "llada_gsm8k_low_confidence_steps256"


def test_the_model_gets_what_the_decoder_reads_and_nothing_else():
    given = model_args(parse_run(f"{CAD} --eos_ratio 0.5"))
    assert given.pop("pretrained") and given.pop("own_defaults") is False
    assert given == {"decoder": "cad", "eos_ratio": 0.5}
    assert "decoder" not in model_args(parse_run("--model_alias llada --task gsm8k"))


def test_an_identity_without_a_decoder_says_nothing_of_decoders():
    config = parse_run("--model_alias llada --task gsm8k").identity()["config"]
    assert not {"decoder", "compat", "min_per_step", "eos_ratio", "max_block_steps", "selection"} & config.keys()
    assert parse_run(CAD).identity()["config"]["decoder"] == "cad"


def test_dreams_run_drops_the_familys_defaults_that_it_does_not_read():
    run = parse_run("--model_alias dream --task gsm8k --decoder cad")
    assert run.config.temperature == 0.2 and run.config.top_k is None
    assert model_args(run)["decoder"] == "cad" and not {"top_k", "alg", "paradigm"} & model_args(run).keys()
    assert run_name(run) == "dream_gsm8k_cad"


def test_runs_that_differ_in_an_option_are_not_the_same():
    keys = [answers_key(parse_run(f"{CAD} {more}")) for more in ("", "--threshold 0.9", "--selection random --seed 2")]
    assert len(set(keys)) == 3
    assert answers_key(parse_run(f"{CAD} --selection random")) != answers_key(
        parse_run(f"{CAD} --selection random --seed 2")
    )
    assert answers_key(parse_run(f"{CAD} --seed 3")) == answers_key(parse_run(CAD))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--num_steps 64", "`num_steps=64` is read by decoder=unmasking.*, not by `decoder=cad`"),
        ("--alg margin", "`alg=margin` is read by decoder=unmasking"),
        ("--dream_block", "is for --model_alias dream"),
        ("--min_per_step 9 --max_per_step 3", "`min_per_step=9` is more than `max_per_step=3`"),
    ],
)
def test_what_it_does_not_read_is_refused_before_anything_starts(more, message):
    with pytest.raises(ValueError, match=message):
        parse_run(f"{CAD} {more}")


KLASS = "--model_alias llada --task gsm8k --decoder klass"


def test_a_run_of_klass_is_named_by_steps_and_thresholds_and_takes_no_more_than_a_step_a_token():
    assert run_name(parse_run(KLASS)) == "llada_gsm8k_klass_steps256"
    given = "--gen_length 64 --num_steps 128 --block_length 64"
    run = parse_run(f"{KLASS} {given} --threshold 0.6 --kl_threshold 0.015")
    assert "kl_threshold-0.015" in run_name(run) and "threshold-0.6" in run_name(run)
    assert (run.num_forward, run.is_bound) == (64, True)


def test_klass_with_a_circuit_is_refused_before_anything_starts():
    with pytest.raises(ValueError, match="`--pc_ckpt demo` does not go with `--decoder klass`; leave out one of them"):
        parse_run(f"{KLASS} --pc_ckpt demo")


def test_klass_says_where_it_departs_from_its_authors_code():
    assert not departures_of(vars(parse_run(f"{KLASS} --gen_length 256").config))
    (line,) = departures_of(vars(parse_run(f"{KLASS} --gen_length 256 --num_steps 128").config))
    assert line.startswith("klass commits what is left of a block in its last step")


WINO = "--model_alias llada --task gsm8k --decoder wino"


def test_a_run_of_wino_is_named_by_its_thresholds_and_takes_no_more_than_a_step_a_token():
    assert run_name(parse_run(WINO)) == "llada_gsm8k_wino"
    run = parse_run(f"{WINO} --gen_length 256 --block_length 128 --threshold 0.5 --threshold_back 0.8")
    assert "threshold-0.5" in run_name(run) and "threshold_back-0.8" in run_name(run)
    assert (run.num_forward, run.is_bound) == (256, True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (f"{WINO} --pc_ckpt demo", "`--pc_ckpt demo` does not go with `--decoder wino`; leave out one of them"),
        (f"{WINO} --cfg_scale 1", "`cfg_scale=1.0` is read by .*, not by `decoder=wino`"),
        (WINO.replace("llada", "dream"), "`decoder=wino` scores a token at its own position, and dream checkpoints"),
    ],
)
def test_what_does_not_go_with_wino_is_refused_before_anything_starts(flags, message):
    with pytest.raises(ValueError, match=message):
        parse_run(flags)


def test_a_run_of_eb_is_named_by_its_bound_and_takes_no_circuit():
    given = "--model_alias llada --task gsm8k --decoder eb"
    assert run_name(parse_run(given)) == "llada_gsm8k_eb"
    run = parse_run(f"{given} --gamma 0.01 --error_proxy entropy")
    assert "gamma-0.01" in run_name(run) and "error_proxy-entropy" in run_name(run)
    assert (run.num_forward, run.is_bound) == (512, True)
    with pytest.raises(ValueError, match="`--pc_ckpt demo` does not go with `--decoder eb`; leave out one of them"):
        parse_run(f"{given} --pc_ckpt demo")
