"""Where results cannot be written is said in one line, before any work is done for them."""

import pytest

from lm_eval_codd.__main__ import main
from tests.reporting.synthetic import write_run


@pytest.fixture
def taken(tmp_path):
    """A file where a folder is wanted."""
    path = tmp_path / "taken"
    path.write_text("mine")
    return path


def refusal(arguments: list[str], capsys) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


class TestAFileInTheWay:
    def test_of_pictures(self, tmp_path, taken, capsys):
        said = refusal(["report", str(tmp_path / "none"), "--plots", str(taken)], capsys)
        assert f"`--plots {taken}` is a file; give a folder" in said

    @pytest.mark.parametrize("flag", ["--html", "--output"])
    def test_of_a_report(self, tmp_path, taken, capsys, flag):
        said = refusal(["report", str(tmp_path / "none"), flag, str(taken / "x")], capsys)
        assert f"`{flag} {taken / 'x'}` cannot be written: {taken} is a file, not a folder" in said

    @pytest.mark.parametrize("flag", ["--junit", "--summary"])
    def test_of_a_check(self, tmp_path, capsys, flag):
        said = refusal(["check", str(tmp_path / "none"), "--against", "x.yaml", flag, str(tmp_path)], capsys)
        assert f"`{flag} {tmp_path}` is a folder; give a file" in said

    def test_of_a_circuit_to_train(self, taken, capsys):
        said = refusal(["train-circuit", "--backbone", "none", "--data", "none.jsonl", "--output", str(taken)], capsys)
        assert f"`--output {taken}` is a file; give a folder" in said

    def test_of_a_checkpoint_to_train(self, taken, capsys):
        given = ["--objective", "papl", "--model", "none", "--data", "none.jsonl"]
        assert f"`--output {taken}` is a file; give a folder" in refusal(
            ["train", *given, "--output", str(taken)], capsys
        )

    def test_of_a_circuit_to_convert(self, taken, capsys):
        out = taken / "c.safetensors"
        assert f"`OUT {out}` cannot be written" in refusal(["convert-circuit", "none", str(out)], capsys)

    def test_of_a_trace(self, taken, capsys):
        arguments = ["trace", "--model", "llada", "--model_args", "pretrained=none", "--prompt", "x"]
        said = refusal([*arguments, "--html", str(taken / "x.html")], capsys)
        assert f"{taken} is a file, not a folder" in said


class TestAFolderThatIsMissing:
    """It is made, in every command."""

    def test_of_a_report_and_a_check(self, tmp_path, capsys):
        write_run(tmp_path / "results", [1, 0, 1])
        names = ("table.md", "page.html", "own.yaml", "junit.xml")
        new = {name: tmp_path / f"of {name}" / "new" / name for name in names}
        outputs = ["--output", str(new["table.md"]), "--html", str(new["page.html"])]
        assert main(["report", str(tmp_path / "results"), *outputs]) == 0
        assert main(["check", str(tmp_path / "results"), "--update", str(new["own.yaml"])]) == 0
        against = ["--against", str(new["own.yaml"]), "--junit", str(new["junit.xml"])]
        assert main(["check", str(tmp_path / "results"), *against]) == 0
        assert all(path.is_file() for path in new.values())

    def test_of_a_circuit_to_convert(self, tmp_path, capsys):
        out = tmp_path / "new" / "deep" / "c.safetensors"
        assert main(["convert-circuit", "demo", str(out)]) == 0
        assert out.is_file()

    def test_of_a_trace(self, tmp_path, capsys):
        page = tmp_path / "new" / "deep" / "trace.html"
        of_demo = ["--model", "llada", "--model_args", "pretrained=demo,num_steps=1", "--prompt", "Emma has 1 book."]
        assert main(["trace", *of_demo, "--html", str(page)]) == 0
        assert page.is_file()


def test_a_circuit_is_not_converted_onto_itself(tmp_path, capsys):
    from lm_eval_codd.circuits import load_circuit
    from lm_eval_codd.circuits.files import save_circuit

    path = tmp_path / "c.safetensors"
    save_circuit(load_circuit("demo"), path)
    assert "is IN itself; give another file" in refusal(["convert-circuit", str(path), str(path)], capsys)
