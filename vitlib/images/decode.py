"""Any kind of image -> a Pillow image in the wanted mode, or one error that names the image and the reason."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from .color import orient, to_mode
from .errors import ImageError

# EPS is a program that Pillow hands to Ghostscript, WMF one that Windows plays; IPTC wraps a file of any format,
# which Pillow opens by itself and so could be either.
_REFUSED_FORMATS = ("EPS", "WMF", "IPTC")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")  # ISO/IEC 23008-12

HEIF_HINT = "Pillow reads HEIC with a plugin: pip install pillow-heif, then pillow_heif.register_heif_opener()"

# An image may be given as any of these.
ImageSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray


def decode(source: ImageSource, mode: str = "RGB", *, where: str = "", share: bool = False) -> Image.Image:
    """One image, upright, in `mode`.

    Args:
        source: a path (str or os.PathLike), the bytes of an image file, a file opened for reading bytes, a Pillow
            image, or a uint8 array [H, W], [H, W, 1] (grey) or [H, W, 3] (RGB).
        mode: "RGB" or "L" (grey).
        where: beginning of error messages, e.g. "item 3 of the list".
        share: return a Pillow image that needs no change itself instead of a copy, and an image that may share the
            memory of an array; do not write to either.

    Orientation tags are applied, transparency is laid on white, of an animation the first frame is taken (of an open
    Pillow image the current one), 16-bit grey is scaled to 8 bits. Neither the image nor any global state is changed;
    no program is started.

    Raises:
        FileNotFoundError: for a path that does not exist.
        ImageError: for everything that cannot be read as one image, and for images above Pillow's decompression
            limit, 2 * PIL.Image.MAX_IMAGE_PIXELS (178,956,970 pixels unless somebody changed it); above half of it
            Pillow warns.
    """
    if mode not in ("RGB", "L"):
        raise ValueError(f'mode is {mode!r}; expected "RGB" or "L"')
    name = _name(source, where)
    if isinstance(source, (str, os.PathLike)):
        with _open_file(source, name) as file:
            return _decode_file(file, mode, name)
    if hasattr(source, "read"):
        source = _read(source, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise ImageError(f"{name}: there are no bytes; expected the contents of an image file")
        return _decode_file(io.BytesIO(source), mode, name)
    if isinstance(source, Image.Image):
        image = _decode_image(source, mode, name)
        return image.copy() if image is source and not share else image
    array = _check_array(source, name)
    if array.ndim == 3 and array.shape[2] not in (1, 3):
        raise ImageError(f"{name}: {_channel_complaint(array.shape, 'expected [H, W], [H, W, 1] or [H, W, 3]')}")
    image = Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array)
    result = to_mode(image, mode, name)
    return result.copy() if result is image and not share else result  # Pillow shares the memory of grey arrays


def split_channels(source: ImageSource, channels: int, *, where: str = "") -> list[Image.Image]:
    """The channels of a uint8 array [H, W, channels], each as a grey Pillow image.

    For inputs that are neither grey nor RGB (multispectral, depth, several microscope stains). Raises ImageError for
    anything else; `where` is the beginning of error messages.
    """
    name = _name(source, where)
    if isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)) or hasattr(source, "read"):
        raise ImageError(
            f"{name}: the preprocessing is for {channels} channels, and image files have 1 or 3; "
            f"expected a uint8 array [H, W, {channels}]"
        )
    array = _check_array(source, name)
    if array.ndim != 3 or array.shape[2] != channels:
        raise ImageError(f"{name}: {_channel_complaint(array.shape, f'expected [H, W, {channels}]')}")
    return [Image.fromarray(np.ascontiguousarray(array[:, :, channel])) for channel in range(channels)]


def _name(source: Any, where: str) -> str:
    """The image's name in errors, such as "item 3 of the list ('cat.jpg')"."""
    if isinstance(source, (str, os.PathLike)):
        name = repr(os.fspath(source))
    elif isinstance(source, (bytes, bytearray, memoryview)):
        name = f"bytes, {len(source)} of them"
    elif isinstance(source, Image.Image):
        name = f"Pillow image, mode {source.mode}, {source.width}x{source.height}"
    elif isinstance(source, np.ndarray):
        name = f"array, {source.dtype}, shape {list(source.shape)}"
    else:
        kind = type(source)
        name = "None" if source is None else f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return f"{where} ({name})" if where else name


def _open_file(path: str | os.PathLike[str], name: str) -> IO[bytes]:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name}: is a directory; give the image files in it, as a list of paths")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
            raise ImageError(f"{name}: is not a regular file; read its contents and give them as bytes")
        if status.st_size == 0:
            raise ImageError(f"{name}: the file is empty (0 bytes); fetch it again")
        return open(path, "rb")
    except FileNotFoundError:
        reason = "No such image file"
        if str(path).startswith(("http:/", "https:/")):
            reason += " (addresses are not fetched: download the image and give its path or bytes)"
        raise FileNotFoundError(errno.ENOENT, reason, os.fspath(path)) from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise ImageError(f"{name}: cannot be opened: {error}") from error


