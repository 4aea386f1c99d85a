"""Count how one scene walks through the package, from the command line to the rename.

::

    python benchmarks/flow.py [--rooms auto|packages|modules] [--list] [--json]
    python benchmarks/flow.py --write docs    # the picture, and the numbers in docs/architecture.md
    python benchmarks/flow.py --check docs    # fails where they are out of date

Runs ``geodecloud SCENE --out OUT --device cpu`` in this process on a small synthetic scene, with every module
imported beforehand, and watches the calls of the main thread. It measures the `geodecloud` that
is imported: put another checkout first in PYTHONPATH to measure that one.

How it is counted
-----------------
Only functions written in this package count; the caller of a function is the nearest such function
above it on the stack, whatever library (click, contextlib, dask) stands between.

*room*
    A sub-package, or a module beside them; ``--rooms modules``: each module. `auto` takes modules
    where the tree is flat, that is, has no sub-package `scene`.
*vocabulary*
    Modules that hold values and rules about values, with no file, no network and no scheduler:
    errors, options, config, everything in `scene` and `windows`, and `models.card`. All rooms talk in
    these words, and to use a word is not to go anywhere: their functions are never a stop, and what
    they call counts as called by whoever called them.
*stop*
    A function of one room, called from a function of another. A function counts once, at the first such
    call: a reader reads it once. Methods that dataclasses write themselves have no text to read and
    do not count, nor does what handlers of log records do.
*again*
    The other calls between two functions of different rooms, each pair of functions counted
    once: the places from which something that was read or decided before is asked for again.
*rooms*
    The rooms in which there is a stop, and the one in which the walk begins.
*return*
    A stop in a room that the walk was in before and has left since.
*climb*
    A stop in a room higher than that of the stop before. Height: the longest chain of imports
    beneath a room; imports for type checking are left out.
*upcall*
    A stop in a room higher than its caller's: a callback, or an import against the order.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import pkgutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, cast

import click
import numpy as np
import rasterio
from flow_picture import draw
from rasterio.transform import from_origin

import geodecloud

PACKAGE = "geodecloud"
VOCABULARY = ("errors", "options", "config", "scene", "windows", "models.card")
#: the same modules before they were moved into sub-packages
FLAT_VOCABULARY = (
    *("errors", "options", "config", "grid", "footprint", "bands", "reflectance", "metadata"),
    *("array_metadata", "tags", "cube", "tiler", "stitcher", "models.card"),
)
#: the functions whose calls are the stations of the picture; the second is that before the move
STORY = {
    ("decloud_file", "decloud_file"),
    ("decloud_file", "decloud_scene"),
    ("run", "decloud_scene"),
}
#: what stands between these in docs/architecture.md is written by this file
MARKS = ("<!-- flow: begin -->\n", "<!-- flow: end -->\n")
#: no part of a run on a scene, and slow to import
ASIDE = ("__main__", "training", "cli.training", "bench", "bench_machine", "bench_scene")


@dataclass(frozen=True)
class Call:
    """One call from a function of the package to another; modules without ``geodecloud.``.

    `station` is the step of the story under way: what `STORY` called.
    """

    caller_module: str
    caller: str
    module: str
    function: str
    station: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.caller_module}.{self.caller} -> {self.module}.{self.function}"


@dataclass(frozen=True)
class Stop:
    """One step of the walk: the room it was in before, the one it is in now, and the call."""

    before: str
    room: str
    call: Call
    is_climb: bool
    is_return: bool
    is_upcall: bool

    @property
    def station(self) -> str:
        """The step of the story under way."""
        return self.call.station.rpartition(".")[2].lstrip("_")

    def __str__(self) -> str:
        return f"{self.before:>12} | {self.room:<12} {self.call}"


@dataclass
class Flow:
    """What the walk comes to; all in their order."""

    stops: list[Stop] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)
    again: list[Call] = field(default_factory=list)

    @property
    def returns(self) -> list[Stop]:
        """The stops in rooms it had left."""
        return [stop for stop in self.stops if stop.is_return]

    @property
    def upcalls(self) -> list[Stop]:
        """The stops above their callers."""
        return [stop for stop in self.stops if stop.is_upcall]

    def numbers(self) -> dict[str, int]:
        """The counts, by name."""
        counts = {"stops": len(self.stops), "rooms": len(self.rooms)}
        counts |= {"climbs": sum(stop.is_climb for stop in self.stops)}
        counts |= {"returns": len(self.returns), "upcalls": len(self.upcalls)}
        return counts | {"again": len(self.again)}


class Tree:
    """The package on disk: which room a module is in, and how high a room lies."""

    def __init__(self, root: Path, rooms: str) -> None:
        self.root = root
        self.is_flat = not (root / "scene").is_dir()
        self.by_module = rooms == "modules" or (rooms == "auto" and self.is_flat)
        self.words = FLAT_VOCABULARY if self.is_flat else VOCABULARY
        self.below = self._imports()
        self.height = cache(self._height)

    def room(self, module: str) -> str:
        """The room of a module, both without ``geodecloud.``."""
        return module if self.by_module else module.split(".")[0]

    def is_vocabulary(self, module: str) -> bool:
        """Whether a module is one of those that all rooms talk in."""
        return any(module == word or module.startswith(f"{word}.") for word in self.words)

    def _height(self, room: str, above: tuple[str, ...] = ()) -> int:
        beneath = [r for r in self.below.get(room, ()) if r not in above]
        return 1 + max((self._height(r, (*above, room)) for r in beneath), default=-1)

    def _imports(self) -> dict[str, set[str]]:
        """The rooms that each room imports."""
        found: dict[str, set[str]] = {}
        for path in sorted(self.root.rglob("*.py")):
            parts = path.relative_to(self.root).with_suffix("").parts
            module = ".".join(part for part in parts if part != "__init__")
            if not module:
                continue  # the front door imports everything, lazily
            for name in imported_names(ast.parse(path.read_text(encoding="utf-8"))):
                file = self.root.joinpath(*name.split("."))
                if not file.is_dir() and not file.with_suffix(".py").exists():
                    name = name.rpartition(".")[0]
                if name and self.room(name) != self.room(module):
                    found.setdefault(self.room(module), set()).add(self.room(name))
        return found


def imported_names(tree: ast.AST) -> Iterator[str]:
    """The names of the package that a module imports, without ``geodecloud.``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            inside = (node.module or "").removeprefix(PACKAGE).lstrip(".")
            yield from (".".join(filter(None, (inside, alias.name))) for alias in node.names)
        else:
            yield from imported_names(node)


