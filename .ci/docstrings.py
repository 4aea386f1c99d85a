"""Lets mkdocstrings read our docstrings: ``name : what it is``, with the type in the signature.

numpydoc has a type after the colon, and what the thing is on the lines below. Ours have types as
annotations, and say after the colon what the thing is, with shape, unit and range.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

#: a heading with its line below it, and all up to the next heading or the end
_SECTION = re.compile(
    r"^((?:Parameters|Attributes)\n-+\n)(.*?)(?=^\S[^\n]*\n-+$|\Z)", re.DOTALL | re.MULTILINE
)
#: ``a, b : text``, with the lines that go on below it
_ENTRY = re.compile(r"^(\S+(?:, \S+)*) : (.*\n?(?:[ \t]+.*\n?)*)", re.MULTILINE)


class DescriptionsAfterTheColon(griffe.Extension):
    """Moves what stands after the colon to a line of its own; names that share it get one each."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of each module, class, function and attribute."""
        if obj.docstring:
            text = _SECTION.sub(_section, obj.docstring.value)
            # what follows is indented, and so is code in Markdown, too
            obj.docstring.value = re.sub(
                r"^::$", "", re.sub(r"(\S)::$", r"\1:", text, flags=re.M), flags=re.M
            )


def _section(found: re.Match[str]) -> str:
    return found[1] + _ENTRY.sub(_entries, found[2])


def _entries(found: re.Match[str]) -> str:
    text = found[2].rstrip("\n")
    return "".join(f"{name}\n    {text}\n" for name in found[1].split(", "))
