"""How a result says it was made: the tags of geodecloud in it, held against what is here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geodecloud._version import __version__
from geodecloud.errors import GeodecloudError, OptionError
from geodecloud.masks.selection import Selection, mask_path, parse_selection
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import IDENTITY, find_weights
from geodecloud.models.tensors import read_tensors
from geodecloud.options import FileOptions, about
from geodecloud.report.findings import Finding, failed, not_checked, ok
from geodecloud.report.means import Means
from geodecloud.scene.address import is_remote

#: Tags of all results; those of other dates have one more.
TAGS = (
    "GEODECLOUD_VERSION",
    "GEODECLOUD_MODEL",
    "GEODECLOUD_WEIGHTS_SHA256",
    "GEODECLOUD_PARAMETERS",
    "GEODECLOUD_SOURCE",
)
_VERSION, _MODEL, _SHA, _PARAMETERS, _SOURCE = TAGS
REFERENCES = "GEODECLOUD_REFERENCES"
CHECK = "made by"


@dataclass(frozen=True)
class MadeBy:
    """How a result was made, as far as it says so and it can be done again here.

    Attributes
    ----------
    tags : of the default namespace
    options : with the files they name as they are found here; None: see `problem`
    problem : why the options cannot be used again
    """

    tags: Mapping[str, str]
    options: FileOptions | None
    problem: str = ""

    @classmethod
    def of(cls, tags: Mapping[str, str], folders: Sequence[Path]) -> MadeBy:
        """Read it from the tags of a result.

        Parameters
        ----------
        folders : where files that the options name are looked for, if they are not where they were
        """
        try:
            said = json.loads(tags[_PARAMETERS])
            unknown = sorted(set(said) - set(about(FileOptions)))
            if unknown:
                raise OptionError(f"this version knows no option {', '.join(unknown)}")
            said = {name: value for name, value in said.items() if value is not None}
            if said.get("model") == "auto":  # what it stood for then
                said["model"] = tags.get(_MODEL, "auto")
            # not by `of`: defaults of this process are none of that one's
            options = _here(FileOptions(**said), folders)
        except KeyError:
            return cls(tags, None, f"tag {_PARAMETERS} is missing")
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            return cls(tags, None, f"tag {_PARAMETERS} cannot be used: {error}")
        return cls(tags, options)

    @property
    def is_identity(self) -> bool:
        """Whether the model that changes nothing was used."""
        return self.tags.get(_MODEL) == IDENTITY.name

    @property
    def version_note(self) -> str:
        """A remark where another version made the result; else empty."""
        version = self.tags.get(_VERSION)
        same = version in (None, __version__)
        return "" if same else f"; it was made by version {version}, and this is {__version__}"

    @property
    def has_references(self) -> bool:
        """Whether the tags name other dates."""
        return REFERENCES in self.tags

    @property
    def means(self) -> Means:
        """What ran the network."""
        return Means.of(self.tags, self.options or FileOptions())

    def check(self, source: str) -> Iterator[Finding]:
        """Hold the tags against the scene's name, and the model of this name that is here."""
        wrong = [*self._check_tags(source), *self._check_references()]
        yield from wrong
        if not wrong:
            yield ok(CHECK, f"all tags are there; version {self.tags[_VERSION]}")
        yield from self._check_model()

    def _check_tags(self, source: str) -> Iterator[Finding]:
        for tag in TAGS:
            if not self.tags.get(tag):
                yield failed(CHECK, "it is missing", tag=tag)
        if self.tags.get(_PARAMETERS) and self.options is None:
            yield failed(CHECK, self.problem, tag=_PARAMETERS)
        named = self.tags.get(_SOURCE)
        if named and named != source:
            yield failed(CHECK, "another scene", tag=_SOURCE, found=named, expected=source)

    def _check_references(self) -> Iterator[Finding]:
        """Whether the parameters and the tag agree on other dates."""
        if self.options is None:
            return
        used = list(self.options.references or ())
        if used and not self.has_references:
            yield failed(CHECK, "missing, and other dates were used", tag=REFERENCES)
        if not self.has_references:
            return
        try:
            named = json.loads(self.tags[REFERENCES])
            if not isinstance(named, dict) or not named:
                raise ValueError("it names no date")
        except (ValueError, RecursionError) as error:
            yield failed(CHECK, f"it cannot be read: {error}", tag=REFERENCES)
            return
        if not used:
            yield failed(
                CHECK,
                "the parameters name no other dates",
                tag=REFERENCES,
                found=", ".join(named),
                expected="none",
            )

    def _check_model(self) -> Iterator[Finding]:
        said, name = self.tags.get(_SHA), self.tags.get(_MODEL)
        if not said or not name or self.options is None:
            return
        try:
            card = self.card()
        except GeodecloudError as error:
            yield not_checked("model", str(error), tag=_SHA)
            return
        wrong = []
        if card.name != name:
            wrong.append((_MODEL, name, card.name))
        if card.sha256 != said:
            wrong.append((_SHA, said, card.sha256))
        for tag, found, expected in wrong:
            yield failed(
                "model",
                f"not that of {self.options.model}",
                tag=tag,
                found=found,
                expected=expected,
            )
        if not wrong:
            yield ok("model", f"{name}, whose weights here have the sha256 {said}")

    def card(self) -> ModelCard:
        """The card of the model that is here, whose hash is that of its tensors.

        Raises
        ------
        WeightsError
            If it is not here, or damaged.
        """
        model = "" if self.options is None else str(self.options.model)
        return IDENTITY if model == IDENTITY.name else read_tensors(find_weights(model))[0]

    def hindrance(self) -> str:
        """Why the result cannot be made again here; empty: nothing is known against it."""
        if self.options is None:
            return self.problem
        try:
            card = self.card()
        except GeodecloudError as error:
            return str(error)
        if card.sha256 != self.tags.get(_SHA):
            return f"the weights of {self.options.model} here are not those that it names"
        mask, aoi = mask_path(self.options.mask), self.options.aoi
        files = [*(self.options.references or ()), *filter(None, [mask, aoi])]
        gone = [f for f in map(str, files) if _is_local(f) and not os.path.exists(f)]
        return f"{', '.join(gone)} cannot be found" if gone else ""


def _is_local(path: str) -> bool:
    """Whether a path is a file's, not an address or one of GDAL's own names."""
    return not is_remote(path) and path.count(":") < 2


def _here(options: FileOptions, folders: Sequence[Path]) -> FileOptions:
    """The options with files that are not where they were, but lie in one of these folders."""

    def find(path: Any) -> Any:
        if os.path.exists(str(path)):
            return path
        places = [folder / Path(str(path)).name for folder in folders]
        # not Path.exists, which fails where a name is too long
        return next((str(place) for place in places if os.path.exists(place)), path)

    found: dict[str, Any] = {}
    if str(options.model).endswith(".safetensors"):
        found["model"] = find(options.model)
    if mask_path(options.mask) is not None:
        asked = parse_selection(options.mask)
        found["mask"] = str(Selection(find(asked.path), asked.band, asked.condition))
    if options.aoi is not None:
        found["aoi"] = find(options.aoi)
    if options.references is not None:
        found["references"] = tuple(find(path) for path in options.references)
    return replace(options, **found)
