"""OpenVINO on a CPU: all cores on one window at a time."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
import openvino as ov

from geodecloud.backends import Array, Margins, window_cost
from geodecloud.backends.openvino_graph import Sides, Tensors, build_graph
from geodecloud.errors import DeviceError
from geodecloud.models.card import ModelCard

log = logging.getLogger(__name__)

#: Graphs kept compiled, 30 MB each: those of a row of chunks, and one more. Another takes 0.2 s.
_GRAPHS = 4
_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVINOBackend:
    """Runs one model on the cores of a CPU.

    Callers take turns: one window with all cores takes half the memory of two with half of them
    each, and the others read, judge and write meanwhile. The result does not depend on the number
    of cores.

    Parameters
    ----------
    card, tensors : of the model
    precision : "auto" (fp32), "fp32" or "bf16"
    threads : cores to use

    Raises
    ------
    DeviceError
        If the CPU does not have the precision.
    """

    batch_size = 1

    def __init__(self, card: ModelCard, tensors: Tensors, precision: str, threads: int) -> None:
        self.precision = "fp32" if precision == "auto" else precision
        self.name = f"openvino on cpu in {self.precision}"
        self.window_px, _ = window_cost("openvino", self.precision)
        self._card, self._tensors = card, tensors
        self._blends = card.architecture.get("output", "image") == "blend"
        self._core, self._turn = ov.Core(), threading.Lock()
        if self.precision == "bf16" and "BF16" not in self._core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise DeviceError("this CPU has no instructions for bf16; use --precision fp32")
        self._config = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # several processes on one machine would all be pinned to its first cores
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled: dict[Sides, Any] = {}
        self._last: Sides | None = None
        self._request: Any = None

    def run(self, patches: Array, margins: Margins) -> tuple[Array, Array]:
        """See `geodecloud.backends.Backend`."""
        reach = self._card.halo_px or 0
        inner = Sides(*(margin >= reach for margin in margins))
        left = Margins(*(m - reach * side for m, side in zip(margins, inner, strict=True)))
        core = margins.core(patches.shape)
        restored, attentions = [], []
        for patch in patches:
            with self._turn:
                request = self._request_for(inner)
                outputs = request.infer([np.ascontiguousarray(patch[None])], share_inputs=True)
                # copies: the next window overwrites these
                ground, attention = (
                    np.array(outputs[i][0, :, *left.core(outputs[i].shape)]) for i in (0, 1)
                )
            if self._blends:
                image = patch[:, *core]
                ground -= image
                ground *= attention
                ground += image
            restored.append(ground)
            attentions.append(attention[0])
        return np.stack(restored), np.stack(attentions)

    def release(self) -> None:
        """See `geodecloud.backends.Backend`."""
        with self._turn:
            self._forget()

    def _forget(self) -> None:
        """Free the features of the last window, and its inputs and outputs."""
        if self._last is not None:
            self._request = None
            self._compiled[self._last].release_memory()
            self._last = None

    def _request_for(self, inner: Sides) -> Any:
        """The graph for windows with these inner sides; only one graph has memory at a time."""
        if inner != self._last:
            self._forget()
            if inner not in self._compiled:
                if len(self._compiled) == _GRAPHS:
                    del self._compiled[next(iter(self._compiled))]
                graph = build_graph(self._card, self._tensors, inner)
                self._compiled[inner] = self._core.compile_model(graph, "CPU", self._config)
            self._request = self._compiled[inner].create_infer_request()
            self._last = inner
        return self._request
