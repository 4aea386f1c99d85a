"""Which window is the quickest: MPix/s of one call of the network, net of its halo.

::

    OMP_NUM_THREADS=1 python benchmarks/windows.py

One thread, as each worker has it. The smallest time of several calls per size.
"""

from __future__ import annotations

import time

import click
import numpy as np

from geodecloud.declouder import Declouder
from geodecloud.models.weights import load_model


@click.command()
@click.option("--model", default="s2-10m", show_default=True)
@click.option("--precision", default="fp32", show_default=True)
def main(model: str, precision: str) -> None:
    """Print a Markdown table."""
    declouder = Declouder(load_model(model), "cpu", precision, threads=1)
    halo = declouder.card.halo_px or 0
    print("| window px | with halo px | MPix/s gross | MPix/s net |\n|---|---|---|---|")
    for window in (64, 128, 192, 256, 320, 384, 432, 512, 768, 1024):
        side = window + 2 * halo
        patch = np.random.default_rng(0).random((1, 4, side, side), np.float32)
        declouder.predict(patch)
        seconds = []
        for _ in range(max(3, 2_000_000 // side**2)):
            began = time.perf_counter()
            declouder.predict(patch)
            seconds.append(time.perf_counter() - began)
        best = 1e6 * min(seconds)
        print(f"| {window} | {side} | {side**2 / best:.3f} | {window**2 / best:.3f} |")


if __name__ == "__main__":
    main()
