"""The hash that says whether a journalled answer was made by the code that is here now."""

import shutil
import types
from pathlib import Path

import pytest

from lm_eval_codd.models import code_version, native_setup

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


# Of a room whose answers are journalled, what cannot change one; a folder stands for all of its modules.
TYPES_ALONE = {"decoding": {"protocols.py"}, "circuits": {"tables.py"}}
BESIDE_ANSWERS = {
    "backbones": {"family_table.py", "inspect.py", "saving.py"},
    "circuits": {"files/convert.py"},
    "latent": {"inspect.py"},
    "dit": {"cli.py", "convert.py", "distil.py", "inspect.py", "packing.py", "saving.py", "train.py", "training"},
}
# Texts and their ids, which a key holds.
OF_PROMPTS = {"backbones": {"plain_tokenizer.py", "templates.py"}}
# Room, and what else of its parts is not for it.
JOURNALLED = {
    "decoding": {"backbones": {"native.py", "score.py"}},
    "likelihood": {"backbones": {"native.py"}},
    "latent": {},
    "dit": {},
}


class TestWhatItCovers:
    @pytest.mark.parametrize("room", JOURNALLED)
    def test_every_module_that_can_change_an_answer(self, room):
        package = Path(code_version.__file__).parents[1]
        covered = {path.relative_to(package).as_posix() for path in code_version._reachable(room)}
        masked = ("backbones", "circuits", "decoding") if room in ("decoding", "likelihood") else ()
        for part in {room, "tensors", *masked}:
            others = [kind.get(part, set()) for kind in (TYPES_ALONE, BESIDE_ANSWERS, OF_PROMPTS, JOURNALLED[room])]
            left_out = {f"{part}/{name}" for name in set().union(*others)}
            modules = {path.relative_to(package).as_posix() for path in (package / part).rglob("*.py")}
            lacking = {one for one in modules - covered if not {one, *map(str, Path(one).parents)} & left_out}
            assert not lacking, f"code_version({room!r}) does not see that these change"
            assert modules, part

    def test_a_rule_of_the_block_decoder(self, package):
        before = VERSION()
        append(package / "decoding" / "decoders" / "block_diffusion" / "llada2.py", "CHANGED = True")
        assert VERSION() != before

    def test_diffusion_gemmas_own(self, package, monkeypatch):
        monkeypatch.setattr(native_setup, "code_version", VERSION)
        native = types.SimpleNamespace(resolved=lambda config: {}, ends=(1,), identity="it", dtype="torch.float32")
        before = native_setup.made_by(None, native)
        append(package / "backbones" / "native.py", "CHANGED = True")
        assert native_setup.made_by(None, native)["code"] != before["code"]


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
