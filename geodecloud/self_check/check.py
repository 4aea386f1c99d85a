"""The story of a self-check: clouds of a scene over its own clear ground, declouded, and held against the truth.

Nothing here knows how clouds are removed: crops of the scene go down the path of every scene, with its decisions.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice

import numpy as np

from geodecloud.errors import OptionError
from geodecloud.options import Options
from geodecloud.pipeline import decide_array, given_references
from geodecloud.restore.composite import Bool, Provenance
from geodecloud.restore.decisions import Decisions
from geodecloud.restore.other_dates import Reference
from geodecloud.scene.cube import Cube, Scene
from geodecloud.scene.metadata import Metadata
from geodecloud.scene.scores import Errors
from geodecloud.self_check.crops import Crop, Cropper, Restored, plan_crops, seed_of
from geodecloud.self_check.expected import KINDS, Expected
from geodecloud.self_check.sky import Sky

log = logging.getLogger(__name__)

#: A crop with less clear ground, or less cloud, lends none; shares of it.
_LEAST_CLEAR, _LEAST_CLOUD = 0.25, 0.005


def check_scene(
    scene: Scene,
    options: Options,
    metadata: Metadata | None = None,
    decisions: Decisions | None = None,
    references: Sequence[Reference] | None = None,
) -> Expected:
    """Tell what errors to expect on a scene, from the scene itself.

    Some windows of it are declouded as they are, so that their clouds and their clear ground are known. Then the
    clouds are moved over the clear ground, and the windows declouded once more, other dates included. Where
    nothing is clear, or there is no cloud, it says so.

    Parameters
    ----------
    scene, options, metadata, decisions, references : see `geodecloud.pipeline.decloud`

    Raises
    ------
    OptionError
        If there are several dates.
    """
    cube = Cube.of(scene, options.bands or ())
    if cube.array.ndim != 3:
        raise OptionError("a self-check is of one date; give them one by one: scene.isel(time=0)")
    metadata = metadata or cube.metadata
    decisions = decisions or decide_array(cube, options, metadata)
    cropper = Cropper(cube, metadata, decisions, options, given_references(options, references))
    if decisions.card.kind == "identity":
        return Expected.nothing("the identity model changes nothing")
    if not decisions.card.has_cloud_map:
        return Expected.nothing(
            f"model {decisions.card.name} makes no cloud map: how thick the clouds are is not known"
        )
    return _check(cropper)


def _check(cropper: Cropper) -> Expected:
    found = _look(cropper)
    lending = [look for look in found if look.sky.cover >= _LEAST_CLOUD]
    clear = [look for look in found if look.clear.mean() >= _LEAST_CLEAR]
    if not found:
        return Expected.nothing("no window of it touches the area of interest")
    if not lending:
        px = sum(look.clear.size for look in found)
        return Expected.nothing(f"there is no cloud in the {px} px of it that were looked at")
    if not clear:
        return Expected.nothing(
            f"less than {100 * _LEAST_CLEAR:.0f} % is clear in each of the {len(found)} windows looked at"
        )
    rng = np.random.default_rng(seed_of(cropper.metadata.grid))
    cover = float(np.mean([look.sky.cover for look in found]))
    covered = [
        lending[i % len(lending)].sky.over(look.clear, cover, rng).put_over(look.crop, cropper)
        for i, look in enumerate(clear)
    ]
    done = cropper.decloud(covered, with_references=True)
    errors = {kind: Errors() for kind in KINDS}
    for look, restored in zip(clear, done, strict=True):
        truth = cropper.reflectance(look.crop.dn)
        for kind, code in KINDS.items():
            errors[kind] += Errors.of(restored.image, truth, look.clear & (restored.codes == code))
    codes = np.concatenate([look.codes.ravel() for look in found])
    return Expected.of(errors, np.bincount(codes, minlength=len(Provenance)).tolist(), len(clear))


class _Look:
    """A crop as it is: its clouds, and where it is clear."""

    def __init__(self, crop: Crop, restored: Restored, cropper: Cropper) -> None:
        self.crop, self.sky = crop, Sky.of(crop, restored, cropper)
        self.codes = restored.codes
        seen = np.isfinite(restored.opacity)
        if cropper.decisions.mask_kind == "given":  # the mask has the last word
            seen = restored.codes == Provenance.OBSERVED
        self.clear: Bool = seen & cropper.usable(crop) & ~cropper.is_cloud(crop, restored.opacity)


def _look(cropper: Cropper) -> list[_Look]:
    """Look at crops until there are enough with clear ground, and one with clouds."""
    windows, needed = plan_crops(cropper.metadata.grid)
    left = iter([window for window in windows if cropper.touches(window)])
    found: list[_Look] = []
    while batch := list(islice(left, needed)):
        crops = cropper.read(batch)
        looks = cropper.decloud(crops, with_references=False)
        found += [_Look(c, r, cropper) for c, r in zip(crops, looks, strict=True)]
        clear = sum(look.clear.mean() >= _LEAST_CLEAR for look in found)
        if clear >= needed and any(look.sky.cover >= _LEAST_CLOUD for look in found):
            break
    return found
