"""The curation page says what the tables hold, shows no more than it may, and loads nothing."""

import base64
import io
import struct
import xml.etree.ElementTree as ET
import zlib
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFont
from test_page import Page

from lungpipe.dicom.codes import CODES, verdict
from lungpipe.errors import DatasetError
from lungpipe.report.curation import SERIES_COLUMNS, Curation, curation_html
from lungpipe.report.curation_counts import bar_rows, code_rows, count_flow, deciding_codes, pick, scanner_names
from lungpipe.report.curation_figures import bin_values, histogram
from lungpipe.report.curation_flow import flow_diagram
from lungpipe.report.flow_boxes import SIDE_X, WIDTH

SCANNERS = (
    ("GE MEDICAL SYSTEMS", "LightSpeed VCT"),
    ("SIEMENS", "SOMATOM Definition AS+"),
    ("TOSHIBA", "Aquilion ONE"),
    ("Philips", "Philips Brilliance 64"),
    (None, None),
)
KERNELS = ("STANDARD", "B30f", "LUNG", "FC51", "", "BONE")


def make_series(codes, seed=0):
    """Return a table of series, one for each cell of codes, three series to two patients."""
    n, rng = len(codes), np.random.default_rng(seed)
    scanner, z_mm = rng.choice(5, n, p=(0.4, 0.3, 0.15, 0.1, 0.05)), rng.choice([0.625, 1.0, 1.25, 2.5, 5.0], n)
    x_mm, recorded = rng.normal(0.7, 0.07, n).round(4), rng.random(n) < 0.35
    name = [base64.b32encode(rng.bytes(8)).decode()[:12] for _ in range(n)]
    return pd.DataFrame(
        {
            "dataset": "archive",
            "intensities": "measured",
            "patient_id": [f"P-{name[2 * (i // 3) + (i % 3) // 2]}" for i in range(n)],
            "study_uid": [f"T-{one}" for one in name],
            "series_uid": [f"S-{one}" for one in name],
            "stack": 1,
            "verdict": [verdict(filter(None, one.split(";"))) for one in codes],
            "codes": codes,
            "detail": "",
            "modality": "CT",
            "n_slices": rng.gamma(6, 45, n).astype(int) + 3,
            "rows": 512,
            "columns": 512,
            "spacing_z_mm": z_mm,
            "spacing_y_mm": x_mm,
            "spacing_x_mm": x_mm,
            "slice_thickness_mm": np.where(rng.random(n) < 0.9, z_mm, np.nan),
            "manufacturer": pd.array([SCANNERS[i][0] for i in scanner], dtype="str"),
            "model": pd.array([SCANNERS[i][1] for i in scanner], dtype="str"),
            "kernel": [KERNELS[i] for i in rng.choice(6, n)],
            "kvp": rng.choice([80.0, 100.0, 120.0, 140.0], n, p=(0.05, 0.25, 0.6, 0.1)),
            "tube_current_ma": rng.gamma(4, 60, n).round(),
            "exposure_mas": np.where(recorded, rng.gamma(3, 30, n).round(), np.nan),
            "ctdi_vol_mgy": np.where(recorded, rng.gamma(3, 2, n).round(2), np.nan),
            "transfer_syntax": "1.2.840.10008.1.2.1",
            "padding_voxels": 0,
            "volume_id": "",
        }
    )


def make_exclusions(codes=()):
    """Return a table of exclusions, one for each (stage, code, message)."""
    rows = [(stage, code, message, "", "", "", "", "measured") for stage, code, message in codes]
    columns = ["stage", "code", "message", "patient_id", "series_uid", "nodule_id", "file", "intensities"]
    return pd.DataFrame(rows, columns=columns, dtype="str")