class Watch:
    """Records the calls between functions of the package, in the thread that enters it."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.calls: list[Call] = []

    def __enter__(self) -> Watch:
        sys.setprofile(self._see)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not self._counts(frame):
            return
        caller = frame.f_back
        while caller is not None and not self._counts(caller):
            if caller.f_globals.get("__name__") == "logging":
                return
            caller = caller.f_back
        if caller is not None:
            places = (module_of(caller), function_of(caller), module_of(frame), function_of(frame))
            self.calls.append(Call(*places, station_of(frame)))

    def _counts(self, frame: FrameType) -> bool:
        module, code = module_of(frame), frame.f_code
        # what dataclasses write stands in no file
        own = module not in ("", "__main__") and not code.co_filename.startswith("<")
        return own and code.co_name != "<module>" and not self.tree.is_vocabulary(module)


def module_of(frame: FrameType) -> str:
    """The module of a frame without ``geodecloud.``; empty where it is not of the package."""
    package, _, module = str(frame.f_globals.get("__name__", "")).partition(".")
    return module if package == PACKAGE else ""


def function_of(frame: FrameType) -> str:
    """The function of a frame; a comprehension belongs to the function around it."""
    name = frame.f_code.co_qualname
    for inner in ("listcomp", "dictcomp", "setcomp", "genexpr"):
        name = name.replace(f".<locals>.<{inner}>", "")
    return name


def station_of(frame: FrameType) -> str:
    """What the story has called that is on the stack at this frame; empty outside the story."""
    station, above = "", cast("FrameType | None", frame)
    while above is not None:
        if (module_of(above), function_of(above)) in STORY:
            return station
        station = function_of(above) if module_of(above) else station
        above = above.f_back
    return ""


def count(calls: list[Call], tree: Tree) -> Flow:
    """Follow the calls and count, as the text at the top of this file says."""
    flow = Flow()
    seen: set[tuple[str, str]] = set()
    asked: set[Call] = set()
    left: set[str] = set()
    for call in calls:
        caller_room, room = tree.room(call.caller_module), tree.room(call.module)
        if caller_room == room or call in asked:
            continue
        asked.add(call)
        if (call.module, call.function) in seen:
            flow.again.append(call)
            continue
        seen.add((call.module, call.function))
        before = flow.stops[-1].room if flow.stops else caller_room
        if room != before:
            left.add(before)
        stop = Stop(
            before,
            room,
            call,
            is_climb=tree.height(room) > tree.height(before),
            is_return=room != before and room in left,
            is_upcall=tree.height(room) > tree.height(caller_room),
        )
        flow.stops.append(stop)
        flow.rooms += [name for name in (before, room) if name not in flow.rooms]
    return flow


def write_scene(path: Path) -> None:
    """Four named bands of reflectance with texture, 203 x 101 px."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:101, :203]
    waves = [900 * np.sin(x / (7 + b)) * np.cos(y / (11 - b)) for b in range(4)]
    dn = 1500 + np.stack(waves) + 4 * x + 2 * y + rng.normal(0, 120, (4, 101, 203))
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 4, "height": 101, "width": 203}
    profile |= {"crs": "EPSG:32719", "transform": from_origin(399960, 6300040, 10, 10)}
    with rasterio.open(path, "w", nodata=0, **profile) as dst:
        dst.write(np.clip(np.rint(dn), 200, 10000).astype(np.uint16))
        dst.descriptions = ("B02", "B03", "B04", "B08")
        dst.scales = (1e-4,) * 4


