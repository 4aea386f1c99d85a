"""Other dates of the same ground: a fit per scene, then real ground for its holes, window by window.

::

    parts = [take_sample(scene, clear, references, usable, window, plan_stride(shape)), ...]
    coefficients = solve(merge(parts), extent)                       # once per scene, picklable
    prediction = coefficients.predict(references, usable, padded)    # per window, halo REACH_PX
    missed = find_missed_clouds(scene, prediction, BandIndex(blue=0, red=2, nir=3))
    filled = fill(scene, clear & ~missed, prediction, coefficients.field, padded)

Pure numpy: no files, no Dask, no network. Without any reference (R = 0) the same calls fill from the
clear ground around.
"""

from geodecloud.restore.references.coefficients import Coefficients, Prediction
from geodecloud.restore.references.detect import (
    CLOUD_REACH_PX,
    DETECT_REACH_PX,
    BandIndex,
    Sun,
    find_missed_clouds,
    find_shadows,
)
from geodecloud.restore.references.holes import REACH_PX, Fill, fill
from geodecloud.restore.references.packing import (
    GAP,
    pack,
    pack_opacity,
    unpack,
    unpack_opacity,
)
from geodecloud.restore.references.pick import REFERENCES, Candidate, pick_references
from geodecloud.restore.references.sample import (
    MAX_REFERENCES,
    Sample,
    merge,
    plan_stride,
    take_sample,
)
from geodecloud.restore.references.solve import solve

__all__ = [
    "CLOUD_REACH_PX",
    "DETECT_REACH_PX",
    "GAP",
    "MAX_REFERENCES",
    "REACH_PX",
    "REFERENCES",
    "BandIndex",
    "Candidate",
    "Coefficients",
    "Fill",
    "Prediction",
    "Sample",
    "Sun",
    "fill",
    "find_missed_clouds",
    "find_shadows",
    "merge",
    "pack",
    "pack_opacity",
    "pick_references",
    "plan_stride",
    "solve",
    "take_sample",
    "unpack",
    "unpack_opacity",
]
