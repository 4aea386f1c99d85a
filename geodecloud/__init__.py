"""Remove clouds from satellite scenes, and touch nothing else.

>>> import geodecloud                                            # doctest: +SKIP
>>> geodecloud.decloud_scene("scene.tif", "clear.tif")           # a file  # doctest: +SKIP
>>> scene = geodecloud.open_scene("scene.tif")                   # xarray, lazy  # doctest: +SKIP
>>> clear = scene.geodecloud.remove_clouds()                     # doctest: +SKIP

The names are loaded when first used, as ``__init__.pyi`` lists them: importing this package imports neither
torch nor xarray. The accessor is there as soon as both this package and xarray are imported, in any order.
"""

import lazy_loader

from ._registration import register_with_xarray
from ._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
register_with_xarray()
