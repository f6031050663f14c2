"""The hash that says whether a journalled answer was made by the code that is here now."""

import shutil
from pathlib import Path

import pytest

from lm_eval_codd.models import code_version

VERSION = code_version.code_version.__wrapped__


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the package, which the hash is taken of."""
    copy = tmp_path / "lm_eval_codd"
    here = Path(code_version.__file__).parents[1]
    shutil.copytree(here, copy, ignore=shutil.ignore_patterns("demo", "__pycache__"))
    monkeypatch.setattr(code_version, "_PACKAGE", copy)
    return copy


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} no longer says {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def append(path: Path, text: str) -> None:
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{text}", encoding="utf-8")


class TestWhatChangesIt:
    @pytest.mark.parametrize(
        ("module", "old", "new"),
        [
            ("settings/config.py", "self.gen_length // self.block_length", "1"),
            ("circuits/files/jpc.py", "return", "return not"),
        ],
    )
    def test_a_line_of_a_module_that_decodes(self, package, module, old, new):
        before = VERSION()
        edit(package / module, old, new)
        assert VERSION() != before

    @pytest.mark.parametrize(
        "importing",
        [
            "from lm_eval_codd.decoding.made_up.rule import decide",
            "def late():\n    import lm_eval_codd.decoding.made_up.rule",
            "RULES = {'made_up': 'lm_eval_codd.decoding.made_up.rule:Rule'}",
        ],
    )
    def test_a_line_of_a_module_in_a_new_folder_however_it_is_imported(self, package, importing):
        rule = package / "decoding" / "made_up" / "rule.py"
        rule.parent.mkdir()
        rule.write_text("decide = 1\n")
        append(package / "decoding" / "loop.py", importing)
        before = VERSION()
        rule.write_text("decide = 2\n")
        assert VERSION() != before

    def test_a_module_that_is_renamed(self, package):
        before = VERSION()
        (package / "circuits" / "chain.py").rename(package / "circuits" / "chains.py")
        assert VERSION() != before


class TestWhatDoesNot:
    @pytest.mark.parametrize(
        "module", ["launch/cli.py", "backbones/inspect.py", "training/run.py", "circuits/files/convert.py"]
    )
    def test_a_module_that_decoding_cannot_reach(self, package, module):
        before = VERSION()
        append(package / module, "CHANGED = True")
        assert VERSION() == before

    def test_comments_docstrings_and_blank_lines(self, package):
        before = VERSION()
        loop = package / "decoding" / "loop.py"
        first = loop.read_text(encoding="utf-8").partition("\n")[0]
        edit(loop, first, '"""Another sentence."""\n\n# A comment.')
        append(loop, "\n\n# The end.\n")
        assert VERSION() == before

    @pytest.mark.parametrize(("condition", "covered"), [("TYPE_CHECKING", False), ("not TYPE_CHECKING", True)])
    def test_what_is_imported_for_its_types_alone(self, package, condition, covered):
        append(package / "decoding" / "loop.py", f"if {condition}:\n    import lm_eval_codd.backbones.inspect")
        before = VERSION()
        append(package / "backbones" / "inspect.py", "CHANGED = True")
        assert (VERSION() != before) == covered
