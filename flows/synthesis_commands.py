"""The commands ``insert-lesion`` and ``inpaint-lesion``: a lesion put into a scan, or taken out of it. Both write SIMULATED images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.image_out import check_mask_name, write_image
from lungpipe.errors import DatasetError, GeometryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from data_catalog.phantom.candidates import Candidate
    from lungpipe.geometry import Geometry, Triple
    from lungpipe.synthesis import Look, SignedDistance
    from lungpipe.volume import CTVolume, Mask

#: What every record and every image's header say.
SIMULATED = "SIMULATED: this image was changed by lungpipe and is no scan of a patient as it was acquired"
#: Names of images that are written.
IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")

Image = Annotated[Path, typer.Argument(help="NIfTI, NRRD, MetaImage, or a folder or zip with one DICOM series, in HU.")]
Out = Annotated[Path, typer.Option(help="Image to write (.nii.gz, .nii, .nrrd, .mha); its record goes to OUT.json.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same image.")]
Json = Annotated[bool, typer.Option("--json", help="Print the record.")]


def insert_lesion(
    image: Image,
    out: Out,
    mask: Annotated[Path, typer.Option(help="Mask of the lesion to write: NIfTI or NRRD, on the image's grid.")],
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|SOURCE",
            help="Mask file, or nodule of LIDC-IDRI ('LIDC-IDRI-0314 scan 314 nodule 1'); default: drawn.",
        ),
    ] = None,
    point: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="Where (LPS mm); default: drawn in the lung.")
    ] = None,
    hu: Annotated[
        float | None, typer.Option(help="Mean HU; default: by the nodule's own ratings, of a mask file 30.")
    ] = None,
    margin_mm: Annotated[
        float, typer.Option(min=0, help="Least distance of a drawn place from what is not lung, mm.")
    ] = 5.0,
    clear_of_vessels: Annotated[bool, typer.Option("--clear-of-vessels", help="Draw a place without vessels.")] = False,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """Put a lesion of a real shape into healthy lung of a scan, with the scan's own blur and noise. The image is SIMULATED.

    Example: lungpipe insert-lesion ct.nii.gz --out simulated.nii.gz --mask lesion.nii.gz --seed 3
    """
    from dataclasses import asdict

    from lungpipe.region.lung import lung_mask
    from lungpipe.synthesis import inserted, random_place, scanner_at
    from lungpipe.volume import CTVolume

    _check_image_name(out, image, mask)
    check_mask_name(mask)
    place_mm = _point(point) if point is not None else None
    source, solid, look = _shape(shape, seed, hu)
    volume = CTVolume(*_read(image))
    lung = lung_mask(volume)
    if place_mm is None:
        place_mm = random_place(volume, lung, solid, seed=seed, margin_mm=margin_mm, clear_of_vessels=clear_of_vessels)
    scanner = scanner_at(volume, place_mm, lung)
    new, lesion = inserted(volume, solid, place_mm, look, scanner, seed=seed, lung=lung)
    record = {
        "simulated": SIMULATED,
        "what": "a lesion was inserted",
        "image_sha256": volume.hu_sha256,
        "shape": source,
        "seed": seed,
        "centre_lps_mm": list(place_mm),
        "place": "drawn" if point is None else "given",
        "mask_id": lesion.content_id,
        "n_voxels": lesion.n_voxels,
        "volume_mm3": lesion.volume_mm3,
        "look": asdict(look),
        "sharpness": asdict(scanner.sharpness),
        "blur_beyond_voxels_mm": scanner.sharpness.beyond_voxels_mm(volume.frame.spacing_mm),
        "noise_hu": scanner.noise.sd_hu,
        "noise_of_neighbours_correlates": scanner.noise.neighbours,
    }
    _write_mask(mask, lesion)
    _write(out, new, record, json_)


def inpaint_lesion(
    image: Image,
    mask: Annotated[Path, typer.Argument(help="Mask of the lesion on the image's grid; what is not 0 is inside.")],
    out: Out,
    margin_mm: Annotated[float, typer.Option(min=0, help="How far beyond the mask lung is filled, mm.")] = 3.0,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """Take a lesion out of a scan: fill it, and the lung next to it, as its surroundings go on. The image is SIMULATED.

    Example: lungpipe inpaint-lesion ct.nii.gz nodule.nii.gz --out without.nii.gz
    """
    import numpy as np

    from lungpipe.dicom.read import read_image
    from lungpipe.synthesis import inpainted
    from lungpipe.volume import CTVolume, Mask

    _check_image_name(out, image, mask)
    volume = CTVolume(*_read(image))
    labels, grid = read_image(mask)
    if (differs := volume.frame.mismatch(grid)) is not None:
        raise GeometryError(f"the mask does not lie on the image's grid: {differs}")
    lesion = Mask(np.asarray(labels) != 0, volume.frame)
    new = inpainted(volume, lesion, seed=seed, margin_mm=margin_mm)
    before, after = (one.hu[lesion.voxels].astype(np.float64) for one in (volume, new))
    record = {
        "simulated": SIMULATED,
        "what": "a lesion was inpainted",
        "image_sha256": volume.hu_sha256,
        "seed": seed,
        "margin_mm": margin_mm,
        "mask_id": lesion.content_id,
        "n_voxels": lesion.n_voxels,
        "n_changed": int(np.count_nonzero(new.hu != volume.hu)),
        "mean_hu": {"before": float(before.mean()), "after": float(after.mean())},
        "sd_hu": {"before": float(before.std()), "after": float(after.std())},
    }
    _write(out, new, record, json_)


def _shape(wanted: str | None, seed: int, hu: float | None) -> tuple[str, SignedDistance, Look]:
    """Where a shape comes from, the shape, and the look of its tissue."""
    from data_catalog.phantom.scene import NODULE_TEXTURE
    from data_catalog.phantom.shapes import FINE_MM
    from lungpipe.synthesis import Look, SignedDistance

    texture_hu, texture_mm = NODULE_TEXTURE
    if wanted is not None and not wanted.startswith("LIDC-IDRI"):
        digest, solid = _shape_file(Path(wanted))
        return digest, solid, Look(30.0 if hu is None else hu, texture_hu, texture_mm)
    candidate = _candidate(wanted, seed)
    outline = candidate.shape
    solid = SignedDistance(outline.distance_mm, (FINE_MM, FINE_MM, FINE_MM), outline.centre_index)
    return candidate.source, solid, Look(_rated_hu(candidate) if hu is None else hu, texture_hu, texture_mm)


def _shape_file(path: Path) -> tuple[str, SignedDistance]:
    import numpy as np

    from lungpipe.dicom.read import read_image
    from lungpipe.synthesis import shape_of_mask
    from lungpipe.volume import Mask

    labels, grid = read_image(path)
    mask = Mask(np.asarray(labels) != 0, grid)
    if not mask.n_voxels:
        raise DatasetError(f"{path.name} holds no voxel that is not 0; --shape takes the mask of a lesion")
    return f"mask {mask.content_id}", shape_of_mask(mask)


def _candidate(source: str | None, seed: int) -> Candidate:
    """A nodule of LIDC-IDRI by its name, or one drawn."""
    import numpy as np

    from data_catalog.phantom.candidates import read_candidates

    print("reading the outlines of LIDC-IDRI", file=sys.stderr)  # noqa: T201  the command line's own output
    candidates = read_candidates()
    if source is None:
        return candidates[int(np.random.default_rng(seed).integers(len(candidates)))]
    for candidate in candidates:
        if candidate.source == source:
            return candidate
    raise DatasetError(
        f"{source!r} is none of the {len(candidates)} nodules of LIDC-IDRI that can be used (outlined by three or four "
        f"radiologists, 6 to 20 mm); a name reads like {candidates[0].source!r}"
    )


def _rated_hu(candidate: Candidate) -> float:
    """Mean HU of a nodule by its ratings of texture and calcification, as the simulated cohort has it."""
    import numpy as np

    from data_catalog.phantom.candidates import NOT_CALCIFIED
    from data_catalog.phantom.scene import CALCIFIED_HU, NODULE_HU

    calcified = min(max((NOT_CALCIFIED - candidate.calcification) / 3, 0.0), 1.0)
    return float(np.interp(candidate.texture, *NODULE_HU)) + CALCIFIED_HU * calcified


def _read(image: Path) -> tuple[NDArray[Any], Geometry]:
    import numpy as np

    from lungpipe.dicom.read import read_image

    values, geometry = read_image(image)
    if np.issubdtype(values.dtype, np.unsignedinteger) and values.dtype.itemsize == 1:
        raise DatasetError("the image holds bytes, no HU; give the CT itself")
    if np.issubdtype(values.dtype, np.integer):
        return np.clip(values, -32768, 32767).astype(np.int16), geometry
    return values.astype(np.float32), geometry


def _point(text: str) -> Triple:
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError as error:
        raise DatasetError(f"--point {text!r}: expected 3 numbers joined by commas, mm (LPS)") from error
    return x, y, z


def _check_image_name(out: Path, *others: Path) -> None:
    if not out.name.lower().endswith(IMAGE_SUFFIXES):
        raise DatasetError(f"{out}: an image is written as {', '.join(IMAGE_SUFFIXES)}")
    if out.resolve() in {other.resolve() for other in others}:
        raise DatasetError(f"{out} would be written over the scan, or over the mask; name another file")


def _write_mask(out: Path, lesion: Mask) -> None:
    import numpy as np

    from lungpipe.dicom.read import to_sitk

    voxels = lesion.within((0, 0, 0), lesion.frame.shape).voxels.astype(np.uint8)
    write_image(out, to_sitk(voxels, lesion.frame))


def _write(out: Path, new: CTVolume, record: dict[str, Any], json_: bool) -> None:
    """Write a record, and then the image, whose header says what it is too: it never stands without its record."""
    from lungpipe.dicom.read import to_sitk
    from lungpipe.store.place import write_atomically

    text = json.dumps(record, indent=1)
    write_atomically(out.with_name(f"{out.name}.json"), text.encode())
    written = to_sitk(new.hu, new.frame)
    written.SetMetaData("ITK_FileNotes", "SIMULATED by lungpipe")
    write_image(out, written)
    print(text if json_ else out)  # noqa: T201  the command line's own output
