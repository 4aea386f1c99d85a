"""Other dates of the same ground: a fit per scene, then real ground for its holes, window by window.

::

    parts = [take_sample(scene, clear, references, usable, window, stride_px) for each window]
    coefficients = solve(merge(parts), extent)                       # once per scene
    prediction = coefficients.predict(references, usable, padded)    # per window, halo REACH_PX
    filled = fill(scene, clear, prediction, coefficients.field, padded)

Pure numpy: no files, no Dask, no network. Without any reference (R = 0) the same calls fill from the
clear ground around.
"""

from geodecloud.restore.references.coefficients import Coefficients, Prediction
from geodecloud.restore.references.holes import REACH_PX, Fill, fill
from geodecloud.restore.references.sample import Sample, merge, plan_stride, take_sample
from geodecloud.restore.references.solve import solve

__all__ = [
    "REACH_PX",
    "Coefficients",
    "Fill",
    "Prediction",
    "Sample",
    "fill",
    "merge",
    "plan_stride",
    "solve",
    "take_sample",
]
