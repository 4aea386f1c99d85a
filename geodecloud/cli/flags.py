"""What the options of Python are called on the command line.

Messages of the package are written for Python: ``scale=0.0001, offset=0``. The command line shows
them as what its users type: ``--scale 0.0001 --offset 0``.
"""

from __future__ import annotations

import dataclasses
import re
import shlex

from geodecloud.options import Options

#: Arguments of functions on files that are options of the command line, besides `Options`.
_MORE = (
    "resolution",
    "s2_offset",
    "layout",
    "stac",
    "overwrite",
    "provenance",
    "cloud_map",
    "reference",
    "references",
    "source_date",
    "confidence",
    "quicklook",
)
_NAME = "|".join((*(field.name for field in dataclasses.fields(Options)), *_MORE))
_VALUE = r"""\[[^\]]*\]|"[^"]*"|'[^']*'|[-+]?\w+(?:[-.:/]\w+)*"""
#: Not what stands in an address: ``https://host/x.tif?mask=1``.
_OPTION = rf"(?<![\w?&/.])(?:{_NAME})=(?:{_VALUE})"
_OPTIONS = re.compile(rf"{_OPTION}(?:, {_OPTION})*")
_ONE = re.compile(rf"(?P<name>{_NAME})=(?P<value>{_VALUE})")
#: What moves a terminal's cursor, colours it, or turns the direction of what follows; names in files may hold it.
#: Halves of pairs are no text, and cannot be printed.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
#: More of a line than anybody reads; libraries quote what they cannot read, however long it is.
_LONG = re.compile(r"(.{4000}).+")
_FOLDER = re.compile(r"""geodecloud\.decloud_folder\((?P<folder>"[^"]*"), (?P<out>"[^"]*")\)""")


def in_flags(text: str) -> str:
    """A message with its options as the command line has them.

    >>> in_flags('give scale=0.0001, offset=-0.1, or mask="none"')
    'give --scale 0.0001 --offset -0.1, or --mask none'
    """
    text = shown(_FOLDER.sub(_command, text))
    return _OPTIONS.sub(lambda found: _ONE.sub(_flag, found[0]).replace(", --", " --"), text)


def shown(text: str) -> str:
    r"""A text that does nothing to a terminal but stand in it, in lines that end.

    >>> shown("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    text = _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return _LONG.sub(lambda found: f"{found[1]}…", text)


def _flag(found: re.Match[str]) -> str:
    name, value = found["name"].replace("_", "-"), found["value"]
    if value in ("True", "False"):
        return f"--{'' if value == 'True' else 'no-'}{name}"
    items = [_unquoted(item.strip()) for item in value.strip("[]").split(",")]
    return f"--{name} {shlex.quote(','.join(items))}"


def _command(found: re.Match[str]) -> str:
    folder, out = (shlex.quote(_unquoted(found[name])) for name in ("folder", "out"))
    return f"geodecloud batch {folder} --out-dir {out}"


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] in ("'", '"') else text
