"""Series of a workspace as OME-Zarr 0.5, for viewers: the CT in several resolutions, the masks as labels.

The format is OME-NGFF 0.5 (https://ngff.openmicroscopy.org/0.5/), which is zarr v3. It knows scale and translation of an
axis and no rotation, so axes are put in the order and sense of the patient's (z to S, y to P, x to L, mm) where the scan's
run along them, and the direction cosines are an attribute of ours where they do not.
"""

from __future__ import annotations

import colorsys
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from lungpipe.errors import CaseError, Exclusion
from lungpipe.geometry import Geometry
from lungpipe.store.contents import stored_mask, stored_nodules, stored_series, volume_name
from lungpipe.store.pyramid import pyramid
from lungpipe.store.volumes import CHUNK, read_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lungpipe.store.contents import Row
    from lungpipe.store.place import Place
    from lungpipe.volume import CTVolume, Mask

VERSION, STAGE, SUFFIX = "0.5", "export", ".ome.zarr"
#: Largest difference of a direction cosine from 0, 1 or -1 that counts as none: 0.05 mm over half a metre.
ALIGNED = 1e-4
#: Shown by a viewer at first, HU: the usual lung window, level -600 and width 1500.
WINDOW_HU = (-1350, 150)
_AXES = tuple({"name": name, "type": "space", "unit": "millimeter"} for name in "zyx")


