"""Windows over a scene: pure integers, no pixels, no I/O, no torch.

A *window* is the rectangle ``(col_off, row_off, width, height)``, as in rasterio. A *padded
window* has a *core*, the pixels it owns, and *padded*, the core with the halo of context
around it, cut off where the scene ends: no pixel is invented there, because the zero padding
of a convolution at the true edge of a scene is part of what the network was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from geodecloud.errors import WindowPlanError

#: A window may exceed the asked size by this share, so that no sliver is left over.
_SLACK = 1 / 8
MAX_WINDOW_PX = 1 << 16
MAX_SCENE_PX = 1 << 40


class Window(NamedTuple):
    """A pixel rectangle; the fields have rasterio's names and order."""

    col_off: int
    row_off: int
    width: int
    height: int

    @property
    def slices_yx(self) -> tuple[slice, slice]:
        """Index of the window in an array whose last axes are (y, x)."""
        return (
            slice(self.row_off, self.row_off + self.height),
            slice(self.col_off, self.col_off + self.width),
        )

    @property
    def shape_yx(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def grow(self, px: int, within: Window) -> Window:
        """Grow by `px` on every side, cut off at `within`."""
        left = max(self.col_off - px, within.col_off)
        top = max(self.row_off - px, within.row_off)
        right = min(self.col_off + self.width + px, within.col_off + within.width)
        bottom = min(self.row_off + self.height + px, within.row_off + within.height)
        return Window(left, top, right - left, bottom - top)

    def snap(self, px: int, within: Window) -> Window:
        """Grow until every side lies at a multiple of `px`, cut off at `within`."""
        left, top = self.col_off // px * px, self.row_off // px * px
        right = -(-(self.col_off + self.width) // px) * px
        bottom = -(-(self.row_off + self.height) // px) * px
        return Window(left, top, right - left, bottom - top).grow(0, within)

    def relative_to(self, origin: Window) -> Window:
        """The same pixels, counted from the corner of `origin`.

        Law: ``array[origin][..., inner.relative_to(origin)] == array[inner]``.
        """
        return Window(
            self.col_off - origin.col_off, self.row_off - origin.row_off, self.width, self.height
        )

    def intersects(self, other: Window) -> bool:
        """Whether the two share at least one pixel."""
        return (
            self.col_off < other.col_off + other.width
            and other.col_off < self.col_off + self.width
            and self.row_off < other.row_off + other.height
            and other.row_off < self.row_off + self.height
        )


@dataclass(frozen=True)
class PaddedWindow:
    """A window to compute: `padded` is read, `core` is kept; both in scene pixels."""

    core: Window
    padded: Window


def check_window(window_px: int, halo_px: int) -> None:
    """Refuse windows and halos that cannot work.

    Raises
    ------
    WindowPlanError
        If the window is below 1 px or above 65 536 px, or the halo is negative.
    """
    if not 1 <= window_px <= MAX_WINDOW_PX:
        raise WindowPlanError(
            f"a window of {window_px} px cannot work; choose 1 to {MAX_WINDOW_PX}, such as window=256"
        )
    if halo_px < 0 or halo_px > MAX_WINDOW_PX:
        raise WindowPlanError(f'a halo of {halo_px} px cannot work; use halo="auto"')


#: Rows, and columns.
Ends = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class ChunkLayout:
    """How a scene is cut into chunks.

    Attributes
    ----------
    rows, cols : heights and widths of the chunks, in px
    ends : rows and columns of the scene at which windows end, too, see `plan_chunks`
    """

    rows: tuple[int, ...]
    cols: tuple[int, ...]
    ends: Ends = ((), ())


def chunk_px(shape_yx: tuple[int, int]) -> int:
    """Side of the dask chunks for a scene: a multiple of most files' blocks.

    Small scenes get small chunks, so that every core has one to work on.
    """
    return 1024 if max(shape_yx) > 2048 else 512


def plan_chunks(
    shape_yx: tuple[int, int], window_px: int, halo_px: int, margin_px: int, align_px: int = 1
) -> ChunkLayout:
    """Cut a scene into chunks of which each is one window, all of them of one size.

    For backends that prepare for one kind of window and take time to turn to another: one that ends
    where the scene does is of another kind than one within. Along the edge of the scene a strip
    `halo_px` wide is set apart (`ends`); what is left of the chunks there lies within the scene. So
    all large windows are of one kind, in whatever order they come. The first and last chunk of a row
    or column are larger, for they need no context beyond the scene.

    Parameters
    ----------
    window_px : wished side of a core, exceeded by an eighth at most; below 512 px a chunk has several
    halo_px : context on every side of a window
    margin_px : px around a chunk that its windows compute, too
    align_px : windows begin at multiples of it, and so do chunks: else there would be windows of many sizes
    """
    margin_px = -(-margin_px // align_px) * align_px
    most = max(int(window_px * (1 + _SLACK)), 512) - 2 * margin_px
    edge = halo_px + margin_px
    height, width = shape_yx
    rows, cols = _edged(height, most, edge, align_px), _edged(width, most, edge, align_px)
    return ChunkLayout(rows, cols, (_ends(rows, halo_px), _ends(cols, halo_px)))


def _ends(sizes: tuple[int, ...], halo_px: int) -> tuple[int, ...]:
    """Where the strips along both ends of an axis meet the rest."""
    if len(sizes) < 3 or not halo_px:  # no chunk lies within the scene, or all of them do
        return ()
    rest = sizes[-1] - sizes[0]
    return halo_px, sum(sizes) - halo_px - rest


def _edged(length: int, most: int, edge: int, align_px: int) -> tuple[int, ...]:
    """Parts of one size, at most `most`, the first and last larger by `edge`; what is over is last."""
    count = max(1, -(-(length - 2 * edge) // most))
    if count == 1:
        return (length,)
    size = (length - 2 * edge) // count // align_px * align_px
    rest = length - 2 * edge - size * count
    return (size + edge, *(size,) * (count - 2), size + edge + rest)


def plan_windows(
    region: Window,
    window_px: int,
    halo_px: int,
    extent: Window,
    ends: Ends = ((), ()),
    align_px: int = 1,
) -> list[PaddedWindow]:
    """Cut a region into cores of equal size, each about the area of a square of `window_px`.

    Of all regular cuts whose windows, halo included, have no more pixels than a square window
    of ``9/8 * window_px`` with its halo, the one that computes the fewest pixels is taken.

    Laws: the cores cover every pixel of `region` exactly once; every padded window lies in
    `extent` and contains all its core's neighbours within `halo_px` that `extent` has; no padded
    window has more than ``(9/8 * window_px + 2 * halo_px) ** 2`` pixels.

    Parameters
    ----------
    region : the pixels to compute, inside `extent`
    window_px : wished side of a core
    halo_px : context on every side
    extent : the pixels that exist
    ends : rows and columns at which cores end, besides; the region's parts are cut one by one
    align_px : sides of cores and windows lie at multiples of it, but for those that end where `extent` does,
        whose corner lies at one. The region grows as far as that needs, and the halo with it

    Raises
    ------
    WindowPlanError
        If window or halo cannot work, see `check_window`.
    """
    check_window(window_px, halo_px)
    if 0 in region.shape_yx:
        return []
    if align_px > 1:
        return _plan_aligned(region, window_px, halo_px, extent, ends, align_px)
    parts = [
        Window(left, top, right - left, bottom - top)
        for top, bottom in _parts(region.row_off, region.height, ends[0])
        for left, right in _parts(region.col_off, region.width, ends[1])
    ]
    return [
        PaddedWindow(core, core.grow(halo_px, extent))
        for part in parts
        for core in _cores(part, window_px, halo_px)
    ]


def _plan_aligned(
    region: Window, window_px: int, halo_px: int, extent: Window, ends: Ends, px: int
) -> list[PaddedWindow]:
    """`plan_windows` in units of `px` pixels."""

    def units(window: Window) -> Window:
        whole = window.snap(px, Window(0, 0, MAX_SCENE_PX, MAX_SCENE_PX))
        return Window(*(n // px for n in whole))

    def pixels(window: Window) -> Window:
        return Window(*(n * px for n in window)).grow(0, extent)

    rows, cols = (tuple(end // px for end in axis) for axis in ends)
    windows = plan_windows(
        units(region), -(-window_px // px), -(-halo_px // px), units(extent), (rows, cols)
    )
    return [PaddedWindow(pixels(w.core), pixels(w.padded)) for w in windows]


def _parts(start: int, length: int, ends: tuple[int, ...]) -> list[tuple[int, int]]:
    """(begin, end) of the parts into which `ends` cut a stretch of an axis."""
    inside = [end for end in ends if start < end < start + length]
    return list(pairwise([start, *inside, start + length]))


def _cores(region: Window, window_px: int, halo_px: int) -> list[Window]:
    rows, cols = _fewest_pixels(region.shape_yx, window_px, halo_px)
    return [
        Window(x, y, width, height)
        for y, height in _split(region.row_off, region.height, rows)
        for x, width in _split(region.col_off, region.width, cols)
    ]


def _fewest_pixels(shape_yx: tuple[int, int], window_px: int, halo_px: int) -> tuple[int, int]:
    """Rows and columns of windows that compute the fewest pixels, halo included."""
    height, width = shape_yx
    most = (max(window_px, int(window_px * (1 + _SLACK))) + 2 * halo_px) ** 2
    tries: list[tuple[int, int, int]] = []
    for rows in range(1, min(height, -(-2 * height // window_px)) + 1):
        padded = -(-height // rows) + 2 * halo_px
        widest = most // padded - 2 * halo_px
        if widest < 1:
            continue
        cols = -(-width // widest)
        tries.append((rows * cols * padded * (-(-width // cols) + 2 * halo_px), rows, cols))
    _, rows, cols = min(tries)
    return rows, cols


def _split(start: int, length: int, parts: int) -> list[tuple[int, int]]:
    """Split a length into nearly equal parts: (offset, size) of each."""
    edges = [start + length * i // parts for i in range(parts + 1)]
    return [(a, b - a) for a, b in pairwise(edges)]
