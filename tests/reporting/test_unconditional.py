"""Real results of the DiT family in the reports: no generative perplexity without its entropy, bounds called bounds."""

import json
import shutil

import pytest

from lm_eval_codd.reporting.against_atlas import check_against_atlas
from lm_eval_codd.reporting.cli import report_main
from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from tests import dlm_results


@pytest.fixture(scope="module")
def written(golden_dir, word_tokenizer, tmp_path_factory):
    """What lm-eval wrote of a checkpoint called mdlm-owt, as the published one is."""
    root = tmp_path_factory.mktemp("unconditional")
    checkpoint = dlm_results.write_checkpoint(golden_dir, root / "mdlm-owt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODD_DATA_DIR", str(dlm_results.write_corpus(root / "data")))
        scorer = str(golden_dir / "dit" / "tiny-gpt2")
        dlm_results.evaluate(
            "mdlm", checkpoint, str(word_tokenizer), scorer, root / "out", {}, {**dlm_results.SETTINGS, "num_steps": 8}
        )
    (folder,) = (root / "out").iterdir()
    return folder


@pytest.fixture
def edited(written, tmp_path):
    """(function of the results) -> a folder with what it made of them."""

    def edit(change):
        folder = tmp_path / "edited" / written.name
        shutil.copytree(written, folder)
        (path,) = folder.glob("results_*.json")
        results = json.loads(path.read_text())
        change(results)
        path.write_text(json.dumps(results))
        return folder

    return edit


def tables(folder):
    read = read_folder(folder)
    assert not read.problems
    report = build_report(read)
    assert not report.remarks
    return report.tables


class TestTables:
    def test_samples_have_perplexity_entropy_and_nfe_side_by_side(self, written):
        samples, _ = tables(written)
        assert samples.title.startswith("MDLM (mdlm-owt), whole rows, float32, judge_scorer=tiny-gpt2")
        assert [name.split()[2] for name in samples.header[2:]] == [
            "gen_ppl",
            "entropy",
            "entropy_bits",
            "nfe",
            "unscored",
        ]
        (row,) = samples.rows
        assert row[:2] == ["ancestral", "base"] and "8 gen_ppl (n=5)" in samples.header[2]
        assert all("±" in cell for cell in row[2:5]) and not any("<=" in cell for cell in row)

    def test_corpora_have_a_bound_per_token_and_per_bit(self, written):
        _, corpus = tables(written)
        assert "length=12" in corpus.title and "num_samples=3" in corpus.title
        assert [name.split()[2] for name in corpus.header[2:]] == ["token_perplexity", "bits_per_token"]
        (row,) = corpus.rows
        assert row[0] == "joint" and all(cell.startswith("<= ") and "±" in cell for cell in row[2:])
        assert any("scored whole (mode=joint)" in note for note in corpus.notes)
        assert any("not the benchmark's published rows" in note for note in corpus.notes)

    def test_what_is_scored_whole_is_said_once_whatever_the_results_say(self, written, edited):
        whole = "; windows of ids are scored whole (mode=joint)"

        def change(results):
            results["config"]["likelihoods"]["what"] = results["config"]["likelihoods"]["what"].removesuffix(whole)

        notes = [tables(folder)[1].notes for folder in (written, edited(change))]
        assert notes[0] == notes[1] and "\n".join(notes[0]).count(whole) == 1

    def test_without_its_entropy_generative_perplexity_is_refused(self, edited):
        for lacking in ("entropy,none", "nfe,none"):
            folder = edited(lambda results, name=lacking: results["results"]["dlm_gen_ppl"].pop(name))
            samples, _ = tables(folder)
            assert samples.rows[0][2] == "refused [a]"
            assert f"gen_ppl says nothing without {lacking.partition(',')[0]}" in "\n".join(samples.notes)
            shutil.rmtree(folder)

    def test_other_samplers_are_other_rows_and_another_group_is_another_table(self, edited):
        def change(results):
            results["config"]["settings"] |= {"noise_removal": "greedy", "use_float64": False}
            results["configs"]["dlm_ppl_wikitext2"]["metadata"]["packing"]["insert_eos"] = True

        samples, corpus = tables(edited(change))
        assert samples.rows[0][0] == "ancestral noise_removal=greedy float32"
        assert "insert_eos=True" in corpus.title

    def test_a_psi_sampler_is_named_by_its_profile(self, edited):
        psi = {"predictor": "psi", "psi_modes": "max-capped-0.05"}
        samples, _ = tables(edited(lambda results: results["config"]["settings"].update(psi)))
        assert samples.rows[0][0] == "psi psi_modes=max-capped-0.05"

    def test_an_autoregressive_model_is_exact(self, edited):
        def change(results):
            results["config"] |= {"algo": "ar"}
            results["config"]["likelihoods"]["what"] = "log-likelihood by the chain rule from left to right, exact"

        samples, corpus = tables(edited(change))
        assert samples.rows[0][0] == "left to right" and corpus.rows[0][0] == "exact"
        assert not any("<=" in cell for cell in corpus.rows[0])

    def test_coupling_models_have_their_own_rule_and_both_entropies(self, edited):
        def change(results):
            config = results["config"]
            config |= {"family": "coupling", "layout": "v3", "settings": {"temperature": 0.9, "steps": None, "seed": 3}}
            results["configs"]["dlm_gen_ppl"]["metadata"]["judge"]["protocol"] = "coupling"
            results["results"].pop("dlm_ppl_wikitext2")
            results["results"]["dlm_gen_ppl"] |= {
                f"{name}_without_pad,none": 1.5 for name in ("entropy", "entropy_bits")
            }

        (samples,) = tables(edited(change))
        assert samples.title.startswith("Coupling Models (mdlm-owt), whole rows, float32")
        assert "judge_protocol=coupling" in samples.title
        assert samples.rows[0][0] == "v3 temperature=0.9" and samples.header[2].split()[1] == "1"
        assert [name.split()[2] for name in samples.header if "without_pad" in name] == [
            "entropy_without_pad",
            "entropy_bits_without_pad",
        ]

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"algo": "xyz"}, "`config.algo` is 'xyz', which is none of duo, mdlm, sedd, d3pm, ar"),
            ({"settings": {"num_steps": "many"}}, "`num_steps='many'` must be a whole number"),
        ],
    )
    def test_what_is_malformed_is_a_problem_that_names_the_file(self, edited, change, said):
        folder = edited(lambda results: results["config"].update(change))
        problems = read_folder(folder).problems
        assert problems and all(said in one and one.startswith(str(folder)) for one in problems)


