"""ViTConfig refuses what cannot work when it is made, and survives JSON."""

import ast
import copy
import dataclasses
import inspect
import json
import pickle
import pydoc
import re
from typing import Literal

import numpy as np
import pytest
from conftest import TINY, refused

import vitlib
from vitlib import Preprocess, ViTConfig
from vitlib.images import TrainTransform
from vitlib.images.preprocess import INTERPOLATIONS, RESIZE_RULES

NAN, INF = float("nan"), float("inf")
SIZES = [0, -1, 2.0, "16", None, True, (16,), (16, 16, 16), (16, 0), (16, 2.5), NAN]
COUNTS = [0, -1, 1.5, NAN, "3", None, True, (3,)]
FLAGS = [None, 0, 1, "yes", 1.0]
RATES = [-0.1, 1.0, 1.5, NAN, INF, "0.1", None, True]
NAMES = ["", "unknown", None, 1, True]
BAD = {
    "img_size": SIZES,
    "patch_size": SIZES,
    "in_chans": COUNTS,
    "num_classes": [-1, 1.5, NAN, "3", None, True],
    "embed_dim": COUNTS,
    "depth": COUNTS,
    "num_heads": [*COUNTS, 5, 1000],
    "mlp_ratio": [0, -1.0, 1e-9, NAN, INF, "4", None, True],
    "gated_mlp": FLAGS,
    "activation": NAMES,
    "norm_eps": [0, -1e-6, NAN, INF, 0.1, "1e-6", None, True],
    "qkv_bias": FLAGS,
    "qk_norm": FLAGS,
    "patch_bias": FLAGS,
    "stem_blocks": [(1, 0), (1, -1), (1.5,), ("3",), (True,), (1,) * 5, (1, 1, 1, 1), 3, "3", True],
    "stem_norms": NAMES,
    "conv_stem": [(0,), (6, 8), (6.5, 8, 8, 8), (True, 8, 8, 8), 6, "6", None],
    "class_token": FLAGS,
    "distillation_token": FLAGS,
    "reg_tokens": [-1, 1.5, NAN, "3", None, True],
    "pos_embed": [*NAMES, False],
    "rotary_base": [0, 0.5, -1.0, NAN, INF, "100", None, True],
    "no_embed_class": FLAGS,
    "position_resize": [*NAMES, "bicubic"],
    "pre_norm": FLAGS,
    "global_pool": [*NAMES, "mean"],
    "fc_norm": [0, 1, "yes", 1.0],
    "pre_logits": [0, -1, 1.5, NAN, "3", True],
    "init_values": [NAN, INF, "1e-4", True],
    "drop_rate": RATES,
    "pos_drop_rate": RATES,
    "patch_drop_rate": RATES,
    "proj_drop_rate": RATES,
    "attn_drop_rate": RATES,
    "drop_path_rate": RATES,
    "drop_path_schedule": NAMES,
    "weight_init": NAMES,
    "fused_attn": FLAGS,
    "dynamic_img_size": FLAGS,
    "dynamic_img_pad": FLAGS,
    "preprocess": [None, {}, "imagenet", 224],
}
# one value other than the default for each option, all of them together a working model
OTHER = {
    "img_size": (30, 44),
    "patch_size": 8,
    "in_chans": 5,
    "num_classes": 9,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 2.5,
    "gated_mlp": True,
    "activation": "quick_gelu",
    "norm_eps": 1e-5,
    "qkv_bias": False,
    "qk_norm": True,
    "patch_bias": False,
    "stem_blocks": (),
    "stem_norms": "google",
    "conv_stem": (6, 8, 10),
    "class_token": False,
    "distillation_token": False,
    "reg_tokens": 2,
    "pos_embed": "sincos2d",
    "rotary_base": 50.0,
    "no_embed_class": True,
    "position_resize": "dino",
    "pre_norm": True,
    "global_pool": "avg",
    "fc_norm": False,
    "pre_logits": 16,
    "init_values": 1e-5,
    "drop_rate": 0.1,
    "pos_drop_rate": 0.2,
    "patch_drop_rate": 0.3,
    "proj_drop_rate": 0.4,
    "attn_drop_rate": 0.5,
    "drop_path_rate": 0.6,
    "drop_path_schedule": "constant",
    "weight_init": "jax",
    "fused_attn": False,
    "dynamic_img_size": True,
    "dynamic_img_pad": True,
    "preprocess": Preprocess(size=(30, 44), crop_fraction=1.0, mean=(0.1,) * 5, std=(0.2,) * 5),
}
FIELDS = [option.name for option in dataclasses.fields(ViTConfig)]


