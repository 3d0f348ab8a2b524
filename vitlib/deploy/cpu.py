"""Making Paddle use the processor it runs on.

Paddle's matrix products on a CPU are Intel MKL's. As it comes, Paddle uses one thread, and MKL takes a slow path on
processors that are not Intel's. Both can be set after `import paddle`: threads at any time, the path only until the
first matrix product or convolution, when MKL looks at the processor once and for all.
"""

from __future__ import annotations

import ctypes
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import paddle

_AMD = ("AuthenticAMD", "HygonGenuine")
_AVX2_PATH = 5  # MKL's number for its AVX2 code
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


@dataclass(frozen=True)
class CpuTuning:
    """What `tune_cpu` did.

    threads: how many threads matrix products use now.
    processor: the maker's name as the processor tells it, such as "AuthenticAMD"; "" where it cannot be read.
    fast_matmul: True when MKL's AVX2 path was chosen on an AMD processor, False when that was called for and failed
        (`message` says why), None when there was nothing to choose.
    message: all of it in a sentence.
    """

    threads: int
    processor: str
    fast_matmul: bool | None
    message: str

    def __str__(self) -> str:
        return self.message


def tune_cpu(threads: int | None = None, *, keep_memory: bool = False) -> CpuTuning:
    """Make Paddle use all cores this process may use (or `threads` of them), and MKL's fast float32 path on AMD.

    Call it first thing, before the first matrix product or convolution of the process; later, threads still change, but
    the path does not, and a RuntimeWarning says so. On processors that are not AMD's (or Hygon's) it sets threads and
    leaves the rest alone: the path is an AVX2 one and would slow an AVX-512 Intel. A value that the environment already
    holds for MKL_DEBUG_CPU_TYPE is respected. Threads are those of the calling thread and of threads started after.

    keep_memory: have the C library (glibc; elsewhere a RuntimeWarning) keep what Paddle frees for the
        next operation, up to 32 MiB a piece, instead of giving it back to the system, which fills every new page with
        zeros. Eager training and inference save most of that work and hold more memory; it stays so for the process.

    Raises ValueError when threads is not a positive int.
    """
    if threads is None:
        threads = usable_cores()
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads={threads!r}: expected a positive int, or None for all {usable_cores()} usable cores")
    processor, flags = _processor()
    fast, note = None, "matrix products were left as they are"
    if processor in _AMD and "avx2" in flags:
        fast, note = _choose_fast_path()
        if fast is False:
            warnings.warn(f"tune_cpu: {note}", RuntimeWarning, stacklevel=2)
    paddle.base.core.set_num_threads(threads)
    openmp = _paddle_library("libiomp5.so")
    if openmp is not None:
        openmp.omp_set_num_threads(ctypes.c_int(threads))
    else:
        note += "; Paddle's OpenMP library was not found, so set OMP_NUM_THREADS before starting Python instead"
    if keep_memory and not _keep_freed_memory():
        warnings.warn("tune_cpu: keep_memory needs glibc, which is not here", RuntimeWarning, stacklevel=2)
    plural = "" if threads == 1 else "s"
    return CpuTuning(threads, processor, fast, f"{threads} thread{plural} on {processor or 'this processor'}; {note}")


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _container_quota()
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 numbers: AVX512-BF16 or AMX. False where that cannot be read."""
    return bool({"avx512_bf16", "amx_bf16"} & _processor()[1])


def _container_quota() -> float | None:
    """CPU time over period that Linux grants the container, in cores; None when there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (
                Path("/sys/fs/cgroup/cpu", name).read_text() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        except OSError:
            return None
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None
    return cores if cores > 0 else None


def _processor() -> tuple[str, set[str]]:
    """The maker's name and the feature flags, as Linux tells them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "", set()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return facts.get("vendor_id", ""), set(facts.get("flags", "").split())


def _choose_fast_path() -> tuple[bool, str]:
    """Ask MKL for its AVX2 code, and ask it back whether it listened."""
    mkl = _paddle_library("libmklml_intel.so")
    if mkl is None or not hasattr(mkl, "mkl_serv_cpu_detect"):
        return False, "Paddle's MKL library was not found: matrix products keep the path that it chooses"
    os.environ.setdefault("MKL_DEBUG_CPU_TYPE", str(_AVX2_PATH))
    wanted = os.environ["MKL_DEBUG_CPU_TYPE"]
    if wanted != str(_AVX2_PATH):
        return False, f"MKL_DEBUG_CPU_TYPE={wanted} in the environment was respected: matrix products follow it"
    if mkl.mkl_serv_cpu_detect() == _AVX2_PATH:
        return True, "matrix products take MKL's AVX2 path"
    return False, (
        "it came too late for the fast float32 path, since Paddle has already made a matrix product or a convolution: "
        "only the threads were set. Call tune_cpu() right after the imports, or start Python with MKL_DEBUG_CPU_TYPE=5"
    )


def _keep_freed_memory() -> bool:
    """Whether glibc took the thresholds from which it hands freed memory back."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # 32 MiB is the most that glibc accepts for single pieces, and the largest int stands for never
    return mallopt(_M_MMAP_THRESHOLD, 32 << 20) == 1 and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) == 1


def _paddle_library(name: str) -> ctypes.CDLL | None:
    """A library that Paddle brought and has loaded."""
    path = Path(paddle.__file__).parent / "libs" / name
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None
