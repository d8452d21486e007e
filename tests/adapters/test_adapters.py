import numpy as np
import pytest

from data_catalog import list_datasets, load_dataset, read_annotations
from data_catalog.adapters.voc import Box, join
from lungpipe.dicom.series import Series, SeriesTable
from lungpipe.dicom.source import of_paths
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry

FRAME = Geometry((20, 60, 60), (2.5, 0.8, 0.7), (-100.0, -120.0, -300.0))


def volume_file(name: str, frame=FRAME) -> Series:
    return Series(name, name, name, "CT", of_paths([f"{name}.nii.gz"]), (name,), geometry=frame)


SERIES = SeriesTable((volume_file("scan-1"), volume_file("scan-2")))
GENERIC = load_dataset("generic")


def read(tmp_path, text: str, spec=GENERIC):
    path = tmp_path / "nodules.csv"
    path.write_text(text)
    return read_annotations(spec, path, SERIES)


def test_generic_rows_in_every_frame_name_one_place(tmp_path):
    """The same nodule in LPS, RAS and voxel coordinates comes in at one LPS centre."""
    x, y, z = FRAME.to_lps((4, 20, 30)).tolist()
    rows = [f"p,a,scan-1,{x},{y},{z},lps", f"p,b,scan-1,{-x},{-y},{z},ras", "p,c,scan-1,30,20,4,voxel"]
    found = read(tmp_path, "patient_id,nodule_id,series_uid,x,y,z,frame\n" + "\n".join(rows) + "\n")
    assert found.exclusions == ()
    for nodule in found.nodules:
        assert np.allclose(nodule.centre_mm, (x, y, z))
        assert nodule.size_mm is None


def test_clicks_come_in_the_frame_of_their_row(tmp_path):
    """Points inside and outside are LPS after reading, in whatever frame the row gives them."""
    x, y, z = FRAME.to_lps((4, 20, 30)).tolist()
    rows = [
        f"p,a,scan-1,{x},{y},{z},lps,{x} {y} {z};{x} {y} {z},{x} {y} {z}",
        f"p,b,scan-1,{-x},{-y},{z},ras,{-x} {-y} {z},",
        "p,c,scan-1,30,20,4,voxel,,30 20 4",
        "p,d,scan-1,30,20,4,voxel,,30 20",
        "p,e,scan-1,30,20,4,voxel,30 20 x,",
    ]
    columns = "patient_id,nodule_id,series_uid,x,y,z,frame,prompt_inside,prompt_outside\n"
    found = read(tmp_path, columns + "\n".join(rows) + "\n")
    assert [e.code for e in found.exclusions] == ["bad_prompt", "not_a_number"]
    assert [[click.inside for click in n.clicks] for n in found.nodules] == [[True, True, False], [True], [False]]
    for nodule in found.nodules:
        for click in nodule.clicks:
            assert np.allclose(click.position_mm, (x, y, z))


def test_further_columns_are_kept_with_the_nodule(tmp_path):
    """Columns that nobody knows stay text, for a recipe to name; those of ratings are numbers, and empty ones are none."""
    text = "patient_id,nodule_id,series_uid,x,y,z,Age,rating_Margin sharpness,rating_lobulation\np,a,scan-1,0,0,0, 63Y ,4.5,\n"
    (nodule,) = read(tmp_path, text).nodules
    assert nodule.clinical == (("Age", "63Y"),)
    assert nodule.ratings == (("margin_sharpness", 4.5),)
    found = read(tmp_path, text.replace("4.5", "sharp"))
    assert [e.code for e in found.exclusions] == ["not_a_number"]


@pytest.mark.parametrize(
    ("text", "split"), [("Train", "train"), ("training", "train"), ("val", "validation"), ("TEST", "test"), ("", None)]
)
def test_splits_have_one_spelling(tmp_path, text, split):
    """A published split comes out under one name, however the file spells it."""
    text = f"patient_id,nodule_id,series_uid,x,y,z,split\nPAT-1,a,scan-2,0,0,0,{text}\n"
    assert read(tmp_path, text).nodules[0].split == split


