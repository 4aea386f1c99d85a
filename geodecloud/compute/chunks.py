"""Chunks with a halo: what this package asks of Dask's graphs.

One task computes one chunk: its pixels come with a halo from the neighbouring chunks, the
function returns several arrays over the chunk's own pixels. The graph is linear in chunks and
nothing is read before it is computed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np

# dask's form of a task since 2024.12; it has no name without the underscore yet (2026.8)
from dask._task_spec import GraphNode, List, Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from geodecloud.windows.tiler import Window

#: A chunk function gets arrays over `padded` (a Window, scene pixels), and returns arrays
#: over `core`, one per output.
ChunkFunction = Callable[..., tuple[np.ndarray[Any, Any], ...]]
#: An array and one letter per axis.
Indexed = tuple[da.Array, str]


def map_chunks_with_halo(
    function: ChunkFunction,
    arrays: Sequence[Indexed | None],
    halo_px: int,
    outputs: Sequence[tuple[int | None, Any]],
    chunks_yx: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
) -> list[da.Array]:
    """Apply a function to every chunk, with `halo_px` of context around it.

    Parameters
    ----------
    function : called once per date as ``function(*blocks, core=Window, padded=Window)``
    arrays : (array, index) with one letter per axis, such as ``(image, "cyx")``: t is dates, other
        letters are axes that stay whole; y and x come last, of one size in all of them. An array
        without them, index "" or "t", goes to every chunk. None is handed on as None
    halo_px : context; at the edge of the scene there is less of it, nothing is invented
    outputs : (channels or None, dtype) of each array returned: (channels, y, x) or (y, x)
    chunks_yx : heights and widths of the chunks; None: those of the first array

    Returns
    -------
    list of dask arrays on these chunks, with the dates of the first array in front; computed
    together they share the work
    """
    first, first_index = _first(arrays)
    asked_chunks = chunks_yx or first.chunks[-2:]
    packed = call_on_chunks(function, arrays, halo_px, asked_chunks)
    dates = "t" if "t" in first_index else ""
    results = []
    for index, (channels, dtype) in enumerate(outputs):
        lead = packed.chunks[: len(dates)]
        out = da.map_blocks(
            operator.itemgetter(index),
            packed,
            new_axis=[] if channels is None else [len(dates)],
            chunks=lead + (() if channels is None else ((channels,),)) + packed.chunks[-2:],
            dtype=dtype,
            meta=np.empty((0,) * (2 + len(dates) + (channels is not None)), dtype),
        )
        asked = {out.ndim - 2: asked_chunks[0], out.ndim - 1: asked_chunks[1]}
        results.append(out.rechunk(asked, method="tasks"))
    return results


def call_on_chunks(
    function: ChunkFunction,
    arrays: Sequence[Indexed | None],
    halo_px: int,
    chunks_yx: tuple[tuple[int, ...], tuple[int, ...]],
) -> da.Array:
    """What a function returns for every chunk: an array of whose blocks, ([dates,] rows, columns), each holds that.

    Parameters
    ----------
    function, arrays, halo_px : see `map_chunks_with_halo`
    chunks_yx : heights and widths of the chunks; those smaller than the halo are merged with a neighbour

    Returns
    -------
    dask array of objects; its chunks are those that were made. A block is the tuple itself, of dates stacked
    """
    first, first_index = _first(arrays)
    shape_yx = first.shape[-2:]
    chunks = dict(zip(first_index, first.chunks, strict=True))
    chunks |= {a: _at_least(n, halo_px) for a, n in zip("yx", chunks_yx, strict=True)}
    axes = "tyx" if "t" in first_index else "yx"
    sources = [item and _Source.of(*item, chunks, halo_px) for item in arrays]
    dated = tuple(item is not None and "t" in item[1] for item in arrays)
    spans = [_spans(chunks[axis]) for axis in "yx"]
    about = (
        function,
        halo_px,
        shape_yx,
        chunks,
        [one and (one.array.name, one.index) for one in sources],
    )
    name = f"decloud-{tokenize(*about)}"
    graph = {}
    for place in np.ndindex(*(len(chunks[axis]) for axis in axes)):
        (top, bottom), (left, right) = (ends[i] for ends, i in zip(spans, place[-2:], strict=True))
        core = Window(left, top, right - left, bottom - top)
        blocks = [one and one.block(place) for one in sources]
        key = (name, *place)
        graph[key] = Task(key, _call, function, halo_px, shape_yx, dated, core, *blocks)
    needed = [one.array for one in sources if one is not None]
    layers = HighLevelGraph.from_collections(name, graph, dependencies=needed)
    meta = np.empty((0,) * len(axes), object)
    return da.Array(layers, name, tuple(chunks[axis] for axis in axes), meta=meta)


def _first(arrays: Sequence[Indexed | None]) -> Indexed:
    """The array whose dates and size are those of all."""
    first = arrays[0]
    assert first is not None
    return first


@dataclass(frozen=True)
class _Source:
    """An array, of which each chunk gets a part with a halo around it.

    The task of a chunk cuts its part from the blocks that it touches. Dask's own rechunking and overlapping would make
    the pixels of whole rows of chunks over again, twice; and parts that are cut before they are used wait beside the
    blocks they are of.

    Attributes
    ----------
    array : axes but those of dates, rows and columns are in one block
    index : see `map_chunks_with_halo`
    rows, cols : of each row and column of chunks, the blocks it touches and what to take of each; empty: all
    """

    array: da.Array
    index: str
    rows: Sequence[Sequence[tuple[int, slice]]] = ()
    cols: Sequence[Sequence[tuple[int, slice]]] = ()

    @classmethod
    def of(cls, array: da.Array, index: str, chunks: Any, halo_px: int) -> _Source:
        """The array for these common chunks."""
        if "y" not in index:  # one value for the whole scene, or for each date
            return cls(array, index)
        array = array.rechunk(
            {i: chunks[axis] if axis == "t" else -1 for i, axis in enumerate(index[:-2])},
            method="tasks",  # else dask imports distributed, a quarter of a second, to look for a client
        )
        parts = []
        for axis, sizes in zip("yx", array.chunks[-2:], strict=True):
            own = np.cumsum((0, *sizes))
            ends = _spans(chunks[axis])
            parts.append(
                [_pieces(max(a - halo_px, 0), min(b + halo_px, int(own[-1])), own) for a, b in ends]
            )
        return cls(array, index, *parts)

    def block(self, place: tuple[int, ...]) -> GraphNode:
        """What the chunk at ([date,] row, column) gets."""
        if "y" not in self.index:
            return TaskRef((self.array.name, *place[: len(self.index)]))
        lead = [place[0] if axis == "t" else 0 for axis in self.index[:-2]]
        rows, cols = self.rows[place[-2]], self.cols[place[-1]]
        blocks = List(
            *(
                List(*(TaskRef((self.array.name, *lead, row, col)) for col, _ in cols))
                for row, _ in rows
            )
        )
        return Task(None, _cut, blocks, [part for _, part in rows], [part for _, part in cols])


def _spans(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(begin, end) of parts in a row."""
    edges = [0, *(int(edge) for edge in np.cumsum(sizes))]
    return list(pairwise(edges))


