"""Train a small Vision Transformer on 1,797 scanned digits, then look at what it looks at. About a minute on two cores.

pip install '.[examples]'  # in a clone of vitlib
python examples/quickstart.py [--seed 0] [--epochs 34] [--picture quickstart.png] [--photos photo.jpg ...]

At the end, a trained model beside this script, which knows ten kinds of clothes, sees the photographs of photos/, or
yours: what it says, how sure it is, and where it looks.
"""

import startup  # isort: skip

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
import paddle
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import vitlib
from vitlib.analysis.pictures import draw_page
from vitlib.training import param_groups, warmup_cosine


def shift(images, rng):
    """Half of the images [B, 1, 8, 8] moved by up to one pixel: the only augmentation that these digits need."""
    images = images.copy()
    for index in np.flatnonzero(rng.random(len(images)) < 0.5):
        images[index, 0] = np.roll(images[index, 0], rng.integers(-1, 2, 2), axis=(0, 1))
    return images


def train(model, images, labels, epochs, rng, batch_size=64):
    """AdamW with warm-up and a cosine, as every ViT is trained. images: [B, 1, 8, 8]; labels: [B]."""
    steps = epochs * (len(images) // batch_size)
    schedule = warmup_cosine(2e-3, total_steps=steps, warmup_steps=steps // 20, warmup_lr=0.0, final_lr=0.0)
    optimizer = paddle.optimizer.AdamW(schedule, parameters=param_groups(model, 0.05))
    model.train()
    with tqdm(total=steps, desc="training", unit="step") as progress:
        for _ in range(epochs):
            order = rng.permutation(len(images))
            for start in range(0, len(order) - batch_size + 1, batch_size):
                batch = order[start : start + batch_size]
                logits = model(paddle.to_tensor(shift(images[batch], rng)))
                loss = paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(labels[batch]))
                loss.backward()
                optimizer.step()
                optimizer.clear_grad()
                schedule.step()
                progress.update()
            progress.set_postfix(loss=f"{float(loss):.3f}")


def draw(model, images, labels, path, count=8):
    """Some digits [B, 1, 8, 8], what the model says, and the attention of its class token in the last block."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    x = paddle.to_tensor(images[:count])
    said = model(x).argmax(-1).numpy()
    (attention,) = vitlib.attention_maps(model, x, layers=[-1])  # [B, heads, N, N]
    looks = attention.mean(1)[:, 0, 1:].reshape([count, 4, 4]).numpy()  # class token -> 4 x 4 patches
    figure, axes = plt.subplots(2, count, figsize=(1.5 * count, 3.6), layout="constrained")
    for index, (top, bottom) in enumerate(axes.T):
        top.imshow(images[index, 0], cmap="gray_r")
        colour = "black" if said[index] == labels[index] else "red"
        top.set_title(f"says {said[index]}, is {labels[index]}", fontsize=9, color=colour)
        bottom.imshow(images[index, 0], cmap="gray_r")
        bottom.imshow(looks[index], cmap="inferno", alpha=0.65, extent=(-0.5, 7.5, 7.5, -0.5))
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle("Test digits, and where the class token of the last block looks (bright: much)", fontsize=10)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=startup.HelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the split, the weights and the training")
    parser.add_argument("--epochs", type=int, default=34, help="passes over the training digits")
    parser.add_argument("--picture", default="quickstart.png", help="file of the digits with their attention")
    photos = sorted((Path(__file__).parent / "photos").glob("*.jpg"))
    parser.add_argument(
        "--photos", nargs="+", default=photos, metavar="PHOTO", help="of clothes (default: those of photos/)"
    )
    arguments = parser.parse_args()

    print(vitlib.tune_cpu())
    # The last output is made first, so that a mistake in an argument is told before the training
    picture = Path(arguments.picture)
    folder = picture.resolve().parent
    if not folder.is_dir():
        sys.exit(f"quickstart.py: --picture {arguments.picture}: there is no folder {folder}; make it, or name another")
    clothes = vitlib.from_pretrained(Path(__file__).parent / "clothes")
    try:
        dressed = vitlib.predict(clothes, arguments.photos, top_k=1)
        page = draw_page(clothes, arguments.photos)
    except (vitlib.ImageError, OSError) as error:
        sys.exit(f"quickstart.py: --photos: {error}")

    paddle.seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    digits = load_digits()
    images = (digits.images[:, None] / 8 - 1).astype("float32")  # grey values 0 to 16 -> [B, 1, 8, 8] in -1 to 1
    split = train_test_split(images, digits.target, test_size=0.2, stratify=digits.target, random_state=arguments.seed)
    train_images, test_images, train_labels, test_labels = split

    model = vitlib.VisionTransformer(
        img_size=8,
        patch_size=2,
        in_chans=1,
        num_classes=10,
        embed_dim=64,
        depth=3,
        num_heads=2,
        weight_init="jax",
    )
    # So little data teaches positions slowly: start them where they can be seen.
    model.pos_embed.set_value(0.5 * paddle.randn(model.pos_embed.shape))
    model.cls_token.set_value(0.5 * paddle.randn(model.cls_token.shape))
    print(vitlib.count(model))

    train(model, train_images, train_labels, arguments.epochs, rng)
    model.eval()
    with paddle.no_grad():
        predicted = model(paddle.to_tensor(test_images)).argmax(-1).numpy()
        print(f"test accuracy: {100 * (predicted == test_labels).mean():.1f} %")
        draw(model, test_images, test_labels, arguments.picture)
    print(f"wrote {arguments.picture}")

    print("and photographs, for a small model that knows ten kinds of clothes:")
    for photo, ((label, probability, _),) in zip(arguments.photos, dressed, strict=True):
        print(f"  {Path(photo).name}: {label}, {100 * probability:.0f} %")
    looks = picture.with_stem(f"{picture.stem}-photos")
    page.save(looks)
    print(f"wrote {looks}, with where it looks")


if __name__ == "__main__":
    startup.end_with_a_sentence(main)
