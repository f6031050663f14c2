"""Settings of a decode that cannot go together. Every function raises `ValueError`, one line that says what to do."""

from __future__ import annotations

from typing import Any

from lm_eval_codd.settings.block_rules import RULES, has_steps
from lm_eval_codd.settings.decoder_options import CadOptions
from lm_eval_codd.settings.decoders import (
    DECODERS,
    reads,
)
from lm_eval_codd.settings.decoding_fields import CONFIDENCE_ALGS, DEFAULT_NUM_STEPS, PC_SAMPLING, DecodingFields
from lm_eval_codd.settings.derived import shown
from lm_eval_codd.settings.fields import either


def refuse_unread(decoder: str, name: str, value: Any) -> None:
    """Refuse a value that the decoder does not read."""
    if not reads(decoder, name):
        readers = [f"decoder={other}" for other in DECODERS if reads(other, name)]
        raise ValueError(
            f"`{name}={value}` is read by {either(readers)}, not by `decoder={decoder}`; leave out one of them"
        )


def refuse_unread_by_rule(config: DecodingFields) -> None:
    """Refuse what the block decoder reads, but not the rule of these settings."""
    if config.rule is None:
        return
    usual = vars(DecodingFields())
    for name in dict.fromkeys(name for facts in RULES.values() for name in facts.reads):
        if name not in RULES[config.rule].reads and getattr(config, name) != usual[name]:
            readers = [f"rule={rule}" for rule, facts in RULES.items() if name in facts.reads]
            raise ValueError(
                f"`{name}={shown(getattr(config, name))}` is read by {either(readers)}, not by `rule={config.rule}`; "
                "leave out one of them"
            )
    if config.remask not in (None, "dynamic") and config.threshold is not None:
        raise ValueError(
            f"`threshold={shown(config.threshold)}` is read by remask=dynamic, not by `remask={config.remask}`; leave "
            "out one of them"
        )


def refuse_two_of_one(config: DecodingFields) -> None:
    """Refuse two of the settings of which the decoder takes one."""
    names = [name for name in DECODERS[config.decoder].one_of if getattr(config, name) is not None]
    if len(names) > 1:
        given = [f"`{name}={shown(getattr(config, name))}`" for name in names]
        raise ValueError(f"{' and '.join(given)} both say what is masked again; leave out one of them")


def refuse_approximations(config: DecodingFields) -> None:
    """Refuse a cache, a threshold or a factor beside what they do not go with."""
    if config.cache != "none" and config.cfg_scale:
        raise ValueError(
            f"`cache={config.cache}` does not go with guidance (`cfg_scale={config.cfg_scale:g}`); leave out one of "
            "them"
        )
    if config.cache != "none" and config.router == "ec":
        raise ValueError(
            f"`cache={config.cache}` does not go with `router=ec`, where a later token changes which experts compute "
            "an earlier one; leave out one of them"
        )
    if config.decoder == "unmasking":
        _refuse_rules(config)


def refuse_options(config: DecodingFields) -> None:
    """Refuse options of a decoder that do not go together."""
    if config.decoder == "cad":
        _refuse_bounds(config)
    if config.decoder == "block_diffusion":
        _refuse_beside_blocks(config)
    if DECODERS[config.decoder].revises and config.pc_sampling == "any_order":
        raise ValueError(
            f"`pc_sampling=any_order` commits a step's tokens one by one, and `decoder={config.decoder}` writes them "
            f"at once; use pc_sampling={either(way for way in PC_SAMPLING if way != 'any_order')}"
        )
    if config.form == "paper" and config.score != "logp":
        raise ValueError(f"`score={config.score}` is not read with `form=paper`; leave out one of them")


def refuse_attention(config: DecodingFields, family: str, *, attention: str | None, is_encoder: bool) -> None:
    """Refuse a decoder or a cache that a checkpoint cannot serve.

    Args:
        config: the settings.
        family: by whose rules it is decoded.
        attention: `full` or `block`, as its files say; None where nothing is known.
        is_encoder: whether its class computes whole rows.
    """
    if attention == "block" and config.decoder != "block_diffusion":
        raise ValueError(
            f"`decoder={config.decoder}` looks at whole answers, and this {family} checkpoint is block-causal; use "
            "decoder=block_diffusion"
        )
    if attention == "full" and config.decoder == "block_diffusion":
        raise ValueError(
            f"`decoder=block_diffusion` is for block-causal checkpoints, and this {family} one's attention is full; "
            "use decoder=unmasking"
        )
    if is_encoder and config.cache != "none":
        raise ValueError(
            f"`cache={config.cache}` needs a checkpoint of which keys and values can be kept, and this one is an "
            "encoder, whose class computes whole rows; leave `cache` out (none)"
        )


def resolved_steps(config: DecodingFields) -> int | None:
    """`num_steps`, whichever way it was said; None where a rule has none. Raises `ValueError` where two ways disagree.

    Of the block decoder they are the steps of a block.
    """
    if config.decoder == "block_diffusion":
        is_unsaid = config.num_steps is None and config.rule is not None and has_steps(config.rule)
        return config.block_length if is_unsaid else config.num_steps
    if config.tokens_per_step is None:
        return DEFAULT_NUM_STEPS if config.num_steps is None else config.num_steps
    if config.gen_length % config.tokens_per_step:
        raise ValueError(
            f"`tokens_per_step={config.tokens_per_step}` does not divide `gen_length={config.gen_length}`; "
            f"use {either(_nearest_divisors(config.tokens_per_step, config.gen_length))}"
        )
    implied = config.gen_length // config.tokens_per_step
    if config.num_steps not in (None, implied):
        raise ValueError(
            f"`num_steps={config.num_steps}` disagrees with `tokens_per_step={config.tokens_per_step}` at "
            f"`gen_length={config.gen_length}`; use num_steps={implied}, or give only one of the two"
        )
    return implied


