"""Remove clouds from satellite scenes, and touch nothing else.

>>> import geodecloud                                            # doctest: +SKIP
>>> geodecloud.decloud_scene("scene.tif", "clear.tif")           # a file  # doctest: +SKIP
>>> scene = geodecloud.open_scene("scene.tif")                   # xarray, lazy  # doctest: +SKIP
>>> clear = scene.geodecloud.remove_clouds()                     # doctest: +SKIP

The names below are loaded when first used: importing this package imports no torch. The
accessor is there as soon as both this package and xarray are imported, in any order.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from geodecloud._version import __version__
from geodecloud.errors import GeodecloudError, GeodecloudWarning

if TYPE_CHECKING:
    from geodecloud import config
    from geodecloud.batch.folder import decloud_folder
    from geodecloud.decloud_file import decloud_scene
    from geodecloud.models.weights import load_model
    from geodecloud.options import Options
    from geodecloud.pipeline import remove_clouds
    from geodecloud.raster.reader import read_metadata
    from geodecloud.raster.staging import FileFormat
    from geodecloud.raster.writer import write_scene
    from geodecloud.scene.metadata import Metadata
    from geodecloud.source import open_scene

_HOMES = {
    "FileFormat": "raster.staging",
    "Metadata": "scene.metadata",
    "Options": "options",
    "decloud_folder": "batch.folder",
    "decloud_scene": "decloud_file",
    "load_model": "models.weights",
    "open_scene": "source",
    "read_metadata": "raster.reader",
    "remove_clouds": "pipeline",
    "write_scene": "raster.writer",
}

__all__ = [
    "FileFormat",
    "GeodecloudError",
    "GeodecloudWarning",
    "Metadata",
    "Options",
    "__version__",
    "config",
    "decloud_folder",
    "decloud_scene",
    "load_model",
    "open_scene",
    "read_metadata",
    "remove_clouds",
    "write_scene",
]


def __getattr__(name: str) -> Any:
    if name == "config":
        return importlib.import_module("geodecloud.config")
    if name not in _HOMES:
        raise AttributeError(f"module 'geodecloud' has no attribute {name!r}")
    return getattr(importlib.import_module(f"geodecloud.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _OnXarray(importlib.abc.MetaPathFinder):
    """Registers the accessor when xarray is imported; importing it here would cost 0.3 s."""

    _asking = False

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "xarray" or self._asking:
            return None
        self._asking = True  # the question below comes by here again
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._asking = False
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: Any) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            importlib.import_module("geodecloud.accessor")

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


if "xarray" in sys.modules:
    importlib.import_module("geodecloud.accessor")
else:
    sys.meta_path.insert(0, _OnXarray())
