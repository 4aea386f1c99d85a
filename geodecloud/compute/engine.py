"""What computes: threads of this process, or a Dask cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import dask
import dask.array as da
import dask.threaded
import numpy as np
from dask.system import CPU_COUNT
from dask.utils import SerializableLock, key_split

from geodecloud.compute.blocks import in_turn


def cpu_count() -> int:
    """Cores this call may use: in a container or batch job fewer than the machine's.

    On a thread of a Dask worker it is one: the other threads have scenes of their own.
    """
    return int(CPU_COUNT) if _worker() is None else 1


def threads_here() -> int:
    """Cores all threads of this process may use together; of a Dask worker, those it was given."""
    worker = _worker()
    return int(CPU_COUNT if worker is None else worker.state.nthreads)


def _worker() -> Any:
    """The Dask worker this thread belongs to, or None."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:  # its way of saying no
        return None


def is_elsewhere(scheduler: str | None) -> bool:
    """Whether other processes compute: a cluster asked for, or a client active in this process."""
    if scheduler is not None:
        return scheduler != "threads"
    # importing distributed costs half a second: without it there is no active client either; and
    # a task that waits for tasks of its own scheduler would hold the thread they need
    if "distributed" not in sys.modules or _worker() is not None:
        return False
    from geodecloud.compute.cluster import active_client

    return active_client() is not None


def find_place(scheduler: str | None, workers: int | None) -> tuple[int, int | None]:
    """Where a scene is computed, of what is asked for: threads that compute chunks, and cores that a network may use.

    The cores are None where other processes compute: each has its own.
    """
    return workers or cpu_count(), None if is_elsewhere(scheduler) else threads_here()


class Threads:
    """Computes on threads of this process.

    Parameters
    ----------
    workers : threads; None is one per core
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or cpu_count()

    def compute(self, arrays: Sequence[da.Array]) -> list[np.ndarray[Any, Any]]:
        """Compute arrays together."""
        with self._pool() as scheduler:
            return list(dask.compute(*arrays, **scheduler))

    def store(self, sources: Sequence[da.Array], targets: Sequence[Any]) -> None:
        """Compute arrays and write them block by block into targets that take assignments.

        One lock: GDAL datasets take one writer at a time.
        """
        with self._pool() as scheduler:
            # lock=True would import it, too, to ask which kind of lock
            lock = SerializableLock()
            da.store(in_turn(sources), list(targets), lock=lock, compute=True, **scheduler)

    @property
    def scenes_at_once(self) -> int:
        """Whole scenes worth doing side by side: the threads share one scene."""
        return 1

    def each(
        self, function: Callable[[Any], Any], items: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Call a function with each item, one after the other."""
        return ((place, function(item)) for place, item in enumerate(items))

    @contextmanager
    def _pool(self) -> Iterator[dict[str, Any]]:
        """Keywords that let dask compute on threads of our own; all are done when this is left.

        Dask's pool would go on computing, and writing, after an error or an interrupt. Keywords
        and not `dask.config`: that is shared by all threads of the process, and so would the
        pool be.
        """
        pool = ThreadPoolExecutor(self.workers)
        try:
            # by name, dask would import distributed first, a quarter of a second, to look for a client
            yield {"scheduler": dask.threaded.get, "pool": pool}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            # dask keeps the names of 100 000 tasks, which are those of all scenes so far
            key_split.cache_clear()


class Engine(Protocol):
    """What computes: threads of this process, or a cluster (`geodecloud.compute.cluster`)."""

    def compute(self, arrays: Sequence[da.Array]) -> list[np.ndarray[Any, Any]]:
        """Compute arrays together."""

    def store(self, sources: Sequence[da.Array], targets: Sequence[Any]) -> None:
        """Compute arrays and write their blocks into targets, one at a time."""

    @property
    def scenes_at_once(self) -> int:
        """Whole scenes worth doing side by side."""

    def each(
        self, function: Callable[[Any], Any], items: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Call a function with each item; yields (place, result or exception) as they are done."""


@contextmanager
def engine(scheduler: str | None, workers: int | None) -> Iterator[Engine]:
    """The engine to compute with: the cluster asked for, the caller's own, or threads.

    Parameters
    ----------
    scheduler : "threads", the address of a Dask scheduler, or None: a `distributed.Client` that
        is active in this process, and threads where there is none
    workers : of threads; a cluster has its own

    Raises
    ------
    ClusterError
        If no scheduler answers at the address, or it has no workers that can do the work.
    OptionError
        If `scheduler` is neither.
    """
    if not is_elsewhere(scheduler):
        yield Threads(workers)
        return
    from geodecloud.compute.cluster import connect

    with connect(scheduler) as cluster:
        yield cluster or Threads(workers)
