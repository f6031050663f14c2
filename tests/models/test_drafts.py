"""Texts to revise: in as one JSON object, out as another, whatever the batch."""

import json
from pathlib import Path

import pytest
import torch

import lm_eval_codd as codd
from lm_eval_codd import circuits
from lm_eval_codd.code_revision.tokens import Tokens
from lm_eval_codd.models import answering
from lm_eval_codd.models.codd import CoddLLaDA
from lm_eval_codd.models.drafts import read_draft
from lm_eval_codd.models.llada import LLaDA
from tests.code_revision.stub_tok import StubTokenizer
from tests.decoding.test_coupling import random_circuit

GOLDENS = Path(__file__).parent.parent / "golden" / "decoders"
COLLATED = json.loads((GOLDENS / "crb_collate.json").read_text())["cases"]

SETTINGS = {
    "decoder": "corrective",
    "num_steps": 3,
    "mad_k": 0.5,
    "gen_length": 16,
    "device": "cpu",
    "dtype": "float32",
}
UNMASKING = {"decoder": "unmasking", "mad_k": None, "num_steps": 16, "block_length": 16}
DRAFTS = ["    return x + 1\n", "a", "    y = x\n    return y - x * 2\n", "bb", "ccc", "ddddd", "    pass\n"]


@pytest.fixture
def make_model(checkpoints):
    def make(**settings):
        return LLaDA(checkpoints["llada"], **{**SETTINGS, **settings})

    return make


@pytest.fixture
def wanting(make_request):
    """A function (draft, more of the object) -> the request of a task that wants it revised in 2 rounds."""

    def make(draft, index=0, **others):
        content = {"context": f"def f{index}(x):\n\n", "draft": draft, "rounds": 2, "positions": [0], **others}
        return make_request(json.dumps(content), index, until=[], draft=True)

    return make


@pytest.fixture
def revise(make_model, wanting):
    """A function (settings) -> the answers to all drafts, as objects."""

    def run(**settings):
        model = make_model(**settings)
        requests = [wanting(draft, index) for index, draft in enumerate(DRAFTS)]
        return [json.loads(text) for text in model.generate_until(requests, disable_tqdm=True)]

    return run


class TestAnswers:
    def test_are_the_texts_after_each_round_and_the_first_confidences(self, revise, make_model):
        model, answers = make_model(), revise(batch_size=3)
        config = codd.DecodingConfig(decoder="corrective", num_steps=3, mad_k=0.5)
        assert any(answer["revised"][0] != answer["revised"][1] for answer in answers)
        for index, (draft, answer) in enumerate(zip(DRAFTS, answers, strict=True)):
            context, ids = (
                model.tokenizer.encode(text, add_special_tokens=False) for text in (f"def f{index}(x):\n\n", draft)
            )
            (expected,) = codd.generate(model.backbone, [context], config, drafts=[ids], keep_rounds=True)
            texts = [model.tokenizer.decode(one, skip_special_tokens=True) for one in expected.rounds[1:]]
            assert answer["revised"] == texts
            # One forward of the network on the draft as it is, at its own positions.
            positions = torch.arange(len(context), len(context) + len(ids))[None]
            logits = model.backbone.logits(torch.tensor([[*context, *ids]]), positions=positions)
            sure = logits.float().softmax(dim=-1)[0].gather(1, torch.tensor(ids)[:, None])[:, 0]
            assert answer["confidence"] == pytest.approx(sure.tolist(), abs=2e-6)

    def test_after_each_round_are_those_of_a_decode_of_one_step_more(self, revise, make_model):
        model, answers = make_model(), revise()
        for index, (draft, answer) in enumerate(zip(DRAFTS, answers, strict=True)):
            context, ids = (
                model.tokenizer.encode(text, add_special_tokens=False) for text in (f"def f{index}(x):\n\n", draft)
            )
            for rounds in (1, 2):
                config = codd.DecodingConfig(decoder="corrective", num_steps=rounds + 1, mad_k=0.5, stop_at_eos=False)
                (output,) = codd.generate(model.backbone, [context], config, drafts=[ids])
                text = model.tokenizer.decode(output.tokens, skip_special_tokens=True)
                assert answer["revised"][rounds - 1] == text

    def test_do_not_depend_on_the_batch(self, revise):
        alone, together = revise(batch_size=1), revise(batch_size=7)
        for one, other in zip(alone, together, strict=True):
            assert one["revised"] == other["revised"]
            assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-6)

    def test_with_a_circuit_over_tiles_they_are_others_whatever_the_batch(
        self, checkpoints, wanting, revise, monkeypatch
    ):
        circuit = random_circuit(512, 8, 4)
        monkeypatch.setattr(circuits, "load_circuit", lambda path, revision: circuit)
        requests = [wanting(draft, index) for index, draft in enumerate(DRAFTS)]
        answers = []
        for batch_size in (1, 7):
            model = CoddLLaDA(checkpoints["llada"], pc="a.jpc", pc_frac=1.1, batch_size=batch_size, **SETTINGS)
            answers.append([json.loads(text)["revised"] for text in model.generate_until(requests, disable_tqdm=True)])
            assert model.get_model_info()["extensions"] == ["circuit with decoder=corrective"]
        assert answers[0] == answers[1] != [answer["revised"] for answer in revise()]

    def test_go_beside_those_of_prompts(self, make_model, make_request, wanting):
        model = make_model(batch_size=4)
        mixed = [wanting("ab", 0), make_request("q", 1, until=[]), wanting("cd", 2)]
        texts = model.generate_until(mixed, disable_tqdm=True)
        apart = [make_model().generate_until([request], disable_tqdm=True)[0] for request in mixed]
        assert texts[1] == apart[1]
        for place in (0, 2):
            assert json.loads(texts[place])["revised"] == json.loads(apart[place])["revised"]

    def test_an_end_token_in_a_draft_ends_nothing(self, make_model, wanting):
        model = make_model(mad_k=None, threshold=0.0)
        (answer,) = model.generate_until([wanting("a<|endoftext|>b")], disable_tqdm=True)
        # Nothing is as unsure as 0, so the draft stays; special tokens are skipped.
        assert json.loads(answer)["revised"] == ["ab", "ab"]


