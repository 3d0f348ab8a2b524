"""The table of published weights against timm's registry (data/timm_registry.json, written by make_published.py)."""

import json
from pathlib import Path

import pytest

from vitlib.models.presets import ARCHITECTURES, PAPER_NAMES, get_config, list_models
from vitlib.models.published import Published, list_published, published

TIMM = json.loads((Path(__file__).parent / "data" / "timm_registry.json").read_text())["models"]
# A classifier of another label set: not what the presets are for
LEFT_OUT = {"bamboo"}
ON_HUB = [name for name in TIMM if name.partition(".")[2] not in LEFT_OUT]


@pytest.mark.parametrize("name", ON_HUB)
def test_a_row_says_what_timm_says(name):
    row, timm = published(name), TIMM[name]
    assert row.hub_id == timm["hub_id"]
    assert row.num_classes == timm["num_classes"]
    assert row.licence == timm["license"]
    assert row.dialect == row.position_resize == "timm"
    assert get_config(row.preset).img_size == timm["size"]
    record = row.preprocess
    assert record.resize == {"center": "short", "squash": "squash"}[timm["crop_mode"]]
    assert record.size is None  # the model's
    assert [*record.mean, *record.std, record.crop_fraction] == [*timm["mean"], *timm["std"], timm["crop_pct"]]
    assert record.interpolation == timm["interpolation"]
    if timm["url"]:
        assert row.original_url == timm["url"]


def test_every_tag_of_timm_is_in_the_table_and_the_others_are_known_to_have_no_hub_repository():
    rows = [published(name) for name in list_published()]
    assert {row.name for row in rows if row.hub_id} == set(ON_HUB)
    assert [row.name for row in rows if not row.hub_id] == [
        "vit_base_patch32_384.orig_in21k_ft_in1k",
        "vit_large_patch16_224.orig_in21k_ft_in1k",
        "vit_large_patch16_384.orig_in21k_ft_in1k",
    ]


def test_the_name_of_a_preset_means_the_tag_that_timm_takes():
    for name in ON_HUB:
        if TIMM[name]["default"]:
            assert published(name.partition(".")[0]).name == name


def test_every_tag_of_the_presets_is_in_the_table_with_the_classes_and_preprocessing_of_its_config():
    names = list_models(tags=True)
    assert names
    for name in names:
        row, config = published(name), get_config(name)
        assert (row.num_classes, row.preprocess) == (config.num_classes, config.preprocess)


def test_no_row_is_there_twice_and_none_is_for_an_unknown_preset():
    names = list_published()
    assert len(set(names)) == len(names)
    assert {name.partition(".")[0] for name in names} <= set(ARCHITECTURES)


def test_paper_names_and_old_names_of_timm_lead_to_the_same_rows():
    for paper, preset in PAPER_NAMES.items():
        if list_published(f"{preset}.*"):
            assert published(paper) == published(preset)
    assert published("ViT-B/16.sam_in1k").name == "vit_base_patch16_224.sam_in1k"
    assert published("vit_large_patch32_224_in21k").name == "vit_large_patch32_224.orig_in21k"


def test_paddleclas_has_the_weights_of_the_vit_paper_and_of_deit():
    urls = {name: published(name).paddleclas_url for name in list_published() if published(name).paddleclas_url}
    files = {name: url.rpartition("/")[2].removesuffix("_pretrained.pdparams") for name, url in urls.items()}
    vits = ("base_patch16_224", "base_patch16_384", "base_patch32_384")
    vits += ("large_patch16_224", "large_patch16_384", "large_patch32_384")
    expected = {f"vit_{vit}.orig_in21k_ft_in1k": f"ViT_{vit}" for vit in vits}
    expected |= {f"{name}.fb_in1k": f"DeiT{name.removeprefix('deit')}" for name in ARCHITECTURES if name[:5] == "deit_"}
    assert files == expected
    assert all(url.startswith("https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/") for url in urls.values())


