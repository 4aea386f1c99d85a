"""The picture of docs/references.md: real dates of one place, before and after, and where each pixel is from.

::

    python benchmarks/references_picture.py DATA/series/romania docs/images/references.jpg
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import click
import numpy as np
import rasterio

import geodecloud
from geodecloud.pictures.kinds import PROVENANCE_RGB
from geodecloud.report.pictures import write_picture

#: A cumulus and haze with a shadow; a field of cloud.
DATES = ("2017-06-21", "2017-08-30")
#: Dates that may fill them, by their first letters.
YEAR = "2017"
#: Reflectance that is white in the picture, and how often a pixel is repeated.
_WHITE, _ZOOM = 0.25, 3


@click.command()
@click.argument("series", type=click.Path(path_type=Path, exists=True))
@click.argument("picture", type=click.Path(path_type=Path))
def main(series: Path, picture: Path) -> None:
    """Fill some dates of SERIES from the others and write PICTURE."""
    warnings.simplefilter("ignore", geodecloud.GeodecloudWarning)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder, "in")
        inside.mkdir()
        for path in sorted(series.glob(f"{YEAR}*.tif"))[:12]:
            (inside / path.name).symlink_to(path.resolve())
        geodecloud.decloud_folder(inside, Path(folder, "out"), provenance=True)
        for date in DATES:
            out = Path(folder, "out")
            with rasterio.open(out / f"{date}_provenance.tif") as src:
                codes = PROVENANCE_RGB[src.read(1)].transpose(2, 0, 1)
            before, after = inside / f"{date}.tif", out / f"{date}_decloud.tif"
            rows.append(np.concatenate([_rgb(before), _rgb(after), codes], axis=2))
    sheet = np.concatenate(rows, axis=1)
    write_picture(sheet.repeat(_ZOOM, axis=1).repeat(_ZOOM, axis=2), picture)
    click.echo(picture)


def _rgb(path: Path) -> np.ndarray:
    with rasterio.open(path) as src:
        image = src.read([3, 2, 1]) * 1e-4
    return (255 * np.clip(image / _WHITE, 0, 1) ** 0.7).astype(np.uint8)


if __name__ == "__main__":
    main()
