"""Published cells as runs: their flags, what nothing here runs, and what is assumed."""

from dataclasses import replace

import pytest

from lm_eval_codd.atlas.plan import assumable, plan_cells
from lm_eval_codd.atlas.recipe import candidates, recipe_of
from lm_eval_codd.atlas.source import read_source, source_names
from lm_eval_codd.atlas.unstated import parse_assumed
from lm_eval_codd.runs.flags import parse
from lm_eval_codd.runs.make_run import make_run
from lm_eval_codd.runs.run_flags import FLAGS
from lm_eval_codd.task_files import task_files


def recipe(label, **assumed):
    source, _, name = label.partition(":")
    of = read_source(source)
    (cell,) = [cell for cell in of.cells if cell.id == name]
    return recipe_of(of, cell, assumed)


class TestARunOf:
    def test_llada_base_goes_without_a_template_and_keeps_the_text_after_an_end(self):
        run = recipe("llada:llada-base.gsm8k.pure1024").run
        assert (run.checkpoint, run.task, run.num_shot, run.chat_template) == (
            "GSAI-ML/LLaDA-8B-Base",
            "gsm8k",
            5,
            False,
        )
        config = run.config
        assert (config.gen_length, config.num_steps, config.block_length) == (1024, 1024, 1024)
        assert (config.alg, config.temperature, config.stop_at_eos) == ("low_confidence", 0, False)

    def test_dream_has_none_of_the_defaults_of_another_paper(self):
        config = recipe("d3llm:d3llm.dream.gsm8k.fastdllm.tpf1.44").run.config
        assert (config.top_p, config.top_k, config.alg, config.threshold, config.cache) == (
            None,
            None,
            "low_confidence",
            0.9,
            "dual",
        )

    def test_likelihoods_are_estimated_as_by_the_familys_own_code(self):
        llada = recipe("llada:llada-base.arc_c.lik").run.likelihoods
        assert (llada.estimator, llada.num_samples, llada.ladder, llada.ladder_size) == ("mc", 128, "official", 8)
        dream = recipe("dream:dream-base.arc_c.lik").run
        assert (dream.likelihoods.estimator, dream.likelihoods.ladder_size) == ("mc_bernoulli", 32)
        assert dream.add_bos_token is True

    def test_a_setting_left_to_a_default_is_unstated_until_it_is_assumed(self):
        assert recipe("dllm:dllm.dream-base.piqa").unstated == ("mc_num (default of the class)",)
        run = recipe("dllm:dllm.dream-base.piqa", num_samples="64").run
        assert (run.likelihoods.num_samples, run.likelihoods.estimator) == (64, "mc_bernoulli")
        assert recipe("dream:dream-instruct.gpqa.lik").unstated == ("mc_num",)

    def test_an_older_harness_has_all_examples_in_one_turn(self):
        assert recipe("fast_dllm:fast-dllm.llada.gsm8k.256.baseline").run.fewshot_as_multiturn is False
        assert recipe("dream:dream-instruct.gsm8k").run.fewshot_as_multiturn is None  # there are none

    def test_codd_is_the_run_of_its_table(self):
        recipe_here = recipe("codd:table1.codd.margin.gsm8k.64", pc_frac="0.5", pc_temperature="0.2")
        run = recipe_here.run
        assert (run.circuit, run.task, run.config.pc_frac, run.config.num_steps) == (
            "il18/llada-gsm-pc",
            "codd_gsm8k",
            0.5,
            64,
        )
        assert recipe_here.assumed == {"pc_frac": "0.5", "pc_temperature": "0.2"}

    @pytest.mark.parametrize("name", ["a2d.bd3lm.gsm8k", "a2d.bd3lm.math", "a2d-coder.bd3lm.humaneval"])
    def test_a2ds_blocks_get_their_share_of_the_steps_that_its_source_counts_for_the_answer(self, name):
        config = recipe(f"dllm:dllm.{name}").run.config
        assert (config.decoder, config.rule, config.block_length) == ("block_diffusion", "bd3lm", 32)
        assert (config.gen_length, config.num_steps) == (256, 32)

    def test_a_task_of_another_paper_is_this_packages_where_it_has_one(self):
        assert recipe("llada:llada-instruct.humaneval.pure.opencompass").run.task == "codd_humaneval_llada"

    def test_every_cell_of_lladas_opencompass_is_a_run_of_its_own_protocol(self):
        planned = [one for name in ("llada", "llada15") for one in plan_cells([name]).all]
        runs = {one.cell.id: one.recipe.run for one in planned if one.cell.harness.startswith("OpenCompass")}
        assert len(runs) == 22 and all(runs.values())
        for name, run in runs.items():
            assert run.chat_template is not name.startswith("llada-base")
            assert "llada" in run.task or run.task == "ifeval"
            assert run.config.stop_at_eos is False

    def test_stop_words_are_those_of_the_task(self):
        stops = {
            one.recipe.run.task: one.cell.settings["stop_words"]
            for one in plan_cells(["llada"]).all
            if "stop_words" in one.cell.settings
        }
        here = {task: next(task_files().configs(task))[1]["generation_kwargs"]["until"] for task in stops}
        assert stops == here and len(stops) == 5

    def test_a_protocol_that_lm_eval_has_too_is_its_task(self):
        planned = next(one for one in plan_cells(["llada15"]).all if one.cell.id == "llada-1.5.ifeval.opencompass")
        assert (planned.recipe.run.task, planned.recipe.run.config.gen_length) == ("ifeval", 256)
        assert len(planned.candidates) == 4

    def test_means_over_subjects_are_told_from_those_over_rows(self):
        planned = {one.cell.id: one.candidates for one in plan_cells(["llada"]).all}
        assert planned["llada-base.bbh.opencompass256"] == ("accuracy_by_subject,none",)
        assert planned["llada-instruct.mmlu_pro.pure.opencompass"] == ("accuracy_by_subject,none",)

    @pytest.mark.parametrize(
        ("label", "task", "length"), [("gsm8k.256", "gsm8k", 256), ("math500.512", "math500", 512)]
    )
    def test_d1_is_its_task_in_half_as_many_steps_as_tokens(self, label, task, length):
        run = recipe(f"remeasured:remeasured.d1.{label}").run
        assert (run.task, run.chat_template, run.config.stop_at_eos) == (f"{task}_d1", True, False)
        config = run.config
        assert (config.gen_length, config.num_steps, config.block_length) == (length, length // 2, 32)

    def test_who_measured_with_d1s_tasks_and_no_number_of_steps_is_asked_for_it(self):
        assert assumable(recipe("remeasured:remeasured.blocks.gsm8k.64").unstated) == ("num_steps",)
        run = recipe("remeasured:remeasured.blocks.gsm8k.64", num_steps="128").run
        assert (run.task, run.config.num_steps, run.config.block_length) == ("gsm8k_d1", 128, 64)


class TestATaskOfThisPackage:
    def test_has_the_template_of_its_protocol_unless_the_source_says_that_there_was_none(self):
        assert recipe("dllm:dllm.dream-instruct.humaneval").run.chat_template is True
        run = recipe("dllm:dllm.fastdllm.dream.humaneval.256.baseline").run
        assert (run.task, run.checkpoint, run.chat_template) == (
            "codd_humaneval_dream",
            "Dream-org/Dream-v0-Base-7B",
            False,
        )

    def test_has_the_examples_of_its_source_where_it_takes_any(self):
        run = recipe("dllm:dllm.dream-instruct.mmlu").run
        assert (run.task, run.num_shot, run.metadata) == ("mmlu_dllm_dream", 0, '{"shots": 4}')
        assert recipe("dllm:dllm.a2d.mdlm.mmlu").run.metadata is None

    def test_is_assumed_without_the_number_of_examples_that_its_prompts_have(self):
        label = "dllm:dllm.llada-instruct.mbpp"
        assert recipe(label).unstated == ("prompt (the fork's file of this task was not found)",)
        assert recipe(label, task="mbpp_dllm_dream").run.num_shot == 0
        assert recipe(label, task="stock:mbpp_instruct").run.num_shot == 3
        assert recipe(label, task="gsm8k_llada").run.num_shot == 0

    def test_gives_each_figure_that_a_cell_may_be(self):
        source = read_source("dllm")
        cell = next(cell for cell in source.cells if cell.id == "dllm.llada-instruct.humaneval")
        assert candidates(cell, recipe_of(source, cell).run) == ("pass_at_1,extract_code", "pass_at_1,sanitize")

    def test_says_what_of_it_was_not_checked(self):
        by_id = {one.cell.id: one.unverified for one in plan_cells(["dllm"]).ready}
        assert "names the subjects of its `mmlu_generative`" in by_id["dllm.a2d.mdlm.mmlu"]
        assert by_id["dllm.a2d.mdlm.hellaswag"] == by_id["dllm.a2d.mdlm.math"] == ""


class TestNoRun:
    @pytest.mark.parametrize(
        "label, why",
        [
            ("d3llm:d3llm.llada.mbpp.vanilla", "`postprocess=postprocess_code_mbpp.py`: "),
            ("dream:dream-base.humaneval", "`escape_until=True`: "),
        ],
    )
    def test_says_why_in_one_line(self, label, why):
        found = recipe(label)
        assert found.run is None and not found.unstated
        assert why in found.refusal and "\n" not in found.refusal

    def test_of_a_task_that_only_the_source_has_names_it(self):
        source = read_source("dllm")
        cell = next(cell for cell in source.cells if cell.id == "dllm.llada-instruct.hellaswag")
        assert recipe_of(source, cell).refusal == ""
        found = recipe_of(replace(source, tasks={}), cell)
        assert found.refusal == "`hellaswag_gen` is a task of lm-eval fork alone, not of this lm-eval"

    def test_where_something_is_unsaid_names_it_and_the_flags_that_say_it(self):
        found = recipe("llada:llada-base.gsm8k.autoregressive")
        assert (found.run, found.unstated) == (None, ("largest length",))
        assert assumable(found.unstated) == ("gen_length",)
        assert assumable(("everything but the model",)) is None


class TestCellsOfKlass:
    @pytest.mark.parametrize(
        ("name", "threshold", "kl_threshold"), [("math500", 0.6, 0.01), ("gsm8k", 0.6, 0.015), ("humaneval", 0.9, 0.01)]
    )
    def test_are_its_tasks_and_its_decoder(self, name, threshold, kl_threshold):
        run = recipe(f"klass:klass.llada.{name}.klass").run
        assert (run.task, run.chat_template) == (f"{name}_klass", True)
        config = run.config
        assert (config.decoder, config.threshold, config.kl_threshold) == ("klass", threshold, kl_threshold)
        assert (config.history_length, config.num_steps, config.gen_length) == (2, 256, 256)
        assert (config.block_length, config.stop_at_eos) == (64, False)

    def test_of_its_baseline_have_its_prompts_too(self):
        run = recipe("klass:klass.llada.gsm8k.top1").run
        assert (run.task, run.config.decoder, run.config.alg) == ("gsm8k_klass", "unmasking", "low_confidence")
        assert (run.config.num_steps, run.config.block_length, run.config.stop_at_eos) == (256, 64, False)

    def test_of_dream_end_at_an_end_token_as_its_code_does_there(self):
        source = read_source("klass")
        (cell,) = [cell for cell in source.cells if cell.id == "klass.dream.gsm8k.klass"]
        assert recipe_of(source, cell).unstated == ("number of runs",)
        config = recipe_of(source, replace(cell, unknown=(), complete="yes")).run.config
        assert (config.decoder, config.threshold, config.kl_threshold) == ("klass", 0.9, 0.001)
        assert (config.temperature, config.top_p, config.top_k) == (0.2, 0.95, None)
        assert (config.paradigm, config.num_steps, config.stop_at_eos) == ("full", 256, True)


class TestCellsOfWino:
    @pytest.mark.parametrize(
        ("name", "task", "threshold", "temperature"),
        [
            ("gsm8k.wino", "gsm8k", 0.6, 0.0),
            ("arc_e.wino", "arc_easy", 0.5, 0.0),
            ("gsm8k.wino.T0.5", "gsm8k", 0.6, 0.5),
            ("sudoku.wino", "sudoku", 0.7, 0.0),
        ],
    )
    def test_are_runs_of_its_decoder_with_its_prompts(self, name, task, threshold, temperature):
        run = recipe(f"wino:wino.{name}").run
        assert (run.task, run.chat_template) == (f"{task}_wino", True)
        config = run.config
        assert (config.decoder, config.threshold, config.threshold_back) == ("wino", threshold, 0.9)
        assert (config.gen_length, config.block_length, config.temperature) == (256, 128, temperature)
        assert not config.stop_at_eos

    def test_and_of_what_it_compares_with_where_the_bound_is_assumed(self):
        assert assumable(recipe("wino:wino.gsm8k.eb").unstated) == ("gamma",)
        config = recipe("wino:wino.gsm8k.eb", gamma="0.01").run.config
        assert (config.decoder, config.gamma, config.block_length) == ("eb", 0.01, 128)

    def test_and_of_fixed_steps(self):
        run = recipe("wino:wino.arc_c.baseline").run
        assert (run.task, run.config.decoder, run.config.num_steps) == ("arc_challenge_wino", "unmasking", 256)


class TestTheWholeAtlas:
    def test_every_cell_has_a_run_a_reason_or_something_unsaid(self):
        for name in source_names():
            for planned in plan_cells([name]).all:
                found = planned.recipe
                assert sum([found.is_ready, bool(found.refusal), bool(found.unstated)]) == 1, planned.label

    def test_every_run_can_be_typed(self):
        """What a page shows as a cell's command gives the same run."""
        for name in source_names():
            for planned in plan_cells([name]).ready:
                typed = parse([f"--{flag}={value}" for flag, value in planned.recipe.flags.items()], FLAGS)
                assert make_run(typed) == planned.recipe.run, planned.label

    def test_more_runs_than_before_likelihoods_and_bos(self):
        """At the time of its first reading 90 cells of other papers than CoDD could be run."""
        assert sum(len(plan_cells([name]).ready) for name in source_names() if name != "codd") >= 161

    def test_a_cell_that_is_complete_up_to_the_metric_has_several(self):
        for name in source_names():
            for planned in plan_cells([name]).ready:
                if planned.cell.complete == "up to the metric":
                    assert len(candidates(planned.cell, planned.recipe.run)) > 1, planned.label


class TestAssumptions:
    def test_are_flags_with_values(self):
        assert parse_assumed(["gen_length=256, pc_frac=0.5", "task=stock:gsm8k"]) == {
            "gen_length": "256",
            "pc_frac": "0.5",
            "task": "stock:gsm8k",
        }

    @pytest.mark.parametrize(
        "text, message",
        [
            ("gen_length", "`--assume gen_length` must be name=value"),
            ("gen_lenght=3", "unknown assumption `gen_lenght`; did you mean `gen_length`"),
            ("metric=acc", "unknown assumption `metric`"),
            ("gen_length=x", "`--gen_length x` must be a whole number"),
            ("gen_length=1,gen_length=2", "has `gen_length` as 1 and as 2"),
        ],
    )
    def test_of_another_kind_are_refused(self, text, message):
        with pytest.raises(ValueError, match=message):
            parse_assumed([text])

    def test_touch_nothing_that_is_stated(self):
        assert recipe("llada:llada-base.gsm8k.pure1024", gen_length="7").run.config.gen_length == 1024

    def test_that_make_no_run_say_so(self):
        assert "pc_frac" in recipe("codd:table1.codd.margin.gsm8k.64", pc_frac="9", pc_temperature="0.2").refusal
