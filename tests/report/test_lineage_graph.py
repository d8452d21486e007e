"""The lineage graph shows the counts that it is given, can be read without eyes or a pointer, and loads nothing."""

import re
import xml.etree.ElementTree as ET  # what is parsed is our own output

import pytest

from lungpipe.report.lineage import KINDS, StageCount, lineage_graph, lineage_section, lineage_table

SVG = "{http://www.w3.org/2000/svg}"
FULL = [
    StageCount("archive", 21340, 0, 12),
    StageCount("series", 1018, 0, 33),
    StageCount("volume", 16, 1002, 4, {"read": "2", "volumes": "3"}),
    StageCount("annotations", 16, 1002),
    StageCount("lung", 1014),
    *(StageCount("masks", 12, 990, 5, {name: "1"}, name) for name in ("otsu", "kmeans", "gmm")),
    *(StageCount("features", 1002, segmenter=name) for name in ("otsu", "kmeans", "gmm")),
    StageCount("configuration", 84),
    StageCount("scores", 1),
    StageCount("report", 1),
]
WITHOUT_LUNG = [one for one in FULL if one.kind != "lung"]
WITHOUT_BENCHMARK = [one for one in FULL if one.kind not in ("configuration", "scores")]
INDEX = [one for one in FULL if one.kind in ("archive", "series", "report")]


