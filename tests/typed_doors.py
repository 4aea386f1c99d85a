"""What a type checker knows of the doors; checked by mypy (``make types``), not run."""

from __future__ import annotations

from typing import assert_type

import xarray as xr

import geodecloud
from geodecloud.batch.summary import FolderReport
from geodecloud.decloud_file import Report
from geodecloud.models.weights import Model

scene = geodecloud.open_scene("scene.tif")
assert_type(scene, xr.DataArray)
assert_type(geodecloud.remove_clouds(scene, model="s2-10m", window=512, strict=True), xr.DataArray)
assert_type(geodecloud.remove_clouds(xr.Dataset(), mask="none"), xr.Dataset)
assert_type(geodecloud.decloud_scene("scene.tif", "clear.tif", overwrite=True), Report)
assert_type(geodecloud.decloud_folder("tiles", "clear", references="none"), FolderReport)
assert_type(geodecloud.load_model("s2-10m"), Model)
geodecloud.remove_clouds(scene, windows=512)  # type: ignore[call-arg]
geodecloud.decloud_scene("scene.tif", "clear.tif", workers="two")  # type: ignore[arg-type]
