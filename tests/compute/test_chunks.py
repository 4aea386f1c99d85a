"""Blocks that are left out are neither computed nor written. The oracle counts calls and reads the target."""

from __future__ import annotations

import dask.array as da
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.compute.blocks import blocks_of, without_blocks
from geodecloud.compute.chunks import call_on_chunks
from geodecloud.compute.engine import Threads


def test_what_is_left_out_is_neither_computed_nor_written() -> None:
    computed: list[tuple[int, int]] = []

    def call(block: np.ndarray, block_info: dict | None = None) -> np.ndarray:
        assert block_info is not None
        computed.append(tuple(block_info[0]["chunk-location"]))
        return block + 1

    array = da.zeros((50, 70), chunks=(20, 30), dtype="uint8").map_blocks(
        call, dtype="uint8", meta=np.empty((0, 0), "uint8")
    )
    there = {((0, 20), (30, 60)), ((40, 50), (60, 70))}
    twin = array * 10  # of the same blocks, of which none are there
    one, two = np.zeros((50, 70), "uint8"), np.zeros((50, 70), "uint8")
    Threads(1).store([without_blocks(array, there)], [one])
    assert sorted(computed) == [(0, 0), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    expected = np.ones((50, 70), "uint8")
    expected[0:20, 30:60] = expected[40:50, 60:70] = 0
    np.testing.assert_array_equal(one, expected)
    computed.clear()
    Threads(1).store([without_blocks(array, there), twin], [one, two])
    assert len(computed) == 9  # each once, for whom it is missing
    np.testing.assert_array_equal(one, expected)
    assert (two == 10).all()


def test_with_nothing_there_an_array_is_what_it_was() -> None:
    array = da.zeros((5, 7), chunks=3)
    assert without_blocks(array, ()) is array


def test_blocks_of_an_array_cover_it() -> None:
    array = da.zeros((2, 5, 7), chunks=(2, 3, 4))
    seen = np.zeros(array.shape, int)
    for key, place in blocks_of(array):
        seen[place] += 1
        assert key[0] == array.name
    assert (seen == 1).all()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(0, 200))
def test_small_chunks_are_merged_no_further_than_they_must(sizes: list[int], halo: int) -> None:
    """Of an array of many small chunks; merged into one, a whole scene would be held at once."""
    scene = da.ones((7, sum(sizes)), chunks=(7, tuple(sizes)))
    made = call_on_chunks(lambda *_, **__: (), [(scene, "yx")], halo, scene.chunks).chunks[1]
    assert sum(made) == sum(sizes)
    assert set(np.cumsum(made)) <= set(np.cumsum(sizes))
    assert len(made) == 1 or min(made) >= halo
    assert max(made) < 2 * max(halo, 1) + max(sizes)
