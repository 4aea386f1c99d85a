"""The options all three doors share: command line, Python functions, accessor."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geodecloud.errors import OptionError

#: Masks that are asked for by a word; anything else is a path.
MASK_WORDS = ("auto", "none", "scl", "s2cloudless")
#: Options that have no influence on the pixels and so no place in the tags.
NOT_THE_RESULT = {"workers", "max_memory", "scheduler"}


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
    mask : where pixels may change. "auto": where the model sees cloud, or the scene
        classification of a Sentinel-2 level 2A product; "scl": the latter alone; "none": every
        valid pixel; "s2cloudless": where that classifier sees cloud in a level 1C scene; a path:
        raster, non-zero = cloud
    strict : never write a pixel whose ground was not visible
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
    """

    model: str = "auto"
    bands: tuple[str, ...] | None = None
    scale: float | None = None
    offset: float | None = None
    mask: str | Path = "auto"
    strict: bool = False
    aoi: str | Path | None = None
    window: int | str = "auto"
    halo: int | str = "auto"
    batch_size: int | str = "auto"
    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    workers: int | None = None
    scheduler: str | None = None
    max_memory: str | None = None

    def __post_init__(self) -> None:
        if hasattr(self.model, "source"):  # a loaded Model: workers load it by its name or path
            object.__setattr__(self, "model", self.model.source)
        if not isinstance(self.model, str | Path):
            raise OptionError(f"model is a name, a path or a loaded Model, not {self.model!r}")
        object.__setattr__(self, "model", str(self.model))
        if not isinstance(self.mask, str | Path):
            raise OptionError(f"mask is 'auto', 'none' or a path, not a {type(self.mask).__name__}")
        for name in ("device", "precision", "backend"):
            if not isinstance(getattr(self, name), str):
                raise OptionError(f"{name} is a word such as 'auto', not {getattr(self, name)!r}")
        if self.window != "auto" and not isinstance(self.window, int):
            raise OptionError(f"window is 'auto' or a number of px, not {self.window!r}")
        if not isinstance(self.workers, int | None):
            raise OptionError(f"workers is a whole number, not {self.workers!r}")
        if isinstance(self.bands, str):
            raise OptionError(
                f"bands is a sequence of names or indexes, not the text {self.bands!r}"
            )
        if self.bands is not None:
            object.__setattr__(self, "bands", tuple(str(band) for band in self.bands))
        if self.halo != "auto" and not isinstance(self.halo, int):
            raise OptionError(f"halo is 'auto' or a number of px, not {self.halo!r}")
        if self.batch_size != "auto" and not (
            isinstance(self.batch_size, int) and self.batch_size > 0
        ):
            raise OptionError(f"batch_size is 'auto' or at least 1, not {self.batch_size!r}")
        if self.workers is not None and self.workers < 1:
            raise OptionError(f"workers is at least 1, not {self.workers}")

    def window_px(self, otherwise: int) -> int:
        """Side of a window asked for, or what is to be where it is "auto"."""
        return otherwise if self.window == "auto" else int(self.window)

    @classmethod
    def of(cls, options: dict[str, Any]) -> Options:
        """Make options from keywords, and the defaults of `geodecloud.config` where there is none.

        An unknown one is an error that names its neighbour.

        Raises
        ------
        OptionError
            If a keyword is unknown or a value makes no sense.
        """
        given = {name: value for name, value in options.items() if value is not None}
        chosen = {**configured(), **given}
        known = [f.name for f in dataclasses.fields(cls)]
        for name in {**options, **chosen}:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
                raise OptionError(f"there is no option {name!r}{hint}")
        return cls(**chosen)


def configured() -> dict[str, Any]:
    """The defaults set in Dask's configuration, see `geodecloud.config`."""
    import dask

    found = dask.config.get("geodecloud", {})
    return {name.replace("-", "_"): value for name, value in found.items()}
