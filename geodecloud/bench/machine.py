"""The machine a benchmark runs on: its name, its precisions, its peak and its energy."""

from __future__ import annotations

import importlib.util
import os
import platform
import time
from importlib import metadata
from pathlib import Path

from geodecloud.compute.engine import threads_here

#: Sides of the square matrices whose product is the peak.
_PRODUCTS = (1024, 2048, 4096)


def machine() -> str:
    """Processor, cores, and versions of what computes."""
    import torch

    versions = [f"torch {torch.__version__}"]
    if importlib.util.find_spec("openvino") is not None:
        versions.append(f"openvino {metadata.version('openvino')}")
    if torch.cuda.is_available():
        versions.append(torch.cuda.get_device_name())
    return (
        f"{_processor()}, {threads_here()} cores, Python {platform.python_version()}, "
        + ", ".join(versions)
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_precisions() -> tuple[str, ...]:
    """What is worth timing: without instructions for it bf16 is no faster, or not there at all."""
    try:
        from geodecloud.backends.openvino_cpu import has_bf16
    except ModuleNotFoundError:  # torch alone computes in bf16 anywhere, quick or not
        return ("fp32", "bf16")
    return ("fp32", "bf16") if has_bf16() else ("fp32",)


def peak_gflops(precision: str) -> float:
    """The best of a few large matrix products, 10^9 operations a second on all cores."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    before, best = torch.get_num_threads(), 0.0
    torch.set_num_threads(threads_here())
    try:
        for side in _PRODUCTS:
            a = torch.rand(side, side).to(dtype)
            a @ a
            for _ in range(3):
                began = time.perf_counter()
                a @ a
                best = max(best, 2 * side**3 / (time.perf_counter() - began) / 1e9)
    finally:
        torch.set_num_threads(before)
    return best


def joules() -> float | None:
    """The processor's energy counter, where the kernel lets it be read; it wraps around."""
    counter = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
    if not os.access(counter, os.R_OK):
        return None
    return int(counter.read_text()) / 1e6
