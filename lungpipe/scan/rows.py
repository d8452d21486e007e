"""Rows of one scan as they come, and one table from the rows of many."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lungpipe.errors import CaseError, Exclusion
from lungpipe.region.accuracy import expected_error
from lungpipe.segment.diameters import measure, size_class
from lungpipe.segment.quality import measure_quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.nodule import Nodule
    from lungpipe.region.expand import Region
    from lungpipe.volume import CTVolume, Mask


class Rows:
    """Rows of one artefact of a scan as they come.

    Parameters
    ----------
    who : mapping
        Columns that all rows share.
    volume_id, source_sha256, voxels_sha256 : str
    artefact : str
        Id of the artefact.
    """

    def __init__(
        self, who: Mapping[str, str], volume_id: str, source_sha256: str, voxels_sha256: str, artefact: str
    ) -> None:
        self.who = dict(who)
        self.volume_id = volume_id
        self.source_sha256 = source_sha256
        self.voxels_sha256 = voxels_sha256
        self.artefact = artefact
        self.features: list[dict[str, Any]] = []
        self.nodules: list[dict[str, Any]] = []
        self.agreement: list[dict[str, Any]] = []
        self.exclusions: list[dict[str, Any]] = []

    def exclude(self, error: CaseError, nodule: Nodule | str, where: str = "") -> None:
        """Record why a nodule (or its id), or one of its masks or regions (``where``), has no row."""
        row = asdict(
            Exclusion.of(
                error,
                patient_id=self.who["patient_id"],
                series_uid=self.who["series_uid"],
                nodule_id=nodule if isinstance(nodule, str) else nodule.nodule_id,
            )
        )
        prefix = f"{where}: " if where else ""
        self.exclusions.append({**row, "message": prefix + error.message, "intensities": self.who["intensities"]})

    def nodule(self, nodule: Nodule, segmenter: str, mask: Mask, volume: CTVolume | None) -> None:
        """Record a mask. Label, split and verdict are joined later: no mask depends on them.

        Without an image there are no HU, and of the centre only z is known: x and y are counted from the image's position.
        """
        nan = float("nan")
        mean_hu = nan if volume is None else float(volume.crop(mask.start, mask.stop).hu[mask.voxels].mean())
        x, y, z = mask.centre_mm.tolist()
        if volume is None:
            x = y = nan
        lengths = measure(mask)
        self.nodules.append(
            {
                **self.who,
                "nodule_id": nodule.nodule_id,
                "segmenter": segmenter,
                "malignant": None,
                "split": "",
                "x_mm": x,
                "y_mm": y,
                "z_mm": z,
                "n_voxels": mask.n_voxels,
                "mean_hu": mean_hu,
                **asdict(lengths),
                "size_class": size_class(lengths.axial_mean_mm),
                **asdict(measure_quality(mask, volume, nodule)),
                "disagreement": None,
                "verdict": "accept",
                "codes": ";".join(nodule.codes),
                "mask_id": mask.content_id,
                "artefact": self.artefact,
                "volume_id": self.volume_id,
                "source_sha256": self.source_sha256,
                "voxels_sha256": self.voxels_sha256,
            }
        )

    def agree(self, nodule_id: str, segmenter: str, disagreement: float) -> None:
        """Record how far a mask is from those of the other methods."""
        self.agreement.append(
            {**self.who, "nodule_id": nodule_id, "segmenter": segmenter, "disagreement": disagreement}
            | {"artefact": self.artefact}
        )

    def feature(
        self,
        nodule_id: str,
        segmenter: str,
        name: str,
        region: Region,
        values: Mapping[str, float],
        codes: tuple[str, ...] = (),
    ) -> None:
        """Record the features of a region under its name. Codes that depend on a recipe's limit are joined later."""
        self.features.append(
            {
                **self.who,
                "nodule_id": nodule_id,
                "segmenter": segmenter,
                "region": name,
                "radius_mm": region.spec.radius_mm,
                "inner_mm": region.spec.inner_mm,
                "n_voxels": region.mask.n_voxels,
                "volume_mm3": region.mask.volume_mm3,
                "clipped_fraction": region.clipped_fraction,
                **{f"clipped_{cause}": part for cause, part in region.taken.items()},
                "volume_error": expected_error(region.spec, region.mask.frame.spacing_mm),
                "codes": ";".join(codes),
                "mask_id": region.mask.content_id,
                "artefact": self.artefact,
                **values,
            }
        )


def rows_path(ref: str) -> str:
    """Relative path of the rows that an artefact has."""
    return f"parts/{ref.split('/')[1]}/rows.json"
