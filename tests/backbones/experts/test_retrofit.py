"""`router=ec` on published layouts: the goldens' logits and maps, rows that are alone, and what is refused."""

import json

import pytest
import torch

from lm_eval_codd import DecodingConfig
from lm_eval_codd.backbones import load_backbone
from lm_eval_codd.backbones.experts import router
from lm_eval_codd.settings import LikelihoodConfig
from tests.backbones.experts.goldens import GOLDENS, retrofit, retrofit_folder
from tests.device_waits import Operations

SCHEDULE = {"ec_schedule": "linear_reverse", "ec_k_min": 1, "ec_k_max": 4}
CASES = {
    "lladamoe.ec_pre_k2": {},
    "lladamoe.ec_post_k2": {"ec_gates": "post"},
    "lladamoe.ec_post_linrev_1_4": {"ec_gates": "post", **SCHEDULE},
    "llada2.ec_sigmoid_k4": {},
    "llada2.ec_sigmoid_linrev_1_4": SCHEDULE,
}
FACTS = json.loads((GOLDENS / "ec_retrofit.json").read_text())


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """A golden checkpoint with full attention, once a dtype."""
    folders = {
        name: retrofit_folder(tmp_path_factory.mktemp("retrofit") / name, name) for name in ("lladamoe", "llada2")
    }
    loaded = {}

    def _load(name, dtype="float32", attention=None, block_length=None):
        key = name, dtype, attention, block_length
        if key not in loaded:
            attention = attention or ("full" if name == "llada2" else None)
            loaded[key] = load_backbone(
                folders[name],
                mask_id=FACTS["mask_id"],
                attention=attention,
                block_length=block_length,
                dtype=dtype,
                device="cpu",
            )
        return loaded[key]

    return _load


@pytest.fixture(scope="module")
def golden():
    return retrofit()


@pytest.fixture
def maps(monkeypatch):
    """The maps of every layer that is routed."""
    seen = []

    def noted(*args, **kwargs):
        choice, picks = expert_choice(*args, **kwargs)
        seen.append(choice.map)
        return choice, picks

    expert_choice = router.expert_choice
    monkeypatch.setattr(router, "expert_choice", noted)
    return seen


def mask_of(golden, name):
    return golden["llada2.block_mask"] == 0 if name == "llada2" else None


class TestGoldens:
    @pytest.mark.parametrize("case", CASES)
    def test_logits_and_maps(self, load, golden, maps, case):
        name = case.partition(".")[0]
        backbone = load(name).routed_by(DecodingConfig(router="ec", **CASES[case]))
        logits = backbone.logits(golden["ids"], mask_of(golden, name))
        assert (logits - golden[f"{case}.logits"]).abs().max() < 2e-5
        assert len(maps) == sum(f"{case}.map{layer}" in golden for layer in range(2))
        for layer, got in enumerate(maps):
            assert torch.equal(got, golden[f"{case}.map{layer}"])

    @pytest.mark.parametrize("case", [case for case in CASES if case.startswith("llada2")])
    def test_of_blocks_where_their_window_is_said_so_that_a_later_one_changes_an_earlier_one(self, load, golden, case):
        backbone, tokens = load("llada2", attention="block", block_length=8), golden["ids"]
        routed = backbone.routed_by(DecodingConfig(router="ec", ec_scope="sequence", **CASES[case]))
        logits = routed.logits(tokens)
        assert (logits - golden[f"{case}.logits"]).abs().max() < 2e-5
        changed = tokens.clone()
        changed[:, 16:] = (changed[:, 16:] + 1) % 120
        assert (routed.logits(changed) - logits)[:, :8].abs().max() > 1
        assert torch.equal(backbone.logits(changed)[:, :8], backbone.logits(tokens)[:, :8])

    @pytest.mark.parametrize("name", ["lladamoe", "llada2"])
    def test_token_choice_is_the_checkpoint_itself(self, load, golden, name):
        backbone, tokens, mask = load(name), golden["ids"], mask_of(golden, name)
        assert backbone.routed_by(DecodingConfig(router="tc")) is backbone
        assert (backbone.logits(tokens, mask) - golden[f"{name}.tc.logits"]).abs().max() < 2e-5

    def test_with_room_for_all_it_is_token_choice_of_all_experts(self, load, golden):
        backbone = load("lladamoe", "float64")
        every = backbone.routed_by(DecodingConfig(router="ec", ec_k=8))
        gates = [layer.mlp.gate for layer in backbone.model.model.layers]
        for gate in gates:
            gate.top_k = 8
        try:
            expected = backbone.logits(golden["ids"])
        finally:
            for gate in gates:
                gate.top_k = 2
        torch.testing.assert_close(every.logits(golden["ids"]), expected, atol=1e-6, rtol=0)


