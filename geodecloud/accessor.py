"""``.geodecloud`` on DataArrays and Datasets: the middle of the pipeline, for people in xarray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from geodecloud.pipeline import Declouded
    from geodecloud.restore.decisions import Plan


@xr.register_dataset_accessor("geodecloud")  # type: ignore[no-untyped-call]
@xr.register_dataarray_accessor("geodecloud")  # type: ignore[no-untyped-call]
class GeodecloudAccessor:
    """Cloud removal on a scene or a stack of dates; lazy in, lazy out.

    A scene is a DataArray with the dims y, x, a band dim and perhaps a time dim, in any order, or
    a Dataset with one variable per band. All methods take the options of
    `geodecloud.options.Options`. Methods of one scene with the same options share their work
    when they are computed together (`dask.compute`).
    """

    def __init__(self, scene: xr.DataArray | xr.Dataset) -> None:
        self._scene = scene

    def remove_clouds(self, **options: Any) -> Any:
        """The scene without clouds, DataArray or Dataset as it was: see `geodecloud.remove_clouds`."""
        return self._decloud(options).image

    def cloud_map(self, **options: Any) -> xr.DataArray:
        """Opacity of cloud and shadow, ([time,] y, x) float32 in [0, 1]; NaN where not computed."""
        return self._decloud(options).cloud_map

    def provenance(self, **options: Any) -> xr.DataArray:
        """Provenance codes, ([time,] y, x) uint8, see `geodecloud.restore.composite.Provenance`."""
        return self._decloud(options).provenance

    def plan(self, **options: Any) -> Plan:
        """What would be done and why: model, bands, radiometry, mask. No pixel is read."""
        from geodecloud.options import Options
        from geodecloud.restore.decisions import plan_scene
        from geodecloud.scene.cube import Cube

        chosen = Options.of(options)
        return plan_scene(Cube.of(self._scene, chosen.bands or ()).metadata, chosen)

    def _decloud(self, options: dict[str, Any]) -> Declouded:
        # imported here: registering an accessor must not cost the time of torch
        from geodecloud.options import Options
        from geodecloud.pipeline import decloud

        return decloud(self._scene, Options.of(options))
