"""The error of this package."""

from __future__ import annotations


class ImageError(ValueError):
    """A picture that cannot be used. The message names the picture, what is wrong with it, and what to do."""
