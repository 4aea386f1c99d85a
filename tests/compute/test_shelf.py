"""What tasks have made is taken from a folder, where it is whole, and made where it is not."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from dask.base import tokenize

from geodecloud.compute.shelf import Shelf

MADE = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, 255], np.uint8)


def ask(shelf: Shelf) -> int:
    """How often it is made, when two ask for it."""
    calls = []

    def make() -> tuple[np.ndarray, ...]:
        calls.append(1)
        return MADE

    for _ in range(2):
        for got, expected in zip(shelf.keep("one", make), MADE, strict=True):
            np.testing.assert_array_equal(got, expected, strict=True)
    return len(calls)


def kept(folder: Path) -> Shelf:
    shelf = Shelf()
    shelf.folder = folder / "shelf"
    return shelf


def test_it_keeps_only_in_a_folder(tmp_path: Path) -> None:
    assert ask(Shelf()) == 2
    assert ask(kept(tmp_path)) == 1
    assert ask(kept(tmp_path)) == 0
    assert [path.name for path in (tmp_path / "shelf").iterdir()] == ["one.npz"]


@pytest.mark.parametrize("damage", ["cut", "empty", "changed", "other"])
def test_what_is_damaged_is_made_anew(damage: str, tmp_path: Path) -> None:
    ask(kept(tmp_path))
    file = tmp_path / "shelf" / "one.npz"
    content = bytearray(file.read_bytes())
    where = content.index(MADE[0].tobytes())
    content[where + 5] ^= 1
    damaged = {"cut": content[:-40], "empty": b"", "changed": content, "other": b"no archive"}
    file.write_bytes(damaged[damage])
    assert ask(kept(tmp_path)) == 1


def test_a_folder_that_cannot_be_made_costs_nothing_but_the_work(tmp_path: Path) -> None:
    (tmp_path / "shelf").write_text("a file")
    assert ask(kept(tmp_path)) == 2


def test_results_and_other_processes_do_not_depend_on_it(tmp_path: Path) -> None:
    shelf = kept(tmp_path)
    assert tokenize(shelf) == tokenize(Shelf())
    assert pickle.loads(pickle.dumps(shelf)).folder is None