def make_png(grey=128, side=8):
    """Return a PNG file of one grey level."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress((b"\0" + bytes([grey]) * side) * side)
    header = struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


OWN = {code: one.verdict for code, one in CODES.items()}
#: 7 accepted, 3 with a warning, 6 quarantined.
CELLS = [
    *["", "", "", "", "contrast", "contrast;oblique", "compressed"],
    *["duplicate_slice", "contrast;lung_not_covered", "lung_not_covered;duplicate_slice"],
    *["missing_slice", "duplicate_slice;missing_slice", "missing_slice;not_ct", "localizer", "not_ct;missing_slice"],
    "burned_in_annotation",
]
QUARANTINED = {"missing_slice": 3, "localizer": 1, "not_ct": 1, "burned_in_annotation": 1}
WARNED = {"duplicate_slice": 1, "lung_not_covered": 2}
FILES = [("index", "unreadable_header", "The header ends early.")] * 3 + [("index", "symlink_loop", "A loop.")]


def make_curation(codes=CELLS, **fields):
    """Return a curation with any field replaced; every quarantined series has a thumbnail."""
    series = fields.pop("series", make_series(codes))
    bad = series[series["verdict"] == "quarantine"]
    standard = {
        "title": "Archive",
        "intensities": "measured",
        "series": series,
        "exclusions": make_exclusions([*FILES, ("quality", "missing_slice", "There is a gap.")]),
        "others": {"SR": 2, "RTSTRUCT": 5},
        "thumbnails": {f"{uid}/{k}": make_png() for uid, k in zip(bad["series_uid"], bad["stack"], strict=True)},
        "withheld": {},
        "run": {"version": "0.1.0", "files": 4321, "key_fingerprint": "a1b2c3d4", "timings_s": {"index": 3.2}},
        "verdicts": {},
    }
    return Curation(**(standard | fields))


def write_curation(curation, folder):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "curation.html"
    path.write_text(curation_html(curation), encoding="utf-8")
    return path


def written(curation, folder):
    """Write the page and return it parsed, with its SVG elements."""
    path = write_curation(curation, folder)
    page, html = Page(path), path.read_text(encoding="utf-8")
    page.html = html
    page.svg = [ET.fromstring(f"<svg{part.partition('</svg>')[0]}</svg>") for part in html.split("<svg")[1:]]
    page.csv = {}
    for address in (one for one in page.addresses if one.startswith(("data:text/csv", "data:application/zip"))):
        kind, _, content = address.partition(",")
        file, how = io.BytesIO(base64.b64decode(content)), "zip" if "zip" in kind else None
        table = pd.read_csv(file, compression=how, keep_default_na=False)
        page.csv["series" if "verdict" in table else "files"] = table
    return page


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    """Write the standard page once."""
    return written(make_curation(), tmp_path_factory.mktemp("curation"))


def flow_of(curation):
    """Count the flow of a curation."""
    files = curation.exclusions[curation.exclusions["stage"] == "index"]
    return count_flow(curation.series, files, curation.others, OWN | curation.verdicts, curation.run.get("files"))


def test_page_is_one_file_that_loads_nothing(standard):
    """Every address is a fragment or data, every figure has words, and no tag is left open."""
    assert not standard.open
    assert all(one.startswith(("#", "data:")) for one in standard.addresses)
    assert "http:" not in standard.html
    assert "https:" not in standard.html
    assert "url(" not in standard.html.replace("url(#tip)", "")
    assert len(standard.svg) == 9
    assert all(len(one.attrib["aria-label"]) > 20 for one in standard.svg)
    assert all(len(one["alt"]) > 20 for one in standard.images)
    for part in ("flow", "distributions", "pictures", "codes", "series", "files", "run"):
        assert f"#{part}" in standard.addresses
        assert f'id="{part}"' in standard.html


def test_verdict_stands_in_one_sentence(standard):
    """Series, patients and the three verdicts are counted under the title."""
    patients = make_series(CELLS)["patient_id"].nunique()
    sentence = f"16 series found from {patients} patients: 7 accepted, 3 accepted with a warning, 6 quarantined."
    assert sentence in standard.text


def test_diagram_counts_are_those_of_the_tables(standard):
    """Each box gives its total and its counts by code, and the last boxes add up to the series found."""
    words = ["".join(one.itertext()) for one in standard.svg[0].iter("text")]
    for head in ("4,321 files found", "Passed over, not images: 7", "Files left out: 4", "Accepted: 7 series"):
        assert head in words
    assert any(one.startswith("16 series from") for one in words)
    assert any(one.startswith("Quarantined: 6 series from") for one in words)
    assert any(one.startswith("With a warning: 3 series from") for one in words)
    counts = {words[i + 1]: int(words[i]) for i, one in enumerate(words) if one.isdigit()}
    assert counts == QUARANTINED | WARNED | {"RTSTRUCT": 5, "SR": 2, "unreadable_header": 3, "symlink_loop": 1}
    flow = flow_of(make_curation())
    assert flow.accepted + sum(n for _, n in flow.warned) + sum(n for _, n in flow.quarantined) == flow.series
    assert "missing_slice 3" in standard.svg[0].attrib["aria-label"]


def test_deciding_code_is_the_first_that_brought_the_verdict():
    """A milder code before the deciding one does not count, a recipe's verdict does, and no code is said to be none."""
    table = pd.DataFrame(
        {
            "codes": ["contrast;duplicate_slice;missing_slice;not_ct", "contrast;duplicate_slice", "contrast", "", ""],
            "verdict": ["quarantine", "warn", "quarantine", "quarantine", "accept"],
        }
    )
    changed = OWN | {"contrast": "quarantine"}
    assert list(deciding_codes(table, OWN)[:2]) == ["missing_slice", "duplicate_slice"]
    assert list(deciding_codes(table, changed)) == ["contrast", "duplicate_slice", "contrast", "no code", "no code"]


