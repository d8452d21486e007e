"""LIDC-IDRI's XML files: one file, a folder of them, and the same nodules as from the SQLite file."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from data_catalog import load_dataset
from data_catalog import read_annotations as read_catalog
from data_catalog.lidc import (
    RATING_SCALES,
    Annotation,
    Contour,
    cluster_annotations,
    malignancy_label,
    on_instances,
    rater_mask,
    rater_rows,
    read_annotations,
    read_message,
    read_messages,
    read_nodules,
    read_readings,
    read_scans,
    scan_frame,
)
from data_catalog.lidc.message import UnreadableMessageError, message_series_uid
from flows.rater_commands import raters
from lungpipe.dicom.index import index_series
from lungpipe.dicom.series import Series, SeriesTable
from lungpipe.dicom.source import of_paths
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.segment.agreement import dice

FIXTURES = Path(__file__).parent / "fixtures_lidc"
READINGS = FIXTURES / "readings.xml"
FRAME = Geometry((6, 40, 40), (2.0, 0.5, 0.5), (0.0, 0.0, -104.0))
#: The series that the fixture's readings are of.
SERIES = Series(
    "P", "2.25.999", "2.25.1000", "CT", of_paths([f"{k}.dcm" for k in range(6)]),
    tuple(f"2.25.2000.{k}" for k in range(6)), geometry=FRAME,
)  # fmt: skip
SPEC = load_dataset("lidc-idri")
SERIES_0314 = "1.3.6.1.4.1.14519.5.2.1.6279.6001.154677396354641150280013275227"
FRAME_0314 = Geometry((275, 512, 512), (1.0, 0.78125, 0.78125), (-201.0, -59.0, -679.800049))


def ring(x: int, y: int, side: int) -> np.ndarray:
    """Outline of a square whose corner is (x, y)."""
    n, last = np.arange(side - 1), side - 1
    along = np.concatenate([n, 0 * n + last, last - n, 0 * n])
    return np.column_stack([along, np.roll(along, side - 1)]) + np.array([x, y])


def fixture_annotations() -> list[Annotation]:
    """The nodules of ``readings.xml``, written with the types instead of XML."""
    z = [-104.0 + 2 * k for k in range(6)]
    hole = Contour(z[2], ring(13, 13, 3), included=False)
    return [
        Annotation(1, 0, 5, 1, 6, 4, 4, 2, 1, 5, 4, contours=(Contour(z[2], ring(10, 10, 9)), hole, Contour(z[3], ring(10, 10, 9)))),
        Annotation(2, 0, 4, 1, 6, 3, 5, 1, 2, 4, 5, contours=(Contour(z[2], ring(11, 10, 9)), Contour(z[3], ring(11, 10, 9)), Contour(z[4], np.array([[14, 14]])))),
        Annotation(3, 0, 2, 5, 6, 3, 3, 1, 1, 1, 2, contours=(Contour(z[1], ring(25, 25, 6)),)),
    ]  # fmt: skip


def ratings(annotation: Annotation) -> list[int]:
    return [getattr(annotation, name) for name in RATING_SCALES]


def message(series_uid: str, sessions: list[list[Annotation]], spelling: str = "SeriesInstanceUid") -> str:
    """Write readings as XML, one session a radiologist; a plain writer of the tests' own."""
    names = ["internalStructure" if name == "internal_structure" else name for name in RATING_SCALES]

    def roi(c: Contour) -> str:
        points = "".join(
            f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in c.points_xy.tolist()
        )
        return (
            f"<roi><imageZposition>{c.z_mm!r}</imageZposition><imageSOP_UID>{c.sop_uid}</imageSOP_UID>"
            f"<inclusion>{str(c.included).upper()}</inclusion>{points}</roi>"
        )

    def nodule(a: Annotation) -> str:
        values = "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, ratings(a), strict=True))
        return (
            f"<unblindedReadNodule><noduleID>{a.annotation_id}</noduleID><characteristics>{values}</characteristics>"
            + "".join(map(roi, a.contours))
            + "</unblindedReadNodule>"
        )

    body = "".join(f"<readingSession>{''.join(map(nodule, drawn))}</readingSession>" for drawn in sessions)
    header = f"<ResponseHeader><Version>1.8.1</Version><{spelling}>{series_uid}</{spelling}></ResponseHeader>"
    return f'<?xml version="1.0"?><LidcReadMessage uid="1" xmlns="http://www.nih.gov">{header}{body}</LidcReadMessage>'


