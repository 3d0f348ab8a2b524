"""Decoding shows what a person would see, whatever the file."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import IMAGE, PIXELS, pixels, png, saved
from PIL import Image, ImageCms

from vitlib.images import ImageError, decode


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM", "GIF", "TGA", "WEBP"])
def test_lossless_formats_give_their_pixels(file_format: str, tmp_path: Path) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    contents = saved(IMAGE, file_format, **options)
    (tmp_path / "image.any").write_bytes(contents)
    for source in (contents, bytearray(contents), memoryview(contents), tmp_path / "image.any"):
        np.testing.assert_array_equal(pixels(source), PIXELS)
    np.testing.assert_array_equal(pixels(contents, "L"), np.asarray(IMAGE.convert("L")))


def test_arrays_and_pillow_images_give_their_pixels() -> None:
    np.testing.assert_array_equal(pixels(PIXELS), PIXELS)
    np.testing.assert_array_equal(pixels(PIXELS[::-1, ::-1]), PIXELS[::-1, ::-1])
    np.testing.assert_array_equal(pixels(IMAGE), PIXELS)
    np.testing.assert_array_equal(pixels(PIXELS[:, :, 0], "L"), PIXELS[:, :, 0])
    np.testing.assert_array_equal(pixels(PIXELS[:, :, :1]), PIXELS[:, :, :1].repeat(3, axis=2))


def test_jpeg_is_close_to_what_was_saved() -> None:
    assert np.abs(pixels(saved(IMAGE, "JPEG", quality=100, subsampling=0)) - PIXELS).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_applied(orientation: int, file_format: str) -> None:
    # Where row 0 and column 0 of the stored image are seen (Exif 2.32), hence how a seen image is stored.
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
    assert decode(contents, "L").size == IMAGE.size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_lose_the_image() -> None:
    for exif in (b"Exif\x00\x00garbage that is no TIFF", b"Exif\x00\x00II*\x00\xff\xff\xff\xff"):
        assert np.abs(pixels(saved(IMAGE, "JPEG", quality=100, subsampling=0, exif=exif)) - PIXELS).max() <= 3


def test_transparency_is_laid_on_white() -> None:
    alpha = np.zeros((16, 24), np.uint8)
    alpha[:, 8:16], alpha[:, 16:] = 128, 255
    weight = alpha[:, :, None] / 255
    rgba = Image.fromarray(np.dstack([PIXELS, alpha]))
    expected = PIXELS * weight + 255 * (1 - weight)
    for source in (saved(rgba, "PNG"), rgba, rgba.convert("RGBa")):
        assert np.abs(pixels(source) - expected).max() <= 1.01
    grey = np.asarray(IMAGE.convert("L")).astype(float)
    grey_alpha = Image.merge("LA", (IMAGE.convert("L"), Image.fromarray(alpha)))
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
    rgb = saved(IMAGE, "PNG", transparency=(200, 40, 10))
    expected = PIXELS.copy()
    expected[:8, :8] = 255
    np.testing.assert_array_equal(pixels(rgb), expected)
    grey = saved(Image.fromarray(np.array([[0, 7, 9]], np.uint8)), "PNG", transparency=7)
    assert pixels(grey, "L").tolist() == [[0, 255, 9]]
    deep = zlib.compress(b"\x00" + struct.pack(">3H", 0, 700, 65535))
    assert pixels(png(3, 1, 16, 0, deep, (b"tRNS", struct.pack(">H", 700))), "L").tolist() == [[0, 255, 255]]


def test_cmyk_is_seen_in_its_colours() -> None:
    cmyk = IMAGE.convert("CMYK")
    np.testing.assert_array_equal(pixels(cmyk), PIXELS)
    np.testing.assert_array_equal(pixels(saved(cmyk, "TIFF")), PIXELS)
    jpeg = saved(cmyk, "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in jpeg[:64]  # so its ink values are stored inverted
    assert np.abs(pixels(jpeg) - PIXELS).max() <= 4


def test_bilevel_images_are_black_and_white() -> None:
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


def test_float_images_are_zero_to_one_or_zero_to_255() -> None:
    for values in ([0.0, 0.5, 1.0], [0.0, 127.6, 255.0]):
        image = Image.fromarray(np.array([values], np.float32))
        for source in (image, saved(image, "TIFF")):
            assert pixels(source, "L").tolist() == [[0, 128, 255]]
    for values in ([-0.1, 0.5], [0, 256], [0, np.nan], [0, np.inf]):
        with pytest.raises(ImageError, match=r"expected 0\.\.1 or 0\.\.255"):
            decode(Image.fromarray(np.array([values], np.float32)))


def test_other_colour_spaces_are_converted() -> None:
    for mode in ("HSV", "YCbCr", "RGBX"):
        assert np.abs(pixels(IMAGE.convert(mode)) - PIXELS).max() <= 4
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    pale = Image.blend(IMAGE, Image.new("RGB", IMAGE.size, "grey"), 0.5)  # 8-bit Lab is coarse where sRGB ends
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


def test_the_callers_image_is_left_alone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(saved(IMAGE.convert("RGBA"), "PNG", exif=exif.tobytes())))
    decode(image)
    assert (image.mode, image.size, image.getexif()[0x0112]) == ("RGBA", IMAGE.size, 6)
    array = PIXELS.copy()
    decode(array).putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(array, PIXELS)
    grey, image = Image.fromarray(array[:, :, 0]), IMAGE.copy()
    decode(grey, "L").putpixel((0, 0), 3)
    decode(image).putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(np.asarray(grey), PIXELS[:, :, 0])
    np.testing.assert_array_equal(np.asarray(image), PIXELS)
