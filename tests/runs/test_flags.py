import pytest

from lm_eval_codd.runs.flags import Flag, format_help, parse
from lm_eval_codd.runs.run_flags import FLAGS, GROUPS, SETTINGS

SOME = [
    Flag("steps", "int", ""),
    Flag("share", "float | None", ""),
    Flag("on", "bool", ""),
    Flag("word", "str", ""),
    Flag("run", "str", "", repeat=True),
    Flag("dry-run", "bool", ""),
]


class TestParsing:
    def test_a_value_follows_as_the_next_word_or_after_an_equals_sign(self):
        assert parse(["--steps", "8", "--word=a=b, c"], SOME) == {"steps": 8, "word": "a=b, c"}

    def test_a_switch_stands_alone_or_carries_true_or_false(self):
        assert parse(["--on", "--steps", "1"], SOME) == {"on": True, "steps": 1}
        assert parse(["--on", "false"], SOME) == parse(["--on=false"], SOME) == {"on": False}

    def test_a_flag_with_a_value_of_its_own_may_stand_alone(self):
        flags = [Flag("demo", "str", "", alone="words"), Flag("force", "bool", "")]
        assert parse(["--demo", "--force"], flags) == {"demo": "words", "force": True}
        assert parse(["--demo"], flags) == {"demo": "words"}
        assert parse(["--demo", "coupling"], flags) == parse(["--demo=coupling"], flags) == {"demo": "coupling"}

    def test_none_is_a_value_where_the_kind_allows_it(self):
        assert parse(["--share", "none"], SOME) == {"share": None}

    def test_the_value_of_a_repeated_flag_may_begin_with_dashes(self):
        given = parse(["--run", "--steps=8 --word x", "--run", "--on"], SOME)
        assert given == {"run": ["--steps=8 --word x", "--on"]}

    def test_dashes_and_underscores_in_names_are_the_same(self):
        assert parse(["--dry-run"], SOME) == parse(["--dry_run"], SOME) == {"dry_run": True}

    @pytest.mark.parametrize(
        ("tokens", "message"),
        [
            (["--step", "8"], "unknown flag `--step`; did you mean `--steps`"),
            (["--steps"], "`--steps` needs a value"),
            (["--steps", "--on"], "`--steps` needs a value"),
            (["--steps", "8.5"], "`--steps 8.5` must be a whole number"),
            (["--share", "x"], "`--share x` must be a number or none"),
            (["--on=maybe"], "`--on maybe` must be true or false"),
            (["--steps", "1", "--steps", "2"], "`--steps` is given twice"),
            (["--on", "stray"], "`stray` is not a flag"),
        ],
    )
    def test_a_mistake_is_one_line_that_names_it(self, tokens, message):
        with pytest.raises(ValueError) as error:
            parse(tokens, SOME)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


class TestTheFlagsOfARun:
    def test_every_decoding_setting_is_a_flag_with_a_help_text(self):
        flags = {flag.name: flag for flag in FLAGS}
        assert all(flags[name].help for name in SETTINGS)

    def test_every_flag_of_the_official_command_is_there(self):
        official = (
            "model_alias task limit alg dream_block dream_window dream_ckpt llada_ckpt peft_ckpt tokens_per_step "
            "num_shot sample_sid sample_eid block_length pc_ckpt pc_temperature pc_frac reverse_frac num_steps tag"
        )
        assert set(official.split()) <= {flag.name for flag in FLAGS}

    def test_no_name_occurs_twice(self):
        assert len({flag.name for flag in FLAGS}) == len(FLAGS)

    def test_help_names_each_flag_and_fits_a_wide_terminal(self):
        text = format_help(GROUPS)
        assert all(f"--{flag.name}" in text for flag in FLAGS)
        assert max(map(len, text.splitlines())) <= 110
