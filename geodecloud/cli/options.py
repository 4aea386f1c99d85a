"""Options that several commands share, and the types they are given in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from geodecloud.raster.staging import FileFormat


class PixelsOrAuto(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """A whole number, or the word auto."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn the text into "auto" or an int."""
        if value == "auto" or isinstance(value, int):
            return value
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither 'auto' nor a whole number", param, ctx)


class DnOffset(click.ParamType):  # type: ignore[type-arg]
    """The words auto or none, or a number of DN."""

    name = "auto|none|DN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn the text into "auto", "none" or a float."""
        if value in ("auto", "none") or isinstance(value, float):
            return value
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither 'auto', 'none' nor a number", param, ctx)


def _bands(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    from geodecloud.scene.bands import parse_band_list

    return None if value is None else tuple(parse_band_list(value))


#: What is asked of a Sentinel-2 product.
_PRODUCT_OPTIONS = [
    click.option(
        "--resolution",
        type=click.Choice(["10", "20", "60"]),
        callback=lambda ctx, param, value: None if value is None else int(value),
        help="Pixel size of a Sentinel-2 product, m.  [default: its finest]",
    ),
    click.option(
        "--s2-offset",
        default="auto",
        show_default=True,
        type=DnOffset(),
        help="DN offset of a Sentinel-2 product: auto (its XML), none, or -1000.",
    ),
]

#: Those of `geodecloud.options.Options` have no default here: one that is not given is that of
#: `geodecloud.config`.
_SCENE_OPTIONS = [
    click.option(
        "--model",
        show_default="auto",
        help="Shipped name, identity, or .safetensors file.",
    ),
    click.option("--bands", callback=_bands, help="Bands for the model: B02,B03,B04,B08 or 3,2,1."),
    *_PRODUCT_OPTIONS,
    click.option("--scale", type=float, help="reflectance = DN * SCALE + OFFSET."),
    click.option("--offset", type=float, help="See --scale."),
    click.option(
        "--mask",
        show_default="auto",
        help="Where pixels may change: auto, none, scl, s2cloudless or a raster.",
    ),
    click.option(
        "--strict",
        is_flag=True,
        default=None,
        help="Never write a pixel whose ground was not visible.",
    ),
    click.option(
        "--aoi", type=click.Path(), help="Vector file; outside nothing changes or is computed."
    ),
    click.option(
        "--window",
        show_default="auto",
        type=PixelsOrAuto(),
        help="Side of a window, px.",
    ),
    click.option(
        "--halo",
        show_default="auto",
        type=PixelsOrAuto(),
        help="Context around a window, px.",
    ),
    click.option(
        "--batch-size",
        show_default="auto",
        type=PixelsOrAuto(),
        help="Windows in one call.",
    ),
    click.option("--device", show_default="auto", help="auto, cpu, cuda, cuda:N or mps."),
    click.option(
        "--precision",
        show_default="auto",
        type=click.Choice(["auto", "fp32", "fp16", "bf16"]),
    ),
    click.option(
        "--backend",
        show_default="auto",
        type=click.Choice(["auto", "torch", "openvino"]),
        help="What runs the network.",
    ),
    click.option("--workers", type=click.IntRange(1), help="Threads.  [default: one per core]"),
    click.option(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="Dask scheduler to compute on.  [default: threads]",
    ),
    click.option("--max-memory", metavar="4GB", help="Fewer workers and smaller windows, to fit."),
    click.option(
        "--format",
        "format_name",
        default="cog",
        show_default=True,
        type=click.Choice(["cog", "gtiff"]),
    ),
    click.option(
        "--co", "creation_options", multiple=True, metavar="KEY=VALUE", help="GDAL creation option."
    ),
    click.option(
        "--layout",
        default="stack",
        show_default=True,
        type=click.Choice(["stack", "bands"]),
        help="One file of all bands, or a folder with one per band.",
    ),
    click.option(
        "--stac/--no-stac",
        default=None,
        help="Write a STAC Item beside the result.  [default: of Sentinel-2 products]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace files that exist."),
]


def scene_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says how clouds are removed and how files are written."""
    for option in reversed(_SCENE_OPTIONS):
        command = option(command)
    return command


def product_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says how a Sentinel-2 product is read."""
    for option in reversed(_PRODUCT_OPTIONS):
        command = option(command)
    return command


def verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add -q and -v to a command."""
    command = click.option("-v", "--verbose", count=True, help="More log; -vv for all.")(command)
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")(command)


def file_format(name: str, creation_options: tuple[str, ...], overwrite: bool) -> FileFormat:
    """How files are to be written."""
    from geodecloud.raster.staging import FileFormat

    return FileFormat(name, parse_creation_options(creation_options), overwrite)


def parse_creation_options(pairs: tuple[str, ...]) -> dict[str, str]:
    """Turn ``("COMPRESS=ZSTD", "LEVEL=1")`` into a dict."""
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--co")
        options[key] = value
    return options
