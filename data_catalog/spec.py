"""What the catalog says about a data set, and the seam of the annotation readers."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from lungpipe import plugins
from lungpipe.errors import DatasetError, Exclusion

if TYPE_CHECKING:
    from pathlib import Path

    from lungpipe.dicom.series import SeriesTable
    from lungpipe.nodule import Nodule


class DatasetSpec(BaseModel):
    """One data set: where it comes from, and how its annotations are read.

    ``columns`` maps the generic names of a nodule table (``contracts``: patient_id, nodule_id, series_uid, x, y, z,
    width_mm, height_mm, depth_mm, diameter_mm, malignant, split, frame, mask) to the data set's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    licence: str
    citation: str
    obtain: str
    reader: str
    needs_annotations: bool = True
    intensities: Literal["measured", "simulated"] = "measured"
    frame: Literal["lps", "ras", "voxel"] = "lps"
    columns: dict[str, str] = {}
    pitfalls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a reader found: nodules, and rows that it could not use (identifiers as in the file)."""

    nodules: tuple[Nodule, ...]
    exclusions: tuple[Exclusion, ...] = ()


class AnnotationReader(Protocol):
    """A plug-in of the group ``lungpipe.annotations``."""

    def __call__(self, spec: DatasetSpec, path: Path | None, series: SeriesTable) -> Annotations:
        """Read the nodules of the indexed series.

        Parameters
        ----------
        spec : DatasetSpec
        path : Path or None
            The annotation file or folder that the recipe names.
        series : SeriesTable
            For frames that need a grid, and to tell which series exist.

        Raises
        ------
        DatasetError
            If the file is missing or has another format.
        """
        ...


def list_datasets() -> list[str]:
    """Names in the catalog."""
    folder = resources.files("data_catalog") / "datasets"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def load_dataset(name: str) -> DatasetSpec:
    """Read one entry of the catalog.

    Raises
    ------
    DatasetError
        If there is no such entry; the message lists those that are.
    """
    known = list_datasets()
    if name not in known:
        raise DatasetError(f"no data set {name!r} in the catalog; there are: {', '.join(known)}")
    text = (resources.files("data_catalog") / "datasets" / f"{name}.toml").read_text(encoding="utf-8")
    return DatasetSpec.model_validate(tomllib.loads(text))


def read_annotations(spec: DatasetSpec, path: Path | None, series: SeriesTable) -> Annotations:
    """Read the annotations of a data set with the reader that its entry names.

    Raises
    ------
    DatasetError
        If the entry needs an annotation file and ``path`` is None or missing, or the file does not fit.
    """
    if spec.needs_annotations and path is None:
        raise DatasetError(f"data set {spec.name!r} needs cohort.annotations: the path of its annotations")
    if path is not None and not path.exists():
        raise DatasetError(f"no annotations at {path}; set cohort.annotations to the file or folder of {spec.title}")
    reader: AnnotationReader = plugins.find("annotations", spec.reader)
    return reader(spec, path, series)
