"""The same nodule as it might have been scanned and outlined: turned, shifted, noisier, redrawn, grown and shrunk.

Features that change with these as much as they differ between nodules say little of a nodule.

References
----------
.. [1] Zwanenburg et al., Assessing robustness of radiomic features by image perturbation, Scientific Reports 9, 2019.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import DatasetError, RegionError
from lungpipe.radiomics.perturb_contour import (
    at_distance,
    drawn_to_dice,
    fraction_for_dice,
    randomised,
    reach_mm,
    with_volume,
)
from lungpipe.radiomics.perturb_movement import Movement
from lungpipe.radiomics.perturb_noise import noise_level_hu
from lungpipe.segment.agreement import dice
from lungpipe.volume import CTVolume, Mask, box_around

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.geometry import IndexTriple, Triple

#: What can be changed, in the order in which a chain changes it.
KINDS = ("noise", "rotation", "translation", "volume", "growth", "contour")
#: Noise is read off the image within this distance of the nodule's box, mm.
NOISE_WITHIN_MM = 30.0
#: Name of the nodule as it is, which is always the first.
AS_IT_IS = "none"


@dataclass(frozen=True, slots=True)
class Scheme:
    """Which copies of a nodule are made.

    Parameters
    ----------
    kinds : tuple of str
        Each of :data:`KINDS`, or a chain of them joined by ``+`` (``"noise+translation+volume+contour"`` is the chain that [1]_
        recommends). A chain has as many copies as its longest link; shorter ones begin again.
    angles_deg : tuple of float
        Rotations in the axial plane.
    shifts : tuple
        Translations along (z, y, x), voxels.
    volume_fractions : tuple of float
        Growth, or shrinkage where negative, as part of the volume.
    growth_mm : tuple of float
        Growth by a distance, mm; the kind ``growth``.
    repeats : int
        Copies with noise, and copies with a random outline.
    dice : float, optional
        Overlap with the original outline that ``volume`` and ``contour`` are to have, such as that of raters with each
        other; ``volume`` then makes one grown and one shrunk copy.

    Raises
    ------
    DatasetError
        If a kind is unknown, or a value makes no sense.
    """

    kinds: tuple[str, ...] = ("rotation", "translation", "noise", "contour", "volume")
    angles_deg: tuple[float, ...] = (-9.0, -3.0, 3.0, 9.0)
    shifts: tuple[Triple, ...] = ((0.25, 0.25, 0.75), (0.25, 0.75, 0.25), (0.75, 0.25, 0.25), (0.75, 0.75, 0.75))
    volume_fractions: tuple[float, ...] = (-0.2, -0.1, 0.1, 0.2)
    growth_mm: tuple[float, ...] = (-0.5, 0.5)
    repeats: int = 3
    dice: float | None = None

    def __post_init__(self) -> None:
        for chain in self.kinds:
            links = chain.split("+")
            if wrong := [link for link in links if link not in KINDS]:
                raise DatasetError(
                    f"no perturbation {wrong[0]!r}; there are {', '.join(KINDS)}, and chains of them joined by +"
                )
            if len(set(links)) < len(links):
                raise DatasetError(f"perturbation {chain!r} names a link twice")
        if len(set(self.kinds)) < len(self.kinds) or not self.kinds:
            raise DatasetError(f"perturbations must be one or more, each once; found {list(self.kinds)}")
        if any(fraction <= -1 for fraction in self.volume_fractions):
            raise DatasetError(f"volume fractions must be above -1, found {list(self.volume_fractions)}")
        if self.repeats < 1:
            raise DatasetError(f"repeats must be at least 1, found {self.repeats}")
        if self.dice is not None and not 0 < self.dice < 1:
            raise DatasetError(f"the wanted Dice must lie between 0 and 1, found {self.dice}")

    def copies(self) -> list[Change]:
        """Every copy of a nodule, in order; the nodule as it is comes first."""
        return [Change(AS_IT_IS), *(change for chain in self.kinds for change in self._chain(chain.split("+")))]

    def _chain(self, links: list[str]) -> Iterator[Change]:
        repeats = tuple(range(1, self.repeats + 1))
        volumes = self.volume_fractions
        if self.dice is not None:
            volumes = tuple(fraction_for_dice(self.dice, grown=grown) for grown in (False, True))
        values = {
            "noise": ("noise", [f"noise {n}" for n in repeats], repeats),
            "rotation": ("angle_deg", [f"rotation {a:g}" for a in self.angles_deg], self.angles_deg),
            "translation": ("shift", ["translation {:g} {:g} {:g}".format(*s) for s in self.shifts], self.shifts),
            "volume": ("fraction", [f"volume {f:+.3g}" for f in volumes], volumes),
            "growth": ("growth_mm", [f"growth {g:+g} mm" for g in self.growth_mm], self.growth_mm),
            "contour": ("contour", [f"contour {n}" for n in repeats], repeats),
        }
        ordered = [link for link in KINDS if link in links]
        n = max(len(values[link][2]) for link in ordered)
        columns = [
            list(islice(cycle(zip(names, found, strict=True)), n))
            for _, names, found in (values[link] for link in ordered)
        ]
        for row in zip(*columns, strict=True):
            chosen = {values[link][0]: value for link, (_, value) in zip(ordered, row, strict=True)}
            yield Change(" + ".join(name for name, _ in row), **chosen)


@dataclass(frozen=True, slots=True)
class Change:
    """One copy: what is done to image and outline, in the order of the fields; ``noise`` and ``contour`` number the draws."""

    name: str
    noise: int = 0
    angle_deg: float = 0.0
    shift: Triple = (0.0, 0.0, 0.0)
    fraction: float = 0.0
    growth_mm: float = 0.0
    contour: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Perturbed:
    """A copy of a nodule.

    Parameters
    ----------
    name : str
        ``"none"`` for the nodule as it is.
    volume : CTVolume
        Float32 where the image was changed.
    mask : Mask
        Empty where nothing is left of the nodule.
    dice : float
        Overlap of the outline with the original one, moved alike; 1 where only the image was changed.
    movement : Movement
        Moves other masks alike: lungs, neighbours.
    """

    name: str
    volume: CTVolume
    mask: Mask
    dice: float
    movement: Movement = field(repr=False)


def seed_of(nodule_id: str, seed: int = 0) -> int:
    """Seed of a nodule's perturbations: the same in any process, order and machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{nodule_id}".encode()).digest()[:8])


