"""Every preset has the published size, names lead where the papers and timm say, and nothing is allocated too early."""

import re
import time

import numpy as np
import paddle
import pytest
from conftest import refused

import vitlib
from vitlib.models.family_weights import FAMILY_WEIGHTS
from vitlib.models.preset_table import PRESETS
from vitlib.weights.dialects.timm import architectures

# Parameters with 1,000 classes, and GMACs of one image (convolution, linear layers, the two products of attention), as
# the papers, timm's results tables and facebook's DeiT give them; None where no figure is published.
PUBLISHED = {
    "vit_tiny_patch16_224": (5_717_416, 1.254),
    "vit_tiny_patch16_384": (5_790_376, 4.682),
    "vit_small_patch32_224": (22_878_952, 1.143),
    "vit_small_patch16_224": (22_050_664, 4.599),
    "vit_small_patch16_384": (22_196_584, 15.490),
    "vit_base_patch32_224": (88_224_232, 4.409),
    "vit_base_patch32_384": (88_297_192, 13.044),
    "vit_base_patch16_224": (86_567_656, 17.564),
    "vit_base_patch16_384": (86_859_496, 55.484),
    "vit_base_patch8_224": (86_576_872, 78.148),
    "vit_large_patch32_224": (306_535_400, 15.378),
    "vit_large_patch32_384": (306_632_680, 45.276),
    "vit_large_patch16_224": (304_326_632, 61.555),
    "vit_large_patch16_384": (304_715_752, 191.066),
    "vit_huge_patch14_224": (632_045_800, 167.295),
    "vit_huge_patch14_518": (633_470_440, 1016.717),
    "vit_base_patch16_gap_224": (86_566_120, None),
    "vit_small_patch16_gap_224": (22_049_896, None),
    "deit_tiny_patch16_224": (5_717_416, 1.254),
    "deit_small_patch16_224": (22_050_664, 4.599),
    "deit_base_patch16_224": (86_567_656, 17.564),
    "deit_base_patch16_384": (86_859_496, 55.484),
    "deit_tiny_distilled_patch16_224": (5_910_800, 1.261),
    "deit_small_distilled_patch16_224": (22_436_432, 4.624),
    "deit_base_distilled_patch16_224": (87_338_192, 17.657),
    "deit_base_distilled_patch16_384": (87_630_032, 55.591),
    "deit3_small_patch16_224": (22_059_496, None),
    "deit3_medium_patch16_224": (38_849_512, None),
    "deit3_base_patch16_224": (86_585_320, None),
    "deit3_large_patch16_224": (304_374_760, None),
    "deit3_huge_patch14_224": (632_126_440, None),
    "vit_tiny_r_s16_p8_224": (6_337_704, None),
    "vit_small_r26_s32_224": (36_431_912, None),
    "vit_base_r50_s16_224": (98_659_112, None),
    "vit_base_r50_s16_384": (98_950_952, None),
    "vit_large_r50_s32_224": (328_994_856, None),
    # timm's own counts of the headless and language-image families
    "vit_small_patch14_dinov2": (22_056_192, None),
    "vit_base_patch14_dinov2": (86_579_712, None),
    "vit_large_patch14_dinov2": (304_367_616, None),
    "vit_giant_patch14_dinov2": (1_136_479_232, None),
    "vit_small_patch14_reg4_dinov2": (22_057_344, None),
    "vit_base_patch14_reg4_dinov2": (86_582_016, None),
    "vit_large_patch14_reg4_dinov2": (304_370_688, None),
    "vit_giant_patch14_reg4_dinov2": (1_136_483_840, None),
    "vit_small_patch16_dinov3": (21_586_944, None),
    "vit_small_plus_patch16_dinov3": (28_683_264, None),
    "vit_base_patch16_dinov3": (85_641_216, None),
    "vit_large_patch16_dinov3": (303_079_424, None),
    "vit_huge_plus_patch16_dinov3": (840_509_440, None),
    "vit_base_patch32_clip_224": (88_225_000, None),
    "vit_base_patch16_clip_224": (86_568_424, None),
    "vit_large_patch14_clip_224": (304_204_776, None),
    "vit_large_patch14_clip_336": (304_532_456, None),
    "vit_base_patch16_clip_quickgelu_224": (86_193_152, None),
    "vit_base_patch16_siglip_224": (92_884_224, None),
    "vit_large_patch16_siglip_256": (315_956_224, None),
    "vit_so400m_patch14_siglip_224": (427_680_704, None),
}
# Without a classifier: DINO and MAE, as timm's tags of these names
HEADLESS = {
    "vit_small_patch16_224": 21_665_664,
    "vit_small_patch8_224": 21_670_272,
    "vit_base_patch16_224": 85_798_656,
    "vit_base_patch8_224": 85_807_872,
    "vit_large_patch16_224": 303_301_632,
    "vit_huge_patch14_224": 630_764_800,
    "vit_base_r50_s16_224": 97_890_112,
}
# ViT paper, Table 1; DeiT paper, Table 1; DeiT III, Table 1; DINOv2, Table 17; DINOv3, Table 2; timm's SigLIP towers
WIDTH_DEPTH_HEADS = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "medium": (512, 12, 8),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
    "giant": (1536, 40, 24),
    "small_plus": (384, 12, 6),
    "huge_plus": (1280, 32, 20),
    "so400m": (1152, 27, 16),
    "giantopt": (1536, 40, 16),
}
# Hidden width of the MLP, where it is not four times the width
HIDDEN = {"giant": 4096, "so400m": 4304}
# Those of the newer families are compared with timm's registry in test_published.py
CLASSIFIERS = [name for name in vitlib.list_models(tags=True) if tuple(name.split(".")) not in FAMILY_WEIGHTS]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def lazily(name, **options):
    with paddle.LazyGuard():
        return vitlib.create_model(name, **options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_has_the_published_parameters_and_multiply_adds(name):
    parameters, giga = PUBLISHED[name]
    counted = vitlib.count(name)
    assert counted.parameters == parameters
    if giga is not None:
        assert abs(counted.macs / 1e9 - giga) < 6e-4


@pytest.mark.parametrize("name", HEADLESS)
def test_an_encoder_without_classifier_has_the_published_parameters(name):
    assert vitlib.count(lazily(name, num_classes=0)).parameters == HEADLESS[name]


def test_every_preset_has_as_many_parameters_as_timm_s_architecture_of_its_name():
    found = {name: row for name, row in architectures()[0].items() if name in PRESETS}
    assert len(found) > 60
    for name, row in found.items():
        model = lazily(name, num_classes=row.get("num_classes", 1000))
        keys = model.config.depth * model.config.embed_dim if name.endswith("_qkvb") else 0  # timm keeps no bias of k
        assert vitlib.count(model).parameters - keys == row["parameters"], name


def test_every_preset_of_a_newer_family_has_the_options_of_timm_s_architecture_of_its_name():
    for name, row in architectures()[0].items():
        if name in PRESETS and any(kind in name for kind in ("dinov2", "dinov3", "clip", "siglip")):
            options = {key: value for key, value in row.items() if key != "parameters"}
            expected, config = vitlib.ViTConfig(**options), vitlib.get_config(name)
            ratio = config.mlp_ratio if abs(config.mlp_ratio - expected.mlp_ratio) < 1e-4 else None
            assert config == expected.replace(preprocess=config.preprocess, mlp_ratio=ratio or 0.1), name


def test_every_listed_preset_follows_its_own_name():
    for name in vitlib.list_models():
        config = vitlib.get_config(name)
        size = re.split("_patch|_r[0-9]*_s", name)[0].split("_", 1)[1].removesuffix("_distilled")
        width, depth, heads = WIDTH_DEPTH_HEADS[size]
        heads = 16 if name == "vit_base_patch16_gap_224" else heads  # as in timm
        assert (config.embed_dim, config.depth, config.num_heads) == (width, depth, heads), name
        assert (config.stem_blocks is not None) == (f"patch{config.patch_size}_" not in name), name
        implied = {"dinov2": 518, "dinov3": 256, "qkvb": 256}.get(name.rpartition("_")[2])
        assert config.img_size == implied or name.endswith(f"_{config.img_size}"), name
        assert config.mlp_ratio == HIDDEN.get(size, 4 * width) / width, name
        assert config.gated_mlp == (size in ("giant", "small_plus", "huge_plus")), name
        assert config.distillation_token == ("distilled" in name), name
        assert config.class_token == ("gap" not in name and "siglip" not in name), name
        assert config.no_embed_class == ("deit3" in name or "reg4" in name), name
        assert (config.init_values is not None) == any(kind in name for kind in ("deit3", "dinov2", "dinov3")), name


def test_the_resnet_of_a_hybrid_has_the_layers_of_its_name():
    """R50 has 50: three in each bottleneck, the root and, in the ResNet, the classifier. R50+ViT-B/16 keeps its 16
    bottlenecks in three stages (ViT paper, §3.1)."""
    expected = {"vit_tiny_r_s16_p8": ((), 32), "vit_small_r26_s32": ((2, 2, 2, 2), 32)}
    expected |= {"vit_base_r50_s16": ((3, 4, 9), 16), "vit_large_r50_s32": ((3, 4, 6, 3), 32)}
    for name, (blocks, patch) in expected.items():
        for size in (224, 384):
            config = vitlib.get_config(f"{name}_{size}")
            assert (config.stem_blocks, config.patch_size, config.img_size) == (blocks, patch, size)
        layers = re.search("r([0-9]+)", name)
        assert layers is None or 3 * sum(blocks) + 2 == int(layers[1])


def test_the_published_figures_are_of_presets_that_exist():
    assert set(PUBLISHED) <= set(vitlib.list_models())


def test_all_presets_are_built_under_lazy_guard_at_once_and_allocate_nothing():
    before = paddle.base.core.host_memory_stat_current_value("Allocated", 0)
    start = time.process_time()
    models = [lazily(name) for name in vitlib.list_models()]
    seconds = time.process_time() - start
    allocated = paddle.base.core.host_memory_stat_current_value("Allocated", 0) - before
    assert not [p.name for model in models for p in model.parameters() if p._is_initialized()]
    assert allocated < 2**20, "nothing near the gigabytes of their weights"
    assert seconds < 5


@pytest.mark.parametrize(
    ("paper", "name"),
    [
        ("ViT-B/16", "vit_base_patch16_224"),
        ("ViT-B/32", "vit_base_patch32_224"),
        ("ViT-L/16", "vit_large_patch16_224"),
        ("ViT-L/32", "vit_large_patch32_224"),
        ("ViT-H/14", "vit_huge_patch14_224"),
        ("ViT-Ti/16", "vit_tiny_patch16_224"),
        ("ViT-S/16", "vit_small_patch16_224"),
        ("ViT-B/8", "vit_base_patch8_224"),
        ("R50+ViT-B/16", "vit_base_r50_s16_224"),
        ("R50+ViT-B/16↑384", "vit_base_r50_s16_384"),
        ("R26+ViT-S/32", "vit_small_r26_s32_224"),
        ("R50+ViT-L/32", "vit_large_r50_s32_224"),
        ("vit-b/16", "vit_base_patch16_224"),
        ("ViT-B/16↑384", "vit_base_patch16_384"),
        ("DeiT-Ti", "deit_tiny_patch16_224"),
        ("DeiT-S", "deit_small_patch16_224"),
        ("DeiT-B", "deit_base_patch16_224"),
        ("DeiT-B↑384", "deit_base_patch16_384"),
        ("DeiT-Ti⚗", "deit_tiny_distilled_patch16_224"),
        ("DeiT-B⚗", "deit_base_distilled_patch16_224"),
        ("DeiT-B⚗↑384", "deit_base_distilled_patch16_384"),
        ("DeiT III-B", "deit3_base_patch16_224"),
        ("DeiT-III-L", "deit3_large_patch16_224"),
    ],
)
def test_the_papers_names_lead_to_their_presets(paper, name):
    assert vitlib.get_config(paper) == vitlib.get_config(name)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("vit_bse_patch16_224", "vit_base_patch16_224"),
        ("deit_tiny_distiled_patch16_224", "deit_tiny_distilled_patch16_224"),
        ("vit_base_patch16_225", "vit_base_patch16_224"),
        ("ViT-B/17", "vit-b/16"),
    ],
)
def test_an_unknown_preset_is_refused_with_the_nearest_names(wrong, near):
    for call in (vitlib.get_config, vitlib.create_model, vitlib.count):
        with refused(ValueError, repr(wrong), near):
            call(wrong)


