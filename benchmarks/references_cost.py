"""What the fill from other dates costs a whole run: seconds and peak memory, with and without references.

::

    python benchmarks/references_cost.py [--size 10980] [--references 4] [--no-classes]

A synthetic scene of four uint16 bands and other dates of its ground, each with a gain, an offset, noise and clouds
of its own, pass through ``geodecloud SCENE --out OUT``, with and without ``--reference``, and the references are
read alone, through the same chunks. Each run is a process of its own, for its peak memory (resident, from the operating
system) and its seconds on the processor. References carry a classification of their clouds, as products do;
``--no-classes`` leaves it out, and the network looks for the clouds of each. The last lines are
(with - reading - without) / without.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path

import click
import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter

BANDS = ("B02", "B03", "B04", "B08")
#: Pixels of a field, and of a cell of the cloud fields.
FIELD_PX, CLOUD_PX = 24, 8
#: Part of each date that is cloud.
COVER = 0.35

READ_ALL = """
import sys, dask, geodecloud
from geodecloud.windows.tiler import chunk_px
for path in sys.argv[1:]:
    scene = geodecloud.open_scene(path)
    side = chunk_px(scene.shape[-2:])
    pieces = [scene.data[:, y : y + side, x : x + side] for y in range(0, scene.shape[1], side)
              for x in range(0, scene.shape[2], side)]
    dask.compute(*(piece.max() for piece in pieces), scheduler="threads")
"""


@dataclass(frozen=True)
class Cost:
    """Of one process: wall-clock and processor seconds, peak resident memory; what it printed."""

    seconds: float
    cpu_seconds: float
    peak_gb: float
    told: str

    @classmethod
    def of(cls, *command: object) -> Cost:
        """Run Python with a command."""
        began = time.perf_counter()
        with tempfile.TemporaryFile("w+") as out:
            child = subprocess.Popen([sys.executable, *map(str, command)], stdout=out)
            _, status, usage = os.wait4(child.pid, 0)
            if status:
                raise SystemExit(f"{command[:4]} failed with status {status}")
            seconds, unit = time.perf_counter() - began, 1 if sys.platform == "darwin" else 1024
            out.seek(0)
            told = out.read()
        return cls(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e9, told)


def enlarged(coarse: np.ndarray, rows: range, size: int, times: int) -> np.ndarray:
    """Rows of a coarse field as blocks of `times` px."""
    return coarse[np.array(rows)[:, None] // times, np.arange(size) // times]


def write_date(path: Path, size: int, number: int, classes: bool) -> None:
    """One date of the ground: the fields of all dates, its own gain, offset, noise and clouds."""
    ground = np.random.default_rng(0).uniform(0.4, 1.6, (len(BANDS), *[size // FIELD_PX + 1] * 2))
    rng = np.random.default_rng(number + 1)
    gain, offset = rng.uniform(0.85, 1.15, len(BANDS)), rng.uniform(-60, 60, len(BANDS))
    sky = gaussian_filter(rng.normal(size=[size // CLOUD_PX + 1] * 2), 20)
    sky = sky > np.quantile(sky, 1 - COVER)
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": len(BANDS) + classes, "dtype": "uint16",
        "nodata": 0, "crs": "EPSG:32633", "transform": from_origin(399960, 5300040, 10, 10), "tiled": True,
        "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1, "bigtiff": "if_safer",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dst:
        dst.descriptions = (*BANDS, "SCL") if classes else BANDS
        dst.scales = (1e-4,) * len(BANDS) + (1.0,) * classes
        for top in range(0, size, 512):
            rows = range(top, min(top + 512, size))
            cloud = enlarged(sky, rows, size, CLOUD_PX)
            dn = np.empty((profile["count"], *cloud.shape), np.uint16)
            for band, mean in enumerate((600, 800, 900, 2400)):
                fields_there = enlarged(ground[band], rows, size, FIELD_PX) * mean
                noise = rng.normal(0, 40, cloud.shape)
                clear = fields_there * gain[band] + offset[band] + noise
                dn[band] = np.where(cloud, 6500 + 5 * noise, clear).clip(1)
            if classes:
                dn[-1] = np.where(cloud, 9, 4)
            dst.write(dn, window=Window(0, top, size, len(rows)))


@click.command()
@click.option("--size", default=10980, show_default=True, help="Side of the scene in px.")
@click.option("--references", "count", default=4, show_default=True)
@click.option("--classes/--no-classes", default=True, help="Whether references say where cloud is.")
@click.option("--model", default="auto", show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work.")
def main(size: int, count: int, classes: bool, model: str, folder: Path | None) -> None:
    """Print a table and the ratio."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        scene, out = Path(work, "T33_20200616.tif"), Path(work, "clear.tif")
        others = [Path(work, f"T33_202006{day:02}.tif") for day in range(1, 1 + count)]
        for number, path in enumerate((scene, *others)):
            write_date(path, size, number, classes and path != scene)
        command = ["-m", "geodecloud", scene, "--out", out, "--model", model, "--json", "-q"]
        named = [word for path in others for word in ("--reference", path)]
        runs = {
            "without references": Cost.of(*command),
            f"with {count} references": Cost.of(*command, "--overwrite", *named),
            "reading the references": Cost.of("-c", READ_ALL, *others),
        }
    print(f"{size} x {size} x 4 uint16, {platform.machine()}, {os.cpu_count()} cores\n")
    print("| run | seconds | on the processor | peak GB | filled |\n|---|---|---|---|---|")
    for name, cost in runs.items():
        share = _filled(cost.told)
        print(
            f"| {name} | {cost.seconds:.1f} | {cost.cpu_seconds:.1f} | {cost.peak_gb:.2f} | {share} |"
        )
    without, filled, reading = runs.values()
    print()
    for field in fields(Cost)[:2]:
        a, b, c = (getattr(cost, field.name) for cost in (without, filled, reading))
        print(f"{field.name}: the fill adds {(b - c - a) / a:.1%}, reading {c / a:.1%}")


def _filled(told: str) -> str:
    """Share of pixels that other dates fill."""
    if not told:
        return ""
    pixels = json.loads(told)["pixels"]
    return f"{pixels['other_date'] / sum(pixels.values()):.0%}"


if __name__ == "__main__":
    main()
