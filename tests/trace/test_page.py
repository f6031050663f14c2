import json
import re

import pytest

from lm_eval_codd.settings import DecodingConfig
from lm_eval_codd.trace.comparison import END, compare, token_text
from lm_eval_codd.trace.page import build_page
from tests import browser


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


class TestPage:
    def test_it_says_what_is_approximate(self, comparison, make_lm):
        assert data_of(build_page(comparison))["approximations"] == []
        cached = compare(make_lm(cache="dual"), "two and two")
        assert data_of(build_page(cached))["approximations"] == ["cache=dual"]

    def test_and_what_an_extension(self, comparison, make_lm):
        assert data_of(build_page(comparison))["extensions"] == []
        own = compare(make_lm(decoder="p2", block_length=32), "two and two")
        assert data_of(build_page(own))["extensions"] == ["circuit with decoder=p2"]

    def test_it_asks_for_nothing_outside_of_itself(self, comparison):
        assert not re.search(r'(src|href)="(?!data:)', build_page(comparison))

    def test_no_token_becomes_markup(self, comparison):
        page = build_page(comparison)
        assert data_of(page)["texts"] == {str(token): text for token, text in comparison.texts.items()}
        assert {"</script>", "{{data}}"} <= set(comparison.texts.values())
        assert page.count("</script>") == 2

    def test_its_steps_rebuild_every_canvas(self, comparison):
        data = data_of(build_page(comparison))
        for decode, trace in zip(data["decodes"], comparison.traces.values(), strict=True):
            canvas = [data["mask"]] * decode["length"]
            for packed, frame in zip(decode["frames"], trace.frames, strict=True):
                for column, token in packed["set"]:
                    canvas[column] = token
                assert tuple(canvas) == frame.canvas

    def test_candidates_say_what_the_backbone_alone_had_where_it_differs(self, comparison):
        plain, coupled = data_of(build_page(comparison))["decodes"]
        lengths = [{len(one) for frame in side["frames"] for one in frame["candidates"]} for side in (plain, coupled)]
        assert lengths == [{4}, {4, 7}]


@pytest.mark.slow
@pytest.mark.skipif(browser.CHROMIUM is None, reason="needs chromium")
class TestBrowser:
    @pytest.fixture
    def visit(self, comparison, tmp_path):
        """`visit(script)`: the value that the script leaves in its `report`."""

        def visit(script, comparison=comparison):
            return browser.visit(build_page(comparison), f"{script}; tell(report)", tmp_path)

        return visit

    def test_the_slider_shows_the_step_it_is_at(self, visit, comparison):
        report = visit("""
            const report = [];
            for (const step of [0, 3, 7]) {
              by("slider").value = step;
              by("slider").dispatchEvent(new Event("input"));
              const masked = [...document.querySelectorAll(".canvas")].map((c) => c.querySelectorAll(".masked").length);
              report.push([by("place").textContent, ...masked, document.querySelectorAll(".canvas .new").length]);
            }
        """)
        expected = []
        for step in (0, 3, 7):
            frames = [trace.frames[step] for trace in comparison.traces.values()]
            masked = [frame.canvas.count(comparison.mask_id) for frame in frames]
            expected.append([f"{step + 1} of 8", *masked, sum(len(frame.committed) for frame in frames)])
        assert report == expected

    def test_keys_move_it_and_a_token_tells_its_candidates(self, visit, comparison):
        frame = comparison.traces["backbone and circuit"].frames[2]
        changed = next(one for one in frame.candidates if one.changed)
        report = visit(f"""
            for (const key of ["ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"]) {{
              document.dispatchEvent(new KeyboardEvent("keydown", {{key}}));
            }}
            document.querySelector('[data-column="{changed.column}"]')
              .dispatchEvent(new PointerEvent("pointerover", {{bubbles: true}}));
            const cells = [...document.querySelectorAll("#detail tr")].at(-1).querySelectorAll("td");
            const report = [by("place").textContent, ...[...cells].slice(0, 4).map((cell) => cell.textContent)];
        """)
        texts = comparison.texts
        assert report[0] == "3 of 8"
        assert [json.loads(report[1]), json.loads(report[3])] == [texts[changed.token], texts[changed.alone_token]]
        assert report[2] == f"{changed.confidence:.3f}"

    def test_what_was_taken_back_shows_the_token_that_stood_there(self, visit, make_lm):
        comparison = compare(of_decoder(make_lm, decoder="p2", num_steps=8, eta=2.0), "two and two")
        frames = comparison.traces["backbone"].frames
        place = next(place for place, frame in enumerate(frames) if frame.taken_back)
        report = visit(
            f"""
            by("slider").value = {place};
            by("slider").dispatchEvent(new Event("input"));
            const back = [...document.querySelectorAll(".canvas .back")];
            const report = back.map((cell) => [Number(cell.dataset.column), cell.textContent]);
            """,
            comparison,
        )
        before = frames[place - 1].canvas
        shown = {
            column: comparison.texts[before[column]].replace("\n", "↵\n") or "∅" for column in frames[place].taken_back
        }
        assert dict(report) == shown
        assert comparison.texts[comparison.mask_id] not in shown.values()


def of_decoder(make_lm, **settings):
    lm = make_lm(with_circuit=False)
    lm.config = DecodingConfig(gen_length=32, **settings)
    return lm


def test_the_settings_of_another_decoder_begin_with_it_and_leave_out_what_it_does_not_read(make_lm):
    of_cad = compare(of_decoder(make_lm, decoder="cad"), "two")
    assert list(of_cad.settings) == ["decoder", "gen_length", "block_length", "threshold"]
    of_p2 = compare(of_decoder(make_lm, decoder="p2", num_steps=4, eta=2.0), "two")
    assert list(of_p2.settings) == ["decoder", "num_steps", "gen_length", "eta"]


@pytest.mark.parametrize(
    ("settings", "is_log"),
    [
        ({}, False),
        ({"alg": "entropy"}, True),
        ({"decoder": "cad"}, False),
        ({"decoder": "cad", "selection": "entropy"}, True),
        ({"decoder": "p2"}, True),
        ({"decoder": "p2", "form": "paper"}, False),
    ],
)
def test_the_page_knows_which_confidences_are_logarithms(make_lm, settings, is_log):
    steps = {} if settings.get("decoder") == "cad" else {"num_steps": 4}
    assert data_of(build_page(compare(of_decoder(make_lm, **steps, **settings), "two")))["is_log"] is is_log


def test_the_settings_are_shown(comparison):
    assert {"num_steps", "gen_length", "pc_frac"} <= data_of(build_page(comparison))["settings"].keys()


def test_an_end_token_is_a_mark_and_others_are_themselves(make_lm):
    lm = make_lm()
    assert token_text(lm, lm.backbone.eos_id) == END
    assert token_text(lm, 7) == lm.tokenizer.decode([7])
