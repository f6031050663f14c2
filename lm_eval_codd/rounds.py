"""Tasks whose prompt is a conversation: fixed examples, a question and its answer each, then the row's question.

As OpenCompass asks. Under a chat template each question and each answer is a turn; without one, for base models, the
texts are joined by line breaks. Examples are part of the task, whatever `--num_fewshot` says: they stand in its YAML
under `fewshot_config.samples`, each with `question` and `answer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lm_eval_codd.benchmarks import BenchmarkTask
from lm_eval_codd.programs import ProgramTask

__all__ = ["ProgramRoundsTask", "RoundsTask"]


class RoundsTask(BenchmarkTask):
    """Asks in rounds."""

    def examples(self, doc: dict[str, Any]) -> Sequence[tuple[str, str]]:
        """Questions with their answers, in front of that of a row; by default those of the YAML, for every row."""
        return [(one["question"], one["answer"]) for one in self.config.fewshot_config.samples or ()]

    def fewshot_context(
        self,
        doc: dict[str, Any],
        num_fewshot: int,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,
        chat_template: Callable[..., str] | None = None,
        gen_prefix: str | None = None,
    ) -> str:
        """A row's prompt, called by lm-eval; `num_fewshot`, `fewshot_as_multiturn` and `gen_prefix` are not read."""
        turns = [("system", system_instruction)] if system_instruction else []
        for question, answer in self.examples(doc):
            turns += [("user", question), ("assistant", answer)]
        turns.append(("user", self.doc_to_text(doc)))
        if apply_chat_template and chat_template is not None:
            return chat_template([{"role": role, "content": text} for role, text in turns], add_generation_prompt=True)
        return "\n".join(text for _, text in turns)


class ProgramRoundsTask(RoundsTask, ProgramTask):
    """The same for programs."""