def read(path: Path, *series: Series):
    return read_catalog(SPEC, path, SeriesTable(series or (SERIES,)))


# One file


def test_the_fixture_holds_the_nodules_written_with_the_types() -> None:
    """Ratings, slices, holes and masks of the XML are those of the same nodules written with the types."""
    found = read_message(READINGS)
    expected = fixture_annotations()
    assert found.series_uid == "2.25.1000"
    assert [ratings(a) for a in found.annotations] == [ratings(a) for a in expected]
    for a, b in zip(found.annotations, expected, strict=True):
        assert [(c.z_mm, c.included) for c in a.contours] == [(c.z_mm, c.included) for c in b.contours]
        assert rater_mask(a, FRAME).content_id == rater_mask(b, FRAME).content_id


def test_masks_of_the_fixture_by_hand() -> None:
    """Squares of 7 x 7 on two slices, less a hole of nine: 89 and 98 voxels with 75 in common; a point adds nothing."""
    first, second, other = (rater_mask(a, FRAME) for a in read_message(READINGS).annotations)
    assert (first.n_voxels, second.n_voxels, other.n_voxels) == (2 * 49 - 9, 2 * 49, 16)
    assert dice(first, second) == pytest.approx(2 * 75 / (89 + 98))


def test_points_are_no_nodules_and_a_missing_rating_is_counted() -> None:
    """Small nodules, with no ratings or with zeros, are passed over; one outlined without ratings is counted."""
    assert read_message(READINGS).unrated == 1


@pytest.mark.parametrize("spelling", ["SeriesInstanceUid", "SeriesInstanceUID"])
def test_both_spellings_of_the_series(tmp_path: Path, spelling: str) -> None:
    """The published files spell the series UID in two ways."""
    path = tmp_path / "a.xml"
    path.write_text(message("2.25.7", [], spelling))
    assert message_series_uid(path) == read_message(path).series_uid == "2.25.7"
    assert read_message(path).annotations == ()


def test_readings_of_radiographs_are_told_apart() -> None:
    """A chest radiograph's file names a series too, but is none of CT."""
    assert message_series_uid(FIXTURES / "radiograph.xml") is None
    with pytest.raises(UnreadableMessageError, match="not an LidcReadMessage"):
        read_message(FIXTURES / "radiograph.xml")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("</LidcReadMessage>", "", "ParseError"),
        ("<imageZposition>-100.0", "<imageZposition>near", "ValueError"),
        ("<imageZposition>-100.0", "<imageZposition>nan", "slice position"),
        ("<xCoord>10</xCoord>", "<xCoord></xCoord>", "ValueError"),
        ("<xCoord>10</xCoord>", f"<xCoord>{10**30}</xCoord>", "OverflowError"),
        ("<inclusion>FALSE", "<inclusion>MAYBE", "neither includes nor excludes"),
        ("<malignancy>4", "<malignancy>four", "ValueError"),
        ("SeriesInstanceUid>", "Series>", "names no series"),
        ("ResponseHeader", "Header", "without a header"),
        ('encoding="UTF-8"', 'encoding="no-such"', "LookupError|ParseError|ValueError"),
        (
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>',
            "EntitiesForbidden",
        ),
    ],
)
def test_a_damaged_file_is_refused_whole(tmp_path: Path, old: str, new: str, match: str) -> None:
    """What is not in the format raises an error of the reader's own kind, which quotes nothing of the file."""
    path = tmp_path / "a.xml"
    text = READINGS.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UnreadableMessageError, match=match):
        read_message(path)


def test_an_outline_without_points_is_refused(tmp_path: Path) -> None:
    """An outline needs a point at least."""
    path = tmp_path / "a.xml"
    path.write_text(message("1.2", [[replace(fixture_annotations()[2], contours=(Contour(0.0, np.empty((0, 2))),))]]))
    with pytest.raises(UnreadableMessageError, match="without points"):
        read_message(path)


# A folder


