import pytest
import torch

from lm_eval_codd.models import batching
from lm_eval_codd.models.batching import BatchSize, in_batches, is_out_of_memory, plan

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class TestPlan:
    def test_every_request_is_in_one_batch(self):
        lengths = [5, 9, 5, 7, 5, 9, 1, 5, 7]
        for size in range(1, 11):
            assert sorted(index for batch in plan(lengths, size) for index in batch) == list(range(9))

    def test_equal_lengths_share_a_batch_as_far_as_they_fill_it(self):
        batches = plan([5, 9, 5, 7, 5, 9, 5, 5], 2)
        mixed = [batch for batch in batches if len({[5, 9, 5, 7, 5, 9, 5, 5][index] for index in batch}) > 1]
        assert sorted(map(len, batches)) == [2, 2, 2, 2]
        assert len(mixed) == 1

    def test_the_longest_prompts_come_first(self):
        lengths = [1, 8, 3, 8, 3, 2]
        assert [lengths[batch[0]] for batch in plan(lengths, 2)] == [8, 3, 2]


class TestOutOfMemory:
    def test_a_batch_that_does_not_fit_is_cut_and_every_request_answered_once(self):
        lengths, tried = [4, 4, 4, 9, 9, 2, 2], []

        def decode(indices):
            tried.append(len(indices))
            if len(indices) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            return [-index for index in indices]

        size = BatchSize(7)
        answered = [pair for batch in in_batches(lengths, size, decode) for pair in zip(*batch, strict=True)]
        assert sorted(answered) == [(index, -index) for index in range(7)]
        assert tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
        assert size.now == 1

    def test_a_request_that_does_not_fit_alone_says_what_to_change(self):
        def decode(indices):
            raise torch.OutOfMemoryError("CUDA out of memory")

        with pytest.raises(MemoryError, match=r"12 prompt tokens does not fit.*`gen_length`"):
            list(in_batches([3, 12], BatchSize(1), decode))

    def test_other_errors_are_not_taken_for_it(self):
        def decode(indices):
            raise RuntimeError("shapes do not match")

        with pytest.raises(RuntimeError, match="shapes"):
            list(in_batches([3, 12], BatchSize(2), decode))

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            torch.OutOfMemoryError("CUDA out of memory"),
            RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        ],
    )
    def test_every_device_says_it_differently(self, error):
        assert is_out_of_memory(error)


class TestBatchSize:
    @pytest.mark.parametrize("asked", [4, "4"])
    def test_a_number_is_taken_as_it_is(self, asked):
        assert BatchSize(asked).start(GPU, row_bytes=1) == 4

    @pytest.mark.parametrize("asked", ["auto", "auto:4"])
    def test_auto_starts_high_on_a_gpu(self, asked):
        assert BatchSize(asked).start(GPU, row_bytes=1) == 64

    def test_auto_starts_at_max_batch_size_when_given(self):
        assert BatchSize("auto", 12).start(GPU, row_bytes=1) == 12

    def test_auto_stays_below_half_of_the_free_memory_of_a_cpu(self, monkeypatch):
        monkeypatch.setattr(batching, "_free_memory", lambda: 100)
        assert BatchSize("auto").start(CPU, row_bytes=10) == 5
        assert BatchSize("auto").start(CPU, row_bytes=1000) == 1

    def test_a_size_that_fitted_is_kept_for_the_next_task(self):
        size = BatchSize("auto")
        size.start(GPU, row_bytes=1)
        size.halve(64)
        assert size.start(GPU, row_bytes=1) == 32

    @pytest.mark.parametrize("asked", [0, -1, "many", 1.5, True, None])
    def test_anything_else_is_an_error(self, asked):
        with pytest.raises(ValueError, match="`batch_size="):
            BatchSize(asked)
