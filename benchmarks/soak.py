"""Many scenes in one process: whether memory, open files and threads stay what they were.

::

    python benchmarks/soak.py                    # 200 scenes here, 200 on a cluster, 1 000 products planned
    python benchmarks/soak.py --scenes 400 --model s2-10m --no-cluster

Each scene has 160 x 120 px of four bands. What a process needs for the first scenes (imports, caches, pools of
threads) is no growth: the first half is left out, and a line is fitted to the second. Exits with 1 where it rises
by more than 1 MB per 100 scenes, files or threads become more, or planning takes longer than 10 s of a processor.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import rasterio
from rasterio.transform import from_origin

import geodecloud

MEGABYTES, SECONDS = 1.0, 10.0
SHAPE = (120, 160)


@dataclass
class Watch:
    """What a process holds after each scene: MB, open files, threads."""

    process: psutil.Process
    rows: list[tuple[float, int, int]] = field(default_factory=list)

    def look(self, *_: object) -> None:
        """Note what it holds now; what waits for the collector of garbage is no growth."""
        gc.collect()
        memory = self.process.memory_info().rss / 2**20
        self.rows.append((memory, self.process.num_fds(), self.process.num_threads()))

    def report(self, name: str) -> bool:
        """Print a line; whether nothing grows."""
        seen = np.array(self.rows)
        late = seen[len(seen) // 2 :]
        slope = 100 * float(np.polyfit(np.arange(len(late)), late[:, 0], 1)[0])
        files, threads = ((int(late[0, i]), int(late[-1, i])) for i in (1, 2))
        print(
            f"| {name} | {len(seen)} | {late[0, 0]:.1f} | {late[-1, 0]:.1f} | {slope:+.2f} | "
            f"{files[0]} → {files[1]} | {threads[0]} → {threads[1]} |",
            flush=True,
        )
        return slope <= MEGABYTES and files[1] <= files[0] and threads[1] <= threads[0]


def make_scenes(folder: Path, count: int) -> None:
    """Scenes of one place, all different."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    place = {"crs": "EPSG:32719", "transform": from_origin(399960, 6300040, 10, 10)}
    shape = {"width": SHAPE[1], "height": SHAPE[0], "count": 4, "dtype": "uint16"}
    for number in range(count):
        path = folder / f"scene_{number:04}.tif"
        with rasterio.open(path, "w", driver="GTiff", nodata=0, **shape, **place) as dst:
            dst.write(rng.integers(200, 4000, (4, *SHAPE), dtype=np.uint16))
            dst.descriptions = ("B02", "B03", "B04", "B08")


def make_products(folder: Path, count: int) -> None:
    """Products whose bands hold nothing: links to one file for each band."""
    folder.mkdir()
    dates = (np.datetime64("2019-01-01") + np.arange(count)).astype(str)
    bands = {}
    for band in ("B02", "B03", "B04", "B08"):
        bands[band] = folder.parent / f"{band}.tif"
        place = {"crs": "EPSG:32633", "transform": from_origin(600000, 5500020, 10, 10)}
        shape = {"width": 64, "height": 64, "count": 1, "dtype": "uint16"}
        with rasterio.open(bands[band], "w", driver="GTiff", **shape, **place):
            pass
    for date in dates:
        product = folder / f"S2A_MSIL2A_{date.replace('-', '')}T104621_N0510_R051_T33UXQ"
        product.mkdir()
        for band, path in bands.items():
            os.link(path, product / f"{band}.tif")


@contextlib.contextmanager
def a_cluster() -> Iterator[tuple[str, int]]:
    """A scheduler with one worker in a process of its own: address, and the worker's process.

    Dask's profiler is off: it keeps what a worker did in the last hour, and that is not ours.
    """
    from dask import config
    from distributed import Client, LocalCluster

    with (
        config.set({"distributed.worker.profile.enabled": False}),
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        (number,) = client.run(os.getpid).values()
        yield cluster.scheduler_address, number


def soak(name: str, scenes: Path, out: Path, process: int, **options: object) -> bool:
    """A batch over all scenes; whether nothing grows."""
    watch = Watch(psutil.Process(process))
    look: Callable[..., None] = watch.look
    done = geodecloud.decloud_folder(scenes, out, on_outcome=look, references="none", **options)
    if done.failed:
        sys.exit(f"{done.failed[0].scene}: {done.failed[0].reason}")
    shutil.rmtree(out)
    return watch.report(name)


def plan(products: Path, out: Path) -> bool:
    """Plan a batch of many products; whether it is quick."""
    begin, used = time.perf_counter(), time.process_time()
    done = geodecloud.decloud_folder(products, out, dry_run=True, model="identity")
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    print(
        f"\n{done.count('to do')} products planned in {seconds:.1f} s, {used:.1f} s of a processor",
        flush=True,
    )
    return used < SECONDS and done.count("to do") == len(list(products.iterdir()))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--products", type=int, default=1000)
    parser.add_argument("--model", default="identity")
    parser.add_argument("--cluster", action=argparse.BooleanOptionalAction, default=True)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_scenes(folder / "scenes", asked.scenes)
        print(
            "| where | scenes | MB at half | MB at the end | MB per 100 scenes | files | threads |"
        )
        print("|---|---|---|---|---|---|---|")
        words = {"model": asked.model, "backend": "torch"}
        flat = [soak("one process", folder / "scenes", folder / "out", os.getpid(), **words)]
        if asked.cluster:
            with a_cluster() as (address, process):
                words["scheduler"] = address
                flat.append(soak("a worker", folder / "scenes", folder / "out", process, **words))
        if asked.products:
            make_products(folder / "products", asked.products)
            flat.append(plan(folder / "products", folder / "out"))
    sys.exit(not all(flat))


if __name__ == "__main__":
    main()
