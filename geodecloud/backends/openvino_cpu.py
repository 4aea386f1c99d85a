"""OpenVINO on a CPU: all cores on one window at a time."""

from __future__ import annotations

import logging
import math
import os
import threading
from typing import Any

import numpy as np

from geodecloud.backends import Array, Margins, window_cost
from geodecloud.backends.openvino_graph import Sides, Tensors, build_graph
from geodecloud.backends.openvino_runtime import ov
from geodecloud.errors import DeviceError
from geodecloud.models.card import ModelCard

log = logging.getLogger(__name__)

#: Graphs kept compiled, 30 MB each: one within the scene, two strips of a row of chunks, and one more.
#: Another takes a quarter of a second.
_GRAPHS = 4
#: Memory that windows of several kinds may hold together, in terms of the largest one: enough
#: for one within the scene and the strips at its edges.
_SPARE = 1.1
#: What a graph is compiled for: a window's inner sides and its (height, width). A graph for any size
#: would take a fifth more memory, and differ from these in the last bit.
_Kind = tuple[Sides, tuple[int, ...]]
_HINTS = {"fp32": "f32", "bf16": "bf16"}


def has_bf16() -> bool:
    """Whether this CPU has instructions for bf16."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


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
        self.window_px, _ = window_cost("openvino", self.precision, card=card)
        self._card, self._tensors = card, tensors
        self._blends = card.architecture.get("output", "image") == "blend"
        self._core, self._turn = ov.Core(), threading.Lock()
        if self.precision == "bf16" and not has_bf16():
            raise DeviceError('this CPU has no instructions for bf16; use precision="fp32"')
        self._config = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # a few percent faster; but processes that share a machine, each with a part of its
            # cores, would all be pinned to the first ones
            "ENABLE_CPU_PINNING": threads >= _cores(),
        }
        most = self.window_px * 9 // 8 + 2 * (card.halo_px or 0)
        self._most_px = most * most
        self._compiled: dict[_Kind, Any] = {}
        self._requests: dict[_Kind, Any] = {}

    def run(
        self, patches: Array, margins: Margins, prior: Array | None = None
    ) -> tuple[Array, Array]:
        """See `geodecloud.backends.Backend`."""
        reach = self._card.halo_px or 0
        inner = Sides(*(margin >= reach for margin in margins))
        core = margins.core(patches.shape)
        patches, beyond = self._on_whole_blocks(patches)
        left = Margins(
            *(
                m - reach * side + more
                for m, side, more in zip(margins, inner, (0, beyond[1], beyond[0], 0), strict=True)
            )
        )
        restored, attentions = [], []
        for number, patch in enumerate(patches):
            given = [np.ascontiguousarray(patch[None])]
            if self._card.reads_prior:
                given.append(self._prior(prior, number, patch.shape))
            with self._turn:
                request = self._request_for((inner, patch.shape[1:]))
                outputs = request.infer(given, share_inputs=True)
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

    def _on_whole_blocks(self, patches: Array) -> tuple[Array, tuple[int, int]]:
        """Patches repeated at their lower and right edge until whole blocks cover them, and how far."""
        down, right = (-length % self._card.blocks for length in patches.shape[2:])
        if not (down or right):
            return patches, (0, 0)
        return np.pad(patches, ((0, 0), (0, 0), (0, down), (0, right)), "edge"), (down, right)

    def _prior(self, prior: Array | None, number: int, shape: tuple[int, ...]) -> Array:
        """The prior (1, C + 1 or more, h, w) of one patch."""
        if prior is not None:
            return np.ascontiguousarray(prior[number : number + 1])
        channels, *sides = shape
        count = channels + 1 + self._card.reads_shade
        nothing = np.zeros((1, count, *(n // self._card.blocks for n in sides)), np.float32)
        nothing[:, channels] = 1
        return nothing

    def release(self) -> None:
        """See `geodecloud.backends.Backend`."""
        with self._turn:
            for kind in list(self._requests):
                self._forget(kind)

    def _forget(self, kind: _Kind) -> None:
        """Free the features of the last window of a kind, and its inputs and outputs."""
        if self._requests.pop(kind, None) is not None:
            self._compiled[kind].release_memory()

    def _request_for(self, kind: _Kind) -> Any:
        """What runs windows of this kind; of all kinds, as many have memory as one window takes."""
        request = self._requests.pop(kind, None)
        while self._requests and sum(map(_px, self._requests)) + _px(kind) > _SPARE * self._most_px:
            self._forget(next(iter(self._requests)))
        self._requests[kind] = request or self._compile(kind).create_infer_request()
        return self._requests[kind]  # the latest come last

    def _compile(self, kind: _Kind) -> Any:
        """The compiled graph of a kind."""
        compiled = self._compiled.pop(kind, None)
        if compiled is None:
            while len(self._compiled) >= _GRAPHS:
                oldest = next(iter(self._compiled))
                self._forget(oldest)
                del self._compiled[oldest]
            graph = build_graph(self._card, self._tensors, *kind)
            compiled = self._core.compile_model(graph, "CPU", self._config)
        self._compiled[kind] = compiled
        return compiled


def _px(kind: _Kind) -> int:
    return math.prod(kind[1])


def _cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
