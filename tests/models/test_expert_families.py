"""Mixtures of experts in lm-eval: official folders on real rows, whatever the batches and ranks."""

import json

import pytest
from lm_eval.api.instance import Instance
from safetensors.torch import load_file

from lm_eval_codd.models.masked_lm import MaskedLM
from tests.backbones.experts.goldens import MODEL, megatron_folder
from tests.backbones.moe_folders import merged_llada2_folder, qwen3_moe_folder
from tests.forked import PATIENCE
from tests.models.block_folders import EOS, VOCAB_SIZE, write_block_checkpoint, write_checkpoint
from tests.models.processes import answer_as, start_ranks
from tests.models.real_rows import TASKS, evaluate

PROMPTS = ["a", "some more of it", "abc" * 7, "x y", "the fifth"]
SHORT = {"gen_length": 16, "dtype": "float32", "max_length": 96, "device": "cpu"}
UNMASKING = {"block_length": 8, "num_steps": 8}
SIZES = {"vocab_size": VOCAB_SIZE, "eos_token_id": EOS, "max_position_embeddings": 4096}
# Of each kind, its folder and its settings.
KINDS = {
    "lladamoe": ("lladamoe", UNMASKING),
    "lladamoe-ec": ("lladamoe", {**UNMASKING, "router": "ec", "ec_gates": "post", "ec_schedule": "linear_reverse",
                                 "ec_k_min": 1, "ec_k_max": 6}),
    "qwen3_moe": ("qwen3_moe", {**UNMASKING, "family": "qwen3_moe"}),
    "qwen3_moe-shifted": ("qwen3_moe", {"num_steps": 4, "family": "open_dllm"}),
    "ecdlm": ("ecdlm", UNMASKING),
    "sdar_moe": ("sdar_moe", {"threshold": 0.4}),
    "llada2_moe_veomni": ("llada2_moe_veomni", {"threshold": 0.3}),
    "llada21": ("llada2_moe_veomni", {"rule": "llada21", "threshold": 0.4, "editing_threshold": 0.4,
                                      "max_post_steps": 2}),
    "llada2-ec": ("llada2_moe_veomni", {"threshold": 0.3, "router": "ec", "ec_scope": "sequence", "ec_k": 3}),
}  # fmt: skip
# Those on the four tasks; the others differ from one of them by a name or a setting.
ON_TASKS = ("lladamoe", "qwen3_moe", "qwen3_moe-shifted", "ecdlm", "sdar_moe", "llada2_moe_veomni", "llada2-ec")


@pytest.fixture(scope="module")
def folders(golden_dir, tmp_path_factory):
    """Family -> its folder."""
    made, goldens = tmp_path_factory.mktemp("experts"), golden_dir / "families"

    def fill(name, source, vocab_size, end_of_turn, **fields):
        config = json.loads((source / "config.json").read_text()) | SIZES | fields
        config.pop("mask_token_id", None)
        tensors = load_file(source / "model.safetensors")
        ends = {"mask": "<|mask|>" if name != "sdar_moe" else "<|MASK|>", "end_of_turn": end_of_turn}
        return write_checkpoint(made / name, config, tensors, vocab_size=vocab_size, **ends)

    block = write_block_checkpoint(goldens / "llada2", made / "llada2")
    return {
        "lladamoe": fill("lladamoe", goldens / "lladamoe", 113, "<|role_end|>"),
        "qwen3_moe": fill("qwen3_moe", qwen3_moe_folder(made / "plain", "qwen3_moe"), 113, "<|im_end|>"),
        "sdar_moe": fill("sdar_moe", qwen3_moe_folder(made / "sdar", "sdar_moe", block_size=4), 113, "<|im_end|>"),
        "ecdlm": fill("ecdlm", megatron_folder(made / "trained", "ec_dyn_cos_sf"), MODEL["vocab"], "<|im_end|>"),
        "llada2_moe_veomni": str(merged_llada2_folder(type(made)(block), made / "merged")),
    }


@pytest.mark.parametrize("kind", ON_TASKS)
def test_real_rows_of_four_tasks_are_answered_alike_in_batches_of_1_and_7(kind, folders, golden_dir, monkeypatch):
    family, settings = KINDS[kind]
    given = {**SHORT, **settings}
    del given["device"]
    one = evaluate(monkeypatch, golden_dir, 1, pretrained=folders[family], **given)
    seven = MaskedLM(folders[family], batch_size=7, device="cpu", **given)
    assert sorted(one["samples"]) == sorted(TASKS)
    # A task has a sample for each of its filters.
    rows = {(task, row["doc_id"]): row for task, of_task in one["samples"].items() for row in of_task}
    requests = [
        Instance("generate_until", {}, tuple(row["arguments"][0]), idx=0, metadata=(*key, 1))
        for key, row in rows.items()
    ]
    answers = seven.generate_until(requests, disable_tqdm=True)
    assert [[[answer]] for answer in answers] == [row["resps"] for row in rows.values()]
    assert one["config"]["nfe"] == seven.get_model_info()["nfe"] > 8


def test_two_processes_answer_as_one_and_as_a_batch_of_7(folders, ask, tmp_path):
    alone, ranks = {}, {}
    for kind, (family, settings) in KINDS.items():
        given = {**SHORT, **settings}
        (tmp_path / kind).mkdir()
        ranks[kind] = start_ranks(2, answer_as, "masked_lm", folders[family], [given], PROMPTS, tmp_path / kind)
        alone[kind] = ask(MaskedLM(folders[family], batch_size=7, **given), PROMPTS)
    for kind, processes in ranks.items():
        for number, process in enumerate(processes):
            process.join(PATIENCE)
            assert process.exitcode == 0, kind
            assert json.loads((tmp_path / kind / f"{number}.json").read_text()) == [alone[kind]], kind
    assert alone["lladamoe"] != alone["lladamoe-ec"] and alone["llada2_moe_veomni"] != alone["llada2-ec"]
