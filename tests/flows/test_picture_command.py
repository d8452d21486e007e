"""The command ``picture``."""

import matplotlib.image
import pytest
from typer.testing import CliRunner

from flows.cli import app
from lungpipe.errors import DatasetError
from lungpipe.store.place import Place
from lungpipe.store.tables import read_table


def test_a_nodule_of_a_workspace_is_drawn(finished, tmp_path):
    """Three views of a nodule of a finished run are written where asked, and the path is printed."""
    nodule = str(read_table(Place.at(finished[0]), "tables/nodules.parquet")["nodule_id"].iloc[0])
    out = tmp_path / "pictures" / "nodule.png"
    result = CliRunner().invoke(
        app,
        ["picture", str(finished[0]), "--nodule", nodule, "--radii", "2,6", "--out", str(out)],
        catch_exceptions=False,
    )
    assert result.stdout.strip() == str(out)
    height, width, _ = matplotlib.image.imread(out).shape
    assert width > 2 * height


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nodule", "N-AAAAAAAAAAAA"], "no nodule N-AAAAAAAAAAAA has a mask"),
        (["--radii", "2,x"], "expected positive lengths"),
        (["--radii", "0"], "expected positive lengths"),
        (["--segmenter", "nobody"], "no mask of .* by nobody; there are: "),
    ],
)
def test_wrong_words_are_told(finished, tmp_path, words, message):
    """A nodule, radius or segmenter that is not there is an error before anything is written."""
    nodule = str(read_table(Place.at(finished[0]), "tables/nodules.parquet")["nodule_id"].iloc[0])
    given = ["picture", str(finished[0]), "--nodule", nodule, *words, "--out", str(tmp_path / "x.png")]
    with pytest.raises(DatasetError, match=message):
        CliRunner().invoke(app, given, catch_exceptions=False)
    assert not (tmp_path / "x.png").exists()
