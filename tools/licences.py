"""Write docs/licences.md: the licences of all that geodecloud needs to run.

::

    python tools/licences.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dependencies import EXTRAS, PROJECT, Package, packages

PAGE = PROJECT / "docs" / "licences.md"
HEAD = """# Licences of what it needs

geodecloud has the MIT licence; each of its models says on its card, with `geodecloud models show NAME`, what it was trained on and
what one may do with it. These {count} packages are installed with it, by themselves or through others; those
of an extra only where you ask for it ({extras}).

This page is written by `tools/licences.py` from the metadata of the versions in `constraints.txt`, and a test holds it to them. What a
package's binary files contain of others, such as GDAL in rasterio's, its own notices say. `make sbom` writes the same as a bill of
materials in the form of CycloneDX.
"""


def draw(found: Sequence[Package]) -> str:
    """The page in Markdown."""
    extras = ", ".join(f"`{extra}`" for extra in EXTRAS)
    rows = [f"| {p.name} | {p.licence.replace('|', '/')} | {', '.join(p.extras)} |" for p in found]
    counts = Counter(package.licence for package in found)
    kinds = ", ".join(f"{licence} {count}" for licence, count in counts.most_common())
    parts = [HEAD.format(count=len(found), extras=extras), f"Of these: {kinds}.\n"]
    parts += ["| package | licence | only with |", "|---|---|---|", *rows]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(draw(packages()), encoding="utf-8")
