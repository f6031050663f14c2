import re

import pytest

from lm_eval_codd.trace.comparison import compare
from lm_eval_codd.trace.terminal import _apart, _printable, frames

CODES = re.compile(r"\x1b\[[0-9;]*m")


def columns(line):
    return sum(_printable(character)[1] for character in line)


class TestFrames:
    def test_one_a_step_after_the_legend(self, comparison):
        assert len(list(frames(comparison, 100, colour=False))) == 1 + comparison.num_frames

    def test_the_first_says_the_settings(self, comparison):
        first = next(iter(frames(comparison, 200, colour=False)))
        assert all(f"{name}={value}" in first for name, value in comparison.settings.items())

    def test_a_legend_of_colours_needs_colours(self, comparison):
        for colour in (True, False):
            first = CODES.sub("", next(iter(frames(comparison, 80, colour=colour))))
            assert ("not the backbone's token" in first) is ("token committed in this step" in first) is colour
            assert "· masked" in first

    def test_tokens_stand_apart_and_entries_whole(self, comparison):
        assert list(_apart([("a", "x"), ("b", "x"), (" c", "x"), ("·", "x"), ("·", "x"), ("", "x"), ("d", "x")])) == [
            *[("a", "x"), (" ", "plain"), ("b", "x"), (" c", "x")],
            *[(" ", "plain"), ("·", "x"), ("·", "x"), ("", "x"), (" ", "plain"), ("d", "x")],
        ]
        narrow = "\n".join(frames(comparison, 101, colour=False))
        assert len(re.findall(r"” [01]\.\d\d", narrow)) == len(re.findall("“", narrow))

    @pytest.mark.parametrize("width", [60, 100, 161])
    @pytest.mark.parametrize("colour", [True, False])
    def test_no_line_is_wider_than_the_terminal(self, comparison, width, colour):
        head, *shown = frames(comparison, width, colour=colour)
        assert max(columns(CODES.sub("", line)) for line in head.splitlines()) <= width
        widths = [columns(CODES.sub("", line)) for frame in shown for line in frame.splitlines()]
        assert width - 3 <= max(widths) <= width

    def test_without_colour_no_token_can_steer_the_terminal(self, comparison):
        assert "\x1b" in "".join(comparison.texts.values())
        assert "\x1b" not in "".join(frames(comparison, 100, colour=False))

    def test_colours_add_nothing_but_codes(self, comparison):
        _, *coloured = [CODES.sub("", frame) for frame in frames(comparison, 100, colour=True)]
        _, *plain = frames(comparison, 100, colour=False)
        # Trailing blanks may stand before a code's end.
        assert [[line.rstrip() for line in frame.splitlines()] for frame in coloured] == [
            [line.rstrip() for line in frame.splitlines()] for frame in plain
        ]

    def test_what_the_circuit_changed_is_beside_what_the_backbone_had(self, comparison):
        changed = next(
            one
            for frame in comparison.traces["backbone and circuit"].frames
            for one in frame.committed
            if one.changed and comparison.texts[one.alone_token].strip().isdecimal()
        )
        text = re.sub(r"\s+", "", "".join(frames(comparison, 10_000, colour=False)))
        token = comparison.texts[changed.alone_token].strip()
        assert f"(backbone:“{token}”{changed.alone_confidence:.2f})" in text

    def test_without_a_circuit_there_is_one_decode_and_no_word_of_it(self, make_lm):
        shown = "\n".join(frames(compare(make_lm(with_circuit=False), "two"), 100, colour=False))
        assert "│" not in shown
        assert "circuit" not in shown


class TestCompare:
    def test_the_question_goes_through_the_chat_template(self, make_lm):
        lm = make_lm()
        lm.tokenizer.chat_template = "yes"
        lm.apply_chat_template = lambda history: f"<user>{history[0]['content']}<assistant>"
        assert compare(lm, "two").prompt == "<user>two<assistant>"

    def test_a_prompt_without_room_is_an_error_that_says_how_much_there_is(self, make_lm):
        with pytest.raises(ValueError, match=r"`prompt` has 300 tokens and `gen_length=32` leaves it 224"):
            compare(make_lm(), "x" * 300)
