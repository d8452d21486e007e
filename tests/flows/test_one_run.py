"""Flows that share a workspace: one at a time, and features made once for the benchmark that comes later."""

import pandas as pd
import pytest

from flows import cli
from flows.cohort import cohort
from flows.curation import curation
from flows.features import features
from lungpipe.errors import DatasetError
from lungpipe.store.lock import WorkspaceBusyError, one_run
from lungpipe.store.place import Place


def test_a_second_run_is_refused_before_any_work(prefect_server, sound_cohort, tmp_path, monkeypatch, capsys):
    """The command ends with exit 2 and says who is at work; so does the flow, wherever it was started from."""
    place = Place.at(tmp_path / "results")
    with one_run(place):
        monkeypatch.setattr("sys.argv", ["lungpipe", "run", str(sound_cohort.recipe), "--workspace", str(place)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        with pytest.raises(WorkspaceBusyError):
            cohort(str(sound_cohort.recipe), str(place))
        with pytest.raises(WorkspaceBusyError):
            curation(str(sound_cohort.recipe), str(place))
    assert end.value.code == 2
    assert "one run at a time may write to" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["run.lock"]


def test_curation_does_not_replace_a_cohort(prefect_server, sound_cohort, finished):
    """A workspace with results is refused: its tables would lose their volumes."""
    with pytest.raises(DatasetError, match="whose tables curation would replace"):
        curation(str(sound_cohort.recipe), str(finished[0]))


@pytest.mark.slow
def test_features_come_first_and_the_benchmark_finds_them(prefect_server, sound_cohort, tmp_path, capsys):
    """Without classifiers the controls are made and nothing is compared; the whole recipe then makes no scan again."""
    results = tmp_path / "results"
    made = features(str(sound_cohort.recipe), str(results))
    assert (made.scans, made.reused, made.auc) == (8, 0, None)
    assert not (results / "tables" / "scores.parquet").exists()
    table = pd.read_parquet(results / "tables" / "features.parquet")
    assert set(table["region"]) == {"nodule", "grown", "shell", "box", "shuffled"}
    assert features(str(sound_cohort.recipe), str(results)).reused == 8
    assert capsys.readouterr().err.count("nothing to do") == 1
    whole = cohort(str(sound_cohort.recipe), str(results))
    assert (whole.scans, whole.reused) == (8, 8)
    assert whole.auc is not None
    pd.testing.assert_frame_equal(table, pd.read_parquet(results / "tables" / "features.parquet"), check_exact=True)
    # The benchmark stands, and is left as it is; of another recipe it does not, and goes.
    assert features(str(sound_cohort.recipe), str(results)).auc == whole.auc
    assert (results / "tables" / "scores.parquet").exists()
    features(str(sound_cohort.recipe), str(results), ["segment.methods=['otsu']"])
    assert not (results / "tables" / "scores.parquet").exists()