def test_a_folder_of_everything(tmp_path: Path) -> None:
    """Readings are found in subfolders beside radiographs, other XML and damaged files, which do not stop the reading."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "069.XML").write_text(READINGS.read_text())
    (tmp_path / "cxr.xml").write_text((FIXTURES / "radiograph.xml").read_text())
    (tmp_path / "boxes.xml").write_text("<annotation><object/></annotation>")
    (tmp_path / "bad.xml").write_text("<LidcReadMessage>")
    (tmp_path / "image.dcm").write_bytes(b"no XML")
    found = read(tmp_path)
    assert [(n.nodule_id, n.malignant, len(n.raters), n.codes) for n in found.nodules] == [
        ("P-1", 0, 1, ("rating_off_scale",)),
        ("P-2", 1, 2, ()),
    ]
    codes = {(e.stage, e.code, e.patient_id, e.series_uid, Path(e.file).name) for e in found.exclusions}
    assert codes == {
        ("annotation", "unreadable_annotation", "", "", "bad.xml"),
        ("annotation", "incomplete_ratings", "P", "2.25.1000", ""),
    }
    assert all("bad" not in e.message and "2.25" not in e.message for e in found.exclusions)


def test_progress_counts_every_file(tmp_path: Path) -> None:
    """The callback hears after each file how many there are."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.xml").write_text(READINGS.read_text())
    seen: list[int] = []
    read_messages(tmp_path, advance=seen.append)
    assert seen == [2, 2]


def test_a_file_damaged_after_its_header_names_its_series(tmp_path: Path) -> None:
    """The series of a file that breaks off is excluded by its patient and UID, once."""
    path = tmp_path / "a.xml"
    path.write_text(READINGS.read_text()[:5000])
    found = read(path)
    assert found.nodules == ()
    assert [(e.code, e.patient_id, e.series_uid) for e in found.exclusions] == [
        ("unreadable_annotation", "P", "2.25.1000")
    ]


def test_a_series_without_a_file_and_a_file_without_a_series(tmp_path: Path) -> None:
    """An indexed series that no file names is an exclusion; a file of another series is not opened beyond its header."""
    (tmp_path / "a.xml").write_text(READINGS.read_text())
    (tmp_path / "other.xml").write_text(message("2.25.7", []).replace("</LidcReadMessage>", ""))
    second = replace(SERIES, series_uid="2.25.8", patient_id="Q")
    found = read(tmp_path, SERIES, second)
    assert len(found.nodules) == 2
    assert [(e.code, e.patient_id) for e in found.exclusions] == [
        ("incomplete_ratings", "P"),
        ("series_not_found", "Q"),
    ]


def test_no_readings_at_all_stop_the_run(tmp_path: Path) -> None:
    """A folder without XML, and one whose XML is all of another kind, are the wrong folder."""
    with pytest.raises(DatasetError, match="no XML file"):
        read(tmp_path)
    (tmp_path / "cxr.xml").write_text((FIXTURES / "radiograph.xml").read_text())
    with pytest.raises(DatasetError, match="none of the 1 XML files"):
        read(tmp_path)


def test_the_same_readings_twice_count_once(tmp_path: Path) -> None:
    """A copy whose header differs and whose sessions come in another order holds the same readings."""
    one, two, three = fixture_annotations()
    (tmp_path / "a.xml").write_text(message("2.25.1000", [[one], [two, three]]))
    (tmp_path / "b.xml").write_text(message("2.25.1000", [[two, three], [one]], "SeriesInstanceUID"))
    found = read_messages(tmp_path)
    assert len(found.messages["2.25.1000"].annotations) == 3
    assert found.exclusions == ()


def test_readings_that_contradict_each_other_exclude_the_series(tmp_path: Path) -> None:
    """Two different files of a series are both excluded, and the series has no nodules."""
    one, two, three = fixture_annotations()
    (tmp_path / "a.xml").write_text(message("2.25.1000", [[one], [two, three]]))
    (tmp_path / "b.xml").write_text(message("2.25.1000", [[one], [two]]))
    found = read(tmp_path)
    assert found.nodules == ()
    assert [(e.code, Path(e.file).name, e.patient_id) for e in found.exclusions] == [
        ("conflicting_annotations", "a.xml", "P"),
        ("conflicting_annotations", "b.xml", "P"),
    ]


