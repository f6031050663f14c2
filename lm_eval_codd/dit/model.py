"""A loaded model of the family: logits, what they mean, and bounds of given rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from lm_eval_codd.dit.processes import AR, Level, Process, make_process
from lm_eval_codd.dit.processes.d3pm import D3PM, NUM_STEPS
from lm_eval_codd.dit.processes.process import by_pieces
from lm_eval_codd.dit.schedules import Schedule, sigma

if TYPE_CHECKING:
    from collections.abc import Callable

    from lm_eval_codd.dit.config import DiTConfig
    from lm_eval_codd.dit.network import Network

# Of times in float32.
_MARGIN: Final = 1 + 1e-6
# Of float64 numbers that stand beside each other for one piece of the positions.
_PIECE_BYTES: Final = 1 << 27


class DiT:
    """A network with the algorithm that it was trained with.

    Args:
        network: on its device, in its dtype.
        config: sizes, algorithm and ids.
        source: where it came from, for results and messages.
        identity: equal for equal weights.

    Attributes:
        algo: duo, mdlm, sedd, d3pm or ar.
        vocab_size: logit columns, V.
        mask_id: the mask; None for duo, to which that id is a token like any other.
        bos_id, eos_id: None where they are not known.
        max_length: tokens of a row in training.
        process: the diffusion; None for ar.
        schedule: alpha(t).
    """

    def __init__(self, network: Network, config: DiTConfig, source: str = "memory", identity: str = "memory") -> None:
        self.network, self.config, self.source, self.identity = network, config, source, identity
        self.algo, self.vocab_size, self.max_length = config.algo, config.vocab_size, config.model_length
        self.mask_id = None if config.algo == "duo" else config.ids.mask
        self.bos_id, self.eos_id = config.ids.bos, config.ids.eos
        self.schedule = Schedule(*config.schedule)
        self.process: Process | None = None
        self.autoregressive: AR | None = None
        if config.algo == "ar":
            self.autoregressive = AR(config.vocab_size, config.ids.mask)
        else:
            self.process = make_process(config.algo, config.vocab_size, config.ids.mask)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.vocab_embed.embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.network.vocab_embed.embedding.dtype

    @property
    def num_parameters(self) -> int:
        """Numbers that training changes."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def piece(self) -> int:
        """Positions whose V columns are worked on at a time."""
        return max(1, _PIECE_BYTES // (8 * self.vocab_size))

    def logits(self, tokens: Tensor, sigma: Tensor | None = None) -> Tensor:
        """[B, L, V] in the dtype of the weights.

        Args:
            tokens: [B, L] int64; or [B, L, V] floats, whose softmax mixes the embeddings (DUO's curriculum).
            sigma: [B] noise levels, -log alpha; not read where the network is not told the noise level.

        Raises:
            ValueError: one line: ids outside of the vocabulary, or no noise level where one is needed.
        """
        if sigma is not None:
            sigma = one_a_row("sigma", sigma, tokens)
        return self.network.head(self.hidden(self.checked(tokens), sigma))

    def log_x_theta(self, tokens: Tensor, sigma: Tensor | None = None) -> Tensor:
        """[B, L, V] log x_theta in float32 or float64: what the model says of the clean token at each position.

        For sedd it is the log score, log p_t(v) / p_t(z); for ar column i is of token i + 1.

        Args:
            tokens: as for `logits`; soft ones for duo and d3pm alone.
            sigma: as for `logits`; sedd always needs it.

        Raises:
            ValueError: one line, as for `logits`, and for soft tokens of an algorithm that needs ids.
        """
        if sigma is not None:
            sigma = one_a_row("sigma", sigma, tokens)
        logits = self.logits(tokens, sigma)
        size, flat = logits.shape[1], at_least_float32(logits.flatten(0, 1))
        if self.autoregressive is not None:
            return self.autoregressive.log_next(flat).view(logits.shape)
        if tokens.is_floating_point() and self.algo in ("mdlm", "sedd"):
            raise ValueError(f"`tokens` of {self.algo} must be ids: what is said of a position depends on its id")
        if sigma is None and self.algo == "sedd":
            raise ValueError("`sigma` is needed: the scores of sedd depend on the noise level")
        alpha = None if sigma is None else (-sigma.double()).exp().repeat_interleave(size).to(flat.device)
        ids = torch.zeros(flat.shape[0], dtype=torch.int64) if tokens.is_floating_point() else tokens.flatten()
        ids = ids.to(flat.device)
        return self.diffusion.settled(self.diffusion.log_x(flat, ids, alpha), ids).view(logits.shape)

    def nelbo(self, x0: Tensor, z: Tensor | None = None, t: Tensor | None = None) -> Tensor:
        """[B, L] float64 nats per token: the bound of -log p(x0) at one noise level; for ar [B, L - 1], exact.

        Its mean over t uniform in (0, 1) (d3pm: over t = 2/1000 .. 1) and z ~ q(z | x0, t) is the bound.

        Args:
            x0: [B, L] clean ids.
            z: [B, L] noisy ids. Not for ar.
            t: [B] times; d3pm's on its grid of 1/1000. Not for ar.

        Raises:
            ValueError: one line: ids outside of the vocabulary, shapes that do not fit, or `z` and `t` given for ar
                or missing for the others.
        """
        x0 = self.checked(x0)
        if self.autoregressive is not None:
            if z is not None or t is not None:
                raise ValueError("`z` and `t` are of diffusions; the likelihood of ar is nelbo(x0)")
            return self.chain_rule(x0)[0]
        if z is None or t is None:
            raise ValueError(f"`z` and `t` are needed: the bound of {self.algo} is at given noisy ids and times")
        if z.shape != x0.shape:
            raise ValueError(f"`z` has shape {list(z.shape)}, and `x0` {list(x0.shape)}; give noisy ids of these rows")
        t = one_a_row("t", t, x0)
        first = 1 / NUM_STEPS if isinstance(self.process, D3PM) else 0.0
        if not bool(((t > first * _MARGIN) & (t <= _MARGIN)).all()):
            raise ValueError(
                f"`t` holds {float(t.min()):g} to {float(t.max()):g}; the times of {self.algo} are above {first:g} and "
                "at most 1"
            )
        nats = self.nelbo_of_noise(x0, self.checked(z), t)
        return nats + self.reconstruction(x0) if isinstance(self.process, D3PM) else nats

    def nelbo_of_noise(self, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """[B, L] float64 nats: `nelbo` of x0, z [B, L], without what x0 alone costs (`reconstruction`, of d3pm)."""
        t = t.to(self.device).double()
        level = Level(t, self.schedule.alpha(t), self.schedule.slope(t))
        process, levels = self.diffusion, Level(*(each.repeat_interleave(x0.shape[1]) for each in level))
        clean, noisy = x0.flatten(), z.flatten()
        hidden = self.hidden(z, sigma(level.alpha)).flatten(0, 1)

        def bound(places: Tensor) -> Tensor:
            log_x = process.log_x(self.head(hidden[places]), noisy[places], levels.alpha[places])
            return process.bound(log_x, clean[places], noisy[places], levels.at(places))

        return self.of_places(process.may_change(noisy).nonzero()[:, 0], bound, x0)

    def hidden(self, tokens: Tensor, sigma: Tensor | None) -> Tensor:
        """[B, L, d] of `Network.hidden`, told `sigma` [B] as the algorithm is. Raises `ValueError` where it lacks."""
        if self.config.causal:
            return self.network.hidden(tokens, None)
        if not self.config.time_conditioning:
            return self.network.hidden(tokens, torch.zeros(len(tokens), device=self.device))
        if sigma is None:
            raise ValueError(f"`sigma` is needed: the network of `{self.source}` is told the noise level")
        return self.network.hidden(tokens, sigma.to(self.device))

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of hidden states [N, d], in float32 or float64."""
        return at_least_float32(self.network.head(hidden))

    @property
    def diffusion(self) -> Process:
        """The process. Raises `ValueError` for ar."""
        if self.process is None:
            raise ValueError(f"`{self.source}` is autoregressive (algo=ar): it has no noise")
        return self.process

    def of_places(self, places: Tensor, compute: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
        """Of the shape of `like` [B, L]: values [M] float64 at flattened places [M], a piece at a time, else 0."""
        return by_pieces(places, self.piece, compute, torch.zeros(like.shape, dtype=torch.float64, device=self.device))

    def reconstruction(self, x0: Tensor) -> Tensor:
        """[B, L] nats of d3pm's last step, of clean rows."""
        clean, none = x0.flatten(), torch.zeros(len(x0), device=self.device)
        hidden = self.hidden(x0, none).flatten(0, 1)

        def nats(places: Tensor) -> Tensor:
            log_x = self.diffusion.log_x(self.head(hidden[places]), clean[places], None)
            return D3PM.reconstruction(log_x, clean[places])

        return self.of_places(torch.arange(x0.numel(), device=self.device), nats, x0)

    def chain_rule(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """Of ar, of ids [B, L]: nats of each token after the first, float64 [B, L - 1], and if it is the likeliest."""
        assert self.autoregressive is not None
        autoregressive, following = self.autoregressive, x0[:, 1:].flatten()
        hidden = self.hidden(x0[:, :-1], None).flatten(0, 1)
        likely = torch.zeros_like(following, dtype=torch.bool)

        def nats(places: Tensor) -> Tensor:
            log_next = autoregressive.log_next(self.head(hidden[places]))
            likely[places] = log_next.argmax(dim=-1) == following[places]
            return autoregressive.nats(log_next, following[places])

        found = self.of_places(torch.arange(len(following), device=self.device), nats, x0[:, 1:])
        return found, likely.view_as(found)

    def checked(self, tokens: Tensor) -> Tensor:
        """On the device of the weights. Raises `ValueError`, one line, where they are no rows of this vocabulary."""
        if tokens.is_floating_point():
            if tokens.dim() != 3 or tokens.shape[-1] != self.vocab_size:
                raise ValueError(f"`tokens` as weights have shape {list(tokens.shape)}; use [B, L, {self.vocab_size}]")
            return tokens.to(self.device)
        if tokens.dim() != 2:
            raise ValueError(f"`tokens` have shape {list(tokens.shape)}; use [B, L], or weights [B, L, V]")
        if tokens.numel() and not (int(tokens.min()) >= 0 and int(tokens.max()) < self.vocab_size):
            raise ValueError(
                f"`tokens` hold ids from {int(tokens.min())} to {int(tokens.max())}; the vocabulary of "
                f"`{self.source}` has {self.vocab_size}"
            )
        return tokens.to(self.device).long()


def one_a_row(name: str, values: Tensor, rows: Tensor) -> Tensor:
    """[B] of values of rows [B, ...]. Raises `ValueError`, one line, where they are more or fewer."""
    if values.numel() != len(rows):
        raise ValueError(f"`{name}` has shape {list(values.shape)}, and there are {len(rows)} rows; give one a row")
    return values.flatten()


def at_least_float32(logits: Tensor) -> Tensor:
    """float32 where they are narrower."""
    return logits if logits.dtype == torch.float64 else logits.float()
