"""Everything this package asks of Dask: blocks with a halo, and running them.

One task computes one chunk: its pixels come with a halo from the neighbouring chunks, the
function returns several arrays over the chunk's own pixels. The graph is linear in chunks and
nothing is read before it is computed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.system import CPU_COUNT

from geodecloud.tiler import Window

#: A block function gets arrays over `padded` (a Window, scene pixels), and returns arrays
#: over `core`, one per output.
BlockFunction = Callable[..., tuple[np.ndarray[Any, Any], ...]]


def cpu_count() -> int:
    """Cores this process may use: in a container or batch job fewer than the machine's."""
    return int(CPU_COUNT)


def map_blocks_with_halo(
    function: BlockFunction,
    arrays: Sequence[da.Array | None],
    halo_px: int,
    outputs: Sequence[tuple[int | None, Any]],
) -> list[da.Array]:
    """Apply a function to every chunk, with `halo_px` of context around it.

    Parameters
    ----------
    function : called as ``function(*blocks, core=Window, padded=Window)``
    arrays : (C, y, x) or (y, x), same chunks along y and x; None is handed on as None
    halo_px : context; at the edge of the scene there is less of it, nothing is invented
    outputs : (channels or None, dtype) of each array returned: (channels, y, x) or (y, x)

    Returns
    -------
    list of dask arrays on the chunks of the first array; computed together they share the work
    """
    first = arrays[0]
    assert first is not None
    shape_yx, asked_chunks = first.shape[-2:], first.chunks[-2:]
    chunks_yx = tuple(_at_least(sizes, halo_px) for sizes in asked_chunks)

    args: list[Any] = []
    for array in arrays:
        if array is None:
            args += [None, None]
            continue
        lead = {0: -1} if array.ndim == 3 else {}
        array = array.rechunk({**lead, array.ndim - 2: chunks_yx[0], array.ndim - 1: chunks_yx[1]})
        # an axis of one chunk has no neighbour to borrow from
        depth = {
            axis: halo_px * (len(array.chunks[axis]) > 1)
            for axis in (array.ndim - 2, array.ndim - 1)
        }
        if any(depth.values()):
            array = da.overlap.overlap(array, depth=depth, boundary="none", allow_rechunk=False)
        args += [array, "cyx" if array.ndim == 3 else "yx"]

    starts = [np.cumsum((0, *sizes))[:-1] for sizes in chunks_yx]
    edges = [
        (da.from_array(start, chunks=1), da.from_array(np.asarray(sizes), chunks=1))
        for start, sizes in zip(starts, chunks_yx, strict=True)
    ]
    packed = da.blockwise(
        partial(_call, function, halo_px, shape_yx),
        "yx",
        *(edges[0][0], "y", edges[0][1], "y", edges[1][0], "x", edges[1][1], "x"),
        *args,
        dtype=object,
        meta=np.empty((0, 0), object),
        concatenate=True,
        align_arrays=False,
        adjust_chunks={"y": chunks_yx[0], "x": chunks_yx[1]},
        token=f"decloud-{tokenize(function, halo_px, shape_yx, outputs)}",
    )
    results = []
    for index, (channels, dtype) in enumerate(outputs):
        lead_chunks = () if channels is None else ((channels,),)
        out = da.map_blocks(
            operator.itemgetter(index),
            packed,
            new_axis=[] if channels is None else [0],
            chunks=lead_chunks + packed.chunks,
            dtype=dtype,
            meta=np.empty((0,) * (2 + len(lead_chunks)), dtype),
        )
        results.append(out.rechunk(lead_chunks + asked_chunks))
    return results


def _call(
    function: BlockFunction,
    halo_px: int,
    shape_yx: tuple[int, int],
    row: Any,
    height: Any,
    col: Any,
    width: Any,
    *blocks: Any,
) -> tuple[np.ndarray[Any, Any], ...]:
    core = Window(int(col[0]), int(row[0]), int(width[0]), int(height[0]))
    padded = core.grow(halo_px, Window(0, 0, shape_yx[1], shape_yx[0]))
    return function(*blocks, core=core, padded=padded)


def _at_least(sizes: tuple[int, ...], least: int) -> tuple[int, ...]:
    """Merge neighbouring chunks until none is smaller than the halo it must lend."""
    merged: list[int] = []
    for size in sizes:
        if merged and (size < least or merged[-1] < least):
            merged[-1] += size
        else:
            merged.append(size)
    return tuple(merged)


def store(sources: Sequence[da.Array], targets: Sequence[Any], workers: int) -> None:
    """Compute arrays and write them block by block into targets that take assignments.

    One lock: GDAL datasets take one writer at a time.
    """
    with threads(workers) as scheduler:
        da.store(list(sources), list(targets), lock=True, compute=True, **scheduler)


@contextmanager
def threads(workers: int) -> Iterator[dict[str, Any]]:
    """Keywords that let dask compute on threads of our own; all are done when this is left.

    Dask's pool would go on computing, and writing, after an error or an interrupt. Keywords and
    not `dask.config`: that is shared by all threads of the process, and so would the pool be.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        yield {"scheduler": "threads", "pool": pool}
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
