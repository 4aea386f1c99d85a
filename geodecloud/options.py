"""The options of all doors, each defined once: command line, Python functions, accessor.

`Options` says how clouds are removed and holds for every door. `FileOptions` adds how a file is read
and written; it holds for the command line, `geodecloud.decloud_scene` and `geodecloud.decloud_folder`.
A field is the whole definition of an option: name, type, default, and in its `About` the help, the
values and the form on the command line. `geodecloud.cli.options` makes flags of the fields, and
`geodecloud.keywords` is written from them for editors and type checkers.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from geodecloud.errors import OptionError

if TYPE_CHECKING:
    import xarray as xr

    from geodecloud.models.weights import Model

    Scene = xr.DataArray | xr.Dataset

#: Masks that are asked for by a word; anything else is a path.
MASK_WORDS = ("auto", "none", "scl", "s2cloudless")


@dataclass(frozen=True)
class About:
    """What people are told of an option, and what it may be.

    Attributes
    ----------
    help : one line
    values : the words it takes; empty: anything of its type
    least : smallest number it takes
    auto : whether it is a whole number or the word "auto"
    metavar : its value on the command line; None: by its type
    flag : its name on the command line; None: by its own name
    changes_result : False where it only says how or where the work is done
    """

    help: str
    values: tuple[Any, ...] = ()
    least: int | None = None
    auto: bool = False
    metavar: str | None = None
    flag: str | None = None
    changes_result: bool = True


def _option(default: Any, help: str, **about: Any) -> Any:
    return field(default=default, metadata={"about": About(help, **about)})


@dataclass(frozen=True)
class Options:
    """How clouds are removed.

    Attributes
    ----------
    model : a shipped model's name, "identity", a .safetensors file, a loaded Model, or "auto":
        chosen from the names of the bands
    bands : bands for the model, by description or 1-based index, in the model's order;
        None: found by name
    scale, offset : reflectance = DN * scale + offset; each wins over what the scene says
    radiometry : scale and offset by a name, such as "landsat-c2-l2", see
        `geodecloud.scene.reflectance.KNOWN`; `scale` and `offset` win over it
    nodata : number that stands for no data, where the scene does not say so, or says it wrong; "none": all
        its numbers are measurements
    mask : where pixels may change. "auto": where the model sees cloud, or the scene
        classification of a Sentinel-2 level 2A product; "scl": the latter alone, or a band of the scene
        that is called SCL; "none": every
        valid pixel; "s2cloudless": where that classifier sees cloud in a level 1C scene; a path:
        raster, non-zero = cloud
    strict : never write a pixel whose ground was not visible in the scene itself
    references : other dates of the same ground, from which holes are filled: paths of files and products
        (files only), or arrays; "time": each date of a stack from the others
    synthesis : False: what no other date shows stays as it was
    sun_azimuth : degrees clockwise from the top of the image, where the sun stood; None: what the scene says of it (a
        product, or a tag SUN_AZIMUTH). Away from it clouds throw their shadows
    aoi : vector file; pixels outside stay as they are and are not computed
    window : wished side of a window, px; "auto": what the backend likes (docs/performance.md)
    halo : context around a window, px; "auto": what the model needs
    batch_size : windows in one call of the network, or "auto"
    device : "auto", "cpu", "cuda", "cuda:N" or "mps"
    precision : "auto", "fp32", "fp16" or "bf16"
    backend : "auto", "torch" or "openvino"
    workers : threads; None: one per core. A cluster has its own
    scheduler : "threads", or the address of a Dask scheduler such as "tcp://10.0.0.1:8786". None:
        a `distributed.Client` active in this process, and threads where there is none
    max_memory : the most a run on a file may take, such as "4GB"; workers, chunks and windows
        are made fewer and smaller to fit. None: no limit

    Raises
    ------
    OptionError
        If a value makes no sense.
    """

    model: str | Path | Model = _option("auto", "Shipped name, identity, or .safetensors file.")
    bands: Sequence[str] | None = _option(
        None, "Bands for the model: B02,B03,B04,B08 or 3,2,1.", metavar="LIST"
    )
    scale: float | None = _option(None, "reflectance = DN * SCALE + OFFSET.")
    offset: float | None = _option(None, "See --scale.")
    radiometry: str | None = _option(
        None,
        "Scale and offset by name, where the file does not say so.",
        values=("s2-l2a", "s2-l2a-0400", "landsat-c2-l2", "hls", "reflectance", "percent"),
    )
    nodata: float | str | None = _option(
        None, "Number that stands for no data, where the file does not say so; or none."
    )
    mask: str | Path = _option(
        "auto", "Where pixels may change: auto, none, scl, s2cloudless or a raster."
    )
    strict: bool = _option(False, "Never write a pixel whose ground was not visible.")
    references: Sequence[str | Path | Scene] | str | None = _option(
        None,
        "Another date of the same ground, to fill holes from; may be given more than once.",
        metavar="PATH",
        flag="--reference",
    )
    synthesis: bool = _option(
        True, "Other dates may fill holes; what no date shows stays as it was."
    )
    sun_azimuth: float | None = _option(
        None,
        "Degrees clockwise from the top, where the scene does not say so: shadows lie away from it.",
    )
    aoi: str | Path | None = _option(None, "Vector file; outside nothing changes or is computed.")
    window: int | str = _option("auto", "Side of a window, px.", auto=True)
    halo: int | str = _option("auto", "Context around a window, px.", auto=True)
    batch_size: int | str = _option("auto", "Windows in one call.", auto=True, least=1)
    device: str = _option("auto", "auto, cpu, cuda, cuda:N or mps.")
    precision: str = _option("auto", "Of the network.", values=("auto", "fp32", "fp16", "bf16"))
    backend: str = _option("auto", "What runs the network.", values=("auto", "torch", "openvino"))
    workers: int | None = _option(
        None, "Threads.  [default: one per core]", least=1, changes_result=False
    )
    scheduler: str | None = _option(
        None,
        "Dask scheduler to compute on.  [default: threads]",
        metavar="tcp://HOST:PORT",
        changes_result=False,
    )
    max_memory: str | None = _option(
        None, "Fewer workers and smaller windows, to fit.", metavar="4GB", changes_result=False
    )

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            _check(one.name, getattr(self, one.name), one.metadata["about"], one.default)
        if not (isinstance(self.model, str | Path) or hasattr(self.model, "model_ref")):
            raise OptionError(f"model is a name, a path or a loaded Model, not {self.model!r}")
        if isinstance(self.model, Path):
            object.__setattr__(self, "model", str(self.model))
        if not isinstance(self.mask, str | Path):
            raise OptionError(f"mask is 'auto', 'none' or a path, not a {type(self.mask).__name__}")
        if self.sun_azimuth is not None and not math.isfinite(self.sun_azimuth):
            raise OptionError(f"sun_azimuth is an angle in degrees, not {self.sun_azimuth!r}")
        if self.nodata is not None and self.nodata != "none" and not _is_number(self.nodata):
            raise OptionError(f"nodata is a number or 'none', not {self.nodata!r}")
        if isinstance(self.bands, str):
            raise OptionError(
                f"bands is a sequence of names or indexes, not the text {self.bands!r}"
            )
        if self.bands is not None:
            object.__setattr__(self, "bands", tuple(str(band) for band in self.bands))

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> Self:
        """Make options from keywords, and the defaults of `geodecloud.config` where there is none.

        None stands for an option that is not given. An unknown one is an error that names its
        neighbour.

        Raises
        ------
        OptionError
            If a keyword is unknown or a value makes no sense.
        """
        given = {name: value for name, value in keywords.items() if value is not None}
        chosen = {**configured(), **given}
        known = list(about(cls))
        for name in {**keywords, **chosen}:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
                raise OptionError(f"there is no option {name!r}{hint}")
        return cls(**chosen)

    @property
    def model_path(self) -> str | None:
        """The model as it was named; None where a loaded one was given."""
        return self.model if isinstance(self.model, str) else None

    def parameters(self) -> dict[str, Any]:
        """The options that the result depends on, as plain values, for tags and fingerprints."""
        found = {
            name: getattr(self, name)
            for name, what in about(type(self)).items()
            if what.changes_result
        }
        if isinstance(self.references, Sequence) and not isinstance(self.references, str):
            found["references"] = [
                str(r) if isinstance(r, str | Path) else "an array" for r in self.references
            ]
        return found | {"model": getattr(self.model, "model_ref", self.model)}


@dataclass(frozen=True)
class FileFormat:
    """How a raster is written: ``"cog"`` or ``"gtiff"``, and GDAL creation options."""

    name: str = "cog"
    creation_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in ("cog", "gtiff"):
            raise OptionError(f"format {self.name!r} is unknown; use cog or gtiff")

    @classmethod
    def of(cls, format: str | FileFormat | None) -> FileFormat:
        """The format itself, or that of a name; None: the default."""
        return format if isinstance(format, FileFormat) else cls(format or "cog")


@dataclass(frozen=True)
class FileOptions(Options):
    """How clouds are removed, and how files are read and written.

    Attributes
    ----------
    resolution : of a Sentinel-2 product, 10, 20 or 60 m; None: the finest it holds
    s2_offset : of a product, "auto": as its metadata says; "none"; or in DN, such as -1000
    format : "cog", "gtiff", or a `FileFormat` with GDAL creation options
    layout : "stack": one file of all bands; "bands": the target is a folder with a file per band
    stac : write a STAC Item beside the result; None: for Sentinel-2 products
    self_check : tell what errors to expect, see `geodecloud.self_check.check.check_scene`
    overwrite : replace files that exist
    resume : keep what is finished of a run that is killed, and go on from there when the same is done again; None:
        for scenes that take long, those above 20 million pixels
    """

    resolution: int | None = _option(
        None, "Pixel size of a Sentinel-2 product, m.  [default: its finest]", values=(10, 20, 60)
    )
    s2_offset: str | float = _option(
        "auto", "DN offset of a Sentinel-2 product: auto (its XML), none, or -1000."
    )
    format: str | FileFormat = _option(
        "cog", "Kind of file.", values=("cog", "gtiff"), changes_result=False
    )
    layout: str = _option(
        "stack",
        "One file of all bands, or a folder with one per band.",
        values=("stack", "bands"),
        changes_result=False,
    )
    stac: bool | None = _option(
        None,
        "Write a STAC Item beside the result.  [default: of Sentinel-2 products]",
        changes_result=False,
    )
    self_check: bool = _option(
        False,
        "Tell the errors to expect: the scene's own clouds over its own clear ground.",
        changes_result=False,
    )
    overwrite: bool = _option(False, "Replace files that exist.", changes_result=False)
    resume: bool | None = _option(
        None,
        "Go on where the same run was killed.  [default: scenes above 20 MPix]",
        changes_result=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.s2_offset, str) and self.s2_offset not in ("auto", "none"):
            raise OptionError(
                f"s2_offset is 'auto', 'none' or a number of DN such as -1000, not {self.s2_offset!r}"
            )

    @property
    def file_format(self) -> FileFormat:
        """The format with its creation options."""
        return FileFormat.of(self.format)


def about(options: type[Options]) -> dict[str, About]:
    """What people are told of each option, by name."""
    return {one.name: one.metadata["about"] for one in dataclasses.fields(options)}


def configured() -> dict[str, Any]:
    """The defaults set in Dask's configuration, see `geodecloud.config`."""
    import dask

    found = dask.config.get("geodecloud", {})
    return {name.replace("-", "_"): value for name, value in found.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(name: str, value: Any, about: About, default: Any) -> None:
    """Hold a value against what its option says of itself."""
    if value is None and default is None:
        return
    if about.auto and value == "auto":
        return
    if about.auto and (not isinstance(value, int) or isinstance(value, bool)):
        raise OptionError(f"{name} is 'auto' or a number of px, not {value!r}")
    if about.least is not None and not isinstance(value, int):
        raise OptionError(f"{name} is a whole number, not {value!r}")
    if about.least is not None and value < about.least:
        word = "'auto' or " if about.auto else ""
        raise OptionError(f"{name} is {word}at least {about.least}, not {value!r}")
    if isinstance(default, str) and name in ("device", "precision", "backend"):
        if not isinstance(value, str):
            raise OptionError(f"{name} is a word such as 'auto', not {value!r}")
        return  # the backends say which device and precision there are
    if isinstance(default, bool) and not isinstance(value, bool):
        raise OptionError(f"{name} is True or False, not {value!r}")
    if about.values and value not in about.values and not isinstance(value, FileFormat):
        known = ", ".join(str(v) for v in about.values)
        raise OptionError(f"{name} {value!r} is unknown; use one of {known}")
