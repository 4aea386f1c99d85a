"""Blocks of dask arrays about to be computed: made once more, left out, or stored one after the other."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np

# dask's form of a task since 2024.12; it has no name without the underscore yet (2026.8)
from dask._task_spec import Alias, GraphNode, Task, TaskRef
from dask.base import clone_key, tokenize
from dask.graph_manipulation import clone
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

#: Begin and end of a block along each axis.
Extent = tuple[tuple[int, int], ...]


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


def in_turn(arrays: Sequence[da.Array]) -> list[da.Array]:
    """Arrays to be stored block after block, row by row, all of them together.

    What a block is made of is made before the next one's: of a scene a few rows of chunks are held. Left to itself dask
    begins where a chunk has the most neighbours, in the midst, and what lies around that is held to the end. Chunks may
    still be made side by side, and before their turn.
    """
    arrays, name = list(arrays), f"in-turn-{tokenize([array.name for array in arrays])}"
    blocks = [
        (_turn(place), number, key)
        for number, array in enumerate(arrays)
        for key, place in blocks_of(array)
    ]
    graph: dict[Any, Any] = {}
    own: list[dict[Any, Any]] = [{} for _ in arrays]
    before: Any = None
    for _, number, key in sorted(blocks, key=operator.itemgetter(0)):
        turn, done = (name, number, *key[1:]), (f"done-{name}", number, *key[1:])
        graph[turn] = Task(turn, _after, TaskRef(key), before and TaskRef(before))
        graph[done] = Task(done, _nothing, TaskRef(turn))
        alias = (f"{name}-{number}", *key[1:])
        own[number][alias] = Alias(alias, turn)
        before = done
    together = HighLevelGraph.from_collections(name, graph, dependencies=arrays)
    found = []
    for number, array in enumerate(arrays):
        mine = f"{name}-{number}"
        layers = {**together.layers, mine: MaterializedLayer(own[number])}
        depends = {**together.dependencies, mine: {name}}
        turned = HighLevelGraph(layers, depends)
        found.append(da.Array(turned, mine, array.chunks, meta=array._meta))
    return found


def _turn(place: tuple[slice, ...]) -> tuple[int, ...]:
    """When a block of ([date,] [band,] y, x) is stored: after those of earlier dates, and of rows above."""
    lead = place[0].start if len(place) > 2 else 0
    return lead, place[-2].start, place[-1].start


def _after(block: np.ndarray[Any, Any], _: None) -> np.ndarray[Any, Any]:
    """A block, when that before it is done."""
    return block


def _nothing(_: np.ndarray[Any, Any]) -> None:
    """That a block is done."""
