"""A model that runs: batches of windows in, restored cores and opacity out."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geodecloud.backends import Array, Backend, Margins, open_backend
from geodecloud.compute.engine import threads_here
from geodecloud.errors import SceneError, WeightsError
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import get_card

if TYPE_CHECKING:
    from geodecloud.models.weights import Model

log = logging.getLogger(__name__)

#: Declouders kept in a process; each holds weights, and compiled graphs.
_MOST_LOADED = 4
_LOADING = threading.Lock()
_LOADED: OrderedDict[tuple[Any, ...], Declouder] = OrderedDict()


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

    def predict(
        self, patches: Array, margins: Margins | None = None, prior: Array | None = None
    ) -> tuple[Array, Array]:
        """Restore the cores of a batch.

        Parameters
        ----------
        patches : (N, C, H, W) float32, finite, reflectance
        margins : px around the core on each side; None: the core is all. A side with less than the
            model's reach is where the scene ends
        prior : (N, C + 1 or more, h, w), see `geodecloud.models.spanet.SPANet.forward`; None: nothing is known

        Returns
        -------
        restored : (N, C, h, w) float32, clipped to the model's value range; NaN where the network gave no
            finite number, or no finite opacity
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
        restored, opacity = self.backend.run(patches, margins or Margins(), prior)
        restored[~np.isfinite(restored)] = (
            np.nan
        )  # before the range: infinite is not the largest value
        if self.card.value_range is not None:
            np.clip(restored, *self.card.value_range, out=restored)
        if not self.card.has_cloud_map:
            opacity = np.full_like(opacity, np.nan)
        elif not np.isfinite(opacity).all():
            np.moveaxis(restored, 1, 0)[:, ~np.isfinite(opacity)] = np.nan
        return restored, opacity


@dataclass(frozen=True)
class ModelHandle:
    """A declouder to be: small enough to travel to other processes, where the model is loaded.

    Attributes
    ----------
    card : of the model
    model : the model's name or path; or a loaded model, which travels with its weights
    device, precision, backend, batch_size : see `geodecloud.backends.open_backend`; "auto" is left to
        the place where the work is done, so that a worker with a GPU uses it
    threads : cores to use; None: those of the process, or of the Dask worker
    """

    card: ModelCard
    model: str | Model
    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    batch_size: int | str = "auto"
    threads: int | None = None

    def load(self) -> Declouder:
        """The declouder, loaded once per process.

        Raises
        ------
        WeightsError
            If the model is another one here than where the work was planned.
        """
        threads = self.threads or threads_here()
        how = (self.device, self.precision, self.backend, self.batch_size, threads)
        key = (str(getattr(self.model, "model_ref", self.model)), self.card.to_json(), *how)
        with _LOADING:  # two threads must not load it twice
            if key not in _LOADED:
                _LOADED[key] = self._open(threads)
                while len(_LOADED) > _MOST_LOADED:
                    _LOADED.popitem(last=False)
            _LOADED.move_to_end(key)
            return _LOADED[key]

    def _open(self, threads: int) -> Declouder:
        here = get_card(self.model)
        if here.to_json() != self.card.to_json():
            raise WeightsError(
                f"model {self.card.name} is another one here than where the work was planned (sha256 "
                f"{here.sha256[:12]}…, cloud from {here.cloud_threshold}; not {self.card.sha256[:12]}…, "
                f"cloud from {self.card.cloud_threshold}); bring the same file to all workers, and leave "
                "a loaded model as it is until the work is done"
            )
        opened = open_backend(here, self.model, self.device, self.precision, self.backend, threads)
        size = None if self.batch_size == "auto" else int(self.batch_size)
        return Declouder(here, opened, size)

    def __dask_tokenize__(self) -> tuple[str, ...]:
        """What the result depends on: the same tensors under other thresholds are another model."""
        return self.card.to_json(), self.device, self.precision, self.backend


def release_memory() -> None:
    """Give back what the models loaded in this process keep in memory between two windows."""
    with _LOADING:
        loaded = list(_LOADED.values())
    for declouder in loaded:
        declouder.backend.release()
