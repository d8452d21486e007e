"""Process one scan in a child that dies at its n-th change of the disk, for every n; run by test_killed_writer.py.

Usage: python kill_writer.py JOB.pickle FOLDER STRIDE. Every STRIDE-th change is tried. Prints one JSON line: the number of deaths, and what went wrong.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from itertools import count
from pathlib import Path

import radiomics.featureextractor  # noqa: F401  likewise

from lungpipe.scan import process_scan
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.verify import verify_workspace

DIED = 77


def in_child(work) -> int:
    """Exit status of a child that does some work: this process itself never starts zarr's threads."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  a child must not return into the parent's loop
            sys.stderr.write(f"{error!r}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(n: int, below: Path) -> None:
    """End this process, without any cleaning up, at its n-th change below a folder."""
    left = n

    def hook(event: str, arguments: tuple) -> None:
        nonlocal left
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"):
            path, changes = arguments[0], True
        else:
            return
        if changes and isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(str(below)):
            left -= 1
            if left == 0:
                os._exit(DIED)

    sys.addaudithook(hook)


def records(place: Place) -> dict[str, dict[str, str]]:
    """Outputs of every record that stands, by reference."""
    found = {}
    for scope in ledger.patients(place):
        for ref in ledger.refs(place, scope):
            entry = ledger.stands(place, ref)
            if entry is not None:
                found[ref] = dict(entry.outputs)
    return found


def main() -> None:
    with open(sys.argv[1], "rb") as stream:  # noqa: PTH123
        job, settings = pickle.load(stream)
    folder = Path(sys.argv[2])
    stride = int(sys.argv[3])
    sound = folder / "sound"
    assert in_child(lambda: process_scan(job, settings, sound)) == 0
    expected = records(Place.at(sound))
    assert len(expected) == 5, expected
    wrong, deaths = [], 0
    for n in count(1, stride):
        here = folder / f"killed-{n}"

        def dying(here: Path = here, n: int = n) -> None:
            die_at(n, here)
            process_scan(job, settings, here)

        status = in_child(dying)
        if status == 0:
            break
        if status != DIED:
            wrong.append(f"step {n}: the child ended with {status}")
            break
        deaths += 1
        place = Place.at(here)
        for ref, outputs in records(place).items():
            if expected.get(ref) != outputs:
                wrong.append(f"step {n}: {ref} stands, but is not what a whole run makes")
        if in_child(lambda here=here: process_scan(job, settings, here)) != 0:
            wrong.append(f"step {n}: the next run failed")
        if records(place) != expected:
            wrong.append(f"step {n}: the next run did not make everything")
        left = [f for f in verify_workspace(place) if f.kind not in ("leftover", "missing_table")]
        wrong += [f"step {n}: {finding.kind} {finding.path}" for finding in left]
        shutil.rmtree(here)
    sys.stdout.write(json.dumps({"deaths": deaths, "wrong": wrong[:20]}))


if __name__ == "__main__":
    main()
