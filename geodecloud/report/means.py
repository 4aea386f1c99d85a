"""What ran the network of a result, as its tags say, and what runs it when it is made again."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from geodecloud.backends.accelerators import has_accelerator
from geodecloud.options import FileOptions

#: What was chosen; results of older versions do not say it.
COMPUTED = "GEODECLOUD_COMPUTED"


@dataclass(frozen=True)
class Means:
    """Backend, device and precision, see `geodecloud.options.Options`; of a cluster, "auto" was left to its workers."""

    backend: str = "auto"
    device: str = "auto"
    precision: str = "auto"

    @classmethod
    def of(cls, tags: Mapping[str, str], asked: FileOptions) -> Means:
        """As they were chosen; where the tags do not say that, as they were asked for."""
        try:
            said: Any = json.loads(tags.get(COMPUTED, "{}"))
            return cls(*(str(said.get(name, getattr(asked, name))) for name in _NAMES))
        except (ValueError, AttributeError, RecursionError):  # somebody has changed it
            return cls(*(getattr(asked, name) for name in _NAMES))

    def here(self) -> Means:
        """Themselves, as far as they are here; else float32 on the CPU."""
        backend = self.backend if self.backend in ("torch", "openvino") else "auto"
        if backend == "openvino" and importlib.util.find_spec("openvino") is None:
            backend = "torch"
        if self.device in ("auto", "cpu"):
            return Means(backend, "cpu", self.precision.replace("auto", "fp32"))
        kind = self.device.partition(":")[0]  # whichever of several
        return (
            Means(backend, kind, self.precision) if _is_here(kind) else Means("auto", "cpu", "fp32")
        )

    def doubt(self) -> str:
        """Why differences are told and not judged; empty: they are judged."""
        here = self.here()
        device = self.device.replace("auto", "cpu").partition(":")[0]
        precision = self.precision.replace("auto", "fp32") if device == "cpu" else self.precision
        made, again = f"{precision} on {device}", f"{here.precision} on {here.device}"
        if made != again:
            return f"it was made in {made}, and again in {again}"
        return "" if precision == "fp32" else f"it is made in {made}, where windows round otherwise"

    def as_dict(self) -> dict[str, Any]:
        """By the names of the options."""
        return asdict(self)


_NAMES = ("backend", "device", "precision")


def _is_here(kind: str) -> bool:
    """Whether there is such an accelerator; torch is imported only where there may be one."""
    if not has_accelerator():
        return False
    import torch

    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()
