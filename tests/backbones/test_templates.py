"""Chat templates from strangers: they are rendered as the tokenizer does, and end."""

import os

import pytest
from transformers import AutoTokenizer

from lm_eval_codd.backbones.templates import Renderer, TemplateError, renderer
from lm_eval_codd.demo import CHECKPOINT

CHAT = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "2+2?\n\u202e\ud83d\x00é"}]
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)

LOOP = "{% for a in range(99999) %}"
# Each would take all time or all memory.
ENDLESS = {
    "loops": LOOP * 3 + "{% endfor %}" * 3,
    "power": "{{ 9 ** (9 ** 9) }}",
    "shared lists": "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}"
    "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
}
LARGE = {
    "multiplied": "{{ 'x' * 10 ** 10 }}",
    "doubled": "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "padded": "{{ '%09999999999d' % 1 }}",
    "filled": "{{ 'x'.ljust(10 ** 11) }}",
    "centred": "{{ 'x' | center(10 ** 11) }}",
    "written": LOOP + "{{ 'x' * 999 }}{% endfor %}",
    "joined": "{{ ([messages[0]['content'] * 10 ** 6] * 10 ** 4) | join }}",
}
FAILING = {
    "raised": ("{{ raise_exception('only one system message') }}", "only one system message"),
    "syntax": ("{% for %}", "TemplateSyntaxError"),
    "escape": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
    "import": ("{% include '/etc/passwd' %}", "fails (TypeError"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deeply"),
}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(CHECKPOINT)


class TestRendering:
    def test_it_is_the_tokenizers_own(self, tokenizer):
        render = renderer(tokenizer)
        for options in ({"add_generation_prompt": True}, {"continue_final_message": True}, {"x": [1, {"y": None}]}):
            expected = tokenizer.apply_chat_template(CHAT, chat_template=TEMPLATE, tokenize=False, **options)
            assert render(conversation=CHAT, chat_template=TEMPLATE, **options) == expected

    @pytest.mark.parametrize("name", LARGE)
    def test_a_large_text_is_refused(self, tokenizer, name):
        with pytest.raises(TemplateError, match="takes more memory than it may"):
            renderer(tokenizer)(conversation=CHAT, chat_template=LARGE[name])

    @pytest.mark.parametrize("name", FAILING)
    def test_one_that_fails_says_why_in_one_line(self, tokenizer, name):
        template, reason = FAILING[name]
        with pytest.raises(TemplateError) as error:
            renderer(tokenizer)(conversation=CHAT, chat_template=template)
        assert reason in str(error.value)
        assert "\n" not in str(error.value)


class TestLimits:
    @pytest.mark.parametrize("name", ENDLESS)
    def test_an_endless_one_ends_and_the_next_is_rendered(self, tokenizer, name):
        # No test of a time: that the first one returns at all is what is asked.
        render = renderer(tokenizer, time_limit=0.2)
        with pytest.raises(TemplateError, match=r"does not end within 0.2 s"):
            render(conversation=CHAT, chat_template=ENDLESS[name])
        again = renderer(tokenizer)
        assert again(conversation=CHAT, chat_template=TEMPLATE).startswith("<system>be brief")

    def test_after_an_end_another_child_answers(self):
        render = Renderer(lambda text: os._exit(1) if text == "die" else text)
        assert render(text="a") == "a"
        with pytest.raises(TemplateError, match="crashed"):
            render(text="die")
        assert render(text="b") == "b"

    def test_one_child_for_all_calls_and_none_afterwards(self):
        render = Renderer(lambda: str(os.getpid()))
        child = render()
        assert child == render() != str(os.getpid())
        del render
        with pytest.raises(ProcessLookupError):
            os.kill(int(child), 0)

    def test_the_child_holds_none_of_the_files(self, tmp_path):
        file = (tmp_path / "locked").open("w")
        names = Renderer(
            lambda: " ".join(os.readlink(f"/proc/self/fd/{n}") for n in (0, 1, 2)) + str(os.listdir("/proc/self/fd"))
        )
        assert str(file.fileno()) not in names().rpartition("[")[2].replace("'", "").rstrip("]").split(", ")
