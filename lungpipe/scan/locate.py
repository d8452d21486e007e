"""A nodule's centre, box and raters' masks on the grid of its scan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.dicom.masks import mask_kind, read_mask_file, source_uids
from lungpipe.errors import AnnotationError
from lungpipe.segment.prompt import with_extent

if TYPE_CHECKING:
    from lungpipe.dicom.rasterise import ContourReport
    from lungpipe.dicom.source import Source
    from lungpipe.nodule import Nodule
    from lungpipe.volume import CTVolume


def locate(nodule: Nodule, volume: CTVolume, files: tuple[Source, ...]) -> Nodule:
    """Read a nodule's mask file, take centre and size from its masks where it has none, or size from the image.

    Parameters
    ----------
    nodule : Nodule
    volume : CTVolume
        The whole scan.
    files : tuple of Source
        Of the scan: DICOM names the images that a mask was drawn on.

    Raises
    ------
    CaseError
        If the annotation does not fit the scan, or its mask file cannot be read or is empty.
    """
    raters = nodule.raters
    reports: list[ContourReport] = []
    if nodule.mask_path is not None:
        series_uid, sop_uids = source_uids(files if mask_kind(nodule.mask_path) != "image" else ())
        mask = read_mask_file(
            nodule.mask_path,
            volume.frame,
            roi=nodule.mask_roi,
            series_uid=series_uid,
            sop_uids=sop_uids,
            on_contours=reports.append,
        )
        raters = (*raters, mask)
    codes = tuple(code for report in reports for code in report.codes)
    nodule = replace(nodule, raters=raters, codes=(*nodule.codes, *codes))
    if nodule.centre_mm is None:
        if not any(mask.n_voxels for mask in raters):
            raise AnnotationError("empty_annotation", "the annotation's mask holds no voxel")
        bounds = np.asarray([mask.bounds for mask in raters if mask.n_voxels])
        low, high = bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)
        x, y, z = volume.frame.to_lps((low + high - 1) / 2.0).tolist()
        dz, dy, dx = ((high - low) * np.asarray(volume.frame.spacing_mm)).tolist()
        nodule = replace(nodule, centre_mm=(x, y, z), size_mm=(dx, dy, dz))
    return with_extent(volume, nodule)
