"""Families whose positions all see each other in lm-eval: official layouts on real rows, and BERT's own tokenizer."""

import json

import pytest
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from lm_eval_codd.models.masked_lm import MaskedLM
from tests.forked import PATIENCE
from tests.models.block_folders import EOS, write_checkpoint
from tests.models.processes import answer_as, start_ranks
from tests.models.real_rows import TASKS, answers_of, evaluate

PROMPTS = ["a", "some more of it", "abc" * 7, "x y", "the fifth"]
SHORT = {"gen_length": 16, "num_steps": 4, "block_length": 8, "dtype": "float32"}
# Of each: the golden whose weights it has, its model_type, and how its tokenizer spells the mask and a turn's end.
FAMILIES = {
    "a2d": ("a2d_llama", "a2d-llama", "<|mask|>", "<|eot_id|>"),
    "illada": ("a2d_llama", "llada", "<[MASK]>", "<|eot_id|>"),
    "modernbert": ("modernbert", "modernbert", "[MASK]", "[/Answer]"),
}
DECODED_BY = {"a2d": "a2d", "illada": "llada", "modernbert": "a2d"}


@pytest.fixture(scope="module")
def folders(golden_dir, tmp_path_factory):
    """Family -> its folder."""
    made = {}
    for family, (golden, model_type, mask, end_of_turn) in FAMILIES.items():
        source = golden_dir / "families" / golden
        config = json.loads((source / "config.json").read_text())
        config |= {"model_type": model_type, "vocab_size": 300, "eos_token_id": EOS, "max_position_embeddings": 4096}
        tensors = load_file(source / "model.safetensors")
        folder = tmp_path_factory.mktemp(family) / family
        made[family] = write_checkpoint(folder, config, tensors, vocab_size=113, mask=mask, end_of_turn=end_of_turn)
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_real_rows_of_four_tasks_are_answered_alike_in_batches_of_1_and_7(folders, golden_dir, monkeypatch, family):
    one, seven = (
        evaluate(monkeypatch, golden_dir, size, pretrained=folders[family], max_length=2048, **SHORT) for size in (1, 7)
    )
    assert sorted(one["samples"]) == sorted(TASKS) and answers_of(one) == answers_of(seven)
    assert (one["config"]["family"], one["config"]["attention"]) == (DECODED_BY[family], "full")
    # How iLLaDA's answers end beside eos was not seen.
    assert one["config"]["token_ids"] == {"mask_id": 299, "eos_id": 297, "eot_id": None if family == "illada" else 298}
    assert one["config"]["mean_nfe"] == seven["config"]["mean_nfe"] > 1


def test_two_processes_answer_as_one_and_as_a_batch_of_7(folders, ask, tmp_path):
    settings = [SHORT, {**SHORT, "temperature": 0.8}]
    ranks, alone = {}, {}
    for family, folder in folders.items():
        (tmp_path / family).mkdir()
        ranks[family] = start_ranks(2, answer_as, "masked_lm", folder, settings, PROMPTS, tmp_path / family)
        alone[family] = [ask(MaskedLM(folder, batch_size=7, device="cpu", **given), PROMPTS) for given in settings]
    for family, processes in ranks.items():
        for number, process in enumerate(processes):
            process.join(PATIENCE)
            assert process.exitcode == 0, family
            assert json.loads((tmp_path / family / f"{number}.json").read_text()) == alone[family], family
        assert alone[family][0] != alone[family][1], family


def test_nothing_closes_a_prompt_of_a_tokenizer_that_closes_texts(folders, tmp_path, ask):
    folder = tmp_path / "bert"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer_config.json"):
        (folder / name).write_bytes((tmp_path.__class__(folders["modernbert"]) / name).read_bytes())
    tokenizer = Tokenizer.from_file(f"{folders['modernbert']}/tokenizer.json")
    ids = [("[/Answer]", 298), ("<|endoftext|>", EOS)]
    tokenizer.post_processor = TemplateProcessing(single="[/Answer] $A <|endoftext|>", special_tokens=ids)
    tokenizer.save(str(folder / "tokenizer.json"))
    lm = MaskedLM(str(folder), device="cpu", **SHORT)
    assert lm.tokenizer.encode("ab")[-1] == EOS
    assert lm.tok_encode("ab") == [298, *lm.tokenizer.encode("ab", add_special_tokens=False)]
    plain = MaskedLM(folders["modernbert"], device="cpu", **SHORT)
    assert plain.tok_encode("ab") == lm.tok_encode("ab")[1:]
