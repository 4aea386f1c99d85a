"""What commands share: remarks on stderr, one line each."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from geodecloud.errors import GeodecloudWarning

log = logging.getLogger("geodecloud")


@contextlib.contextmanager
def remarks(quiet: bool, verbose: int) -> Iterator[None]:
    """Send our log and our warnings to stderr, one line each, for the length of a command."""
    handler = _AboveTheBar()
    log.addHandler(handler)
    log.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
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
        try:
            yield
        finally:
            log.removeHandler(handler)


class _AboveTheBar(logging.Handler):
    """Writes log lines to stderr without tearing the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record as a line."""
        from tqdm import tqdm

        tqdm.write(record.getMessage(), file=sys.stderr)