@pytest.mark.parametrize("name", ["", "xyz", "."])
def test_a_name_like_no_other_is_refused_too(name):
    with refused(ValueError, "there is no preset", repr(name)):
        vitlib.get_config(name)


@pytest.mark.parametrize("name", [None, 3, vitlib.ViTConfig()])
def test_a_name_that_is_no_string_is_refused(name):
    with refused(TypeError, "name", type(name).__name__):
        vitlib.get_config(name)


def test_an_unknown_tag_is_refused_with_the_known_ones():
    with refused(ValueError, "vit_tiny_patch16_224", "'augreg_in22k'", "augreg_in21k_ft_in1k", "augreg_in21k"):
        vitlib.get_config("vit_tiny_patch16_224.augreg_in22k")
    with refused(ValueError, "vit_huge_patch14_518", "no published weights"):
        vitlib.get_config("vit_huge_patch14_518.orig")


def test_the_weights_of_imagenet_21k_have_its_classes():
    """21,843 in AugReg (arXiv 2106.10270); the head of the 2020 files is unusable, so those have none."""
    for name in CLASSIFIERS:
        tag = name.partition(".")[2]
        classes = {"augreg_in21k": 21843, "orig_in21k": 0}.get(tag, 1000)
        assert vitlib.get_config(name).num_classes == classes, name
    model = lazily("vit_tiny_patch16_224.augreg_in21k")
    assert list(model.head.weight.shape) == [192, 21843]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_preprocessing_is_that_of_the_weights(name):
    """timm's records: crop 0.9 at 224 and the whole image at 384; DeiT III from ImageNet-22k always the whole."""
    stem, _, tag = name.partition(".")
    record = vitlib.get_config(name).preprocess
    assert (record.mean, record.std) == (IMAGENET if stem.startswith("deit") else HALF)
    assert record.crop_fraction == (1.0 if stem.endswith("384") or tag == "fb_in22k_ft_in1k" else 0.9)
    assert (record.interpolation, record.resize) == ("bicubic", "short")


