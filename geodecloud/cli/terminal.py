"""What commands share: remarks on stderr, one line each, in the words of the command line."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from geodecloud.cli.flags import in_flags
from geodecloud.errors import GeodecloudError, GeodecloudWarning

log = logging.getLogger("geodecloud")


@contextlib.contextmanager
def remarks(quiet: bool, verbose: int) -> Iterator[None]:
    """Send our log and our warnings to stderr, one line each, for the length of a command.

    Errors leave it in the words of the command line, too.
    """
    from tqdm.contrib.logging import (
        logging_redirect_tqdm,
    )  # takes longer than all that --help needs

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_InFlags())
    log.addHandler(handler)
    before = log.level
    log.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    try:
        # above the progress bar, without tearing it
        with logging_redirect_tqdm([log]), _our_warnings(quiet), _undecodable():
            yield
    except GeodecloudError as error:
        error.args = (in_flags(str(error)),)
        raise
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


@contextlib.contextmanager
def _our_warnings(quiet: bool) -> Iterator[None]:
    """Log our warnings; others go where they went.

    `logging.captureWarnings` takes those of all packages, with file, line and source line.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", GeodecloudWarning)
        # rasterio's about its own rasters in memory, when an area of interest is drawn
        warnings.filterwarnings("ignore", "Dataset has no geotransform")
        before = warnings.showwarning

        def show(message: Any, category: type[Warning], *args: Any, **kwargs: Any) -> None:
            if not issubclass(category, GeodecloudWarning):
                before(message, category, *args, **kwargs)
            elif not quiet:
                log.warning("Warning: %s", message)

        warnings.showwarning = show
        yield


@contextlib.contextmanager
def _undecodable() -> Iterator[None]:
    """Keep quiet where rasterio cannot decode what GDAL tells its log: names and tags that are no UTF-8.

    The callback has nobody to raise it to, and Python would print a traceback.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, UnicodeDecodeError):
            log.debug("GDAL tells what is no UTF-8: %s", unraisable.exc_value)
        else:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


class _InFlags(logging.Formatter):
    """The message alone, with options as the command line has them."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback where one was asked for."""
        return in_flags(super().format(record))
