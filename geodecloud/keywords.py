"""The options as typed keywords, so that editors and type checkers know them.

Written from `geodecloud.options` by tools/keywords.py; do not edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from geodecloud.models.weights import Model
    from geodecloud.options import FileFormat, Scene


class OptionKeywords(TypedDict, total=False):
    """Keywords of `geodecloud.options.Options`; None is as if not given."""

    model: str | Path | Model | None
    bands: Sequence[str] | None
    scale: float | None
    offset: float | None
    radiometry: str | None
    nodata: float | str | None
    mask: str | Path | None
    strict: bool | None
    references: Sequence[str | Path | Scene] | str | None
    synthesis: bool | None
    sun_azimuth: float | None
    aoi: str | Path | None
    window: int | str | None
    halo: int | str | None
    batch_size: int | str | None
    device: str | None
    precision: str | None
    backend: str | None
    workers: int | None
    scheduler: str | None
    max_memory: str | None


class FileKeywords(OptionKeywords, total=False):
    """Keywords of `geodecloud.options.FileOptions`; None is as if not given."""

    resolution: int | None
    s2_offset: str | float | None
    format: str | FileFormat | None
    layout: str | None
    stac: bool | None
    self_check: bool | None
    overwrite: bool | None
    resume: bool | None