def test_a_correction_replaces_what_it_corrects(tmp_path: Path) -> None:
    """A file named a correction is used, and the other is excluded as superseded; two corrections that differ conflict."""
    one, two, three = fixture_annotations()
    (tmp_path / "161.xml").write_text(message("2.25.1000", [[one], [two, three]]))
    (tmp_path / "161-resubmitted-correction.xml").write_text(message("2.25.1000", [[one], [two]]))
    found = read_messages(tmp_path)
    assert len(found.messages["2.25.1000"].annotations) == 2
    assert [(e.code, Path(e.file).name) for e in found.exclusions] == [("superseded_annotation", "161.xml")]
    (tmp_path / "161-correction-2.xml").write_text(message("2.25.1000", [[one]]))
    assert {e.code for e in read_messages(tmp_path).exclusions} == {"conflicting_annotations"}


# Slices


def test_the_instance_decides_the_slice() -> None:
    """Where UID and z position disagree the UID is followed; an unknown UID leaves z, and both are told in a code."""
    drawn = fixture_annotations()[2]
    on_four = replace(drawn, contours=(replace(drawn.contours[0], sop_uid="2.25.2000.4"),))
    assert rater_mask(on_instances(on_four, SERIES), FRAME).trimmed().start[0] == 4
    assert on_instances(on_four, SERIES).codes == ("slice_moved",)
    agreeing = replace(drawn, contours=(replace(drawn.contours[0], sop_uid="2.25.2000.1"),))
    assert on_instances(agreeing, SERIES).codes == ()
    unknown = replace(drawn, contours=(replace(drawn.contours[0], sop_uid="2.25.9"),))
    assert on_instances(unknown, SERIES).codes == ("instance_unknown",)
    assert rater_mask(on_instances(unknown, SERIES), FRAME).trimmed().start[0] == 1
    assert on_instances(drawn, SERIES).codes == ()
    assert on_instances(on_four, replace(SERIES, geometry=None)) is on_four


def test_codes_of_slices_reach_the_nodule(tmp_path: Path) -> None:
    """A nodule whose outlines were moved to their instances says so, and lies there."""
    path = tmp_path / "a.xml"
    path.write_text(READINGS.read_text().replace("2.25.2000.1<", "2.25.2000.5<"))
    (moved,) = (n for n in read(path).nodules if len(n.raters) == 1)
    assert moved.codes == ("rating_off_scale", "slice_moved")
    assert moved.centre_mm == pytest.approx((13.75, 13.75, -94.0))


def test_an_outline_that_fits_no_slice_is_an_exclusion(tmp_path: Path) -> None:
    """Without a known instance a z position beyond the series excludes it, with the reason's code."""
    path = tmp_path / "a.xml"
    path.write_text(READINGS.read_text().replace("2.25.2000.1<", "2.25.9<").replace(">-102.0<", ">-300.0<"))
    found = read(path)
    assert found.nodules == ()
    assert [e.code for e in found.exclusions] == ["incomplete_ratings", "outside_volume"]


# Against the SQLite file


@pytest.mark.parametrize("patient", ["LIDC-IDRI-0314", "LIDC-IDRI-0305", "LIDC-IDRI-0055", "LIDC-IDRI-0001"])
def test_xml_made_from_the_database_reads_as_the_database(tmp_path: Path, patient: str) -> None:
    """Annotations of a published scan, written as XML and read again, give the same groups, masks and labels."""
    (scan, *_) = (s for s in read_scans() if s.patient_id == patient)
    known = read_annotations([scan.scan_id])[scan.scan_id]
    path = tmp_path / "scan.xml"
    path.write_text(message(scan.series_uid, [known[k::4] for k in range(4)]))
    again = list(read_message(path).annotations)
    assert len(again) == len(known)
    frame = scan_frame(scan)

    def described(annotations: list[Annotation]) -> list[object]:
        return [
            (malignancy_label(group), sorted((ratings(a), rater_mask(a, frame).content_id) for a in group))
            for group in cluster_annotations(scan, annotations)
        ]

    assert described(again) == described(known)


