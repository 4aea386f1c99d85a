"""Where a scene lies, by its text alone: a path, an address, or one of GDAL's names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit


def is_remote(path: str | Path) -> bool:
    """Whether a path is an address or one of GDAL's virtual files, not a local file."""
    return "://" in str(path) or str(path).startswith("/vsi")


def local_path(path: str | Path) -> str:
    """A ``file://`` address as the path it means; anything else as it is."""
    text = str(path)
    return unquote(urlsplit(text).path) if text.lower().startswith("file://") else text


def without_query(path: str | Path) -> str:
    """An address without what follows its ``?``: signatures that open a store are no one else's business."""
    return str(path).partition("?")[0] if is_remote(path) else str(path)