class TestJournal:
    def test_finds_a_draft_again_with_its_rounds(self, make_model, wanting, tmp_path, monkeypatch):
        requests = [wanting(draft, index) for index, draft in enumerate(DRAFTS[:3])]
        first = make_model(journal=str(tmp_path)).generate_until(requests, disable_tqdm=True)
        monkeypatch.setattr(answering.decoding, "stream", None)
        again = make_model(journal=str(tmp_path)).generate_until(requests, disable_tqdm=True)
        assert again == first

    def test_tells_drafts_of_one_context_apart(self, make_model, wanting, tmp_path):
        make_model(journal=str(tmp_path)).generate_until([wanting("ab"), wanting("cd")], disable_tqdm=True)
        lines = [line for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
        assert sum(line.startswith('{"key"') for line in lines) == 2


class TestErrors:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            (UNMASKING, "`decoder=unmasking` cannot; use decoder=corrective,num_steps=3"),
            ({"num_steps": 5}, "`num_steps=5` is not its 2 rounds and a step; use 3"),
            ({"mad_k": None, "remask_schedule": "linear"}, "`remask_schedule=linear` does not allow"),
        ],
    )
    def test_settings_that_make_no_such_revision(self, make_model, wanting, settings, said):
        with pytest.raises(ValueError) as caught:
            make_model(**settings).generate_until([wanting("ab")], disable_tqdm=True)
        assert said in str(caught.value)
        assert str(caught.value).startswith("tiny")

    def test_positions_of_another_tokenizer(self, make_model, wanting, checkpoints):
        with pytest.raises(ValueError, match="position 2 is beyond the 2 tokens that the tokenizer of") as caught:
            make_model().generate_until([wanting("ab", positions=[0, 2])], disable_tqdm=True)
        assert checkpoints["llada"] in str(caught.value)

    def test_a_draft_in_something_else(self, make_model, make_request):
        wrapped = make_request('<user>{"draft": "a"}<assistant>', until=[], draft=True)
        with pytest.raises(ValueError, match="run it without --apply_chat_template"):
            make_model().generate_until([wrapped], disable_tqdm=True)

    def test_a_draft_that_is_too_long(self, make_model, wanting):
        with pytest.raises(ValueError, match="have 56 tokens, and `max_length=40`"):
            make_model(max_length=40).generate_until([wanting("a" * 44)], disable_tqdm=True)


class TestGoldens:
    @pytest.mark.parametrize("case", COLLATED, ids=lambda case: f"{case['setting']}-{len(case['batch'])}")
    def test_context_and_draft_are_the_authors_tokens(self, case, make_request):
        """`remove_all_without_initialization`, which masks the whole body, is not offered: only its fixed part is."""
        config = codd.DecodingConfig(decoder="corrective", num_steps=5)
        for place, row in enumerate(case["batch"]):
            content = {
                "context": f"{row['function_head']}\n",
                "draft": row["buggy_body"],
                "rounds": 4,
                "positions": row["error_positions"],
            }
            assert content["context"] == case["refine_contexts"][place]
            request = make_request(json.dumps(content), until=[], draft=True)
            prompt = read_draft(request, config, Tokens(StubTokenizer(), "stub"), max_length=1000)
            attended = [bool(one) for one in case["attention_mask"][place]]
            ids, fixed = (
                [one for one, is_real in zip(case[name][place], attended, strict=True) if is_real]
                for name in ("input_ids", "fix_mask")
            )
            assert fixed == [1] * len(prompt.tokens) + [0] * len(prompt.draft)
            assert ids[: len(prompt.tokens)] == prompt.tokens
            if case["setting"] == "remove_all":
                assert ids == [*prompt.tokens, *prompt.draft]
                originals = [prompt.draft[position] for position in row["error_positions"]]
                assert len(originals) == len(row["error_original_tokens"])
