"""Flags of the commands, made from the fields of `geodecloud.options`, and the types they are given in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import click

from geodecloud.options import About, FileFormat, FileOptions

Command = Callable[..., Any]


class WordOrNumber(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """One of some words, or a number."""

    def __init__(self, words: tuple[str, ...], number: type[int] | type[float], unit: str) -> None:
        self.words, self.number = words, number
        self.name = "|".join((*words, unit))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn the text into a word or a number."""
        if value in self.words or isinstance(value, int | float):
            return value
        try:
            return self.number(value)
        except ValueError:
            words = ", ".join(repr(word) for word in self.words)
            kind = "whole number" if self.number is int else "number"
            self.fail(f"{value!r} is neither {words} nor a {kind}", param, ctx)


class BandList(click.ParamType):  # type: ignore[type-arg]
    """``B02,B03,B04`` or ``3,2,1``."""

    name = "LIST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn the text into a tuple of names or indexes."""
        from geodecloud.scene.bands import parse_band_list

        return tuple(parse_band_list(value)) if isinstance(value, str) else value


#: Types of options that their values do not tell.
_TYPES: dict[str, Any] = {
    "bands": BandList(),
    "s2_offset": WordOrNumber(("auto", "none"), float, "DN"),
    "nodata": WordOrNumber(("none",), float, "VALUE"),
    "scale": float,
    "offset": float,
    "sun_azimuth": float,
}


def _flag(field: dataclasses.Field[Any]) -> Callable[[Command], Command]:
    """The click option of a field.

    None has a default here: an option that is not given is that of `geodecloud.config`.
    """
    about: About = field.metadata["about"]
    name = about.flag or "--" + field.name.replace("_", "-")
    said: dict[str, Any] = {"help": about.help, "default": None}
    if field.default is True:
        off = f"--no-{name[2:]}"
        return click.option(off, field.name, is_flag=True, flag_value=False, **said)
    if field.default is False:
        return click.option(name, field.name, is_flag=True, **said)
    if field.name == "references":
        del said["default"]
        return click.option(
            name, field.name, multiple=True, callback=_none_if_empty, metavar=about.metavar, **said
        )
    if str(field.type).startswith("bool"):
        return click.option(f"{name}/--no-{name[2:]}", field.name, **said)
    if isinstance(field.default, str):
        said["show_default"] = field.default
    if about.auto:
        said["type"] = WordOrNumber(("auto",), int, "N")
    elif field.name in _TYPES:
        said["type"] = _TYPES[field.name]
    elif about.values:
        number = isinstance(about.values[0], int)
        said["type"] = click.Choice([str(value) for value in about.values])
        said["callback"] = _to_int if number else None
    elif about.least is not None:
        said["type"] = click.IntRange(about.least)
    if about.metavar is not None:
        said["metavar"] = about.metavar
    return click.option(name, field.name, **said)


def _none_if_empty(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    return value or None


def _to_int(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    return None if value is None else int(value)


def scene_options(command: Command, without: tuple[str, ...] = ()) -> Command:
    """Add all of `geodecloud.options.FileOptions` but for some, and ``--co``."""
    command = click.option(
        "--co", "creation_options", multiple=True, metavar="KEY=VALUE", help="GDAL creation option."
    )(command)
    for field in reversed(dataclasses.fields(FileOptions)):
        command = command if field.name in without else _flag(field)(command)
    return command


def batch_options(command: Command) -> Command:
    """Those of a scene, but for the references of one."""
    return scene_options(command, without=("references",))


def verbosity(command: Command) -> Command:
    """Add -q and -v to a command."""
    command = click.option("-v", "--verbose", count=True, help="More log; -vv for all.")(command)
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")(command)


def with_format(options: dict[str, Any], creation_options: tuple[str, ...]) -> dict[str, Any]:
    """The options with their format and GDAL's creation options made one."""
    pairs = parse_creation_options(creation_options)
    return options | {"format": FileFormat(options.get("format") or "cog", pairs)}


def parse_creation_options(pairs: tuple[str, ...]) -> Mapping[str, str]:
    """Turn ``("COMPRESS=ZSTD", "LEVEL=1")`` into a dict."""
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--co")
        options[key] = value
    return options
