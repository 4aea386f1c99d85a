"""``da.geodecloud``: the middle of the pipeline, for people who are in xarray already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from geodecloud.pipeline import Declouded


@xr.register_dataarray_accessor("geodecloud")  # type: ignore[no-untyped-call]
class GeodecloudAccessor:
    """Cloud removal on a (band, y, x) DataArray; lazy in, lazy out.

    All methods take the options of `geodecloud.options.Options`. Methods of one DataArray with
    the same options share their work when they are computed together (`dask.compute`).
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def remove_clouds(self, **options: Any) -> xr.DataArray:
        """The scene without clouds, see `geodecloud.remove_clouds`."""
        return self._decloud(options).image

    def cloud_map(self, **options: Any) -> xr.DataArray:
        """Opacity of cloud and shadow (y, x), float32 in [0, 1]; NaN where not computed."""
        return self._decloud(options).cloud_map

    def provenance(self, **options: Any) -> xr.DataArray:
        """Provenance codes (y, x), uint8, see `geodecloud.composite.Provenance`."""
        return self._decloud(options).provenance

    def _decloud(self, options: dict[str, Any]) -> Declouded:
        # imported here: registering an accessor must not cost the time of torch
        from geodecloud.options import Options
        from geodecloud.pipeline import decloud

        return decloud(self._array, Options.of(options))