@pytest.mark.parametrize(
    ("name", "mean", "shorter_side"),
    [
        ("vit_base_patch16_224.orig_in21k_ft_in1k", 0.5, 256),
        ("vit_large_patch16_384.orig_in21k_ft_in1k", 0.5, 384),
        ("deit_small_patch16_224", 0.485, 256),
        ("deit_base_patch16_384", 0.485, 438),
    ],
)
def test_paddleclas_evaluates_on_pictures_resized_as_its_configs_say(name, mean, shorter_side):
    row = published(name)
    source = row.sources[-1]
    assert source.dialect == "paddleclas"
    assert source.preprocess.mean[0] == mean
    assert int(get_config(row.preset).img_size / source.preprocess.crop_fraction) == shorter_side


def test_sources_begin_with_the_hub_and_carry_the_dialect_of_their_publisher():
    dialects = {name: [source.dialect for source in published(name).sources] for name in list_published()}
    assert dialects["vit_base_patch16_224.augreg2_in21k_ft_in1k"] == ["timm"]
    assert dialects["vit_base_patch16_224.augreg_in1k"] == ["timm", "google"]
    assert dialects["deit_tiny_patch16_224.fb_in1k"] == ["timm", "facebook", "paddleclas"]
    assert dialects["deit3_huge_patch14_224.fb_in1k"] == ["timm", "facebook"]
    assert dialects["vit_base_patch14_reg4_dinov2.lvd142m"] == ["timm", "dinov2"]
    assert dialects["vit_small_patch8_224.dino"] == ["timm", "dino"]
    assert dialects["vit_huge_patch14_224.mae"] == ["timm", "mae"]
    assert dialects["vit_base_patch16_siglip_224.webli"] == ["timm"]
    assert dialects["vit_large_patch16_384.orig_in21k_ft_in1k"] == ["timm", "paddleclas"]
    for name in list_published():
        row = published(name)
        assert row.dialect == row.sources[0].dialect
        assert row.sources[0].on_hub == bool(row.hub_id)
        assert not any(source.on_hub for source in row.sources[1:])


def test_the_originals_are_evaluated_as_their_authors_did():
    google, facebook = (published(n).sources[1] for n in ("vit_base_patch16_224.sam_in1k", "deit_base_patch16_384"))
    assert (google.preprocess.resize, google.preprocess.interpolation) == ("squash", "bilinear")
    assert (google.position_resize, facebook.position_resize) == ("google", "deit")
    assert facebook.preprocess.crop_fraction == 0.875


def test_top1_is_given_exactly_where_its_source_is():
    for name in list_published():
        row = published(name)
        assert (row.top1 is None) == (row.top1_source == "")
        assert row.top1 is None or 70 < row.top1 < 90
        assert row.top1 is None or row.num_classes == 1000
    assert published("vit_base_patch16_224.augreg_in21k_ft_in1k").top1 == 84.53
    assert published("vit_base_patch16_224").top1 is None  # augreg2: not the figure of augreg


@pytest.mark.parametrize("preset", ["vit_small_patch16_gap_224", "vit_base_patch16_gap_224", "vit_huge_patch14_518"])
def test_a_preset_without_weights_names_others_of_its_size_and_training_from_scratch(preset):
    with pytest.raises(ValueError, match="nobody has published weights") as caught:
        published(preset)
    named = [name for name in ARCHITECTURES if f"{name}," in str(caught.value) or f"{name}." in str(caught.value)]
    size = preset.split("_")[1]
    assert named
    assert all(size in name and isinstance(published(name), Published) for name in named if name != preset)
    assert f'create_model("{preset}")' in str(caught.value)


def test_an_unknown_tag_or_preset_is_answered_with_those_that_exist():
    with pytest.raises(ValueError, match="'fb_in21k'; it has fb_in1k, fb_in22k_ft_in1k"):
        published("deit3_base_patch16_224.fb_in21k")
    with pytest.raises(ValueError, match=r"the nearest are .*vit_base_patch16_224"):
        published("vit_base_patch16_225")
