import os
import stat

import pytest

from lm_eval_codd.launch.devices import make_slots


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """A machine whose nvidia-smi knows GPUs 0 and 1."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-aaa, NVIDIA H200'\necho '1, GPU-bbb, NVIDIA H200'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def a_divided_gpu(tmp_path, monkeypatch):
    """A machine with two GPUs, the second of which is divided."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = -L ]; then\n'
        "  echo 'GPU 0: NVIDIA H100 (UUID: GPU-aaa)'\n"
        "  echo 'GPU 1: NVIDIA H100 (UUID: GPU-aab)'\n"
        "  echo '  MIG 3g.40gb     Device  0: (UUID: MIG-1a2b-3c)'\n"
        "  echo '  MIG 1g.10gb     Device  1: (UUID: MIG-GPU-aab/2/0)'\n"
        "else echo '0, GPU-aaa, NVIDIA H100'; echo '1, GPU-aab, NVIDIA H100'; fi\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def no_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))


class TestGpus:
    @pytest.mark.parametrize(("gpus", "wrong"), [("0 1", "0 1"), ("0,b", "b"), ("0;1", "0;1"), ("-1", "-1")])
    def test_what_can_be_no_id_is_refused_for_other_machines_too(self, gpus, wrong):
        with pytest.raises(ValueError, match=f"^`--gpus {gpus}`: `{wrong}` is no id of a GPU; separate"):
            make_slots(gpus, of_other_machine=True)

    def test_ids_of_other_machines_are_taken_as_they_are(self):
        slots = make_slots("7,GPU-1a2b-3c,MIG-1a2b/1/0,cpu", of_other_machine=True)
        assert [slot.label for slot in slots] == ["gpu 7", "gpu GPU-1a2b-3c", "gpu MIG-1a2b/1/0", "cpu"]

    def test_each_id_is_a_slot_that_sees_that_gpu_only(self, two_gpus):
        slots = make_slots("1,0")
        assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["1", "0"]
        assert {slot.device for slot in slots} == {"cuda:0"}
        assert slots[0].hardware == "NVIDIA H200"

    def test_an_id_that_does_not_exist_is_an_error_that_lists_the_others(self, two_gpus):
        with pytest.raises(ValueError, match="`--gpus 0,2`: there is no GPU 2; this machine has 0, 1"):
            make_slots("0,2")

    def test_without_nvidia_smi_the_cpu_is_offered(self, no_gpu):
        with pytest.raises(ValueError, match="no nvidia-smi, so no GPU can be used; use --gpus cpu"):
            make_slots("0")

    def test_an_empty_place_is_an_error(self, two_gpus):
        with pytest.raises(ValueError, match="has an empty place"):
            make_slots("0,,1")

    def test_that_was_left_to_others_is_refused(self, two_gpus, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bbb")
        assert [slot.label for slot in make_slots("1,cpu")] == ["gpu 1", "cpu"]
        with pytest.raises(ValueError, match=r"^`--gpus 0`: GPU 0 is none of CUDA_VISIBLE_DEVICES=GPU-bbb; ids are"):
            make_slots("0")
        assert [slot.label for slot in make_slots("0", of_other_machine=True)] == ["gpu 0"]
        assert [slot.label for slot in make_slots("cpu")] == ["cpu"]

    @pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles", "-1,0"])
    def test_is_refused_where_none_was_left(self, two_gpus, monkeypatch, visible):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with pytest.raises(ValueError, match=f"GPU 0 is none of CUDA_VISIBLE_DEVICES={visible}; ids are"):
            make_slots("0")
        assert [slot.label for slot in make_slots("cpu")] == ["cpu"]

    def test_that_shares_its_number_with_one_of_another_count_is_taken(self, two_gpus, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
        assert [slot.label for slot in make_slots("0")] == ["gpu 0"]

    def test_that_is_whole_is_refused_beside_a_part(self, a_divided_gpu, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1a2b-3c")
        with pytest.raises(ValueError, match=r"^`--gpus 1`: GPU 1 is none of CUDA_VISIBLE_DEVICES=MIG-1a2b-3c; ids"):
            make_slots("1")

    def test_an_id_twice_is_two_runs_at_a_time_there(self, two_gpus):
        slots = make_slots("0,1,GPU-aaa")
        assert [slot.label for slot in slots] == ["gpu 0", "gpu 1", "gpu GPU-aaa again (2)"]
        assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "1", "GPU-aaa"]

    def test_the_beginning_of_a_uuid_is_enough_where_it_is_one_gpus(self, two_gpus):
        assert make_slots("GPU-b")[0].hardware == "NVIDIA H200"
        with pytest.raises(ValueError, match=r"^`--gpus GPU-`: `GPU-` is no id of a GPU"):
            make_slots("GPU-")

    def test_the_beginning_of_two_uuids_is_refused(self, a_divided_gpu):
        with pytest.raises(ValueError, match=r"^`--gpus GPU-a`: 2 GPUs begin with GPU-a; this machine has 0, 1"):
            make_slots("GPU-a")

    def test_parts_of_a_gpu_are_slots(self, a_divided_gpu):
        slots = make_slots("MIG-1a2b-3c,1,MIG-GPU-aab/2/0")
        assert [slot.label for slot in slots] == ["gpu MIG-1a2b-3c", "gpu 1", "gpu MIG-GPU-aab/2/0"]
        assert [slot.hardware for slot in slots] == ["MIG 3g.40gb", "NVIDIA H100", "MIG 1g.10gb"]

    def test_a_part_that_does_not_exist_is_an_error_that_lists_the_others(self, a_divided_gpu):
        listed = "0, 1, MIG-1a2b-3c, MIG-GPU-aab/2/0"
        with pytest.raises(ValueError, match=f"there is no GPU MIG-9; this machine has {listed}$"):
            make_slots("MIG-9")


class TestTheDefault:
    def test_is_every_gpu(self, two_gpus):
        assert [slot.label for slot in make_slots(None)] == ["gpu 0", "gpu 1"]

    def test_is_what_a_batch_system_left_visible(self, two_gpus, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        assert [slot.label for slot in make_slots(None)] == ["gpu 1"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert [slot.label for slot in make_slots(None)] == ["cpu"]

    @pytest.mark.parametrize(("visible", "labels"), [("0,-1,1", ["gpu 0"]), ("-1", ["cpu"]), ("NoDevFiles", ["cpu"])])
    def test_ends_where_cuda_stops_to_read(self, two_gpus, monkeypatch, visible, labels):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert [slot.label for slot in make_slots(None)] == labels

    def test_may_be_parts_of_a_gpu(self, a_divided_gpu, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1a2b-3c")
        assert [slot.label for slot in make_slots(None)] == ["gpu MIG-1a2b-3c"]

    def test_that_does_not_exist_is_named_as_it_was_given(self, two_gpus, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,7")
        with pytest.raises(ValueError, match=r"^`CUDA_VISIBLE_DEVICES=0,7`: there is no GPU 7; this machine has 0, 1$"):
            make_slots(None)

    def test_is_one_cpu_slot_without_gpus(self, no_gpu):
        assert [(slot.label, slot.device) for slot in make_slots(None)] == [("cpu", "cpu")]


class TestCpuSlots:
    def test_share_the_cores_and_see_no_gpu(self, two_gpus, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
        slots = make_slots("cpu,cpu")
        assert [slot.environment for slot in slots] == [{"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "4"}] * 2

    def test_keep_the_number_of_threads_that_the_user_set(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert "OMP_NUM_THREADS" not in make_slots("cpu")[0].environment


class TestGpusPerRun:
    def test_are_one_slot_over_which_a_checkpoint_is_spread(self, two_gpus):
        (slot,) = make_slots("1,0", gpus_per_run=2)
        assert (slot.label, slot.environment["CUDA_VISIBLE_DEVICES"], slot.is_spread) == ("gpu 1,0", "1,0", True)

    @pytest.mark.parametrize(("gpus", "number"), [("0,1", 3), ("0", 2), ("cpu,cpu", 2), ("0,1", 0)])
    def test_that_the_slots_do_not_have_are_refused(self, two_gpus, gpus, number):
        with pytest.raises(ValueError, match=f"`--gpus_per_run {number}` with --gpus {gpus}"):
            make_slots(gpus, gpus_per_run=number)

    def test_are_all_others(self, two_gpus):
        with pytest.raises(ValueError, match=r"^`--gpus_per_run 2` with --gpus 0,GPU-aaa: a GPU twice in one slot"):
            make_slots("0,GPU-aaa", gpus_per_run=2)

    def test_are_whole_ones(self, a_divided_gpu):
        with pytest.raises(ValueError, match=r"CUDA gives a process one part \(MIG\) of a GPU; leave"):
            make_slots("MIG-1a2b-3c,MIG-GPU-aab/2/0", gpus_per_run=2)
