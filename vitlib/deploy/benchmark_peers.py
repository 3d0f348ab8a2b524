"""Other programs that run the same architectures, for `benchmark`, which starts this file with their Python.

It stands alone, since PyTorch and Paddle do not share a process gladly and the peers' Python need not have vitlib.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

PEERS = {
    "timm eager": ("torch", "timm"),
    "timm compiled": ("torch", "timm"),
    "timm zentorch": ("torch", "timm", "zentorch"),
    "onnxruntime of timm's export": ("torch", "timm", "onnx", "onnxruntime"),
    "onnxruntime of timm's export, fixed batch": ("torch", "timm", "onnx", "onnxruntime"),
    "openvino of timm's export, latency": ("torch", "timm", "onnx", "openvino"),
    "openvino of timm's export, fixed batch": ("torch", "timm", "onnx", "openvino"),
    "openvino of timm's export, one stream a core": ("torch", "timm", "onnx", "openvino"),
}
_WITH_BFLOAT16 = ("timm eager", "timm compiled", "openvino")
Make = Callable[[dict[str, Any]], Callable[[int], Any]]


def serve(make: Make) -> None:
    """Run a candidate on request: the first line of standard input describes it as JSON, and every other line is
    {"batch": ..., "repeat": ...}, which is answered by the seconds of each run and the peak memory in bytes.

    make: from the description, a function that prepares a batch size and returns a function that runs it once.
    """
    answer, sys.stdout = sys.stdout, sys.stderr  # libraries print, too
    try:
        prepare = make(json.loads(sys.stdin.readline()))
        print(json.dumps({"ready": True}), file=answer, flush=True)
        prepared: dict[int, Callable[[], Any]] = {}
        for line in sys.stdin:
            wanted = json.loads(line)
            batch = wanted["batch"]
            if batch not in prepared:
                prepared[batch] = prepare(batch)
                prepared[batch]()
                prepared[batch]()
            seconds = []
            for _ in range(wanted["repeat"]):
                start = time.perf_counter()
                prepared[batch]()
                seconds.append(time.perf_counter() - start)
            print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}), file=answer, flush=True)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {str(error)[:300]}"}), file=answer, flush=True)


def peak_bytes() -> int:
    """The most memory that this process had at once."""
    try:  # where there is /proc: getrusage counts the process that started this one, too
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def precisions_of(peer: str) -> tuple[str, ...]:
    return ("float32", "bfloat16") if peer.startswith(_WITH_BFLOAT16) else ("float32",)


def make_peer(spec: dict[str, Any]) -> Callable[[int], Any]:
    """spec: name, precision, model (timm's name), img_size, threads, export (a path that workers share)."""
    import numpy as np
    import torch

    torch.set_num_threads(spec["threads"])
    size = spec["img_size"]

    def images(batch: int) -> np.ndarray:
        return np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)

    if spec["name"].startswith("timm"):
        return _torch(spec, torch, images)
    path = spec["export"]
    if not os.path.exists(path):
        _export(_model(spec), size, path)
    engine = _onnxruntime if spec["name"].startswith("onnxruntime") else _openvino
    return engine(spec, path, images)


def _model(spec: dict[str, Any]) -> Any:
    import timm

    return timm.create_model(spec["model"], pretrained=False, img_size=spec["img_size"]).eval()


def _torch(spec: dict[str, Any], torch: Any, images: Callable[[int], Any]) -> Callable[[int], Any]:
    model = _model(spec)
    dtype = torch.bfloat16 if spec["precision"] == "bfloat16" else torch.float32
    model = model.to(dtype)
    if spec["name"] == "timm compiled":
        model = torch.compile(model)
    elif spec["name"] == "timm zentorch":
        import zentorch  # noqa: F401

        model = torch.compile(model, backend="zentorch")

    def prepare(batch: int) -> Callable[[], Any]:
        x = torch.from_numpy(images(batch)).to(dtype)

        def run() -> Any:
            with torch.inference_mode():
                return model(x)

        return run

    return prepare


def _export(model: Any, size: int, path: str) -> None:
    import torch

    partial = f"{path}.{os.getpid()}"
    names = {"input_names": ["images"], "output_names": ["logits"], "dynamic_axes": {"images": {0: "batch"}}}
    torch.onnx.export(model, torch.zeros(1, 3, size, size), partial, opset_version=17, dynamo=False, **names)
    os.replace(partial, path)


def _onnxruntime(spec: dict[str, Any], path: str, images: Callable[[int], Any]) -> Callable[[int], Any]:
    import onnxruntime

    def session(batch: int | None) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = spec["threads"]
        if batch is not None:
            options.add_free_dimension_override_by_name("batch", batch)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    shared = None if "fixed" in spec["name"] else session(None)

    def prepare(batch: int) -> Callable[[], Any]:
        x, own = images(batch), shared or session(batch)
        return lambda: own.run(None, {"images": x})

    return prepare


def _openvino(spec: dict[str, Any], path: str, images: Callable[[int], Any]) -> Callable[[int], Any]:
    import numpy as np
    import openvino

    core = openvino.Core()
    threads, several = spec["threads"], "stream" in spec["name"]
    options = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[spec["precision"]],
        "INFERENCE_NUM_THREADS": threads,
        **({"NUM_STREAMS": threads} if several else {"PERFORMANCE_HINT": "LATENCY"}),
    }

    def compiled(batch: int | None) -> Any:
        model = core.read_model(path)
        if batch is not None:
            model.reshape([batch, *model.input(0).partial_shape[1:]])
        return core.compile_model(model, "CPU", options)

    shared = None if "fixed" in spec["name"] else compiled(None)

    def prepare(batch: int) -> Callable[[], Any]:
        x, own = images(batch), shared or compiled(batch)
        parts = np.array_split(x, min(threads, batch)) if several else [x]
        requests = [own.create_infer_request() for _ in parts]

        def run() -> Any:
            for request, part in zip(requests, parts, strict=True):
                request.start_async({0: part}, share_inputs=True)
            for request in requests:
                request.wait()
            return [request.get_output_tensor(0).data.copy() for request in requests]

        return run

    return prepare


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        from importlib.util import find_spec

        print(json.dumps([name for name, packages in PEERS.items() if all(find_spec(each) for each in packages)]))
    else:
        serve(make_peer)
