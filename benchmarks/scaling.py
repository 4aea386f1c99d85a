"""Cost grows with the area and with the cloud: seconds and peak memory of whole runs.

::

    python benchmarks/scaling.py [--precision bf16] [--mpix 1,4,16,64,120] [--cover-size 4096]

Two tables. First, synthetic 4-band uint16 scenes of growing area through ``s2-10m``, every pixel
through the network, from GeoTIFF to COG, each in a process of its own; a straight line is fitted to
the seconds. Second, one scene under masks that cover all of it and a tenth in one corner.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import rasterio
from identity import BANDS, measure
from rasterio.transform import from_origin

from geodecloud.bench.scene import write_scene


def run(scene: Path, out: Path, *words: str) -> tuple[float, float]:
    command = [sys.executable, "-m", "geodecloud", str(scene), "--out", str(out), "--overwrite"]
    return measure([*command, "--model", "s2-10m", "--quiet", *words])


def growth(folder: Path, mpix: list[float], precision: str) -> None:
    rows = []
    print("| MPix | seconds | MPix/s | peak GB |\n|---|---|---|---|")
    for area in mpix:
        size = 10980 if area == 120 else round((area * 1e6) ** 0.5)
        scene, out = folder / "scene.tif", folder / "clear.tif"
        write_scene(scene, size, BANDS)
        seconds, peak = run(scene, out, "--mask", "none", "--precision", precision)
        rows.append((size**2 / 1e6, seconds))
        print(
            f"| {rows[-1][0]:.1f} | {seconds:.1f} | {rows[-1][0] / seconds:.3f} | {peak:.2f} |",
            flush=True,
        )
    if len(rows) > 2:
        areas, seconds = np.array(rows).T
        slope, start = np.polyfit(areas, seconds, 1)
        rest = seconds - (start + slope * areas)
        share = 1 - (rest**2).sum() / ((seconds - seconds.mean()) ** 2).sum()
        print(f"\nseconds = {start:.1f} + {slope:.3f} per MPix, R2 = {share:.5f}")


def cover(folder: Path, size: int, precision: str) -> None:
    scene, mask, out = (folder / name for name in ("scene.tif", "mask.tif", "clear.tif"))
    write_scene(scene, size, BANDS)
    taken = {}
    print(f"\n{size} x {size} px\n\n| cloud cover | seconds |\n|---|---|")
    for share in (1.0, 0.1):
        corner = round(size * share**0.5)
        clouds = np.zeros((size, size), np.uint8)
        clouds[:corner, :corner] = 1
        grid = {"crs": "EPSG:32633", "transform": from_origin(399960, 5300040, 10, 10)}
        with rasterio.open(
            mask,
            "w",
            driver="GTiff",
            width=size,
            height=size,
            count=1,
            dtype="uint8",
            compress="deflate",
            **grid,
        ) as dst:
            dst.write(clouds, 1)
        taken[share], _ = run(scene, out, "--mask", str(mask), "--precision", precision)
        print(f"| {share:.0%} | {taken[share]:.1f} |", flush=True)
    print(f"\nratio {taken[1.0] / taken[0.1]:.1f}")


@click.command()
@click.option("--precision", default="bf16", show_default=True)
@click.option(
    "--mpix", default="1,4,16,64,120", show_default=True, help="120 is a Sentinel-2 tile."
)
@click.option("--cover-size", default=4096, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work.")
def main(precision: str, mpix: str, cover_size: int, folder: Path | None) -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        if mpix:
            growth(Path(name), [float(area) for area in mpix.split(",")], precision)
        if cover_size:
            cover(Path(name), cover_size, precision)


if __name__ == "__main__":
    main()