def test_an_unknown_split_is_an_exclusion(tmp_path):
    """A split that is none of the three excludes its row at once, not the whole run when its tables are written."""
    text = "patient_id,nodule_id,series_uid,x,y,z,split\nPAT-1,a,scan-2,0,0,0,fold3\nPAT-1,b,scan-2,0,0,0,test\n"
    found = read(tmp_path, text)
    assert [n.nodule_id for n in found.nodules] == ["b"]
    assert [e.code for e in found.exclusions] == ["unknown_split"]


def test_sizes_labels_and_splits(tmp_path):
    """Sides or a diameter, words or numbers for labels, and the published split are read."""
    text = (
        "patient_id,nodule_id,series_uid,x,y,z,width_mm,height_mm,depth_mm,diameter_mm,malignant,split\n"
        "p,a,scan-1,0,0,0,4,5,6,,1,train\n"
        "p,b,scan-2.nii.gz,0,0,0,,,,7.5,benign,\n"
        "p,c,scan-2,0,0,0,,,,,,test\n"
    )
    a, b, c = read(tmp_path, text).nodules
    assert (a.size_mm, a.malignant, a.split) == ((4.0, 5.0, 6.0), 1, "train")
    assert (b.size_mm, b.malignant, b.split, b.series_uid) == ((7.5, 7.5, 7.5), 0, None, "scan-2")
    assert (c.size_mm, c.malignant, c.split) == (None, None, "test")


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("p,n,nowhere,0,0,0,5,1,", "series_not_found"),
        ("p,n,,0,0,0,5,1,", "series_not_found"),
        ("p,n,scan-1,zero,0,0,5,1,", "not_a_number"),
        ("p,n,scan-1,nan,0,0,5,1,", "not_a_number"),
        ("p,n,scan-1,,0,0,5,1,", "no_centre"),
        ("p,n,scan-1,0,0,0,-5,1,", "bad_size"),
        ("p,n,scan-1,0,0,0,5,2,", "unknown_label"),
        ("p,n,scan-1,0,0,0,5,1,lsp", "unknown_frame"),
    ],
)
def test_a_bad_row_is_an_exclusion_and_the_rest_come_in(tmp_path, row, code):
    """A row that cannot be used becomes an exclusion with its code and ids; its neighbours are read."""
    text = f"patient_id,nodule_id,series_uid,x,y,z,diameter_mm,malignant,frame\n{row}\np,good,scan-1,0,0,0,5,1,\n"
    found = read(tmp_path, text)
    assert [n.nodule_id for n in found.nodules] == ["good"]
    assert [(e.code, e.nodule_id, e.patient_id) for e in found.exclusions] == [(code, "n", "p")]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("patient_id,nodule_id,x,y\np,n,0,0\n", "lacks the columns z"),
        ("patient_id,nodule_id,series_uid,x,y,z\np,n,s,0,0,0\np,n,s,1,1,1\n", "names a nodule twice"),
        ("", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_whole(tmp_path, text, match):
    """A missing column, a repeated nodule or an empty file stops before any work."""
    with pytest.raises(DatasetError, match=match):
        read(tmp_path, text)


def test_published_columns_are_mapped(tmp_path):
    """A row as the DLCS24 file has it comes in under the generic names."""
    text = (
        "patient-id,nodule_id,ct_nifti_file,coordX,coordY,coordZ,w,h,d,Malignant_lbl,benchmark_split\n"
        "D1,D1_01,scan-2.nii.gz,-90.5,-100.25,-280.0,4.4,4.5,4.3,1,validation\n"
    )
    nodule = read(tmp_path, text, load_dataset("dlcs24")).nodules[0]
    assert nodule.centre_mm == (-90.5, -100.25, -280.0)
    assert nodule.size_mm == (4.4, 4.5, 4.3)
    assert (nodule.series_uid, nodule.malignant, nodule.split) == ("scan-2", 1, "validation")


def test_every_catalog_entry_is_complete():
    """Each entry validates, names an installed reader, and tells how to obtain and cite the data."""
    from lungpipe import plugins

    for name in list_datasets():
        spec = load_dataset(name)
        assert spec.name == name
        assert spec.reader in plugins.installed("annotations")
        assert spec.obtain
        assert spec.citation


def test_unknown_dataset_lists_the_known():
    """A misspelt data set is answered with the catalog's names."""
    with pytest.raises(DatasetError, match=r"'lidc'.*lidc-idri"):
        load_dataset("lidc")


VOC = """<annotation><object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>
<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object></annotation>"""


def dicom_series() -> Series:
    uids = tuple(f"1.2.{k}" for k in range(FRAME.shape[0]))
    return Series("A1", "st", "se", "CT", of_paths(f"{u}.dcm" for u in uids), uids, geometry=FRAME)


def test_slice_boxes_become_one_lesion(tmp_path):
    """Boxes that touch on neighbouring slices are one lesion, its LPS box their union; a distant one is another."""
    for k, (x0, y0, x1, y1) in {4: (10, 12, 19, 21), 5: (11, 12, 22, 25), 9: (40, 40, 44, 44)}.items():
        text = VOC.format(name="A", x0=x0, y0=y0, x1=x1, y1=y1)
        (tmp_path / f"1.2.{k}.xml").write_text(text)
    (tmp_path / "1.9.9.xml").write_text(VOC.format(name="A", x0=1, y0=1, x1=2, y1=2))
    (tmp_path / "1.2.12.xml").write_text("<annotation><object><name>A</name></object></annotation>")
    found = read_annotations(load_dataset("lung-pet-ct-dx"), tmp_path, SeriesTable((dicom_series(),)))
    assert len(found.nodules) == 2
    first = found.nodules[0]
    assert np.allclose(first.centre_mm, FRAME.to_lps((4.5, 18.5, 16.0)))
    assert np.allclose(first.size_mm, (13 * 0.7, 14 * 0.8, 2 * 2.5))
    assert first.malignant == 1
    assert sorted(e.code for e in found.exclusions) == ["slice_not_found", "unreadable_annotation"]


def test_boxes_of_different_classes_or_gaps_stay_apart():
    """Another class, a skipped slice or no overlap in plane makes another lesion; a chain makes one."""
    base = Box(1, (0, 5), (0, 5), "A")
    assert len(join([base, Box(2, (0, 5), (0, 5), "B")])) == 2
    assert len(join([base, Box(3, (0, 5), (0, 5), "A")])) == 2
    assert len(join([base, Box(2, (6, 9), (0, 5), "A")])) == 2
    assert len(join([base, Box(3, (4, 9), (0, 5), "A"), Box(2, (3, 6), (2, 5), "A")])) == 1


def test_entity_bombs_are_refused(tmp_path):
    """An XML file that expands entities is an exclusion; nothing expands."""
    bomb = '<!DOCTYPE a [<!ENTITY x "xxxxxxxx"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>'
    (tmp_path / "1.2.3.xml").write_text(bomb)
    found = read_annotations(load_dataset("lung-pet-ct-dx"), tmp_path, SeriesTable((dicom_series(),)))
    assert [e.code for e in found.exclusions] == ["unreadable_annotation"]


@pytest.mark.real_data
def test_lung_dx_loses_no_box(lung_dx):
    """All 20 boxes of A0001 end in its two series' lesions: 11 slices in kernel L, 9 in kernel B."""
    from lungpipe.dicom.index import index_series

    table = index_series(lung_dx)
    found = read_annotations(load_dataset("lung-pet-ct-dx"), lung_dx / "Annotation", table)
    assert found.exclusions == ()
    kernel = {s.series_uid: s.scanner["kernel"] for s in table.series}
    slices = dict.fromkeys("LB", 0)
    for nodule in found.nodules:
        slices[kernel[nodule.series_uid]] += round(nodule.size_mm[2] / 5.0)
    assert slices == {"L": 11, "B": 9}
