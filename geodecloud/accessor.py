"""``.geodecloud`` on DataArrays and Datasets: the middle of the pipeline, for people in xarray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import xarray as xr

if TYPE_CHECKING:
    from geodecloud.keywords import OptionKeywords
    from geodecloud.pipeline import Declouded
    from geodecloud.restore.decisions import Decisions
    from geodecloud.self_check.expected import Expected


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

    def remove_clouds(self, **options: Unpack[OptionKeywords]) -> Any:
        """The scene without clouds, DataArray or Dataset as it was: see `geodecloud.remove_clouds`."""
        return self.decloud(**options).image

    def cloud_map(self, **options: Unpack[OptionKeywords]) -> xr.DataArray:
        """Opacity of cloud and shadow, ([time,] y, x) float32 in [0, 1]; NaN where not computed."""
        return self.decloud(**options).cloud_map

    def provenance(self, **options: Unpack[OptionKeywords]) -> xr.DataArray:
        """Provenance codes, ([time,] y, x) uint8, see `geodecloud.restore.composite.Provenance`."""
        return self.decloud(**options).provenance

    def plan(self, **options: Unpack[OptionKeywords]) -> Decisions:
        """What would be done and why: model, bands, radiometry, mask. No pixel is read."""
        from geodecloud.options import Options
        from geodecloud.restore.decisions import decide
        from geodecloud.scene.cube import Cube

        asked = Options.of(options)
        metadata = Cube.of(self._scene, asked.bands or ()).metadata
        return decide(metadata, None, asked, own_chunks=True)

    def self_check(self, **options: Unpack[OptionKeywords]) -> Expected:
        """Errors to expect on this scene, told from its own clouds over its own clear ground.

        Some windows of it are read and declouded: see `geodecloud.self_check.check.check_scene`.
        """
        from geodecloud.options import Options
        from geodecloud.self_check.check import check_scene

        return check_scene(self._scene, Options.of(options))

    def decloud(self, **options: Unpack[OptionKeywords]) -> Declouded:
        """All of it at once: image, cloud map, provenance and decisions."""
        # imported here: registering an accessor must not cost the time of torch
        from geodecloud.options import Options
        from geodecloud.pipeline import decloud

        return decloud(self._scene, Options.of(options))
