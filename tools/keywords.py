"""Write geodecloud/keywords.py from geodecloud/options.py: the options as keywords, for editors.

::

    python tools/keywords.py            # writes the file
    python tools/keywords.py --check    # fails where it is out of date
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from geodecloud.options import FileOptions, Options

TARGET = Path(__file__).parents[1] / "geodecloud" / "keywords.py"
HEAD = '''"""The options as typed keywords, so that editors and type checkers know them.

Written from `geodecloud.options` by tools/keywords.py; do not edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from geodecloud.models.weights import Model
    from geodecloud.options import FileFormat, Scene
'''


def render() -> str:
    """The text of the module."""
    own = {one.name for one in dataclasses.fields(Options)}
    parts = [HEAD]
    for name, base, options in (
        ("OptionKeywords", "TypedDict", Options),
        ("FileKeywords", "OptionKeywords", FileOptions),
    ):
        fields = [
            one for one in dataclasses.fields(options) if options is Options or one.name not in own
        ]
        lines = "\n".join(f"    {one.name}: {_optional(str(one.type))}" for one in fields)
        parts.append(
            f'\n\nclass {name}({base}, total=False):\n    """Keywords of '
            f'`geodecloud.options.{options.__name__}`; None is as if not given."""\n\n{lines}\n'
        )
    return "".join(parts)


def _optional(kind: str) -> str:
    return kind if kind.endswith("| None") else f"{kind} | None"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != render())
    TARGET.write_text(render())