def test_stacks_of_a_split_series_count_each_and_the_page_says_so(tmp_path, standard):
    """Two stacks of one series are two series in the diagram, beside the number before they were split."""
    series = make_series(["", "mixed_orientation", "mixed_orientation"])
    series["patient_id"] = "P-ONE"
    series.loc[2, ["series_uid", "stack"]] = [series.loc[1, "series_uid"], 2]
    page = written(make_curation(series=series), tmp_path)
    assert "3 series from 1 patient" in page.text
    assert "2 before mixed series were split" in page.text
    assert "before mixed series were split" not in standard.text
    assert f"{series.loc[1, 'series_uid']}, stack 2" in page.text


@pytest.mark.parametrize("count", [1, 100_000])
def test_no_word_leaves_its_box_or_touches_another(count):
    """At one and at 100,000 of everything, all text of the diagram ends inside its box and before the next column."""
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"  # DejaVu Sans is the widest of the page's fonts
    series = make_series(list(OWN))
    others = {f"{i:02d} SECONDARY CAPTURES OF STRUCTURED REPORTS": count for i in range(20)}
    flow = replace(
        flow_of(make_curation(series=series, others=others)),
        **dict.fromkeys(("n_files", "n_slices", "series", "accepted"), count),
        **dict.fromkeys(("patients", "accepted_patients", "warned_patients", "quarantined_patients"), count),
        n_uids=count - 1,
        quarantined=tuple((code, count) for code, own in OWN.items() if own == "quarantine"),
    )
    drawn = []
    for one in ET.fromstring(flow_diagram(flow)).iter("text"):
        kind, words = one.get("class"), "".join(one.itertext())
        font = fonts / ("DejaVuSans-Bold.ttf" if kind else "DejaVuSans.ttf")
        width = ImageFont.truetype(str(font), 100).getlength(words) / 100 * (15.5 if kind == "head" else 14)
        right = float(one.get("x")) + (0 if kind == "count" else width)
        drawn.append((float(one.get("y")), right - width, right, words))
    assert len(drawn) > 80
    for y, left, right, words in drawn:
        assert right < (WIDTH if left > SIDE_X else 382) - 3, words
        assert left > (SIDE_X if left > SIDE_X - 40 else 0) + 5, words
        assert not [w for at, start, _, w in drawn if at == y and left < start < right + 2], words


def test_extremes_have_a_page(tmp_path):
    """No series, one, none accepted and none quarantined give whole pages with zeros, not empty plots."""
    bare = {"others": {}, "exclusions": make_exclusions(), "run": {}}
    none = written(make_curation(series=make_series([""]).head(0), **bare), tmp_path)
    assert "No series was found." in none.text
    assert "Archive, files not counted" in none.text
    assert "Nothing was recorded about the run." in none.text
    assert len(none.svg) == 1
    one = written(make_curation([""], **bare), tmp_path)
    assert "1 series found from 1 patient: 1 accepted, 0 accepted with a warning, 0 quarantined." in one.text
    assert "No series was quarantined or has a warning." in one.text
    assert "Every file could be indexed" in one.text
    assert not one.csv
    bad = written(make_curation(["not_ct"] * 3, **bare), tmp_path)
    assert "0 accepted, 0 accepted with a warning, 3 quarantined." in bad.text
    assert "Quarantined: 0 series" in one.text
    assert "Accepted: 0 series" in bad.text


