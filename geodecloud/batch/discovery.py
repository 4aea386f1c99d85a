"""Finding the scenes and products in folders, each once, and where their results go."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from geodecloud.batch.journal import FOLDER, Journal, look
from geodecloud.errors import GeodecloudError, SceneIOError
from geodecloud.raster.archives import (
    ARCHIVES,
    RASTERS,
    is_archive,
    is_eopf,
    is_zarr,
    raster_path,
    rasters_in,
)
from geodecloud.raster.reader import open_raster
from geodecloud.sentinel2.documents import read_facts
from geodecloud.sentinel2.files import (
    BAND_FOLDERS,
    NO_BANDS,
    ProductFiles,
    find_products,
    looks_like_product,
)

log = logging.getLogger(__name__)

#: Layers that geodecloud writes beside a result, by the name of their only band.
_LAYERS = ("provenance", "cloud_map", "source_date", "confidence")


@dataclass(frozen=True)
class FoundScene:
    """One scene of a folder.

    Attributes
    ----------
    path : what `geodecloud.decloud_scene` takes
    name : of the file or product, without suffix
    place : folder of the scene below the root it was found in; results are mirrored there
    problem : why it cannot be a scene; None: nothing is known against it
    twin : path of the scene it is a copy of, or None
    band : a band of a product, as GDAL opens it; None: it is none
    """

    path: str
    name: str
    place: Path
    problem: str | None = None
    twin: str | None = None
    band: str | None = None


def find_scenes(
    roots: Sequence[str | Path],
    pattern: str = "*",
    skip: Path | None = None,
    results: bool = False,
) -> list[FoundScene]:
    """All scenes and products below some folders, sorted; copies are marked as such.

    What geodecloud has written is no scene, unless it is the only root.

    Parameters
    ----------
    roots : folders; or scenes and products themselves
    pattern : of the names of files and products, such as ``S2A_*``
    skip : folder not to look into: that of the results
    results : find what geodecloud has written, and nothing else

    Raises
    ------
    SceneIOError
        If a root does not exist.
    """
    found: list[FoundScene] = []
    written = _Results()
    for root in map(Path, roots):
        if not root.exists():
            raise SceneIOError(f"{root} does not exist")
        base = Path(root.resolve().name) if len(roots) > 1 and root.is_dir() else Path()
        for path in _candidates(root, set(), skip.resolve() if skip else None):
            if not fnmatch(path.name, pattern):
                continue
            inside = path.parent.relative_to(root) if path != root else Path()
            scenes = _scenes_at(path, base / inside)
            if len(roots) == 1 and path == root:  # named alone
                found += [] if results else scenes
                continue
            ours = [scene for scene in scenes if scene in written]
            for scene in ours:
                log.info("%s was written by geodecloud and is left out", scene.path)
            found += ours if results else [scene for scene in scenes if scene not in ours]
    return _mark_copies(list({scene.path: scene for scene in found}.values()))


def _candidates(path: Path, seen: set[tuple[int, int]], skip: Path | None) -> Iterator[Path]:
    """Product folders and files that may be scenes, through links, each folder once."""
    if path.is_file():
        if path.suffix.lower() in (*RASTERS, *ARCHIVES):
            yield path
        return
    if is_zarr(path):
        if is_eopf(path):
            yield path  # why it cannot be read is said where it is opened
        return
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    if key in seen or path.resolve() == skip:
        return
    seen.add(key)
    try:
        is_product = looks_like_product(path)
        names = sorted(os.listdir(path))
    except OSError as error:
        log.warning("%s cannot be looked into: %s", path, error)
        return
    if is_product:
        yield path
        # loose bands say nothing about what lies beside and below them
        names = (
            [] if path.name.upper().endswith(".SAFE") else [n for n in names if _is_apart(path / n)]
        )
    for name in names:
        # a broken link is nothing, and what begins with a dot is somebody's own business
        if not name.startswith(".") and (path / name).exists():
            yield from _candidates(path / name, seen, skip)


def _is_apart(path: Path) -> bool:
    """Whether something in a folder of bands may be a scene of its own."""
    if path.is_dir():
        return path.name.lower() not in NO_BANDS | BAND_FOLDERS
    return path.suffix.lower() in ARCHIVES


def _scenes_at(path: Path, place: Path) -> list[FoundScene]:
    try:
        products = find_products(path)
    except GeodecloudError as error:
        return [FoundScene(str(path), _stem(path), place, problem=str(error))]
    if products:
        return [
            FoundScene(product.path, product.name, place, band=product.bands[0].path)
            for product in products
        ]
    if is_zarr(path):
        return [FoundScene(str(path), path.stem, place)]
    if path.is_dir():
        return [s for child in sorted(path.iterdir()) for s in _below(child, place / path.name)]
    if is_archive(path):
        return _in_archive(path, place)
    return [FoundScene(str(path), path.stem, place)]


def _in_archive(path: Path, place: Path) -> list[FoundScene]:
    """The rasters of an archive; several lie in a folder of its name."""
    try:
        rasters = rasters_in(path)
    except GeodecloudError as error:
        return [FoundScene(str(path), _stem(path), place, problem=str(error))]
    if len(rasters) == 1:
        return [FoundScene(str(path), _stem(Path(rasters[0])), place)]
    if not rasters:
        log.info("%s holds no scene", path)
    return [FoundScene(raster, Path(raster).stem, place / _stem(path)) for raster in rasters]


class _Results:
    """What geodecloud has written: a file says so itself, or a journal above it does."""

    def __init__(self) -> None:
        self._written: dict[Path, Mapping[str, Sequence[tuple[int, int]]]] = {}

    def __contains__(self, scene: FoundScene) -> bool:
        if scene.problem is not None:
            return False
        try:
            path = scene.band or raster_path(scene.path)
            if path.lower().endswith(".jp2") or is_zarr(path):
                return False
            with open_raster(path) as src:
                tagged = any(key.startswith("GEODECLOUD_") for key in src.tags())
                is_layer = src.count == 1 and src.descriptions[0] in _LAYERS
        except GeodecloudError:
            return False
        return tagged or is_layer or self._in_a_journal(Path(path))

    def _in_a_journal(self, path: Path) -> bool:
        """Whether the batch of a folder above has written a file, and nobody touched it since."""
        for folder in path.parents:
            if folder not in self._written:
                there = (folder / FOLDER).is_dir()
                self._written[folder] = Journal(folder).written() if there else {}
            looks = self._written[folder].get(path.relative_to(folder).as_posix(), ())
            if looks and look(path.stat()) in looks:
                return True
        return False


def suffixes_below(roots: Sequence[str | Path], skip: Path | None = None) -> dict[str, int]:
    """How many files of which suffix lie below some folders, the most frequent first."""
    counts: Counter[str] = Counter()
    for root in roots:
        for folder, folders, files in os.walk(root):
            here = Path(folder).resolve()
            folders[:] = [
                f for f in folders if not f.startswith(".") and (skip is None or here / f != skip)
            ]
            counts.update(Path(f).suffix.lower() or f for f in files if not f.startswith("."))
    return dict(counts.most_common(5))


def _below(path: Path, place: Path) -> list[FoundScene]:
    """Scenes in a folder that looked like a product and is none."""
    return [
        scene
        for candidate in _candidates(path, set(), None)
        for scene in _scenes_at(candidate, place)
    ]


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".zip", ".gz", ".tgz", ".tar", ".SAFE", *RASTERS):
        if name.lower().endswith(suffix.lower()):
            name = name[: -len(suffix)]
    return name


def _mark_copies(scenes: list[FoundScene]) -> list[FoundScene]:
    """The same file by two paths, or a product as folder and archive, is one scene."""
    first: dict[str, FoundScene] = {}
    marked = []
    names = [scene.name for scene in scenes]
    for scene in scenes:
        identity = _identity(scene, alone=names.count(scene.name) == 1)
        twin = first.setdefault(identity, scene)
        if twin is not scene:
            scene = replace(scene, twin=twin.path)
        marked.append(scene)
    return marked


def _identity(scene: FoundScene, alone: bool) -> str:
    real = os.path.realpath(scene.path)
    if alone or scene.problem is not None:
        return real
    try:
        products: list[ProductFiles] = find_products(scene.path)
        return read_facts(products[0]).identity if products else real
    except GeodecloudError:
        return real
