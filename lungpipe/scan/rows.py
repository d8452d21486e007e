"""Rows of one scan as they come, and one table from the rows of many."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungpipe.errors import CaseError, Exclusion
from lungpipe.store.tables import conform, make_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lungpipe.nodule import Nodule
    from lungpipe.region.expand import Region
    from lungpipe.volume import Mask

#: Parts of a scan's artefact, one Parquet file each, with the schemas of the tables they end in.
PARTS = ("features", "nodules", "exclusions")


class Rows:
    """Rows of one scan as they come, for the three parts."""

    def __init__(self, who: Mapping[str, str], volume_id: str, source_sha256: str) -> None:
        self.who = dict(who)
        self.volume_id = volume_id
        self.source_sha256 = source_sha256
        self.features: list[dict[str, Any]] = []
        self.nodules: list[dict[str, Any]] = []
        self.exclusions: list[dict[str, Any]] = []

    def exclude(self, error: CaseError, nodule: Nodule, where: str = "") -> None:
        """Record why a nodule, or one of its masks or regions (``where``), has no row."""
        row = asdict(
            Exclusion.of(
                error,
                patient_id=self.who["patient_id"],
                series_uid=self.who["series_uid"],
                nodule_id=nodule.nodule_id,
            )
        )
        prefix = f"{where}: " if where else ""
        self.exclusions.append({**row, "message": prefix + error.message, "intensities": self.who["intensities"]})

    def nodule(self, nodule: Nodule, segmenter: str, mask: Mask, hu: np.ndarray[Any, Any]) -> None:
        """Record a mask and the HU of its voxels (n,)."""
        x, y, z = mask.centre_mm.tolist()
        self.nodules.append(
            {
                **self.who,
                "nodule_id": nodule.nodule_id,
                "segmenter": segmenter,
                "malignant": nodule.malignant,
                "split": nodule.split or "",
                "x_mm": x,
                "y_mm": y,
                "z_mm": z,
                "n_voxels": mask.n_voxels,
                "volume_mm3": mask.volume_mm3,
                "sphere_diameter_mm": float((6.0 * mask.volume_mm3 / np.pi) ** (1 / 3)),
                "mean_hu": float(hu.mean()),
                "codes": ";".join(nodule.codes),
                "mask_id": mask.content_id,
                "volume_id": self.volume_id,
                "source_sha256": self.source_sha256,
            }
        )

    def feature(self, nodule: Nodule, segmenter: str, region: Region, values: Mapping[str, float]) -> None:
        """Record the features of a region."""
        self.features.append(
            {
                **self.who,
                "nodule_id": nodule.nodule_id,
                "segmenter": segmenter,
                "region": region.spec.kind,
                "radius_mm": region.spec.radius_mm,
                "n_voxels": region.mask.n_voxels,
                "volume_mm3": region.mask.volume_mm3,
                "clipped_fraction": region.clipped_fraction,
                "mask_id": region.mask.content_id,
                **values,
            }
        )


def gather_parts(workspace: Path, artefacts: list[str], part: str) -> pd.DataFrame:
    """One table (see :data:`lungpipe.store.tables.SCHEMAS`) from the parts of many scans, in key order."""
    frames = [pd.read_parquet(workspace / "parts" / name / f"{part}.parquet") for name in artefacts]
    filled = [frame for frame in frames if len(frame)]
    return conform(part, pd.concat(filled, ignore_index=True)) if filled else make_table(part, [])
