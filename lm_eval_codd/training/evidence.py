"""What the backbone says at the masked positions of noisy rows: computed when asked for, or kept on disk.

Noise level t ~ U(0, 1) for each row, and each token of its answer masked with probability t (arXiv 2603.00045, 6.2).
The whole answer is noised at once and cut into windows afterwards, so a window is seen with the rest of its answer
partly known, and one forward pass serves all windows of a row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch
from torch import Tensor

from lm_eval_codd.backbones.score import read_canvases
from lm_eval_codd.tensors.saving import save_tensors
from lm_eval_codd.training.noise import draw_mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from lm_eval_codd.backbones import Backbone
    from lm_eval_codd.training.data import Example

_ROWS_IN_A_SHARD: Final = 64
_KEY_NAME: Final = "evidence.json"


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Windows with at least one masked position, and the evidence there.

    Attributes:
        tokens: [N, T] int64, x0.
        masked: [N, T] bool.
        log_evidence: [M, V] float32, log p_theta at the masked positions in row-major order.
    """

    tokens: Tensor
    masked: Tensor
    log_evidence: Tensor


class Evidence(Protocol):
    """Noisy versions of some rows."""

    def batch(self, rows: Sequence[int], draw: int) -> Batch:
        """Version `draw` of the rows at these indices."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TopK:
    """The K most likely tokens of M distributions, and the log probability of each of the other V - K.

    What the K leave is spread evenly over all other tokens, so that the whole still sums to one and no token becomes
    impossible.

    Attributes:
        tokens: [M, K] int64.
        log_weights: [M, K].
        log_rest: [M].
        vocab_size: V.
    """

    tokens: Tensor
    log_weights: Tensor
    log_rest: Tensor
    vocab_size: int

    @classmethod
    def of(cls, log_evidence: Tensor, k: int) -> TopK:
        """The K most likely of [M, V] log probabilities; all of them where V is not larger."""
        vocab_size = log_evidence.shape[-1]
        log_weights, tokens = log_evidence.topk(min(k, vocab_size))
        rest = (1 - log_weights.double().exp().sum(-1)).clamp(min=1e-12).log()
        log_rest = (rest - math.log(max(vocab_size - k, 1))).to(log_weights.dtype)
        # Rounding must not put the rest above what was kept.
        return cls(tokens, log_weights, torch.minimum(log_rest, log_weights[:, -1]), vocab_size)

    def dense(self) -> Tensor:
        """[M, V] float32."""
        spread = self.log_rest.float()[:, None].repeat(1, self.vocab_size)
        return spread.scatter_(1, self.tokens.long(), self.log_weights.float())


class LiveEvidence:
    """Runs the backbone for every batch.

    Args:
        backbone: frozen.
        examples: the rows that indices point into.
        window: T.
        gen_length: canvas that answers are filled up to; None for their own length.
        seed: of the noise.
        top_k: how many tokens of a position's evidence are kept; None for all.
    """

    def __init__(
        self,
        backbone: Backbone,
        examples: Sequence[Example],
        window: int,
        gen_length: int | None,
        seed: int,
        top_k: int | None = None,
    ) -> None:
        self.backbone, self.examples, self.window = backbone, examples, window
        self._gen_length, self._seed, self._top_k = gen_length, seed, top_k

    def batch(self, rows: Sequence[int], draw: int) -> Batch:
        """See `Evidence`."""
        tokens, masked = self.windows(rows, draw)
        log_evidence = self.log_evidence(rows, draw)
        if self._top_k is not None:
            log_evidence = TopK.of(log_evidence, self._top_k).dense()
        return Batch(tokens, masked, log_evidence)

    def windows(self, rows: Sequence[int], draw: int) -> tuple[Tensor, Tensor]:
        """Windows [N, T] of the rows that have a masked position, and which are [N, T]."""
        answers = [torch.tensor(self.examples[row].answer) for row in rows]
        masks = [self._mask(row, draw)[: len(answer)] for row, answer in zip(rows, answers, strict=True)]
        tokens, masked = torch.cat(answers).view(-1, self.window), torch.cat(masks).view(-1, self.window)
        any_masked = masked.any(-1)
        return tokens[any_masked].to(self.backbone.device), masked[any_masked].to(self.backbone.device)

    def log_evidence(self, rows: Sequence[int], draw: int) -> Tensor:
        """[M, V] float32 log probabilities at the masked positions of the rows' windows, from one forward pass."""
        mask_id, eos_id = self.backbone.mask_id, self.backbone.eos_id
        canvases, scored = [], []
        for row in rows:
            example, mask = self.examples[row], self._mask(row, draw)
            answer = example.answer + [eos_id] * (len(mask) - len(example.answer))
            noisy = torch.tensor(answer).masked_fill(mask, mask_id)
            canvases.append(torch.cat([torch.tensor(example.prompt, dtype=torch.int64), noisy]))
            scored.append(len(example.prompt) + mask[: len(example.answer)].nonzero()[:, 0])
        if not any(map(len, scored)):
            return torch.empty(0, self.backbone.vocab_size, device=self.backbone.device)
        return read_canvases(self.backbone, canvases, scored).logits().log_softmax(-1)

    def _mask(self, row: int, draw: int) -> Tensor:
        return draw_mask(self._seed, draw, row, self._gen_length or len(self.examples[row].answer))


