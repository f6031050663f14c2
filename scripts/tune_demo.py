"""What the demo's decoders are set to by: each with one option changed at a time, on the demo's 300 tuning problems.

    python scripts/tune_demo.py             # every decoder, about 8 forward passes an answer: half an hour on two cores
    python scripts/tune_demo.py corrective  # one

`launch/jobs.py` has the best lines; the problems of the demo itself (test.jsonl) are not read.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any, Final

import lm_eval_codd as codd
from lm_eval_codd.backbones.tokenizer import load_tokenizer
from lm_eval_codd.demo import load_split
from lm_eval_codd.settings import reads

STEPS: Final = 8
# Values to try, each alone; a decoder's defaults come first.
OPTIONS: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "unmasking": {},
    "cad": {"threshold": (0.5, 0.7, 0.8, 0.9, 0.98)},
    "klass": {"threshold": (0.3, 0.6), "kl_threshold": (0.001, 0.1, 1.0), "history_length": (1, 3)},
    "eb": {"gamma": (0.001, 0.01, 1.0), "error_proxy": ("entropy", "margin")},
    "wino": {"threshold": (0.3, 0.5, 0.8), "threshold_back": (0.5, 0.7, 0.95)},
    "p2": {
        "eta": (0.0, 0.5, 2.0, 4.0),
        "kappa": ("sine", "geometric", "log", "poly2", "poly05"),
        "score": ("diff_top2",),
        "form": ("paper",),
    },
    "open_dllm": {"variant": ("p2_upgraded", "p2_upgraded_remdm")},
    "corrective": {
        "threshold": (0.3, 0.5, 0.7, 0.99),
        "remask_schedule": ("linear", "cosine", "fixed_0.1", "fixed_0.3"),
        "mad_k": (1.0, 2.0, 3.0),
    },
}


def settings_of(decoder: str) -> Iterator[dict[str, Any]]:
    """Every setting to try of a decoder."""
    always = {"num_steps": STEPS} if reads(decoder, "num_steps") else {}
    yield {"decoder": decoder, **always}
    for name, values in OPTIONS[decoder].items():
        for value in values:
            yield {"decoder": decoder, **always, name: value}


def main() -> None:
    """Print accuracy and network evaluations of every setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("decoder", nargs="*", choices=[*OPTIONS, []], help="which; all of them without a name")
    chosen = parser.parse_args().decoder or OPTIONS
    backbone = codd.load_backbone("demo")
    tokenizer = load_tokenizer("demo", backbone.family)
    problems = load_split("tune")
    conversations = [[{"role": "user", "content": problem["question"]}] for problem in problems]
    texts = [tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in conversations]
    prompts = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    for decoder in chosen:
        for settings in settings_of(decoder):
            config = codd.DecodingConfig(gen_length=32, **settings)
            outputs = codd.generate(backbone, prompts, config, batch_size=50)
            answers = [tokenizer.decode(output.tokens[: output.num_answer_tokens]) for output in outputs]
            right = sum(map(is_right, answers, problems))
            nfe = sum(output.num_forward for output in outputs) / len(outputs)
            given = " ".join(f"{name}={value}" for name, value in settings.items())
            print(f"{100 * right / len(problems):5.1f} % at {nfe:4.1f} NFE  {given}", flush=True)


def is_right(answer: str, problem: dict[str, str]) -> bool:
    """As the demo's task grades it: the first number behind `####`."""
    found = re.search(r"#### (\d+)", answer)
    return found is not None and found[1] == problem["answer"].split("#### ")[-1]


if __name__ == "__main__":
    main()