def test_what_headers_do_not_say_is_counted(tmp_path):
    """Missing scanners, kernels and doses are rows and words of their own, and a quantity without values has no plot."""
    series = make_series(["", "", "not_ct"]).assign(ctdi_vol_mgy=np.nan, kvp=[120.0, np.nan, np.nan], kernel=None)
    series[["manufacturer", "model"]] = None
    page = written(make_curation(series=series.astype({"kernel": "str"})), tmp_path)
    assert "Dose, CTDIvol (mGy) Not recorded for any series: 2 accepted, 1 quarantined." in page.text
    assert "Not recorded: 1 accepted, 1 quarantined." in page.text
    assert page.text.count("not recorded 2 1") == 2
    assert not [one for one in page.svg if "CTDIvol" in one.attrib["aria-label"]]


def test_bars_list_the_frequent_and_count_the_rest():
    """Every series is in one row: a named one, the others together, or not recorded."""
    names = pd.Series(["a"] * 5 + ["b"] * 4 + ["c", "d", "d"] + ["", None, " "], dtype="str")
    rows = bar_rows(names, np.arange(15) % 5 == 0, most=2)
    found = [(row["name"], row["accepted"], row["quarantined"], row["aside"]) for row in rows]
    assert found == [("a", 4, 1, False), ("b", 3, 1, False), ("2 others", 2, 1, True), ("not recorded", 3, 0, True)]
    assert (rows[0]["accepted_percent"], rows[0]["quarantined_percent"]) == (80.0, 20.0)
    assert bar_rows(names.head(0), np.zeros(0, bool), most=2) == []


def test_scanner_says_its_maker_once():
    """A model that begins with its manufacturer is not prefixed with it."""
    series = make_series([""] * 4)
    series["manufacturer"], series["model"] = ["Philips", "GE", None, "GE"], ["PHILIPS 64", "VCT", "VCT", None]
    assert list(scanner_names(series)) == ["PHILIPS 64", "GE VCT", "VCT", "GE"]


@given(st.lists(st.floats(0, 1e5), min_size=1), st.lists(st.floats(0, 1e5)), st.booleans())
def test_every_value_is_in_one_bin(accepted, quarantined, whole):
    """The counts of all bins and of what is above add up, whatever the values."""
    bins = bin_values(np.array(accepted), np.array(quarantined), whole=whole)
    assert bins.accepted.sum() + bins.above[0] == len(accepted)
    assert bins.quarantined.sum() + bins.above[1] == len(quarantined)
    assert len(bins.edges) <= 35


def test_bins_are_those_of_numpy():
    """Counts equal a histogram over the same edges; a value a rounding error below an edge belongs above it."""
    rng = np.random.default_rng(3)
    accepted, quarantined = rng.gamma(3, 2, 400), rng.gamma(3, 2, 60)
    bins = bin_values(accepted, quarantined, whole=False)
    beyond = bins.edges[-1]
    np.testing.assert_array_equal(bins.accepted, np.histogram(accepted[accepted < beyond], bins.edges)[0])
    np.testing.assert_array_equal(bins.quarantined, np.histogram(quarantined[quarantined < beyond], bins.edges)[0])
    bins = bin_values(np.array([0.5, 1.25 - 1e-9, 5.0]), np.zeros(0), whole=False)
    assert bins.edges[np.flatnonzero(bins.accepted)] == pytest.approx([0.5, 1.25, 5.0])


def test_odd_value_does_not_flatten_the_rest():
    """One slice spacing of a metre is drawn apart, and the others keep their bins; without it nothing is apart."""
    usual = np.tile([1.0, 1.25, 2.5], 30)
    apart = bin_values(usual, np.array([1000.0]), whole=False)
    assert apart.above == (0, 1)
    assert np.count_nonzero(apart.accepted) == 3
    assert "\u2265 2.6: 0 accepted, 1 quarantined" in histogram(usual, np.array([1000.0]), name="x", whole=False)
    assert bin_values(usual, np.array([3.0]), whole=False).above == (0, 0)


def test_bar_heights_are_counts():
    """Heights are in the ratio of the counts, quarantined on accepted, and one among 100,000 is still seen."""
    svg = ET.fromstring(histogram(np.array([80.0] * 10 + [120.0] * 5), np.array([120.0] * 5), name="x", whole=True))
    (left,), (low, high) = (list(g.iter("rect")) for g in svg.iter("g"))
    height = {name: float(bar.get("height")) for name, bar in (("left", left), ("low", low), ("high", high))}
    assert height["left"] == pytest.approx(2 * height["low"], abs=0.02)
    assert height["low"] == height["high"]
    assert float(high.get("y")) + height["high"] == pytest.approx(float(low.get("y")), abs=0.02)
    assert (left.get("class"), low.get("class"), high.get("class")) == ("good", "good", "bad")
    svg = ET.fromstring(histogram(np.full(100_000, 80.0), np.array([120.0]), name="x", whole=True))
    assert float(next(r for r in svg.iter("rect") if r.get("class") == "bad").get("height")) == 2


