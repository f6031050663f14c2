"""What a user reads, who has only the message, about a circuit that cannot be loaded."""

import pytest

import lm_eval_codd as codd

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 1\n"


@pytest.mark.parametrize(
    "device, message",
    [
        ("gpu", "`device=gpu` is not for circuits; use cpu, cuda or cuda:<id>"),
        ("mps", "`device=mps` is not for circuits"),
        ("cuda:99", r"`device=cuda:99` does not exist: \d+ GPU\(s\) are visible; device=cpu always works"),
    ],
)
def test_a_device_that_is_not_there_is_said_before_the_file_is_read(device, message):
    with pytest.raises(ValueError, match=message):
        codd.load_circuit("nowhere.jpc", device=device)


@pytest.mark.parametrize("content", [b"", b"hello", POINTER])
@pytest.mark.parametrize("name", ["circuit.jpc", "circuit.safetensors"])
def test_a_file_that_is_none_says_to_fetch_it_again(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: not .*fetch the file again") as error:
        codd.load_circuit(tmp_path / name)
    assert "\n" not in str(error.value)
