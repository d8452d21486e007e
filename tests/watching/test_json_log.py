"""Standard error as JSON: every line parses, whoever wrote it, and none names a patient."""

import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from lungpipe.dicom.pseudonymise import load_pseudonymiser, table_path
from lungpipe.errors import DatasetError, Exclusion
from lungpipe.scan import ScanResult
from lungpipe.store.place import Place
from lungpipe.watching.logs import json_log, say
from lungpipe.watching.screen import without_paths
from lungpipe.watching.watch import watched

KEYS = {"time", "level", "run", "stage", "scan", "message", "logger"}


@pytest.fixture
def lines(monkeypatch, capfd):
    """Switch JSON on; the function returns what was written since, parsed."""
    monkeypatch.setenv("LUNGPIPE_LOG", "json")

    def read():
        found = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
        assert all(found)
        assert all(line.keys() >= KEYS for line in found)
        return found

    return read


def test_stages_scans_and_the_end_have_a_line_each(lines, tmp_path):
    """One line a stage's beginning and end, one a scan with status, code and seconds by stage, one for the run's end."""
    late = Exclusion("scan", "timeout", "it ran longer than 9 s", "P-2", "S-2")
    with watched(Place.at(tmp_path), "t") as watch, watch.stage("scans"):
        watch.expect([("S-1", "P-1"), ("S-2", "P-2")], [])
        watch.scan(ScanResult("S-1", "P-1", made={"volume": 1}, seconds={"read": 0.25, "lung": 3.0}, took_s=3.3))
        watch.scan(ScanResult("S-2", "P-2", exclusion=late))
    found = lines()
    assert {line["run"] for line in found} == {watch.run_id}
    scans = [line for line in found if line["event"] == "scan_ended"]
    assert [(line["scan"], line["status"], line["code"]) for line in scans] == [
        ("S-1", "made", None),
        ("S-2", "excluded", "timeout"),
    ]
    assert scans[0]["seconds"] == {"read": 0.25, "lung": 3.0}
    assert {line["stage"] for line in scans} == {"scans"}
    events = [(line["event"], line["stage"]) for line in found if line not in scans]
    assert events == [
        ("stage_began", "scans"),
        ("scans_expected", "scans"),
        ("stage_ended", "scans"),
        ("run_ended", None),
    ]
    assert all(line["time"].endswith("+00:00") for line in found)


def test_whatever_writes_to_standard_error_is_a_line(lines):
    """Words of ours, warnings, records of logging, a child process and the bare descriptor all come as JSON, each once."""
    with json_log(), warnings.catch_warnings():
        warnings.simplefilter("always")
        say("words of ours", logging.ERROR, answer=42)
        warnings.warn("a warning", UserWarning, stacklevel=1)
        logging.getLogger("some.library").warning("of a %s", "library")
        logging.getLogger("some.library").info("noted for itself")
        sys.stderr.write("printed\nin two lines\n")
        subprocess.run([sys.executable, "-S", "-c", "import os; os.write(2, b'of a child')"], check=True)
        os.write(2, b"\nof native code, without an end")
    told = lines()
    (own,) = (line for line in told if line["message"] == "words of ours")
    assert own["level"] == "error"
    assert own["answer"] == 42
    messages = [line["message"] for line in told]  # a server or worker of other tests may have put in a word
    assert sum("UserWarning: a warning" in message for message in messages) == 1
    for words in ("of a library", "printed", "in two lines", "of a child", "of native code, without an end"):
        assert messages.count(words) == 1
    assert "noted for itself" not in messages


@pytest.fixture
def console():
    """What a workflow engine attaches when it sets up logging: every record goes to standard error, in its own words."""
    handler = logging.StreamHandler(os.fdopen(2, "w", closefd=False))
    handler.setFormatter(logging.Formatter("at noon | %(message)s"))
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("when", ["before", "since"])
def test_records_come_once_beside_a_console(lines, console, when):
    """A handler that prints records, attached before or in a block of its own, is set aside meanwhile, and is back after it."""
    root = logging.getLogger()
    if when == "before":
        root.addHandler(console)
    with json_log(), warnings.catch_warnings():
        if when == "since":
            root.addHandler(console)
        with json_log():
            warnings.simplefilter("always")
            warnings.warn("a warning", UserWarning, stacklevel=1)
            logging.getLogger("some.library").warning("of a library")
            assert console not in root.handlers
    told = [line["message"] for line in lines()]
    assert sum("a warning" in message for message in told) == 1
    assert sum("of a library" in message for message in told) == 1
    assert console in root.handlers


