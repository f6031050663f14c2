import json
import sys

import pytest

from lm_eval_codd.launch.errors import NotStarted
from lm_eval_codd.launch.fetch import DATA_DIR, Fetched, fetch, needs
from lm_eval_codd.launch.schedule import StopRequest
from lm_eval_codd.runs.make_run import parse_run


def runs(**texts: str):
    return {name: parse_run(f"--model_alias llada {text}") for name, text in texts.items()}


def child(*replies: dict, then: str = "") -> list[str]:
    program = f"for reply in {[json.dumps(reply) for reply in replies]!r}: print(reply, flush=True)\n{then}"
    return [sys.executable, "-c", program]


def reply(kind: str, name: str, *, revision: str | None = None, error: str | None = None) -> dict:
    return {"kind": kind, "name": name, "revision": revision, "error": error}


class TestNeeds:
    def test_name_each_model_and_data_set_once_with_its_runs(self, monkeypatch):
        monkeypatch.delenv(DATA_DIR, raising=False)
        found = needs(runs(a="--task gsm8k", b="--task mbpp --peft_ckpt x/y", c="--task gsm8k --num_steps 64"))
        assert found["models"] == {"GSAI-ML/LLaDA-8B-Instruct": ["a", "b", "c"], "x/y": ["b"]}
        assert found["tasks"] == {"codd_gsm8k": ["a", "c"], "codd_mbpp": ["b"]}

    def test_of_a_task_with_arguments_have_them(self, monkeypatch):
        monkeypatch.delenv(DATA_DIR, raising=False)
        found = needs(runs(a="--task codd_crb_1 --metadata inputs=x.jsonl", b="--task codd_crb_1"))
        assert found["tasks"] == {'codd_crb_1 {"inputs": "x.jsonl"}': ["a"], "codd_crb_1": ["b"]}

    def test_are_none_for_folders_the_demo_and_local_data(self, monkeypatch, checkpoint, tmp_path):
        monkeypatch.setenv(DATA_DIR, str(tmp_path))
        demo = "--task demo --llada_ckpt demo --gen_length 32"
        found = needs(runs(a=demo, b=f"--task gsm8k --llada_ckpt '{checkpoint}'"))
        assert found == {"models": {}, "tasks": {}}
        monkeypatch.delenv(DATA_DIR)
        for task in ("coupling_sort", "stock:codd_coupling"):
            assert needs(runs(a=demo, b=f"--task {task} --gen_length 32 --llada_ckpt '{checkpoint}'"))["tasks"] == {}
        monkeypatch.setenv(DATA_DIR, str(tmp_path))
        assert fetch(found, StopRequest(), child=["/no/such/program"]) == Fetched({})

    def test_of_a_task_of_lm_eval_remain_with_local_data(self, monkeypatch, checkpoint, tmp_path):
        monkeypatch.setenv(DATA_DIR, str(tmp_path))
        assert list(needs(runs(a=f"--task gsm8k_cot --llada_ckpt '{checkpoint}'"))["tasks"]) == ["gsm8k_cot"]


WANTED = {"models": {"a/b": ["run1"]}, "tasks": {"codd_gpqa": ["run1", "run2"]}}


class TestFetching:
    def test_returns_the_revisions_of_the_models(self):
        replies = child(reply("models", "a/b", revision="c0ffee"), reply("tasks", "codd_gpqa"))
        assert fetch(WANTED, StopRequest(), child=replies) == Fetched({"a/b": "c0ffee"})

    def test_a_hub_that_cannot_be_reached_is_said(self):
        hub = {"kind": "hub", "name": "", "revision": None, "error": "cannot be reached"}
        there = (reply("models", "a/b", revision="c0ffee"), reply("tasks", "codd_gpqa"))
        fetched = fetch(WANTED, StopRequest(), child=child(hub, *there))
        assert fetched == Fetched({"a/b": "c0ffee"}, hub_is_reachable=False)
        with pytest.raises(NotStarted, match="the hub cannot be reached, and the cache was looked at"):
            fetch(WANTED, StopRequest(), child=child(hub, reply("models", "a/b", error="not cached"), there[1]))

    def test_a_failure_says_what_why_and_for_which_runs(self):
        replies = child(reply("models", "a/b", revision="c"), reply("tasks", "codd_gpqa", error="it is gated"))
        with pytest.raises(NotStarted) as error:
            fetch(WANTED, StopRequest(), child=replies)
        assert error.value.lines == ("cannot fetch codd_gpqa: it is gated (needed by run1, run2)",)

    def test_a_child_that_dies_is_a_failure(self):
        with pytest.raises(NotStarted, match="fetching ended early, with exit status 7"):
            fetch(WANTED, StopRequest(), child=child(reply("models", "a/b"), then="raise SystemExit(7)"))

    def test_a_request_to_stop_ends_the_child(self):
        stop = StopRequest()
        stop.count = 1
        assert fetch(WANTED, stop, child=child(then="import time; time.sleep(3600)")) == Fetched({})


class TestTheFetchingChild:
    def test_answers_a_line_an_item_whatever_fails(self, monkeypatch, capsys):
        import huggingface_hub

        from lm_eval_codd.launch import fetch_child

        def snapshot_download(name, revision, allow_patterns):
            assert "*.safetensors" in allow_patterns
            assert (name, revision) in (("bad/one", None), ("good/one", None), ("good/one", "v1"))
            if name == "bad/one":
                raise OSError("no\nnetwork")
            return "/cache/snapshots/c0ffee"

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        monkeypatch.setattr(fetch_child, "hub_is_reachable", lambda: True)
        fetch_child.main({"models": ["bad/one", "good/one", "good/one@v1"], "tasks": []}, sys.stdout)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert lines == [
            reply("models", "bad/one", error="no network"),
            reply("models", "good/one", revision="c0ffee"),
            reply("models", "good/one@v1", revision="c0ffee"),
        ]

    def test_asks_a_hub_that_is_not_there_once(self, monkeypatch, capsys):
        import urllib.request

        from huggingface_hub import constants

        from lm_eval_codd.launch import fetch_child

        asked = []

        def urlopen(request, timeout):
            asked.append(request.full_url)
            raise OSError("no network")

        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        fetch_child.main({"models": ["no/such", "no/other"], "tasks": []}, sys.stdout)
        assert (asked, constants.HF_HUB_OFFLINE) == ([constants.ENDPOINT], True)
        kinds = [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()]
        assert kinds == ["hub", "models", "models"]

    def test_a_task_is_loaded_with_its_arguments(self, monkeypatch, tmp_path):
        missing = tmp_path / "nowhere.jsonl"
        wanted = {"models": {}, "tasks": {f'codd_gpqa {{"clean": "{missing.name}"}}': ["run1"]}}
        with pytest.raises(NotStarted, match=f"`--metadata clean={missing.name}` is not one of paper, off"):
            fetch(wanted, StopRequest())
