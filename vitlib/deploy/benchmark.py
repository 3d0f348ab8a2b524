"""How fast engines are, beside each other and beside peers: `vitlib bench --help`.

Every candidate has a process of its own. They take turns, a few runs each and a pause in between, so that whatever else
the machine does slows all of them alike; ratios are taken within a round, and the median over the rounds is given.

On two Zen 5 cores all engines spend 85 to 95 % of their time in matrix products near the peak of the processor. What
remains is to compute less (no tokens of the last block that nobody reads) and to keep the cores busy (one stream a
core). Without effect were LayerNorm's scale and shift in the next layer's weights, one product for queries, keys and
values, and patches cut by reshaping instead of a convolution.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..checkpoint.json_file import write_json
from .benchmark_candidate import Candidate
from .benchmark_peers import PEERS, precisions_of
from .cpu import has_bfloat16, usable_cores
from .engines import ENGINES, is_installed

_PAUSE = 0.25  # seconds, in which the threads of the last candidate stop waiting for more work


@dataclass
class Result:
    """A candidate at one batch and image size: seconds of each round, and the peak memory of its process in bytes.

    Memory counts everything that the process did before, larger batches too.
    """

    candidate: str
    precision: str
    model: str
    img_size: int
    batch: int
    is_peer: bool
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    error: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def benchmark(
    models: Sequence[str],
    batches: Sequence[int] = (1, 8),
    *,
    engines: Sequence[str] | None = None,
    precisions: Sequence[str] = ("float32", "bfloat16"),
    img_sizes: Sequence[int] = (224,),
    peers: str | None = None,
    peer_names: Sequence[str] | None = None,
    rounds: int = 9,
    threads: int | None = None,
) -> list[Result]:
    """Time every candidate on random images and weights.

    Args:
        models: presets.
        batches, img_sizes: of the images.
        engines: of `Predictor`, "eager" and "eager tuned" (after `tune_cpu(keep_memory=True)`); None: all that are
            installed.
        precisions: those that a candidate does not have are left out.
        peers: a Python with timm and the like, for the peers; None: none. peer_names: which of them; None: all.
        rounds: turns of each candidate.
        threads: of each candidate; None: all cores.

    Raises ValueError for an unknown engine or peer. A candidate that fails has its reason in `Result.error`.
    """
    threads = usable_cores() if threads is None else threads
    own = _own(engines, precisions)
    unknown = set(peer_names or ()) - {*PEERS}
    if unknown:
        raise ValueError(f"unknown peers {sorted(unknown)}; there are {', '.join(map(repr, PEERS))}")
    others = [
        (name, each)
        for name in (_installed_peers(peers) if peers else [])
        for each in precisions
        if each in precisions_of(name) and (peer_names is None or name in peer_names)
    ]
    results: list[Result] = []
    for model in models:
        for size in img_sizes:
            results += _one_model(model, size, batches, own, others, peers, rounds, threads)
    return results


def _own(engines: Sequence[str] | None, precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Engines, all installed ones by default, and the precisions that each has. Raises ValueError for unknown ones."""
    names = [name for name in ENGINES if is_installed(name)] if engines is None else list(engines)
    known = [*ENGINES, "eager", "eager tuned"]
    unknown = set(names) - set(known)
    if unknown:
        raise ValueError(f"unknown engines {sorted(unknown)}; there are {', '.join(map(repr, known))}")
    return [(name, each) for name in names for each in precisions if each in _precisions(name)]


def _precisions(engine: str) -> tuple[str, ...]:
    found = ENGINES[engine].precisions if engine in ENGINES else ("float32",)
    return tuple(each for each in found if each != "bfloat16" or has_bfloat16())