def test_words_of_others_name_nobody(lines, tmp_path):
    """What is known under the key, and every path, is masked in messages of errors, warnings and children, ours untouched."""
    pseudonym, _ = load_pseudonymiser()
    pseudonym("patient", "Mustermann^Erika")
    pseudonym.write_table(table_path())
    root = "/archive/Max Mustermann"
    with pytest.raises(ValueError, match="Erika"), watched(Place.at(tmp_path), "t", root) as watch:  # noqa: PT012
        with watch.stage("frame"):
            sys.stderr.write("a child reads /archive/Max Mustermann/1.dcm of Mustermann, Erika\n")
        raise ValueError("Mustermann^Erika has no scan in /archive/Max Mustermann")
    found = lines()
    text = json.dumps(found)
    assert "Mustermann" not in text
    assert "Erika" not in text
    assert "a child reads [path]" in text
    assert found[-1]["error"] == "ValueError"
    assert "has no scan in [path]" in found[-1]["error_message"]


def test_words_wait_until_the_names_of_the_archive_are_known(lines, tmp_path):
    """What is written while the archive is read is told after it, when its names can be masked."""
    with watched(Place.at(tmp_path), "t") as watch, watch.stage("curate"):
        sys.stderr.write("odd header of Mustermann^Erika\n")
        pseudonym, _ = load_pseudonymiser()
        pseudonym("patient", "Mustermann^Erika")
        pseudonym.write_table(table_path())
    (told,) = [line for line in lines() if "odd header" in line["message"]]
    assert told["stage"] == "curate"
    assert "Erika" not in told["message"]


LAST_WORDS = """
import sys, threading
from lungpipe.watching.logs import json_log
with json_log(last=True):
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    raise LookupError("nobody foresaw it")
"""


@pytest.mark.slow
def test_tracebacks_are_lines(monkeypatch):
    """An error that nobody caught, in a thread or at the end, is one line with its frames, and ends the process with 1."""
    monkeypatch.setenv("LUNGPIPE_LOG", "json")
    done = subprocess.run([sys.executable, "-c", LAST_WORDS], capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["error"] for line in found] == ["ZeroDivisionError", "LookupError"]
    assert found[1]["error_message"] == "nobody foresaw it"
    assert found[0]["traceback"][-1].endswith("<lambda>")
    assert done.returncode == 1


NO_ROOM = """
import sys
from lungpipe.watching.logs import json_log, say
with json_log():
    for k in range(3):
        say("words", ours=True)
        sys.stderr.write("printed")
print("done")
"""


def test_a_log_that_takes_nothing_stops_nothing(monkeypatch):
    """Where standard error is full, as a disk may be, lines are lost and the process goes on."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    monkeypatch.setenv("LUNGPIPE_LOG", "json")
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-c", NO_ROOM]
        done = subprocess.run(words, stderr=full, stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    assert done.stdout == "done\n"


def test_without_the_variable_words_stay_words(monkeypatch, capfd, tmp_path):
    """Unless JSON is asked for, lines are for people, and scans have none."""
    monkeypatch.delenv("LUNGPIPE_LOG", raising=False)
    with watched(Place.at(tmp_path), "t") as watch, watch.stage("scans"):
        watch.scan(ScanResult("S-1", "P-1"))
        say("words")
    assert capfd.readouterr().err == "words\n"
    monkeypatch.setenv("LUNGPIPE_LOG", "yaml")
    with pytest.raises(DatasetError, match="what a person reads"), json_log():
        pass


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no file /a/b c", "no file [path] c"),
        (r"in C:\scans\Roe: gone", "in [path] gone"),
        ("s3://bucket/Roe: 404", "[path] 404"),
        ("in tables/nodules.parquet", "in tables/nodules.parquet"),
        ("/site/lungpipe/x.py:12: UserWarning", "x.py:12: UserWarning"),
        ("two known", "two [path]"),
        ("nothing here: 3.5 mm", "nothing here: 3.5 mm"),
    ],
)
def test_paths_are_masked_and_words_are_not(text, expected):
    """Everything that looks like a path, or is given as one, is masked; the file of code and our own folders stay."""
    assert without_paths(text, ["known"]) == expected
