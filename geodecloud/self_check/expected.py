"""What errors to expect on a scene, by the kinds of pixels that are replaced."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from geodecloud.restore.composite import Provenance
from geodecloud.scene.scores import Errors

#: The kinds of replaced pixels, in the order in which they are told.
KINDS = {
    "restored": Provenance.RESTORED,
    "other_date": Provenance.OTHER_DATE,
    "synthesised": Provenance.SYNTHESISED,
}
#: Of fewer pixels nothing is said.
_LEAST_PX = 64


@dataclass(frozen=True)
class KindError:
    """Errors of one kind of pixels under clouds put over clear ground; None: they have none.

    Attributes
    ----------
    pixels : that were compared with the truth; of all kinds together, that the windows have of their own
    mae : mean absolute error in reflectance, mean over the restored bands
    psnr_db : of reflectance in [0, 1], all bands together; None where nothing differs
    sam_deg : mean angle between spectra in degrees; None of a single band
    """

    pixels: int
    mae: float
    psnr_db: float | None
    sam_deg: float | None

    @classmethod
    def of(cls, errors: Errors) -> KindError:
        """Rounded to what can be told from so few pixels."""
        return cls(
            errors.pixels,
            round(errors.mae, 5),
            _finite(errors.psnr_db, 2),
            _finite(errors.sam_deg, 3),
        )


@dataclass(frozen=True)
class Expected:
    """Errors to expect on a scene.

    Attributes
    ----------
    kinds : by kind: "restored", "other_date", "synthesised"; and "replaced", all of them together
    windows : of the scene that were checked
    reason : why there are none; empty where there are
    """

    kinds: dict[str, KindError] = field(default_factory=dict)
    windows: int = 0
    reason: str = ""

    @classmethod
    def nothing(cls, reason: str) -> Expected:
        """Nothing could be told, and why."""
        return cls(reason=reason)

    @classmethod
    def of(cls, errors: Mapping[str, Errors], codes: Sequence[int], windows: int) -> Expected:
        """What the errors of each kind say.

        Parameters
        ----------
        errors : of the pixels that were checked, by kind
        codes : how many pixels the windows have of their own, by code of provenance, without other dates
        windows : that were checked
        """
        told = {kind: one for kind, one in errors.items() if one.pixels >= _LEAST_PX}
        if not told:
            px = sum(one.pixels for one in errors.values())
            return cls.nothing(
                f"clouds over {windows} windows of it changed only {px} px of clear ground"
            )
        told["replaced"] = _mixed(errors, codes)
        return cls({kind: KindError.of(one) for kind, one in told.items()}, windows)

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Expected:
        """What `as_dict` made plain values of.

        Raises
        ------
        ValueError, TypeError, KeyError, AttributeError
            If it is something else.
        """
        kinds = {}
        for kind in (*KINDS, "replaced"):
            if kind in fields["kinds"]:
                one = KindError(**fields["kinds"][kind])
                numbers = [one.pixels, one.mae, one.psnr_db or 0.0, one.sam_deg or 0.0]
                if not all(math.isfinite(number) for number in numbers):
                    raise ValueError(f"{kind} has a number that is none")
                kinds[kind] = one
        return cls(kinds, int(fields["windows"]), str(fields["reason"]))

    @property
    def replaced(self) -> KindError | None:
        """Errors of all replaced pixels together; None where nothing is told."""
        return self.kinds.get("replaced")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: the kinds, or the reason why there are none."""
        return asdict(self)

    def __str__(self) -> str:
        """One sentence for people."""
        if self.reason:
            return f"self-check: nothing can be told: {self.reason}"
        kinds = (
            f"{kind.replace('_', ' ')} {one.mae:.4f}"
            + ("" if one.psnr_db is None else f" ({one.psnr_db:.1f} dB")
            + ("" if one.psnr_db is None or one.sam_deg is None else f", {one.sam_deg:.1f}°")
            + ("" if one.psnr_db is None else ")")
            for kind, one in self.kinds.items()
        )
        return f"self-check: expected error in reflectance: {', '.join(kinds)}"


def _mixed(errors: Mapping[str, Errors], codes: Sequence[int]) -> Errors:
    """Errors of all kinds, with as many pixels of visible and of hidden ground as the scene itself has."""
    hidden = errors["other_date"] + errors["synthesised"]
    own = (
        (errors["restored"], codes[Provenance.RESTORED]),
        (hidden, codes[Provenance.SYNTHESISED] + codes[Provenance.LEFT]),
    )
    return sum((one * (count / one.pixels) for one, count in own if one.pixels), Errors())


def _finite(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