def test_the_preprocessing_of_a_model_has_its_size():
    assert lazily("vit_tiny_patch16_384").preprocess.size == 384
    assert lazily("vit_tiny_patch16_224", img_size=(96, 160)).preprocess.size == (96, 160)


def test_a_distilled_preset_is_a_deit_and_every_other_is_not():
    for name in vitlib.list_models("*base*"):
        assert (type(lazily(name)) is vitlib.DeiT) == ("distilled" in name), name


def test_overrides_reach_the_model():
    model = lazily("vit_tiny_patch16_224", num_classes=10, drop_path_rate=0.1)
    assert (model.config.num_classes, list(model.head.weight.shape)) == (10, [192, 10])
    assert [block.drop_path1.drop_prob for block in model.blocks][-1] == pytest.approx(0.1)
    assert vitlib.get_config("vit_tiny_patch16_224").num_classes == 1000


def test_a_class_can_be_given():
    class Mine(vitlib.VisionTransformer):
        pass

    assert type(lazily("vit_tiny_patch16_224", model_class=Mine)) is Mine


def test_drop_path_is_linear_over_the_blocks_and_constant_in_deit_iii():
    vit = lazily("deit_tiny_patch16_224", drop_path_rate=0.11)
    deit3 = lazily("deit3_small_patch16_224", drop_path_rate=0.05)
    np.testing.assert_allclose([b.drop_path2.drop_prob for b in vit.blocks], np.linspace(0, 0.11, 12), atol=1e-9)
    np.testing.assert_allclose([b.drop_path2.drop_prob for b in deit3.blocks], 0.05, atol=1e-9)


