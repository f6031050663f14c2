"""The decode goldens: which cases there are, and the settings that ask this project for the same decode."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lm_eval_codd as codd

GROUPS = ("llada", "codd_llada", "dream", "codd_dream", "fastdllm_llada", "fastdllm_dream")
FOLDER = Path(__file__).parent.parent / "golden" / "decoding" / "decode"

NOT_REPRODUCED = {
    "llada/predicts_mask_llada-tiny_s8_b8": "masks left over in an earlier block take the next block's budget there; "
    "here only a block's own masks compete for it",
    "llada/mask_in_prompt_llada-tiny": "masks in the prompt take a block's budget there; here a prompt is not decoded",
    "dream/confidence_threshold0.5_n16_s8_dream-tiny": "without a cache, Fast-dLLM's Dream commits no more than the "
    "schedule's share in a step even where more are sure, and makes more steps for what is left",
}


@dataclass(frozen=True)
class Case:
    id: str
    model: str
    seeded: bool
    prompts: list[list[int]]
    canvas: list[list[int]]
    settings: dict
    output: list[list[int]]
    num_forward: int
    ties: bool
    uses_window: bool

    @property
    def config(self) -> codd.DecodingConfig:
        return codd.DecodingConfig(**self.settings)

    def trajectory(self) -> np.ndarray:
        """[n_forward + 1, B, L]: the ids fed to the network at each evaluation, then the output."""
        fed = np.load(FOLDER / f"{self.id.split('/')[0]}.trajectories.npz")[self.id.replace("/", ".")]
        fed = fed[:, : len(self.output)].astype(np.int64)  # under guidance the second half is unconditional
        return np.concatenate([fed, np.array(self.output)[None]])


def cases() -> list[Case]:
    return [
        _case(group, raw) for group in GROUPS for raw in json.loads((FOLDER / f"{group}.json").read_text())["cases"]
    ]


def _case(group: str, raw: dict) -> Case:
    masks = raw["attention_mask"] or [[1] * len(row) for row in raw["prompt"]]
    return Case(
        id=raw["id"],
        model=raw["model"],
        seeded=raw["seed"] is not None,
        prompts=[
            [token for token, real in zip(row, mask, strict=True) if real]
            for row, mask in zip(raw["prompt"], masks, strict=True)
        ],
        canvas=raw["prompt"],
        settings=(_llada(raw) if "llada" in group else _dream(raw)) | _fast_dllm(raw),
        output=raw["output"],
        num_forward=raw["n_forward"],
        ties=bool(raw.get("tie_break_dependent")),
        uses_window="window" in raw["kwargs"],
    )


def _llada(raw: dict) -> dict:
    kwargs = raw["kwargs"]
    settings = {
        "alg": kwargs["remasking"],
        "num_steps": kwargs.get("steps", kwargs.get("num_steps")),
        "stop_at_eos": False,
    }
    for name in ("temperature", "gen_length", "block_length", "mask_id"):
        settings[name] = kwargs[name]
    settings["cfg_scale"] = kwargs.get("cfg_scale", 0.0)
    for name in ("logits_eos_inf", "confidence_eos_eot_inf"):
        settings[name] = kwargs.get(name, False)
    patched = raw["patched_constants"]
    if patched:
        settings |= {"eos_id": patched["126081"], "eot_id": patched["126348"]}
    return settings


def _dream(raw: dict) -> dict:
    effective = dict(raw["effective"])
    if effective["alg"] == "confidence_threshold":
        effective["alg"] = "low_confidence"
    settings = {name: effective[name] for name in ("alg", "temperature", "top_p", "top_k", "alg_temp", "eps")}
    return settings | {
        "num_steps": effective["steps"],
        "gen_length": len(raw["output"][0]) - len(raw["prompt"][0]),
        "paradigm": "block" if effective["method"] == "_sample_block_diffusion" else "full",
        "mask_id": effective["mask_token_id"],
        "stop_at_eos": False,
    }


def _fast_dllm(raw: dict) -> dict:
    kwargs = raw["kwargs"]
    settings = {"threshold": kwargs.get("threshold")}
    if "dual_cache" in kwargs:
        settings |= {"cache": "dual" if kwargs["dual_cache"] else "prefix", "block_length": kwargs["block_length"]}
    elif "cache" in raw.get("function", ""):
        settings |= {"cache": raw["function"].split("_")[2]}
    return settings
