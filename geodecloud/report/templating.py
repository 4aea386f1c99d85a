"""Pages from templates: everything that comes from a scene is escaped, and nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, values: Mapping[str, Any]) -> str:
    """The text of a page; `values` are escaped wherever they stand in it.

    A page carries its style and script. It tells browsers to load nothing else and to run no other script,
    so that even text that got in unescaped could do nothing.
    """
    from markupsafe import Markup

    style, script = (_read(f"report.{kind}") for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    ours = {"style": Markup(style), "script": Markup(script), "script_hash": Markup(digest)}
    return _environment().get_template(template).render({**values, **ours})


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"count": _count, "percent": _percent, "area": _area, "value": _value}
    return environment


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _count(number: int) -> str:
    """A whole number in groups of three, parted by spaces that do not break."""
    return f"{number:,}".replace(",", "\u202f")


def _percent(share: float) -> str:
    """A share of 1 in percent; what is there is never told as nothing, and what is missing never as all."""
    if 0 < share < 5e-5:
        return "< 0.01\u00a0%"
    if 1 - 5e-5 < share < 1:
        return "> 99.99\u00a0%"
    return f"{100 * share:.2f}\u00a0%"


def _area(km2: float) -> str:
    return f"{km2:,.2f}".replace(",", "\u202f") if km2 < 100 else _count(round(km2))


def _value(number: float) -> str:
    """A reflectance to four digits after the point, a DN to one."""
    return f"{number:.4f}" if abs(number) < 10 else f"{number:.1f}"
