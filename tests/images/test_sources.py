from pathlib import Path

import numpy as np
import pytest
from image_files import IMAGE, saved

from vitlib.images import ImageError
from vitlib.images.sources import as_sources

PNG = saved(IMAGE, "PNG")
ARRAY = np.zeros((4, 6, 3), np.uint8)


@pytest.mark.parametrize("kind", ["path", "Path", "bytes", "file", "Pillow image", "array", "grey array", "None"])
def test_one_image_of_any_kind_is_one_source(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    with open(path, "rb") as file:
        image = {
            "path": str(path), "Path": path, "bytes": PNG, "file": file, "Pillow image": IMAGE,
            "array": ARRAY, "grey array": ARRAY[..., 0], "None": None,
        }[kind]  # fmt: skip
        sources, total = as_sources(image)
        assert (next(iter(sources)) is image, len(list(sources)), total) == (True, 1, 1)


def test_lists_generators_and_arrays_of_images_are_taken_one_by_one() -> None:
    for images in ([IMAGE, ARRAY], (IMAGE, ARRAY), np.stack([ARRAY, ARRAY])):
        sources, total = as_sources(images)
        assert (len(list(sources)), total) == (2, 2)
    sources, total = as_sources(ARRAY for _ in range(3))
    assert (len(list(sources)), total) == (3, None)


def test_a_folder_is_its_images_at_any_depth_by_path_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/deep/1.JPG", "a/.hidden.png", ".git/3.png", "@eaDir/4.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    sources, total = as_sources(tmp_path)
    assert list(sources) == [str(tmp_path / "a/deep/1.JPG"), str(tmp_path / "b/2.png")]
    assert total == 2


def test_folders_that_link_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(PNG)
    (tmp_path / "a/back").symlink_to(tmp_path)
    assert as_sources(tmp_path)[1] == 1


def test_a_folder_or_list_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match=r"holds no images; expected files that end in \.jpg"):
        as_sources(tmp_path)
    for empty in ([], (), np.zeros((0, 4, 6, 3), np.uint8)):
        with pytest.raises(ImageError, match="the list of images is empty"):
            as_sources(empty)
