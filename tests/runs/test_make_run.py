import json
from pathlib import Path

import pytest

from lm_eval_codd.catalogue import GROUPS
from lm_eval_codd.launch.command import build_command
from lm_eval_codd.runs.make_run import make_run, parse_run, parse_runs
from lm_eval_codd.runs.naming import run_name
from lm_eval_codd.runs.run import Run
from lm_eval_codd.settings import TILED


def llada(more: str = "") -> Run:
    return parse_run(f"--model_alias llada --task gsm8k {more}")


def dream(more: str = "") -> Run:
    return parse_run(f"--model_alias dream --task gsm8k {more}")


class TestQuoting:
    def test_quotes_keep_a_value_with_spaces_together(self, checkpoint):
        assert llada(f'--llada_ckpt "{checkpoint}"').checkpoint == str(checkpoint)

    def test_a_missing_quote_is_one_clear_line(self):
        with pytest.raises(ValueError, match=r"^no closing quotation: a quote or a backslash is left open$"):
            llada("--tag 'x")

    def test_a_star_is_a_star(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.txt").touch()
        assert llada("--tag *").tag == "*"

    def test_a_dollar_sign_and_backquotes_are_not_expanded(self):
        assert llada("--tag '$HOME`ls`'").tag == "$HOME`ls`"


class TestMeaning:
    def test_defaults_are_the_familys(self):
        assert llada().checkpoint == "GSAI-ML/LLaDA-8B-Instruct"
        assert dream().checkpoint == "Dream-org/Dream-v0-Instruct-7B"
        assert (llada().config.paradigm, dream().config.paradigm) == ("block", "full")
        assert (dream().config.top_k, dream().config.temperature) == (50, 0.2)

    def test_short_names_are_the_projects_tasks_and_others_are_lm_evals(self):
        assert llada().task == "codd_gsm8k"
        assert parse_run("--model_alias llada --task minerva_math500").task == "minerva_math500"
        assert parse_run("--model_alias llada --task codd_mbpp") == parse_run("--model_alias llada --task mbpp")

    def test_dream_block_is_the_block_paradigm(self):
        assert dream("--dream_block").config.paradigm == "block"
        assert dream("--dream_window") == dream()

    def test_steps_given_as_tokens_per_step_make_the_same_run(self):
        assert llada("--tokens_per_step 8") == llada("--num_steps 64") == llada("--num_steps 64 --tokens_per_step 8")

    def test_official_names_of_a_rule_make_the_same_run(self):
        assert llada("--alg maskgit_plus") == llada("--alg low_confidence") == llada()
        assert llada("--alg topk_margin") == llada("--alg margin")
        assert llada("--alg topprob") != llada()

    def test_the_official_protocol_keeps_text_after_the_end_and_cuts_lladas_prompts_at_1792_tokens(self):
        assert not llada("--protocol official").config.stop_at_eos
        assert llada("--protocol official").max_length == 1792 + 512
        assert llada("--protocol official --gen_length 256").max_length == 1792 + 256
        assert dream("--protocol official").max_length is None
        assert llada().max_length is None

    def test_a_slice_of_documents_counts_from_the_first_to_before_the_last(self):
        run = llada("--sample_sid 10 --sample_eid 14")
        assert (run.samples, run.num_rows) == ((10, 14), 4)
        assert llada("--sample_sid -1 --sample_eid -1") == llada()

    def test_the_launchers_own_limit_and_tag_are_defaults_of_a_run(self):
        run = parse_run("--model_alias llada --task gsm8k --limit 3", {"limit": 8.0, "tag": "t"})
        assert (run.limit, run.tag) == (3, "t")

    @pytest.mark.parametrize(("limit", "rows"), [("8", 8), ("0.5", 660), ("5000", 1319)])
    def test_a_limit_is_a_number_or_a_share(self, limit, rows):
        assert llada(f"--limit {limit}").num_rows == rows

    def test_guidance_costs_double_in_as_many_evaluations_and_empty_steps_cost_nothing(self):
        plain, guided = llada("--num_steps 64"), llada("--num_steps 64 --cfg_scale 1")
        assert plain.num_forward == guided.num_forward == 64
        assert guided.cost == 2 * plain.cost
        assert llada("--num_steps 1024").num_forward == 512

    def test_a_step_that_may_mask_again_is_never_empty(self):
        for decoder in TILED:
            assert llada(f"--decoder {decoder} --num_steps 1024").num_forward == 1024

    def test_steps_are_not_read_where_the_confidences_decide(self):
        assert llada("--threshold 0.9 --num_steps 64") == llada("--threshold 0.9 --tokens_per_step 4")
        assert llada("--threshold 0.9 --num_steps 64").num_forward == 512
        assert llada("--cache dual --num_steps 64") != llada("--cache dual --num_steps 128")


class TestNamesOfOtherProjects:
    def test_are_read_and_said(self):
        remarks = []
        (run,) = parse_runs(
            "--model_alias llada --task gsm8k --steps 64 --remasking margin --model_path a/b", None, remarks
        )
        assert run == llada("--num_steps 64 --alg margin --llada_ckpt a/b")
        assert remarks[0] == "`steps=64` (LLaDA, Fast-dLLM, dLLM) is read as `num_steps=64`"
        assert len(remarks) == 3
        assert dream("--model_path a/b --pc c/d --peft e/f") == dream("--dream_ckpt a/b --pc_ckpt c/d --peft_ckpt e/f")

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ("--steps 64 --num_steps 32", "`steps=64` and `num_steps=32` both say `num_steps`"),
            ("--steps x", "`--steps x` must be a whole number"),
            ("--use_cache", "unknown flag `--use_cache`; Fast-dLLM's is `cache=prefix` here"),
        ],
    )
    def test_that_clash_or_mean_something_else_are_explained(self, more, message):
        with pytest.raises(ValueError) as error:
            llada(more)
        assert str(error.value).startswith(message)


