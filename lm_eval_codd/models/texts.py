"""Text to tokens and back: prompts through a chat template, a leading bos, answers cut at their stop strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from lm_eval.models.utils import handle_stop_sequences, postprocess_generated_text

from lm_eval_codd.backbones.templates import TemplateError, renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What a tokenizer's only template, and the first of several, is called.
_DEFAULT: Final = "default"


class Texts:
    """A tokenizer and how it is used.

    Args:
        tokenizer: the tokenizer.
        source: where it comes from, for messages.
        add_bos: True puts its bos in front of every prompt, False of none; None: as the tokenizer does by itself, but
            not where a chat template was applied.
        template_args: more arguments of the chat template.

    Raises:
        ValueError: a bos is asked for and there is none.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, source: str, add_bos: bool | None, template_args: Mapping[str, Any]
    ) -> None:
        if add_bos and tokenizer.bos_token_id is None:
            raise ValueError(f"`add_bos_token=True`: the tokenizer of `{source}` has no bos token; leave it out")
        self.tokenizer, self.source = tokenizer, source
        self._add_bos, self._template_args = add_bos, dict(template_args)
        self._render = renderer(tokenizer)
        # What the tokenizer appends to a text closes it ([SEP] of BERT's), and after a prompt an answer follows.
        self._num_closing = len(_after(tokenizer)) if add_bos is None else 0

    def encode(self, string: str, *, templated: bool) -> list[int]:
        """Token ids of a prompt, which begins with bos at most once, and which nothing closes.

        Args:
            string: the prompt.
            templated: whether it went through a chat template.
        """
        bos = self.tokenizer.bos_token
        begins_with_bos = bool(bos) and string.startswith(bos)
        if self._add_bos and not begins_with_bos:
            string = bos + string
        by_itself = self._add_bos is None and not templated and not begins_with_bos
        tokens = self.tokenizer.encode(string, add_special_tokens=by_itself)
        return tokens[: len(tokens) - self._num_closing] if by_itself else tokens

    def answer(self, tokens: Sequence[int], until: str | list[str] | None) -> str:
        """The text of an answer, cut at the first of its stop strings."""
        text = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return postprocess_generated_text(text, handle_stop_sequences(until, eos=None), think_end_token=None)

    def conversation(self, messages: list[dict[str, str]], asked: bool | str, *, add_generation_prompt: bool) -> str:
        """A conversation as the template writes it that `asked` names.

        Raises:
            ValueError: one line: there is no such template, or it fails, or does not end.
        """
        template = self.template(asked)
        try:
            return self._render(
                conversation=messages,
                chat_template=template,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
                **self._template_args,
            )
        except TemplateError as error:
            raise ValueError(f"--apply_chat_template: `{self.source}`: {error}") from None

    def template(self, asked: bool | str) -> str | None:
        """The chat template that `--apply_chat_template [NAME]` asks for; None where it asks for none.

        Raises:
            ValueError: one line: the tokenizer has no template, or none of that name.
        """
        if not asked:
            return None
        templates = self.tokenizer.chat_template
        if not templates:
            raise ValueError(
                f"--apply_chat_template: the tokenizer of `{self.source}` has no chat template; leave the option out "
                "for a base model, or put one into the checkpoint as chat_template.jinja"
            )
        by_name = {_DEFAULT: templates} if isinstance(templates, str) else templates
        name = _DEFAULT if asked is True else asked
        if name not in by_name:
            option = "--apply_chat_template" if asked is True else f"`--apply_chat_template {asked}`"
            raise ValueError(
                f"{option}: the tokenizer of `{self.source}` has no such template; use one of {', '.join(by_name)}"
            )
        return by_name[name]


def _after(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that a tokenizer puts behind a text by itself."""
    bare = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a")
    start = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), None)
    return [] if start is None or not bare else whole[start + len(bare) :]
