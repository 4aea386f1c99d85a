"""torch: on a CPU, on CUDA and on MPS."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geodecloud.backends import PRECISIONS, Array, Margins, window_cost
from geodecloud.errors import DeviceError
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import IDENTITY

log = logging.getLogger(__name__)

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
#: Windows in flight on one GPU: while one computes, the next is on its way there. Other accelerators have
#: one: MPS crashes where two threads call it.
_LANES = 2
#: Bytes that one pixel of a window takes on an accelerator, all layers that live at once included:
#: ten of 32 channels. An estimate; what does not fit is halved.
_BYTES_PER_PX = {"fp32": 1280, "fp16": 640, "bf16": 640}
_MOST_AT_ONCE = 64
_FLAGS = threading.Lock()


class TorchBackend:
    """Runs one network on one device.

    On a CPU each call computes with one thread, and callers run side by side. On CUDA two callers at
    a time have a lane each: page-locked buffers and a stream of its own, so that copies of one go on
    beside the arithmetic of the other. On MPS callers take turns.

    Parameters
    ----------
    network : in evaluation mode
    device : "auto", "cpu", "cuda", "cuda:N" or "mps"; auto takes the first of cuda, mps, cpu
    precision : "auto", "fp32", "fp16" or "bf16". auto is fp16 on cuda, else fp32. fp32 on cuda is just
        that, and not the TF32 that torch lets cuDNN take for it
    card : of the model, see `geodecloud.backends.window_cost`

    Raises
    ------
    DeviceError
        If the device does not exist here.
    """

    def __init__(
        self,
        network: nn.Module,
        device: str = "auto",
        precision: str = "auto",
        card: ModelCard = IDENTITY,
    ) -> None:
        assert precision in PRECISIONS
        self.device = choose_device(device)
        if precision == "auto":
            precision = "fp16" if self.device.type == "cuda" else "fp32"
        self.precision = precision
        self.name = f"torch on {self.device} in {precision}"
        self.window_px, _ = window_cost("torch", precision, self.device.type, card)
        self.batch_size = 1 if self.device.type == "cpu" else self._most_windows()
        moved: Any = network  # torch types one signature of `to` only
        self._network = moved.to(self.device, memory_format=torch.channels_last)
        self._lanes: queue.Queue[Lane] = queue.Queue()
        if self.device.type != "cpu":
            for _ in range(_LANES if self.device.type == "cuda" else 1):
                self._lanes.put(Lane(self.device))

    def _most_windows(self) -> int:
        """How many windows of the size it likes fit into half of the free memory, over the lanes."""
        if self.device.type != "cuda":
            return 1
        free, _ = torch.cuda.mem_get_info(self.device)
        each = self.window_px**2 * _BYTES_PER_PX[self.precision]
        return max(1, min(_MOST_AT_ONCE, int(free / 2 / each / _LANES)))

    def run(
        self, patches: Array, margins: Margins, prior: Array | None = None
    ) -> tuple[Array, Array]:
        """See `geodecloud.backends.Backend`; a batch that does not fit in memory is halved."""
        given = (patches,) if prior is None else (patches, prior)
        try:
            with torch.inference_mode():
                return self._forward([torch.from_numpy(part) for part in given], margins)
        except torch.OutOfMemoryError:
            if len(patches) == 1:
                raise DeviceError(
                    f"{self.device} has too little memory for one window of "
                    f"{patches.shape[-1]} x {patches.shape[-2]} px; use a smaller window, such as window=256"
                ) from None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(patches) // 2
        log.info("%s ran out of memory with %d windows, trying %d", self.device, len(patches), half)
        first, second = (
            self.run(patches[part], margins, None if prior is None else prior[part])
            for part in (slice(half), slice(half, None))
        )
        return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])

    def release(self) -> None:
        """See `geodecloud.backends.Backend`."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _forward(self, given: list[Tensor], margins: Margins) -> tuple[Array, Array]:
        if self.device.type == "cpu":
            with _one_thread():
                outputs = self._compute(given, margins)
            return outputs[0].contiguous().numpy(), outputs[1].contiguous().numpy()
        lane = self._lanes.get()
        try:
            with lane.active():
                outputs = self._compute(lane.bring(given), margins)
                return lane.fetch(outputs)
        finally:
            self._lanes.put(lane)

    def _compute(self, given: list[Tensor], margins: Margins) -> tuple[Tensor, Tensor]:
        half, kind = self.precision != "fp32", self.device.type
        batch = given[0].to(memory_format=torch.channels_last)
        # no cache: it is one for all threads, and what one lane's stream casts the other would read
        cast = torch.autocast(kind, _DTYPES[self.precision], enabled=half, cache_enabled=False)
        with _without_tf32() if kind == "cuda" and not half else contextlib.nullcontext(), cast:
            restored, attention = self._network(batch, *given[1:])
        core = margins.core(batch.shape)
        return restored[..., *core].float(), attention[:, 0, *core].float()