class TestChecks:
    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ("--num_steps 100", "`num_steps=100` cannot be split over 16 blocks of 32; use a multiple of 16"),
            ("--alg low_confidense", "`alg=low_confidense` is not known; use one of"),
            ("--num_step 64", "unknown flag `--num_step`; did you mean `--num_steps`"),
            ("--llada_ckpt /no/such/folder", "`--llada_ckpt /no/such/folder`: there is no such folder"),
            ("--dream_ckpt a/b", "`--dream_ckpt` is not read with --model_alias llada; use --llada_ckpt"),
            ("--dream_block", "`--dream_block` is for --model_alias dream"),
            ("--limit 0", "`--limit 0` must be a whole number, or a share"),
            ("--limit 2.5", "`--limit 2.5` must be a whole number, or a share"),
            ("--limit inf", "`--limit inf` must be a whole number, or a share"),
            ("--sample_sid 3", "`--sample_sid` and `--sample_eid` go together"),
            ("--sample_sid 3 --sample_eid 3", "`--sample_sid 3 --sample_eid 3` is an empty slice"),
            ("--sample_sid 3 --sample_eid 5 --limit 1", "`--limit` and `--sample_sid`, `--sample_eid` exclude"),
            ("--sample_sid 0 --sample_eid 2000", "`--sample_eid 2000` is beyond the 1319 documents of gsm8k"),
            ("--batch_size 0", "`--batch_size 0` must be a whole number"),
            ("--dtype float8", "`dtype=float8` is not known; use one of auto"),
            (
                "--protocol offical",
                "`protocol=offical` is not known; use one of paper, official (did you mean official?)",
            ),
            ("--protocol official --stop_at_eos true", "`--stop_at_eos true` contradicts `--protocol official`"),
            ("--num_shot -1", "`--num_shot -1` must be 0 or more"),
            ("--num_shot 100000", "`--num_shot 100000` must be 0 or more, and at most 1000"),
            ("--limit 1e30", "`--limit 1e+30` is more than any task has"),
            (
                "--batch_size 100000000000000000000",
                "`--batch_size 100000000000000000000` must be 1 or more, and at most",
            ),
            ("--include_path /no/such", "`--include_path /no/such`: there is no such folder"),
            ("--peft_ckpt nowhere", "`--peft_ckpt nowhere`: there is no such folder"),
            ("--cache duel", "`cache=duel` is not known; use one of none, prefix, dual (did you mean dual?)"),
            ("--threshold 0.9 --factor 1", "`threshold=0.9` and `factor=1` both say how many tokens a step commits"),
            ("--threshold 0.9 --alg entropy", "`threshold=0.9` is compared with a probability, and `alg=entropy`"),
        ],
    )
    def test_an_impossible_run_is_one_line(self, more, message):
        with pytest.raises(ValueError) as error:
            llada(more)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)

    def test_dream_switches_exclude_each_other_and_contrary_settings(self):
        with pytest.raises(ValueError, match="exclude each other"):
            dream("--dream_block --dream_window")
        with pytest.raises(ValueError, match="`--paradigm full` contradicts `--dream_block`"):
            dream("--dream_block --paradigm full")

    @pytest.mark.parametrize("task", ["--help", "-x", "gsm8k,mbpp", " gsm8k"])
    def test_a_flag_or_a_list_is_not_a_task(self, task):
        with pytest.raises(ValueError, match="is not the name of a task"):
            make_run({"model_alias": "llada", "task": task})

    def test_a_slice_beyond_the_demo_is_refused_by_any_of_its_names(self):
        for task in ("demo", "codd_demo"):
            with pytest.raises(ValueError, match=f"`--sample_eid 301` is beyond the 300 documents of {task}"):
                parse_run(f"--model_alias llada --task {task} --sample_sid 0 --sample_eid 301")

    def test_a_template_must_be_one_of_the_tokenizers(self, checkpoint):
        with pytest.raises(ValueError, match="`--chat_template rag`: the tokenizer's templates are default; use one"):
            llada(f"--llada_ckpt '{checkpoint}' --chat_template rag")
        (checkpoint / "chat_template.jinja").unlink()
        for value in ("true", "rag"):
            with pytest.raises(
                ValueError, match=f"`--chat_template {value}`: the tokenizer of .* has no chat template"
            ):
                llada(f"--llada_ckpt '{checkpoint}' --chat_template {value}")

    def test_model_and_task_are_required(self):
        for given in ({"task": "gsm8k"}, {"model_alias": "llada"}):
            with pytest.raises(ValueError, match="is missing"):
                make_run(given)

    def test_the_demo_is_not_a_dream_checkpoint(self):
        with pytest.raises(ValueError, match="use --model_alias llada --llada_ckpt demo"):
            dream("--dream_ckpt demo")