def _pieces(begin: int, end: int, starts: np.ndarray[Any, Any]) -> list[tuple[int, slice]]:
    """The blocks that a stretch of an axis touches, and what to take of each."""
    first, last = np.searchsorted(starts, (begin, end - 1), side="right") - 1
    return [
        (
            int(block),
            slice(
                max(begin - int(starts[block]), 0),
                min(end, int(starts[block + 1])) - int(starts[block]),
            ),
        )
        for block in range(first, last + 1)
    ]


def _cut(
    blocks: list[list[np.ndarray[Any, Any]]], rows: list[slice], cols: list[slice]
) -> np.ndarray[Any, Any]:
    """One array of the parts of a grid of blocks."""
    lines = [
        [block[..., row, col] for block, col in zip(line, cols, strict=True)]
        for line, row in zip(blocks, rows, strict=True)
    ]
    return np.block(lines) if len(rows) * len(cols) > 1 else lines[0][0]


def _call(
    function: ChunkFunction,
    halo_px: int,
    shape_yx: tuple[int, int],
    dated: Sequence[bool],
    core: Window,
    *blocks: Any,
) -> tuple[np.ndarray[Any, Any], ...]:
    padded = core.grow(halo_px, Window(0, 0, shape_yx[1], shape_yx[0]))
    if not dated[0]:
        return function(*blocks, core=core, padded=padded)
    dates = [
        function(
            # an item of a row of objects would be the object itself
            *(b[i, ...] if with_dates else b for b, with_dates in zip(blocks, dated, strict=True)),
            core=core,
            padded=padded,
        )
        for i in range(len(blocks[0]))
    ]
    return tuple(np.stack(images) for images in zip(*dates, strict=True))


def _at_least(sizes: tuple[int, ...], least: int) -> tuple[int, ...]:
    """Merge neighbouring chunks until none is smaller than its halo, which would be most of the work."""
    merged: list[int] = []
    for size in sizes:
        if merged and merged[-1] < least:
            merged[-1] += size
        else:
            merged.append(size)
    if len(merged) > 1 and merged[-1] < least:
        merged[-2:] = [merged[-2] + merged[-1]]
    return tuple(merged)
