"""How a circuit enters a decision: the windows it looks at, the evidence it gets, and what becomes of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lm_eval_codd.decoding.coupling.sampling import COUPLED_LOGITS, AnyOrder, Coupling, Independent, OneShot
from lm_eval_codd.decoding.coupling.tiles import Tiles
from lm_eval_codd.decoding.coupling.windows import BestWindow, BlockWindow, CoveringWindows, Members, WindowRule
from lm_eval_codd.settings import DECODERS

if TYPE_CHECKING:
    from lm_eval_codd.backbones.outline import Outline
    from lm_eval_codd.decoding.protocols import Backbone, Chooser, Circuit
    from lm_eval_codd.settings import DecodingConfig


def make_coupling(
    config: DecodingConfig, circuit: Circuit | None, chooser: Chooser, members: Members | None = None
) -> Coupling:
    """The coupling that the settings ask for; without a circuit, `Independent`.

    Args:
        config: every setting.
        circuit: speaks where its window is, which `check_window` has held against the settings; or None.
        chooser: the decoder.
        members: says where windows lie on the whole canvas; None: only blocks are windows.
    """
    if circuit is None:
        return Independent(chooser)
    rule = _window_rule(config, circuit.num_positions, members)
    if config.pc_sampling == "any_order":
        return AnyOrder(chooser, rule, circuit, config.pc_temperature)
    return OneShot(chooser, rule, circuit, config.pc_temperature, COUPLED_LOGITS[config.pc_sampling])


def make_tiles(config: DecodingConfig, circuit: Circuit | None) -> Tiles | None:
    """The coupling of a decoder that masks again; None without a circuit."""
    return None if circuit is None else Tiles(config, circuit)


def check_window(config: DecodingConfig, num_positions: int) -> None:
    """Raise `ValueError` when a circuit's window of `num_positions` fits neither the blocks nor the answer.

    So with a decoder that no circuit goes with.
    """
    looks_at = DECODERS[config.decoder].circuits
    if looks_at is None:
        raise ValueError(f"a circuit does not go with `decoder={config.decoder}`; leave out one of them")
    if looks_at == "tiles":  # a tile may be longer than the answer
        return
    if config.goes_by_blocks and config.block_length != num_positions:
        raise ValueError(
            f"`block_length={config.block_length}` must equal the circuit's window of {num_positions} positions; "
            f"set block_length={num_positions} or use another circuit"
        )
    if looks_at == "blocks":  # whose last block may pass the end, or be shorter
        return
    if config.goes_by_blocks and config.gen_length % num_positions:
        raise ValueError(
            f"`gen_length={config.gen_length}` leaves a last block that is shorter than the circuit's window of "
            f"{num_positions} positions; use a multiple of it"
        )
    if config.gen_length < num_positions:
        raise ValueError(
            f"`gen_length={config.gen_length}` is shorter than the circuit's window of {num_positions} positions; "
            f"use at least {num_positions}"
        )


def check_vocabulary(backbone: Backbone | Outline, circuit: Circuit) -> None:
    """Raise `ValueError` when the circuit does not know all of the backbone's tokens."""
    if circuit.vocab_size < backbone.vocab_size:
        raise ValueError(
            f"the circuit's vocabulary of {circuit.vocab_size} tokens is smaller than the backbone's "
            f"{backbone.vocab_size}; use a circuit made for this backbone"
        )


def _window_rule(config: DecodingConfig, num_positions: int, members: Members | None) -> WindowRule:
    if config.goes_by_blocks or members is None:
        return BlockWindow(config, num_positions)
    return (BestWindow if config.pc_windows == "best" else CoveringWindows)(config, num_positions, members)
