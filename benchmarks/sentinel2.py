"""A full-size Sentinel-2 product from .SAFE to COG: time, peak memory, and what runs at once.

::

    python benchmarks/sentinel2.py [--size 10980] [--model identity] [--workers 2] [--zip] [--json]

A level 2A product with four bands of 10 m and an SCL of 20 m is made first: lossless JPEG 2000 in
blocks of 1024 px, as ESA's are. A process of its own then clears it; peak memory (resident) is
what the operating system says of that process. Within it, each reading of pixels from the JP2
files and each block that is computed (network, masks, codec) is timed, and the moments add up: of the
time that any thread was reading, how much was another computing?
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import shutil
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

import click
import numpy as np
import rasterio
from rasterio.transform import from_origin

from geodecloud.bench.scene import Stopwatch, peak_gb

NAME = "S2A_MSIL2A_20230625T104621_N0509_R051_T33UXQ_20230625T170000.SAFE"
STEM = "GRANULE/L2A_T33UXQ_A000001_20230625T104621/IMG_DATA"
GAINS = {"B02": 0.5, "B03": 0.7, "B04": 0.6, "B08": 2.0}
DOCUMENT = """<Level-2A_User_Product><PRODUCT_START_TIME>2023-06-25T10:46:21Z</PRODUCT_START_TIME>
<PROCESSING_BASELINE>05.09</PROCESSING_BASELINE>
<BOA_QUANTIFICATION_VALUE>10000</BOA_QUANTIFICATION_VALUE>
{offsets}</Level-2A_User_Product>"""


def make_product(folder: Path, size: int) -> Path:
    """Relief, noise and bright spots for clouds, different in each band."""
    root = folder / NAME
    rng = np.random.default_rng(1)
    y, x = np.ogrid[:size, :size]
    relief = np.sin(x / 97) * np.cos(y / 61) * 0.25 + np.sin((x + 2 * y) / 800) * 0.15 + 0.45
    cloud = np.clip(np.sin(x / 610) * np.sin(y / 730) - 0.8, 0, 0.2) * 20000
    for band, gain in GAINS.items():
        dn = 1100 + (2000 * gain * relief + cloud).astype(np.uint16)
        dn += rng.integers(0, 64, dn.shape, dtype=np.uint16)
        write_band(root / STEM / f"R10m/T33UXQ_20230625T104621_{band}_10m.jp2", dn, 10)
    classes = np.where(cloud[::2, ::2] > 2000, 9, 4).astype(np.uint8)
    write_band(root / STEM / "R20m/T33UXQ_20230625T104621_SCL_20m.jp2", classes, 20)
    lines = [f'<BOA_ADD_OFFSET band_id="{i}">-1000</BOA_ADD_OFFSET>' for i in range(13)]
    (root / "MTD_MSIL2A.xml").write_text(DOCUMENT.format(offsets="".join(lines)))
    return root


def write_band(path: Path, dn: np.ndarray, res: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": 1024, "BLOCKYSIZE": 1024}
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        width=dn.shape[1],
        height=dn.shape[0],
        count=1,
        dtype=dn.dtype,
        crs="EPSG:32633",
        transform=from_origin(600000, 5500020, res, res),
        **options,
    ) as dst:
        dst.write(dn, 1)


def clear(source: Path, out: Path, model: str, workers: int, answer: multiprocessing.Queue) -> None:
    """Clear the product in this process, with a stopwatch at both ends of the work."""
    from geodecloud import decloud_scene
    from geodecloud.restore.chunk import ChunkRestorer
    from geodecloud.sentinel2.pixels import BandPixels

    warnings.simplefilter("ignore")
    watch = Stopwatch()
    BandPixels.read = watch.timed("reading", BandPixels.read)
    ChunkRestorer.__call__ = watch.timed("computing", ChunkRestorer.__call__)
    begin = time.perf_counter()
    decloud_scene(source, out, model=model, workers=workers)
    seconds = time.perf_counter() - begin
    split = {f"{kind}_s": watch.seconds(kind) for kind in ("reading", "computing")}
    split["both_s"] = sum(split.values()) - watch.seconds("reading", "computing")
    answer.put({"seconds": seconds, "peak_gb": peak_gb(), **split})


@click.command()
@click.option("--size", default=10980, show_default=True)
@click.option("--model", default="identity", show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--zip", "zipped", is_flag=True, help="As a compressed archive.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work.")
@click.option("--json", "as_json", is_flag=True)
def main(
    size: int, model: str, workers: int, zipped: bool, folder: Path | None, as_json: bool
) -> None:
    """Make a product, clear it, print a table."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        # in processes of their own: Linux lets a child begin with the peak of its parent
        context = multiprocessing.get_context("spawn")
        maker = context.Process(target=make_product, args=(Path(work), size))
        maker.start()
        maker.join()
        source, out = Path(work) / NAME, Path(work) / "clear.tif"
        if zipped:
            archive = Path(work) / f"{NAME}.zip"
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
                for path in sorted(source.rglob("*")):
                    file.write(path, path.relative_to(work))
            shutil.rmtree(source)
            source = archive
        answer = context.Queue()
        child = context.Process(target=clear, args=(source, out, model, workers, answer))
        child.start()
        result = answer.get()
        child.join()
    result["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    result["product"] = f"{size} x {size} x 4, {'zip' if zipped else 'folder'}, {model}"
    if as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['product']}, {workers} workers, {result['machine']}")
    print(f"{result['seconds']:7.1f} s in all, peak {result['peak_gb']:.2f} GB")
    print(f"{result['reading_s']:7.1f} s some thread reads JP2")
    print(f"{result['computing_s']:7.1f} s some thread computes a block")
    print(f"{result['both_s']:7.1f} s both at once")


if __name__ == "__main__":
    main()
