"""What a cluster has computed, as it arrives; and an end to waiting where there is no worker to compute it.

Dask waits for ever for workers: they may be on their way, started by hand, by a queue or by an adaptive
cluster, which starts them once there is work. So work is always sent first, and what waits here is whoever asked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import dask
from dask.utils import parse_timedelta

from geodecloud.errors import ClusterLostError, OptionError

log = logging.getLogger(__name__)

#: Dask's own setting, of its scheduler. Here it is read in the process that waits, too.
SETTING = "distributed.scheduler.no-workers-timeout"
_VARIABLE = "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT"
#: How long to wait for the first worker, or for another one when all have gone, where that setting says nothing, s.
WAIT_S = 300.0
#: How often the scheduler is asked who is there, while nothing arrives, s.
_LOOK_S = 1.0


def arrivals(client: Any, futures: Sequence[Any], with_results: bool) -> Iterator[Any]:
    """Futures as they are done, of `distributed.as_completed`, with their results if asked for.

    Parameters
    ----------
    client : distributed.Client, connected
    futures : of work that has been sent to it

    Raises
    ------
    ClusterLostError
        If there is no worker for as long as `longest_wait`, or the scheduler is gone.
    """
    from distributed import as_completed

    arriving = as_completed(futures, loop=client.loop, with_results=with_results)
    watch = _Watch(client)
    while not arriving.is_empty():
        if not arriving.has_ready():
            with arriving.thread_condition:
                arriving.thread_condition.wait(0.1)  # as its own `next`
            watch.look()
            continue
        watch.seen()
        yield _next(arriving, watch)


def _next(arriving: Any, watch: _Watch) -> Any:
    """The next of what has arrived; where nobody can do it any more, that is an error of the cluster."""
    from distributed.scheduler import NoWorkerError

    try:
        done = next(arriving)
        future = done[0] if isinstance(done, tuple) else done
        if future.status == "error" and isinstance(error := future.exception(), NoWorkerError):
            raise error
    except NoWorkerError as error:  # the scheduler has that setting, too
        raise watch.nobody() from error
    if future.cancelled():
        raise _gone(watch.client)
    return done


def longest_wait() -> float:
    """Seconds to wait while there is no worker.

    Raises
    ------
    OptionError
        If Dask's setting is no time.
    """
    asked = dask.config.get(SETTING, None)
    if asked is None:
        return WAIT_S
    try:
        return float(parse_timedelta(asked))
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(
            f"{SETTING} of Dask is {asked!r}, which is no time; give one such as 10 minutes or 300s"
        ) from error


class _Watch:
    """Looks, while nothing arrives, whether there is anybody to compute it."""

    def __init__(self, client: Any) -> None:
        self.client, self.longest = client, longest_wait()
        self.looked = time.monotonic()
        self.alone_since: float | None = None

    def seen(self) -> None:
        """Something has arrived."""
        self.alone_since = None

    def look(self) -> None:
        """Ask the scheduler, now and then; raises where there has been no worker for too long."""
        now = time.monotonic()
        if now - self.looked < min(_LOOK_S, self.longest):
            return
        self.looked = now
        if _has_workers(self.client):
            self.alone_since = None
            return
        address = _address(self.client)
        if self.alone_since is None:
            self.alone_since = now
            log.warning(
                "the scheduler at %s has no workers: waiting for some, %g s at most. Start one "
                "with: dask worker %s",
                *(address, self.longest, address),
            )
        if now - self.alone_since >= self.longest:
            raise self.nobody()

    def nobody(self) -> ClusterLostError:
        """What is told where no worker has come."""
        address = _address(self.client)
        return ClusterLostError(
            f"the scheduler at {address} has no workers, and none came within {self.longest:g} s; "
            f"start some with: dask worker {address}. To wait longer: {_VARIABLE}='1 hour'"
        )


def _has_workers(client: Any) -> bool:
    try:
        return bool(client.nthreads())
    except (OSError, TimeoutError) as error:
        raise _gone(client) from error


def _gone(client: Any) -> ClusterLostError:
    return ClusterLostError(
        f"the Dask scheduler at {_address(client)} is gone, and its work with it; start one with "
        "dask scheduler, and give the same command again"
    )


def _address(client: Any) -> str:
    """Of the scheduler, also when it is gone."""
    return str(client.scheduler.address) if client.scheduler is not None else "an unknown address"
