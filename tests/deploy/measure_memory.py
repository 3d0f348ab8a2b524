"""How much memory an engine takes, in a process of its own, and whether calls leave any behind.

    python tests/deploy/measure_memory.py vit_base_patch16_224 --engine paddle --calls 1000

It writes an export in one process and opens it in another, which never holds the model. The process itself, with
Python, Paddle and vitlib imported, is given apart from what the engine adds.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def resident(key: str = "VmRSS") -> int:
    """Bytes of this process now, or with "VmHWM" at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def forget_peak() -> None:
    """Let VmHWM start anew."""
    Path("/proc/self/clear_refs").write_text("5")


def measure(directory: str, engine: str, precision: str, batch: int, calls: int) -> None:
    import vitlib
    from vitlib.deploy import read_exported

    exported = read_exported(directory)
    weights = sum(path.stat().st_size for path in exported.paths)
    before = resident()
    forget_peak()
    with vitlib.Predictor(directory, engine, precision) as predictor:
        opened = resident("VmHWM")
        x = np.zeros((batch, *exported.images.shape[1:]), np.float32)
        predictor.run(x)
        peak, settled, warm = 0, 0, max(1, calls // 5)
        for call in range(calls):
            predictor.run(x)
            if call + 1 == warm:
                settled = resident()
        peak = resident("VmHWM")
        grown = resident() - settled
    allowed = 1.3 * weights + 300e6
    print(
        f"{engine} {precision}, batch {batch}: weights {weights / 1e6:.0f} MB; process before {before / 1e6:.0f} MB, "
        f"at most {opened / 1e6:.0f} MB while opening and {peak / 1e6:.0f} MB in all; the engine's share is "
        f"{(peak - before) / 1e6:.0f} MB ({(peak - before) / allowed:.2f} of 1.3 x weights + 300 MB); "
        f"{grown / 1e3:.0f} kB more after {calls - warm} further calls"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="a preset, or a directory that export wrote")
    parser.add_argument("--engine", default="paddle")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--calls", type=int, default=20)
    given = parser.parse_args()
    if Path(given.model, "vitlib.json").is_file():
        measure(given.model, given.engine, given.precision, given.batch, given.calls)
        return
    with tempfile.TemporaryDirectory() as directory:
        write = (
            "import sys, vitlib; from vitlib.deploy.engines import ENGINES; model = vitlib.create_model(sys.argv[1]); "
            "vitlib.export(model, sys.argv[2], ENGINES[sys.argv[3]].formats[0], verify=False)"
        )
        subprocess.run([sys.executable, "-c", write, given.model, directory, given.engine], check=True)
        options = ["--engine", given.engine, "--precision", given.precision]
        options += ["--batch", str(given.batch), "--calls", str(given.calls)]
        subprocess.run([sys.executable, __file__, directory, *options], check=True)


if __name__ == "__main__":
    main()
