import pytest
import torch

from lm_eval_codd.models import batching
from lm_eval_codd.models.batching import BatchSize, is_out_of_memory, within_memory

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class TestOutOfMemory:
    def test_what_is_not_done_is_decoded_again_with_fewer_at_a_time(self):
        tried = []

        def decode(indices, batch_size):
            tried.append((len(indices), batch_size))
            for place, index in enumerate(indices):
                if batch_size > 2 and place == 3:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
                yield place, -index

        size = BatchSize(7)
        answered = list(within_memory([4, 4, 4, 9, 9, 2, 2, 1, 1], size, decode))
        assert answered == [(index, -index) for index in range(9)]
        assert tried == [(9, 7), (6, 3), (3, 1)]
        assert size.now == 1

    def test_a_request_that_does_not_fit_alone_says_what_to_change(self):
        def decode(indices, batch_size):
            raise torch.OutOfMemoryError("CUDA out of memory")
            yield

        with pytest.raises(MemoryError, match=r"12 prompt tokens does not fit.*`gen_length`"):
            list(within_memory([3, 12], BatchSize(2), decode))

    def test_other_errors_are_not_taken_for_it(self):
        def decode(indices, batch_size):
            raise RuntimeError("shapes do not match")
            yield

        with pytest.raises(RuntimeError, match="shapes"):
            list(within_memory([3, 12], BatchSize(2), decode))

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
