"""tune_cpu sets threads and MKL's path, says what it did, and keeps its hands off what is not its business."""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import types

import pytest
from conftest import refused

import vitlib
from vitlib.deploy import cpu

AVX512 = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}
AMD = cpu._processor()[0] in cpu._AMD and "avx2" in cpu._processor()[1]
PATH, NUMBER = ("AVX-512", "7") if cpu._processor()[1] >= AVX512 else ("AVX2", "5")
ON_AMD = pytest.mark.skipif(not AMD, reason="needs an AMD or Hygon processor with AVX2")
TWO_CORES = pytest.mark.skipif(cpu.usable_cores() < 2, reason="needs two cores")


def run(code, **environment):
    """The JSON that the code prints last, and what it wrote to stderr."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("MKL_DEBUG_CPU_TYPE", "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", "import ctypes, json, os, warnings, paddle, vitlib\n" + code],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


THREADS = """
from vitlib.deploy.cpu import _paddle_library
openmp = _paddle_library("libiomp5.so")
def threads(): return openmp.omp_get_max_threads()
"""


@TWO_CORES
def test_threads_are_set_for_paddles_own_openmp_and_can_be_set_again():
    code = THREADS + (
        "first = threads(); one = vitlib.tune_cpu(1); a = threads(); two = vitlib.tune_cpu(2); b = threads()\n"
        "print(json.dumps([first, a, b, one.threads, two.threads, str(one), str(two)]))"
    )
    (first, one, two, said_one, said_two, sentence_one, sentence_two), _ = run(code)
    assert (first, one, two, said_one, said_two) == (1, 1, 2, 1, 2)
    assert sentence_one.startswith("1 thread on")
    assert sentence_two.startswith("2 threads on")


@ON_AMD
def test_in_time_the_fast_path_is_taken_without_a_warning():
    code = "t = vitlib.tune_cpu(1); print(json.dumps([t.fast_matmul, t.message, os.environ['MKL_DEBUG_CPU_TYPE']]))"
    (fast, message, kind), stderr = run(code)
    assert (fast, kind) == (True, NUMBER)
    assert f"MKL's {PATH} path" in message
    assert "RuntimeWarning" not in stderr


@ON_AMD
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (64, 65, 129), (1040, 128, 512), (4, 6, 65, 32, 65)])
def test_products_of_the_fast_path_are_exact_to_float32(shape):
    *batch, rows, inner, columns = shape
    code = f"""
vitlib.tune_cpu(1)
import numpy as np
rng = np.random.default_rng(0)
a, b = (rng.standard_normal([*{batch}, *matrix]) for matrix in (({rows}, {inner}), ({inner}, {columns})))
x, y = (paddle.to_tensor(array.astype("float32"), stop_gradient=False) for array in (a, b))
product = x @ y
product.sum().backward()
ones = np.ones([*{batch}, {rows}, {columns}])
pairs = (product, a @ b), (x.grad, ones @ b.swapaxes(-1, -2)), (y.grad, a.swapaxes(-1, -2) @ ones)
print(json.dumps([float(np.abs(found.numpy() - exact).max()) for found, exact in pairs]))
"""
    errors, _ = run(code)
    # of sums of n standard normal products, and of n rows or columns; float32 has 24 bits
    assert max(errors) < 4e-7 * max(rows, inner, columns)


@ON_AMD
def test_too_late_the_threads_are_set_and_a_warning_says_what_to_do():
    work = "paddle.randn([64, 64]) @ paddle.randn([64, 64])"
    code = THREADS + work + "\nt = vitlib.tune_cpu(2); print(json.dumps([t.fast_matmul, t.message, threads()]))"
    (fast, message, threads), stderr = run(code)
    assert (fast, threads) == (False, 2)
    assert "too late" in message
    assert "RuntimeWarning" in stderr
    assert "right after the imports" in stderr


@ON_AMD
def test_a_value_that_the_environment_holds_is_respected():
    code = "t = vitlib.tune_cpu(1); print(json.dumps([t.fast_matmul, t.message, os.environ['MKL_DEBUG_CPU_TYPE']]))"
    (fast, message, kind), _ = run(code, MKL_DEBUG_CPU_TYPE="4")
    assert (fast, kind) == (False, "4")
    assert "MKL_DEBUG_CPU_TYPE=4 in the environment was respected" in message


@pytest.mark.parametrize("vendor", ["AuthenticAMD", "HygonGenuine"])
@pytest.mark.parametrize(
    ("flags", "number", "name"),
    [
        ({"avx2"}, "5", "AVX2"),
        ({"avx2", "avx512f"}, "5", "AVX2"),
        ({"avx2", *AVX512}, "7", "AVX-512"),
    ],
)
def test_the_path_is_the_widest_that_the_processor_has(monkeypatch, recwarn, vendor, flags, number, name):
    # the code that MKL chose stays for the process, so the library is a stand-in that takes what it is asked for
    mkl = types.SimpleNamespace(mkl_serv_cpu_detect=lambda: int(os.environ["MKL_DEBUG_CPU_TYPE"]))
    monkeypatch.setattr(cpu, "_processor", lambda: (vendor, flags))
    monkeypatch.setattr(cpu, "_paddle_library", lambda file: mkl if "mkl" in file else None)
    monkeypatch.setattr(cpu.os, "environ", {})
    tuning = vitlib.tune_cpu(1)
    assert cpu.os.environ == {"MKL_DEBUG_CPU_TYPE": number}
    assert tuning.fast_matmul is True
    assert f"MKL's {name} path" in tuning.message
    assert not recwarn.list


@pytest.mark.parametrize(
    ("vendor", "flags"), [("GenuineIntel", {"avx2", "avx512f"}), ("", set()), ("AuthenticAMD", {"avx"})]
)
def test_other_processors_keep_their_path_and_environment(monkeypatch, recwarn, vendor, flags):
    monkeypatch.setattr(cpu, "_processor", lambda: (vendor, flags))
    monkeypatch.delenv("MKL_DEBUG_CPU_TYPE", raising=False)
    tuning = vitlib.tune_cpu(1)
    assert "MKL_DEBUG_CPU_TYPE" not in os.environ
    assert (tuning.fast_matmul, tuning.processor, tuning.threads) == (None, vendor, 1)
    assert "left as they are" in str(tuning)
    assert not recwarn.list


def test_a_missing_library_is_said_and_nothing_else_fails(monkeypatch):
    monkeypatch.setattr(cpu, "_processor", lambda: ("AuthenticAMD", {"avx2"}))
    monkeypatch.setattr(cpu, "_paddle_library", lambda name: None)
    monkeypatch.delenv("MKL_DEBUG_CPU_TYPE", raising=False)
    with pytest.warns(RuntimeWarning, match="MKL library was not found"):
        tuning = vitlib.tune_cpu(1)
    assert tuning.fast_matmul is False
    assert "OMP_NUM_THREADS" in tuning.message
    assert "MKL_DEBUG_CPU_TYPE" not in os.environ


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the memory is glibc's to keep")
def test_memory_that_is_kept_is_not_fetched_from_the_system_again():
    code = """
