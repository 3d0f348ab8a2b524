"""Kills a small training run with SIGKILL at random moments until it is done, and compares it with one left alone.

The run has all that a real one has: a DeiT with dropout and drop path, AdamW with parameter groups, warm-up and cosine,
an average of the weights, augmentation from draws and from a generator, repeated augmentation, and checkpoints. Final
weights, averages, moments and every generator must be the same to the last bit. A long run:

    python tests/training/kill_runs.py --kills 50
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

STEPS, EVERY = 60, 3


class Average:
    """Of a model's weights, by name."""

    def __init__(self, model: Any) -> None:
        self.weights = {name: parameter.numpy() for name, parameter in model.named_parameters()}

    def update(self, model: Any) -> None:
        for name, parameter in model.named_parameters():
            self.weights[name] = (0.9 * self.weights[name] + 0.1 * parameter.numpy()).astype("float32")

    def state_dict(self) -> dict[str, Any]:
        return dict(self.weights)

    def set_state_dict(self, state: dict[str, Any]) -> None:
        self.weights = dict(state)


def train(directory: Path, steps: int, every: int) -> None:
    """Takes the run up where its last checkpoint is; writes the digest of the final state to `directory`/done."""
    import numpy as np
    import paddle

    import vitlib
    from vitlib.training import Checkpoints, EpochSampler, restore_training_state, training_state
    from vitlib.training.state_file import write_state

    paddle.seed(0)
    model = vitlib.DeiT(
        img_size=16, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=5, drop_path_rate=0.3,
        proj_drop_rate=0.1,
    )  # fmt: skip
    model.train()
    cosine = paddle.optimizer.lr.CosineAnnealingDecay(1e-2, steps)
    scheduler = paddle.optimizer.lr.LinearWarmup(cosine, 5, 1e-4, 1e-2)
    plain = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed}]
    optimizer = paddle.optimizer.AdamW(scheduler, parameters=groups, weight_decay=0.05)
    average, sampler = Average(model), EpochSampler(50, 8, repeats=3, seed=1)
    mixing = np.random.default_rng(2)
    random.seed(3)
    np.random.seed(4)
    checkpoints = Checkpoints(directory / "checkpoints")
    parts = {"ema": average, "sampler": sampler, "rng": mixing}
    step, losses = 0, []
    if latest := checkpoints.latest():
        step = latest[0]
        losses = restore_training_state(latest[1], model, optimizer, **parts)
    print("step", step, flush=True)
    while step < steps:
        for keys in sampler:
            noise = [np.random.default_rng([5, draw]).standard_normal((3, 16, 16)) for _, draw in keys]
            images = np.stack(noise) + np.array([index for index, _ in keys])[:, None, None, None] / 50
            share = mixing.beta(0.8, 0.8) + random.random() / 10 + np.random.rand() / 10
            images = paddle.to_tensor((share * images + (1 - share) * images[::-1]).astype("float32"))
            labels = paddle.to_tensor([index % 5 for index, _ in keys])
            logits, distillation = model(images)
            loss = paddle.nn.functional.cross_entropy(logits + distillation, labels)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            scheduler.step()
            average.update(model)
            sampler.advance()
            losses.append(float(loss))
            step += 1
            if step % every == 0 or step == steps:
                print("saving", step, flush=True)
                checkpoints.save(step, training_state(model, optimizer, **parts, extra=losses))
            print("step", step, flush=True)
            if step == steps:
                break
    final = directory / "final.safetensors"
    write_state(final, training_state(model, optimizer, **parts, extra=losses))
    (directory / "done").write_text(hashlib.sha256(final.read_bytes()).hexdigest())


def start(directory: Path, steps: int, every: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--directory", str(directory), "--steps", str(steps), "--every", str(every)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def uninterrupted(directory: Path, steps: int, every: int) -> str:
    directory.mkdir()
    with start(directory, steps, every) as process:
        process.communicate()
    assert process.returncode == 0
    return (directory / "done").read_text()


def attack(directory: Path, steps: int, every: int, rng: random.Random, counts: Counter[str]) -> None:
    """Starts the run once and kills it a random time after a random one of its next reports."""
    with start(directory, steps, every) as process:
        assert process.stdout is not None
        at_saving, reports, last = rng.random() < 0.5, rng.randrange(1, 8), "starting"
        for line in process.stdout:
            last = line.strip()
            reports -= 1
            if reports <= 0 and last.startswith("saving" if at_saving else "step"):
                # A save of so small a model takes about 10 ms
                time.sleep(rng.random() * (0.012 if at_saving else 0.03))
                break
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")
    if process.returncode == 0:
        counts["came too late"] += 1
        return
    assert process.returncode == -signal.SIGKILL, f"the run failed by itself: {process.returncode}"
    last = [last, *(line for line in rest if line)][-1]
    counts["killed"] += 1
    counts["while saving" if last.startswith("saving") else "between saves"] += 1
    if any((directory / "checkpoints").glob(".vitlib-*.partial")):
        counts["left a partial file"] += 1


def run(kills: int, seed: int, *, steps: int = STEPS, every: int = EVERY) -> dict[str, Any]:
    """Runs, kills and restarts until there were `kills` kills; raises when a finished run differs in a single bit."""
    rng, counts, began = random.Random(seed), Counter(), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        expected = uninterrupted(Path(scratch, "alone"), steps, every)
        while counts["killed"] < kills:
            directory = Path(scratch, str(counts["runs finished"]))
            directory.mkdir()
            while not (directory / "done").exists():
                if counts["killed"] < kills:
                    attack(directory, steps, every, rng, counts)
                else:
                    with start(directory, steps, every) as process:
                        process.communicate()
                    assert process.returncode == 0
                counts["starts"] += 1
            assert (directory / "done").read_text() == expected, f"differs after {dict(counts)}"
            # beside the checkpoints: a kill while the last file was written leaves its temporary one
            assert not list((directory / "checkpoints").rglob("*.partial"))
            counts["runs finished"] += 1
    return {**counts, "steps of a run": steps, "identical": True, "seconds": round(time.perf_counter() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--every", type=int, default=EVERY)
    parser.add_argument("--directory", type=Path, help="train here once, as the killed processes do")
    options = parser.parse_args()
    if options.directory:
        train(options.directory, options.steps, options.every)
        sys.stdout.flush()
        os._exit(0)  # Paddle takes its time to leave
    print(json.dumps(run(options.kills, options.seed, steps=options.steps, every=options.every)))


if __name__ == "__main__":
    main()
