"""Chunks with a halo: what this package asks of Dask's graphs.

One task computes one chunk: its pixels come with a halo from the neighbouring chunks, the
function returns several arrays over the chunk's own pixels. The graph is linear in chunks and
nothing is read before it is computed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import dask
import dask.array as da
import numpy as np

# dask's form of a task since 2024.12; it has no name without the underscore yet (2026.8)
from dask._task_spec import Alias, GraphNode, List, Task, TaskRef
from dask.base import clone_key, tokenize
from dask.graph_manipulation import clone
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from geodecloud.windows.tiler import Window

#: A chunk function gets arrays over `padded` (a Window, scene pixels), and returns arrays
#: over `core`, one per output.
ChunkFunction = Callable[..., tuple[np.ndarray[Any, Any], ...]]
#: An array and one letter per axis.
Indexed = tuple[da.Array, str]
#: Begin and end of a block along each axis.
Extent = tuple[tuple[int, int], ...]


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

    args: list[Any] = []
    for item in arrays:
        args += [None, None] if item is None else _with_halo(*item, chunks, halo_px)
    edges: list[Any] = []
    for axis in "yx":
        start = np.cumsum((0, *chunks[axis]))[:-1]
        for values in (start, np.asarray(chunks[axis])):
            edges += [da.from_array(values, chunks=1), axis]
    dates = "t" if "t" in first_index else ""
    return da.blockwise(
        partial(_call, function, halo_px, shape_yx, [item and "t" in item[1] for item in arrays]),
        dates + "yx",
        *edges,
        *args,
        dtype=object,
        meta=np.empty((0,) * (2 + len(dates)), object),
        concatenate=True,
        align_arrays=False,
        adjust_chunks={axis: chunks[axis] for axis in "yx"},
        token=f"decloud-{tokenize(function, halo_px, shape_yx, chunks_yx)}",
    )


def read_again(array: da.Array, seed: str, but: Sequence[da.Array] = ()) -> da.Array:
    """The same array, of tasks of its own: its blocks are read once more instead of being held until then.

    Parameters
    ----------
    seed : names of the new tasks are made of it
    but : what it is made of and is not to be computed once more
    """
    again = clone(array, seed=seed, omit=list(but))
    cloned = set(again.dask.layers)

    def mend(key: Any, task: Any) -> Any:
        # dask (2026.8) gives tasks new names where it clones them, but neither their own key nor those they need
        if not isinstance(task, GraphNode):
            return task
        needed = {one: clone_key(one, seed) for one in task.dependencies}
        return task.substitute({a: b for a, b in needed.items() if _layer(b) in cloned}, key=key)

    layers = {
        name: MaterializedLayer({key: mend(key, task) for key, task in layer.mapping.items()})
        if isinstance(layer, MaterializedLayer) and _is_cloned(name, array)
        else layer
        for name, layer in again.dask.layers.items()
    }
    graph = HighLevelGraph(layers, again.dask.dependencies)
    return da.Array(graph, again.name, again.chunks, meta=again._meta)


def _layer(key: Any) -> str:
    """The layer that a key is of."""
    return str(key[0] if isinstance(key, tuple) else key)


def _is_cloned(name: str, array: da.Array) -> bool:
    """Whether a layer of a clone is not one of the array itself."""
    return name not in array.dask.layers


def blocks_of(array: da.Array) -> Iterator[tuple[Any, tuple[slice, ...]]]:
    """Key and place of each block of an array."""
    places = da.core.slices_from_chunks(array.chunks)
    keys = dask.core.flatten(array.__dask_keys__())
    return zip(keys, places, strict=True)


def without_blocks(array: da.Array, there: Collection[Extent]) -> da.Array:
    """An array to be stored, less some blocks: nothing is in them, and nothing is computed for them.

    Parameters
    ----------
    there : the blocks that are left out
    """
    if not there:
        return array
    name = f"rest-{tokenize(array.name, sorted(there))}"
    graph: dict[Any, Any] = {}
    for key, place in blocks_of(array):
        own = (name, *key[1:])
        is_there = tuple((part.start, part.stop) for part in place) in there
        nothing = Task(own, np.empty, (0,) * array.ndim, array.dtype)
        graph[own] = nothing if is_there else Alias(own, key)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[array])
    return da.Array(layers, name, array.chunks, meta=array._meta)


def _first(arrays: Sequence[Indexed | None]) -> Indexed:
    """The array whose dates and size are those of all."""
    first = arrays[0]
    assert first is not None
    return first


def _with_halo(array: da.Array, index: str, chunks: Any, halo_px: int) -> tuple[da.Array, str]:
    """The array cut into the common chunks, each with the halo around it.

    One task cuts a chunk from the blocks it touches. Dask's own rechunking and overlapping would
    make the pixels of whole rows of chunks over again, twice.
    """
    if "y" not in index:  # one value for the whole scene, or for each date
        return array, index
    array = array.rechunk(
        {i: chunks[axis] if axis == "t" else -1 for i, axis in enumerate(index[:-2])},
        method="tasks",  # else dask imports distributed, a quarter of a second, to look for a client
    )
    starts = [np.cumsum((0, *sizes)) for sizes in array.chunks[-2:]]
    pieces = [
        [
            _pieces(max(begin - halo_px, 0), min(end + halo_px, int(own[-1])), own)
            for begin, end in ends
        ]
        for own, ends in zip(starts, (_spans(chunks["y"]), _spans(chunks["x"])), strict=True)
    ]
    name = f"halo-{tokenize(array.name, chunks, halo_px)}"
    graph = {
        (name, *lead, i, j): Task(
            (name, *lead, i, j),
            _cut,
            List(
                *(
                    List(*(TaskRef((array.name, *lead, row, col)) for col, _ in cols))
                    for row, _ in rows
                )
            ),
            [part for _, part in rows],
            [part for _, part in cols],
        )
        for lead in np.ndindex(array.numblocks[:-2])
        for i, rows in enumerate(pieces[0])
        for j, cols in enumerate(pieces[1])
    }
    sizes = tuple(
        tuple(sum(part.stop - part.start for _, part in parts) for parts in axis) for axis in pieces
    )
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[array])
    return da.Array(layers, name, (*array.chunks[:-2], *sizes), meta=array._meta), index


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
    dated: Sequence[bool | None],
    row: Any,
    height: Any,
    col: Any,
    width: Any,
    *blocks: Any,
) -> tuple[np.ndarray[Any, Any], ...]:
    core = Window(int(col[0]), int(row[0]), int(width[0]), int(height[0]))
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
    """Merge neighbouring chunks until none is smaller than the halo it must lend."""
    merged: list[int] = []
    for size in sizes:
        if merged and (size < least or merged[-1] < least):
            merged[-1] += size
        else:
            merged.append(size)
    return tuple(merged)