class TestCheckpointFolders:
    def test_of_another_family_is_refused(self, checkpoint):
        with pytest.raises(ValueError, match="is a llada checkpoint; use --model_alias llada"):
            dream(f"--dream_ckpt '{checkpoint}'")

    def test_the_demo_is_checked_like_any_folder(self):
        with pytest.raises(ValueError, match="`--gen_length 512` leaves no room for a prompt"):
            llada("--llada_ckpt demo")

    def test_without_a_config_is_refused(self, checkpoint):
        (checkpoint / "config.json").unlink()
        with pytest.raises(ValueError, match=r"holds no config\.json"):
            llada(f"--llada_ckpt '{checkpoint}'")

    def test_too_short_for_the_answer_is_refused(self, checkpoint):
        (checkpoint / "config.json").write_text(json.dumps({"model_type": "llada", "max_sequence_length": 256}))
        with pytest.raises(ValueError, match="`--gen_length 512` leaves no room for a prompt"):
            llada(f"--llada_ckpt '{checkpoint}'")

    def test_the_official_protocol_does_not_ask_for_more_than_the_checkpoint_takes(self, checkpoint):
        (checkpoint / "config.json").write_text(json.dumps({"model_type": "llada", "max_sequence_length": 1024}))
        assert llada(f"--llada_ckpt '{checkpoint}' --protocol official").max_length == 1024

    def test_an_adapter_folder_has_an_adapter_config(self, checkpoint):
        with pytest.raises(ValueError, match=r"holds no adapter_config\.json"):
            llada(f"--peft_ckpt '{checkpoint}'")

    def test_however_a_folder_is_spelled_it_is_the_same_run(self, checkpoint, monkeypatch):
        monkeypatch.chdir(checkpoint.parent)
        assert llada("--llada_ckpt './tiny llada/'") == llada(f"--llada_ckpt '{checkpoint}'")


