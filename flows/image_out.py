"""Images that commands write: their names, and whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path


def check_mask_name(out: Path) -> None:
    """Refuse a name that says no format of a mask, before any work.

    Raises
    ------
    DatasetError
        If it ends otherwise than in .nii.gz, .nii or .nrrd.
    """
    if not "".join(out.suffixes).lower().endswith((".nii", ".nii.gz", ".nrrd")):
        raise DatasetError(f"{out}: a mask is written as .nii.gz, .nii or .nrrd")


def write_image(out: Path, image: Any) -> None:
    """Write a SimpleITK image, whole or not at all; folders are made."""
    import SimpleITK as sitk

    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".partial-{out.name}")
    sitk.WriteImage(image, str(temporary), True)
    temporary.replace(out)
