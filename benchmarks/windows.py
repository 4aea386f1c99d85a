"""Which window is the quickest: MPix/s of a scene cut into windows of one size, net of the halo.

::

    python benchmarks/windows.py [--model s2-10m] [--backend openvino] [--precision fp32]
"""

from __future__ import annotations

import click

from geodecloud.backends import open_backend
from geodecloud.backends.declouder import Declouder
from geodecloud.bench.measure import scene_rate
from geodecloud.compute.engine import threads_here
from geodecloud.models.catalogue import get_card


@click.command()
@click.option("--model", default="s2-10m", show_default=True)
@click.option("--size", default=2304, show_default=True, help="Side of the scene, px.")
@click.option("--backend", default="openvino", show_default=True)
@click.option("--precision", default="fp32", show_default=True)
def main(model: str, size: int, backend: str, precision: str) -> None:
    """Print a Markdown table."""
    card = get_card(model)
    declouder = Declouder(
        card, open_backend(card, model, "cpu", precision, backend, threads_here())
    )
    print(f"{declouder.backend.name}\n\n| window px | MPix/s gross | MPix/s net |\n|---|---|---|")
    for window_px in (128, 192, 256, 384, 512, 768, 1024):
        declouder.window_px = window_px
        net, gross = scene_rate(declouder, size)
        print(f"| {window_px} | {gross:.3f} | {net:.3f} |", flush=True)


if __name__ == "__main__":
    main()
