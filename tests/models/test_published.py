"""The table of published weights against timm's registry (data/timm_registry.json, written by make_published.py)."""

import json
from pathlib import Path

import pytest

from vitlib.models.preset_table import PRESETS
from vitlib.models.presets import PAPER_NAMES, Published, get_config, list_models, published

TIMM = json.loads((Path(__file__).parent / "data" / "timm_registry.json").read_text())["models"]
# A classifier of another label set: not what the presets are for
LEFT_OUT = {"bamboo"}
ON_HUB = [name for name in TIMM if name.partition(".")[2] not in LEFT_OUT]


@pytest.mark.parametrize("name", ON_HUB)
def test_a_row_says_what_timm_says(name):
    row, timm = published(name), TIMM[name]
    assert row.locations[0] == f"hf:{timm['hub_id']}"
    assert row.num_classes == timm["num_classes"]
    assert row.licence == timm["license"]
    assert get_config(row.name).img_size == timm["size"]
    assert get_config(row.name).position_resize == "timm"
    record = row.preprocess
    assert record.resize == {"center": "short", "squash": "squash"}[timm["crop_mode"]]
    assert record.size is None  # the model's
    assert [*record.mean, *record.std, record.crop_fraction] == [*timm["mean"], *timm["std"], timm["crop_pct"]]
    assert record.interpolation == timm["interpolation"]
    if timm["url"]:
        assert row.locations[1] == timm["url"]


def test_every_tag_of_timm_is_in_the_table_and_the_others_are_known_to_have_no_hub_repository():
    rows = [published(name) for name in list_models(pretrained=True)]
    on_hub = {row.name for row in rows if row.locations[0].startswith("hf:")}
    assert on_hub == set(ON_HUB)
    assert [row.name for row in rows if row.name not in on_hub] == [
        "vit_base_patch32_384.orig_in21k_ft_in1k",
        "vit_large_patch16_224.orig_in21k_ft_in1k",
        "vit_large_patch16_384.orig_in21k_ft_in1k",
    ]


def test_the_name_of_a_preset_means_the_tag_that_timm_takes():
    for name in ON_HUB:
        if TIMM[name]["default"]:
            assert published(name.partition(".")[0]).name == name


def test_a_row_has_the_classes_and_preprocessing_of_its_config():
    names = list_models(tags=True)
    assert len(names) == len(set(names)) == len(ON_HUB) + 3  # and three that left the hub
    for name in names:
        row, config = published(name), get_config(name)
        assert (row.num_classes, row.preprocess) == (config.num_classes, config.preprocess)


def test_paper_names_and_old_names_of_timm_lead_to_the_same_rows():
    for paper, preset in PAPER_NAMES.items():
        if list_models(f"{preset}.*", pretrained=True):
            assert published(paper) == published(preset)
    assert published("ViT-B/16.sam_in1k").name == "vit_base_patch16_224.sam_in1k"
    assert published("vit_large_patch32_224_in21k").name == "vit_large_patch32_224.orig_in21k"


def test_paddleclas_has_the_weights_of_the_vit_paper_and_of_deit():
    start = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/"
    last = {name: published(name).locations[-1] for name in list_models(pretrained=True)}
    files = {name: url[len(start) :] for name, url in last.items() if url.startswith(start)}
    vits = ("base_patch16_224", "base_patch16_384", "base_patch32_384")
    vits += ("large_patch16_224", "large_patch16_384", "large_patch32_384")
    expected = {f"vit_{vit}.orig_in21k_ft_in1k": f"ViT_{vit}" for vit in vits}
    expected |= {f"{name}.fb_in1k": f"DeiT{name.removeprefix('deit')}" for name in PRESETS if name[:5] == "deit_"}
    assert files == {name: f"{file}_pretrained.pdparams" for name, file in expected.items()}


def test_paddleclas_has_deit3_as_timm_names_it():
    """The addresses in PaddleClas' own description of these models."""
    start = "https://paddle-model-ecology.bj.bcebos.com/paddlex/official_pretrained_model/"
    last = {name: published(name).locations[-1] for name in list_models(pretrained=True)}
    variants = ("small_patch16_224", "small_patch16_384", "medium_patch16_224", "base_patch16_224", "base_patch16_384")
    variants += ("large_patch16_224", "large_patch16_384", "huge_patch14_224")
    names = [f"deit3_{variant}.fb_in1k" for variant in variants]
    assert {name: url for name, url in last.items() if url.startswith(start)} == {
        name: f"{start}{name}.pdparams" for name in names
    }


def test_locations_begin_with_the_hub_and_go_on_with_the_authors():
    def hosts(name):
        return [location.split("/")[2] if "://" in location else "hub" for location in published(name).locations]

    google, facebook, paddleclas = (
        "storage.googleapis.com",
        "dl.fbaipublicfiles.com",
        "paddle-imagenet-models-name.bj.bcebos.com",
    )
    assert hosts("vit_base_patch16_224.augreg2_in21k_ft_in1k") == ["hub"]
    assert hosts("vit_base_patch16_224.augreg_in1k") == ["hub", google]
    assert hosts("deit_tiny_patch16_224.fb_in1k") == ["hub", facebook, paddleclas]
    assert hosts("deit3_huge_patch14_224.fb_in1k") == ["hub", facebook, "paddle-model-ecology.bj.bcebos.com"]
    assert hosts("deit3_huge_patch14_224.fb_in22k_ft_in1k") == ["hub", facebook]
    assert hosts("vit_large_patch16_384.orig_in21k_ft_in1k") == ["github.com", paddleclas]


def test_top1_is_given_exactly_where_its_source_is():
    for name in list_models(pretrained=True):
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
    named = [name for name in PRESETS if f"{name}," in str(caught.value) or f"{name}." in str(caught.value)]
    size = preset.split("_")[1]
    assert named
    assert all(size in name and isinstance(published(name), Published) for name in named if name != preset)
    assert f'create_model("{preset}")' in str(caught.value)


def test_an_unknown_tag_or_preset_is_answered_with_those_that_exist():
    with pytest.raises(ValueError, match="'fb_in21k'; it has fb_in1k, fb_in22k_ft_in1k"):
        published("deit3_base_patch16_224.fb_in21k")
    with pytest.raises(ValueError, match="did you mean 'vit_base_patch16_224'"):
        published("vit_base_patch16_225")
