"""Journals that an older version wrote (tests/golden/records)."""

import json
import shutil

import pytest

from lm_eval_codd.models.codd import CoddLLaDA
from lm_eval_codd.models.llada import LLaDA
from tests.records import copied, interrupted

SHORT = {"gen_length": 32, "num_steps": 8, "dtype": "float32", "device": "cpu", "batch_size": 6}
CIRCUIT = {"pc": "demo", "pc_frac": 1.1}
MODELS = {
    "base": lambda journal: LLaDA("demo", journal=journal, **SHORT),
    "circuit": lambda journal: CoddLLaDA("demo", journal=journal, **SHORT, **CIRCUIT),
    "best window": lambda journal: CoddLLaDA("demo", journal=journal, **SHORT, **CIRCUIT, paradigm="full"),
}


@pytest.mark.parametrize("which", MODELS)
def test_are_opened_and_none_of_their_answers_is_reused(which, tmp_path, ask, decoded, harness_log):
    folder = copied(which, tmp_path)
    (file,) = folder.glob("samples_*")
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    lm = MODELS[which](folder / "journal")
    answers = ask(lm, [sample["arguments"]["gen_args_0"]["arg_0"] for sample in samples])
    assert "6 answers are journalled" in harness_log.text
    assert len(decoded) == len(samples) == 6
    # What decoding did not change comes out as it did then.
    assert which == "best window" or answers == [sample["resps"][0][0] for sample in samples]


def test_of_an_interrupted_run_lose_no_more_than_their_last_line(tmp_path, ask, decoded, harness_log):
    folder = copied("base", tmp_path)
    interrupted(folder)
    before = shutil.copytree(folder / "journal", tmp_path / "before")
    ask(MODELS["base"](folder / "journal"), ["a"])
    assert "2 answers are journalled" in harness_log.text
    assert "1 lines are cut short or damaged and left out" in harness_log.text
    assert len(decoded) == 1
    assert all((folder / "journal" / file.name).read_bytes() == file.read_bytes() for file in before.iterdir())
