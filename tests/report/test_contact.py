"""Slices keep geometry and window; outlines lie where the mask does."""

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from lungpipe.errors import GeometryError
from lungpipe.geometry import Geometry
from lungpipe.report.contact import View, draw, grey_picture, lung_window, outline_path
from lungpipe.report.drawing import drawing_svg
from lungpipe.report.tiles import nodule_views
from lungpipe.volume import CTVolume, Mask


@pytest.mark.parametrize(("hu", "grey"), [(-3024, 0), (-1350, 0), (-600, 0.5), (150, 1), (3000, 1)])
def test_lung_window(hu, grey):
    """Centre -600 and width 1500 HU: -1350 is black, -600 middle grey, 150 white."""
    assert lung_window(np.array([hu]))[0] == pytest.approx(grey)


def corners(path):
    """Points of a path of absolute starts and relative steps, a list an outline."""
    lines = []
    for part in re.findall(r"M([^z]*)z", path):
        numbers = np.array([int(one) for one in re.findall(r"-?\d+", part)]).reshape(-1, 2)
        lines.append(np.cumsum(numbers, axis=0))
    return lines


def test_outline_is_where_the_mask_is():
    """Voxels 5..9 of 2 mm and 10..29 of 1 mm: the outline spans 100 to 300 and 100 to 200 tenths of a millimetre."""
    mask = np.zeros((20, 40), bool)
    mask[5:10, 10:30] = True
    (line,) = corners(outline_path(mask, (2.0, 1.0)))
    assert [line[:, 0].min(), line[:, 0].max()] == [100, 300]
    assert [line[:, 1].min(), line[:, 1].max()] == [100, 200]


def test_outline_at_the_edge_is_closed_and_holes_have_their_own():
    """A full mask is outlined along its edge; a ring has two outlines; an empty mask none."""
    full = np.ones((4, 6), bool)
    (line,) = corners(outline_path(full, (1.0, 1.0)))
    assert (line.min(), line[:, 0].max(), line[:, 1].max()) == (0, 60, 40)
    full[1:3, 2:4] = False
    assert len(corners(outline_path(full, (1.0, 1.0)))) == 2
    assert outline_path(np.zeros((3, 3), bool), (1.0, 1.0)) == ""


def test_outline_encloses_the_area_of_the_mask():
    """The area of a disc's outline is that of its voxels within 2 %, by the shoelace formula."""
    y, x = np.mgrid[:60, :60] - 29.5
    mask = np.hypot(x * 0.7, y * 0.7) < 12
    (line,) = corners(outline_path(mask, (0.7, 0.7)))
    area = 0.5 * abs(np.dot(line[:, 0], np.roll(line[:, 1], 1)) - np.dot(line[:, 1], np.roll(line[:, 0], 1))) / 100
    assert area == pytest.approx(mask.sum() * 0.49, rel=0.02)


def test_drawing_keeps_millimetres_on_both_axes():
    """A 20 x 40 voxel slice of 2 x 1 mm is drawn as a square of 40 mm with a bar of 10 mm, and says what it is."""
    mask = np.zeros((20, 40), bool)
    mask[5:10, 10:30] = True
    view = View(np.zeros((20, 40)), (2.0, 1.0), {"nodule": mask, "empty": ~mask & mask})
    root = ET.fromstring(drawing_svg(draw(view, 96), "Axial <slice>", "one"))
    assert root.get("viewBox") == "0 0 400 400"
    assert root.get("aria-label") == "Axial <slice>"
    (group,) = root
    assert group.get("id") == "one"
    assert [one.get("class") for one in group] == [None, "o0", "bar"]
    assert group[-1].get("d").endswith("h100")
    assert (group[0].get("width"), group[0].get("height")) == ("400", "400")


def test_picture_is_the_slice():
    """Decoded, the picture has the grey levels of the window within 6 of 255 on smooth tissue, at the slice's own size."""
    hu = np.linspace(-1350, 150, 48)[None, :] + np.zeros((32, 1))
    image = Image.open(io.BytesIO(grey_picture(hu, 96))).convert("L")
    assert image.size == (48, 32)
    assert np.abs(np.asarray(image, dtype=float) - 255 * lung_window(hu)).max() < 6
    assert Image.open(io.BytesIO(grey_picture(np.zeros((200, 100)), 96))).size == (48, 96)
    assert grey_picture(hu, 96) == grey_picture(hu, 96)


def test_unusable_views_are_refused():
    """Foreign outlines, volumes and bad spacing are refused with a reason."""
    flat = np.zeros((4, 4))
    for view, words in (
        (View(flat, (1.0, 1.0), {"nodule": np.zeros((3, 3), bool)}), r"Outline nodule has shape \(3, 3\)"),
        (View(np.zeros((2, 3, 3)), (1.0, 1.0), {}), "2D"),
        (View(flat, (0.0, 1.0), {}), "positive"),
    ):
        with pytest.raises(GeometryError, match=words):
            draw(view, 96)


@pytest.mark.parametrize("flipped", [False, True])
def test_views_lie_as_the_patient_does(flipped):
    """Whatever way the array is stored: coronal and sagittal views have the head on top, spacings go with their axes."""
    shape, spacing_mm = (10, 12, 14), (2.0, 1.0, 0.5)
    hu = np.full(shape, -800, dtype=np.int16)
    inside = np.zeros(shape, bool)
    inside[4:7, 5:8, 6:9] = True
    hu[inside] = 0
    hu[8:] = 100  # towards the head
    matrix = np.eye(3)
    if flipped:
        hu, inside, matrix = hu[::-1], inside[::-1], np.diag([1.0, 1.0, -1.0])
    frame = Geometry(shape, spacing_mm, (0.0, 0.0, 0.0), tuple(matrix.ravel().tolist()))
    nodule = Mask(inside, frame)
    views = nodule_views(CTVolume(hu, frame), nodule, {"nodule": nodule})
    assert {name: view.hu.shape for name, view in views.items()} == {
        "axial": (12, 14),
        "coronal": (10, 14),
        "sagittal": (10, 12),
    }
    assert views["coronal"].spacing_mm == (2.0, 0.5)
    assert views["sagittal"].spacing_mm == (2.0, 1.0)
    for name in ("coronal", "sagittal"):
        assert (views[name].hu[0] == 100).all()
        assert (views[name].hu[-1] == -800).all()
        assert views[name].outlines["nodule"][3:6].any(axis=1).all()


def test_drawn_outline_stays_near_that_of_the_mask():
    """No point half way between a voxel inside and one outside is further than 0.15 mm, and rounding, from what is drawn."""
    y, x = np.mgrid[:60, :60] - 29.5
    mask = np.hypot(x, y) < 15 + 3 * np.sin(5 * np.arctan2(y, x))
    (line,) = corners(outline_path(mask, (0.7, 0.7)))
    start = np.vstack([line, line[:1]])[:-1] / 10
    step = np.roll(start, -1, axis=0) - start
    edges = np.argwhere(mask[:, 1:] != mask[:, :-1])
    points = np.column_stack([(edges[:, 1] + 1) * 0.7, (edges[:, 0] + 0.5) * 0.7])
    along = np.einsum("ijk,jk->ij", points[:, None] - start, step) / (step**2).sum(axis=1)
    nearest = start + np.clip(along, 0, 1)[..., None] * step
    away = np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1)
    assert away.max() < 0.15 + 0.08
