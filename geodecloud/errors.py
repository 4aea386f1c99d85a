"""What can go wrong, as a tree.

::

    GeodecloudError
    ├── SceneError (ValueError)         a scene that cannot be processed as it is
    │   └── BandError                   bands that are missing, unnamed or too many
    ├── SceneIOError (OSError)          a file that cannot be read or written
    ├── WindowPlanError (ValueError)    windows, halos or batches that cannot work
    ├── WeightsError (ValueError)       weights that are corrupt, foreign or unfit
    ├── DeviceError (RuntimeError)      a device or precision this machine lacks
    ├── ClusterError (RuntimeError)     workers that cannot do the work
    │   └── ClusterLostError            a scheduler that does not answer, no worker at all
    ├── OptionError (ValueError)        an option that does not exist or makes no sense
    └── CoverageError (RuntimeError)    a pixel no window has written: a fault of ours

    GeodecloudWarning (UserWarning)     something a careful user would want to know

Catch the root to catch all; each leaf is also the built-in a caller would expect::

    try:
        geodecloud.decloud_scene("scene.tif", "clear.tif")
    except geodecloud.GeodecloudError as error:
        print(error)

Every message says what is wrong, with values, where, and what to type instead.
"""

from __future__ import annotations


class GeodecloudError(Exception):
    """Root of all errors raised on purpose by this package."""


class SceneError(GeodecloudError, ValueError):
    """The scene, mask or area of interest cannot be processed as it is."""


class BandError(SceneError):
    """Bands are missing, unnamed, named twice, or do not fit the model."""


class SceneIOError(GeodecloudError, OSError):
    """A file cannot be opened, read or written."""


class WindowPlanError(GeodecloudError, ValueError):
    """A window, halo or batch size that cannot work."""


class WeightsError(GeodecloudError, ValueError):
    """A weights file that is corrupt, foreign, or not the model it should be."""


class DeviceError(GeodecloudError, RuntimeError):
    """A device or precision was asked for that this machine does not have."""


class ClusterError(GeodecloudError, RuntimeError):
    """The workers of a Dask scheduler cannot do the work."""


class ClusterLostError(ClusterError):
    """A Dask scheduler does not answer, or has no worker: no other scene can be done either."""


class OptionError(GeodecloudError, ValueError):
    """An option does not exist, or its value makes no sense."""


class CoverageError(GeodecloudError, RuntimeError):
    """Some pixels were written by no window. Please report it: it is a fault of ours."""


class GeodecloudWarning(UserWarning):
    """Something about the result that a careful user would want to know."""
