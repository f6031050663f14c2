"""Which task executes what: packed, written down, and read back on a node."""

import dataclasses
import json
import random

import pytest

from lm_eval_codd.launch.slurm import plan as plans
from lm_eval_codd.launch.slurm.parts import Part, merging, split, to_merge
from lm_eval_codd.runs.identity import from_identity
from tests.launch.slurm.conftest import finish

TEXTS = (
    "",
    "--sample_sid 3 --sample_eid 90",
    "--threshold 0.9 --cache dual --limit 8",
    "--decoder p2 --eta 2 --num_steps 8",
    "--tokens_per_step 2 --tag a_b",
    "--alg topk_margin --protocol official --batch_size 4 --confirm_run_unsafe_code",
)


class TestPacking:
    @pytest.mark.parametrize("per_task", [1, 2, 3, 5, 40])
    def test_gives_every_part_one_place_in_as_few_tasks_as_there_can_be(self, job_of, per_task):
        parts = [Part(job_of(f"--tag t{number} --limit {number + 1}")) for number in range(11)]
        tasks = plans.pack(parts, per_task)
        assert sorted(part.job.name for task in tasks for part in task) == sorted(part.job.name for part in parts)
        assert len(tasks) == -(-11 // per_task) and max(map(len, tasks)) <= per_task

    def test_puts_the_longest_tasks_first_and_none_much_above_another(self, job_of):
        generator = random.Random(1)
        parts = [Part(job_of(f"--tag t{number} --limit {generator.randint(1, 100)}")) for number in range(60)]
        costs = [sum(part.job.run.cost for part in task) for task in plans.pack(parts, 6)]
        assert costs == sorted(costs, reverse=True)
        assert max(costs) < 1.2 * min(costs)


class TestAPlan:
    @pytest.mark.parametrize("text", TEXTS)
    def test_brings_a_run_to_a_node_as_it_is(self, job_of, tmp_path, text):
        job = job_of(text)
        plan = plans.write(tmp_path / "results", [[Part(job)]], plans.About(("run",), True, 2, 60.0))
        there = plans.read(plan.folder)
        assert there.about == plan.about
        (part,) = there.task(0)
        assert part.job == job
        assert part.job.run.confirm_run_unsafe_code == job.run.confirm_run_unsafe_code

    def test_without_a_stall_limit_is_read_as_one(self, job_of, tmp_path):
        plan = plans.write(tmp_path / "results", [[Part(job_of())]], plans.About(("run",)))
        assert plans.read(plan.folder).about == plans.About(("run",))

    @pytest.mark.parametrize("text", TEXTS)
    def test_an_identity_is_a_run(self, job_of, text):
        run = job_of(text).run
        assert from_identity(json.loads(json.dumps(run.identity()))) == run

    def test_of_many_tasks_gives_each_its_own(self, job_of, tmp_path):
        tasks = [[Part(job_of(f"--tag t{number}"))] for number in range(5)]
        plan = plans.write(tmp_path / "results", tasks, plans.About(("run",)))
        assert [plan.task(number)[0].job.run.tag for number in range(5)] == [f"t{number}" for number in range(5)]
        with pytest.raises(ValueError, match="has no task 5"):
            plan.task(5)

    def test_without_a_number_in_slurm_is_none_of_the_arrays(self, job_of, tmp_path):
        plan = plans.write(tmp_path / "results", [[Part(job_of())]], plans.About(("run",)))
        assert plans.read_all(tmp_path / "results") == []
        plan.note_job("77")
        (tmp_path / "results" / ".slurm" / "torn").mkdir()
        (tmp_path / "results" / ".slurm" / "torn" / "plan.jsonl").write_text('{"runner": [')
        assert [one.job for one in plans.read_all(tmp_path / "results")] == ["77"]


class TestShards:
    @pytest.mark.parametrize(("text", "first", "last"), [("", 0, 1319), ("--sample_sid 5 --sample_eid 90", 5, 90)])
    @pytest.mark.parametrize("shards", [2, 3, 7])
    def test_have_every_document_once(self, job_of, text, first, last, shards):
        slices = [part.work.run.samples for part in split([job_of(text)], shards)]
        assert [number for one in slices for number in range(*one)] == list(range(first, last))
        assert len(slices) == shards

    def test_write_into_the_journal_of_their_run(self, job_of):
        job = job_of()
        works = [part.work for part in split([job], 4)]
        assert {work.journal_folder for work in works} == {job.folder / "journal"}
        assert len({work.folder for work in works}) == 4
        assert all(work.folder.parent == job.folder / "shards" for work in works)

    def test_are_no_more_than_there_are_documents(self, job_of):
        assert len(split([job_of("--limit 3")], 8)) == 3
        assert split([job_of("--limit 1")], 8) == [Part(job_of("--limit 1"))]

    def test_of_a_task_whose_size_is_not_known_are_refused(self, job_of):
        job = job_of()
        job = dataclasses.replace(job, run=dataclasses.replace(job.run, task="triviaqa", num_shot=None))
        with pytest.raises(ValueError, match="`--shards 2`: the size of triviaqa is not known"):
            split([job], 2)

    def test_of_a_group_are_refused_though_its_size_is_known(self, job_of):
        job = job_of()
        job = dataclasses.replace(job, run=dataclasses.replace(job.run, task="minerva_math", num_shot=None))
        assert job.run.num_rows == 5000
        with pytest.raises(ValueError, match="`--shards 2`: minerva_math is a group of tasks"):
            split([job], 2)

    def test_that_are_finished_are_not_done_again(self, job_of):
        job = job_of()
        all_parts = split([job], 3)
        finish(all_parts[1].work)
        assert [part.number for part in split([job], 3)] == [1, 3]
        for part in (all_parts[0], all_parts[2]):
            finish(part.work)
        assert split([job], 3) == [Part(job)]

    def test_are_merged_by_one_task_once_all_are_through(self, job_of):
        job = job_of()
        parts = split([job], 3)
        mine, others = [parts[0]], parts[1:]
        finish(parts[0].work)
        assert to_merge(mine, "plan 0") == []
        for part in others:
            finish(part.work)
        assert to_merge(others, "plan 1") == [job]
        assert to_merge(mine, "plan 0") == []
        # After a requeue the same task goes on, and another plan asks again.
        assert to_merge(others, "plan 1") == [job]
        assert to_merge(mine, "other 0") == [job]

    def test_leave_little_to_the_merging(self, job_of):
        assert merging(job_of()).weight < 0.1
        assert merging(job_of()).run == job_of().run
