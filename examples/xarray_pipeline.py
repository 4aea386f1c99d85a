"""Cloud removal in the middle of an xarray pipeline: open, clear, compute an index, write.

::

    python examples/xarray_pipeline.py demo/scene.tif demo/ndvi.tif

Nothing is read before the last line; scenes larger than memory pass through in chunks.
"""

from __future__ import annotations

import sys

import rioxarray

import geodecloud


def main(source: str, target: str) -> None:
    scene = rioxarray.open_rasterio(source, chunks={"band": -1, "x": 1024, "y": 1024})
    clear = scene.geodecloud.remove_clouds(model="s2-10m")
    made_up = scene.geodecloud.provenance(model="s2-10m") == 3

    # DN to reflectance first: with an offset, the ratio of DN is not the ratio of reflectance
    scale, offset = scene.attrs.get("scale_factor", 1.0), scene.attrs.get("add_offset", 0.0)
    seen = ~made_up & (scene.sel(band=3) != scene.rio.nodata)
    red, nir = ((clear.sel(band=band) * scale + offset).where(seen) for band in (3, 4))
    ndvi = ((nir - red) / (nir + red)).astype("float32")
    # xarray hands attrs on: an index has neither the scale of a band nor its name
    ndvi.attrs, ndvi.encoding = {"long_name": "NDVI"}, {}
    ndvi = ndvi.expand_dims("band").rio.write_crs(scene.rio.crs).rio.write_nodata(float("nan"))
    print(geodecloud.write_scene(ndvi, target))


if __name__ == "__main__":
    main(*sys.argv[1:])
