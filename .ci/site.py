"""What mkdocs.yml needs beyond the pages in docs/: the pages that stand outside it.

README.md becomes the home page; CHANGELOG.md, CONTRIBUTING.md and SECURITY.md, the scripts of examples/ on one page, and
all modules on another, are added. Links between them are turned into links within the site.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand outside docs/, and the scripts that pages link to."""
    for source, page in PAGES.items():
        text = _links((ROOT / source).read_text(encoding="utf-8"), "")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "examples.md", content=_examples()))
    files.append(File.generated(config, "modules.md", content=_modules()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that lead out of docs/ into links within the site."""
    return markdown if page.file.src_uri in PAGES.values() else _links(markdown, "docs")


def _links(text: str, folder: str) -> str:
    """Relative links, as seen from `folder` of the repository, as seen from the pages of the site."""

    def turn(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        if "://" in target:
            return found[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path.split("/")[0] == "examples":
            return f"](examples.md#{posixpath.basename(path).replace('.', '').lower()})"
        return f"]({PAGES.get(path, posixpath.relpath(path, 'docs'))}{anchor})"

    return re.sub(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", turn, text)


def _examples() -> str:
    """Each script with what it says of itself, and its code below that."""
    parts = ["# Examples\n\nThey lie in `examples/`, and the tests run them.\n"]
    for script in sorted((ROOT / "examples").glob("*.py")):
        text = script.read_text(encoding="utf-8")
        first = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        parts.append(f"## {script.name}\n\n{first}\n\n```python\n{text}```\n")
    return "\n".join(parts)


def _modules() -> str:
    """A heading and a line for mkdocstrings for each module, by the folder it lies in."""
    package = ROOT / "geodecloud"
    parts = [
        "# Modules\n\nFor those who work on the package; its users need [the reference](api.md) only.\n"
    ]
    for folder in [package, *sorted(path.parent for path in package.glob("*/__init__.py"))]:
        parts.append(f"## {folder.relative_to(ROOT).as_posix().replace('/', '.')}\n")
        for path in sorted(folder.glob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if path.stem not in ("_version", "__main__") and name != "geodecloud":
                parts.append(f"::: {name}\n")
    return "\n".join(parts)
