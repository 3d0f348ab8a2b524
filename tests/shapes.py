"""A data set that a test can draw: bright circles, squares and triangles on a dark ground, as a folder of pictures."""

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ["circle", "square", "triangle"]


def draw_shape(kind, rng, size=24):
    image = Image.new("RGB", (size, size), tuple(rng.integers(0, 90, 3).tolist()))
    pen, colour = ImageDraw.Draw(image), tuple(rng.integers(150, 256, 3).tolist())
    radius = int(rng.integers(size // 5, size // 3))
    x, y = rng.integers(radius, size - radius, 2).tolist()
    left, top, right, bottom = x - radius, y - radius, x + radius, y + radius
    if kind == "circle":
        pen.ellipse((left, top, right, bottom), fill=colour)
    elif kind == "square":
        pen.rectangle((left, top, right, bottom), fill=colour)
    else:
        pen.polygon([(x, top), (left, bottom), (right, bottom)], fill=colour)
    return image


def draw_folder(root, train=12, validation=4, test=0, seed=0):
    """root/PART/CLASS/NUMBER.png and .jpg, as many of each class as said."""
    rng = np.random.default_rng(seed)
    for part, count in (("train", train), ("validation", validation), ("test", test)):
        for kind in CLASSES:
            for number in range(count):
                folder = root / part / kind
                folder.mkdir(parents=True, exist_ok=True)
                draw_shape(kind, rng).save(folder / f"{number:03}.{'jpg' if number % 2 else 'png'}")
    return root
