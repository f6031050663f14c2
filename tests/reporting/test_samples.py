import json

import pytest

from lm_eval_codd.reporting.runs import read_folder
from lm_eval_codd.reporting.samples import different_items, read_items, read_outcomes
from tests.reporting.synthetic import GOLDEN, write_run


def one_run(results, right=(1, 0, 1), **fields):
    write_run(results, list(right), **fields)
    return read_folder(results).runs[0]


class TestOutcomes:
    def test_are_those_of_the_reported_filter(self, tmp_path):
        assert [score for _, score in sorted(read_outcomes(one_run(tmp_path)).items())] == [1.0, 0.0, 1.0]

    def test_equal_what_json_says(self, tmp_path):
        run = one_run(tmp_path, answer='{"filter": "x"} , "filter": "strict-match", {}')
        lines = [json.loads(line) for line in run.samples.read_text().splitlines()]
        wanted = {line["doc_id"]: line["exact_match"] for line in lines if line["filter"] == "flexible-extract"}
        assert {key.doc_id: score for key, score in read_outcomes(run).items()} == wanted

    def test_of_lines_in_another_order_of_keys_are_read_too(self, tmp_path):
        run = one_run(tmp_path)
        lines = [json.dumps(dict(sorted(json.loads(line).items()))) for line in run.samples.read_text().splitlines()]
        run.samples.write_text("\n".join(lines))
        assert sorted(read_outcomes(run).values()) == [0.0, 1.0, 1.0]

    def test_name_a_truncated_line(self, tmp_path):
        run = one_run(tmp_path)
        run.samples.write_bytes(run.samples.read_bytes()[:-40])
        with pytest.raises(ValueError, match=r"samples_codd_gsm8k.*line 6 is truncated"):
            read_outcomes(run)

    def test_need_a_samples_file(self, tmp_path):
        with pytest.raises(ValueError, match="--log_samples"):
            read_outcomes(one_run(tmp_path, with_samples=False))


class TestItems:
    def test_have_prompt_target_answer_and_what_was_scored(self, tmp_path):
        items = list(read_items(one_run(tmp_path)))
        assert [item.key.doc_id for item in items] == [0, 1, 2]
        assert (items[1].prompt, items[1].target) == ("Question: 1", "target 1")
        assert (items[1].answer, items[1].extracted, items[1].score) == ("answer 1", "1", 0.0)

    def test_can_be_chosen(self, tmp_path):
        run = one_run(tmp_path)
        chosen = [key for key in read_outcomes(run) if key.doc_id == 2]
        assert [item.key for item in read_items(run, chosen)] == chosen

    def test_of_a_real_file(self, tmp_path):
        run = one_run(tmp_path)
        run.samples.write_bytes((GOLDEN / "samples.jsonl").read_bytes())
        first = next(iter(read_items(run)))
        assert first.prompt.startswith("<system>You are a helpful assistant.<user>Question: Janet")
        assert len(read_outcomes(run)) == 3


class TestTheSameItems:
    def test_may_be_a_part(self, tmp_path):
        whole = read_outcomes(one_run(tmp_path / "a"))
        part = read_outcomes(one_run(tmp_path / "b", [0, 0]))
        assert different_items(whole, part) is None

    def test_have_the_same_prompts(self, tmp_path):
        first = read_outcomes(one_run(tmp_path / "a"))
        second = read_outcomes(one_run(tmp_path / "b", prompt="Q: {}"))
        assert different_items(first, second) == "their prompts differ"

    def test_are_the_same_documents(self, tmp_path):
        first = read_outcomes(one_run(tmp_path / "a"))
        second = read_outcomes(one_run(tmp_path / "b", doc_ids=[7, 8, 9]))
        assert different_items(first, second) == "they share no document"
