"""Peak memory of a full Sentinel-2 tile under ``--max-memory``, and whether the result is the same.

::

    python benchmarks/memory.py [--size 10980] [--limits 1.5GB,3GB,6GB] [--models identity,s2-10m]

A synthetic 4-band uint16 scene passes through each model under each limit, each time in a process
of its own; peak resident memory is the operating system's figure for it. Models other than the
identity compute an area of interest of a hundredth of the scene only: their peak is that of one
window, and the rest of the scene still passes through. Pixels are compared by their hash.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import click
import geopandas
import rasterio
from identity import BANDS, measure, write_scene
from shapely import box


def pixel_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with rasterio.open(path) as src:
        for _, window in src.block_windows(1):
            digest.update(src.read(window=window).tobytes())
    return digest.hexdigest()


def write_area(path: Path, size: int) -> None:
    """A square of a tenth of the side in the middle."""
    middle, half = size * 5, size / 2
    x, y = 399960 + middle, 5300040 - middle
    area = box(x - half, y - half, x + half, y + half)
    geopandas.GeoDataFrame(geometry=[area], crs="EPSG:32633").to_file(path)


@click.command()
@click.option("--size", default=10980)
@click.option("--limits", default="1.5GB,3GB,6GB")
@click.option("--models", default="identity,s2-10m")
def main(size: int, limits: str, models: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        scene, out, area = (Path(name, file) for file in ("scene.tif", "out.tif", "area.gpkg"))
        write_scene(scene, size, BANDS)
        write_area(area, size)
        print("| model | limit | seconds | peak GB | same pixels |\n|---|---|---|---|---|")
        for model in models.split(","):
            first = None
            for limit in limits.split(","):
                command = [sys.executable, "-m", "geodecloud", str(scene), "--out", str(out)]
                command += ["--model", model, "--max-memory", limit, "--quiet", "--overwrite"]
                if model != "identity":
                    command += ["--mask", "none", "--aoi", str(area)]
                seconds, peak = measure(command)
                found = pixel_hash(out)
                first = first or found
                print(
                    f"| {model} | {limit} | {seconds:.1f} | {peak:.2f} | {found == first} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