class TestTasks:
    def test_our_names_win_and_stock_reaches_lm_evals_own(self):
        assert parse_run("--model_alias llada --task gsm8k").task == "codd_gsm8k"
        assert parse_run("--model_alias llada --task codd_gsm8k").task == "codd_gsm8k"
        stock = parse_run("--model_alias llada --task stock:gsm8k --num_shot 5")
        assert (stock.task, stock.num_shot, stock.num_rows) == ("gsm8k", 5, 1319)

    def test_examples_may_stand_in_one_turn(self):
        stock = "--model_alias llada --task stock:gsm8k --num_shot 5"
        assert parse_run(stock).fewshot_as_multiturn is None
        run = parse_run(f"{stock} --fewshot_as_multiturn false")
        assert run.fewshot_as_multiturn is False and "one-turn" in run_name(run)
        command = build_command(run, Path("folder"), "cpu")
        assert command[command.index("--fewshot_as_multiturn") + 1] == "false"
        with pytest.raises(ValueError, match=r"`--fewshot_as_multiturn false`: gsm8k is zero-shot; leave it out"):
            parse_run("--model_alias llada --task gsm8k --fewshot_as_multiturn false")
        with pytest.raises(ValueError, match="`--fewshot_as_multiturn true` needs a chat template"):
            parse_run(f"{stock} --fewshot_as_multiturn --chat_template false")

    def test_unset_shots_are_the_tasks_own_and_0_for_the_papers(self):
        assert parse_run("--model_alias llada --task minerva_math").num_shot is None
        assert llada().num_shot == llada("--num_shot 0").num_shot == 0

    def test_of_other_papers_bring_their_length_and_their_want_of_a_template(self, checkpoint):
        run = parse_run("--model_alias llada --task humaneval_opendllm")
        assert (run.task, run.short_task, run.num_shot) == ("humaneval_opendllm", "humaneval_opendllm", 0)
        assert (run.config.gen_length, run.chat_template) == (128, False)
        assert parse_run("--model_alias llada --task math500_cd4lm").config.gen_length == 512
        given = "--model_alias llada --task gsm8k_cd4lm --gen_length 512 --chat_template true"
        assert (parse_run(given).config.gen_length, parse_run(given).chat_template) == (512, True)

    def test_with_several_answers_to_a_row_cost_as_many_where_they_are_drawn(self):
        run = parse_run("--model_alias llada --task mbpp_opendllm --limit 8")
        assert (run.num_rows, run.num_answers) == (8, 8)
        drawn = parse_run("--model_alias llada --task mbpp_opendllm --limit 8 --temperature 0.8")
        assert (drawn.num_rows, drawn.num_answers) == (8, 80)
        assert drawn.cost == 10 * run.cost
        assert parse_run("--model_alias llada --task mbpp --temperature 0.8").num_answers == 500

    def test_several_are_a_run_each(self):
        runs = parse_runs("--model_alias llada --task gsm8k,math500 --num_steps 64")
        assert [(run.task, run.num_rows) for run in runs] == [("codd_gsm8k", 1319), ("codd_math500", 500)]

    @pytest.mark.parametrize("group", ["coupling", "coupling_joint", "codd_coupling_control"])
    def test_a_group_is_a_run_for_each_of_its_tasks(self, group):
        runs = parse_runs(f"--model_alias llada --task gsm8k,{group} --num_steps 64 --block_length 64")
        assert [run.short_task for run in runs[1:]] == list(GROUPS[group.removeprefix("codd_")])
        assert {(run.num_rows, run.config.gen_length) for run in runs[1:]} == {(120, 64)}
        assert runs[0].task == "codd_gsm8k"

    def test_the_papers_tasks_are_zero_shot(self):
        with pytest.raises(ValueError, match=r"`--num_shot 5`: math500 .* lm-eval's \(stock:minerva_math500\)"):
            parse_run("--model_alias llada --task math500 --num_shot 5")
        with pytest.raises(ValueError, match="mmlu_dllm_dream takes its examples as `--metadata shots=4`"):
            parse_run("--model_alias dream --task mmlu_dllm_dream --num_shot 4")

    @pytest.mark.parametrize("shots", ["6", "-1", "few"])
    def test_numbers_of_examples_that_a_task_refuses_are_refused_before_it_starts(self, shots):
        with pytest.raises(ValueError, match=f"`--metadata shots={shots}` is not a number from 0 to 5"):
            parse_run(f"--model_alias dream --task mmlu_dllm_dream --metadata shots={shots}")

    @pytest.mark.parametrize(
        "said, message",
        [
            ("gsm8k --metadata tempalte=stock", "argument of gsm8k in --metadata `tempalte`; did you mean `template`?"),
            ("gsm8k --metadata shots=4", "argument of gsm8k in --metadata `shots`; known are template"),
            ("gpqa --metadata samples=8", "argument of gpqa in --metadata `samples`; known are clean, template"),
        ],
    )
    def test_arguments_that_a_task_does_not_read_are_refused(self, said, message):
        with pytest.raises(ValueError, match=f"unknown {message}".replace("?", r"\?")):
            parse_run(f"--model_alias llada --task {said}")

    @pytest.mark.parametrize(("task", "last"), [("dlm_gen_ppl", "coupling"), ("dlm_ppl_wikitext2", "dit_ar")])
    def test_tasks_on_token_ids_are_refused_before_all_answers_are_made_in_vain(self, task, last):
        with pytest.raises(ValueError, match=f"`--task {task}` measures token ids, .* use one of duo, .*, {last}$"):
            parse_run(f"--model_alias llada --task {task}")

    def test_arguments_of_other_peoples_tasks_are_theirs(self):
        assert parse_run("--model_alias llada --task stock:gsm8k --metadata any=thing").metadata == '{"any": "thing"}'


