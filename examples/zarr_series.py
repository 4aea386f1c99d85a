"""A time series in Zarr: clear every date lazily, write the result, say what was seen when.

::

    python examples/zarr_series.py demo/scene.tif series.zarr clear.zarr

Makes a series of three dates out of one scene first, as a stand-in for your own stack (odc-stac,
stackstac and the like give the same shape). No more than a few chunks are in memory at once.
"""

from __future__ import annotations

import sys

import numpy as np
import xarray as xr

import geodecloud
from geodecloud.restore.composite import Provenance


def make_series(scene: str, target: str) -> None:
    dates = np.array(["2024-06-01", "2024-06-11", "2024-06-21"], "datetime64[ns]")
    one = geodecloud.open_scene(scene).assign_coords(band=["B02", "B03", "B04", "B08"])
    series = xr.concat([one.roll(x=100 * i) for i in range(len(dates))], "time")
    bands = series.assign_coords(time=dates).to_dataset("band")
    for name in bands.data_vars:
        bands[name].attrs = {"_FillValue": one.rio.nodata, "scale_factor": 1e-4}
    bands.to_zarr(target, mode="w", consolidated=False)


def main(scene: str, source: str, target: str) -> None:
    make_series(scene, source)
    bands = xr.open_zarr(source, mask_and_scale=False, consolidated=False)
    clear = bands.geodecloud.remove_clouds()
    clear["provenance"] = bands.geodecloud.provenance()
    # all in one go: image and codes share the work of the network
    clear.to_zarr(target, mode="w", consolidated=False)
    codes = xr.open_zarr(target, consolidated=False)["provenance"]
    for date in codes.time.values:
        seen = (codes.sel(time=date) == Provenance.OBSERVED).mean()
        print(
            f"{np.datetime_as_string(date, 'D')}: {100 * float(seen):.0f} % of the ground was seen"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