class TestRows:
    @pytest.mark.parametrize("settings", [{}, {"ec_gates": "post", **SCHEDULE}], ids=["static", "schedule"])
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_are_alone(self, load, settings, side):
        backbone = load("lladamoe", "float64").routed_by(LikelihoodConfig(router="ec", **settings))
        rows = [[7, 9, 127, 3], [*range(1, 20), 127, 127], [127, *range(40, 50)]]
        width = max(map(len, rows))
        tokens, mask = torch.ones(3, width, dtype=torch.int64), torch.zeros(3, width, dtype=torch.bool)
        for row, ids in enumerate(rows):
            where = slice(width - len(ids), None) if side == "left" else slice(0, len(ids))
            tokens[row, where], mask[row, where] = torch.tensor(ids), True
        together = backbone.logits(tokens, mask)
        for row, ids in enumerate(rows):
            alone = backbone.logits(torch.tensor([ids]))[0]
            torch.testing.assert_close(together[row][mask[row]], alone, atol=1e-6, rtol=0)

    def test_compete_over_all_positions_where_some_are_asked_for(self, load, golden):
        backbone = load("lladamoe").routed_by(DecodingConfig(router="ec"))
        positions = torch.tensor([[3, 20], [23, 0], [5, 6]])
        every = backbone.logits(golden["ids"])
        some = backbone.logits(golden["ids"], positions=positions)
        torch.testing.assert_close(some, every[torch.arange(3)[:, None], positions], atol=2e-6, rtol=0)

    def test_are_counted(self, load, golden):
        backbone = load("lladamoe")
        backbone.take_routing()
        backbone.routed_by(DecodingConfig(router="ec")).logits(golden["ids"])
        totals = backbone.take_routing()
        assert (totals.rows, totals.rows_of_masks, totals.positions) == (3, 0, 3 * 24)
        assert (totals.k, totals.capacity) == (3 * 2, 3 * 6)
        for layer, unpicked in enumerate(FACTS["cases"][0]["zero_expert"]):
            of_layer = totals.layers[layer]
            assert (of_layer.tokens, of_layer.picks, of_layer.unpicked) == (3 * 24, 3 * 6 * 8, unpicked)
            assert of_layer.fewest == 0
        assert totals.all_layers.unpicked == sum(FACTS["cases"][0]["zero_expert"])
        assert backbone.take_routing().rows == 0

    def test_of_a_batch_compete_where_that_is_asked_for(self, load, golden, maps):
        backbone = load("lladamoe")
        backbone.take_routing()
        together = DecodingConfig(router="ec", ec_scope="batch", ec_gates="post", **SCHEDULE)
        backbone.routed_by(together).logits(golden["ids"])
        assert all(chosen.sum(dim=(0, 1)).tolist() == [3 * 24 * 4 // 8] * 8 for chosen in maps)  # the largest k
        assert not (maps[0].sum(dim=1) == 3 * 24 * 4 // 8 // 3).all()
        assert backbone.take_routing().capacity == 3 * 24 * 4 // 8
        alone = [DecodingConfig(router="ec", ec_scope=scope) for scope in ("sequence", "batch")]
        of_row = [backbone.routed_by(config).logits(golden["ids"][:1]) for config in alone]
        assert torch.equal(*of_row)

    @pytest.mark.parametrize("compat", [False, True])
    def test_share_of_masks_is_of_the_padded_width_as_the_authors_have_it_where_asked(self, load, compat):
        backbone = load("lladamoe")
        tokens, real = torch.tensor([[127, 127, 127, 1, 5, 5, 5, 5]]), torch.arange(8)[None] < 4
        linear = {"ec_schedule": "linear", "ec_k_min": 1, "ec_k_max": 8, "ec_gates": "post"}
        backbone.take_routing()
        backbone.routed_by(DecodingConfig(router="ec", compat=compat, **linear)).logits(tokens, real)
        assert backbone.take_routing().k == (round(1 + 7 * 3 / 8) if compat else round(1 + 7 * 3 / 4))

    def test_of_nothing_but_masks_take_the_lower_positions(self, load, maps):
        backbone = load("lladamoe", "float64").routed_by(DecodingConfig(router="ec"))
        backbone.logits(torch.full((1, 12), 127))
        assert maps[0][0, :, 0].tolist() == [True] * 3 + [False] * 9
        assert backbone.take_routing().rows_of_masks == 1


class TestWaits:
    def test_nothing_of_the_routing_waits_for_the_device(self, load, golden, monkeypatch):
        """The experts themselves are transformers'; here each gives back what it is given."""
        backbone = load("lladamoe").routed_by(DecodingConfig(router="ec", ec_gates="post", **SCHEDULE))
        for layer in backbone.model.model.layers:
            monkeypatch.setattr(layer.mlp.experts, "forward", lambda hidden, numbers, weights: hidden * weights)
        mask = torch.ones(3, 24, dtype=torch.bool)
        mask[0, :5] = False
        with Operations() as operations:
            backbone.hidden_at(golden["ids"], mask, golden["ids"][:, :4] % 24)
        assert operations.num_waits == 0
        assert operations.num_launches > 100
        assert backbone.take_routing().positions == 19 + 24 + 24


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"ec_k": 9}, "`ec_k=9` is more than the 8 experts of "),
            ({**SCHEDULE, "ec_k_max": 9, "ec_gates": "post"}, "`ec_k_max=9` is more than the 8 experts of "),
            (SCHEDULE, "`ec_schedule=linear_reverse` gives each row its own number of experts, and the gates of "),
        ],
    )
    def test_what_the_checkpoint_has_not_is_one_line(self, load, settings, message):
        with pytest.raises(ValueError) as error:
            load("lladamoe").routed_by(DecodingConfig(router="ec", **settings))
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)

    def test_blocks(self, load):
        with pytest.raises(
            ValueError, match=r"`router=ec` does not go with the block-causal attention of .* ec_scope=seq"
        ):
            load("llada2", attention="block").routed_by(DecodingConfig(router="ec"))

    def test_a_cache(self, load):
        backbone = load("lladamoe").routed_by(DecodingConfig(router="ec"))
        with pytest.raises(ValueError, match="`cache` does not go with `router=ec`"):
            backbone.hidden_at(torch.full((1, 4), 3), cache=backbone.new_cache(1, 4))
        with pytest.raises(ValueError, match="`cache=dual` does not go with `router=ec`"):
            DecodingConfig(router="ec", cache="dual")
