import pytest

from lm_eval_codd.models.codd import CoddLLaDA
from lm_eval_codd.trace import cli

ARGUMENTS = ["--model", "codd_llada", "--model_args", "pretrained=x,pc=y", "--prompt", "two and two"]


@pytest.fixture(autouse=True)
def model(make_lm, monkeypatch):
    asked = []

    def create(arguments):
        asked.append(arguments)
        return make_lm()

    monkeypatch.setattr(CoddLLaDA, "create_from_arg_string", create)
    return asked


class TestTrace:
    def test_the_steps_and_the_answers_are_printed(self, model, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "100")
        assert cli.main(ARGUMENTS) == 0
        printed = capsys.readouterr().out
        assert model == ["pretrained=x,pc=y"]
        assert "── 8 of 8 ──" in printed
        assert "backbone and circuit: " in printed
        assert "NFE 8" in printed
        assert "\x1b" not in printed.partition("\nbackbone: ")[0]

    @pytest.mark.parametrize(("variable", "colour"), [("FORCE_COLOR", True), ("NO_COLOR", False)])
    def test_colour_can_be_asked_for_and_refused(self, capsys, monkeypatch, variable, colour):
        monkeypatch.setenv(variable, "1")
        cli.main(ARGUMENTS)
        assert ("\x1b[1;32m" in capsys.readouterr().out) == colour

    def test_an_approximate_decode_is_called_so(self, make_lm, monkeypatch, capsys):
        monkeypatch.setattr(CoddLLaDA, "create_from_arg_string", lambda _: make_lm(cache="dual", threshold=0.9))
        cli.main(ARGUMENTS)
        assert "\napproximate: cache=dual, threshold=0.9\n" in capsys.readouterr().out

    def test_an_extension_too(self, make_lm, monkeypatch, capsys):
        lm = make_lm(decoder="p2", block_length=32)
        monkeypatch.setattr(CoddLLaDA, "create_from_arg_string", lambda _: lm)
        cli.main(ARGUMENTS)
        assert "\nextension, without a reference: circuit with decoder=p2\n" in capsys.readouterr().out

    def test_a_page_is_written_instead(self, tmp_path, capsys):
        cli.main([*ARGUMENTS, "--html", str(tmp_path / "out.html")])
        assert capsys.readouterr().out.startswith(f"{tmp_path / 'out.html'}\n")
        assert (tmp_path / "out.html").read_text().startswith("<!doctype html>")

    def test_a_page_that_cannot_be_written_stops_it_before_a_checkpoint_is_opened(self, model, tmp_path):
        with pytest.raises(ValueError, match=r"`--html .*` cannot be written: .* is a file, not a folder"):
            (tmp_path / "no").touch()
            cli.main([*ARGUMENTS, "--html", str(tmp_path / "no" / "out.html")])
        assert model == []
