"""A small LLaDA of words from nothing to a folder: tokenizer, training, files under LLaDA's names, and its circuit."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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

MAX_LENGTH: Final = 256
NORM_EPS: Final = 1e-5
INIT_STD: Final = 0.08
WARMUP: Final = 100
WEIGHT_DECAY: Final = 0.01

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

Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a backbone.

    Attributes:
        layers, width, mlp_width, heads: of the trunk.
        block: length of an answer.
        tied: whether the head is the embedding while it trains, which makes copying easy to learn; the file has both.
        rope_theta: base of the wavelengths of positions; a small one tells near positions apart better.
    """

    layers: int
    width: int
    mlp_width: int
    heads: int
    block: int
    tied: bool = False
    rope_theta: float = 10000.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast a backbone trains.

    Attributes:
        steps: updates.
        decay_steps: over which the learning rate falls to zero.
        batch: rows in an update.
        learning_rate: of AdamW.
        matrices_rate: of Muon, which then trains the matrices of the layers in AdamW's place.
    """

    steps: int
    decay_steps: int
    batch: int
    learning_rate: float
    matrices_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class CircuitTraining:
    """What a circuit is and how it trains: `ml_epochs` passes of maximum likelihood, then `steps` of Eq. 7."""

    num_latents: int
    ml_epochs: int
    steps: int
    batch: int
    seed: int


def make_tokenizer(words: Sequence[str], folder: Path) -> None:
    """A tokenizer of these words with LLaDA's special tokens and chat template, written into a folder."""
    vocabulary = [UNKNOWN, *ROLES, *words, BOS, EOS, *HEADERS, EOT, MASK]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token=UNKNOWN))
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
    ).save_pretrained(folder)


def make_model(shape: Shape, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained backbone."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            intermediate_size=shape.mlp_width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=MAX_LENGTH,
            rms_norm_eps=NORM_EPS,
            rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
            initializer_range=INIT_STD,
            tie_word_embeddings=shape.tied,
            is_causal=False,
            use_cache=False,
            # Fused attention is several times slower to train on a CPU, at these sizes.
            attn_implementation="eager",
        )
    )


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Iterator[Pair],
    block: int,
    schedule: Schedule,
) -> None:
    """LLaDA's objective (supervised form) on questions and answers: mask answer tokens, average the loss over them."""
    optimizers = make_optimizers(model, schedule)
    rates = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / schedule.decay_steps)),
        )
        for optimizer in optimizers
    ]
    smooth = None
    for _ in (progress := tqdm(range(schedule.steps), desc="backbone", unit="step")):
        tokens, attention_mask = padded(
            [encode(next(pairs), tokenizer, block) for _ in range(schedule.batch)], tokenizer
        )
        # Every number of masks 1..block equally often, and exactly that many: less variance than a coin a token.
        num_masked = torch.arange(schedule.batch)[:, None] % block + 1
        masked = torch.rand(schedule.batch, block).argsort(1).argsort(1) < num_masked
        answer = tokens[:, -block:]
        noisy = tokens.clone()
        noisy[:, -block:] = answer.masked_fill(masked, tokenizer.mask_token_id)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(noisy, attention_mask=attention_mask, logits_to_keep=block).logits
        loss = cross_entropy(logits.float().transpose(1, 2), answer, reduction="none")
        loss = (loss * masked / num_masked).sum(1).mean()
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for part in (*optimizers, *rates):
            part.step()
        smooth = loss.item() if smooth is None else 0.99 * smooth + 0.01 * loss.item()
        progress.set_postfix(loss=f"{smooth:.3f}", refresh=False)


def make_optimizers(model: LlamaForCausalLM, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or for what Muon does not train."""
    by_muon = []
    if schedule.matrices_rate is not None:
        by_muon = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    others = [weight for weight in model.parameters() if all(weight is not other for other in by_muon)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=schedule.learning_rate, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY)
    ]
    if schedule.matrices_rate is not None:
        optimizers.append(
            torch.optim.Muon(
                by_muon, lr=schedule.matrices_rate, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"
            )
        )
    return optimizers


def encode(pair: Pair, tokenizer: PreTrainedTokenizerFast, block: int) -> list[int]:
    """Prompt, answer, `EOT`, and `EOS` to the end of the block."""
    question, answer = pair
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    prompt_ids, answer_ids = tokenizer([prompt, answer + EOT], add_special_tokens=False)["input_ids"]
    return prompt_ids + answer_ids + [tokenizer.eos_token_id] * (block - len(answer_ids))


def padded(rows: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """([B, L] tokens, [B, L] attention mask), padded on the left."""
    longest = max(len(row) for row in rows)
    padding = [longest - len(row) for row in rows]
    tokens = [[tokenizer.pad_token_id] * pad + [*row] for pad, row in zip(padding, rows, strict=True)]
    mask = [[0] * pad + [1] * len(row) for pad, row in zip(padding, rows, strict=True)]
    return torch.tensor(tokens), torch.tensor(mask)


def save_as_llada(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write config and float16 weights under the names of GSAI-ML/LLaDA-8B-Instruct."""
    # Cloned, since a head that is the embedding shares its memory, and the file has them twice.
    weights = {llada_name(name): weight.half().clone() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shape = model.config
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
        "d_model": shape.hidden_size,
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
        "mlp_hidden_size": shape.intermediate_size,
        "mlp_ratio": shape.intermediate_size // shape.hidden_size,
        "model_type": "llada",
        "multi_query_attention": None,
        "n_heads": shape.num_attention_heads,
        "n_kv_heads": shape.num_key_value_heads,
        "n_layers": shape.num_hidden_layers,
        "pad_token_id": tokenizer.pad_token_id,
        "precision": "amp_bf16",
        "residual_dropout": 0.0,
        "rms_norm_eps": NORM_EPS,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": shape.rope_parameters["rope_theta"],
        "scale_logits": False,
        # Stored in half precision to stay small, computed in single.
        "torch_dtype": "float32",
        "use_cache": False,
        "vocab_size": len(tokenizer),
        "weight_tying": False,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def llada_name(name: str) -> str:
    """LLaDA's key for a key of transformers' Llama."""
    module, _, leaf = name.rpartition(".")
    if module in OUTER_NAMES:
        return f"model.transformer.{OUTER_NAMES[module]}.{leaf}"
    _, _, index, inner = module.split(".", 3)
    return f"model.transformer.blocks.{index}.{LAYER_NAMES[inner]}.{leaf}"


def make_circuit(checkpoint: Path, target: Path, pairs: Iterable[Pair], block: int, training: CircuitTraining) -> None:
    """By maximum likelihood of answers, then by the paper's objective (Eq. 7) under the backbone."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "answers.jsonl"
        rows = [json.dumps({"question": question, "answer": answer}) for question, answer in pairs]
        data.write_text("\n".join(rows) + "\n", encoding="utf-8")
        config = TrainingConfig(
            backbone=str(checkpoint),
            data=str(data),
            held_out=300,
            gen_length=block,
            window=block,
            num_latents=training.num_latents,
            ml_epochs=training.ml_epochs,
            steps=training.steps,
            batch_size=training.batch,
            seed=training.seed,
            device="cpu",
        )
        train_circuit(config, Path(folder) / "circuit")
        save_circuit(load_circuit(Path(folder) / "circuit"), target)
