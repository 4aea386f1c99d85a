"""Finding the scenes and products in folders, each once, and where their results go."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from geodecloud.errors import GeodecloudError, SceneIOError
from geodecloud.sentinel2.documents import read_facts
from geodecloud.sentinel2.files import (
    BAND_FOLDERS,
    NO_BANDS,
    ProductFiles,
    find_products,
    looks_like_product,
)

log = logging.getLogger(__name__)

#: Files that are scenes; anything else lies beside them.
SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".img")


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
    """

    path: str
    name: str
    place: Path
    problem: str | None = None
    twin: str | None = None


def find_scenes(
    roots: Sequence[str | Path], pattern: str = "*", skip: Path | None = None
) -> list[FoundScene]:
    """All scenes and products below some folders, sorted; copies are marked as such.

    Parameters
    ----------
    roots : folders; or scenes and products themselves
    pattern : of the names of files and products, such as ``S2A_*``
    skip : folder not to look into: that of the results

    Raises
    ------
    SceneIOError
        If a root does not exist.
    """
    found: list[FoundScene] = []
    for root in map(Path, roots):
        if not root.exists():
            raise SceneIOError(f"{root} does not exist")
        base = Path(root.resolve().name) if len(roots) > 1 and root.is_dir() else Path()
        for path in _candidates(root, set(), skip.resolve() if skip else None):
            if not fnmatch(path.name, pattern):
                continue
            inside = path.parent.relative_to(root) if path != root else Path()
            found += _scenes_at(path, base / inside)
    return _mark_copies(list({scene.path: scene for scene in found}.values()))


def _candidates(path: Path, seen: set[tuple[int, int]], skip: Path | None) -> Iterator[Path]:
    """Product folders and files that may be scenes, through links, each folder once."""
    if path.is_file():
        if path.suffix.lower() in (*SUFFIXES, ".zip"):
            yield path
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
    return path.suffix.lower() == ".zip"


def _scenes_at(path: Path, place: Path) -> list[FoundScene]:
    try:
        products = find_products(path)
    except GeodecloudError as error:
        return [FoundScene(str(path), _stem(path), place, problem=str(error))]
    if products:
        return [FoundScene(product.path, product.name, place) for product in products]
    if path.is_dir():
        return [s for child in sorted(path.iterdir()) for s in _below(child, place / path.name)]
    if path.suffix.lower() == ".zip":
        log.info("%s holds no Sentinel-2 product", path)
        return []
    return [FoundScene(str(path), path.stem, place)]


def _below(path: Path, place: Path) -> list[FoundScene]:
    """Scenes in a folder that looked like a product and is none."""
    return [
        scene
        for candidate in _candidates(path, set(), None)
        for scene in _scenes_at(candidate, place)
    ]


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".zip", ".SAFE"):
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
            scene = FoundScene(scene.path, scene.name, scene.place, scene.problem, twin.path)
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
