"""Text in pictures: a font that has its letters, and text cut to a width."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageDraw, ImageFont

# Pillow's own font has little more than ASCII. These are found where Linux, Windows and macOS keep their fonts.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "msyh.ttc",
    "simhei.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "Arial Unicode.ttf",
)
_OF_PILLOW = {*map(chr, range(32, 127)), "·", "…"}
_ABSENT = "\U0010ffff"  # no font has it, so it is drawn as the sign for letters that are missing

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font_for(text: str, size: int) -> Font:
    """Pillow's own font where it has the letters, else the first of the system's that has them; Pillow's where none
    has."""
    letters = "".join(sorted(set(text) - _OF_PILLOW))
    return _font(letters, max(1, size))


@lru_cache(maxsize=256)
def _font(letters: str, size: int) -> Font:
    if letters:
        for name in _SYSTEM_FONTS:
            try:
                font = ImageFont.truetype(name, size)
            except OSError:
                continue
            missing = bytes(font.getmask(_ABSENT))
            if all(bytes(font.getmask(letter)) != missing for letter in letters):
                return font
    return ImageFont.load_default(size)


def fitted(text: str, size: int, width: float, *, keep_end: bool = False) -> str:
    """The text, or its beginning and "…" where it is longer than so many pixels; with keep_end "…" and its end."""
    if font_for(text, size).getlength(text) <= width:
        return text
    cut = text
    while cut and font_for(text, size).getlength(f"{cut}…") > width:
        cut = cut[1:] if keep_end else cut[:-1]
    return f"…{cut}" if keep_end else f"{cut}…"


def write(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, color: str, anchor: str = "la"
) -> None:
    """Text of a height in pixels at a point; anchor as in Pillow ("la": left and ascender)."""
    pen.text(at, text, font=font_for(text, size), fill=color, anchor=anchor)


def number(value: float, unit: str = "") -> str:
    """Two digits that count: 0.031, 4.2 %, 0."""
    text = "0" if value == 0 else f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"
    return f"{text} {unit}".rstrip()


def percent(probability: float) -> str:
    """A probability in [0, 1] as "87 %", "0.4 %", "< 0.1 %"."""
    if probability < 0.001:
        return "< 0.1 %"
    return f"{100 * probability:.0f} %" if probability >= 0.1 else f"{100 * probability:.1f} %"
