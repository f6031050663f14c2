"""What `bench.py` refuses, before anything is measured."""

import bench
import pytest

SMALL = ["decode", "--shape", "tiny", "--device", "cpu"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["decode", "--batch-size", "0"], "--batch-size: 0 must be a whole number of 1 or more"),
            (["decode", "--timed-steps", "-3"], "--timed-steps: -3 must be a whole number of 1 or more"),
            (["circuit", "--repeats", "none"], "--repeats: none must be a whole number of 1 or more"),
            (["circuit", "--masked", "9", "--num-positions", "8"], "`--masked 9` is more than `--num-positions 8`"),
            ([*SMALL, "--json", "/no/such/folder/x.json"], "`--json /no/such/folder/x.json` is in a folder that"),
        ],
    )
    def test_are_one_line(self, arguments, message, capsys):
        with pytest.raises(SystemExit) as refusal:
            bench.main(arguments)
        code, said = refusal.value.code, capsys.readouterr()
        assert message in (said.err if code == 2 else code)
        assert said.out == ""
