"""Folders that an older version wrote, found again by the launcher."""

import pytest

from lm_eval_codd.launch import jobs
from lm_eval_codd.runs import record
from lm_eval_codd.runs.identity import filled
from lm_eval_codd.runs.make_run import parse_run
from lm_eval_codd.runs.naming import run_name
from tests.records import FLAGS, change, copied, interrupted


def selected(which, results):
    return jobs.select([FLAGS[which]], [], results, {})


class TestAFinishedFolder:
    @pytest.mark.parametrize("which", FLAGS)
    def test_is_skipped(self, tmp_path, which):
        folder = copied(which, tmp_path)
        assert run_name(parse_run(FLAGS[which])) == folder.name
        assert selected(which, tmp_path).finished == {folder.name}

    @pytest.mark.parametrize("which", FLAGS)
    def test_is_skipped_whichever_setting_its_version_did_not_have(self, tmp_path, which):
        folder = copied(which, tmp_path)
        whole = record.identity(record.read(folder))
        defaults = filled({"config": {}})["config"]
        lacking = [name for name, value in whole["config"].items() if value == defaults[name]]
        assert {"factor", "cfg_scale", "cache"} <= set(lacking)
        change(folder / "run.json", lambda content: [content["identity"]["config"].pop(n, None) for n in lacking])
        assert selected(which, tmp_path).finished == {folder.name}

    def test_is_said_to_decode_otherwise_now_where_it_does(self, tmp_path):
        said = {}
        for which in FLAGS:
            copied(which, tmp_path)
            said[which] = [remark for remark in selected(which, tmp_path).remarks if remark.startswith("older  ")]
        (line,) = said.pop("best window")
        assert "decoded by an older rule" in line
        assert "\n" not in line
        assert not any(said.values())

    def test_of_this_version_is_not(self, tmp_path):
        change(
            copied("best window", tmp_path) / "run.json",
            lambda content: content.update(decoding_version=record.surroundings()["decoding_version"]),
        )
        assert not any(remark.startswith("older  ") for remark in selected("best window", tmp_path).remarks)

    def test_of_the_demo_needs_no_defaults_that_came_later(self, tmp_path, monkeypatch):
        from lm_eval_codd.demo import packaged

        then = tmp_path / "then"
        then.mkdir()
        for file in packaged.CHECKPOINTS["demo"].iterdir():
            if file.name != "generation_config.json":
                (then / file.name).symlink_to(file)
        now = parse_run(FLAGS["base"]).fingerprints()
        monkeypatch.setitem(packaged.CHECKPOINTS, "demo", then)
        assert parse_run(FLAGS["base"]).fingerprints() == now


class TestAnInterruptedFolder:
    @pytest.mark.parametrize("which", FLAGS)
    def test_goes_on(self, tmp_path, which):
        folder = copied(which, tmp_path)
        interrupted(folder)
        selection = selected(which, tmp_path)
        assert list(selection.runs) == [folder.name]
        assert not selection.finished
