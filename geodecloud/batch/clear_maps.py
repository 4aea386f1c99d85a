"""Where the scenes of a batch are clear, kept for all scenes that they fill: told once for each of them."""

from __future__ import annotations

import logging
from pathlib import Path

from geodecloud._version import __version__
from geodecloud.batch.journal import FOLDER
from geodecloud.errors import SceneIOError
from geodecloud.models.catalogue import get_card, shipped_cards
from geodecloud.options import FileFormat, FileOptions
from geodecloud.raster.gdal import gdal_settings
from geodecloud.raster.input_files import fingerprint
from geodecloud.raster.staging import OutputRaster
from geodecloud.raster.writer import write_rasters
from geodecloud.reference_file import ReferenceFile
from geodecloud.restore.other_dates import carries_classes, look_at
from geodecloud.source import open_source

log = logging.getLogger(__name__)


def keep_clear_map(out_dir: Path, path: str, asked: FileOptions) -> Path | None:
    """The file that says where a scene is clear, made where it is not there yet; None: the scene says it itself.

    Its name is made of all that it depends on, so a scene that was replaced, or another model, has another one.

    Parameters
    ----------
    out_dir : folder of the results
    path : of the scene
    asked : how it is read, and clouds are found

    Raises
    ------
    GeodecloudError
        If the scene cannot be read, no model finds its clouds, or the file cannot be written.
    """
    with gdal_settings():
        source = open_source(path, asked.resolution, asked.s2_offset)
        reference = ReferenceFile(source).open()
        try:
            if carries_classes(reference):
                return None
            kept = out_dir / FOLDER / "clear" / f"{_made_from(source.files, asked)[:32]}.tif"
            if kept.is_file():
                return kept
            _make_folder(kept.parent)
            _, clear = look_at(reference, asked)
            raster = OutputRaster(
                kept,
                clear.data,
                source.metadata.single_band("uint8", None, "clear"),
            )
            log.info("%s: where it is clear is looked for once for all it fills", path)
            write_rasters(
                [raster], FileFormat.of("gtiff"), asked.scheduler, asked.workers, overwrite=True
            )
        finally:
            reference.array.close()
    return kept


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SceneIOError(f"{folder} cannot be made: {error}") from error


def _made_from(files: list[str], asked: FileOptions) -> str:
    """Fingerprint of a scene and of what finds its clouds."""
    auto = asked.model == "auto"
    cards = shipped_cards().values() if auto else [get_card(asked.model)]
    parameters = {
        "version": __version__,
        "options": [asked.precision, asked.backend, asked.resolution, asked.s2_offset],
        "models": sorted(card.to_json() for card in cards),
    }
    return fingerprint(files, parameters)