def test_the_defaults_are_vit_b16_at_224():
    """ViT paper, Table 1; timm's epsilon and exact GELU."""
    config = ViTConfig()
    assert (config.img_size, config.patch_size, config.in_chans, config.num_classes) == (224, 16, 3, 1000)
    assert (config.embed_dim, config.depth, config.num_heads, config.mlp_ratio) == (768, 12, 12, 4.0)
    assert (config.qkv_bias, config.norm_eps, config.activation, config.weight_init) == (True, 1e-6, "gelu", "timm")
    assert config == vitlib.get_config("vit_base_patch16_224")


def test_every_option_has_a_test():
    assert set(BAD) == set(OTHER) == set(FIELDS)


CHOICES = {
    ViTConfig: vitlib.models.config.CHOICES,
    Preprocess: {"resize": RESIZE_RULES, "interpolation": set(INTERPOLATIONS) - {"mks2013", "mks2021"}},
    TrainTransform: {"crop": ("resized", "simple"), "erasing_mode": ("pixel", "rand", "const")},
}


def written(text):
    """The value that a default in a docstring stands for."""
    return {"Preprocess()": Preprocess(), "(3 / 4, 4 / 3)": (3 / 4, 4 / 3)}.get(text) or ast.literal_eval(text)


@pytest.mark.parametrize("cls", CHOICES)
def test_help_shows_every_option_with_its_sentence_default_and_choices(cls):
    text = pydoc.render_doc(cls, renderer=pydoc.plaintext)
    lines = re.sub(r"\n \|\s{10,}", " ", text)  # continued lines
    assert list(inspect.signature(cls).parameters) == [option.name for option in dataclasses.fields(cls)]
    for option in dataclasses.fields(cls):
        found = re.search(rf"\|\s+{option.name}: ([A-Z\"].{{9,}}\S) Default: (.+)\.$", lines, re.MULTILINE)
        assert found, option.name
        assert written(found[2]) == option.default, option.name
        for choice in CHOICES[cls].get(option.name, ()):
            assert f'"{choice}"' in found[1], (option.name, choice)


