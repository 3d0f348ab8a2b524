"""How fast and in how much memory a DeiT-S is trained on a CPU, beside timm where there is a Python that has it.

    python tests/models/benchmark_training.py [--timm PYTHON] [--rounds 5] [--batch 8] [--threads 2] [--recompute]
    python tests/models/benchmark_training.py --timm PYTHON --batch 64 --threads 1 \\
        --set img_size=64 patch_size=8 embed_dim=128 depth=6 num_heads=4 num_classes=10

A step is forward, cross-entropy, backward and AdamW in float32. Every candidate lives in a process of its own, all of
them wait while one takes a few steps, turns alternate, and medians of the steps are printed. `peak` is the highest
resident memory of the process during the steps less what it held before the model was built.
"""

import argparse
import json
import statistics
import subprocess
import sys

COMMON = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
name, batch, threads, settings = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
size, num_classes = settings.get("img_size", 224), settings.get("num_classes", 1000)
def resident(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field)) / 1024
def serve(make):
    train, first = None, None
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        if train is None:
            before = resident("VmRSS")
            train = make()
            for _ in range(3):
                train()
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            loss = train()
            seconds.append(time.perf_counter() - start)
        print(json.dumps({"seconds": seconds, "peak": resident("VmHWM") - before, "loss": loss}), flush=True)
"""
VITLIB = """
import paddle, vitlib
options = set(sys.argv[5:])
vitlib.tune_cpu(threads, **({"keep_memory": True} if "keep" in options else {}))
(paddle.randn([64, 64]) @ paddle.randn([64, 64])).sum()
def make():
    paddle.seed(0)
    model = vitlib.create_model(name, **settings)
    model.train()
    if "recompute" in options:
        model.set_recompute()
    if "static" in options:
        model = paddle.jit.to_static(model, full_graph=True)
    optimizer = paddle.optimizer.AdamW(1e-4, parameters=model.parameters(), weight_decay=0.05)
    images, labels = paddle.randn([batch, 3, size, size]), paddle.randint(0, num_classes, [batch])
    def train():
        loss = paddle.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad(set_to_zero=False)
        return float(loss)
    return train
serve(make)
"""
TIMM = """
import torch, timm
torch.set_num_threads(threads)
(torch.randn(64, 64) @ torch.randn(64, 64)).sum()
def make():
    torch.manual_seed(0)
    model = timm.create_model(name, **settings).train()
    if "recompute" in sys.argv[5:]:
        model.set_grad_checkpointing()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05)
    images, labels = torch.randn(batch, 3, size, size), torch.randint(0, num_classes, [batch])
    def train():
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())
    return train
serve(make)
"""


class Candidate:
    """A process that takes training steps when it is told to."""

    def __init__(self, python, code, *arguments):
        command = [python, "-c", COMMON + code, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seconds, self.peak = [], 0.0
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"a candidate ended with status {self.process.wait()}")
        return json.loads(line)

    def take(self, steps):
        print(steps, file=self.process.stdin, flush=True)
        answer = self.answer()
        self.seconds.append(statistics.median(answer["seconds"]))
        self.peak = answer["peak"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timm", metavar="PYTHON", help="a Python that has torch and timm")
    parser.add_argument("--model", default="deit_small_patch16_224")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="OPTION=VALUE", help="options that both libraries call the same"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="measured in each round")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--static", action="store_true", help="also vitlib under paddle.jit.to_static")
    parser.add_argument("--recompute", action="store_true", help="also with set_recompute / set_grad_checkpointing")
    parser.add_argument("--keep-memory", action="store_true", help="also vitlib after tune_cpu(keep_memory=True)")
    parser.add_argument("--beside", metavar="DIRECTORY", help="also another checkout of vitlib")
    arguments = parser.parse_args()
    settings = {name: json.loads(value) for name, value in (pair.split("=") for pair in arguments.set)}
    common = (arguments.model, arguments.batch, arguments.threads, json.dumps(settings))
    wanted = {"vitlib": (sys.executable, VITLIB, *common)}
    if arguments.beside:
        there = f"sys.path.insert(0, {arguments.beside!r})\n"
        wanted["vitlib there"] = (sys.executable, there + VITLIB, *common)
    if arguments.static:
        wanted["vitlib static"] = (sys.executable, VITLIB, *common, "static")
    if arguments.keep_memory:
        wanted["vitlib kept"] = (sys.executable, VITLIB, *common, "keep")
    if arguments.recompute:
        wanted["vitlib recompute"] = (sys.executable, VITLIB, *common, "recompute")
    if arguments.timm:
        wanted["timm"] = (arguments.timm, TIMM, *common)
        if arguments.recompute:
            wanted["timm recompute"] = (arguments.timm, TIMM, *common, "recompute")
    candidates = {name: Candidate(*options) for name, options in wanted.items()}
    for _ in range(arguments.rounds):
        for candidate in candidates.values():
            candidate.take(arguments.steps)
    for name, candidate in candidates.items():
        line = f"{name:17} {statistics.median(candidate.seconds):6.3f} s/step, peak {candidate.peak:5.0f} MiB"
        if arguments.timm:
            timm = candidates["timm"]
            speed = statistics.median(b / a for a, b in zip(candidate.seconds, timm.seconds, strict=True))
            line += f", {speed:.2f} of timm's speed, {candidate.peak / timm.peak:.2f} of its memory"
        print(line)


if __name__ == "__main__":
    main()