import resource
vitlib.tune_cpu(1, keep_memory=True)
x = paddle.ones([1024, 1024])
def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        x + x
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start
faults()
print(json.dumps(faults()))
"""
    pages, _ = run(code)
    assert pages < 1024, "10 sums are 10,240 pages of 4 KiB, each fetched and filled with zeros"


def test_memory_that_cannot_be_kept_is_said(monkeypatch):
    monkeypatch.setattr(cpu, "_processor", lambda: ("", set()))
    monkeypatch.setattr(cpu, "_keep_freed_memory", lambda: False)
    with pytest.warns(RuntimeWarning, match="keep_memory needs glibc"):
        vitlib.tune_cpu(1, keep_memory=True)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, math.nan])
def test_threads_that_are_no_positive_int_are_refused(threads):
    with refused(ValueError, f"threads={threads!r}", "whole number of at least 1"):
        vitlib.tune_cpu(threads)


QUOTAS = {
    "version 2, no limit": ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "version 2, two and a half": ({"/sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2.5),
    "version 2, half": ({"/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
    "version 1, no limit": (
        {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "version 1, three": (
        {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
        3.0,
    ),
    "none": ({}, None),
    "period of zero": ({"/sys/fs/cgroup/cpu.max": "100000 0\n"}, None),
    "unreadable": ({"/sys/fs/cgroup/cpu.max": "?\n"}, None),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_the_quota_of_a_container_bounds_the_cores(monkeypatch, case):
    files, quota = QUOTAS[case]

    def path(*parts):
        def read_text():
            name = "/".join(parts)
            if name not in files:
                raise FileNotFoundError(name)
            return files[name]

        return types.SimpleNamespace(read_text=read_text)

    monkeypatch.setattr(cpu, "Path", path)
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert cpu._container_quota() == quota
    assert cpu.usable_cores() == (8 if quota is None else max(1, int(quota)))


BENCHMARK = """
import time
if os.environ.get("TUNE"): vitlib.tune_cpu()
paddle.seed(0)
model = vitlib.create_model("vit_base_patch16_224"); model.eval()
x = paddle.randn([8, 3, 224, 224])
def seconds():
    start = time.perf_counter()
    with paddle.no_grad(): model(x).numpy()
    return time.perf_counter() - start
seconds()
print(json.dumps(min(seconds() for _ in range(2))))
"""


@pytest.mark.slow
@ON_AMD
@TWO_CORES
def test_on_amd_tuning_is_as_fast_as_the_environment_and_three_and_a_half_times_faster_than_paddles_defaults():
    settings = {
        "default": {},
        "environment": {"MKL_DEBUG_CPU_TYPE": NUMBER, "OMP_NUM_THREADS": str(cpu.usable_cores())},
        "tune_cpu": {"TUNE": "1"},
    }
    times = {name: [] for name in settings}
    for _ in range(3):
        for name, environment in settings.items():
            times[name].append(run(BENCHMARK, **environment)[0])
    middle = {name: statistics.median(values) for name, values in times.items()}
    print({name: round(value, 2) for name, value in middle.items()})
    print(f"defaults / tune_cpu = {middle['default'] / middle['tune_cpu']:.2f}")
    print(f"tune_cpu / environment = {middle['tune_cpu'] / middle['environment']:.3f}")
    assert middle["default"] / middle["tune_cpu"] > 3.5
    assert middle["tune_cpu"] / middle["environment"] < 1.1
