"""What a user reads, who has only the message, about data that cannot be trained on."""

import pytest

from lm_eval_codd.training.data import read_pairs


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "has no rows; give one with a question and an answer on each line"),
        (b'{"question": "a", "answer": "b"}\n{oops\n', "line 2 is no JSON object; a .jsonl file has one on each line"),
        (b'{"question": "\xff", "answer": "b"}\n', "line 1 is no JSON object; .* in UTF-8"),
        (b"question,answer\na,b\n", "line 1 is no JSON object"),
        (b'{"q": "a", "a": "b"}\n', "row 1 has no column `question`; name the right ones of q, a with question_column"),
        (b'{"question": "a", "answer": 5}\n', "`answer` of row 1 is 5, not text"),
    ],
)
def test_a_file_that_is_no_data(tmp_path, content, message):
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_pairs(str(tmp_path / "rows.jsonl"), "question", "answer")


def test_a_folder_is_not_said_to_be_missing(tmp_path):
    with pytest.raises(ValueError, match="a folder; give a"):
        read_pairs(str(tmp_path), "question", "answer")
