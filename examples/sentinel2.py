"""A folder of Sentinel-2 products, as downloaded, to pictures for QGIS and figures per scene.

::

    python examples/sentinel2.py tiles clear

``tiles`` holds products as they come from the Copernicus browser, ``NAME.SAFE.zip`` or unpacked.
Stopped halfway, start it again: it goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import rasterio

import geodecloud


def main(tiles: str, clear: str) -> None:
    report = geodecloud.decloud_folder(tiles, clear, provenance=True)
    for outcome in report.outcomes:
        print(outcome.state, outcome.scene, outcome.reason)
        if not outcome.out:
            continue
        image = Path(clear, outcome.out)
        codes = image.with_name(image.name.replace("_decloud", "_provenance"))
        with rasterio.open(image) as src, rasterio.open(codes) as where:
            # red over the scene, where its ground was really seen, as reflectance
            band = src.descriptions.index("B04") + 1
            red = src.read(band) * src.scales[band - 1] + src.offsets[band - 1]
            seen = (where.read(1) == 1) | (where.read(1) == 2)
        print(f"  {seen.mean():.1%} of the tile seen, mean red reflectance {red[seen].mean():.3f}")
    print(f"drag {clear}/footprints.gpkg and the *_decloud.tif into QGIS")
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