def _installed_peers(python: str) -> list[str]:
    script = Path(__file__).with_name("benchmark_peers.py")
    done = subprocess.run([python, str(script), "--list"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _one_model(
    model: str,
    size: int,
    batches: Sequence[int],
    own: Iterable[tuple[str, str]],
    others: Iterable[tuple[str, str]],
    peers: str | None,
    rounds: int,
    threads: int,
) -> list[Result]:
    from .benchmark_worker import write_exports

    spec = {"model": model, "img_size": size, "threads": threads}
    with tempfile.TemporaryDirectory(prefix="vitlib-") as directory, ExitStack() as stack:
        exports = {each: _export_of(*each) for each in own if each[0] in ENGINES}
        write_exports(spec, {f"{directory}/{format}-{output}": (format, output) for format, output in exports.values()})
        candidates = []
        for name, precision in own:
            export = "{}/{}-{}".format(directory, *exports[name, precision]) if name in ENGINES else ""
            command = [sys.executable, "-W", "ignore", "-m", f"{__package__}.benchmark_worker"]
            candidates.append(Candidate(name, precision, command, False, {**spec, "export": export}))
        for name, precision in others:
            command = [peers, "-W", "ignore", str(Path(__file__).with_name("benchmark_peers.py"))]
            candidates.append(Candidate(name, precision, command, True, {**spec, "export": f"{directory}/timm.onnx"}))
        for candidate in candidates:
            stack.callback(candidate.close)
        return [result for batch in batches for result in _take_turns(candidates, model, size, batch, rounds)]


def _export_of(engine: str, precision: str) -> tuple[str, str]:
    """Format and output. With int8 the features, as nobody can compare the classes of random weights."""
    return ENGINES[engine].formats[0], "features" if precision == "int8" else "logits"


def _take_turns(candidates: Sequence[Candidate], model: str, size: int, batch: int, rounds: int) -> list[Result]:
    results = [Result(each.name, each.precision, model, size, batch, each.is_peer) for each in candidates]
    for number in range(rounds + 1):
        for candidate, result in zip(candidates, results, strict=True):
            found = candidate.run(batch)
            result.error = candidate.error
            if found and number:  # the first round prepares
                result.seconds.append(found["seconds"])
                result.peak_bytes = found["peak_bytes"]
            time.sleep(_PAUSE)
    return results


def ratio(result: Result, other: Result) -> float:
    """How many times as fast as the other, the median over the rounds."""
    return statistics.median(theirs / mine for mine, theirs in zip(result.seconds, other.seconds, strict=True))


def table(results: Iterable[Result]) -> str:
    """The results as text, one block for each model, precision, image and batch size, the fastest first.

    "x peer" is the speed beside the fastest peer of that block (1.05: 5 % faster).
    """
    blocks: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        blocks.setdefault((result.model, result.img_size, result.batch, result.precision), []).append(result)
    lines = []
    for (model, size, batch, precision), rows in blocks.items():
        done = sorted((row for row in rows if row.seconds and not row.error), key=lambda row: row.median)
        peers = [row for row in done if row.is_peer]
        lines.append(f"{model}, {size} x {size}, batch {batch}, {precision}")
        lines.append(f"  {'':46}{'ms':>9}{'images/s':>10}{'x peer':>8}{'peak MB':>9}")
        for row in done:
            name = row.candidate if row.is_peer else f"vitlib {row.candidate}"
            beside = f"{ratio(row, peers[0]):8.2f}" if peers else f"{'':8}"
            numbers = f"{row.median * 1e3:9.1f}{batch / row.median:10.1f}{beside}{row.peak_bytes / 1e6:9.0f}"
            lines.append(f"  {name:46}{numbers}")
        lines += [f"  {row.candidate:46}failed: {row.error}" for row in rows if row not in done]
        lines.append("")
    return "\n".join(lines)


def machine(threads: int) -> dict[str, Any]:
    """Processor, threads and versions of packages that the numbers belong to."""
    versions = {}
    for package in ("vitlib", "paddlepaddle", "onnxruntime", "openvino", "nncf"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    return {"processor": processor, "threads": threads, "python": platform.python_version(), "versions": versions}


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run_command`."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="presets, such as vit_base_patch16_224")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="images at once")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224], help="of the images")
    parser.add_argument(
        "--engines",
        nargs="+",
        help=f"of {', '.join(ENGINES)}, eager, 'eager tuned' (default: all engines that are installed)",
    )
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], help="where an engine has them")
    parser.add_argument("--peers", metavar="PYTHON", help="a Python with timm, onnxruntime, openvino (default: none)")
    parser.add_argument(
        "--peer", action="append", metavar="NAME", help=f"only this one of {', '.join(PEERS)} (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=9, help="turns of each candidate")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of each candidate")
    parser.add_argument(
        "--images", metavar="FOLDER", help="time a folder from files to outputs beside the engine alone (default: no)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the results here (default: no)")
    parser.add_argument(
        "--plot", metavar="FILE", help="write a plot of time over batch or image size here (default: no)"
    )


def run_command(given: argparse.Namespace) -> None:
    """Time what was asked for, print the table, and write the files."""
    if given.images:
        from .benchmark_folder import benchmark_folder, folder_table

        found = [
            row
            for model in given.models
            for size in given.sizes
            for batch in given.batches
            for row in benchmark_folder(
                model,
                given.images,
                _own(given.engines, given.precisions),
                img_size=size,
                batch=batch,
                rounds=given.rounds,
                threads=given.threads,
            )
        ]
        print(folder_table(found))
        _write(given, found)
        return
    results = benchmark(
        given.models,
        given.batches,
        engines=given.engines,
        precisions=given.precisions,
        img_sizes=given.sizes,
        peers=given.peers,
        peer_names=given.peer,
        rounds=given.rounds,
        threads=given.threads,
    )
    _write(given, results)
    print(table(results))
    if given.plot:
        from .benchmark_plot import plot

        plot(results, given.plot)


def _write(given: argparse.Namespace, results: Iterable[Any]) -> None:
    if given.json:
        write_json(given.json, {"machine": machine(given.threads), "results": [asdict(result) for result in results]})
