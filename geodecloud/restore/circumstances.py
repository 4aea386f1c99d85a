"""What the pixels of a result depend on besides the files that are read, in a form that compares.

Where all of it is the same, the same files give the same bytes; what a run that was killed has finished is gone on
with only then.
"""

from __future__ import annotations

import dataclasses
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from geodecloud._version import __version__
from geodecloud.models.catalogue import get_card
from geodecloud.options import Options
from geodecloud.restore.decisions import Decisions

#: What computes pixels besides this package.
_COMPUTING = ("numpy", "scipy", "rasterio", "odc-geo", "torch", "openvino", "s2cloudless")
#: Decisions that say where the work is done; the model is known by its card.
_NOT_OF_PIXELS = ("model", "workers", "cores")


def circumstances(decisions: Decisions, options: Options) -> dict[str, Any]:
    """Options, decisions, weights by their content, and versions, as plain values."""
    decided = {
        one.name: str(getattr(decisions, one.name))
        for one in dataclasses.fields(decisions)
        if one.name not in _NOT_OF_PIXELS
    }
    own, finder = decisions.card, decisions.first_pass
    # a model of the user's that finds its own clouds is a file, and nothing is called by its name
    cards = [own, *([] if finder in (None, "mask", own.name) else [get_card(str(finder))])]
    return {
        "options": options.parameters(),
        "decisions": decided,
        "models": [card.to_json() for card in cards],
        "versions": {
            "geodecloud": __version__,
            **{name: _version(name) for name in _COMPUTING},
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