def perturbations(
    volume: CTVolume, mask: Mask, scheme: Scheme, seed: int, margin: IndexTriple | None = None
) -> Iterator[Perturbed]:
    """Make the copies of a nodule, the nodule as it is first.

    What is drawn for a copy depends on the seed and the copy's name, not on which others are made.

    Parameters
    ----------
    volume : CTVolume
        Whole, or a crop that holds the nodule.
    mask : Mask
        Not empty.
    scheme : Scheme
    seed : int
        See :func:`seed_of`.
    margin : tuple of int, optional
        Voxels along (z, y, x) that the copies keep round the nodule, as far as the volume has them: what the extractor reads.
        None keeps all of the volume.

    Raises
    ------
    RegionError
        If the mask is empty.
    """
    if not mask.n_voxels:
        raise RegionError("empty_mask", "the nodule's mask is empty, so there is nothing to perturb")
    tight = mask.trimmed()
    z, y, x = ((a + b - 1) / 2 for a, b in zip(*tight.bounds, strict=True))
    near = volume.overlap(*box_around(mask.frame, *tight.bounds, NOISE_WITHIN_MM))
    noise_hu = noise_level_hu(near.hu) if any("noise" in chain for chain in scheme.kinds) else 0.0
    for change in scheme.copies():
        rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(change.name.encode()).digest()[:4])])
        movement = Movement(mask.frame, (z, y, x), change.angle_deg, change.shift)
        yield _copy(volume, tight, change, movement, rng, noise_hu, scheme.dice, margin)


def _copy(
    volume: CTVolume,
    mask: Mask,
    change: Change,
    movement: Movement,
    rng: np.random.Generator,
    noise_hu: float,
    wanted: float | None,
    margin: IndexTriple | None,
) -> Perturbed:
    moved = mask if movement.is_none else movement.nodule(mask)
    if not moved.n_voxels:
        return Perturbed(change.name, volume, moved, float("nan"), movement)
    outline = moved
    try:
        if change.fraction:
            outline = with_volume(outline, change.fraction)
        if change.growth_mm:
            outline = at_distance(outline, change.growth_mm)
    except RegionError:
        empty = Mask(np.zeros_like(moved.voxels), moved.frame, moved.start)
        return Perturbed(change.name, volume, empty, 0.0, movement)
    start, stop = _box(volume, outline, reach_mm(outline) if change.contour else 0.0, margin)
    source = movement.reads(volume, start, stop)
    if change.noise:
        noise = rng.normal(0.0, noise_hu, source.shape).astype(np.float32)
        source = CTVolume(source.hu.astype(np.float32) + noise, source.frame, source.start)
    image = movement.image(source, start, stop)
    if change.contour:
        redrawn = randomised(image, outline, rng)
        outline = drawn_to_dice(moved, redrawn, wanted) if wanted is not None else redrawn
    return Perturbed(change.name, image, outline.trimmed(), dice(outline, moved), movement)


def _box(
    volume: CTVolume, outline: Mask, slack_mm: float, margin: IndexTriple | None
) -> tuple[IndexTriple, IndexTriple]:
    """Half-open box (frame indices) of the volume that a copy keeps."""
    if margin is None:
        return volume.start, volume.stop
    start, stop = box_around(outline.frame, *outline.bounds, slack_mm)
    z0, y0, x0 = (max(a - m, least) for a, m, least in zip(start, margin, volume.start, strict=True))
    z1, y1, x1 = (min(b + m, most) for b, m, most in zip(stop, margin, volume.stop, strict=True))
    return (z0, y0, x0), (z1, y1, x1)
