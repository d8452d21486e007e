"""The rule of the frame check: which frame the evidence speaks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.special import bdtrc

from lungpipe.frame import messages
from lungpipe.frame.readings import DECLARED, FRAMES
from lungpipe.frame.verdict import FrameVerdict, Outcome, SetVerdict, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lungpipe.frame.look import Evidence

#: Another frame is better if a one-sided sign test says so at this level. The test's null hypothesis is that both frames
#: fit equally well. A set declared rightly is far from that: most nodules that tell the frames apart speak for it, so it is
#: refused much more rarely than this (``benchmarks/frame_check.py``).
SIGNIFICANCE = 0.05
#: It must also be better for this share of the set, over those for which it is worse: a few rows in another frame, or
#: chance in a large set, refuse nothing.
MARGIN = 0.2
#: Fewest nodules with which the sign test can reach :data:`SIGNIFICANCE` (0.5 ** 5 < 0.05).
SMALL_SET = 5
#: Where no reading puts more than this share inside the volumes, the annotations belong to other images.
MAJORITY = 0.5
#: Where no more than this share of the nodules is in the lung and denser than its surroundings, the set fits poorly. Of
#: random points in the lungs of two real scans 15 to 20 % were denser, of random points in soft tissue 4 to 11 %.
FEW_DENSER = 1 / 3
#: Levels under the declared and another reading that decide even for one nodule: from outside the volume into the lung,
#: from outside the lung to something dense in it. A mirrored point often lies in the other lung; that alone says little.
_CLEAR = {(0, 2), (0, 3), (1, 3)}


def judge(evidence: Iterable[Evidence]) -> FrameVerdict:
    """Decide whether annotations are read in the frame that they were written in.

    Every reading of a nodule has a level (:attr:`lungpipe.frame.Reading.level`). The declared frame stands unless, for the
    nodules that declare it, another frame wins a sign test (one-sided, exact binomial) at :data:`SIGNIFICANCE` with
    :data:`MARGIN`, either on the level, over the nodules whose pixels were looked at, or on lying inside the volume, over
    all nodules, and does not lose the other of the two by :data:`MARGIN`; it must also put most nodules inside their
    volumes. Nodules for which both readings are equally good, such as those at the centre line read as LPS and RAS, count
    for neither. Nodules of one scan count singly though they are not independent, so the level is nominal.

    Where fewer than :data:`SMALL_SET` nodules tell two readings apart, the other frame must win every one of them, they
    must be at least half of those looked at, and each must go from outside the volume into the lung, or from outside the
    lung to something in the lung that is denser than its surroundings.

    A set that no reading puts inside its volumes for the most part is refused too, if it is not small. Sets for which
    another frame is ahead without winning, or that fit their own frame poorly, are doubtful.

    Parameters
    ----------
    evidence : iterable of Evidence
        Of every nodule that takes part, in any order.

    Returns
    -------
    FrameVerdict
        Without parts, and so accepted, if no nodule takes part.
    """
    found = list(evidence)
    groups = {frame: [item for item in found if item.declared == frame] for frame in DECLARED}
    return FrameVerdict(tuple(_judge_set(frame, group) for frame, group in groups.items() if group))


@dataclass(frozen=True, slots=True)
class _Contest:
    """For how many of ``total`` nodules another reading is better than the declared one, and for how many worse."""

    better: int
    worse: int
    total: int

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]]) -> _Contest:
        """Count pairs of values under the declared and the other reading."""
        return cls(sum(o > d for d, o in pairs), sum(o < d for d, o in pairs), len(pairs))

    @property
    def telling(self) -> int:
        """Nodules that tell the readings apart."""
        return self.better + self.worse

    @property
    def won(self) -> bool:
        """Whether the other reading is better, by far enough to be no accident."""
        # bdtrc(k, n, p) is the chance of more than k successes.
        return (
            self.ahead and self.telling >= SMALL_SET and bool(bdtrc(self.better - 1, self.telling, 0.5) <= SIGNIFICANCE)
        )

    @property
    def ahead(self) -> bool:
        """Whether the other reading is better by :data:`MARGIN`, accident or not."""
        return self.better - self.worse >= MARGIN * self.total > 0

    @property
    def lost(self) -> bool:
        """Whether the declared reading is better by :data:`MARGIN`."""
        return self.worse - self.better >= MARGIN * self.total > 0


def _judge_set(declared: str, group: Sequence[Evidence]) -> SetVerdict:
    tallies = {frame: _tally(frame, group) for frame in FRAMES}
    others = sorted((f for f in FRAMES if f != declared), key=lambda f: _fit(tallies[f]), reverse=True)

    def verdict(outcome: Outcome, better: str | None = None, message: str = "") -> SetVerdict:
        return SetVerdict(declared, outcome, better, tuple(tallies.values()), message)

    own = tallies[declared]
    for other in others:
        if tallies[other].inside > MAJORITY * own.nodules and _explains_better(group, declared, other):
            return verdict("refused", other, messages.other_frame(own, tallies[other]))
    if max(tally.inside for tally in tallies.values()) <= MAJORITY * own.nodules:
        return verdict(
            "refused" if own.nodules >= SMALL_SET else "doubtful", None, messages.other_images(tallies.values(), own)
        )
    for other in others:
        if _may_be_better(group, declared, other):
            return verdict("doubtful", other, messages.undecided(own, tallies[other]))
    unlike_nodules = own.looked_at >= SMALL_SET and own.denser <= FEW_DENSER * own.looked_at
    if unlike_nodules or own.inside <= MAJORITY * own.nodules:
        return verdict("doubtful", None, messages.poor_fit(own))
    return verdict("accepted")


def _tally(frame: str, group: Sequence[Evidence]) -> Tally:
    readings = [item.readings[frame] for item in group]
    seen = [item.readings[frame].level for item in group if item.looked_at]
    inside = sum(reading.inside for reading in readings)
    return Tally(frame, len(group), inside, len(seen), sum(level >= 2 for level in seen), sum(v == 3 for v in seen))


def _fit(tally: Tally) -> tuple[int, int]:
    """Order of readings: by what pixels say, then by what grids say."""
    return tally.in_lung + tally.denser, tally.inside


def _contests(group: Sequence[Evidence], declared: str, other: str) -> tuple[_Contest, _Contest, list[tuple[int, int]]]:
    """Contests on lying inside the volume and on the level, and the pairs of levels of the latter."""
    levels = [(item.readings[declared].level, item.readings[other].level) for item in group if item.looked_at]
    place = _Contest.of([(item.readings[declared].inside, item.readings[other].inside) for item in group])
    return place, _Contest.of(levels), levels


def _explains_better(group: Sequence[Evidence], declared: str, other: str) -> bool:
    place, sight, levels = _contests(group, declared, other)
    if max(place.telling, sight.telling) >= SMALL_SET:
        return (sight.won and not place.lost) or (place.won and not sight.lost)
    return (
        not place.worse
        and not sight.worse
        and 2 * sight.better >= sight.total > 0
        and all((d, o) in _CLEAR for d, o in levels if d != o)
    )


def _may_be_better(group: Sequence[Evidence], declared: str, other: str) -> bool:
    place, sight, _ = _contests(group, declared, other)
    return (sight.ahead and not place.lost) or (place.ahead and not sight.lost)
