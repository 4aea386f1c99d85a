"""OpenVINO without its telemetry; everything here imports it from this module.

From its import on, OpenVINO reports to Google Analytics where the package ``openvino_telemetry`` is installed
(it is a dependency of it): it asks for a connection, keeps an identifier in the home folder, and logs
through a handler of its own. A run on a local file does none of this, so that package stays out of sight
while OpenVINO is imported; OpenVINO has a stub for machines that lack it.

Where a program has imported OpenVINO before this package, that is settled already.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TELEMETRY = "openvino_telemetry"


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """As if the package were not installed; to other programs it is afterwards what it was."""
    loaded = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's way to make an import fail
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if loaded is not None:
            sys.modules[_TELEMETRY] = loaded


# once in each process: Python lets no second thread into a module before it is complete
with _no_telemetry():
    import openvino as ov
    from openvino import opset13 as ops

__all__ = ["ops", "ov"]
