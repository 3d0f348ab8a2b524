"""How much of a training step's time on one core reading and augmenting take: the student of examples/results.

    python tests/training/benchmark_share.py [--rounds 5] [--batch 64] FOLDER

FOLDER holds CLASS/*.jpg. Processor time of this process with one thread: for a batch of the pipeline, decoded anew and
from the cache, with the recipe of the tables and with RandAugment; and for a step (forward, loss, backward,
AdamW). They alternate, and medians are printed.
"""

import argparse
import statistics
import time

import paddle

import vitlib
from vitlib.images import ImageFolder, TrainTransform, collate
from vitlib.training import DistillationLoss, TrainingStep, param_groups

RECIPES = {
    "the tables' recipe": {"color_jitter": 0.2},
    "with RandAugment and erasing": {"auto_augment": "rand-m9-mstd0.5-inc1", "erasing": 0.25},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    print(vitlib.tune_cpu(1))
    model = vitlib.DeiT(
        img_size=64, patch_size=8, embed_dim=128, depth=6, num_heads=4, num_classes=10, pos_embed="sincos2d"
    )
    model.train()
    step = TrainingStep(model, DistillationLoss("hard"), paddle.optimizer.AdamW(parameters=param_groups(model, 0.05)))
    teacher_logits = paddle.randn([arguments.batch, 10])
    folders = {}
    for name, options in RECIPES.items():
        transform = TrainTransform(size=64, squash=72, scale=(0.5, 1), interpolation="bicubic", **options)
        for kept, cache in (("decoded anew", 0), ("cached", 10**9)):
            folders[f"{name}, {kept}"] = folder = ImageFolder(arguments.folder, transform, cache=cache)
            folder.fill_cache()
    seconds = {name: [] for name in ("a step", *folders)}
    for round in range(arguments.rounds + 1):
        for name, folder in folders.items():
            start = time.process_time()
            keys = [((round * arguments.batch + i) % len(folder), round) for i in range(arguments.batch)]
            images, labels, *_ = collate([folder[key] for key in keys])
            images, labels = paddle.to_tensor(images), paddle.to_tensor(labels)
            seconds[name].append(time.process_time() - start)
        start = time.process_time()
        step(images, labels, teacher_logits)
        seconds["a step"].append(time.process_time() - start)
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    for name, found in medians.items():
        share = "" if name == "a step" else f", {100 * found / medians['a step']:.0f} % of a step"
        print(f"{name}: {1e3 * found / arguments.batch:.2f} ms an image{share}")


if __name__ == "__main__":
    main()
