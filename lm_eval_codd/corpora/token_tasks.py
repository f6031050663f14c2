"""Tasks that are measured on token ids, and models that know nothing of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from lm_eval_codd.models.evaluation import running_model

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance


class TokensTask:
    """The part of a task that needs token ids of its model; lm-eval's class comes after it as a base.

    Attributes:
        models: the names of those that have them, for messages.
    """

    config: Any
    models: ClassVar[tuple[str, ...]]

    def build_all_requests(self, **given: Any) -> list[Instance] | None:
        """As lm-eval's, which calls it before any model is asked.

        Raises:
            ValueError: one line: the model that answers reads and writes text alone.
        """
        model = running_model()
        # lm-eval's own models have no ids to give; what somebody else's gives is seen in its answers.
        is_of_text = type(model).__module__.startswith("lm_eval.models.")
        if not getattr(model, "has_token_ids", not is_of_text):
            raise ValueError(
                f"{self.config.task}: it measures token ids, and this model ({type(model).__name__}) reads and writes "
                f"text; evaluate one of {', '.join(self.models)}"
            )
        built: list[Instance] | None = super().build_all_requests(**given)  # type: ignore[misc]  # of lm-eval's class
        return built