def test_list_models_takes_patterns_and_sorts():
    names = vitlib.list_models()
    assert names == sorted(names)
    assert len(names) == len(PRESETS) == len(set(names))
    assert vitlib.list_models("deit*") == [name for name in names if name.startswith("deit")]
    assert vitlib.list_models("*_384") == [name for name in names if name.endswith("_384")]
    assert vitlib.list_models("vit_tiny_patch16_224") == ["vit_tiny_patch16_224"]
    assert vitlib.list_models("resnet*") == []


def test_list_models_takes_several_patterns_exclusions_and_the_papers_names_as_timm_does():
    names = vitlib.list_models()
    assert vitlib.list_models(["vit*", "deit_*"]) == [name for name in names if not name.startswith("deit3")]
    assert vitlib.list_models("*_384", exclude_filters="deit*") == [
        name for name in names if name.endswith("_384") and not name.startswith("deit")
    ]
    assert vitlib.list_models("deit*", exclude_filters=["*distilled*", "deit3*"]) == [
        "deit_base_patch16_224",
        "deit_base_patch16_384",
        "deit_small_patch16_224",
        "deit_tiny_patch16_224",
    ]
    plain = [name for name in names if PRESETS[name].family in ("vit", "deit", "distilled", "deit3")]
    assert vitlib.list_models("ViT-B*") == [name for name in plain if name.startswith("vit_base")]
    assert vitlib.list_models("DeiT-III-S*") == ["deit3_small_patch16_224", "deit3_small_patch16_384"]
    assert vitlib.list_models("ViT-L/16") == ["vit_large_patch16_224"]
    assert vitlib.list_models(exclude_filters=["ViT-*", "DeiT-*"]) == [name for name in names if name not in plain]
    assert vitlib.list_models([]) == []


