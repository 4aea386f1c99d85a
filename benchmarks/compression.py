"""Which compression a COG gets: seconds and bytes of GDAL's copy, for a few codecs and levels.

::

    python benchmarks/compression.py [--size 4096] [--scene FILE ...]

The raw file that geodecloud hands to GDAL is copied to a COG with each; synthetic data (relief and
noise), and real scenes where they are given, repeated until they are as large.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import numpy as np
import rasterio
import rasterio.shutil
from identity import BANDS

from geodecloud.bench.scene import write_scene

WAYS = [("DEFLATE", level) for level in (1, 6, 9)] + [("ZSTD", level) for level in (1, 9)]


def repeat(source: Path, target: Path, size: int) -> None:
    """An uncompressed raster of at least `size` px of copies of a scene."""
    with rasterio.open(source) as src:
        dn, profile = src.read(), src.profile
    times = [-(-size // n) for n in dn.shape[1:]]
    dn = np.tile(dn, (1, *times))[:, :size, :size]
    plain = {k: profile[k] for k in ("count", "dtype", "nodata")}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(
        target, "w", driver="GTiff", width=size, height=size, **plain, **tiles
    ) as dst:
        dst.write(dn)


@click.command()
@click.option("--size", default=4096, show_default=True)
@click.option("--scene", "scenes", multiple=True, type=click.Path(path_type=Path))
def main(size: int, scenes: tuple[Path, ...]) -> None:
    """Print a Markdown table."""
    print("| data | compression | seconds | MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scene(folder / "synthetic.tif", size, BANDS)
        for source in (folder / "synthetic.tif", *scenes):
            raw, cog = folder / "raw.tif", folder / "cog.tif"
            repeat(source, raw, size)
            for codec, level in WAYS:
                options = {"COMPRESS": codec, "LEVEL": str(level), "PREDICTOR": "YES"}
                seconds = []
                for _ in range(3):
                    began = time.perf_counter()
                    rasterio.shutil.copy(
                        raw, cog, driver="COG", BLOCKSIZE="512", NUM_THREADS="ALL_CPUS", **options
                    )
                    seconds.append(time.perf_counter() - began)
                megabytes = cog.stat().st_size / 1e6
                print(
                    f"| {source.stem} | {codec} {level} | {min(seconds):.2f} | {megabytes:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
