"""What the data plane is told besides the champion's name: challengers, thresholds, exploration.

It is one small file beside `CURRENT`, replaced whole like that one. Whoever reads it late goes on as before: nothing in
it makes a batch wait.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from askance.manifest import Estimate  # noqa: TC001 - msgspec resolves it at run time

RolloutMode = Literal["direct", "shadow", "canary"]
"""How a version that was found fit takes the champion's place: at once; after it has scored the live stream without
answering; or after it has answered a share of the documents."""

REMEMBERED = 50
"""So many ended rollouts are remembered."""


class Challenger(msgspec.Struct, frozen=True):
    """A version on trial."""

    version: str
    mode: RolloutMode
    share: float = 0.0
    """Of a canary: the part of the keys whose documents it answers."""


class Calibration(msgspec.Struct, frozen=True):
    """From which confidence on a version may answer by itself, and what was known when that was decided."""

    threshold: float
    served: float
    """Share of the documents, weighted, that it answers by itself."""
    risk: float
    """Estimated share of documents that it answers otherwise than the teacher."""
    labels: int
    documents: int = 0
    """Of the version's, when this was decided: what came after re-verifies it."""
    queries: int = 0
    """Likewise."""


class Exploration(msgspec.Struct, frozen=True):
    """A higher exploration floor for a while, after a drift."""

    floor: float
    until: float
    """Unix time."""


class Rollout(msgspec.Struct, frozen=True):
    """How a challenger's trial on the live stream ended."""

    version: str
    mode: RolloutMode
    promoted: bool
    why: str
    difference: Estimate | None = None
    """Challenger's agreement less the champion's, on the live stream."""


class Directions(msgspec.Struct, frozen=True):
    """All of it; the default is what holds before anything was told."""

    challenger: Challenger | None = None
    calibrations: dict[str, Calibration] = {}
    """By version. One that is missing may answer nothing by itself under a contract."""
    broken: dict[str, int] = {}
    """By version whose contract broke: how many queries it had then; only later ones calibrate it anew."""
    exploration: Exploration | None = None
    rollouts: tuple[Rollout, ...] = ()
    """Those that ended, oldest first."""

    def threshold(self, version: str | None) -> float | None:
        """From which confidence on the version may answer by itself; None: never."""
        calibration = self.calibrations.get(version) if version is not None else None
        return calibration.threshold if calibration is not None else None

    def is_shadow(self, version: str) -> bool:
        """Whether this version scores without answering."""
        return self.challenger is not None and (self.challenger.version, self.challenger.mode) == (version, "shadow")

    def floor(self, now: float) -> float:
        """The exploration floor asked for at that Unix time."""
        return self.exploration.floor if self.exploration is not None and now < self.exploration.until else 0.0

    def ended(self, rollout: Rollout) -> Directions:
        """Without the challenger, whose trial ended so."""
        rollouts = (*self.rollouts, rollout)[-REMEMBERED:]
        return msgspec.structs.replace(self, challenger=None, rollouts=rollouts)
