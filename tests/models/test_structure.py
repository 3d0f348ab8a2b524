"""A model that its config does not describe is told by sentences with the way out."""

import paddle
import pytest
from conftest import TINY, difference, refused
from paddle import nn

import vitlib
from vitlib.models.structure import structure_conflicts

BOTH = pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])


@BOTH
@pytest.mark.parametrize(
    "options",
    [{}, {"num_classes": 0}, {"pre_logits": 8, "qk_norm": True, "init_values": 0.1, "reg_tokens": 2}],
    ids=str,
)
def test_a_model_from_its_config_has_no_conflicts_before_and_after_supported_changes(tiny, cls, options):
    model = tiny(cls, **options)
    assert structure_conflicts(model) == []
    model.reset_head(9)
    model.set_image_size((64, 32))
    model.prune_blocks(2)
    model.freeze()
    model.set_recompute()
    assert structure_conflicts(model) == []
    model.to(dtype="float16")
    assert structure_conflicts(model) == []
    model.norm = nn.LayerNorm(48, epsilon=1e-6)  # computes the same as vitlib's
    assert structure_conflicts(model) == []
    paddle.jit.to_static(model)
    assert structure_conflicts(model) == []


@pytest.mark.parametrize(
    "head",
    [
        nn.Linear(48, 3),
        nn.Linear(48, 7, bias_attr=False),
        nn.Sequential(nn.Linear(48, 7)),
        nn.Identity(),
    ],
    ids=["three classes", "no bias", "sequential", "identity"],
)
@BOTH
def test_an_assigned_head_is_told_and_reset_head_named(tiny, cls, head):
    for name in ("head", "head_dist") if cls is vitlib.DeiT else ("head",):
        model = tiny(cls)
        setattr(model, name, head)
        (text,) = structure_conflicts(model)
        assert f"model.{name} is {type(head).__name__}(" in text
        assert "Linear(weight [48, 7], bias [7])" in text
        assert f"reset_head({list(head.weight.shape)[-1] if type(head) is nn.Linear else 'num_classes'})" in text


def test_blocks_cut_by_hand_are_told_and_prune_blocks_named(tiny):
    model = tiny()
    model.blocks = model.blocks[:2]
    (text,) = structure_conflicts(model)
    for word in ("2 blocks", "depth=3", "prune_blocks"):
        assert word in text


def test_other_parts_put_in_by_hand_are_told(tiny):
    model = tiny()
    model.norm = nn.Identity()
    model.blocks[1].attn.proj = nn.Linear(48, 48, bias_attr=False)
    model.extra = nn.Linear(2, 2)
    (text,) = structure_conflicts(model)
    for word in ("model.norm is Identity()", "model.blocks.1.attn.proj is Linear(weight [48, 48])", "model.extra"):
        assert word in text
    model = tiny()
    model.add_parameter("scale", model.create_parameter([3]))
    assert "scale [3]" in structure_conflicts(model)[0]


class Adapter(vitlib.VisionTransformer):
    def __init__(self, config=None, *, rank, **overrides):
        super().__init__(config, **overrides)
        self.down = nn.Linear(48, rank)


class Wide(vitlib.VisionTransformer):
    def make_head(self):
        return nn.Sequential(nn.Linear(48, 96), nn.ReLU(), nn.Linear(96, self.config.num_classes))


def test_subclasses_are_compared_with_what_their_class_builds(tiny):
    model = Adapter(rank=4, **TINY)
    assert structure_conflicts(model) == []
    model.head = nn.Linear(48, 3)
    assert "reset_head" in structure_conflicts(model)[0]
    wide = Wide(**TINY)
    assert structure_conflicts(wide) == []
    wide.reset_head(3)
    assert wide.head[2].weight.shape == [96, 3]
    assert structure_conflicts(wide) == []


@pytest.mark.parametrize("schedule", ["linear", "constant"])
@BOTH
def test_pruned_blocks_leave_the_first_ones_as_they_were(tiny, images, cls, schedule):
    model = tiny(cls, depth=4, drop_path_rate=0.3, drop_path_schedule=schedule)
    expected = model.intermediates(images(), [1], prefix_tokens=True)[0]
    parameters = {name: id(p) for name, p in model.named_parameters()}
    rates = [block.drop_path1.drop_prob for block in model.blocks]
    model.prune_blocks(2)
    assert difference(model.forward_features(images()), model.norm(expected)) == 0
    assert model.config.depth == len(model.blocks) == 2
    assert all(parameters[name] == id(p) for name, p in model.named_parameters())
    assert not any("blocks.2" in name for name in model.state_dict())
    built = cls(model.config)
    assert [block.drop_path1.drop_prob for block in built.blocks] == pytest.approx(rates[:2])
    built.set_state_dict(model.state_dict())
    built.eval()
    assert difference(built(images()), model(images())) == 0


@pytest.mark.parametrize("count", [0, 4, -1, 1.5, True, None])
def test_pruning_to_blocks_that_are_not_there_is_refused_and_changes_nothing(tiny, count):
    model = tiny()
    with refused(ValueError, f"count={count!r}"):
        model.prune_blocks(count)
    assert len(model.blocks) == model.config.depth == 3
