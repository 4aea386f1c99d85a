"""Write requirements.txt: what constraints.txt pins, with the sha256 of every file that the index has of it.

::

    make hashes          # needs uv, in an environment of its own

pip takes hashes only where each requirement has one, so this is a list of its own beside constraints.txt.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PINS, TARGET = PROJECT / "constraints.txt", PROJECT / "requirements.txt"
HEAD = """\
# What constraints.txt pins, with the sha256 of every file that the index has of it; written by: make hashes
#
#     pip install --require-hashes --no-deps -r requirements.txt
#     pip install --no-deps .
#
# The versions are those of Python 3.11 on Linux with torch for CPUs: other Pythons and systems may need packages
# besides, and builds of torch for CUDA do. hatchling, which builds the last line, has no hash here: a wheel needs none.
"""
#: Builds that another index has: torch 2.13.0+cpu for CPython 3.11 on Linux, x86_64.
MORE = {"torch==2.13.0": ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)}
#: The lowest Python that all pinned versions take.
_PYTHON = "3.11.5"


def lock(uv: str) -> str:
    """The list as uv resolves it, for all platforms."""
    words = ["--no-deps", "--generate-hashes", "--universal", "--python-version", _PYTHON]
    words += ["--no-header", "--no-annotate", "--no-emit-index-url", "--quiet"]
    command = [uv, "pip", "compile", str(PINS), *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return HEAD + "\n".join(_with_more(done.stdout.splitlines())) + "\n"


def _with_more(lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield line
        for digest in MORE.get(line.removesuffix(" \\"), ()):
            yield f"    --hash=sha256:{digest} \\"


if __name__ == "__main__":
    TARGET.write_text(lock(*sys.argv[1:]), encoding="utf-8")