def _read(file: IO[bytes], name: str) -> bytes:
    """All of an open file, from its beginning where it can go back there, as `PIL.Image.open` does."""
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)
        content = file.read()
    except (OSError, ValueError) as error:  # ValueError: the file is closed
        raise ImageError(f"{name}: cannot be read: {error}") from error
    if not isinstance(content, bytes):
        raise ImageError(f"{name}: gives {type(content).__name__}; expected a file opened for bytes, open(path, 'rb')")
    return content


def _decode_file(file: IO[bytes], mode: str, name: str) -> Image.Image:
    Image.init()  # Pillow knows its rarer formats only then
    formats = [known for known in Image.OPEN if known not in _REFUSED_FORMATS]
    with _errors_named(name):
        try:
            image = Image.open(file, formats=formats)
        except UnidentifiedImageError:
            file.seek(0)
            prefix = file.read(16)
            hint = ""
            if prefix.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
                hint = "; PostScript is a program and is not run; save the image as PNG"
            elif prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS:
                hint = f"; {HEIF_HINT}"
            raise ImageError(
                f"{name}: is not an image that Pillow can read, or its header is damaged "
                f"(it begins with {prefix!r}){hint}"
            ) from None
        return _decode_image(image, mode, name)


def _decode_image(image: Image.Image, mode: str, name: str) -> Image.Image:
    if 0 in image.size:
        raise ImageError(f"{name}: has no pixels ({image.width} x {image.height})")
    if image.format in _REFUSED_FORMATS and getattr(image, "tile", None):  # opened by the caller, not read yet
        raise ImageError(f"{name}: is an {image.format} file, which is not run; save the image as PNG")
    with _errors_named(name):
        image.load()
        return orient(to_mode(image, mode, name), image)


@contextmanager
def _errors_named(name: str) -> Iterator[None]:
    """Whatever Pillow raises on a broken file (OSError, SyntaxError, struct.error, MemoryError...) as ImageError."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # the latter under -W error
        reason = str(error).partition(", could be")[0]
        raise ImageError(
            f"{name}: {reason}; make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ImageError(f"{name}: cannot be decoded ({reason}); the file is damaged or cut short") from error


def _check_array(source: Any, name: str) -> np.ndarray:
    """`source` itself if it is a uint8 array [H, W] or [H, W, C] with pixels in it."""
    if not isinstance(source, np.ndarray):
        raise ImageError(f"{name}: {_type_complaint(source)}")
    shape = list(source.shape)
    if source.ndim == 4:
        raise ImageError(
            f"{name}: is a batch; expected one image [H, W, C] uint8 at a time, so give list(array); "
            "a float batch [B, C, H, W] that is already normalised goes to the model, not to the preprocessing"
        )
    if source.ndim not in (2, 3):
        raise ImageError(f"{name}: has {source.ndim} dimensions; expected [H, W] or [H, W, C]")
    if 0 in shape:
        raise ImageError(f"{name}: has no pixels")
    if source.dtype != np.uint8:
        hint = "convert it to that range"
        if np.issubdtype(source.dtype, np.floating):
            hint = "for values in 0..1, (array * 255).round().astype('uint8')"
        elif source.dtype == np.bool_:
            hint = "array.astype('uint8') * 255"
        elif source.dtype == np.uint16:
            hint = "for the full 16-bit range, (array // 257).astype('uint8')"
        raise ImageError(f"{name}: holds {source.dtype}; expected uint8, 0..255 ({hint})")
    return np.asarray(source)


def _channel_complaint(shape: tuple[int, ...], expected: str) -> str:
    if len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3):
        return f"the channels seem to come first; {expected}, so give array.transpose(1, 2, 0)"
    if shape[2:] == (4,):
        return f"has 4 channels; {expected}; for red, green, blue, alpha give PIL.Image.fromarray(array)"
    return f"has {shape[2] if len(shape) == 3 else 1} channels; {expected}"


def _type_complaint(source: Any) -> str:
    expected = "expected a path, the bytes of an image file, an open file, a Pillow image or a uint8 array [H, W, C]"
    package = type(source).__module__.partition(".")[0]
    if package in ("paddle", "torch") and hasattr(source, "shape"):
        return (
            f"is a tensor of shape {list(source.shape)}; {expected}. If it is normalised already, [B, C, H, W], give "
            "it to the model itself; if it holds pixels, give tensor.numpy() as uint8 [H, W, C]"
        )
    if isinstance(source, (list, tuple)):
        return f"is a {type(source).__name__} where one image belongs; {expected}. Lists of images must be flat"
    return f"cannot be an image; {expected}"
