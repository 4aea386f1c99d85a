"""A Dask cluster as the engine: blocks are computed by its workers, files written by the client.

Workers need this package, the same version, and the same paths to the scenes. Each loads the
model once (`geodecloud.backends.declouder`); only its name travels.
"""

from __future__ import annotations

import importlib.util
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import dask.array as da
import numpy as np

from geodecloud._version import __version__
from geodecloud.compute.arrivals import arrivals
from geodecloud.compute.blocks import blocks_of
from geodecloud.errors import ClusterError, ClusterLostError, OptionError

log = logging.getLogger(__name__)

#: How often a block is given to another worker before we give up.
RETRIES = 3
_CONNECT_SECONDS = 15


class Cluster:
    """Computes on the workers of a Dask scheduler.

    Parameters
    ----------
    client : distributed.Client, connected
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    @property
    def scenes_at_once(self) -> int:
        """Threads of all workers: each can have a scene of its own."""
        return sum(self.client.nthreads().values())

    def compute(self, arrays: Sequence[da.Array]) -> list[np.ndarray[Any, Any]]:
        """Compute arrays together."""
        results = [np.empty(array.shape, array.dtype) for array in arrays]
        self.store(arrays, results)
        return results

    def store(self, sources: Sequence[da.Array], targets: Sequence[Any]) -> None:
        """Compute arrays and write each block into its target as it arrives, here.

        An array may be given more than once: it is computed once, and written into each target.

        Raises
        ------
        ClusterError
            If workers die again and again. Other errors come as the workers raised them.
        ClusterLostError
            If all workers go and none comes, or the scheduler goes.
        """
        from distributed import KilledWorker, futures_of

        places = _places(sources, targets)
        distinct = list({source.name: source for source in sources}.values())
        lazy = self.client.persist(distinct, retries=RETRIES, optimize_graph=True)
        futures = futures_of(lazy)
        del lazy  # it would keep every block on the cluster until all are done
        try:
            for future, block in arrivals(self.client, futures, with_results=True):
                for target, where in places.pop(future.key):
                    if block.size:  # as dask's own store: there is nothing in what is left out
                        target[where] = block
                future.release()
        except KilledWorker as error:
            raise ClusterError(
                f"{RETRIES + 1} workers died one after the other while computing; most often they "
                f"have too little memory: use a smaller window, such as window=256, or fewer threads per worker ({error})"
            ) from error
        except BaseException:
            self._cancel(futures)  # Ctrl-C, too, ends the cluster's work
            raise

    def each(
        self, function: Callable[[Any], Any], items: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Call a function with each item; yields (place, result or exception) as they are done.

        An item whose worker dies goes to another one.
        """
        futures = [self.client.submit(function, i, pure=False, retries=RETRIES) for i in items]
        places = {future.key: place for place, future in enumerate(futures)}
        try:
            for future in arrivals(self.client, futures, with_results=False):
                yield places[future.key], future.exception() or future.result()
                future.release()
        except BaseException:
            self._cancel(futures)
            raise

    def _cancel(self, futures: Sequence[Any]) -> None:
        """End work that nobody waits for any more; what becomes of it hides no error."""
        with suppress(OSError, TimeoutError):
            self.client.cancel(futures)

    def wait_for_a_worker(self) -> None:
        """Return once there is a worker.

        Raises
        ------
        ClusterLostError
            If none comes, see `geodecloud.compute.arrivals.longest_wait`.
        """
        # a task, and not a look: an adaptive cluster starts workers where there is work
        if not self.scenes_at_once:
            for _, version in self.each(_version, [None]):
                log.debug("a worker with geodecloud %s has come", version)


def _places(
    sources: Sequence[da.Array], targets: Sequence[Any]
) -> dict[Any, list[tuple[Any, tuple[slice, ...]]]]:
    """Where the block of each key goes: several targets, where they share a source."""
    places = defaultdict(list)
    for source, target in zip(sources, targets, strict=True):
        for key, where in blocks_of(source):
            places[key].append((target, where))
    return places


@contextmanager
def connect(address: str | None) -> Iterator[Cluster | None]:
    """The cluster at an address, or the one this process is a client of; None if it is of none.

    Raises
    ------
    ClusterError
        If its workers cannot run this package.
    ClusterLostError
        If no scheduler answers, or no worker comes (`geodecloud.compute.arrivals`).
    OptionError
        If the address is none.
    """
    if address is None:
        client = active_client()
        own = None if client is None else Cluster(client)
        if own is not None:
            own.wait_for_a_worker()
        yield own
        return
    if "://" not in address:
        raise OptionError(
            f"scheduler {address!r} is neither 'threads' nor an address such as tcp://10.0.0.1:8786"
        )
    if importlib.util.find_spec("distributed") is None:
        raise ClusterError(
            "a scheduler needs the package distributed: pip install 'geodecloud[cluster]'"
        )
    from distributed import Client

    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterLostError(
            f"no Dask scheduler answers at {address}: {error}. Start one with: dask scheduler"
        ) from error
    with client:
        cluster = Cluster(client)
        cluster.wait_for_a_worker()
        _check_workers(client)
        log.info("scheduler %s: %d worker threads", address, cluster.scenes_at_once)
        yield cluster


def active_client() -> Any:
    """The client of the caller's own, if there is one in this process."""
    from distributed import default_client

    try:
        return default_client()
    except ValueError:  # its way of saying that there is none
        return None


def _check_workers(client: Any) -> None:
    """Whether those that are there now are of this version; an adaptive cluster may start more of the same."""
    versions: dict[str, str] = client.run(_version, on_error="return")
    for worker, version in versions.items():
        if version != __version__:
            raise ClusterError(
                f"worker {worker} has geodecloud {version}, and here it is {__version__}: install "
                "the same version on all workers"
            )


def _version(_: object = None) -> str:
    from geodecloud._version import __version__ as version

    return version
