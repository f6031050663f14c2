"""Shared fixtures: where the goldens are, and the larger data beside the project when there is one."""

# Before anything that reads variables.
from tests import surroundings  # isort: split

import gc
import json
import logging
import os
import shutil
from pathlib import Path

import hypothesis
import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd.circuits import HMM

TESTS = Path(__file__).parent


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true", help="the long form of tests that repeat something at random")


def pytest_configure(config):
    """Property-based tests: the same examples every time, and no time limit; more and other ones in the long form."""
    nightly = config.getoption("--nightly")
    hypothesis.settings.register_profile(
        "here",
        deadline=None,
        database=None,
        derandomize=not nightly,
        max_examples=2000 if nightly else 25,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("here")
    config.add_cleanup(surroundings.remove)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Import what tests import without the garbage collector: it takes a third of the time, and there is no garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def times(request):
    """A function (short, long) -> how often a test repeats what it does at random; the long form is nightly.sh's."""
    nightly = request.config.getoption("--nightly")
    return lambda short, long: long if nightly else short


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Goldens committed with the tests."""
    return TESTS / "golden"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real data and all goldens, beside the checkout; tests that need it are skipped without it."""
    path = Path(os.environ.get("CODD_SHARED", TESTS.parent.parent / "shared"))
    if not path.is_dir():
        pytest.skip("no ../shared beside the project")
    return path


@pytest.fixture(scope="session")
def word_tokenizer(golden_dir, tmp_path_factory) -> Path:
    """A tokenizer of as few words as the golden models of the DiT family: w0 to w28, then the end of text, 29."""
    source = golden_dir / "dit" / "tiny-gpt2"
    folder = tmp_path_factory.mktemp("word_tokenizer")
    content = json.loads((source / "tokenizer.json").read_text())
    content["model"]["vocab"] = {**{f"w{number}": number for number in range(29)}, "<|endoftext|>": 29}
    content["added_tokens"][0]["id"] = 29
    (folder / "tokenizer.json").write_text(json.dumps(content))
    shutil.copy(source / "tokenizer_config.json", folder)
    return folder


@pytest.fixture(scope="session")
def load(golden_dir):
    """name -> golden backbone, each loaded once."""
    loaded = {}

    def get(name: str):
        if name not in loaded:
            loaded[name] = codd.load_backbone(golden_dir / "decoding" / "models" / name, dtype="float32", device="cpu")
        return loaded[name]

    return get


@pytest.fixture
def make_circuit():
    """A function that makes a random circuit; see `random_circuit`."""
    return random_circuit


def random_circuit(seed=0, *, num_positions=4, num_latents=3, vocab_size=4, tied=True, dtype=torch.float64, zeros=0.0):
    """A circuit with Dirichlet-like rows; a share `zeros` of transitions and emissions is exactly zero."""
    generator = torch.Generator().manual_seed(seed)

    def rows(*shape):
        values = torch.rand(*shape, generator=generator, dtype=torch.float64) ** 2 + 1e-3
        keep = torch.rand(shape, generator=generator) >= zeros
        keep[..., seed % shape[-1]] = True
        values = values * keep
        return (values / values.sum(-1, keepdim=True)).to(dtype)

    steps, positions = ((), ()) if tied else ((num_positions - 1,), (num_positions,))
    return HMM(
        rows(num_latents),
        rows(*steps, num_latents, num_latents),
        rows(*positions, num_latents, vocab_size),
        num_positions,
    )


@pytest.fixture(scope="session")
def score():
    """A function (task, one answer a row, row numbers or None for all) -> {"metric,filter": mean} of lm-eval itself."""
    from lm_eval import evaluate
    from lm_eval.api.model import LM

    class Answers(LM):
        def __init__(self, answers):
            super().__init__()
            self.answers = answers

        def generate_until(self, requests):
            return self.answers

        loglikelihood = loglikelihood_rolling = None

    def run(task, answers, rows=None):
        name = task.config.task
        results = evaluate(
            lm=Answers(answers),
            task_dict={"tasks": {name: task}, "groups": {}, "group_map": {}},
            samples=None if rows is None else {name: rows},
            bootstrap_iters=0,
            log_samples=False,
            confirm_run_unsafe_code=True,
        )
        values = results["results"][name]
        return {key: value for key, value in values.items() if "," in key and "_stderr" not in key}

    return run


@pytest.fixture
def harness_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """caplog that also sees lm-eval's loggers, which do not propagate once its command line has set them up."""
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)
    caplog.set_level(logging.INFO, logger="lm_eval")
    return caplog
