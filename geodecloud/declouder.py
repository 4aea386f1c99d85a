"""A model on a device: batches of patches in, restored patches and opacity out."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geodecloud.errors import DeviceError, SceneError, WeightsError
from geodecloud.models.card import ModelCard
from geodecloud.models.weights import Model, load_model

log = logging.getLogger(__name__)

Array = NDArray[np.float32]
_LOADING = threading.Lock()
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
#: Patches of 256 px in one call. On a CPU more than one only costs cache.
_BATCH = {"cpu": 1, "cuda": 16, "mps": 4}


class Declouder:
    """Runs one model on one device.

    Parameters
    ----------
    model : Model
    device : "auto", "cpu", "cuda", "cuda:N" or "mps". auto takes the first of cuda, mps, cpu.
    precision : "auto", "fp32", "fp16" or "bf16". auto is fp16 on cuda, else fp32.
    batch_size : patches in one call, or "auto"
    threads : torch threads of one call; None leaves torch's own choice

    Raises
    ------
    DeviceError
        If the device or precision does not exist here.
    """

    def __init__(
        self,
        model: Model,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int | str = "auto",
        threads: int | None = None,
    ) -> None:
        self.card = model.card
        self.device = choose_device(device)
        if precision == "auto":
            precision = "fp16" if self.device.type == "cuda" else "fp32"
        if precision not in _DTYPES:
            raise DeviceError(f"precision {precision!r} is unknown; use auto, fp32, fp16 or bf16")
        self.precision = precision
        self.batch_size = _BATCH[self.device.type] if batch_size == "auto" else int(batch_size)
        self.threads = threads
        network: Any = model.network  # torch types one signature of `to` only
        self._network = network.to(self.device, memory_format=torch.channels_last)
        # one owner per accelerator: calls queue here, while reading and writing go on
        self._turn: Any = contextlib.nullcontext()
        if self.device.type != "cpu":
            self._turn = threading.Lock()
        log.debug("%r, batches of %d, %s threads", self, self.batch_size, threads or "torch's")

    def __repr__(self) -> str:
        return f"<Declouder {self.card.name} on {self.device} in {self.precision}>"

    def predict(self, patches: Array) -> tuple[Array, Array]:
        """Restore a batch.

        Parameters
        ----------
        patches : (N, C, H, W) float32, finite, reflectance

        Returns
        -------
        restored : (N, C, H, W) float32, clipped to the model's value range
        opacity : (N, H, W) float32 in [0, 1]; NaN where the model makes no cloud map

        Raises
        ------
        SceneError
            If the number of channels is not the model's.
        """
        want = len(self.card.channels)
        if want and patches.shape[1] != want:
            raise SceneError(
                f"model {self.card.name!r} takes {want} bands "
                f"({', '.join(self.card.channel_names)}), not {patches.shape[1]}"
            )
        restored, opacity = self._run(torch.from_numpy(patches))
        if self.card.value_range is not None:
            np.clip(restored, *self.card.value_range, out=restored)
        if not self.card.has_cloud_map:
            opacity = np.full_like(opacity, np.nan)
        return restored, opacity

    def _run(self, batch: torch.Tensor) -> tuple[Array, Array]:
        try:
            return self._forward(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise DeviceError(
                    f"{self.device} has too little memory for one window of "
                    f"{batch.shape[-1]} x {batch.shape[-2]} px; use a smaller --window"
                ) from None
        torch.cuda.empty_cache()
        half = len(batch) // 2
        log.info("%s ran out of memory with %d windows, trying %d", self.device, len(batch), half)
        parts = [self._run(part) for part in (batch[:half], batch[half:])]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def _forward(self, batch: torch.Tensor) -> tuple[Array, Array]:
        half = self.precision != "fp32"
        with self._turn, torch.inference_mode(), _torch_threads(self.threads):
            batch = batch.to(self.device, memory_format=torch.channels_last)
            with torch.autocast(self.device.type, _DTYPES[self.precision], enabled=half):
                restored, attention = self._network(batch)
            return (
                np.ascontiguousarray(restored.float().cpu().numpy()),
                np.ascontiguousarray(attention[:, 0].float().cpu().numpy()),
            )


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
                "use --device auto or --device cpu"
            )
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' was asked for, but is not available; use --device auto")
    elif device.type not in _BATCH:
        raise DeviceError(f"device {wish!r} is not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


@contextlib.contextmanager
def _torch_threads(count: int | None) -> Iterator[None]:
    """Use `count` torch threads within, in this thread; several callers share the cores."""
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Recipe:
    """A declouder to be: small enough to travel to other processes, where the model is loaded.

    Attributes
    ----------
    card : of the model
    source : the model's name or path
    device, precision, batch_size : as wished, see `Declouder`; "auto" is decided where the work is
        done, so that a worker with a GPU uses it
    """

    card: ModelCard
    source: str
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | str = "auto"

    def load(self) -> Declouder:
        """The declouder, loaded once per process."""
        with _LOADING:  # two threads must not load it twice
            return _load(
                self.source, self.card.sha256, self.device, self.precision, self.batch_size
            )

    def __dask_tokenize__(self) -> tuple[str, ...]:
        """What the result depends on."""
        return self.card.sha256, self.card.name, self.device, self.precision


@functools.lru_cache(maxsize=4)
def _load(
    source: str, sha256: str, device: str, precision: str, batch_size: int | str
) -> Declouder:
    model = load_model(source)
    if model.card.sha256 != sha256:
        raise WeightsError(
            f"model {source} is another one here than where the work was planned (sha256 "
            f"{model.card.sha256[:12]}…, not {sha256[:12]}…); bring the same file to all workers"
        )
    # blocks run side by side on threads of ours; another number of torch's own sums in another
    # order, and the last digit of the result would depend on the number of workers
    return Declouder(model, device, precision, batch_size, threads=1)
