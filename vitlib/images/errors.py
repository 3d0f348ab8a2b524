"""The error of this package."""

from __future__ import annotations


class ImageError(ValueError):
    """An image that cannot be used. The message names the image, what is wrong with it, and what to do."""