class Lane:
    """One window's way to an accelerator and back: page-locked buffers, and a stream on CUDA.

    On other devices the same steps are plain copies.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self._pins = device, device.type == "cuda"
        # torch types no constructor of it
        self._stream: Any = torch.cuda.Stream(device) if self._pins else None  # type: ignore[no-untyped-call]
        self._buffers: dict[str, Tensor] = {}

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Everything within goes to this lane's stream."""
        with torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
            yield

    def bring(self, given: list[Tensor]) -> list[Tensor]:
        """Copy to the device."""
        buffers = [self._buffer(f"in{i}", part) for i, part in enumerate(given)]
        for buffer, part in zip(buffers, given, strict=True):
            buffer.copy_(part)
        return [buffer.to(self.device, non_blocking=self._pins) for buffer in buffers]

    def fetch(self, outputs: tuple[Tensor, Tensor]) -> tuple[Array, Array]:
        """Copy from the device, and wait for it."""
        buffers = [self._buffer(f"out{i}", output) for i, output in enumerate(outputs)]
        for buffer, output in zip(buffers, outputs, strict=True):
            buffer.copy_(output, non_blocking=self._pins)
        if self._stream:
            self._stream.synchronize()
        # copies: the lane's next window overwrites the buffers
        return buffers[0].numpy().copy(), buffers[1].numpy().copy()

    def _buffer(self, name: str, like: Tensor) -> Tensor:
        """A page-locked buffer of the shape, kept for the next window."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < like.numel():
            # made in inference mode, and so written to in it
            buffer = torch.empty(like.numel(), dtype=torch.float32, pin_memory=self._pins)
            self._buffers[name] = buffer
        return buffer[: like.numel()].view(like.shape)


def choose_device(wish: str) -> torch.device:
    """Turn ``auto|cpu|cuda|cuda:N|mps`` into a device that exists here.

    Raises
    ------
    DeviceError
        If it does not.
    """
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise DeviceError(
            f"device {wish!r} is unknown; use auto, cpu, cuda, cuda:N or mps"
        ) from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device {wish!r} was asked for, but this machine has {count} CUDA devices; "
                'use device="auto" or device="cpu"'
            )
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' was asked for, but is not available; use device=\"auto\"")
    elif device.type not in ("cpu", "mps"):
        raise DeviceError(f"device {wish!r} is not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Let cuDNN convolve float32 as such; TF32, torch's default, has ten bits.

    All threads share the flag, and it is read as work is queued: at that, callers take turns.
    """
    cudnn = torch.backends.cudnn
    with _FLAGS:
        before = cudnn.allow_tf32
        cudnn.allow_tf32 = False
        try:
            yield
        finally:
            cudnn.allow_tf32 = before


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let this thread's torch calls use one core: callers share the cores, each has a window."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