def test_the_page_of_values_alone(written, tmp_path):
    assert report_main([str(written), "--html", str(tmp_path / "page.html"), "--output", str(tmp_path / "t.md")]) == 0
    assert "MDLM (mdlm-owt), whole rows" in (tmp_path / "page.html").read_text()


class TestAgainstTheFiguresOfThePaper:
    CELLS = "duo:mdlm.gen-ppl.8,mdlm.entropy.8,mdlm.zero-shot.wikitext,mdlm.gen-ppl.16"

    @staticmethod
    def as_published(results):
        """As if the rows, the tokenizer and the judge were the published ones."""
        for config in results["configs"].values():
            metadata = config["metadata"]
            metadata.pop("data", None)
            for key in ("packing", "judge"):
                if key in metadata:
                    metadata[key] |= {"length": 1024, "max_length": 1024, "scorer": "gpt2-large"}
        results["config"]["tokenizer"] = "openai-community/gpt2"
        results["results"]["dlm_gen_ppl"] |= {"gen_ppl,none": 850.0, "entropy,none": 5.9, "entropy_stderr,none": 0.001}
        results["results"]["dlm_ppl_wikitext2"] |= {"token_perplexity,none": 36.9, "token_perplexity_stderr,none": 0.1}

    def verdicts(self, folder):
        return {one.cell.id: one for one in check_against_atlas(read_folder(folder), self.CELLS, level=0.01).cells}

    def test_bands_decide(self, edited):
        found = self.verdicts(edited(self.as_published))
        assert {name: one.verdict for name, one in found.items()} == {
            "mdlm.gen-ppl.8": "reproduced",  # 830.82, a tenth each way
            "mdlm.entropy.8": "reproduced",  # 5.91, 0.05 each way
            "mdlm.zero-shot.wikitext": "differs",  # 32.83, a twentieth each way
            "mdlm.gen-ppl.16": "not run",
        }

    def test_what_is_otherwise_is_not_compared(self, edited, written):
        as_measured = self.verdicts(written)["mdlm.zero-shot.wikitext"]
        assert as_measured.verdict == "not comparable"
        assert "length=12" in as_measured.reasons[0] and "the rows are not the published ones" in as_measured.reasons[0]

        def change(results):
            self.as_published(results)
            results["config"]["settings"]["p_nucleus"] = 0.9
            results["configs"]["dlm_ppl_wikitext2"]["metadata"]["packing"]["insert_eos"] = True

        found = self.verdicts(edited(change))
        assert "p_nucleus=0.9 (published 1.0)" in found["mdlm.gen-ppl.8"].reasons[0]
        assert "insert_eos=True" in found["mdlm.zero-shot.wikitext"].reasons[0]