@dataclass(frozen=True, slots=True)
class Upright:
    """How a scan's array becomes one whose axes run towards S, P and L.

    Parameters
    ----------
    axes : tuple of int
        Array axes (z, y, x) of the scan, in their new order.
    flipped : tuple of int
        New axes that run the other way.
    frame : Geometry
        Grid of the new array. Its direction is the identity unless the scan is oblique, whose array stays as it is.
    """

    axes: tuple[int, ...]
    flipped: tuple[int, ...]
    frame: Geometry

    @property
    def oblique(self) -> bool:
        """Whether the axes run along none of the patient's."""
        return bool(np.abs(self.frame.matrix - np.eye(3)).max() > ALIGNED)

    def __call__(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """View of an array (z, y, x) of the scan in the new order."""
        return np.flip(voxels.transpose(self.axes), self.flipped)


def upright(frame: Geometry) -> Upright:
    """Find order and sense of a scan's axes."""
    nearest = np.rint(frame.matrix)
    if np.abs(frame.matrix - nearest).max() > ALIGNED:
        return Upright((0, 1, 2), (), frame)
    columns = [int(np.argmax(np.abs(nearest[lps]))) for lps in (2, 1, 0)]
    axes = tuple(2 - column for column in columns)
    flipped = tuple(
        new for new, (lps, column) in enumerate(zip((2, 1, 0), columns, strict=True)) if nearest[lps, column] < 0
    )
    first = [0, 0, 0]
    for new in flipped:
        first[axes[new]] = frame.shape[axes[new]] - 1
    nz, ny, nx = (frame.shape[a] for a in axes)
    dz, dy, dx = (frame.spacing_mm[a] for a in axes)
    x, y, z = frame.to_lps(first).tolist()
    return Upright(axes, flipped, Geometry((nz, ny, nx), (dz, dy, dx), (x, y, z)))


def export_ome(
    place: Place, out: Path, only: Collection[str] = (), progress: Callable[[int, int], None] | None = None
) -> tuple[list[Path], list[str], list[Exclusion]]:
    """Write every series of a workspace that has a volume to ``out/<series>.ome.zarr``; what is there is replaced.

    Parameters
    ----------
    place : Place
        The workspace.
    out : Path
        A local folder.
    only : collection of str
        Pseudonyms of the series wanted; all if empty.
    progress : callable, optional
        Called with the number of series done and of all, after each series.

    Returns
    -------
    written : list of Path
    oblique : list of str
        Series whose axes run along none of the patient's: a viewer shows them unrotated.
    exclusions : list of Exclusion
        One for each volume or mask that was not written.

    Raises
    ------
    DatasetError
        As :func:`lungpipe.store.contents.stored_series`.
    """
    rows, nodules = stored_series(place, only), stored_nodules(place)
    written: list[Path] = []
    oblique: list[str] = []
    exclusions: list[Exclusion] = []
    for done, row in enumerate(rows, start=1):
        uid, who = str(row["series_uid"]), {"patient_id": str(row["patient_id"]), "series_uid": str(row["series_uid"])}
        masks: dict[str, dict[str, Mask]] = {}
        for one in nodules.get(uid, []):
            try:
                masks.setdefault(str(one["segmenter"]), {})[str(one["nodule_id"])] = stored_mask(place, one)
            except CaseError as error:
                message = f"{one['segmenter']}: {error.message}"
                exclusions.append(Exclusion(STAGE, error.code, message, **who, nodule_id=str(one["nodule_id"])))
        try:
            volume = read_volume(place, volume_name(row["volume_id"]))
        except CaseError as error:
            exclusions.append(Exclusion(STAGE, error.code, error.message, **who))
        else:
            written.append(out / f"{uid}{SUFFIX}")
            if write_ome(written[-1], volume, masks, row):
                oblique.append(uid)
        if progress is not None:
            progress(done, len(rows))
    return written, oblique, exclusions


def write_ome(folder: Path, volume: CTVolume, masks: Mapping[str, Mapping[str, Mask]], about: Row) -> bool:
    """Write one series as an OME-Zarr image, whole or not at all.

    Parameters
    ----------
    folder : Path
        Replaced if it is there.
    volume : CTVolume
        Whole.
    masks : mapping
        Masks by segmenter and nodule, on the volume's grid.
    about : dict
        ``dataset``, ``intensities``, ``patient_id`` and ``series_uid``, pseudonymous.

    Returns
    -------
    bool
        Whether the scan is oblique, so that its rotation is in our attributes alone.
    """
    turn = upright(volume.frame)
    temporary = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    simulated = "" if about["intensities"] == "measured" else f" ({about['intensities']} intensities)"
    low, high = WINDOW_HU
    window = {"start": low, "end": high, "min": -1024, "max": 3071}
    root = _image(
        zarr.create_group(temporary, zarr_format=3),
        turn(volume.hu),
        turn.frame,
        f"CT of {about['series_uid']}{simulated}",
        "mean",
        {"omero": {"channels": [{"label": "HU", "color": "FFFFFF", "active": True, "window": window}]}},
    )
    root.attrs["lungpipe"] = {
        **{name: str(about[name]) for name in ("dataset", "intensities", "patient_id", "series_uid")},
        "units": "HU",
        "coordinates": "LPS, mm" if not turn.oblique else "mm along the scan's own axes; direction leads to LPS",
        "origin_lps_mm": list(turn.frame.origin_mm),
        "direction": list(turn.frame.direction),
    }
    if masks:
        labels = root.create_group("labels", attributes={"ome": {"version": VERSION, "labels": sorted(masks)}})
        for name in sorted(masks):
            _labels(labels.create_group(name), masks[name], volume.frame, turn, name)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return turn.oblique


def _labels(group: zarr.Group, masks: Mapping[str, Mask], frame: Geometry, turn: Upright, name: str) -> None:
    """Masks of one segmenter as one image of labels, 1 for the first nodule by name; the smaller of two lies on top."""
    values = {nodule: value for value, nodule in enumerate(sorted(masks), start=1)}
    labels = np.zeros(frame.shape, np.uint8 if len(values) < 256 else np.uint16)
    for nodule in sorted(masks, key=lambda nodule: -masks[nodule].n_voxels):
        mask = masks[nodule]
        window = tuple(slice(a, b) for a, b in zip(mask.start, mask.stop, strict=True))
        labels[window][mask.voxels] = values[nodule]
    shown = np.bincount(labels.ravel(), minlength=len(values) + 1)
    properties = [
        {
            "label-value": value,
            "nodule_id": nodule,
            "n_voxels": masks[nodule].n_voxels,
            "hidden_voxels": masks[nodule].n_voxels - int(shown[value]),
        }
        for nodule, value in values.items()
    ]
    colors = [{"label-value": value, "rgba": [*_color(value), 255]} for value in values.values()]
    about = {"colors": colors, "properties": properties, "source": {"image": "../../"}}
    _image(group, turn(labels), turn.frame, name, "maximum", {"image-label": about})


def _color(value: int) -> list[int]:
    """Hues a golden section apart: neighbours differ, however many there are."""
    return [round(255 * part) for part in colorsys.hsv_to_rgb(value * 0.618034 % 1, 0.8, 1.0)]


def _image(
    group: zarr.Group,
    voxels: NDArray[Any],
    frame: Geometry,
    name: str,
    how: Literal["mean", "maximum"],
    more: Mapping[str, Any],
) -> zarr.Group:
    """Fill a group with a multiscale image; its arrays are plain chunks, which every reader of zarr v3 knows."""
    datasets = []
    for level, (reduced, factor) in enumerate(pyramid(voxels, frame.spacing_mm, how)):
        group.create_array(
            str(level),
            data=np.ascontiguousarray(reduced),
            chunks=tuple(min(c, n) for c, n in zip(CHUNK, reduced.shape, strict=True)),
            compressors=BloscCodec(cname="zstd", clevel=3),
            fill_value=0,
            dimension_names=[axis["name"] for axis in _AXES],
        )
        datasets.append({"path": str(level), "coordinateTransformations": _transformations(frame, factor)})
    image: dict[str, Any] = {
        "name": name,
        "axes": list(_AXES),
        "datasets": datasets,
        "type": how,
        "metadata": {"description": f"each level holds the {how} of blocks of the first level's voxels"},
    }
    group.attrs["ome"] = {"version": VERSION, "multiscales": [image], **more}
    return group


def _transformations(frame: Geometry, factor: Sequence[int]) -> list[dict[str, Any]]:
    """From an index (z, y, x) of a level to mm: the centre of its first block lies inside the image's first voxels."""
    scale = [s * f for s, f in zip(frame.spacing_mm, factor, strict=True)]
    origin = frame.origin_mm[::-1]
    shift = [o + s * (f - 1) / 2 for o, s, f in zip(origin, frame.spacing_mm, factor, strict=True)]
    return [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
