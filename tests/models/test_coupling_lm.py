"""Coupling Models in lm-eval: samples by their number, their judge, journal, and what is refused."""

import shutil

import pytest
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

import lm_eval_codd as codd
from lm_eval_codd.carried import TokenText
from lm_eval_codd.models.coupling_lm import CouplingLM
from lm_eval_codd.registration import tasks_dir

PAD, NUMBER = 209, 5


@pytest.fixture(scope="module")
def path(golden_dir):
    """kind -> the golden checkpoint."""
    names = {"v3": "v3_transformer", "latent_mdm": "v3_latent_mdm", "lm1b": "lm1b", "stage_a": "v3_stage_a"}
    return lambda kind: str(golden_dir / "latent" / f"coupling_{names[kind]}.pt")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A tokenizer of the golden models' vocabulary."""
    special = {"bos_token": "[BOS]", "eos_token": "[EOS]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
    vocabulary = [*(f"w{number}" for number in range(207)), *special.values()]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="w0"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    folder = tmp_path_factory.mktemp("words")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def judged(path, words, golden_dir):
    """(kind, arguments of the model) -> lm-eval's result of `dlm_gen_ppl`."""

    def run(kind, batch_size=2, gen_kwargs=None, **arguments):
        arguments = {"pretrained": path(kind), "tokenizer": words, "device": "cpu"} | arguments
        scorer = {"protocol": "coupling", "scorer": str(golden_dir / "dit" / "tiny-gpt2"), "samples": NUMBER}
        manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata={**arguments, **scorer})
        return simple_evaluate(
            "coupling",
            model_args=arguments,
            tasks=["dlm_gen_ppl"],
            task_manager=manager,
            batch_size=batch_size,
            gen_kwargs=gen_kwargs,
            bootstrap_iters=0,
        )

    return run


def asked(*arguments, index=0):
    return Instance("generate_until", {}, arguments, 0, metadata=("tiny", index, 1))


def ids_of(model) -> list[list[int]]:
    """Of the first samples."""
    requests = [asked("", {"until": []}, index=number) for number in range(NUMBER)]
    return [list(text.ids) for text in model.generate_until(requests, disable_tqdm=True)]


class TestSamples:
    def test_are_the_librarys_and_judged(self, judged, path):
        result = judged("v3", 4, {"temperature": 0.3, "top_p": 0.8}, temperature=0.9, seed=9)
        samples = codd.sample_coupling(codd.load_coupling(path("v3"), device="cpu"), NUMBER, 0.9, 0.8, seed=9)
        given = [list(sample["resps"][0][0].ids) for sample in result["samples"]["dlm_gen_ppl"]]
        assert given == [sample.tokens for sample in samples]
        scores, config = result["results"]["dlm_gen_ppl"], result["config"]
        assert scores["nfe,none"] == 1 and scores["gen_ppl,none"] > 1
        assert scores["entropy_bits_without_pad,none"] <= scores["entropy_bits,none"]
        assert (config["family"], config["layout"], config["is_averaged"]) == ("coupling", "v3", True)
        # --model_args win over --gen_kwargs, and those over the defaults.
        said = {name: config["settings"][name] for name in ("temperature", "top_p", "z_scale", "seed")}
        assert said == {"temperature": 0.9, "top_p": 0.8, "z_scale": 0.8, "seed": 9}
        assert config["checkpoint_identity"].startswith("sha256:") and config["requests"] == NUMBER

    @pytest.mark.parametrize(("kind", "settings"), [("latent_mdm", {"steps": 3, "tau": 0.5}), ("lm1b", {})])
    def test_are_the_same_whatever_the_batch(self, path, kind, settings):
        one, four = (CouplingLM(path(kind), device="cpu", batch_size=size, **settings) for size in (1, 4))
        samples = codd.sample_coupling(one.model, NUMBER, **settings)
        assert ids_of(one) == ids_of(four) == [sample.tokens for sample in samples]

    def test_journalled_ones_are_not_made_again(self, path, tmp_path):
        def made(**settings):
            model = CouplingLM(path("v3"), device="cpu", journal=str(tmp_path / "journal"), **settings)
            return ids_of(model), model.get_model_info()["journalled_answers"]

        first, again, other = made(), made(), made(temperature=0.3)
        assert again == (first[0], NUMBER)
        assert first[1] == other[1] == 0 and other[0] != first[0]

    def test_text_has_no_padding_and_ids_have(self, path, words, monkeypatch):
        model = CouplingLM(path("v3"), tokenizer=words, device="cpu")
        row = [5, PAD, 7, 207, *[PAD] * 12]
        sample = codd.sample_coupling(model.model, 1)[0]._replace(tokens=row)
        monkeypatch.setattr("lm_eval_codd.models.coupling_work.sample_coupling", lambda *args, **kwargs: [sample])
        (text,) = model.generate_until([asked("", {"until": []})], disable_tqdm=True)
        assert (text, list(text.ids), text.num_forward) == ("w5 w7", row, 1)

    def test_without_a_tokenizer_the_text_is_the_ids(self, path):
        (text,) = CouplingLM(path("v3"), device="cpu").generate_until([asked("", {"until": []})], disable_tqdm=True)
        assert isinstance(text, TokenText) and text == " ".join(map(str, text.ids))


def wrong(call) -> str:
    with pytest.raises((ValueError, NotImplementedError)) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestMistakes:
    def test_a_prompt(self, path, words):
        model = CouplingLM(path("v3"), tokenizer=words, device="cpu")
        assert "takes no prompt" in wrong(lambda: model.generate_until([asked("w1", {"until": []})]))

    def test_a_likelihood(self, path, words):
        model = CouplingLM(path("v3"), tokenizer=words, device="cpu")
        for method in (model.loglikelihood, model.loglikelihood_rolling, model._loglikelihood_tokens):
            assert "has no likelihood" in wrong(lambda method=method: method([]))

    @pytest.mark.parametrize(
        ("kind", "arguments", "said"),
        [
            ("v3", {"temperature": -1}, "`temperature=-1` is out of range"),
            ("v3", {"temprature": 1}, "temperature"),
            ("v3", {"steps": 4}, "`steps=4` is not read by"),
            ("latent_mdm", {}, "`steps` is needed"),
            ("v3", {"mask_id": 4}, "`mask_id=4` is of latent_mdm"),
            ("v3", {"batch_size": 0}, "batch_size"),
        ],
    )
    def test_arguments(self, path, kind, arguments, said):
        assert said in wrong(lambda: CouplingLM(path(kind), device="cpu", **arguments))

    def test_no_checkpoint_and_another_familys(self, golden_dir):
        assert "`pretrained` is missing" in wrong(lambda: CouplingLM())
        assert "is no .pt file" in wrong(lambda: CouplingLM(str(golden_dir / "dit" / "hf-duo-tiny")))

    def test_a_tokenizer_with_more_tokens_than_the_model(self, path, words, tmp_path):
        shutil.copytree(words, tmp_path / "longer")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "longer")
        tokenizer.add_tokens(["two", "more"])
        tokenizer.save_pretrained(tmp_path / "longer")
        message = wrong(lambda: CouplingLM(path("v3"), tokenizer=str(tmp_path / "longer"), device="cpu"))
        assert "has 213 tokens" in message and "211 logit columns" in message
