"""Runs that end their answers differently are no base and CoDD, whatever else they have in common."""

import dataclasses

import pytest

from lm_eval_codd.reporting.cells import group_runs
from lm_eval_codd.reporting.end_rules import END_RULES
from lm_eval_codd.reporting.formats import to_markdown
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.settings import DecodingConfig
from tests.reporting.synthetic import write_run

PC = "il18/llada-gsm-pc"
CHANGES = {
    "gen_length": 256,
    "stop_at_eos": False,
    "logits_eos_inf": True,
    "confidence_eos_eot_inf": True,
    "eos_id": 7,
    "eot_id": 8,
}


class TestARun:
    @pytest.mark.parametrize("name", CHANGES)
    def test_of_another_rule_is_no_base(self, tmp_path, name):
        write_run(tmp_path, [1, 0], name="plain")
        write_run(tmp_path, [1, 1], name="coupled", circuit=PC, **{name: CHANGES[name]})
        built = build_report(read_folder(tmp_path))
        assert not any(group.pairs() for group in built.groups)
        assert "CoDD - base" not in "".join(map(to_markdown, built.tables))
        (line,) = [remark for remark in built.remarks if "not base and CoDD" in remark]
        usual = getattr(DecodingConfig(), name)
        before, now = (str(value) if value is not None else "default" for value in (usual, CHANGES[name]))
        assert line == f"not base and CoDD: plain and coupled differ in {name} ({before} and {now})"

    def test_with_other_stop_strings_is_no_base(self, tmp_path):
        write_run(tmp_path, [1, 0], name="plain")
        write_run(tmp_path, [1, 1], name="coupled", circuit=PC, config={"gen_kwargs": {"until": ["\n"]}})
        built = build_report(read_folder(tmp_path))
        assert not any(group.pairs() for group in built.groups)
        assert any('until (default and ["\\n"])' in remark for remark in built.remarks)

    def test_whose_decoder_lets_end_tokens_wait_longer_is_no_base(self, tmp_path):
        write_run(tmp_path, [1, 0], name="plain", decoder="cad")
        write_run(tmp_path, [1, 1], name="coupled", circuit=PC, decoder="cad", eos_ratio=0.5)
        assert not any(group.pairs() for group in group_runs(read_folder(tmp_path).runs))

    def test_with_a_base_of_its_own_is_not_remarked(self, tmp_path):
        write_run(tmp_path, [1, 0], name="plain")
        write_run(tmp_path, [1, 0], name="short", gen_length=256)
        write_run(tmp_path, [1, 1], name="coupled", circuit=PC, gen_length=256)
        built = build_report(read_folder(tmp_path))
        assert sum(len(group.pairs()) for group in built.groups) == 1
        assert not any("not base" in remark for remark in built.remarks)

    def test_that_differs_in_more_is_another_experiment(self, tmp_path):
        write_run(tmp_path, [1, 0], name="plain", seed=7)
        write_run(tmp_path, [1, 1], name="coupled", circuit=PC, gen_length=256)
        assert not any("not base" in remark for remark in build_report(read_folder(tmp_path)).remarks)


def test_every_setting_of_ends_is_known_here():
    names = {field.name for field in dataclasses.fields(DecodingConfig)}
    ends = {name for name in names if "eos" in name or "eot" in name or name == "gen_length"}
    assert ends - set(END_RULES) == {"eos_ratio"}, "an option of a decoder, and so part of its rule"
    assert set(CHANGES) == set(END_RULES) - {"until"}