def test_list_models_gives_those_with_weights_by_their_tags():
    without = {name for name, preset in PRESETS.items() if not preset.weights}
    assert {"vit_small_patch16_gap_224", "vit_base_patch16_gap_224", "vit_huge_patch14_518"} <= without
    tagged = vitlib.list_models(pretrained=True)
    assert tagged == vitlib.list_models(tags=True)
    assert {name.partition(".")[0] for name in tagged} == set(vitlib.list_models()) - without
    assert vitlib.list_models(pretrained=True, tags=False) == sorted(set(vitlib.list_models()) - without)
    assert vitlib.list_models("ViT-Ti*", pretrained=True) == [
        "vit_tiny_patch16_224.augreg_in21k",
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "vit_tiny_patch16_384.augreg_in21k_ft_in1k",
    ]
    assert vitlib.list_models("*.sam_in1k", tags=True, exclude_filters="ViT-B/32*") == ["vit_base_patch16_224.sam_in1k"]


def test_every_tagged_name_is_a_preset():
    tagged = vitlib.list_models(tags=True)
    assert "vit_base_patch16_224.augreg_in21k_ft_in1k" in tagged
    assert vitlib.list_models("deit_base*", tags=True) == [t for t in tagged if t.startswith("deit_base")]
    for name in tagged:
        assert vitlib.get_config(name).img_size == vitlib.get_config(name.partition(".")[0]).img_size


def test_configs_of_all_presets_survive_json():
    import json

    for name in [*vitlib.list_models(), *vitlib.list_models(tags=True)]:
        config = vitlib.get_config(name)
        assert vitlib.ViTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config, name


def test_timms_older_names_of_the_21k_weights_work():
    assert vitlib.get_config("vit_base_patch16_224_in21k") == vitlib.get_config("vit_base_patch16_224.augreg_in21k")