def parsed(counts):
    return ET.fromstring(lineage_graph(counts).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def boxes(root):
    """Rectangle (x, y, width, height) and words of every box, by title."""
    found = {}
    for group in root.iter(f"{SVG}g"):
        rect = next(one for one in group.iter(f"{SVG}rect") if one.get("class") == "box")
        head, line = group.iter(f"{SVG}text")
        found[head.text] = (
            tuple(float(rect.get(name)) for name in ("x", "y", "width", "height")),
            "".join(line.itertext()),
        )
    return found


def ends(root):
    """Where every arrow points to: the last point of its path."""
    for path in root.iter(f"{SVG}path"):
        if path.get("marker-end"):
            x = y = 0.0
            for letter, numbers in re.findall(r"([MHVv])([-\d. ]+)", path.get("d")):
                values = [float(one) for one in numbers.split()]
                if letter == "M":
                    x, y = values
                elif letter == "H":
                    x = values[0]
                else:
                    y = values[0] + (y if letter == "v" else 0)
            yield x, y


def test_every_stage_has_a_box_with_its_counts():
    found = boxes(parsed(FULL))
    assert len(found) == len(FULL)
    assert found["Archive"][1] == "21,340 files, 12 left out"
    assert found["Series"][1] == "1,018 accepted, 33 quarantined"
    assert found["Masks by kmeans"][1] == "12 made, 990 reused, 5 failed"


@pytest.mark.parametrize("counts", [FULL, WITHOUT_LUNG, WITHOUT_BENCHMARK, INDEX, FULL[:1], []])
def test_boxes_lie_inside_the_picture_and_apart(counts):
    root = parsed(counts)
    left, top, width, height = (float(one) for one in root.get("viewBox").split())
    rects = [rect for rect, _ in boxes(root).values()]
    for x, y, w, h in rects:
        assert left <= x
        assert top <= y
        assert x + w <= left + width
        assert y + h <= top + height
    for i, (x, y, w, h) in enumerate(rects):
        for x2, y2, w2, h2 in rects[i + 1 :]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


@pytest.mark.parametrize("counts", [FULL, WITHOUT_LUNG, WITHOUT_BENCHMARK, INDEX])
def test_an_arrow_ends_at_every_box_but_the_first(counts):
    root = parsed(counts)
    points = list(ends(root))
    for title, ((x, y, w, h), _) in boxes(root).items():
        into = [p for p in points if x - 2 <= p[0] <= x + w and y - 2 <= p[1] <= y + h]
        assert bool(into) == (title != "Archive"), title


def test_the_lungs_lead_to_the_features_and_not_to_the_masks():
    """The line from the lungs goes down between the two columns, where only arrows to the features cross it."""
    with_lungs, without = parsed(FULL), parsed(WITHOUT_LUNG)
    found = boxes(with_lungs)
    (x, y, _, height), _ = found["Lungs"]
    lines = [one.get("d") for one in with_lungs.iter(f"{SVG}path")]
    down = [d for d in lines if re.fullmatch(rf"M\d+ {y + height:g}V[\d.]+", d)]
    assert len(down) == 1
    at, last = float(down[0][1:].split()[0]), float(down[0].split("V")[1])
    masks, features = found["Masks by gmm"][0], found["Features by gmm"][0]
    assert masks[0] + masks[2] < at < features[0]
    assert last == features[1] + features[3] / 2
    assert x <= at
    assert len(list(without.iter(f"{SVG}path"))) < len(lines)


def test_versions_show_when_the_pointer_rests_on_a_box():
    titles = [group.find(f"{SVG}title").text for group in parsed(FULL).iter(f"{SVG}g")]
    assert "Volumes: 16 made, 1,002 reused, 4 failed. Versions: read 2, volumes 3" in titles


def test_the_bar_has_the_proportions_of_the_counts():
    (group,) = parsed([StageCount("volume", 1, 2, 1)]).iter(f"{SVG}g")
    widths = {rect.get("class"): float(rect.get("width")) for rect in group.iter(f"{SVG}rect")}
    assert widths["made"] == pytest.approx(widths["rest"] / 4, abs=0.1)
    assert widths["reused"] == pytest.approx(widths["rest"] / 2, abs=0.1)
    assert widths["failed"] == pytest.approx(widths["rest"] / 4, abs=0.1)


def test_nothing_made_is_an_empty_bar():
    (group,) = parsed([StageCount("volume", 0)]).iter(f"{SVG}g")
    assert {rect.get("class") for rect in group.iter(f"{SVG}rect")} == {"box", "rest"}


def test_who_cannot_see_it_is_told_the_same():
    root = parsed(FULL)
    assert root.get("role") == "img"
    ids = {one.get("id"): one.text for one in root if one.tag in (f"{SVG}title", f"{SVG}desc")}
    said = " ".join(ids[name] for name in root.get("aria-labelledby").split())
    for one in FULL:
        assert one.said in said


def test_the_table_has_a_row_for_each_stage():
    table = ET.fromstring(lineage_table(FULL))
    rows = [[cell.text or "" for cell in row] for row in table.iter("tr")]
    assert rows[0] == ["Stage", "Made", "Reused", "Failed", "Versions"]
    assert len(rows) == len(FULL) + 1
    assert rows[1] == ["Archive", "21,340", "", "12", ""]
    assert rows[3] == ["Volumes", "16", "1,002", "4", "read 2, volumes 3"]


def test_names_with_markup_are_shown_as_they_are():
    counts = [StageCount("masks", 1, versions={"<b>": "&"}, segmenter='<script>"')]
    section = lineage_section(counts)
    assert "<script" not in section
    assert "<b>" not in section
    assert list(boxes(parsed(counts))) == ['Masks by <script>"']


def test_it_loads_nothing_and_follows_the_theme_of_the_page():
    section = lineage_section(FULL)
    assert not re.search(r"(?:href|src)=|url\((?!#)|@import|<script", section)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b", section.replace("url(#", ""))
    assert set(re.findall(r"var\((--[\w-]+)\)", section)) <= {
        "--ink", "--soft", "--card", "--line", "--accent", "--range", "--warn-line"
    }  # fmt: skip


def test_masks_without_features_lead_on_themselves():
    counts = [
        StageCount("volume", 1),
        StageCount("annotations", 1),
        StageCount("masks", 1, segmenter="otsu"),
        StageCount("report", 1),
    ]
    points = list(ends(parsed(counts)))
    (x, y, w, _), _ = boxes(parsed(counts))["Report"]
    assert [p for p in points if x <= p[0] <= x + w and abs(p[1] - y) <= 2]


def test_every_kind_has_names_for_its_counts():
    assert all(len(names) == 4 and names[0] and names[1] and names[3] for names in KINDS.values())