def test_markup_in_headers_is_text(tmp_path):
    """A kernel, scanner, detail, kind of object or title with markup is shown as it is and is no element."""
    odd = "<B>\"&'</svg><script>"
    series = make_series(["missing_decoder", ""]).assign(kernel=odd, manufacturer=odd, model="M", detail=odd)
    files = make_exclusions([("index", odd, odd)])
    page = written(make_curation(series=series, title=odd, others={"<B>": 3}, exclusions=files), tmp_path)
    assert "<B>" not in page.html
    assert page.html.count("<script") == 1  # the page's own
    assert page.text.count(odd) > 5
    assert "<B> 3" in page.svg[0].attrib["aria-label"]


def test_csv_holds_all_rows_with_a_reason(standard):
    """The download decodes to every quarantined and warned row, the quarantined first, and to every excluded file."""
    table, series = standard.csv["series"], make_series(CELLS)
    assert tuple(table.columns) == SERIES_COLUMNS
    wanted = series[series["verdict"] != "accept"]
    assert list(table["verdict"]) == ["quarantine"] * 6 + ["warn"] * 3
    merged = table.set_index("series_uid").loc[wanted["series_uid"]]
    assert list(merged["codes"]) == list(wanted["codes"])
    np.testing.assert_allclose(merged["spacing_x_mm"].astype(float), wanted["spacing_x_mm"])
    assert list(standard.csv["files"]["code"]) == ["unreadable_header"] * 3 + ["symlink_loop"]


def test_nothing_but_the_known_columns_is_shown(tmp_path):
    """A path or name in another column, or in an accepted series's picture, reaches neither page nor download."""
    names = {"path": "/mnt/PLANTED/1.dcm", "patient_name": "PLANTED^ANNA"}
    series = make_series(CELLS).assign(**names)
    good = series.loc[series["verdict"] == "accept", "series_uid"].iloc[0]
    curation = make_curation(series=series)
    exclusions = curation.exclusions.assign(path="/mnt/PLANTED", nodule_id="PLANTED")
    secret = b"PLANTED-PIXELS"
    page = written(replace(curation, exclusions=exclusions, thumbnails={f"{good}/1": secret}), tmp_path)
    assert "PLANTED" not in page.html
    assert base64.b64encode(secret).decode() not in page.html
    assert not any(table.astype(str).stack().str.contains("PLANTED").any() for table in page.csv.values())
    planted = written(replace(curation, series=series.assign(detail="PLANTED")), tmp_path)
    assert "PLANTED" in planted.html
    assert planted.csv["series"].astype(str).stack().str.contains("PLANTED").any()


def test_pictures_that_may_identify_are_withheld(tmp_path):
    """A withheld series says why, and screen shots, dose sheets and burned-in text never show, thumbnail or not."""
    cells = ["missing_slice", "missing_slice", "missing_slice", "burned_in_annotation", "not_ct;secondary_capture"]
    series = make_series([*cells, "dose_report", ""])
    keys = list(series["series_uid"] + "/1")
    thumbnails = {key: make_png(10 + i) for i, key in enumerate(keys[1:], 1)}
    curation = make_curation(series=series, thumbnails=thumbnails, withheld={keys[2]: "the picture holds letters"})
    page = written(curation, tmp_path)
    assert len(page.images) == 1
    assert page.images[0]["src"].endswith(base64.b64encode(thumbnails[keys[1]]).decode())
    assert page.text.count("Not shown: text may be burned in") == 3
    assert page.text.count("Not shown: the picture holds letters") == 1
    assert "5 of 6 quarantined series" in page.text
    assert "1 could not be drawn" in page.text


