"""What an older version wrote, in reports."""

import json

import pytest

from lm_eval_codd.reporting.cells import group_runs
from lm_eval_codd.reporting.runs import read_folder, read_runs
from lm_eval_codd.settings import DecodingConfig
from lm_eval_codd.settings.older_records import DECODING_VERSION
from tests.records import FLAGS, change, copied
from tests.reporting.synthetic import STAMP, write_run

DEFAULTS = vars(DecodingConfig())


def pairs(results):
    """(base, CoDD) of every table; there must be one table."""
    (group,) = group_runs(read_folder(results).runs)
    return [(base.run.name, codd.run.name) for base, codd in group.pairs()]


class TestASettingThatARecordLacks:
    @pytest.mark.parametrize("family", ["llada", "dream"])
    @pytest.mark.parametrize("lacking", sorted(DEFAULTS))
    def test_has_its_default(self, tmp_path, family, lacking):
        # All of Dream's own settings at the general defaults, so that each of them may be missing.
        own = {"paradigm": "block", "temperature": 0.0, "top_p": None, "top_k": None, "gen_length": 512}
        write_run(tmp_path, [1, 0], family=family, steps=256, name="base", **own)
        codd = write_run(tmp_path, [1, 1], family=family, steps=256, name="codd", circuit="il18/pc", **own)
        change(codd / f"results_{STAMP}.json", lambda data: data["config"]["settings"].pop(lacking))
        assert pairs(tmp_path) == [("base", "codd")]

    def test_is_the_default_whatever_the_family_has_now(self, tmp_path):
        folder = write_run(tmp_path, [1, 0], family="dream", name="a")
        change(folder / f"results_{STAMP}.json", lambda data: data["config"]["settings"].pop("top_k"))
        assert read_runs(folder)[0].settings["top_k"] is None

    def test_sets_no_runs_apart_of_a_folder_that_lm_eval_wrote(self, tmp_path):
        folder = write_run(tmp_path, [1, 0], name="a")
        (folder / "run.json").unlink()
        data = json.loads((folder / f"results_{STAMP}.json").read_text())
        data["config"]["settings"].pop("cfg_scale")
        (folder / "results_2030.json").write_text(json.dumps(data))
        assert len(read_folder(tmp_path).runs) == 1


class TestFoldersOfAnOlderVersion:
    def test_are_read_and_paired(self, tmp_path):
        for which in ("base", "circuit"):
            copied(which, tmp_path)
        assert len(pairs(tmp_path)) == 1

    def test_say_where_such_settings_decode_otherwise_now(self, tmp_path):
        said = {which: read_runs(copied(which, tmp_path))[0].warnings for which in FLAGS}
        (line,) = said.pop("best window")
        assert line.startswith("decoded by an older rule")
        assert not any(said.values())

    @pytest.mark.parametrize(("version", "num_lines"), [(None, 2), (1, 1), (DECODING_VERSION, 0), (99, 0)])
    def test_say_what_came_after_them_alone(self, tmp_path, version, num_lines):
        folder = write_run(
            tmp_path, [1], family="dream", circuit="il18/pc", steps=64, name="a", config={"decoding_version": version}
        )
        assert len(read_runs(folder)[0].warnings) == num_lines
