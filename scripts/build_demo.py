"""Make everything in `lm_eval_codd/demo`: the problems, the tokenizer, the trained backbone and its circuit.

    python scripts/build_demo.py                  # all of it, in order
    python scripts/build_demo.py backbone         # one part

Seeded: the same machine and library versions give the same files again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lm_eval_codd.circuits import load_circuit, save_circuit
from lm_eval_codd.demo import CHECKPOINT, CIRCUIT, HERE
from lm_eval_codd.demo.problems import Problem, held_out_problems, training_problems, vocabulary
from lm_eval_codd.training.run import train_circuit
from lm_eval_codd.training.settings import TrainingConfig

BOS: Final = "<|startoftext|>"
EOS: Final = "<|endoftext|>"
EOT: Final = "<|eot_id|>"
MASK: Final = "<|mdm_mask|>"
UNKNOWN: Final = "<|unk|>"
HEADERS: Final = ("<|start_header_id|>", "<|end_header_id|>")
ROLES: Final = ("system", "user", "assistant")
CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

BLOCK: Final = 32
LAYERS: Final = 4
WIDTH: Final = 128
MLP_WIDTH: Final = 384
HEADS: Final = 4
MAX_LENGTH: Final = 256
ROPE_THETA: Final = 10000.0
NORM_EPS: Final = 1e-5
INIT_STD: Final = 0.08

SEED: Final = 0
# Stopped before it has learned everything: a backbone that is always right leaves a circuit nothing to do.
STEPS: Final = 2000
SCHEDULE_STEPS: Final = 3000
BATCH: Final = 64
WARMUP: Final = 100
LEARNING_RATE: Final = 2e-3
WEIGHT_DECAY: Final = 0.01

CIRCUIT_ANSWERS: Final = 20_000
CIRCUIT_LATENTS: Final = 64
CIRCUIT_STEPS: Final = 400

# transformers' Llama names -> LLaDA's.
LAYER_NAMES: Final = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "q_proj",
    "self_attn.k_proj": "k_proj",
    "self_attn.v_proj": "v_proj",
    "self_attn.o_proj": "attn_out",
    "post_attention_layernorm": "ff_norm",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
}
OUTER_NAMES: Final = {"model.embed_tokens": "wte", "model.norm": "ln_f", "lm_head": "ff_out"}


def build_data() -> None:
    for split, problems in held_out_problems().items():
        rows = [json.dumps({"question": problem.question, "answer": problem.answer}) for problem in problems]
        (HERE / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def build_tokenizer() -> None:
    words = [UNKNOWN, *ROLES, *vocabulary(), BOS, EOS, *HEADERS, EOT, MASK]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # The decoder writes "12 apples." rather than "12 apples ."; no word begins with the prefix it would join.
    tokenizer.decoder = decoders.WordPiece(prefix="@@", cleanup=True)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        mask_token=MASK,
        unk_token=UNKNOWN,
        additional_special_tokens=[*HEADERS, EOT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(CHECKPOINT)


def build_backbone() -> None:
    torch.manual_seed(SEED)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(CHECKPOINT)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=MLP_WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=MAX_LENGTH,
            rms_norm_eps=NORM_EPS,
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
            initializer_range=INIT_STD,
            tie_word_embeddings=False,
            is_causal=False,
            use_cache=False,
            # Fused attention is several times slower to train on a CPU, at these sizes.
            attn_implementation="eager",
        )
    )
    train(model, tokenizer)
    save_as_llada(model, tokenizer)


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """LLaDA's objective (supervised form): mask answer tokens, average the loss over them."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / SCHEDULE_STEPS)),
    )
    progress = tqdm(itertools.islice(batches(tokenizer), STEPS), total=STEPS, desc="backbone", unit="step")
    smooth = None
    for tokens, attention_mask in progress:
        # Every number of masks 1..BLOCK equally often, and exactly that many: less variance than a coin a token.
        num_masked = torch.arange(BATCH)[:, None] % BLOCK + 1
        masked = torch.rand(BATCH, BLOCK).argsort(1).argsort(1) < num_masked
        answer = tokens[:, -BLOCK:]
        noisy = tokens.clone()
        noisy[:, -BLOCK:] = answer.masked_fill(masked, tokenizer.mask_token_id)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(noisy, attention_mask=attention_mask, logits_to_keep=BLOCK).logits
        loss = cross_entropy(logits.float().transpose(1, 2), answer, reduction="none")
        loss = (loss * masked / num_masked).sum(1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.99 * smooth + 0.01 * loss.item()
        progress.set_postfix(loss=f"{smooth:.3f}", refresh=False)


def batches(tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of ([B, L] tokens, [B, L] attention mask): the prompt padded on the left, then a block of answer."""
    problems = training_problems(SEED)
    while True:
        rows = [encode(problem, tokenizer) for problem in itertools.islice(problems, BATCH)]
        longest = max(len(row) for row in rows)
        padding = [longest - len(row) for row in rows]
        tokens = [[tokenizer.pad_token_id] * pad + row for pad, row in zip(padding, rows, strict=True)]
        mask = [[0] * pad + [1] * len(row) for pad, row in zip(padding, rows, strict=True)]
        yield torch.tensor(tokens), torch.tensor(mask)


def encode(problem: Problem, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Prompt, answer, `EOT`, and `EOS` to the end of the block."""
    messages = [{"role": "user", "content": problem.question}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt_ids, answer_ids = tokenizer([prompt, problem.answer + EOT], add_special_tokens=False)["input_ids"]
    return prompt_ids + answer_ids + [tokenizer.eos_token_id] * (BLOCK - len(answer_ids))


def save_as_llada(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write config and float16 weights under the names of GSAI-ML/LLaDA-8B-Instruct."""
    weights = {llada_name(name): weight.half().contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, CHECKPOINT / "model.safetensors", metadata={"format": "pt"})
    config = {
        "activation_type": "silu",
        "alibi": False,
        "alibi_bias_max": 8.0,
        "architectures": ["LLaDAModelLM"],
        "attention_dropout": 0.0,
        "attention_layer_norm": False,
        "attention_layer_norm_with_affine": True,
        "bias_for_layer_norm": False,
        "block_group_size": 1,
        "block_type": "llama",
        "d_model": WIDTH,
        "embedding_dropout": 0.0,
        "embedding_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "flash_attention": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "init_cutoff_factor": None,
        "init_device": "meta",
        "init_fn": "mitchell",
        "init_std": INIT_STD,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "mask_token_id": tokenizer.mask_token_id,
        "max_sequence_length": MAX_LENGTH,
        "mlp_hidden_size": MLP_WIDTH,
        "mlp_ratio": MLP_WIDTH // WIDTH,
        "model_type": "llada",
        "multi_query_attention": None,
        "n_heads": HEADS,
        "n_kv_heads": HEADS,
        "n_layers": LAYERS,
        "pad_token_id": tokenizer.pad_token_id,
        "precision": "amp_bf16",
        "residual_dropout": 0.0,
        "rms_norm_eps": NORM_EPS,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": ROPE_THETA,
        "scale_logits": False,
        # Stored in half precision to stay small, computed in single.
        "torch_dtype": "float32",
        "use_cache": False,
        "vocab_size": len(tokenizer),
        "weight_tying": False,
    }
    (CHECKPOINT / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def llada_name(name: str) -> str:
    """LLaDA's key for a key of transformers' Llama."""
    module, _, leaf = name.rpartition(".")
    if module in OUTER_NAMES:
        return f"model.transformer.{OUTER_NAMES[module]}.{leaf}"
    _, _, index, inner = module.split(".", 3)
    return f"model.transformer.blocks.{index}.{LAYER_NAMES[inner]}.{leaf}"


def build_circuit() -> None:
    """By maximum likelihood of answers, then by the paper's objective (Eq. 7) under the backbone."""
    problems = itertools.islice(training_problems(SEED + 1), CIRCUIT_ANSWERS)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "answers.jsonl"
        rows = [json.dumps({"question": problem.question, "answer": problem.answer}) for problem in problems]
        data.write_text("\n".join(rows) + "\n", encoding="utf-8")
        config = TrainingConfig(
            backbone=str(CHECKPOINT),
            data=str(data),
            held_out=300,
            gen_length=BLOCK,
            window=BLOCK,
            num_latents=CIRCUIT_LATENTS,
            ml_epochs=3,
            steps=CIRCUIT_STEPS,
            batch_size=BATCH,
            seed=SEED,
            device="cpu",
        )
        train_circuit(config, Path(folder) / "circuit")
        save_circuit(load_circuit(Path(folder) / "circuit"), CIRCUIT)


PARTS: Final = {
    "data": build_data,
    "tokenizer": build_tokenizer,
    "backbone": build_backbone,
    "circuit": build_circuit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="what to make; all of it without a name")
    for part in parser.parse_args().part or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
