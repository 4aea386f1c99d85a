"""The walk of a scene through the rooms: counted as its definition says, drawn as it is now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import flow

    return flow


def test_a_walk_counted_by_hand(flow: ModuleType) -> None:
    heights = {"cli": 3, "story": 2, "models": 1, "raster": 0}
    tree = SimpleNamespace(room=lambda module: module.split(".")[0], height=heights.get)
    calls = [
        ("cli.commands", "run", "story", "decloud"),  # stop 1, down
        ("story", "decloud", "raster.reader", "open"),  # stop 2, down
        ("raster.reader", "open", "raster.lazy", "window"),  # the same room: no stop
        ("story", "decloud", "models.catalogue", "choose"),  # stop 3, a climb
        ("story", "decloud", "models.weights", "load"),  # stop 4, stays in the room
        ("story", "decloud", "raster.writer", "write"),  # stop 5, a return
        ("story", "decloud", "raster.writer", "write"),  # the same call: nothing
        ("cli.commands", "run", "raster.writer", "write"),  # read before: again
        ("raster.writer", "write", "models.weights", "release"),  # stop 6, climb, return, upcall
    ]
    walk = flow.count([flow.Call(*call) for call in calls], tree)
    expected = {"stops": 6, "rooms": 4, "climbs": 2, "returns": 2, "upcalls": 1, "again": 1}
    assert walk.numbers() == expected
    assert walk.rooms == ["cli", "story", "raster", "models"]
    assert [stop.call.function for stop in walk.returns] == ["write", "release"]


def test_the_walk_stays_short() -> None:
    """By the numbers on the page, which the test below holds against the code."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    said = re.search(r"(\d+) stops, (\d+) rooms, \d+ climbs, (\d+) returns", page)
    assert said is not None
    assert all(int(n) <= most for n, most in zip(said.groups(), (40, 16, 12), strict=True))


def test_the_picture_shows_the_code() -> None:
    pytest.importorskip("openvino")
    command = [sys.executable, str(BENCHMARKS / "flow.py"), "--check", "docs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
