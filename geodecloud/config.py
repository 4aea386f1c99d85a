"""Defaults for all calls of a process, kept in Dask's configuration.

::

    geodecloud.config.set(max_memory="4GB", device="cpu")      # from here on
    with geodecloud.config.set(workers=2): ...                 # in here

Being Dask's, they may also stand in its YAML files (``geodecloud: {max-memory: 4GB}``) or in the
environment (``DASK_GEODECLOUD__MAX_MEMORY=4GB``). What a call says itself wins.
"""

from __future__ import annotations

from typing import Any, Unpack

import dask

from geodecloud.keywords import OptionKeywords
from geodecloud.options import Options, configured


def set(**options: Unpack[OptionKeywords]) -> Any:  # noqa: A001  as dask.config.set
    """Set defaults: for good, or within a ``with``.

    Parameters
    ----------
    **options : see `geodecloud.options.Options`

    Raises
    ------
    OptionError
        If there is no such option, or its value makes no sense.
    """
    Options.of(options)
    return dask.config.set({f"geodecloud.{name}": value for name, value in options.items()})


def get() -> dict[str, Any]:
    """The defaults that are set, by the names of `geodecloud.options.Options`."""
    return configured()
