"""What can be watched while a run goes on: curves and sample panels for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from geodecloud.training.pairs import Pair
from geodecloud.training.panels import below, beside, draw_images

#: Pairs on a panel.
_SHOWN = 4


class Curves:
    """Writes event files below ``out/curves``; look at them with ``tensorboard --logdir out``.

    Parameters
    ----------
    first : step the run starts at; later ones of an earlier, killed run are dropped
    enabled : False in all processes but one
    """

    def __init__(self, out: Path, first: int, enabled: bool = True) -> None:
        self._writer: Any = None
        if enabled:
            self._writer = SummaryWriter(str(out / "curves"), purge_step=first + 1)

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(
        self,
        record: dict[str, Any],
        pairs: Sequence[Pair],
        restored: Sequence[np.ndarray[Any, Any]],
    ) -> None:
        """Write the numbers of a record, and cloudy, restored and clear of the first pairs."""
        step = int(record["step"])
        for name, value in record.items():
            if name != "step":
                self._writer.add_scalar(name, value, step)
        rows = [
            beside(draw_images([pair.cloudy, image, pair.clear], pair.bands, pair.is_picture))
            for pair, image in zip(pairs[:_SHOWN], restored[:_SHOWN], strict=True)
        ]
        if rows and len({row.shape for row in rows}) == 1:
            self._writer.add_image("cloudy, restored, clear", below(rows), step)
