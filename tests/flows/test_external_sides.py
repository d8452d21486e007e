"""External workspaces of a recipe: looked up before any work, compared with the cohort, and told of on the page."""

import json
from types import SimpleNamespace

import pytest
from table_workspace import PSEUDONYM, plugins_record, write_tables

from data_catalog import load_dataset
from flows.config import load_config
from flows.external import about_outside, read_outside, require_apart, require_images_apart, warn
from flows.plan import evaluation, recipe_of
from lungpipe.errors import DatasetError

RECIPE = """
[cohort]
dataset = "{dataset}"
dicom = "images"
annotations = "nodules.csv"
[benchmark]
[benchmark.external]
hospital-b = "b"
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A recipe of a cohort that is tested on the workspace ``b`` beside it, under the key of the tables."""
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(tmp_path / "key"))

    def load(dataset="generic", *overrides):
        (tmp_path / "recipe.toml").write_text(RECIPE.format(dataset=dataset))
        return load_config(tmp_path / "recipe.toml", list(overrides))

    return load


def sides(config, dataset="generic"):
    return read_outside(config, load_dataset(dataset), plugins_record())


def plan_of(numbers):
    """Jobs of a plan, as far as they count here; the last one has no label."""
    jobs = [
        SimpleNamespace(
            patient_id=PSEUDONYM("patient", f"p{n}"),
            series_uid=PSEUDONYM("series", f"s{n}"),
            source_sha256=f"{n:064x}",
            nodules=(SimpleNamespace(malignant=None if n == numbers[-1] else 1),),
        )
        for n in numbers
    ]
    return SimpleNamespace(jobs=jobs)


def test_paths_are_the_recipes_and_are_not_recorded(config, tmp_path):
    """A workspace is relative to its recipe, an address stays, and run.json holds names only."""
    found = config()
    assert found.benchmark.external == {"hospital-b": str(tmp_path / "b")}
    remote = config("generic", 'benchmark.external={c="s3://bucket/c"}')
    assert remote.benchmark.external == {"c": "s3://bucket/c"}
    assert recipe_of(found)["benchmark"]["external"] == ["hospital-b"]
    assert not hasattr(evaluation(found.benchmark, load_dataset("generic")), "external")
    with pytest.raises(DatasetError, match=r"benchmark\.external"):
        config("generic", 'benchmark.external={"two words"="b"}')


def test_a_sound_side_is_described_without_its_path(config, tmp_path, capsys):
    """Data set, numbers and hashes are recorded; nothing is warned of."""
    write_tables(tmp_path / "b", 30, first=100)
    outside = sides(config())
    require_apart(outside, plan_of(range(20)))
    warn(outside)
    assert capsys.readouterr().err == ""
    about = about_outside(outside)["external"]["hospital-b"]
    assert (about["dataset"], about["nodules"], about["patients"]) == ("generic", 30, 30)
    assert about["same_pseudonym_key"] is True
    assert len(about["tables_sha256"]) == 3
    assert str(tmp_path) not in json.dumps(about)
    assert about_outside(()) == {}


def test_a_patient_on_both_sides_ends_the_run_before_any_work(config, tmp_path):
    """A labelled patient of the plan who tests too is refused; one without a label teaches nothing and may stay."""
    write_tables(tmp_path / "b", 30, first=100)
    outside = sides(config())
    require_apart(outside, plan_of([1, 2, 100]))
    with pytest.raises(DatasetError, match="1 patients are in this cohort and in that one too"):
        require_apart(outside, plan_of([1, 100, 3]))


def test_one_scan_under_another_name_is_refused(config, tmp_path):
    """A renamed copy has other pseudonyms: its files give it away before any work, its HU before any model."""
    write_tables(tmp_path / "b", 30, first=100)
    copied = plan_of(range(5))
    copied.jobs[1].source_sha256 = f"{103:064x}"
    with pytest.raises(DatasetError, match="the same files, whatever their names"):
        require_apart(sides(config()), copied)
    own = write_tables(
        tmp_path / "own", 20, nodule=lambda k: {"voxels_sha256": f"{105 + 10**6:064x}"} if k == 3 else {}
    )
    with pytest.raises(DatasetError, match="the same HU, whatever their names"):
        require_images_apart(sides(config()), own, "generic")
    require_images_apart(sides(config()), write_tables(tmp_path / "other", 20), "generic")


def test_another_key_is_said_and_images_are_compared_all_the_same(config, tmp_path, capsys):
    """Pseudonyms of two keys cannot be compared: a warning says so, and files and HU still are."""
    write_tables(tmp_path / "b", 30, first=100, run={"pseudonym_key_fingerprint": "another"})
    outside = sides(config())
    warn(outside)
    assert (
        "WARNING: external validation on hospital-b: its pseudonyms were made with another key"
        in capsys.readouterr().err
    )
    with pytest.raises(DatasetError, match="the same files"):
        require_apart(outside, plan_of([1, 100, 3]))


@pytest.mark.parametrize(
    ("own", "other", "told"),
    [
        ("lidc-idri", "luna16", "lidc-idri and luna16 hold some of the same patients"),
        ("luna16", "lidc-idri", "hold some of the same patients"),
        ("luna25", "nlst-3d", "hold some of the same patients"),
        ("dlcs24", "dlcs24", "both are parts of dlcs24"),
        ("generic", "generic", ""),
        ("dlcs24", "luna25", ""),
    ],
)
def test_the_catalog_warns_of_shared_patients(config, tmp_path, own, other, told):
    """What the catalog knows of both sides is warned of, recorded, and nothing else is."""
    write_tables(tmp_path / "b", 30, first=100, dataset=other)
    (one,) = sides(config(own), own)
    assert len(one.warnings) == bool(told)
    assert told in "".join(about_outside([one])["external"]["hospital-b"]["warnings"])


def test_other_features_and_taken_names_are_refused(config, tmp_path):
    """Features of other settings, and the name of the cohort itself, end before anything is started."""
    write_tables(tmp_path / "b", 30, first=100, run={"plugins": plugins_record(clip="none")})
    with pytest.raises(DatasetError, match="clip is 'lung' here and 'none' there"):
        sides(config())
    with pytest.raises(DatasetError, match="'generic' is this cohort's own data set"):
        sides(config("generic", f'benchmark.external={{generic="{tmp_path / "b"}"}}'))
