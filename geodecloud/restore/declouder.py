"""A model that runs: batches of windows in, restored cores and opacity out."""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from dataclasses import dataclass

import numpy as np

from geodecloud.backends import Array, Backend, Margins, open_backend
from geodecloud.compute.chunks import threads_here
from geodecloud.errors import SceneError, WeightsError
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import get_card

log = logging.getLogger(__name__)

_LOADING = threading.Lock()
_LOADED: weakref.WeakSet[Declouder] = weakref.WeakSet()


class Declouder:
    """What a model's card promises, whatever runs the network.

    Parameters
    ----------
    card : of the model
    backend : that runs it
    batch_size : windows in one call; None: as many as the backend likes
    """

    def __init__(self, card: ModelCard, backend: Backend, batch_size: int | None = None) -> None:
        self.card, self.backend = card, backend
        self.batch_size = batch_size or backend.batch_size
        self.window_px = backend.window_px
        log.debug("%r, batches of %d", self, self.batch_size)

    def __repr__(self) -> str:
        return f"<Declouder {self.card.name}, {self.backend.name}>"

    def predict(self, patches: Array, margins: Margins | None = None) -> tuple[Array, Array]:
        """Restore the cores of a batch.

        Parameters
        ----------
        patches : (N, C, H, W) float32, finite, reflectance
        margins : px around the core on each side; None: the core is all. A side with less than the
            model's reach is where the scene ends

        Returns
        -------
        restored : (N, C, h, w) float32, clipped to the model's value range
        opacity : (N, h, w) float32 in [0, 1]; NaN where the model makes no cloud map

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
        restored, opacity = self.backend.run(patches, margins or Margins())
        if self.card.value_range is not None:
            np.clip(restored, *self.card.value_range, out=restored)
        if not self.card.has_cloud_map:
            opacity = np.full_like(opacity, np.nan)
        return restored, opacity


@dataclass(frozen=True)
class ModelHandle:
    """A declouder to be: small enough to travel to other processes, where the model is loaded.

    Attributes
    ----------
    card : of the model
    source : the model's name or path
    device, precision, backend, batch_size : as wished, see `geodecloud.backends.open_backend`;
        "auto" is decided where the work is done, so that a worker with a GPU uses it
    threads : cores to use; None: those of the process, or of the Dask worker
    """

    card: ModelCard
    source: str
    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    batch_size: int | str = "auto"
    threads: int | None = None

    def load(self) -> Declouder:
        """The declouder, loaded once per process."""
        how = (self.device, self.precision, self.backend, self.batch_size)
        with _LOADING:  # two threads must not load it twice
            return _load(self.source, self.card.to_json(), *how, self.threads or threads_here())

    def __dask_tokenize__(self) -> tuple[str, ...]:
        """What the result depends on: the same tensors under other thresholds are another model."""
        return self.card.to_json(), self.device, self.precision, self.backend


@functools.lru_cache(maxsize=4)
def _load(
    source: str,
    planned: str,
    device: str,
    precision: str,
    backend: str,
    batch_size: int | str,
    threads: int,
) -> Declouder:
    card = get_card(source)
    if card.to_json() != planned:
        wanted = ModelCard.from_json(planned)
        raise WeightsError(
            f"model {source} is another one here than where the work was planned (sha256 "
            f"{card.sha256[:12]}…, cloud from {card.cloud_threshold}; not {wanted.sha256[:12]}…, cloud from "
            f"{wanted.cloud_threshold}); bring the same file to all workers"
        )
    opened = open_backend(card, source, device, precision, backend, threads)
    declouder = Declouder(card, opened, None if batch_size == "auto" else int(batch_size))
    _LOADED.add(declouder)
    return declouder


def release_memory() -> None:
    """Give back what the models loaded in this process keep in memory between two windows."""
    for declouder in list(_LOADED):
        declouder.backend.release()
