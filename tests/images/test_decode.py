"""What cannot be decoded gives one error that names the image and the reason; large images are read."""

from __future__ import annotations

import io
import os
import subprocess
import warnings
import zlib
from pathlib import Path

import numpy as np
import paddle
import pytest
from image_files import IMAGE, PIXELS, pixels, png, saved
from PIL import Image

from vitlib.images import ImageError, Preprocess, decode


def refuse(source, *messages: str, mode: str = "RGB") -> None:
    with pytest.raises(ImageError) as caught:
        decode(source, mode, where="item 3")
    text = str(caught.value)
    assert text.startswith("item 3 (")
    for message in messages:
        assert message in text


def test_a_path_that_does_not_exist_raises_file_not_found() -> None:
    with pytest.raises(FileNotFoundError, match=r"No such image file.*no/such\.jpg"):
        decode("no/such.jpg")
    with pytest.raises(FileNotFoundError, match="not fetched: download"):
        decode("https://example.org/cat.jpg")
    with pytest.raises(FileNotFoundError, match="not fetched: download"):
        decode(Path("https://example.org/cat.jpg"))


def test_paths_that_are_no_image_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    (tmp_path / "folder").mkdir()
    refuse(tmp_path / "empty.jpg", "empty.jpg'", "0 bytes")
    refuse(tmp_path / "text.jpg", "text.jpg'", "is not an image that Pillow can read", "<html>404</html>")
    refuse(str(tmp_path / "folder"), "folder'", "is a directory")
    refuse("a\0b.jpg", "cannot be opened")
    refuse(tmp_path / ("x" * 300), "cannot be opened")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    refuse(tmp_path / "pipe.jpg", "is not a regular file")


def test_empty_and_random_bytes_are_refused() -> None:
    refuse(b"", "bytes, 0 of them", "no bytes")
    generator = np.random.default_rng(0)
    for length in (1, 10, 1000, 5000):
        refuse(generator.bytes(length), f"bytes, {length} of them")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000"])
def test_files_cut_short_are_refused(file_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    contents = saved(Image.fromarray(noise), file_format)
    for kept in (0.02, 0.1, 0.5, 0.9):
        refuse(contents[: int(len(contents) * kept)], "of them)")


def test_damaged_files_give_an_image_or_an_image_error() -> None:
    generator = np.random.default_rng(0)
    for file_format in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "TGA", "JPEG2000"):
        contents = saved(IMAGE, file_format)
        for _ in range(40):
            damaged = np.frombuffer(contents, np.uint8).copy()
            damaged[generator.integers(0, len(damaged), 6)] = generator.integers(0, 256, 6)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
                try:
                    decode(damaged.tobytes())
                except ImageError as error:
                    assert "bytes" in str(error)  # noqa: PT017 (an image is as good)


def test_postscript_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def started(*arguments, **options):
        raise AssertionError("a program was started")

    eps = saved(IMAGE, "EPS")
    monkeypatch.setattr(subprocess, "Popen", started)
    (tmp_path / "image.jpg").write_bytes(eps)
    refuse(eps, "PostScript is a program and is not run")
    refuse(tmp_path / "image.jpg", "PostScript is a program and is not run")
    refuse(Image.open(io.BytesIO(eps)), "is an EPS file, which is not run")


def test_a_closed_pillow_image_is_refused() -> None:
    with Image.open(io.BytesIO(saved(IMAGE, "PNG"))) as image:
        pass
    refuse(image, "Pillow image, mode RGB, 24x16", "cannot be decoded")


