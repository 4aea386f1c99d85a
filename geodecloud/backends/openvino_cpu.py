"""OpenVINO on a CPU: all cores on one window at a time."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
import openvino as ov

from geodecloud.backends import Array, Margins
from geodecloud.backends.openvino_graph import Sides, Tensors, build_graph
from geodecloud.errors import DeviceError
from geodecloud.models.card import ModelCard

log = logging.getLogger(__name__)

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

    batch_size, window_px = 1, 768

    def __init__(self, card: ModelCard, tensors: Tensors, precision: str, threads: int) -> None:
        self.precision = "fp32" if precision == "auto" else precision
        self.name = f"openvino on cpu in {self.precision}"
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
        self._compiled: dict[Sides, tuple[Any, Any]] = {}
        self._in_memory: Sides | None = None

    def run(self, patches: Array, margins: Margins) -> tuple[Array, Array]:
        """See `geodecloud.backends.Backend`."""
        reach = self._card.halo_px or 0
        inner = Sides(*(margin >= reach for margin in margins))
        left = Margins(*(m - reach * side for m, side in zip(margins, inner, strict=True)))
        core = margins.core(patches.shape)
        restored, attentions = [], []
        for patch in patches:
            with self._turn:
                request = self._request(inner)
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

    def _request(self, inner: Sides) -> Any:
        """The graph for windows with these inner sides; only one keeps its features in memory."""
        if inner not in self._compiled:
            graph = build_graph(self._card, self._tensors, inner)
            compiled = self._core.compile_model(graph, "CPU", self._config)
            self._compiled[inner] = compiled, compiled.create_infer_request()
        if self._in_memory not in (None, inner):
            self._compiled[self._in_memory][0].release_memory()
        self._in_memory = inner
        return self._compiled[inner][1]