def test_pictures_are_capped_by_number_and_size(tmp_path):
    """At most 200 are shown, fewer if they are large, a rare code is among them, and the page says how many are not."""
    series = make_series(["missing_slice"] * 250 + ["not_ct"])
    page = written(make_curation(series=series), tmp_path)
    assert len(page.images) == 200
    assert any("not_ct" in one["alt"] for one in page.images)
    assert "200 of 251 quarantined series" in page.text
    assert "51 more are not shown" in page.text
    large = dict.fromkeys(series["series_uid"] + "/1", bytes(500_000))
    page = written(make_curation(series=series, thumbnails=large), tmp_path)
    assert len(page.images) == 4
    assert "247 more are not shown" in page.text
    turns = [series.loc[label, "codes"] for label in pick(series["codes"], 3)]
    assert turns == ["missing_slice", "not_ct", "missing_slice"]


def test_code_table_counts_every_code_and_says_what_a_recipe_changed(tmp_path):
    """A series counts for each of its codes, patients once a code, and a changed verdict stands beside the usual one."""
    series = make_series(CELLS)
    rows = {row["code"]: row for row in code_rows(series, OWN)}
    assert {code: rows[code]["series"] for code in ("missing_slice", "not_ct", "contrast", "gantry_tilt")} == {
        "missing_slice": 4,
        "not_ct": 2,
        "contrast": 3,
        "gantry_tilt": 0,
    }
    assert rows["contrast"]["patients"] == 3
    same = {row["code"]: row for row in code_rows(series.assign(patient_id="P-ONE"), OWN)}
    assert (same["contrast"]["series"], same["contrast"]["patients"]) == (3, 1)
    assert len(rows) == len(CODES)
    page = written(make_curation(verdicts={"contrast": "warn"}), tmp_path)
    assert "contrast a contrast agent was given warn (the recipe's; accept otherwise) 3" in page.text
    assert page.text.count("(the recipe's;") == 1


def test_files_are_counted_by_what_was_found(standard, tmp_path):
    """Excluded files are rows by code and message; exclusions of other stages are not files."""
    assert "4 files that could not be indexed" in standard.text
    assert "unreadable_header The header ends early. 3" in standard.text
    assert "There is a gap." not in standard.text
    many = make_exclusions([("index", "unreadable_header", f"Message {i}.") for i in range(505)])
    page = written(make_curation(exclusions=many), tmp_path)
    assert "5 further messages are only in the download." in page.text
    assert len(page.csv["files"]) == 505


def test_run_is_told(standard):
    """The record of the run stands as names and values."""
    for words in ("version 0.1.0", "key_fingerprint a1b2c3d4", "timings_s.index 3.2"):
        assert words in standard.text


def test_simulated_series_are_said_to_be_so(standard, tmp_path):
    """A simulated page has the banner and says it with each kind of figure; a measured one has no such word."""
    series = make_series(CELLS).assign(intensities="simulated")
    page = written(make_curation(series=series, intensities="simulated"), tmp_path)
    assert page.text.count("Simulated intensities.") == 4
    assert "simulated" not in standard.html.lower()


def test_wrong_tables_are_refused(tmp_path):
    """Other intensities, simulated series called measured, a missing column and unknown verdicts stop the page."""
    good = make_curation()
    for field, value, words in (
        ("intensities", "phantom", 'not "phantom"'),
        ("intensities", "", 'not ""'),
        ("series", good.series.assign(intensities="simulated"), "cannot call them measured"),
        ("series", good.series.drop(columns="detail"), "columns .'detail'. in the table of series"),
        ("exclusions", good.exclusions.drop(columns="message"), "'message'. in the table of exclusions"),
        ("series", good.series.assign(verdict="fine"), "not .'fine'."),
        ("verdicts", {"contrast": "reject"}, "not .'reject'."),
    ):
        with pytest.raises(DatasetError, match=words):
            write_curation(replace(good, **{field: value}), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_large_archive_stays_small(tmp_path):
    """20,000 series with a reason take under 3 MB: capped tables that say so, and a zipped CSV with every row."""
    series = make_series(["missing_slice", "duplicate_slice;not_ct"] * 10_000)
    page = written(make_curation(series=series), tmp_path)
    assert len(page.html) < 3e6
    assert "480 more" in page.text
    assert "19,500 further series are only in the download." in page.text
    assert len(page.csv["series"]) == 20_000
    assert set(page.csv["series"]["series_uid"]) == set(series["series_uid"])
    assert "flagged_series.csv.zip" in page.text


def test_page_is_the_same_bytes_each_time(tmp_path):
    """Writing twice gives identical files, without a date, zipped CSV included."""
    curation = make_curation(["missing_slice"] * 8000)
    first = write_curation(curation, tmp_path / "a").read_bytes()
    assert first == write_curation(curation, tmp_path / "b").read_bytes()
