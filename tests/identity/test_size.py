"""Large files: nothing is lost where they are cut, and memory stays flat."""

import random
import string
import tracemalloc

from identity_files import TERMS, kinds, many_terms

from lungpipe.identity import Term, search_identities
from lungpipe.identity.matcher import Matcher
from lungpipe.identity.pieces import CHUNK, EDGE, OVERLAP


def test_chunks_hide_nothing(tmp_path):
    """A term is found wherever a large file is cut, once, at its place."""
    filler = b"all is well here and nobody is named \n"
    content = bytearray((filler * (5 * CHUNK // len(filler) + 1))[: 5 * CHUNK])
    names = [f"Xq{chr(97 + i)}zvbn^Pf{chr(97 + i)}wxy" for i in range(6)]
    last = len(content) - len(names[0])
    positions = [1, CHUNK - 7, CHUNK - EDGE + 30, 3 * CHUNK - OVERLAP + EDGE - 5, 4 * CHUNK, last]
    for name, position in zip(names, positions, strict=True):
        content[position - 1 : position + len(name) + 1] = f" {name} ".encode()[: len(content) - position + 1]
    content[40] = 0  # not text, so that it is read in chunks
    path = "/data/" + "x/" * 490 + "end"
    content[2 * CHUNK - 600 : 2 * CHUNK - 599 + len(path)] = f"{path} ".encode()
    (tmp_path / "big.bin").write_bytes(content)
    assert kinds(tmp_path, [Term("path", path)]) == {"path"}
    places = [finding.place for finding in search_identities(tmp_path, [Term("name", name) for name in names])]
    assert sorted(places) == sorted(f"byte {position}" for position in positions)


def test_chunks_invent_nothing(tmp_path):
    """A word that is cut by a chunk's end is not taken for the name that a part of it is."""
    before, behind = b" bratwurstmann ", b" wurstmanns "
    for word, start in ((before, CHUNK - OVERLAP - 5), (before, 2 * CHUNK - OVERLAP - 5), (behind, CHUNK - 10)):
        content = bytearray(b"all is well " * (3 * CHUNK // 12))
        content[40] = 0  # not text, so that it is read in chunks
        content[start : start + len(word)] = word
        (tmp_path / "big.bin").write_bytes(content)
        assert kinds(tmp_path) == set(), start


def test_memory_stays_flat(tmp_path):
    """Searching a file of 120 MB takes a few chunks of memory, not the file's size."""
    line = b"all is well here and nobody is named, not even once in this long line of text\n"
    with (tmp_path / "a.log").open("wb") as stream:
        for _ in range(120):
            stream.write((line * 13_000)[: 1 << 20])
    tracemalloc.start()
    try:
        assert search_identities(tmp_path, TERMS) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 << 20


def test_matcher_agrees_with_a_plain_search():
    """On random text every term is found where Python's own search finds it between spaces, and nowhere else."""
    rng = random.Random(3)
    terms = many_terms(800)
    words = [t.text for t in terms if t.kind in {"id", "uid"} and (not t.text.isdigit() or len(t.text) >= 6)]
    others = ["".join(rng.choices(string.ascii_letters + string.digits, k=rng.randint(1, 12))) for _ in range(3000)]
    text = " ".join(rng.choices(words, k=300) + others + rng.choices(words, k=300))
    hits = {(h.start, h.stop) for h in Matcher([t for t in terms if t.text in set(words)]).anything(text.encode())}
    padded, expected = f" {text.lower()} ", set()
    for word in {w.lower() for w in words}:
        at = padded.find(f" {word} ")
        while at >= 0:
            expected.add((at, at + len(word)))
            at = padded.find(f" {word} ", at + 1)
    assert len(expected) > 400
    assert hits == expected
