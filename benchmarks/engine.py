"""What Dask costs: the identity model through our engine, against a thread loop by hand.

::

    python benchmarks/engine.py [--size 8192] [--repeat 3]

Both read the same GeoTIFF in the same chunks with the same halo on the same number of threads, run
the same block function, and write the same uncompressed tiled GeoTIFF, in turn, in one process.
Prints the median seconds of each and their ratio.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import rasterio
from identity import BANDS

from geodecloud.bench.scene import write_scene
from geodecloud.compute.engine import Threads
from geodecloud.options import Options
from geodecloud.pipeline import decloud
from geodecloud.restore.chunk import ChunkRestorer
from geodecloud.scene.metadata import Metadata
from geodecloud.source import open_scene
from geodecloud.windows.tiler import Window

SIDE = 1024


def create(path: Path, metadata: Metadata) -> rasterio.io.DatasetWriter:
    blocks = {"tiled": True, "blockxsize": 512, "blockysize": 512}
    return rasterio.open(path, "w", driver="GTiff", **blocks, **metadata.profile())


def by_dask(scene: Path, out: Path, workers: int) -> None:
    array = open_scene(scene, SIDE)
    image = decloud(array, Options(model="identity")).image.data
    with create(out, Metadata.of_array(array)) as dst:

        class Target:
            def __setitem__(self, key: tuple, block: np.ndarray) -> None:
                rows, cols = key[-2:]
                dst.write(block, window=((rows.start, rows.stop), (cols.start, cols.stop)))

        Threads(workers).store([image], [Target()])


def by_hand(scene: Path, out: Path, workers: int, block: ChunkRestorer) -> None:
    metadata = Metadata.of_array(open_scene(scene, SIDE))
    height, width = metadata.grid.shape_yx
    extent, lock, local = Window(0, 0, width, height), threading.Lock(), threading.local()
    with create(out, metadata) as dst:

        def work(place: tuple[int, int]) -> None:
            row, col = place
            core = Window(col, row, min(SIDE, width - col), min(SIDE, height - row))
            padded = core.grow(block.halo_px, extent)
            if not hasattr(local, "src"):
                local.src = rasterio.open(scene)
            dn = local.src.read(window=rasterio.windows.Window(*padded))
            image, *_ = block(dn, None, None, None, core=core, padded=padded)
            with lock:
                dst.write(image, window=rasterio.windows.Window(*core))

        places = [(r, c) for r in range(0, height, SIDE) for c in range(0, width, SIDE)]
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, places))


def block_of(scene: Path) -> ChunkRestorer:
    """The very block function the engine would run."""
    found = []

    def catch(function: ChunkRestorer, *args: object, **kwargs: object) -> None:
        found.append(function)
        raise StopIteration

    import geodecloud.pipeline as pipeline

    original, pipeline.map_chunks_with_halo = pipeline.map_chunks_with_halo, catch
    try:
        decloud(open_scene(scene, SIDE), Options(model="identity"))
    except StopIteration:
        pass
    finally:
        pipeline.map_chunks_with_halo = original
    return found[0]


@click.command()
@click.option("--size", default=8192)
@click.option("--repeat", default=3)
def main(size: int, repeat: int) -> None:
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        scene, out = Path(name, "scene.tif"), Path(name, "out.tif")
        write_scene(scene, size, BANDS)
        block = block_of(scene)
        seconds: dict[str, list[float]] = {"thread loop by hand": [], "Dask engine": []}
        pixels = []
        for _ in range(repeat):
            for what, times in seconds.items():
                start = time.perf_counter()
                if what == "Dask engine":
                    by_dask(scene, out, workers)
                else:
                    by_hand(scene, out, workers, block)
                times.append(time.perf_counter() - start)
                with rasterio.open(out) as dst:
                    pixels.append(dst.checksum(1))
        medians = {what: statistics.median(times) for what, times in seconds.items()}
        for what, median in medians.items():
            print(f"{what}: {median:.2f} s")
        hand, dask = medians.values()
        print(f"ratio {dask / hand:.2f}; same pixels: {len(set(pixels)) == 1}")


if __name__ == "__main__":
    main()
