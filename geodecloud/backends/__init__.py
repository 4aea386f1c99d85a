"""Engines that run a network on a batch of windows; which one is `open_backend`'s to say.

All of them keep one promise: the cores of the windows come out as the network, run on the whole
scene, would have them. They differ in speed, and in the last digits.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from geodecloud.backends.accelerators import has_accelerator
from geodecloud.compute.memory import WindowCost
from geodecloud.errors import DeviceError
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import IDENTITY, find_weights

if TYPE_CHECKING:
    from geodecloud.models.weights import Model

log = logging.getLogger(__name__)

Array = NDArray[np.float32]
PRECISIONS = ("auto", "fp32", "fp16", "bf16")
BACKENDS = ("auto", "torch", "openvino")
#: Precisions OpenVINO is asked for; it has fp16 on few CPUs, and elsewhere would fall back silently.
_OPENVINO_PRECISIONS = ("auto", "fp32", "bf16")


#: Backend -> side of the windows it likes, and what they cost (docs/performance.md). The larger, the
#: less halo; torch is that on a CPU, where a layer of 32 channels should stay below 32 MiB: beyond, the
#: C library maps fresh pages for each call.
_WINDOWS = {
    "identity": (1024, WindowCost(100, shared=False)),
    "openvino": (896, WindowCost(700, shared=True)),
    "openvino bf16": (960, WindowCost(400, shared=True)),
    "torch": (384, WindowCost(2200, shared=False)),
}
#: The same of networks on blocks of pixels: few features, and a wider halo. Most of what they hold are images,
#: in and out and between: bytes of a pixel, and of each of its bands.
_BLOCK_WINDOWS = {"openvino": 1536, "torch": 1024}
_BLOCK_BYTES, _BAND_BYTES = 80, 27
#: Side of a window on an accelerator.
ACCELERATOR_PX = 1024


def window_cost(
    backend: str, precision: str, device: str = "cpu", card: ModelCard = IDENTITY
) -> tuple[int, WindowCost]:
    """Side of the windows a backend likes on a device, and what they cost.

    Parameters
    ----------
    card : of the model; it counts whether its network works on blocks of pixels
    """
    side, cost = _WINDOWS.get(f"{backend} {precision}", _WINDOWS[backend])
    if card.blocks > 1 and backend in _BLOCK_WINDOWS:
        side = _BLOCK_WINDOWS[backend]
        cost = WindowCost(_BLOCK_BYTES + _BAND_BYTES * len(card.channels), cost.shared)
    return (side if device == "cpu" else ACCELERATOR_PX), cost


class Margins(NamedTuple):
    """Px of context around the cores of a batch. Less than the network's reach: the scene ends there."""

    top: int = 0
    right: int = 0
    bottom: int = 0
    left: int = 0

    def core(self, shape_yx: tuple[int, ...]) -> tuple[slice, slice]:
        """Index of the core in an array whose last axes are (y, x)."""
        height, width = shape_yx[-2:]
        return slice(self.top, height - self.bottom), slice(self.left, width - self.right)


class Backend(Protocol):
    """Runs one network on one device.

    Attributes
    ----------
    name : "torch", "openvino" or "identity", with device and precision
    batch_size : windows of one call that it likes
    window_px : side of a window that it likes
    """

    name: str
    batch_size: int
    window_px: int

    def run(
        self, patches: Array, margins: Margins, prior: Array | None = None
    ) -> tuple[Array, Array]:
        """Restore the cores of a batch of windows of one shape.

        Parameters
        ----------
        patches : (N, C, H, W) float32, finite, with their context
        margins : where the cores lie in them
        prior : (N, C + 1 or more, h, w), see `geodecloud.models.spanet.SPANet.forward`; None: nothing is known

        Returns
        -------
        restored : (N, C, h, w) float32, not clipped
        attention : (N, h, w) float32
        """

    def release(self) -> None:
        """Give back the memory kept for the next window; the next one takes it again."""


class IdentityBackend:
    """Changes nothing and sees no cloud: plumbing, tests, benchmarks."""

    name, batch_size, window_px = "identity", 1, 1024

    def run(
        self, patches: Array, margins: Margins, prior: Array | None = None
    ) -> tuple[Array, Array]:
        """Return the cores, and an attention of zeros."""
        cores = patches[..., *margins.core(patches.shape)]
        return cores, np.zeros((len(cores), *cores.shape[2:]), np.float32)

    def release(self) -> None:
        """Nothing is kept."""


