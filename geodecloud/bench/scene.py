"""A synthetic scene, cleared from file to file and timed in a process of its own."""

from __future__ import annotations

import functools
import multiprocessing
import resource
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from geodecloud.models.card import ModelCard
from geodecloud.raster.temporaries import part_folder

Span = tuple[float, float]


class Stopwatch:
    """Notes when each kind of work went on, on any thread."""

    def __init__(self) -> None:
        self._spans: dict[str, list[Span]] = {}
        self._lock = threading.Lock()

    def timed(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with each of its calls noted."""

        def call(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                with self._lock:
                    self._spans.setdefault(kind, []).append((begin, time.perf_counter()))

        return call

    def seconds(self, *kinds: str) -> float:
        """How long at least one thread did one of these kinds of work."""
        return _length([span for kind in kinds for span in self._spans.get(kind, [])])


def _length(spans: list[Span]) -> float:
    """Length of a union of spans."""
    total, end = 0.0, -np.inf
    for begin, stop in sorted(spans):
        total += max(0.0, stop - max(begin, end))
        end = max(end, stop)
    return float(total)


def write_scene(path: Path, size: int, bands: tuple[str, ...]) -> None:
    """Write smooth relief plus noise, uint16: it compresses about as well as a real scene does."""
    rng = np.random.default_rng(1)
    x = np.arange(size)[None, :]
    gains = 0.5 + 1.5 * np.arange(len(bands)) / len(bands)
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": len(bands), "dtype": "uint16",
        "nodata": 0, "crs": "EPSG:32633", "transform": from_origin(399960, 5300040, 10, 10),
        "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1,
        "num_threads": "all_cpus", "bigtiff": "if_safer",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dst:
        dst.descriptions = bands
        for top in range(0, size, 512):
            y = np.arange(top, min(top + 512, size))[:, None]
            relief = 900 + 500 * np.sin(x / 97) * np.cos(y / 61) + 300 * np.sin((x + 2 * y) / 800)
            noise = rng.integers(0, 64, (len(bands), *relief.shape))
            strip = np.stack([relief * gain for gain in gains]) + noise + 100
            dst.write(strip.astype(np.uint16), window=Window(0, top, size, y.size))


def clear_scene(card: ModelCard, model: str, size: int, **options: Any) -> dict[str, Any]:
    """Time a whole run, every pixel through the network, and split it by what went on.

    Returns
    -------
    seconds, mpix_per_s, peak_gb, and the seconds in which some thread read, inferred, wrote the raw
    file or finished the COG; ``waiting`` is when none of these went on
    """
    # each in a process of its own: a forked child's peak would begin with ours
    alone = functools.partial(ProcessPoolExecutor, 1, multiprocessing.get_context("spawn"))
    with part_folder(Path(tempfile.gettempdir(), "bench.tif")) as folder:
        scene, out = folder / "scene.tif", folder / "clear.tif"
        with alone() as pool:
            pool.submit(write_scene, scene, size, card.channel_names or ("B02",)).result()
        with alone() as pool:
            result = pool.submit(_clear, scene, out, model, options).result()
    return result | {"mpix_per_s": size * size / result["seconds"] / 1e6}


def _clear(scene: Path, out: Path, model: str, options: dict[str, Any]) -> dict[str, float]:
    from geodecloud.backends.declouder import Declouder
    from geodecloud.decloud_file import decloud_scene
    from geodecloud.raster.raw import RasterTarget
    from geodecloud.raster.reader import _Pixels
    from geodecloud.raster.staging import Staging

    warnings.simplefilter("ignore")
    watch = Stopwatch()
    places = [
        (_Pixels, "__getitem__", "reading"),
        (Declouder, "predict", "inferring"),
        (RasterTarget, "__setitem__", "writing"),
        (Staging, "finish", "finishing"),
    ]
    for owner, name, kind in places:
        setattr(owner, name, watch.timed(kind, getattr(owner, name)))
    began = time.perf_counter()
    decloud_scene(scene, out, model=model, mask="none", scale=1e-4, offset=0.0, **options)
    seconds = time.perf_counter() - began
    kinds = [kind for _, _, kind in places]
    split = {kind: watch.seconds(kind) for kind in kinds}
    waiting = seconds - watch.seconds(*kinds)
    return {"seconds": seconds, "peak_gb": peak_gb(), **split, "waiting": waiting}


def peak_gb() -> float:
    """Peak resident memory of this process, as the operating system has it."""
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says begins with the parent's peak on Linux
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