def import_everything(package: ModuleType) -> None:
    """Import all modules, so that no import happens under watch."""
    importlib.import_module("xarray")
    for found in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if not found.name.removeprefix(f"{PACKAGE}.").startswith(ASIDE):
            importlib.import_module(found.name)


def watch_run(tree: Tree) -> list[Call]:
    """The calls of one run of the command line on a small scene."""
    import_everything(geodecloud)
    cli: Any = importlib.import_module(f"{PACKAGE}.cli{'' if tree.is_flat else '.commands'}")
    with tempfile.TemporaryDirectory() as folder:
        scene, out = Path(folder, "scene.tif"), Path(folder, "clear.tif")
        write_scene(scene)
        with Watch(tree) as watch:
            cli.main(
                [str(scene), "--out", str(out), "--device", "cpu", "--quiet"], standalone_mode=False
            )
    return watch.calls


def write_pages(folder: Path, flow: Flow, tree: Tree) -> dict[Path, str]:
    """The files of the documentation that show the flow, as they have to be."""
    page = folder / "architecture.md"
    begin, end = MARKS
    head, _, rest = page.read_text(encoding="utf-8").partition(begin)
    numbers = flow.numbers()
    said = ", ".join(f"{numbers[name]} {name}" for name in ("stops", "rooms", "climbs", "returns"))
    picture = "![The walk of one scene through the rooms](images/flow.svg)"
    text = f"[{picture}](images/flow.svg)\n\n{said}.\n"
    return {
        page: head + begin + text + end + rest.partition(end)[2],
        folder / "images/flow.svg": draw(flow, tree),
    }


def is_current(path: Path, text: str) -> bool:
    """Whether a file has this text."""
    return path.is_file() and path.read_text(encoding="utf-8") == text


def report(flow: Flow, with_stops: bool) -> str:
    """The numbers, and what makes the way long."""
    lines = ["  ".join(f"{name} {number}" for name, number in flow.numbers().items())]
    lines += ["", f"rooms, in order: {' '.join(flow.rooms)}"]
    parts: dict[str, list[Any]] = {"stops": flow.stops} if with_stops else {}
    parts |= {"returns": flow.returns, "upcalls": flow.upcalls, "again": flow.again}
    for title, items in parts.items():
        lines += ["", f"{title}:", *(f"  {item}" for item in items)]
    return "\n".join(lines)


@click.command()
@click.option("--rooms", type=click.Choice(["auto", "packages", "modules"]), default="auto")
@click.option("--list", "with_stops", is_flag=True, help="Print all stops, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--write", type=click.Path(path_type=Path), help="Folder of architecture.md.")
@click.option("--check", type=click.Path(path_type=Path), help="The same; writes nothing.")
def main(
    rooms: str, with_stops: bool, as_json: bool, write: Path | None, check: Path | None
) -> None:
    """Count stops, rooms, climbs and returns of one scene on its way from file to file."""
    tree = Tree(Path(geodecloud.__path__[0]), rooms)
    flow = count(watch_run(tree), tree)
    if write:
        for path, text in write_pages(write, flow, tree).items():
            path.write_text(text, encoding="utf-8", newline="\n")
    if check:
        pages = write_pages(check, flow, tree)
        if old := [str(path) for path, text in pages.items() if not is_current(path, text)]:
            raise SystemExit(f"{', '.join(old)} show another flow than the code has: make flow")
    if as_json:
        click.echo(json.dumps(flow.numbers() | {"flow": dataclasses.asdict(flow)}))
    else:
        click.echo(report(flow, with_stops))


if __name__ == "__main__":
    main()
