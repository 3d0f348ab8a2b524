"""Decoded images in memory, up to a number of bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress

import numpy as np
from PIL import Image

from .checks import check_count
from .errors import ImageError


class ImageCache:
    """Keeps images as uint8 arrays, height · width · channels bytes each, while there is room; makes others each time.

    limit: bytes, a whole number; 0 keeps nothing. Raises ValueError for others.
    """

    def __init__(self, limit: int) -> None:
        self.limit = check_count("cache", limit)
        self.num_bytes = 0
        self._arrays: dict[int, np.ndarray] = {}
        self._recipe: Hashable = None
        self._is_filled = False

    def __len__(self) -> int:
        return len(self._arrays)

    def fill(self, recipe: Hashable, makers: Iterable[Callable[[], Image.Image]]) -> None:
        """Keep the images that makers make, in their order, until one has no room; once for each recipe.

        An image that cannot be read is left out.
        """
        if self.limit == 0 or (self._is_filled and recipe == self._recipe):
            return
        for index, make in enumerate(makers):
            with suppress(ImageError, FileNotFoundError):
                self.image(index, recipe, make)
                if index not in self._arrays:
                    break
        self._is_filled = True

    def image(self, index: int, recipe: Hashable, make: Callable[[], Image.Image]) -> Image.Image:
        """Image number `index`, kept from an earlier call or made now.

        recipe: of everything that make() does to an image; another one empties the cache.
        """
        if self.limit == 0:
            return make()
        if recipe != self._recipe:
            self._arrays.clear()
            self.num_bytes, self._recipe, self._is_filled = 0, recipe, False
        if (kept := self._arrays.get(index)) is not None:
            return Image.fromarray(kept)
        image = make()
        num_bytes = image.height * image.width * len(image.getbands())
        if self.num_bytes + num_bytes <= self.limit:
            self._arrays[index] = np.asarray(image)
            self.num_bytes += num_bytes
        return image
