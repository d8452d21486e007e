"""The command ``extract``: features of one image and one mask, without a workspace."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Extractor that ``extract`` uses unless told otherwise.
DEFAULT_EXTRACTOR = "nested"
#: Configurations of the IBSI reference manual that ``extract`` computes.
PROFILES = ("ibsi-A", "ibsi-B", "ibsi-C", "ibsi-D", "ibsi-E")


def extract(
    image: Annotated[Path, typer.Argument(help="NIfTI, NRRD, MetaImage, or a folder or zip with one DICOM series.")],
    mask: Annotated[Path, typer.Argument(help="NIfTI, NRRD, MetaImage, DICOM SEG or RTSTRUCT.")],
    out: Annotated[Path, typer.Option(help="CSV with feature,value rows.")],
    label: Annotated[
        int | None, typer.Option(help="Value of the region in the mask; default: that of --settings, or 1.")
    ] = None,
    roi: Annotated[str | None, typer.Option(help="Name or number of the ROI (RTSTRUCT) or segment (SEG).")] = None,
    extractor: Annotated[
        str | None, typer.Option(help=f"Extractor plug-in (`lungpipe extractors`); default: {DEFAULT_EXTRACTOR}.")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="PyRadiomics parameter file (YAML, JSON); all of it is honoured, or refused."
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="ibsi-A|...|ibsi-E", help="IBSI's definitions and one of its configurations instead."),
    ] = None,
    filters: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Image types: original, log, wavelet, square, squareroot, logarithm, exponential, gradient, lbp-2d, lbp-3d; IBSI-2's need parameters, so a recipe.",
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as JSON too, for a script to read.")] = False,
) -> None:
    """Extract the features of one image and mask, as the pyradiomics command does; with --profile, as IBSI defines them.

    Example: lungpipe extract ct.nii.gz nodule.nii.gz --filters original,wavelet,log --out features.csv
    """
    if out.is_dir() or (out.parent.exists() and not out.parent.is_dir()):
        raise DatasetError(f"--out {out}: expected the name of a file to write in a folder")
    _check_together(settings=settings, profile=profile, filters=filters)
    if profile is not None:
        if extractor is not None:
            raise DatasetError("--profile computes IBSI's definitions itself; leave out --extractor")
        header, rows = _of_profile(image, mask, label, roi, profile)
    else:
        header = ("feature", "value")
        rows = _of_extractor(image, mask, label, roi, extractor or DEFAULT_EXTRACTOR, settings, filters)
    _write(out, header, rows)
    print(f"{len(rows)} features", file=sys.stderr)  # noqa: T201  the command line's own output
    if json_:
        found = [{name: _json_value(value) for name, value in zip(header, row, strict=True)} for row in rows]
        print(json.dumps({"features": found, "out": str(out)}, indent=1))  # noqa: T201  the command line's own output
        return
    print(out)  # noqa: T201  the command line's own output


def _check_together(**given: object) -> None:
    """Refuse options of which each says all by itself."""
    named = [f"--{name}" for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise DatasetError(f"{' and '.join(named)} do not go together: each says what is computed")


def _of_extractor(
    image: Path, mask: Path, label: int | None, roi: str | None, name: str, file: Path | None, filters: str | None
) -> list[tuple[Any, ...]]:
    from lungpipe import plugins
    from lungpipe.radiomics.oneoff import extract_pair, extract_with_parameter_file
    from lungpipe.radiomics.settings import RadiomicsSettings

    extractor = plugins.find("extractors", name)()
    if file is not None:
        return _told(extract_with_parameter_file(image, mask, label, file, extractor, roi=roi))
    names = tuple(part.strip() for part in filters.split(",") if part.strip()) if filters is not None else ("original",)
    return _told(extract_pair(image, mask, label, RadiomicsSettings(filters=names), extractor, roi=roi))


def _told(features: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows, with what needs a look about them said on standard error."""
    from lungpipe.radiomics.undefined import CODES, Features

    for code in features.codes if isinstance(features, Features) else ():
        print(f"{code}: {CODES[code]}", file=sys.stderr)  # noqa: T201  the command line's own output
    return list(features.items())


def _of_profile(
    image: Path, mask: Path, label: int | None, roi: str | None, profile: str
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    known = {name.lower(): name for name in PROFILES}
    if profile.lower() not in known:
        raise DatasetError(f"no profile {profile!r}; known: {', '.join(PROFILES)}")
    from lungpipe.radiomics.ibsi.profile import profile_rows
    from lungpipe.radiomics.oneoff import read_pair

    found = profile_rows(*read_pair(image, mask, label, roi), known[profile.lower()])
    reasons = Counter(row.code for row in found if row.code)
    for code, count in sorted(reasons.items()):
        print(f"{code}: {count} features have no value", file=sys.stderr)  # noqa: T201  the command line's own output
    header = ("feature", "ibsi_code", "aggregation", "value")
    return header, [tuple(getattr(row, column) for column in header) for row in found]


def _write(out: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from lungpipe.store.place import write_atomically

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([repr(value) if isinstance(value, float) else value for value in row] for row in rows)
    write_atomically(out, text.getvalue().encode())


def _json_value(value: Any) -> Any:
    """A value as JSON has it: not a number is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
