"""A folder in which what tasks have made outlives the process: a run that was killed takes it from there."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

Arrays = tuple[np.ndarray[Any, Any], ...]


class Shelf:
    """Holds small results by name, where a run has given it a folder; else each is made when it is asked for.

    Attributes
    ----------
    folder : of this run, and of those that were killed before they had made the same; None: nothing is kept. What is
        in it may be damaged, and is made anew then
    """

    def __init__(self) -> None:
        self.folder: Path | None = None

    def keep(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of that name, taken from the folder or made, and kept."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.npz"
        found = self._find(path)
        return self._put(path, make()) if found is None else found

    def _find(self, path: Path) -> Arrays | None:
        try:
            # it has sums of its content; given a name, numpy leaves a damaged file open
            with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                return tuple(kept[f"arr_{number}"] for number in range(len(kept.files)))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def _put(self, path: Path, made: Arrays) -> Arrays:
        part = path.with_suffix(".part")
        with suppress(OSError):  # a full disk fails the run elsewhere, or not at all
            path.parent.mkdir(exist_ok=True)
            with part.open("wb") as file:
                np.savez(file, *made)
            os.replace(part, path)
        return made

    def __reduce__(self) -> tuple[type[Shelf], tuple[()]]:
        """Other processes may not see the folder, and make what they need."""
        return Shelf, ()

    def __dask_tokenize__(self) -> str:
        """Results do not depend on it."""
        return "shelf"
