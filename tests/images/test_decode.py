"""Decoding: what a person would see, whatever the file; and one error that names the picture and the reason."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image, ImageCms

from vitlib.images import ImageError, decode

COLORS = np.array(
    [[[200, 40, 10], [10, 180, 60], [30, 60, 220]], [[255, 255, 255], [0, 0, 0], [90, 100, 110]]], np.uint8
)
PIXELS = COLORS.repeat(8, axis=0).repeat(8, axis=1)  # 16 x 24, blocks of 8 so that JPEG keeps the colours
PICTURE = Image.fromarray(PIXELS)


def saved(image: Image.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def pixels(source, mode: str = "RGB") -> np.ndarray:
    image = decode(source, mode)
    assert image.mode == mode
    return np.asarray(image).astype(int)


def png(width: int, height: int, bit_depth: int, color_type: int, data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file by hand, for headers and depths that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    contents = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")):
        contents += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return contents


# What a picture looks like


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM", "GIF", "TGA", "WEBP"])
def test_lossless_formats_give_their_pixels(file_format: str, tmp_path: Path) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    contents = saved(PICTURE, file_format, **options)
    (tmp_path / "picture.any").write_bytes(contents)
    for source in (contents, bytearray(contents), memoryview(contents), tmp_path / "picture.any"):
        np.testing.assert_array_equal(pixels(source), PIXELS)
    np.testing.assert_array_equal(pixels(contents, "L"), np.asarray(PICTURE.convert("L")))


def test_arrays_and_pillow_images_give_their_pixels() -> None:
    np.testing.assert_array_equal(pixels(PIXELS), PIXELS)
    np.testing.assert_array_equal(pixels(PIXELS[::-1, ::-1]), PIXELS[::-1, ::-1])
    np.testing.assert_array_equal(pixels(PICTURE), PIXELS)
    np.testing.assert_array_equal(pixels(PIXELS[:, :, 0], "L"), PIXELS[:, :, 0])
    np.testing.assert_array_equal(pixels(PIXELS[:, :, :1]), PIXELS[:, :, :1].repeat(3, axis=2))


def test_jpeg_is_close_to_what_was_saved() -> None:
    assert np.abs(pixels(saved(PICTURE, "JPEG", quality=100, subsampling=0)) - PIXELS).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_applied(orientation: int, file_format: str) -> None:
    # Where row 0 and column 0 of the stored picture are seen (Exif 2.32), hence how a seen picture is stored.
    store = {
        1: lambda seen: seen,
        2: lambda seen: seen[:, ::-1],
        3: lambda seen: seen[::-1, ::-1],
        4: lambda seen: seen[::-1],
        5: lambda seen: seen.transpose(1, 0, 2),
        6: lambda seen: seen.transpose(1, 0, 2)[::-1],
        7: lambda seen: seen[::-1, ::-1].transpose(1, 0, 2),
        8: lambda seen: seen.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    stored = Image.fromarray(np.ascontiguousarray(store(PIXELS)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(file_format, {})
    if file_format == "TIFF":
        contents = saved(stored, file_format, tiffinfo={0x0112: orientation})
    else:
        contents = saved(stored, file_format, exif=exif.tobytes(), **options)
    for source in (contents, Image.open(io.BytesIO(contents))):
        seen = pixels(source)
        assert seen.shape == PIXELS.shape
        assert np.abs(seen - PIXELS).max() <= 3
    assert decode(contents, "L").size == PICTURE.size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_lose_the_picture() -> None:
    for exif in (b"Exif\x00\x00garbage that is no TIFF", b"Exif\x00\x00II*\x00\xff\xff\xff\xff"):
        assert np.abs(pixels(saved(PICTURE, "JPEG", quality=100, subsampling=0, exif=exif)) - PIXELS).max() <= 3


def test_transparency_is_laid_on_white() -> None:
    alpha = np.zeros((16, 24), np.uint8)
    alpha[:, 8:16], alpha[:, 16:] = 128, 255
    weight = alpha[:, :, None] / 255
    rgba = Image.fromarray(np.dstack([PIXELS, alpha]))
    expected = PIXELS * weight + 255 * (1 - weight)
    for source in (saved(rgba, "PNG"), rgba, rgba.convert("RGBa")):
        assert np.abs(pixels(source) - expected).max() <= 1.01
    grey = np.asarray(PICTURE.convert("L")).astype(float)
    grey_alpha = Image.merge("LA", (PICTURE.convert("L"), Image.fromarray(alpha)))
    expected = grey * weight[:, :, 0] + 255 * (1 - weight[:, :, 0])
    for source in (saved(grey_alpha, "PNG"), grey_alpha):
        assert np.abs(pixels(source, "L") - expected).max() <= 1.01


def test_palette_transparency_is_laid_on_white() -> None:
    palette_image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    palette_image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    one_entry = saved(palette_image, "GIF", transparency=1)
    assert pixels(one_entry)[0].tolist() == [[200, 0, 0], [255, 255, 255], [0, 0, 200]]
    table = saved(palette_image, "PNG", transparency=bytes([0, 255, 51]))
    assert pixels(table)[0].tolist() == [[255, 255, 255], [0, 200, 0], [204, 204, 244]]
    assert pixels(palette_image)[0].tolist() == [[200, 0, 0], [0, 200, 0], [0, 0, 200]]


def test_a_transparent_colour_is_white() -> None:
    rgb = saved(PICTURE, "PNG", transparency=(200, 40, 10))
    expected = PIXELS.copy()
    expected[:8, :8] = 255
    np.testing.assert_array_equal(pixels(rgb), expected)
    grey = saved(Image.fromarray(np.array([[0, 7, 9]], np.uint8)), "PNG", transparency=7)
    assert pixels(grey, "L").tolist() == [[0, 255, 9]]
    deep = zlib.compress(b"\x00" + struct.pack(">3H", 0, 700, 65535))
    assert pixels(png(3, 1, 16, 0, deep, (b"tRNS", struct.pack(">H", 700))), "L").tolist() == [[0, 255, 255]]


def test_cmyk_is_seen_in_its_colours() -> None:
    cmyk = PICTURE.convert("CMYK")
    np.testing.assert_array_equal(pixels(cmyk), PIXELS)
    np.testing.assert_array_equal(pixels(saved(cmyk, "TIFF")), PIXELS)
    jpeg = saved(cmyk, "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in jpeg[:64]  # so its ink values are stored inverted
    assert np.abs(pixels(jpeg) - PIXELS).max() <= 4


def test_bilevel_pictures_are_black_and_white() -> None:
    bilevel = Image.fromarray(np.array([[0, 255, 0, 255]], np.uint8)).convert("1")
    for source in (bilevel, saved(bilevel, "PNG"), saved(bilevel, "TIFF", compression="group4")):
        assert pixels(source, "L").tolist() == [[0, 255, 0, 255]]


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 128, 129, 257, 32896, 65406, 65407, 65535]], np.uint16)
    expected = [[0, 0, 1, 1, 128, 254, 255, 255]]  # round(value / 257)
    image = Image.fromarray(values)
    contents = zlib.compress(b"\x00" + values.astype(">u2").tobytes())
    big_endian = Image.frombytes("I;16B", (8, 1), values.astype(">u2").tobytes())
    sources = [image, saved(image, "TIFF"), png(8, 1, 16, 0, contents), big_endian]
    sources += [Image.fromarray(values.astype(np.int32)), b"P5 8 1 65535\n" + values.astype(">u2").tobytes()]
    for source in sources:
        assert pixels(source, "L").tolist() == expected
        assert pixels(source)[:, :, 1].tolist() == expected


def test_a_dark_sixteen_bit_file_stays_dark() -> None:
    contents = zlib.compress(b"\x00" + struct.pack(">3H", 0, 100, 255))
    assert pixels(png(3, 1, 16, 0, contents), "L").tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("values", [[0, 70000], [-1, 5], [0, 200]])
def test_integers_of_unknown_range_are_refused(values: list[int]) -> None:
    with pytest.raises(ImageError, match="32-bit integers"):
        decode(Image.fromarray(np.array([values], np.int32)))


def test_float_pictures_are_zero_to_one_or_zero_to_255() -> None:
    for values in ([0.0, 0.5, 1.0], [0.0, 127.6, 255.0]):
        image = Image.fromarray(np.array([values], np.float32))
        for source in (image, saved(image, "TIFF")):
            assert pixels(source, "L").tolist() == [[0, 128, 255]]
    for values in ([-0.1, 0.5], [0, 256], [0, np.nan], [0, np.inf]):
        with pytest.raises(ImageError, match=r"expected 0\.\.1 or 0\.\.255"):
            decode(Image.fromarray(np.array([values], np.float32)))


def test_other_colour_spaces_are_converted() -> None:
    for mode in ("HSV", "YCbCr", "RGBX"):
        assert np.abs(pixels(PICTURE.convert(mode)) - PIXELS).max() <= 4
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    pale = Image.blend(PICTURE, Image.new("RGB", PICTURE.size, "grey"), 0.5)  # 8-bit Lab is coarse where sRGB ends
    lab = ImageCms.applyTransform(pale, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    for source in (lab, saved(lab, "TIFF")):
        assert np.abs(pixels(source) - np.asarray(pale)).max() <= 4


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(file_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if file_format == "WEBP" else {}
    contents = saved(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert (pixels(contents) == [255, 0, 0]).all()
    opened = Image.open(io.BytesIO(contents))
    assert opened.n_frames == 3
    opened.seek(2)  # somebody who opened it and chose a frame gets that frame
    assert (pixels(opened) == [0, 0, 255]).all()
    assert opened.tell() == 2


def test_the_callers_picture_is_left_alone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(saved(PICTURE.convert("RGBA"), "PNG", exif=exif.tobytes())))
    decode(image)
    assert (image.mode, image.size, image.getexif()[0x0112]) == ("RGBA", PICTURE.size, 6)
    array = PIXELS.copy()
    decode(array).putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(array, PIXELS)


# What cannot be used


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


def test_paths_that_are_no_picture_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    (tmp_path / "folder").mkdir()
    refuse(tmp_path / "empty.jpg", "empty.jpg'", "0 bytes")
    refuse(tmp_path / "text.jpg", "text.jpg'", "is not a picture that Pillow can read", "<html>404</html>")
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


def test_damaged_files_give_a_picture_or_an_image_error() -> None:
    generator = np.random.default_rng(0)
    for file_format in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "TGA", "JPEG2000"):
        contents = saved(PICTURE, file_format)
        for _ in range(40):
            damaged = np.frombuffer(contents, np.uint8).copy()
            damaged[generator.integers(0, len(damaged), 6)] = generator.integers(0, 256, 6)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
                try:
                    decode(damaged.tobytes())
                except ImageError as error:
                    assert "bytes" in str(error)  # noqa: PT017 (a picture is as good)


def test_postscript_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def started(*arguments, **options):
        raise AssertionError("a program was started")

    eps = saved(PICTURE, "EPS")
    monkeypatch.setattr(subprocess, "Popen", started)
    (tmp_path / "picture.jpg").write_bytes(eps)
    refuse(eps, "PostScript is a program and is not run")
    refuse(tmp_path / "picture.jpg", "PostScript is a program and is not run")
    refuse(Image.open(io.BytesIO(eps)), "is an EPS file, which is not run")


def test_a_closed_pillow_image_is_refused() -> None:
    with Image.open(io.BytesIO(saved(PICTURE, "PNG"))) as image:
        pass
    refuse(image, "Pillow image, mode RGB, 24x16", "cannot be decoded")


@pytest.mark.parametrize(
    ("source", "messages"),
    [
        (None, ["None", "expected a path"]),
        (3, ["int", "expected a path"]),
        (object(), ["object", "expected a path"]),
        (io.BytesIO(b"x"), ["give its .read()"]),
        ([PIXELS], ["list where one picture belongs"]),
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
def test_what_is_no_picture_is_refused_with_the_way_out(source, messages: list[str]) -> None:
    refuse(source, *messages)


def test_a_tensor_is_refused_with_the_way_out() -> None:
    refuse(paddle.zeros([2, 3, 8, 8]), "tensor of shape [2, 3, 8, 8]", "to the model itself", ".numpy()")


def test_an_unknown_mode_raises() -> None:
    with pytest.raises(ValueError, match="mode is 'CMYK'"):
        decode(PICTURE, "CMYK")


# Pillow's decompression limit


def test_a_picture_above_pillows_limit_is_refused_before_it_is_decoded() -> None:
    huge = png(20_000, 20_000, 8, 0, zlib.compress(b"\x00"))
    refuse(huge, "20000 x 20000 = 400,000,000 pixels", "decompression limit of 178,956,970")


@pytest.fixture(scope="module")
def large() -> dict[str, bytes]:
    """Files above the size at which Pillow warns (89,478,485 pixels) and below its limit; a few kB each."""
    image = Image.new("1", (10_000, 9_000), 1)
    return {"PNG": saved(image, "PNG"), "TIFF": saved(image, "TIFF", compression="group4")}


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_a_large_picture_is_read_without_a_warning(file_format: str, large: dict[str, bytes]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decode(large[file_format], "L")
    assert image.size == (10_000, 9_000)
    assert image.getpixel((9_999, 8_999)) == 255


def test_the_warning_filters_of_other_threads_are_never_touched(large: dict[str, bytes], monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # PICTURE has 384: between warning and limit
    contents = saved(PICTURE, "TIFF")
    failures, untouched = [], []

    def work() -> None:
        try:
            for _ in range(50):
                np.testing.assert_array_equal(pixels(contents), PIXELS)
        except BaseException as error:
            failures.append(error)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            untouched.append(warnings.filters == filters and Image.MAX_IMAGE_PIXELS == 300)
        for thread in threads:
            thread.join()
    assert not failures
    assert not [warning for warning in caught if issubclass(warning.category, Image.DecompressionBombWarning)]
    assert all(untouched)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"24 x 16 = 384 pixels, above Pillow's decompression limit of 200"):
        decode(contents)
