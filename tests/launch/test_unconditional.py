"""The launcher on models without prompts: their runs go on, are skipped, and say what they need."""

import json

import pytest

from lm_eval_codd.launch import main
from lm_eval_codd.launch.fetch import needs
from lm_eval_codd.runs.make_run import parse_run
from tests.launch.conftest import Launcher

MODEL = "--model_alias mdlm --dit_ckpt kuleshov-group/mdlm-owt@v1 --tokenizer gpt2"


@pytest.fixture
def dit(golden_dir, tmp_path):
    """A folder that looks like an MDLM's."""
    folder = tmp_path / "mdlm"
    folder.mkdir()
    (folder / "config.json").write_bytes((golden_dir / "dit" / "hf-mdlm-tiny" / "config.json").read_bytes())
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def test_runs_go_on_and_are_skipped(checkpoint, tmp_path, dit):
    launcher = Launcher(checkpoint, tmp_path)
    runs = [f"--model_alias mdlm --dit_ckpt '{dit}' --task gsm8k --num_steps {steps}" for steps in (8, 4)]
    code, output = launcher(runs, fake={"4": {"fail": 3}})
    assert code == 1 and "1 of 2 runs failed" in output
    code, output = launcher(runs)
    assert code == 0 and launcher.order().count("start 8") == 1 and launcher.order()[-2:] == ["start 4", "end 4"]
    (record,) = [json.loads(path.read_text()) for path in launcher.results.glob("*steps8*/run.json")]
    assert record["model"] == "mdlm" and record["identity"]["config"] == {"num_steps": 8}
    assert record["num_forward"] == 9 and record["fingerprints"].keys() == {"checkpoint"}
    code, output = launcher(runs, "--dry-run")
    assert code == 0 and output.count("finished already") == 2 and "runs: 0" in output


def test_a_corpus_is_fetched_for_the_model_that_it_is_packed_for():
    wanted = needs({"one": parse_run(f"{MODEL} --task dlm_ppl_ptb --metadata group=all")})
    assert wanted["models"].keys() == {"kuleshov-group/mdlm-owt@v1", "openai-community/gpt2"}
    ((task, names),) = wanted["tasks"].items()
    name, _, arguments = task.partition(" ")
    assert (name, names) == ("dlm_ppl_ptb", ["one"])
    assert json.loads(arguments) == {
        **{"pretrained": "kuleshov-group/mdlm-owt", "revision": "v1", "tokenizer": "openai-community/gpt2"},
        "group": "all",
    }


def test_a_model_of_one_gpu_is_not_spread(capsys, dit):
    text = f"--model_alias mdlm --dit_ckpt '{dit}' --task gsm8k"
    assert main(["--run", text, "--gpus", "0,1", "--gpus_per_run", "2", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "`--gpus_per_run 2`: mdlm take one GPU each; start these runs without it" in said