def test_printing_shows_what_differs_from_the_defaults_first_and_on_readable_lines():
    config = vitlib.get_config("deit_tiny_patch16_224").replace(img_size=(64, 32))
    text = str(config)
    lines = text.splitlines()
    assert lines[:5] == [
        "ViTConfig(",
        "    img_size=(64, 32),",
        "    embed_dim=192,",
        "    num_heads=3,",
        "    weight_init='deit',",
    ]
    assert lines[5] == "    preprocess=Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),"
    assert lines[6] == "    # as by default:"
    assert max(map(len, lines)) < 110
    assert {name for name in FIELDS if re.search(rf"\b{name}=", text)} == set(FIELDS)
    made = ast.parse(text, mode="eval").body  # it is Python that makes the same config
    values = {keyword.arg: keyword.value for keyword in made.keywords}
    assert {name: ast.literal_eval(values[name]) for name in ("depth", "img_size", "weight_init", "qkv_bias")} == {
        "depth": 12,
        "img_size": (64, 32),
        "weight_init": "deit",
        "qkv_bias": True,
    }
    assert str(ViTConfig()).splitlines()[1] == "    # as by default:"


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values], ids=repr
)
def test_a_value_that_cannot_work_is_refused_with_its_name_and_what_is_expected(name, value):
    with refused(ValueError, f"{name}={value!r}"):
        ViTConfig(**{**TINY, name: value})
    with refused(ValueError, f"{name}={value!r}"):
        ViTConfig(**TINY).replace(**{name: value})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"img_size": 30}, ["30 x 30", "8 x 8", "not a multiple of 8", "dynamic_img_pad"]),
        ({"img_size": (32, 4)}, ["32 x 4", "smaller than one patch of 8 x 8"]),
        ({"num_heads": 5}, ["num_heads=5", "embed_dim=48", "divisor"]),
        ({"class_token": False}, ["global_pool", "class_token", "avg"]),
        ({"distillation_token": True, "global_pool": "avg"}, ["distillation_token", "global_pool", "'avg'"]),
        ({"pos_embed": "sincos2d", "embed_dim": 6, "num_heads": 3}, ["embed_dim=6", "multiple of 4", "sincos2d"]),
        ({"activation": "gleu"}, ["activation='gleu'", "'gelu'", "'quick_gelu'"]),
        ({"global_pool": "mean"}, ["global_pool='mean'", "'token'", "'avg'", "'none'"]),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_both(options, words):
    with refused(ValueError, *words):
        ViTConfig(**{**TINY, **options})


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("nun_heads", "num_heads"),
        ("image_size", "img_size"),
        ("droppath_rate", "drop_path_rate"),
        ("n_classes", "num_classes"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_name(wrong, right):
    config = ViTConfig(**TINY)
    for call in (
        lambda: config.replace(**{wrong: 1}),
        lambda: ViTConfig.from_dict({wrong: 1}),
        lambda: vitlib.VisionTransformer(**TINY, **{wrong: 1}),
        lambda: vitlib.VisionTransformer(config, **{wrong: 1}),
        lambda: vitlib.create_model("vit_tiny_patch16_224", **{wrong: 1}),
    ):
        with refused(TypeError, repr(wrong), right):
            call()
    with refused(TypeError, wrong):
        ViTConfig(**{wrong: 1})


def test_replace_changes_a_copy_alone():
    config = ViTConfig(**TINY)
    before = config.to_dict()
    for name, value in OTHER.items():
        if name in ("img_size", "patch_size", "class_token", "num_heads", "embed_dim"):
            continue
        changed = config.replace(**{name: value})
        different = [field for field in FIELDS if getattr(changed, field) != getattr(config, field)]
        assert different == ([name] if getattr(config, name) != value else []), name
    assert config.to_dict() == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.depth = 4


@pytest.mark.parametrize("stem", ["stem_blocks", "conv_stem"])
def test_every_option_survives_json(stem):
    options = {name: value for name, value in OTHER.items() if name == stem or "stem" not in name}
    config = ViTConfig(**options)
    again = ViTConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    for name, value in options.items():
        assert getattr(again, name) == value
    assert set(config.to_dict()) == set(FIELDS)


def test_there_is_one_kind_of_stem():
    with pytest.raises(ValueError, match=r"stem_blocks=\(\) and conv_stem=\(6, 8, 10\): expected one kind of stem"):
        ViTConfig(patch_size=8, stem_blocks=(), conv_stem=(6, 8, 10))


def test_numbers_from_numpy_become_plain_ones():
    config = ViTConfig(
        **{**TINY, "img_size": (np.int64(32), np.int64(48)), "depth": np.int32(2), "drop_rate": np.float32(0.5)}
    )
    assert (config.depth, config.drop_rate, config.img_size) == (2, 0.5, (32, 48))
    assert ViTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_lists_of_json_become_pairs():
    config = ViTConfig.from_dict({"img_size": [32, 48], "patch_size": [8, 16]})
    assert (config.img_size, config.patch_size, config.grid_size) == ((32, 48), (8, 16), (4, 3))
    hash(config)


def test_a_dict_leaves_its_argument_alone_and_takes_defaults():
    values = {"depth": 3, "preprocess": {"crop_fraction": 0.5}}
    given = copy.deepcopy(values)
    config = ViTConfig.from_dict(values)
    assert values == given
    assert (config.depth, config.preprocess.crop_fraction, config.embed_dim) == (3, 0.5, 768)


@pytest.mark.parametrize("values", [None, [], "config.json", 3])
def test_a_config_that_is_no_dict_is_refused(values):
    with refused(TypeError, "dict", type(values).__name__):
        ViTConfig.from_dict(values)


def test_equal_configs_have_equal_hashes_and_survive_pickle():
    options = {**OTHER, "conv_stem": ()}
    config = ViTConfig(**options)
    assert config == ViTConfig(**options)
    assert hash(config) == hash(ViTConfig(**options))
    assert pickle.loads(pickle.dumps(config)) == config


def test_prefix_tokens_and_the_grid_are_counted():
    config = ViTConfig(img_size=(64, 32), patch_size=(16, 8), reg_tokens=4, distillation_token=True)
    assert (config.num_prefix_tokens, config.grid_size) == (6, (4, 4))
    assert ViTConfig(class_token=False, global_pool="avg").num_prefix_tokens == 0
    assert ViTConfig(img_size=30, patch_size=8, dynamic_img_pad=True).grid_size == (4, 4)


@pytest.mark.parametrize("cls", [vitlib.VisionTransformer, vitlib.DeiT])
@pytest.mark.parametrize("config", ["vit_base_patch16_224", {"depth": 2}, 224])
def test_what_is_no_config_is_refused_with_the_two_ways_to_a_model(cls, config):
    with refused(TypeError, repr(config), "ViTConfig", "create_model", "get_config"):
        cls(config)


def test_the_constructor_names_the_nearest_option_too():
    with pytest.raises(TypeError, match="depth"):
        vitlib.ViTConfig(dpth=3)


@dataclasses.dataclass(frozen=True)
class PromptConfig(ViTConfig):
    """A config of research code.

    Args:
        num_prompts: Tokens that are learnt for a task.
    """

    num_prompts: int = 8
    places: tuple[int, ...] = (0, 1)
    where: Literal["first", "all"] = "first"
    second: Preprocess = Preprocess()  # noqa: RUF009


def test_a_subclass_declares_options_of_its_own():
    config = PromptConfig(**TINY, num_prompts=4)
    assert config.replace(depth=2, places=[2, 3]) == PromptConfig(**{**TINY, "depth": 2}, num_prompts=4, places=(2, 3))
    other = config.replace(second=Preprocess(size=7), where="all")
    again = PromptConfig.from_dict(json.loads(json.dumps(other.to_dict())))
    assert again == other
    assert type(again) is PromptConfig
    assert hash(again) == hash(other)
    assert pickle.loads(pickle.dumps(other)) == other
    assert list(inspect.signature(PromptConfig).parameters) == [*FIELDS, "num_prompts", "places", "where", "second"]
    assert "    num_prompts=4,\n" in str(config)
    for call in (
        lambda: PromptConfig(num_promts=3),
        lambda: config.replace(num_promts=3),
        lambda: PromptConfig.from_dict({"num_promts": 3}),
    ):
        with refused(TypeError, "PromptConfig", "'num_promts'", "did you mean 'num_prompts'?"):
            call()
    with refused(TypeError, "ViTConfig has no field 'num_prompts'"):
        ViTConfig(num_prompts=3)
    with refused(ValueError, "num_prompts=1.5: expected int. Tokens that are learnt for a task."):
        config.replace(num_prompts=1.5)
    with refused(ValueError, "where='last'"):
        config.replace(where="last")
    with refused(ValueError, "depth='3'", "Number of encoder blocks."):
        config.replace(depth="3")


def test_a_subclass_whose_annotations_are_local_is_checked_where_they_are_known():
    class Local:
        pass

    local = dataclasses.make_dataclass("LocalConfig", [("thing", "Local", None)], bases=(ViTConfig,), frozen=True)
    assert isinstance(local(thing=Local()).thing, Local)
    with refused(ValueError, "depth='3'"):
        local(depth="3")


@pytest.mark.parametrize(
    ("option", "way"),
    [
        ("features_only", "intermediates"),
        ("hidden_size", "embed_dim"),
        ("num_labels", "num_classes"),
        ("attn_layer", "attention_class"),
        ("final_norm", "always is a final norm"),
    ],
)
def test_options_of_other_libraries_lead_to_the_one_here(option, way):
    with refused(TypeError, repr(option), way):
        vitlib.create_model("vit_tiny_patch16_224", **{option: 1})
