"""How much memory a run takes, and how to stay below a limit: plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dask.utils import parse_bytes

from geodecloud.errors import OptionError, WindowPlanError

#: Interpreter, libraries, compiled graphs and GDAL's cache.
_BASE = 0.95e9
#: Chunks and windows that are tried, before there are fewer workers.
_SIZES = ((1024, 1024), (512, 1024), (512, 768), (1024, 512), (512, 512), (512, 384), (512, 256))


@dataclass(frozen=True)
class WindowCost:
    """What a backend holds while it computes windows.

    Attributes
    ----------
    bytes_per_px : of a window, halo included: the features of a few layers
    shared : whether callers take turns, and there is one window at a time
    """

    bytes_per_px: int
    shared: bool


@dataclass(frozen=True)
class MemoryEstimate:
    """What is held at once: `workers` chunks of `chunk_px`, and windows of `window_px`.

    Attributes
    ----------
    dates : other dates that fill holes; of them, and of what is made of them, rows of chunks are held
    width_px : of the scene, and so of these rows; 0 where there are none
    """

    workers: int
    chunk_px: int
    window_px: int
    cost: WindowCost
    dates: int = 0
    width_px: int = 0

    def bytes(self, bands: int, itemsize: int, halo_px: int) -> float:
        """Estimate the peak for a scene of so many bands and bytes per DN, on the high side."""
        # where one window is computed at a time, that is what chunks are
        side = self._tall_px if self.cost.shared else self.chunk_px
        chunk = (side + 2 * halo_px) ** 2
        window = (self.window_px * 9 / 8 + 2 * halo_px) ** 2
        # DN with and without halo, in and out; reflectance of the restored bands, some of the time in float64
        per_pixel = 4 * bands * itemsize + 24 * min(bands, 13)
        # the graph reads a row of chunks ahead for the halo of the one before
        ahead = 24 * self.chunk_px**2 * bands * itemsize
        windows = 1 if self.cost.shared else self.workers
        window *= self.cost.bytes_per_px
        total = _BASE + ahead + self.workers * chunk * per_pixel + windows * window
        return total + (self._rows(bands) if self.dates else 0)

    @property
    def _tall_px(self) -> float:
        return max(self.chunk_px, self.window_px * 9 / 8)

    def _rows(self, bands: int) -> float:
        """Two rows of chunks of what the network and the dates make, and a little more than one of the dates."""
        made, date = 4 * bands + 4, 2 * bands + 3
        dates = 1.25 * self.chunk_px * self.dates * date
        return self.width_px * (2 * self._tall_px * made + dates)


def parse_limit(text: str) -> float:
    """Turn ``4GB``, ``800M``, ``2GiB`` or ``2e9`` into bytes.

    Raises
    ------
    OptionError
        If it is not a positive amount.
    """
    try:
        amount = parse_bytes(text) if text.strip() else 0
    except (ValueError, OverflowError):  # infGB
        amount = 0
    if amount <= 0:
        raise OptionError(f'{text!r} is no amount of memory; write one like max_memory="4GB"')
    return float(amount)


def fit(
    wish: MemoryEstimate,
    limit: float,
    bands: int,
    itemsize: int,
    halo_px: int,
) -> MemoryEstimate:
    """Shrink an estimate until it fits: smaller chunks and windows, then fewer workers.

    Small windows take longer for their halo, a worker less takes longer still. None of these changes
    the result.

    Raises
    ------
    WindowPlanError
        If nothing fits; the message says how much is needed.
    """
    tries = [
        (workers, *sizes)
        for workers in range(wish.workers, 0, -1)
        for sizes in ((wish.chunk_px, wish.window_px), *_SIZES)
    ]
    smaller = [
        replace(
            wish,
            workers=workers,
            chunk_px=min(chunk_px, wish.chunk_px),
            window_px=min(window_px, wish.window_px),
        )
        for workers, chunk_px, window_px in [*tries, (1, 256, 256), (1, 256, 128)]
    ]
    for estimate in smaller:
        if estimate.bytes(bands, itemsize, halo_px) <= limit:
            return estimate
    least = smaller[-1].bytes(bands, itemsize, halo_px)
    raise WindowPlanError(
        f"a limit of {limit / 1e9:.2f} GB is too low for this scene and model: about "
        f'{least / 1e9:.2f} GB is the least. Give max_memory="{-(-least // 1e8) / 10:.1f}GB"'
    )
