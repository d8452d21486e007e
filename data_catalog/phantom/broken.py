"""Write a cohort with every curation fault, one series a fault, and faultless ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from data_catalog.phantom.faults import ENTRIES
from data_catalog.phantom.identities import make_people
from data_catalog.phantom.layouts import LAYOUTS
from data_catalog.phantom.scans import Scan
from data_catalog.phantom.strays import write_strays
from lungpipe.dicom.codes import verdict
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Series that are written.
N_SERIES = len(ENTRIES)
EXPECTED_COLUMNS = ("series_uid", "patient_id", "stack", "code", "verdict", "note")
REFUSED_COLUMNS = ("path", "entry", "code", "note")


def write_broken(out: Path, seed: int = 0, on_series: Callable[[int], None] | None = None) -> Path:
    """Write an archive as hospitals leave it: every fault that curation must find, and what it must find.

    All pixels are an analytic chest with noise, all people are made up. Headers keep names, dates and numbers, as if
    nobody had de-identified them.

    Parameters
    ----------
    out : Path
        Folder for ``dicom/``, ``expected.csv`` (a row for each stack: its quality codes joined by ";", and the verdict
        they bring by default) and ``expected_files.csv`` (files that an index must refuse, with the exclusion's code);
        made if absent.
    seed : int
        Same seed, same files.
    on_series : callable, optional
        Called with the number of series written so far, of :data:`N_SERIES`.

    Returns
    -------
    Path
        ``out/expected.csv``, written last.

    Raises
    ------
    DatasetError
        If the seed is negative, or ``out`` is not an empty folder.
    """
    if seed < 0:
        raise DatasetError(f"the seed of a phantom must be 0 or more, found {seed}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out} is not an empty folder: a phantom is written to a new one, so that no slices mix")
    dicom = out / "dicom"
    scans = plan_scans(seed)
    rows = []
    for index, entry in enumerate(ENTRIES):
        scan = scans[entry.name]
        save = entry.save or LAYOUTS[index % len(LAYOUTS)]
        save(dicom / (entry.folder or entry.name), entry.build(scan), scan)
        for stack, codes in enumerate(entry.codes, start=1):
            found = verdict(codes.split(";") if codes else [])
            rows.append((str(scan.uid("series")), scan.person.patient_id, stack, codes, found, entry.note))
        if on_series is not None:
            on_series(index + 1)
    refused = write_strays(dicom, scans[ENTRIES[0].name])
    files = pd.DataFrame([(f"dicom/{path}", *rest) for path, *rest in refused], columns=list(REFUSED_COLUMNS))
    files.to_csv(out / "expected_files.csv", index=False, lineterminator="\n")
    expected = pd.DataFrame(rows, columns=list(EXPECTED_COLUMNS)).sort_values(["patient_id", "series_uid", "stack"])
    path = out / "expected.csv"
    expected.to_csv(path, index=False, lineterminator="\n")
    return path


def plan_scans(seed: int) -> dict[str, Scan]:
    """Say which patient and study each entry of the cohort belongs to, by the entry's name."""
    people = iter(make_people(N_SERIES, seed))
    scans: dict[str, Scan] = {}
    for number, entry in enumerate(ENTRIES, start=1):
        person = scans[entry.person_of].person if entry.person_of else next(people)
        scans[entry.name] = Scan(seed, entry.name, entry.study_of or entry.name, person, number)
    return scans