@dataclass(frozen=True)
class Runner:
    """What runs a model here; nothing is "auto".

    Attributes
    ----------
    backend, device, precision : by name
    window_px, cost : side of the windows it likes, and what they cost
    """

    backend: str
    device: str
    precision: str
    window_px: int
    cost: WindowCost


def choose_runner(
    card: ModelCard, model: str | Model, device: str, precision: str, backend: str
) -> Runner:
    """Backend, device and precision that run a model here, of what is asked for; see `choose_backend`.

    torch is imported only where a driver of an accelerator is installed.
    """
    chosen = choose_backend(card, device, precision, backend, model)
    if chosen != "torch":
        device = "cpu"
    elif device == "auto":
        device = "cpu"
        if has_accelerator():
            import torch

            device = "cuda" if torch.cuda.is_available() else "mps"
    if precision == "auto":
        precision = "fp16" if device.startswith("cuda") else "fp32"
    return Runner(chosen, device, precision, *window_cost(chosen, precision, device, card))


def choose_backend(
    card: ModelCard, device: str, precision: str, backend: str, model: str | Model = ""
) -> str:
    """Which backend runs a model: "identity", "openvino" or "torch". Imports neither of them.

    On a CPU OpenVINO, where it is installed, and knows the network and the precision; else torch
    (measured in docs/performance.md).

    Parameters
    ----------
    model : its name or path, or the loaded model; one whose network is not ours is torch's alone

    Raises
    ------
    DeviceError
        If what is asked for by name is unknown here, or cannot do it.
    """
    is_identity = card == IDENTITY  # not a file that calls itself so: it is refused when opened
    if backend not in BACKENDS and not (is_identity and backend == "identity"):
        raise DeviceError(f"backend {backend!r} is unknown; use {', '.join(BACKENDS)}")
    if precision not in PRECISIONS:
        raise DeviceError(f"precision {precision!r} is unknown; use {', '.join(PRECISIONS)}")
    if is_identity:
        return "identity"
    if backend == "torch":
        return "torch"
    hindrance = _hindrance(card, device, precision, model)
    if backend == "openvino" and hindrance:
        raise DeviceError(f'OpenVINO cannot run this: {hindrance}; use backend="torch"')
    return "torch" if hindrance else "openvino"


def _hindrance(card: ModelCard, device: str, precision: str, model: str | Model) -> str | None:
    """What keeps OpenVINO from running a model; None: nothing."""
    if device != "cpu" and not (device == "auto" and not has_accelerator()):
        return f"it is for CPUs here, and the device is {device!r}"
    if precision not in _OPENVINO_PRECISIONS:
        return f"precision {precision} is not among {', '.join(_OPENVINO_PRECISIONS)}"
    if card.architecture.get("passes") == "recurrent":
        return f"model {card.name} has recurrent passes"
    if not isinstance(model, str) and not model.is_spanet:
        return f"the network of the loaded model is a {type(model.network).__name__}"
    if importlib.util.find_spec("openvino") is None:
        return "it is not installed (pip install openvino)"
    return None


def open_backend(
    card: ModelCard,
    model: str | Model,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    threads: int = 1,
) -> Backend:
    """Load a model's weights into the backend that `choose_backend` names.

    Parameters
    ----------
    model : its name or path, or the loaded model
    device : "auto", "cpu", "cuda", "cuda:N" or "mps"; auto takes the first of cuda, mps, cpu
    precision : "auto", "fp32", "fp16" or "bf16"; auto is fp16 on cuda, else fp32
    threads : cores that OpenVINO may use. torch uses one for each call: several callers run side
        by side, and another number would sum in another order

    Raises
    ------
    DeviceError
        If device, precision or backend do not exist here.
    WeightsError
        If the weights cannot be used.
    """
    chosen = choose_backend(card, device, precision, backend, model)
    if chosen == "identity":
        return IdentityBackend()
    if chosen == "openvino":
        from geodecloud.backends.openvino_cpu import OpenVINOBackend
        from geodecloud.models.tensors import read_tensors

        if isinstance(model, str):
            card, tensors = read_tensors(find_weights(model))
        else:
            tensors = model.tensors()
        return OpenVINOBackend(card, tensors, precision, threads)
    if hindrance := _hindrance(card, device, precision, model):
        log.debug("not OpenVINO: %s", hindrance)
    from geodecloud.backends.torch_device import TorchBackend
    from geodecloud.models.weights import load_model

    if isinstance(model, str):
        return TorchBackend(load_model(model).network, device, precision, card)
    # the caller may go on training it, and it stays on the caller's device
    return TorchBackend(copy.deepcopy(model.network), device, precision, card)
