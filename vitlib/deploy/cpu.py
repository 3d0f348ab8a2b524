"""Settings that make Paddle fast on a CPU.

Paddle's matrix products on a CPU are Intel MKL's. By default Paddle uses one thread, and MKL takes a slow path on
processors that are not Intel's. Both can be set after `import paddle`: threads at any time, the path only before the
first matrix product or convolution, when MKL chooses its code for the rest of the process.
"""

from __future__ import annotations

import ctypes
import math
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import paddle

from ..images.checks import check_count

_AMD = ("AuthenticAMD", "HygonGenuine")
_AVX512 = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}
_PATHS = (("AVX-512", "7", _AVX512), ("AVX2", "5", {"avx2"}))  # MKL's numbers, and what they need of the processor
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


@dataclass(frozen=True)
class CpuTuning:
    """The result of `tune_cpu`.

    threads: number of threads of matrix products.
    processor: the vendor's name as the processor gives it, such as "AuthenticAMD"; "" where it cannot be read.
    fast_matmul: True when MKL's AVX-512 or AVX2 path was chosen on an AMD processor, False when that failed (`message`
        says why), None on other processors.
    message: a sentence with all of it.
    """

    threads: int
    processor: str
    fast_matmul: bool | None
    message: str

    def __str__(self) -> str:
        return self.message


def tune_cpu(threads: int | None = None, *, keep_memory: bool = False) -> CpuTuning:
    """Use all cores that this process may use, and MKL's fast float32 path on AMD processors.

    Call it right after the imports, before the first matrix product or convolution of the process. Later, threads still
    change, but the path does not, and a RuntimeWarning says so. The path is AVX-512 where the processor has it, AVX2
    elsewhere. On processors of other vendors than AMD and Hygon, MKL chooses as well by itself, and nothing is changed.
    If MKL_DEBUG_CPU_TYPE is set in the environment, its value stays.

    Args:
        threads: number of threads, of the calling thread and of threads started after; None for all usable cores.
        keep_memory: have the C library (glibc; elsewhere a RuntimeWarning) keep memory that Paddle frees, up to 32 MiB
            a piece, for the next operation. Otherwise it goes back to the system, which fills every new page with
            zeros. Eager training and inference get faster and hold more memory, for the rest of the process.

    Raises ValueError when threads is not a positive int.
    """
    threads = usable_cores() if threads is None else check_count("threads", threads, 1)
    processor, flags = _processor()
    fast, note = None, "matrix products were left as they are"
    path = next(((name, number) for name, number, needs in _PATHS if needs <= flags), None)
    if processor in _AMD and path is not None:
        fast, note = _choose_fast_path(*path)
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
    """Cores that this process may use, by its affinity and by the CPU quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _container_quota()
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 numbers: AVX512-BF16 or AMX. False where that cannot be read."""
    return bool({"avx512_bf16", "amx_bf16"} & _processor()[1])


def _container_quota() -> float | None:
    """The container's CPU quota in cores; None without a limit."""
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
    """The vendor's name and the feature flags from Linux's /proc/cpuinfo; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "", set()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return facts.get("vendor_id", ""), set(facts.get("flags", "").split())


def _choose_fast_path(name: str, number: str) -> tuple[bool, str]:
    """Ask MKL for a path, and check that it took it."""
    mkl = _paddle_library("libmklml_intel.so")
    if mkl is None or not hasattr(mkl, "mkl_serv_cpu_detect"):
        return False, "Paddle's MKL library was not found: matrix products keep the path that it chooses"
    wanted = os.environ.setdefault("MKL_DEBUG_CPU_TYPE", number)
    if wanted != number:
        return False, f"MKL_DEBUG_CPU_TYPE={wanted} in the environment was respected: matrix products follow it"
    if mkl.mkl_serv_cpu_detect() == int(number):
        return True, f"matrix products take MKL's {name} path"
    return False, (
        "it came too late for the fast float32 path, since Paddle has already made a matrix product or a convolution: "
        "only the threads were set. Call tune_cpu() right after the imports, or start Python with "
        f"MKL_DEBUG_CPU_TYPE={number}"
    )


def _keep_freed_memory() -> bool:
    """Raise the thresholds above which glibc returns freed memory to the system; False where that fails."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # 32 MiB is the most that glibc accepts for single pieces, and the largest int stands for never
    return mallopt(_M_MMAP_THRESHOLD, 32 << 20) == 1 and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) == 1


def return_freed_memory() -> None:
    """Give memory that glibc keeps for later back to the system; elsewhere nothing happens."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _paddle_library(name: str) -> ctypes.CDLL | None:
    """A library that comes with Paddle and is loaded."""
    path = Path(paddle.__file__).parent / "libs" / name
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None
