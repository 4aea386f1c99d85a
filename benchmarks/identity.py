"""A full Sentinel-2 tile through the identity model, against GDAL's own read and COG write.

::

    python benchmarks/identity.py [--size 10980] [--repeat 3] [--json]

In one run: a synthetic 4-band uint16 scene is written, then copied to a COG by GDAL alone
(``rasterio.shutil.copy``) and by ``geodecloud --model identity`` with the same creation options,
in turn. Each is a process of its own, so that peak memory (resident, from the operating system)
is its own too. Prints seconds, peak memory and the ratio of the medians.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import rasterio
from rasterio.windows import Window

from geodecloud.bench.scene import write_scene

BANDS = ("B02", "B03", "B04", "B08")

GDAL_ALONE = """
import sys, rasterio, rasterio.shutil
with rasterio.Env(GDAL_CACHEMAX=256 * 2**20):
    rasterio.shutil.copy(sys.argv[1], sys.argv[2], driver="COG", BLOCKSIZE="512",
        COMPRESS="DEFLATE", LEVEL="1", PREDICTOR="YES", BIGTIFF="IF_SAFER", NUM_THREADS="ALL_CPUS",
        OVERVIEW_RESAMPLING="average")
"""


def measure(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds and its peak resident memory in GB."""
    before = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command[:4]} failed with status {status}")
    unit = 1 if platform.system() == "Darwin" else 1024
    return time.perf_counter() - before, usage.ru_maxrss * unit / 1e9


@click.command()
@click.option("--size", default=10980, show_default=True)
@click.option("--repeat", default=3, show_default=True)
@click.option("--model", default="identity", show_default=True, help="What else to time.")
@click.option("--options", default="", help="More words for geodecloud.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work.")
@click.option("--json", "as_json", is_flag=True)
def main(
    size: int, repeat: int, model: str, options: str, folder: Path | None, as_json: bool
) -> None:
    """Time both ways in turn and print a table."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        scene = Path(work) / "scene.tif"
        write_scene(scene, size, BANDS)
        out = [str(Path(work) / name) for name in ("gdal.tif", "geodecloud.tif")]
        ways = {
            "GDAL alone": [sys.executable, "-c", GDAL_ALONE, str(scene), out[0]],
            f"geodecloud, {model}": [
                *(sys.executable, "-m", "geodecloud", str(scene), "--out", out[1]),
                *("--model", model, "--overwrite", "--quiet", *shlex.split(options)),
            ],
        }
        runs = {name: [] for name in ways}
        for _ in range(repeat):
            for name, command in ways.items():
                runs[name].append(measure(command))
        with rasterio.open(out[0]) as a, rasterio.open(out[1]) as b:
            strips = [Window(0, y, size, min(512, size - y)) for y in range(0, size, 512)]
            same = all((a.read(window=w) == b.read(window=w)).all() for w in strips)
    table = {
        name: {
            "seconds": statistics.median(seconds for seconds, _ in done),
            "peak_gb": max(peak for _, peak in done),
        }
        for name, done in runs.items()
    }
    gdal, ours = table.values()
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "scene": f"{size} x {size} x 4 uint16",
        "runs": repeat,
        "table": table,
        "ratio": ours["seconds"] / gdal["seconds"],
        "same_pixels": same,
    }
    if as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['scene']}, {result['machine']}, median of {repeat} runs")
    for name, row in table.items():
        print(f"{name:<24} {row['seconds']:7.1f} s   peak {row['peak_gb']:.2f} GB")
    print(f"ratio {result['ratio']:.2f}, pixels equal: {same}")


if __name__ == "__main__":
    main()