class CachedEvidence:
    """Evidence kept in a folder of safetensors shards (float16 log probabilities), read as it is needed.

    Shards that are missing are made when this is built, 64 rows each. A shard is written beside its place and moved,
    so a killed run leaves whole ones.

    Args:
        live: where evidence comes from; its `top_k` is not read.
        folder: of the shards.
        num_draws: noisy versions of each row; a draw beyond them starts again at the first.
        key: everything that the evidence depends on. A folder made with another is refused.
        batch_size: rows in a forward pass.
        top_k: kept tokens a position; None keeps all, at 2 V bytes a masked position.
        progress: called with the number of rows done.

    Raises:
        ValueError: the folder holds other evidence.
    """

    def __init__(
        self,
        live: LiveEvidence,
        folder: Path,
        num_draws: int,
        key: dict,
        *,
        batch_size: int,
        top_k: int | None = None,
        progress: Callable[[int], object] = lambda num_rows: None,
    ) -> None:
        self._live, self._folder, self._num_draws, self._top_k = live, folder, num_draws, top_k
        self._shards: dict[Path, Any] = {}
        _claim(folder, {**key, "top_k": top_k})
        for draw in range(num_draws):
            for start in range(0, len(live.examples), _ROWS_IN_A_SHARD):
                rows = range(start, min(start + _ROWS_IN_A_SHARD, len(live.examples)))
                if not self._shard(draw, start).is_file():
                    self._write(rows, draw, batch_size)
                progress(len(rows))

    def batch(self, rows: Sequence[int], draw: int) -> Batch:
        """See `Evidence`."""
        draw = draw % self._num_draws
        tokens, masked = self._live.windows(rows, draw)
        return Batch(tokens, masked, torch.cat([self._read(row, draw) for row in rows]))

    def _read(self, row: int, draw: int) -> Tensor:
        from safetensors import safe_open

        path = self._shard(draw, row)
        if path not in self._shards:
            self._shards[path] = safe_open(path, framework="pt")
        shard, index = self._shards[path], row % _ROWS_IN_A_SHARD
        start, end = shard.get_slice("offsets")[index : index + 2].tolist()
        device = self._live.backbone.device
        kept = {
            name: shard.get_slice(name)[start:end].to(device)
            for name in ("tokens", "log_weights", "log_rest")
            if name in shard.keys()  # noqa: SIM118 - not a dict
        }
        if self._top_k is None:
            return kept["log_weights"].float()
        return TopK(**kept, vocab_size=self._live.backbone.vocab_size).dense()

    def _write(self, rows: range, draw: int, batch_size: int) -> None:
        parts, counts = [], []
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            counts += [int(self._live.windows([row], draw)[1].sum()) for row in some]
            log_evidence = self._live.log_evidence(some, draw)
            if self._top_k is None:
                parts.append({"log_weights": log_evidence.half().cpu()})
                continue
            kept = TopK.of(log_evidence, self._top_k)
            parts.append(
                {
                    "tokens": kept.tokens.int().cpu(),
                    "log_weights": kept.log_weights.half().cpu(),
                    "log_rest": kept.log_rest.cpu(),
                }
            )
        tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        tensors["offsets"] = torch.tensor([0, *counts]).cumsum(0)
        save_tensors(self._shard(draw, rows[0]), tensors)

    def _shard(self, draw: int, row: int) -> Path:
        return self._folder / f"draw{draw:03}-rows{row // _ROWS_IN_A_SHARD:05}.safetensors"


def _claim(folder: Path, key: dict) -> None:
    """Make the folder with its key, or check that it is the same."""
    path = folder / _KEY_NAME
    if path.is_file():
        found = json.loads(path.read_text())
        if differing := [name for name in key if found.get(name) != key[name]]:
            name = differing[0]
            raise ValueError(
                f"`evidence_cache={folder}` was made with {name}={found.get(name)}, not {key[name]}; "
                "give another folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(key, indent=2) + "\n")