def test_scan_0314_comes_out_the_same_from_either_file(tmp_path: Path) -> None:
    """The adapter gives the same nodule from XML as from the SQLite file: id, label, box and the four masks."""
    known = read_annotations([314])[314]
    path = tmp_path / "0314.xml"
    path.write_text(message(SERIES_0314, [[a] for a in known]))
    series = Series("LIDC-IDRI-0314", "1", SERIES_0314, "CT", (), geometry=FRAME_0314)
    (ours,) = read(path, series).nodules
    (theirs,) = read_catalog(SPEC, None, SeriesTable((series,))).nodules
    for name in ("patient_id", "series_uid", "nodule_id", "malignant", "codes"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.centre_mm == pytest.approx(theirs.centre_mm)
    assert ours.size_mm == pytest.approx(theirs.size_mm)
    assert [m.content_id for m in ours.raters] == [m.content_id for m in theirs.raters]
    assert len({m.content_id for m in ours.raters}) == 4


@pytest.mark.real_data
def test_instances_of_a_real_series_decide(lidc_0314: Path, tmp_path: Path) -> None:
    """With the real SOP instance UIDs, z positions that are 40 mm off do not move the nodule of scan 0314."""
    (series,) = index_series(lidc_0314).series
    assert series.geometry is not None
    z_mm = series.geometry.to_lps([(k, 0, 0) for k in range(series.geometry.shape[0])])[:, 2]

    def told(c: Contour) -> Contour:
        k = int(np.argmin(np.abs(z_mm - c.z_mm)))
        return replace(c, z_mm=c.z_mm + 40.0, sop_uid=series.sop_uids[k])

    known = [replace(a, contours=tuple(map(told, a.contours))) for a in read_annotations([314])[314]]
    path = tmp_path / "0314.xml"
    path.write_text(message(SERIES_0314, [[a] for a in known]))
    (ours,) = read(path, series).nodules
    (theirs,) = read_nodules(SERIES_0314, series.patient_id, series.geometry)
    assert ours.codes == ("slice_moved",)
    assert [m.content_id for m in ours.raters] == [m.content_id for m in theirs.raters]


def test_a_series_of_several_stacks_is_annotated_once(tmp_path: Path) -> None:
    """The second stack of a series has no nodules of its own, and no exclusion."""
    path = tmp_path / "a.xml"
    path.write_text(READINGS.read_text())
    found = read(path, SERIES, replace(SERIES, stack=2))
    assert len(found.nodules) == 2
    assert [e.code for e in found.exclusions] == ["incomplete_ratings"]


# The table from XML


def test_readings_from_xml_give_the_table_of_the_database(tmp_path: Path) -> None:
    """Rows made from XML equal those from the SQLite file; a series outside the data set is told."""
    known = read_annotations([314])[314]
    (tmp_path / "0314.xml").write_text(message(SERIES_0314, [[a] for a in known]))
    (tmp_path / "other.xml").write_text(READINGS.read_text())
    ((scan, drawn),), exclusions = read_readings(tmp_path)
    assert rater_rows(scan, drawn) == rater_rows(scan, known)
    assert {(e.code, e.series_uid) for e in exclusions} == {
        ("incomplete_ratings", "2.25.1000"),
        ("series_not_found", "2.25.1000"),
    }


def test_the_command_writes_the_table(tmp_path: Path) -> None:
    """``raters`` writes one row a nodule, says on standard error what it left out, and names the file on standard output."""
    folder = tmp_path / "xml"
    folder.mkdir()
    (folder / "0314.xml").write_text(message(SERIES_0314, [[a] for a in read_annotations([314])[314]]))
    (folder / "bad.xml").write_text("<LidcReadMessage>")
    app = typer.Typer()
    app.command()(raters)
    out = tmp_path / "raters.csv"
    result = CliRunner().invoke(app, [str(out), "--annotations", str(folder)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    assert "unreadable_annotation" in result.stderr
    assert "1 by at least 4" in result.stderr
    with out.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["nodule_id"], row["n_raters"], row["malignant"]) == ("LIDC-IDRI-0314-1", "4", "1")
    assert (row["malignancy_mean"], row["malignancy_median"], row["malignancy_n"]) == ("3.25", "3.5", "4")
    assert float(row["intersection_mm3"]) < float(row["majority_mm3"]) < float(row["union_mm3"])
    result = CliRunner().invoke(app, [str(out), "--annotations", str(folder), "--min-raters", "5"])
    assert result.exit_code == 0
    assert len(out.read_text().splitlines()) == 1
