"""What a result says about how it was made: its tags GEODECLOUD_*."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geodecloud.errors import SceneError
from geodecloud.options import FileOptions
from geodecloud.scene.metadata import Metadata
from geodecloud.scene.reflectance import KNOWN
from geodecloud.self_check.expected import Expected


@dataclass(frozen=True)
class Recorded:
    """What was run.

    Attributes
    ----------
    version, model, weights_sha256 : of this package, the model's name, its weights
    source : the scene's name
    parameters : options the result depends on, by name
    references : names of other dates with their days
    computed : backend, device and precision that were chosen; empty: it does not say
    self_check : errors to expect, where they were asked for
    """

    version: str
    model: str
    weights_sha256: str
    source: str
    parameters: Mapping[str, Any]
    references: Mapping[str, str | None]
    computed: Mapping[str, str]
    self_check: Expected | None

    @classmethod
    def of(cls, tags: Mapping[str, str], path: str) -> Recorded:
        """Read the tags of a result.

        Raises
        ------
        SceneError
            If there are none: then it is no result.
        """
        if "GEODECLOUD_VERSION" not in tags:
            raise SceneError(
                f"{path} was not written by geodecloud: it has no tag GEODECLOUD_VERSION. Give the result "
                "first, and the scene it was made of as the source"
            )
        said = {name: tags.get(f"GEODECLOUD_{name}", "") for name in ("VERSION", "MODEL", "SOURCE")}
        return cls(
            said["VERSION"],
            said["MODEL"],
            tags.get("GEODECLOUD_WEIGHTS_SHA256", ""),
            said["SOURCE"],
            _mapping(tags.get("GEODECLOUD_PARAMETERS")),
            _mapping(tags.get("GEODECLOUD_REFERENCES")),
            _mapping(tags.get("GEODECLOUD_COMPUTED")),
            _expected(tags.get("GEODECLOUD_SELF_CHECK")),
        )

    @classmethod
    def earlier(cls, scene: Metadata) -> Recorded | None:
        """What an earlier run did to a scene that is itself a result; None: it is none."""
        tags = scene.tags.get("", {})
        return cls.of(tags, "the scene") if "GEODECLOUD_VERSION" in tags else None

    def reading(self) -> dict[str, Any]:
        """The options with which a product was read."""
        resolution, offset = (self.parameters.get(name) for name in ("resolution", "s2_offset"))
        return {
            "resolution": resolution if resolution in (10, 20, 60) else None,
            "s2_offset": offset if isinstance(offset, int | float) or offset == "none" else "auto",
        }

    def command(self, out: str) -> str:
        """The command line that makes the result: the options that are not as by default."""
        words = ["geodecloud", self.source, "--out", Path(out).name]
        for field in dataclasses.fields(FileOptions):
            value = self.parameters.get(field.name, field.default)
            if value == field.default or field.name not in self.parameters:
                continue
            flag = field.metadata["about"].flag or f"--{field.name.replace('_', '-')}"
            if isinstance(value, bool):
                words.append(flag if value else f"--no-{flag[2:]}")
            elif field.name == "references" and isinstance(value, list):
                words += [word for path in value for word in (flag, str(path))]
            else:
                words += [
                    flag,
                    ",".join(map(str, value)) if isinstance(value, list) else str(value),
                ]
        return shlex.join(words)

    def units(self, metadata: Metadata) -> tuple[Sequence[float], Sequence[float], str]:
        """Scale and offset of each band, and the unit of DN * scale + offset: reflectance, or DN."""
        named = KNOWN.get(str(self.parameters.get("radiometry")), (None, None))
        asked = [self.parameters.get(name) for name in ("scale", "offset")]
        scale, offset = (
            float(own) if isinstance(own, int | float) else by_name
            for own, by_name in zip(asked, named, strict=True)
        )
        try:
            codec = metadata.codec(range(metadata.count), scale, offset)
        except SceneError:  # nothing says what DN mean, as with the identity model
            return (1.0,) * metadata.count, (0.0,) * metadata.count, "DN"
        return codec.scales, codec.offsets, "reflectance"


def _expected(text: str | None) -> Expected | None:
    """The self-check of a tag; None where there is none, or somebody has changed it to something else."""
    try:
        return None if text is None else Expected.read(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _mapping(text: str | None) -> dict[str, Any]:
    """The JSON object of a tag; nothing where somebody has changed it to something else."""
    try:
        said = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