def refuse_blocks(config: DecodingFields, num_blocks: int, *, splits_steps: bool) -> None:
    """Refuse an answer, and where `splits_steps` steps, that cannot be split over so many blocks."""
    if config.gen_length % config.block_length:
        lengths = _nearest_multiples(config.gen_length, config.block_length)
        raise ValueError(
            f"`gen_length={config.gen_length}` cannot be cut into blocks of `block_length={config.block_length}`; "
            f"use a gen_length of {either(lengths)}, or another block_length"
        )
    if splits_steps and config.num_steps is not None and config.num_steps % num_blocks:
        steps = _nearest_multiples(config.num_steps, num_blocks)
        raise ValueError(
            f"`num_steps={config.num_steps}` cannot be split over {num_blocks} blocks of {config.block_length}; "
            f"use a multiple of {num_blocks} ({either(steps)})"
        )


def _refuse_bounds(config: DecodingFields) -> None:
    """Of CAD."""
    if config.min_per_step > config.max_per_step and not config.compat:
        raise ValueError(
            f"`min_per_step={config.min_per_step}` is more than `max_per_step={config.max_per_step}`; lower it "
            "(with compat=True the most wins, as officially)"
        )
    unread = "entropy_threshold" if config.selection != "entropy" else "threshold"
    default = {**vars(CadOptions()), "threshold": DECODERS["cad"].threshold}[unread]
    if (value := getattr(config, unread)) != default:
        raise ValueError(f"`{unread}={value:g}` is not read with `selection={config.selection}`; leave out one of them")


def _refuse_beside_blocks(config: DecodingFields) -> None:
    """Of the block decoder."""
    if config.router == "ec" and config.ec_scope is None:
        raise ValueError(
            "`router=ec` does not go with `decoder=block_diffusion`, which keeps finished blocks: a later token "
            "changes which experts compute them; leave it out (tc), or give ec_scope=sequence to have the prompt and "
            "all blocks so far computed anew in every step"
        )
    if config.cfg_scale and config.rule not in (None, "bd3lm"):
        raise ValueError(
            f"`cfg_scale={config.cfg_scale:g}` goes with `rule=bd3lm`, whose authors have guidance, not with "
            f"`rule={config.rule}`; leave it out"
        )
    if config.pc_sampling == "any_order":
        raise ValueError(
            "`pc_sampling=any_order` commits a step's tokens one by one, and `decoder=block_diffusion` writes them at "
            f"once; use pc_sampling={either(way for way in PC_SAMPLING if way != 'any_order')}"
        )
    if config.cache == "prefix":
        raise ValueError(
            "`cache=prefix` does nothing with `decoder=block_diffusion`, which keeps finished blocks in any case; use "
            "cache=dual (approximate, rule=fast_dllm_v2) or none"
        )
    if config.rule == "fast_dllm_v2":
        small = config.small_block_length
        if small is not None and config.block_length % small:
            raise ValueError(
                f"`small_block_length={small}` does not divide `block_length={config.block_length}`; use "
                f"{either(_nearest_divisors(small, config.block_length))}"
            )
        if config.gen_length < config.block_length:
            raise ValueError(
                f"`gen_length={config.gen_length}` is less than a block of `block_length={config.block_length}`, and "
                f"rule=fast_dllm_v2 decodes as many blocks as fit in; use at least {config.block_length}"
            )


def _refuse_rules(config: DecodingFields) -> None:
    """Refuse caches and confidence-aware steps that mean nothing beside the remasking rule."""
    cache = f"`cache={config.cache}`" if config.cache != "none" else ""
    if cache and config.paradigm == "full" and config.alg == "random":
        raise ValueError(
            f"{cache} does not go with `alg=random` in the full paradigm, whose numbers are drawn over the whole "
            f"canvas; use paradigm=block, or alg=low_confidence, margin or entropy"
        )
    rules = [f"`{name}={getattr(config, name):g}`" for name in ("threshold", "factor") if getattr(config, name)]
    if len(rules) == 2:
        raise ValueError(f"{' and '.join(rules)} both say how many tokens a step commits; leave out one of them")
    if rules and config.alg not in CONFIDENCE_ALGS:
        raise ValueError(
            f"{rules[0]} is compared with a probability, and `alg={config.alg}` orders positions by something else; "
            f"set alg={either(CONFIDENCE_ALGS)}"
        )
    if rules and config.alg_temp is not None:
        raise ValueError(
            f"{rules[0]} does not go with `alg_temp={config.alg_temp:g}`, which draws positions at random; "
            f"leave out one of them"
        )


def _nearest_multiples(value: int, of: int) -> list[int]:
    below = value // of * of
    return [n for n in (below, below + of) if n > 0]


def _nearest_divisors(value: int, of: int) -> list[int]:
    divisors = [n for n in range(1, of + 1) if of % n == 0]
    below = max(n for n in divisors if n <= value or n == 1)
    above = min((n for n in divisors if n >= value), default=of)
    return sorted({below, above})
