"""One case of fuzzing: run its command, and say what is wrong with what became of it.

Whatever the input, a command ends with a valid result, or with one message and the exit code 1 or 2. It
never shows a traceback, changes a file it reads, leaves anything but what it was asked for, or sends
control characters to a terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from click.testing import CliRunner, Result
from fuzz_targets import SHAPE, lay
from rasterio.errors import RasterioError

from geodecloud.cli.commands import main

#: Targets whose scene is one raster that the identity model gives back pixel by pixel.
_SAME = {"geotiff", "jp2", "vrt", "side_xml", "geojson", "mask", "words"}
#: What may be in ``out``.
_WANTED = re.compile(
    r"(clear(\.stac)?|codes|d|spa|page|summary|footprints|scene_decloud)(_stac)?"
    r"\.(tif|tif\.aux\.xml|json|safetensors|html|csv|gpkg)|\.geodecloud(/.*)?"
)
#: No line of a message needs more, but for an option of 5000 letters that it repeats.
_LONGEST = 6000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def run_case(name: str, number: int, folder: Path) -> list[str]:
    """What is wrong with one case, run in an empty folder; nothing, if all is as it should be."""
    with _in_folder(folder):
        words = lay(name, number, folder)
        before = _tree(folder / "in")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = CliRunner().invoke(main, words)
        faults = [*_told(result), *_left(folder, before)]
        if result.exit_code == 0:
            faults += _result(name, folder, words)
        return faults


@contextlib.contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """Work there, with temporary files below it."""
    here, temporary = Path.cwd(), tempfile.tempdir
    os.chdir(folder)
    tempfile.tempdir = str(folder / "tmp")
    try:
        yield
    finally:
        os.chdir(here)
        tempfile.tempdir = temporary


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def _told(result: Result) -> Iterator[str]:
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        frames = traceback.format_exception(error)
        yield f"traceback: {frames[-1].strip()[:300]} at {_place(error)}"
        return
    if result.exit_code not in (0, 1, 2):
        yield f"exit code {result.exit_code}"
    told = result.stderr + result.stdout
    if "Traceback" in told:
        yield f"told a traceback: {told[-300:]}"
    if "not enough memory" in told:
        yield f"memory: {told[:300]}"
    if result.exit_code and not told.strip():
        yield "no message"
    if max(map(len, result.stderr.splitlines()), default=0) > _LONGEST:
        yield f"a message of {len(told)} characters: {told[:200]}"
    if found := _CONTROL.search(told):
        yield f"control character {found[0]!r}: {told[max(0, found.start() - 80) : found.end()]!r}"


def _place(error: BaseException) -> str:
    """The last line of ours in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "geodecloud/" in f.filename] or list(frames)
    return f"{ours[-1].filename.rpartition('geodecloud/')[2]}:{ours[-1].lineno}" if ours else "?"


def _left(folder: Path, before: dict[str, bytes]) -> Iterator[str]:
    if _tree(folder / "in") != before:
        yield "a source was changed"
    for path in (folder / "out").rglob("*"):
        name = path.relative_to(folder / "out").as_posix()
        if not _WANTED.fullmatch(name):
            yield f"left out/{name}"
    if any((folder / "tmp").iterdir()):
        yield f"left temporary files {os.listdir(folder / 'tmp')}"
    if extra := set(os.listdir(folder)) - {"in", "out", "tmp"}:
        yield f"wrote beside its folders: {sorted(extra)}"


def _result(name: str, folder: Path, words: list[str]) -> Iterator[str]:
    """Whether a result is a raster, and for the identity model the scene itself."""
    out = folder / "out" / "clear.tif"
    if "out/clear.tif" not in words:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(out) as dst:
                pixels = dst.read()
            if name in _SAME and "identity" in words:
                with rasterio.open(folder / words[0]) as src:
                    expected = src.read()
                if pixels.dtype != expected.dtype or not np.array_equal(
                    pixels, expected, equal_nan=pixels.dtype.kind == "f"
                ):
                    yield "the pixels are not those of the scene"
    except (RasterioError, OSError) as error:
        yield f"no valid result: {error}"
    if name in ("model", "reference") and pixels.shape != (4, *SHAPE):
        yield f"the result has the shape {pixels.shape}"
