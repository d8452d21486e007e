"""An explanation that fails costs nothing but itself."""

from collections import Counter

import pytest

from lungpipe.errors import LungpipeError
from lungpipe.learn.explanation import Explained
from lungpipe.learn.scores import Scored
from lungpipe.store.place import Place
from tasks import learn
from tasks.each import Failure

SCORED = Scored("cohort/scores-1", {"scores": 1}, {"configuration": 3})


@pytest.fixture
def place(tmp_path):
    """A workspace with the tables of an older explanation."""
    place = Place.at(tmp_path)
    place.write("tables/importance.parquet", b"old")
    place.write("tables/scores.parquet", b"scores")
    return place


def explained(place, monkeypatch, outcome):
    """What the task makes of an outcome of one fold."""
    monkeypatch.setattr(learn, "each", lambda _address, _function, items: ((k, outcome) for k in range(len(items))))

    def write(_place, ref, _runs, mapper):
        assert ref == SCORED.ref
        assert [result for _, result in mapper(None, ["a fold", "another"])] == [outcome, outcome]
        return Explained("cohort/explanation-2", reused=False)

    monkeypatch.setattr(learn, "write_explanation", write)
    return learn._with_explanation("address", place, {}, SCORED)


def test_an_explanation_is_counted_and_named(place, monkeypatch):
    found = explained(place, monkeypatch, "told")
    assert found.refs == ("cohort/scores-1", "cohort/explanation-2")
    assert Counter(found.made) == {"scores": 1, "explanation": 1}
    assert found.reused == {"configuration": 3}


@pytest.mark.parametrize(
    ("outcome", "words"),
    [(Failure("worker_died", "the worker process died"), "the worker process died"), (0, "KeyError; this is a bug")],
)
def test_a_failure_leaves_the_scores_and_no_old_tables(place, monkeypatch, capsys, outcome, words):
    """A worker that dies and a mistake of ours are told; the scores stand, and what explained others is gone."""
    if outcome == 0:
        monkeypatch.setattr(learn, "write_explanation", lambda *_: {}["missing"])
        found = learn._with_explanation("address", place, {}, SCORED)
    else:
        found = explained(place, monkeypatch, outcome)
    assert found == SCORED
    assert found.refs == ("cohort/scores-1",)
    assert words in capsys.readouterr().err
    assert not place.exists("tables/importance.parquet")
    assert place.exists("tables/scores.parquet")


def test_a_worker_tells_in_words_what_cannot_be_explained(monkeypatch):
    """Errors that teach keep their words; others are for the one who called."""

    def fails(_task):
        raise LungpipeError("fitted again, it predicts something else")

    monkeypatch.setattr(learn, "explain_task", fails)
    assert learn.explain_one(None) == Failure("not_explained", "fitted again, it predicts something else")
    monkeypatch.setattr(learn, "explain_task", lambda _: {}["missing"])
    with pytest.raises(KeyError):
        learn.explain_one(None)