@pytest.mark.parametrize(
    ("source", "messages"),
    [
        (None, ["None", "expected a path"]),
        (3, ["int", "expected a path"]),
        (object(), ["object", "expected a path"]),
        (io.BytesIO(b"x"), ["begins with b'x'"]),
        (io.StringIO("x"), ["gives str", "open(path, 'rb')"]),
        ([PIXELS], ["list where one image belongs"]),
        (PIXELS.astype(np.float32) / 255, ["float32", "expected uint8, 0..255", "(array * 255).round()"]),
        (PIXELS.astype(np.int64), ["int64", "expected uint8"]),
        (PIXELS.astype(np.uint16), ["uint16", "// 257"]),
        (PIXELS > 0, ["bool", "* 255"]),
        (PIXELS[None], ["is a batch", "list(array)"]),
        (PIXELS[0, 0], ["has 1 dimensions"]),
        (PIXELS[None, None], ["has 5 dimensions"]),
        (PIXELS[:0], ["has no pixels"]),
        (PIXELS[:, :, :2], ["has 2 channels", "[H, W, 3]"]),
        (np.dstack([PIXELS, PIXELS[:, :, 0]]), ["has 4 channels", "PIL.Image.fromarray"]),
        (PIXELS.transpose(2, 0, 1), ["channels seem to come first", "transpose(1, 2, 0)"]),
        (Image.new("RGB", (0, 4)), ["has no pixels"]),
        (np.array("x"), ["has 0 dimensions"]),
    ],
)
def test_what_is_no_image_is_refused_with_the_way_out(source, messages: list[str]) -> None:
    refuse(source, *messages)


def test_a_tensor_is_refused_with_the_way_out() -> None:
    refuse(paddle.zeros([2, 3, 8, 8]), "tensor of shape [2, 3, 8, 8]", "to the model itself", ".numpy()")


def test_an_unknown_mode_raises() -> None:
    with pytest.raises(ValueError, match="mode is 'CMYK'"):
        decode(IMAGE, "CMYK")


# Pillow's decompression limit


def test_an_image_above_pillows_limit_is_refused_before_it_is_decoded() -> None:
    huge = png(20_000, 20_000, 8, 0, zlib.compress(b"\x00"))
    refuse(huge, "400000000 pixels", "limit of 178956970")


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("action", ["ignore", "error"])
def test_above_half_the_limit_pillow_warns_and_the_image_is_read(file_format: str, action: str) -> None:
    image = Image.new("1", (10_000, 9_000), 1)
    contents = saved(image, file_format, **({"compression": "group4"} if file_format == "TIFF" else {}))
    with warnings.catch_warnings():
        warnings.simplefilter(action, Image.DecompressionBombWarning)
        if action == "error":
            refuse(contents, "90000000 pixels", "raise PIL.Image.MAX_IMAGE_PIXELS")
            return
        image = decode(contents, "L")
    assert image.size == (10_000, 9_000)
    assert image.getpixel((9_999, 8_999)) == 255


def test_an_open_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    contents = saved(IMAGE, "PNG")
    (tmp_path / "image.png").write_bytes(contents)
    buffer = io.BytesIO(contents)
    buffer.seek(0, io.SEEK_END)
    np.testing.assert_array_equal(pixels(buffer), PIXELS)
    with open(tmp_path / "image.png", "rb") as file:
        np.testing.assert_array_equal(pixels(file), PIXELS)
    refuse(file, "cannot be read", "closed")


def test_a_heic_file_names_the_plugin_that_reads_it() -> None:
    if "HEIF" in Image.OPEN:
        pytest.skip("the plugin is here")
    refuse(b"\0\0\0\x18ftypheic" + bytes(100), "pip install pillow-heif", "register_heif_opener()")


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_an_image_stays_as_it_is_when_its_array_is_overwritten(mode: str, channels: int) -> None:
    frame = PIXELS[:, :, 0].copy() if channels == 0 else PIXELS[:, :, :channels].copy()
    expected = np.asarray(Image.fromarray(frame.squeeze()).convert(mode))
    count = 1 if mode == "L" else 3
    preprocess = Preprocess(size=frame.shape[:2], crop_fraction=1, mean=(0.5,) * count, std=(0.5,) * count)
    image, crop = decode(frame, mode), preprocess.crop(frame)
    frame[...] = 7  # the next picture of a camera
    np.testing.assert_array_equal(np.asarray(image), expected)
    np.testing.assert_array_equal(np.asarray(crop), expected)
