"""What is asked of the cluster, in sbatch's own words."""

import pytest

from lm_eval_codd.launch.slurm.options import parse_cluster
from lm_eval_codd.launch.slurm.submit import parameters


class TestATime:
    @pytest.mark.parametrize(
        ("text", "minutes"),
        [("240", 240), ("04:00:00", 240), ("90:30", 91), ("1-12", 2160), ("1-0:30", 1470), ("2-01:00:01", 2941)],
    )
    def test_is_read_as_sbatch_reads_it(self, text, minutes):
        assert parse_cluster(f"time={text}").minutes == minutes

    @pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "0", "-1", "00:00"])
    def test_that_is_none_is_refused(self, text):
        with pytest.raises(ValueError, match="time="):
            parse_cluster(f"time={text}")

    def test_is_needed(self):
        with pytest.raises(ValueError, match="needs time=, such as time=04:00:00"):
            parse_cluster("partition=gpu")

    @pytest.mark.parametrize(("minutes", "seconds"), [(1, 10), (5, 50), (240, 120)])
    def test_is_told_before_it_is_over(self, minutes, seconds):
        assert parse_cluster(f"time={minutes}").seconds_of_notice == seconds


class TestOptions:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("time=5 partion=gpu", "unknown option of sbatch `partion`; did you mean `partition`"),
            ("time=5 array=0-3", "--array_parallelism says how many"),
            ("time=5 --output=x", "logs are in OUTPUT_DIR/.slurm"),
            ("time=5 partition", "must be partition=VALUE"),
            ("time=5 exclusive=yes", "must be exclusive;"),
            ("time=5 time=6", "given twice"),
            ("time=5 comment='open", "no closing quotation"),
        ],
    )
    def test_that_are_wrong_are_one_line(self, text, message):
        with pytest.raises(ValueError, match=message) as caught:
            parse_cluster(text)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "has_gpus"),
        [("gpus_per_node=1", True), ("--gpus-per-node=2", True), ("gres=gpu:a100:1", True), ("cpus_per_task=4", False)],
    )
    def test_tell_whether_there_are_gpus(self, text, has_gpus):
        assert parse_cluster(f"time=5 {text}").has_gpus is has_gpus

    def test_become_arguments_of_submitit_or_pass_through_it(self):
        cluster = parse_cluster("time=04:00:00 partition=gpu exclusive mail_type=END 'comment=two words'")
        found = parameters(cluster, 20)
        assert (found["time"], found["partition"], found["exclusive"], found["comment"]) == (
            240,
            "gpu",
            True,
            "two words",
        )
        assert found["additional_parameters"] == {"mail_type": "END", "requeue": True}
        assert found["array_parallelism"] == 20
