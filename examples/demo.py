"""The demo of the README: make a cloudy scene, clear it, say and show what changed.

::

    python examples/demo.py FOLDER

Nothing here does what the command line does not: it runs ``geodecloud scene.tif --out clear.tif`` and
``geodecloud report clear.tif``.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import rasterio

from geodecloud.training.metrics import psnr_db

HERE = Path(__file__).parent


def execute(*command: str | Path) -> None:
    """Show a command and run it."""
    words = [str(word) for word in command]
    print(f"$ {shlex.join(words)}", flush=True)
    subprocess.run(words, check=True)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as src:
        return src.read()


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Make FOLDER/scene.tif, clear it, and write FOLDER/before_after.png and FOLDER/report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    scene, truth, clear = folder / "scene.tif", folder / "truth.tif", folder / "clear.tif"
    codes, picture, page = (
        folder / name for name in ("codes.tif", "before_after.png", "report.html")
    )
    geodecloud = Path(sys.executable).with_name("geodecloud")
    for path in (clear, codes, picture, page):
        path.unlink(missing_ok=True)
    execute(sys.executable, HERE / "make_scene.py", scene, "--clear", truth)
    execute(geodecloud, scene, "--out", clear, "--provenance", codes, "--quicklook", picture)
    execute(geodecloud, "report", clear, "--source", scene, "--provenance", codes, "--html", page)

    before, after, ground = read(scene), read(clear), read(truth)
    changed = (before != after).any(axis=0)
    print(
        f"{100 * changed.mean():.1f} % of the pixels changed, the others are bit-identical. Against "
        f"the scene without clouds, which a made-up scene has: PSNR {psnr_db(before * 1e-4, ground * 1e-4):.1f} dB "
        f"before, {psnr_db(after * 1e-4, ground * 1e-4):.1f} dB after."
    )
    print(f"Look at it: {picture}, or in a browser: {page}")


if __name__ == "__main__":
    main()
