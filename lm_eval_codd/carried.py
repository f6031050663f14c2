"""What a request or an answer of lm-eval carries beside its text or number, for tasks that read token ids.

lm-eval knows strings and floats. These are both, and go through its requests, caches, sample logs and ranks as such;
a model and a task of this package find more on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self


class TokenText(str):
    """A text with the token ids that it was decoded from, so that nobody has to encode it again.

    ids: all of them, also those that the text leaves out. None where lm-eval makes one of these of a plain text, as it
        does to compare an answer with its target.
    num_forward: of an answer, how often the network saw the row (NFE); None otherwise.
    """

    ids: tuple[int, ...]
    num_forward: int | None

    def __new__(cls, text: str, ids: Iterable[int] = (), num_forward: int | None = None) -> Self:
        """See the class."""
        made = super().__new__(cls, text)
        made.ids, made.num_forward = tuple(ids), num_forward
        return made

    def __getnewargs__(self) -> tuple[str, tuple[int, ...], int | None]:  # type: ignore[override]
        """For pickle and copy."""
        return str(self), self.ids, self.num_forward


class Nats(float):
    """A log-likelihood with what it is of.

    num_tokens: those that were scored.
    stderr: standard error over the noise, 0.0 where nothing is drawn, None of a single draw.
    num_forward: how often the network saw the text (NFE).
    """

    num_tokens: int
    stderr: float | None
    num_forward: int

    def __new__(cls, value: float, num_tokens: int = 0, stderr: float | None = None, num_forward: int = 0) -> Self:
        """See the class."""
        made = super().__new__(cls, value)
        made.num_tokens, made.stderr, made.num_forward = num_tokens, stderr, num_forward
        return made

    def __getnewargs__(self) -> tuple[float, int, float | None, int]:  # type: ignore[override]
        """For pickle and copy."""
        return float(self), self.num_tokens, self.stderr, self.num_forward
