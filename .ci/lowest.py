"""Print a constraints file of the lowest versions that pyproject.toml allows, one `name==bound` a line.

::

    python .ci/lowest.py > build/lowest.txt

`make test-min` installs these and runs the tests: a bound that is too low is seen there.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
#: tools that look at the code and at its text; no user ever runs them
NOT_AT_RUN_TIME = ("dev", "docs", "mutation")


def lowest(project: dict[str, object]) -> list[str]:
    """Turn each ``name[extras]>=bound`` of the package and its extras into ``name==bound``."""
    extras = project["optional-dependencies"]
    lines = list(project["dependencies"])
    lines += [
        line for name, wants in extras.items() if name not in NOT_AT_RUN_TIME for line in wants
    ]
    pins = set()
    for line in lines:
        name, bound = re.fullmatch(r"([\w-]+)(?:\[[\w,-]+\])?(?:>=([\w.]+))?.*", line).groups()
        if bound is not None:
            pins.add(f"{name}=={bound}")
        elif name != project["name"]:
            raise SystemExit(f"{PYPROJECT.name}: {line!r} has no lower bound")
    return sorted(pins)


if __name__ == "__main__":
    print("\n".join(lowest(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"])))
