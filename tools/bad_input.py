"""Write docs/bad-input.md from the table of tests/cli/bad_input.py.

::

    python tools/bad_input.py            # writes the page
    python tools/bad_input.py --check    # fails where it is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "bad-input.md"
HEAD = """# What cannot work, and what you are told

Each line is an input that cannot work, the command, what it says on stderr after `Error:` (… stands for what differs), and its exit code:
1 where the data are at fault, 2 where the command is. None of them leaves a file, changes one that was there, or ends in a
traceback. In a batch a scene that cannot be read costs no other scene.

This page is written by `tools/bad_input.py` from `tests/cli/bad_input.py`, and each of its {count} lines is a test. Commands run in a folder
with `scene.tif`: four bands of Sentinel-2, named, uint16. `DATA` is the folder of real files
([CONTRIBUTING](../CONTRIBUTING.md)); without it those lines are not run.

What happens when a run is killed, its disk is full or its source changes meanwhile: [reliability](reliability.md).
"""


def draw(table: Mapping[str, Sequence[Any]]) -> str:
    """The page in Markdown."""
    parts = [HEAD.format(count=sum(map(len, table.values())))]
    for section, rows in table.items():
        parts += [
            f"\n## {section}\n",
            "| what is wrong | `geodecloud` … | message | exit |",
            "|---|---|---|---|",
        ]
        parts += [
            f"| {row.what} | {_code(row.words)} | {_cell(row.message)} | {row.code} |"
            for row in rows
        ]
    return "\n".join(parts) + "\n"


def _code(words: str) -> str:
    return f"`{words.replace('|', chr(92) + '|')}`"


def _cell(message: str) -> str:
    """Text as it stands in a table: nothing in it is Markdown."""
    for sign in ("\\", "|", "*", "_", "[", "<", "`"):
        message = message.replace(sign, f"\\{sign}")
    return message


def main() -> int:
    """Write or check the page."""
    for folder in ("tests", "tests/cli"):
        sys.path.insert(0, str(PROJECT / folder))
    from bad_input import TABLE

    page = draw(TABLE)
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != page)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
