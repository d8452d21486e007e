"""The catalog's entries: whole, checked, and able to say who has seen a data set."""

import pytest

from data_catalog import contamination, load_dataset, shortfall
from data_catalog.spec import parse_dataset
from flows.catalog_commands import entry_lines

ENTRY = 'name="x"\ntitle="t"\nlicence="l"\ncitation="c"\nobtain="o"\nreader="table"\nlabel="a"\nsplit="s"\n'


def test_a_sound_entry_is_read_and_frozen():
    """An entry with all that is asked for is read, and cannot be changed."""
    spec = parse_dataset(ENTRY, "x.toml")
    with pytest.raises(ValueError, match="frozen"):
        spec.title = "other"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (ENTRY + 'lisence="x"', r"x\.toml: unknown key 'lisence'; did you mean 'licence'"),
        (ENTRY.replace('title="t"\n', ""), "title is missing"),
        (ENTRY + 'frame="lsp"', "frame: .*found 'lsp'"),
        (ENTRY + "[counts]\nscans='many'", "counts.scans"),
        (ENTRY + "[counts]\nslices=3", "unknown key 'counts.slices'"),
        ("name=", "is not TOML"),
    ],
)
def test_a_wrong_entry_is_refused_by_key(text, match):
    """A key that is unknown, missing or wrong is named with its file."""
    from lungpipe.errors import DatasetError

    with pytest.raises(DatasetError, match=match):
        parse_dataset(text, "x.toml")


def test_models_that_have_seen_the_patients_are_told():
    """A model trained on a data set, or on one that shares its patients, is named; others and other data sets are not."""
    (own,) = contamination(load_dataset("luna16"), ["models genesis", "Med3D"])
    assert own.startswith("Models Genesis was trained on luna16 (")
    (through,) = contamination(load_dataset("lidc-idri"), ["Models Genesis"])
    assert "luna16, which shares patients with lidc-idri" in through
    assert contamination(load_dataset("dlcs24"), ["Models Genesis"]) == []


def test_shared_patients_are_mutual():
    """Where one entry names another, the other names it, but for the simulated one, which nobody is tested on."""
    for name in ("luna16", "lidc-idri", "luna25", "nlst-3d"):
        for other in load_dataset(name).same_patients:
            assert name in load_dataset(other).same_patients


def test_what_is_missing_is_counted():
    """Less than is published is said in numbers; all of it, or an entry without numbers, is not."""
    spec = load_dataset("luna16")
    assert shortfall(spec, 10, 1186) == "luna16: found 10 of 888 scans that are published"
    assert shortfall(spec, 888, 1186) == ""
    assert shortfall(load_dataset("generic"), 0, 0) == ""


def test_an_entry_is_shown_with_a_recipe_section_that_works():
    """The last lines of what is shown are a section that a recipe takes."""
    import tomllib

    lines = list(entry_lines(load_dataset("luna16")))
    section = tomllib.loads("\n".join(lines[lines.index("[cohort]") :]))
    assert section["cohort"]["dataset"] == "luna16"
    assert any(line.startswith("pitfall") for line in lines)
