"""Windows of a result made again, on other windows and chunks: whether they come out the same.

A seam is where two windows do not meet; made again on windows that lie elsewhere, it shows as a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from geodecloud.compute.engine import Threads
from geodecloud.options import FileOptions
from geodecloud.pipeline import decloud
from geodecloud.reference_file import open_references
from geodecloud.report.findings import Finding, failed, not_checked, ok
from geodecloud.report.means import Means
from geodecloud.report.pixels import CELL_PX
from geodecloud.restore.decisions import Decisions, decide
from geodecloud.source import Source
from geodecloud.windows.tiler import Window

CHECK = "made again"
#: Sides of windows and chunks to compute with: no multiples or parts of those a run uses.
_WINDOW_PX, _CHUNK_PX = 152, 304
#: A DN of floats, in reflectance.
_DN = 1e-4


def again(asked: FileOptions, means: Means) -> FileOptions:
    """The options of a run for a second one, on other windows, by means that are here."""
    window = _WINDOW_PX if asked.window != _WINDOW_PX else _WINDOW_PX + 24
    here = means.here().as_dict()
    return replace(asked, window=window, batch_size="auto", scheduler="threads", **here)


def decide_again(source: Source, asked: FileOptions) -> Decisions:
    """What a run decides of a scene, to be computed in the chunks that the scene is opened in."""
    return decide(source.metadata, source.sample(), asked, own_chunks=True)


def choose_windows(
    changed: NDArray[np.bool_], extent: Window, count: int, seed: int
) -> list[Window]:
    """Windows of `CELL_PX`, most of them where something changed, around corners of its cells.

    Parameters
    ----------
    changed : (rows, cols) of cells of `CELL_PX`: something changed there
    extent : the scene
    """
    rng = np.random.default_rng(seed)
    changed_at = rng.permutation(np.argwhere(changed))
    anywhere = rng.permutation(np.argwhere(np.ones_like(changed)))
    most = max(count - 1, 1) if len(changed_at) < changed.size else count
    cells = dict.fromkeys((int(row), int(col)) for row, col in (*changed_at[:most], *anywhere))
    windows = []
    for row, col in list(cells)[:count]:
        # corners of cells are those of chunks, too, where seams would be
        down, right = rng.integers(-CELL_PX // 2, CELL_PX // 2, 2)
        top = _within(row * CELL_PX + int(down), extent.height)
        left = _within(col * CELL_PX + int(right), extent.width)
        windows.append(Window(left, top, CELL_PX, CELL_PX).grow(0, extent))
    return windows


def _within(start: int, length: int) -> int:
    """The start of a window of `CELL_PX` moved so that it ends where the scene does."""
    return max(0, min(start, length - CELL_PX))


class MadeAgain:
    """Windows of a scene, declouded once more.

    Parameters
    ----------
    source : the scene
    asked, decisions : see `again` and `decide_again`
    windows : where
    """

    def __init__(
        self,
        source: Source,
        asked: FileOptions,
        decisions: Decisions,
        windows: Sequence[Window],
    ) -> None:
        self.source, self.asked, self.decisions = source, asked, decisions
        self.windows, self.computer = windows, Threads(asked.workers)
        self.made: list[NDArray[Any]] = []

    def compute(self) -> None:
        """Make them; what no window can see is computed once for all of them.

        Raises
        ------
        GeodecloudError
            If a reference or mask cannot be read any more.
        """
        source, asked = self.source, self.asked
        references = open_references(source, asked) if asked.references else []
        others = [one.open() for one in references]
        lazy = decloud(source.open(_CHUNK_PX), asked, source.metadata, self.decisions, others)
        views = [window.slices_yx for window in self.windows]
        self.made = self.computer.compute(
            [part for v in views for part in (lazy.image.data[:, *v], lazy.provenance.data[v])]
        )

    def compare(
        self, result: da.Array, codes: da.Array | None, tolerance: float, note: str, doubt: str
    ) -> Iterator[Finding]:
        """Hold them against the result; a line for each.

        Parameters
        ----------
        result, codes : lazy pixels (band, y, x) and provenance (y, x) on disk
        tolerance : the largest difference that is none, in DN
        note : said where it does not come out
        doubt : why it need not come out; empty: it must
        """
        unit = 1.0
        if result.dtype.kind == "f":
            unit = _DN / max(abs(scale) for scale in self.decisions.codec.scales)
        for number, window in enumerate(self.windows):
            view = window.slices_yx
            there = [result[:, *view], *([] if codes is None else [codes[view]])]
            found, *own = self.computer.compute(there)
            pixels, new = self.made[2 * number : 2 * number + 2]
            yield _compare(window, found, pixels, unit, tolerance, note, doubt)
            if own and not doubt and (own[0] != new).any():
                yield _compare_codes(window, own[0], new, note)


def _compare(
    window: Window,
    found: NDArray[Any],
    expected: NDArray[Any],
    unit: float,
    tolerance: float,
    note: str,
    doubt: str,
) -> Finding:
    first, second = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.abs(first - second) / unit
    apart[(first == second) | (np.isnan(first) & np.isnan(second))] = 0
    apart[np.isnan(apart)] = np.inf
    largest = float(apart.max())
    if largest <= tolerance:
        about = f"{window.width} x {window.height} px: largest difference {largest:.3g} DN"
        about += f"; {doubt}" if doubt else ""
        return ok(CHECK, about, row=window.row_off, col=window.col_off)
    band, row, col = (int(n) for n in np.unravel_index(apart.argmax(), apart.shape))
    if doubt:
        about = f"differences of up to {largest:.3g} DN, told and not judged: {doubt}"
        return not_checked(CHECK, about, row=window.row_off + row, col=window.col_off + col)
    return failed(
        CHECK,
        f"a difference of {largest:.3g} DN, at most {tolerance:g} allowed{note}",
        found=found[band, row, col],
        expected=expected[band, row, col],
        band=band + 1,
        row=window.row_off + row,
        col=window.col_off + col,
        count=int(np.count_nonzero(apart > tolerance)),
    )


def _compare_codes(
    window: Window, found: NDArray[Any], expected: NDArray[Any], note: str
) -> Finding:
    wrong = found != expected
    row, col = (int(n) for n in np.unravel_index(wrong.argmax(), wrong.shape))
    return failed(
        CHECK,
        f"another code of provenance{note}",
        found=found[row, col],
        expected=expected[row, col],
        row=window.row_off + row,
        col=window.col_off + col,
        count=int(np.count_nonzero(wrong)),
    )
