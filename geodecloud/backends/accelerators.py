"""Whether it is worth asking torch for an accelerator: importing torch takes a second or two."""

from __future__ import annotations

import ctypes.util
import functools
import platform
from pathlib import Path

#: Device files of NVIDIA, AMD and WSL drivers.
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


@functools.cache
def has_accelerator() -> bool:
    """Whether torch finds a CUDA or MPS device; torch is imported only if a driver is there."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    driver = any(Path(path).exists() for path in _DRIVERS)
    if not (apple or driver or ctypes.util.find_library("nvcuda")):
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