class TestCircuits:
    def test_none_is_no_circuit_and_its_settings_change_nothing(self):
        assert llada("--pc_ckpt none --pc_frac 0.5 --pc_temperature 0.1") == llada()

    def test_a_circuits_setting_without_a_circuit_is_an_error(self):
        with pytest.raises(ValueError, match="`--pc_frac` is read by a circuit only; add --pc_ckpt"):
            llada("--pc_frac 0.5")

    def test_a_circuit_is_a_file_a_folder_or_a_hub_id(self, tmp_path):
        (tmp_path / "c.jpc").touch()
        assert llada(f"--pc_ckpt '{tmp_path}/c.jpc' --pc_frac 0.5").circuit == f"{tmp_path}/c.jpc"
        assert llada("--pc_ckpt il18/llada-math-pc").circuit == "il18/llada-math-pc"
        with pytest.raises(ValueError, match="there is no such file or folder"):
            llada(f"--pc_ckpt '{tmp_path}/d.jpc'")


@pytest.mark.parametrize("word", ["yes", "no", "None", "on", "0"])
def test_a_word_for_true_or_false_is_no_chat_templates_name(word):
    with pytest.raises(ValueError, match=f"^`--chat_template {word.lower()}` must be auto, true, false, or the name"):
        llada(f"--chat_template {word}")


def test_capitals_of_true_and_false_do_not_matter():
    assert llada("--chat_template True") == llada("--chat_template true")
    assert llada("--chat_template False").chat_template is False
