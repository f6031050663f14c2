"""Rows of files, and the windows they become."""

import json

import pytest

from lm_eval_codd.training.data import encode, load_data, read_pairs, windows_of

EOS, EOT = 470, 480


class TestReading:
    def test_columns_of_a_file(self, data_file):
        pairs = read_pairs(str(data_file), "question", "answer")
        assert len(pairs) == 24
        assert pairs[1] == ("w31", "green sky green sky")
        assert len(read_pairs(str(data_file), "question", "answer", limit=5)) == 5

    def test_a_file_that_is_not_there(self):
        with pytest.raises(ValueError, match=r"`data=none.jsonl`: no such file"):
            read_pairs("none.jsonl", "question", "answer")

    def test_a_missing_column_is_named_with_those_that_exist(self, data_file):
        with pytest.raises(ValueError, match=r"row 1 has no column `solution`; name .* of question, answer, source"):
            read_pairs(str(data_file), "question", "solution")

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("{", "line 2 is no JSON object"),
            ("[1]", "line 2 is no JSON object"),
            ('{"q": "x", "a": 3}', "is 3, not text"),
        ],
    )
    def test_a_line_that_cannot_be_used(self, tmp_path, line, said):
        path = tmp_path / "rows.jsonl"
        path.write_text('{"q": "x", "a": "y"}\n' + line + "\n")
        with pytest.raises(ValueError, match=said):
            read_pairs(str(path), "q", "a")

    def test_a_file_without_rows(self, tmp_path):
        path = tmp_path / "rows.jsonl"
        path.write_text("\n")
        with pytest.raises(ValueError, match="has no rows"):
            read_pairs(str(path), "q", "a")

    def test_a_data_set_of_the_hub_has_a_name_a_config_and_a_split(self, monkeypatch):
        import datasets

        asked = []

        def load_dataset(*arguments, **options):
            asked.append((*arguments, options["split"]))
            return [{"q": "x", "a": "y"}]

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        for source in ("owner/name", "owner/name:main", "owner/name:main:test", "owner/name::test"):
            assert read_pairs(source, "q", "a") == [("x", "y")]
        assert [row[1:] for row in asked] == [(None, "train"), ("main", "train"), ("main", "test"), (None, "test")]


class TestEncoding:
    def test_an_answer_ends_and_is_filled_to_whole_windows(self, tokenizer, backbone):
        (example,) = encode([("w40", "red sea red")], tokenizer, backbone, window=3)
        assert example.prompt == tokenizer("[ w40 ] :")["input_ids"]
        assert example.answer == [*tokenizer("red sea red")["input_ids"], EOT, EOS, EOS]
        assert windows_of([example], 3).tolist() == [example.answer[:3], example.answer[3:]]

    def test_an_answer_that_fits_gets_no_filling(self, tokenizer, backbone):
        (example,) = encode([("w40", "red sea")], tokenizer, backbone, window=3)
        assert example.answer[-1] == EOT
        assert len(example.answer) == 3

    def test_without_an_end_of_turn_the_end_of_text_ends_it(self, tokenizer, backbone, monkeypatch):
        monkeypatch.setattr(backbone, "eot_id", None)
        (example,) = encode([("w40", "red sea")], tokenizer, backbone, window=4)
        assert example.answer[2:] == [EOS, EOS]

    def test_without_a_template_the_question_is_the_prompt(self, tokenizer, backbone, monkeypatch):
        monkeypatch.setattr(tokenizer, "chat_template", None)
        (example,) = encode([("w40 :", "red")], tokenizer, backbone, window=4)
        assert example.prompt == tokenizer("w40 :")["input_ids"]

    def test_a_tokenizer_of_another_backbone_is_refused(self, tokenizer, backbone, monkeypatch):
        monkeypatch.setattr(backbone, "vocab_size", 6)
        with pytest.raises(ValueError, match="the backbone has 6 logit columns"):
            encode([("w40", "red sea")], tokenizer, backbone, window=4)


class TestSplit:
    def test_held_out_rows_are_drawn_once_and_not_trained_on(self, settings, tokenizer, backbone):
        data = load_data(settings(), tokenizer, backbone)
        assert (len(data.train), len(data.held_out)) == (18, 6)
        prompts = [tuple(example.prompt) for example in data.train + data.held_out]
        assert len(set(prompts)) == 24
        assert load_data(settings(num_latents=9), tokenizer, backbone) == data
        assert load_data(settings(seed=1), tokenizer, backbone).held_out != data.held_out

    def test_too_few_rows(self, settings, tokenizer, backbone):
        with pytest.raises(ValueError, match=r"`held_out=24` leaves nothing to train on: .* has 24 usable rows"):
            load_data(settings(held_out=24), tokenizer, backbone)

    def test_answers_are_cut_at_the_canvas_and_counted(self, settings, tokenizer, backbone):
        data = load_data(settings(gen_length=4), tokenizer, backbone)
        assert {len(example.answer) for example in data.train} == {4}
        assert data.num_cut == 18

    def test_rows_longer_than_the_backbone_are_left_out_and_counted(self, settings, tokenizer, backbone, monkeypatch):
        monkeypatch.setattr(backbone, "max_length", 12)
        data = load_data(settings(held_out=1), tokenizer, backbone)
        assert data.num_dropped == 6
        assert max(len(example.prompt + example.answer) for example in data.train) <= 12

    def test_the_hash_is_that_of_the_rows_read(self, settings, tokenizer, backbone, tmp_path, data_file):
        rows = [json.loads(line) for line in data_file.read_text().splitlines()]
        rows[3]["answer"] = "red"
        changed = tmp_path / "changed.jsonl"
        changed.write_text("\n".join(map(json.dumps, rows)))
        same = load_data(settings(), tokenizer, backbone).identity
        assert load_data(settings(data=str(changed)), tokenizer, backbone).identity != same
        assert same.startswith("sha256:")
