"""The pages in a real browser, opened as files: nothing is loaded or broken, all can be used by keyboard, in both schemes."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_tables import make_exclusions, make_nodules, make_predictions, make_scores, make_series, make_tile
from test_curation import make_curation, write_curation

from lungpipe.report.page import report_html

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed (extra dev)")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path (apt-get install chromium)")
#: Names of nodules as the tables have them, by probability: the highest first.
N = 50


def make_workspace():
    """Return fields of a report with everything that the nodule pages can show."""
    scores, nodules = make_scores(), make_nodules()
    size_mm = 4 + np.arange(len(nodules)) % N * 0.3
    nodules = nodules.assign(
        axial_mean_mm=size_mm,
        volume_mm3=size_mm**3 / 2,
        size_class="3",
        codes=["beyond_box" if i % N == 7 else "" for i in range(len(nodules))],
    )
    predictions = pd.concat([make_predictions(scores), make_predictions(scores).assign(repeat=1)])
    neighbours = pd.DataFrame(
        {
            "dataset": "phantom",
            "patient_id": "P0000",
            "series_uid": "",
            "nodule_id": ["n00"],
            "ood": 1.2,
            "ood_percentile": 81.0,
            "neighbours": json.dumps([{"nodule_id": "n05", "malignant": 1, "distance": 0.7}]),
        }
    )
    out = make_exclusions().iloc[[2]].assign(nodule_id="left-out")
    return {
        "scores": scores,
        "predictions": predictions,
        "nodules": nodules,
        "neighbours": neighbours,
        "exclusions": pd.concat([make_exclusions().head(1), out]),
        "tiles": [make_tile(i) for i in range(N)],
        "radius_mm": 8.0,
        "lineage": {("", f"n{i:02d}"): [("Masks", f"P{i:04d}/masks-00000000000000a1")] for i in range(N)},
        "series": make_series().assign(codes=""),
    }


@pytest.fixture(scope="module")
def report(make_report, tmp_path_factory):
    """Write the report once."""
    path = tmp_path_factory.mktemp("browser") / "index.html"
    path.write_text(report_html(make_report(**make_workspace())), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    """Start the machine's own Chromium once."""
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # root cannot have Chromium's sandbox
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield started
        started.close()


@pytest.fixture
def visit(browser):
    """Return a function that opens a file; whatever it says on the console or asks the network for fails the test."""
    contexts, said = [], []

    def note(request):
        if not request.url.startswith(("file:", "data:", "blob:")):
            said.append(f"request to {request.url}")

    def go(path, fragment="", **settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        context.on("request", note)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{Path(path).as_uri()}{fragment}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert not said


def violations(page, where="document", only=()):
    """Return what axe-core calls serious or critical, in words; of tiles the first nine are looked at, of nodules the first."""
    source = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    page.evaluate(source)
    page.evaluate("document.querySelectorAll('.tile:nth-child(n+10), .nodule ~ .nodule').forEach(one => one.remove())")
    rules = f", runOnly: {list(only)}" if only else ""
    found = page.evaluate(f"axe.run({where}, {{resultTypes: ['violations']{rules}}})")["violations"]
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


def names(page):
    """Return the nodules on the sheet, in order, that are shown."""
    return page.eval_on_selector_all(
        ".tile", "all => all.filter(t => !t.hidden).map(t => t.querySelector('b').textContent)"
    )


def eventually(page, expression, wanted):
    """Wait up to five seconds for an expression to have a value: addresses are followed a moment after a key."""
    for _ in range(100):
        if page.evaluate(expression) == wanted:
            return
        page.wait_for_timeout(50)
    assert page.evaluate(expression) == wanted


def count(page):
    return page.text_content(".finder output")


def mean_p():
    """Mean probability of each nodule over the repeats."""
    own = make_workspace()["predictions"]
    return own[own["segmenter"] == "chosen"].groupby("nodule_id")["p"].mean()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_report_has_no_serious_violation(visit, report, scheme):
    """axe-core finds nothing serious on the page or on a nodule's page, in either scheme; every image has words."""
    page, only = visit(report, color_scheme=scheme), () if scheme == "light" else ("color-contrast",)
    assert violations(page, only=only) == []
    assert (
        page.eval_on_selector_all(
            "img:not([alt]), svg[role=img]:not([aria-label]):not([aria-labelledby])", "a => a.length"
        )
        == 0
    )
    assert page.eval_on_selector_all("svg:not([role=img]):not([aria-hidden=true])", "a => a.length") == 0
    page.click(".tile >> nth=0 >> a")
    page.wait_for_selector("#nodule-n00 h2")
    assert violations(page, "'#nodule-n00'", only) == []


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_curation_page_has_no_serious_violation(visit, tmp_path, scheme):
    """The curation page has the same switch, and axe-core finds nothing serious."""
    page = visit(write_curation(make_curation(), tmp_path), color_scheme=scheme)
    assert violations(page, only=() if scheme == "light" else ("color-contrast",)) == []
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    other = "dark" if scheme == "light" else "light"
    while page.inner_text(".theme") != f"Colours: {other}":
        page.click(".theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_axe_sees_what_is_wrong(visit, tmp_path):
    """A picture without words and pale letters are found, so that no finding means something."""
    path = tmp_path / "bad.html"
    path.write_text(
        '<!doctype html><html lang="en"><title>x</title><img src="data:,"><p style="color:#ccc;background:#fff">pale'
    )
    found = " ".join(violations(visit(path)))
    assert "image-alt" in found
    assert "color-contrast" in found


def test_search_counts_and_finds_what_tiles_and_tables_say(visit, report):
    """All nodules at first; words must all be found, in labels, pseudonyms and codes; the left-out nodule has a tile too."""
    page = visit(report)
    assert count(page) == f"{N + 1} of {N + 1} shown"
    for asked, found in (
        ("malignant", 24),
        ("MALIGNANT n0", 5),
        ("beyond_box", 1),
        ("constant_region", 1),
        ("P0003", 2),
        ("nothing", 0),
    ):
        page.fill("[name=find]", asked)
        assert count(page) == f"{found} of {N + 1} shown", asked
        assert len(names(page)) == found
    page.fill("[name=find]", "n07")
    assert names(page) == ["n07"]
    page.keyboard.press("Enter")
    assert len(names(page)) == 1


def test_sheet_sorts_by_numbers_and_names(visit, report):
    """By p, size and error in the order of the numbers, unknown ones last; by pseudonym; and back to the tables' order."""
    page, p = visit(report), mean_p()
    first = names(page)
    page.select_option("[name=sort]", "p-")
    assert names(page)[:-1] == list(p.sort_values(ascending=False).index)
    page.select_option("[name=sort]", "p")
    assert names(page)[0] == p.idxmin()
    assert names(page)[-1] == "left-out"
    page.select_option("[name=sort]", "mm-")
    assert names(page)[:2] == ["n49", "n48"]
    labels = make_nodules().drop_duplicates("nodule_id").set_index("nodule_id")["malignant"].dropna().astype(float)
    error = (labels - p).abs().dropna()
    page.select_option("[name=sort]", "error-")
    assert names(page)[0] == error.idxmax()
    page.select_option("[name=sort]", "name")
    assert names(page) == sorted(names(page))
    page.select_option("[name=sort]", "")
    assert names(page) == first


def test_nodule_page_opens_closes_and_steps_in_the_order_of_the_sheet(visit, report):
    """A tile opens it by keyboard; arrows follow search and sort; Escape leads back to the tile."""
    page = visit(report)
    page.fill("[name=find]", "n0")
    page.select_option("[name=sort]", "mm-")
    page.focus("#tile-n09 a")
    page.keyboard.press("Enter")
    page.wait_for_selector("#nodule-n09")
    eventually(page, "document.querySelector('#nodule-n09 .place').textContent", "1 of 10")
    eventually(page, "document.activeElement.id", "head-n09")
    assert page.evaluate("document.querySelector('main').inert")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#nodule-n08")
    page.wait_for_selector("#nodule-n09", state="hidden")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#nodule-n00")
    text = page.inner_text("#nodule-n00")
    for words in ("Axial", "Coronal", "Sagittal", "Percentile", "the mean of", "of 50", "P0000/masks-", "81 %"):
        assert words in text
    page.click("#nodule-n00 >> text=n05")
    page.wait_for_selector("#nodule-n05")
    page.keyboard.press("Escape")
    page.wait_for_selector("#nodule-n05", state="hidden")
    eventually(page, "document.activeElement.closest('li')?.id", "tile-n05")


def test_nodule_page_has_an_address(visit, report):
    """A nodule's page opens from its address, and the browser's way back leads to the sheet."""
    page = visit(report, "#nodule-n20")
    page.wait_for_selector("#nodule-n20 h2")
    page.click("#nodule-n20 .close")
    page.wait_for_selector("#nodule-n20", state="hidden")
    page.go_back()
    page.wait_for_selector("#nodule-n20")


def test_axial_picture_is_drawn_again_on_the_nodule_page(visit, report):
    """The picture that tile and page share is there even when a search hides the tile."""
    page = visit(report)
    page.fill("[name=find]", "n01")
    page.evaluate("location.hash = '#nodule-n00'")
    page.wait_for_selector("#nodule-n00 .views")
    box = page.locator("#nodule-n00 .views svg").first
    pixels = np.frombuffer(box.screenshot(type="jpeg"), np.uint8)
    assert len(pixels) > 4000  # noisy lung, not a black square


def test_theme_is_switched_and_remembered(visit, report):
    """The button goes through the choices; a page opened again has the colours chosen, and print is light in any."""
    page = visit(report, color_scheme="light")
    dark, light = "rgb(20, 24, 28)", "rgb(246, 247, 248)"
    seen = []
    for _ in range(4):
        seen.append((page.inner_text(".theme"), page.evaluate("getComputedStyle(document.body).backgroundColor")))
        page.click(".theme")
    assert seen == [
        ("Colours: auto", light),
        ("Colours: light", light),
        ("Colours: dark", dark),
        ("Colours: auto", light),
    ]
    page.click(".theme")
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_page_prints(visit, report):
    """The report prints to several pages; with a nodule open, that alone is printed."""
    page = visit(report)
    whole = page.pdf(format="A4")
    assert whole.startswith(b"%PDF")
    page.evaluate("location.hash = '#nodule-n00'")
    page.wait_for_selector("#nodule-n00 h2")
    one = page.pdf(format="A4")
    pages = [text.count(b"/Type /Page\n") or text.count(b"/Type /Page") for text in (whole, one)]
    assert pages[0] > 4 > pages[1]


def test_page_is_readable_without_scripts(visit, report):
    """Without JavaScript all tiles stand there, links open and close nodule pages, and no dead control is shown."""
    page = visit(report, java_script_enabled=False)
    assert page.locator(".tile").count() == N + 1
    assert not page.is_visible(".finder")
    assert not page.is_visible(".theme")
    page.click("#tile-n03 a")
    page.wait_for_selector("#nodule-n03")
    page.click("#nodule-n03 .after")
    page.wait_for_selector("#nodule-n04")
    page.click("#nodule-n04 .close")
    page.wait_for_selector("#nodule-n04", state="hidden")


def test_narrow_page_does_not_run_off(visit, report):
    """On 400 px nothing but tables and charts, which scroll in themselves, is wider than the page."""
    page = visit(report, viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.evaluate("location.hash = '#nodule-n00'")
    page.wait_for_selector("#nodule-n00 h2")
    assert page.evaluate("document.querySelector('#nodule-n00').scrollWidth") <= 400


def test_nothing_can_be_loaded(browser, tmp_path, make_report):
    """The page forbids the browser to load anything: a picture from elsewhere is blocked before a request leaves."""
    path = tmp_path / "index.html"
    html = report_html(make_report(tiles=(), scores=None, predictions=None))
    path.write_text(
        html.replace("</main>", '<img src="https://example.invalid/x.png" alt="x"></main>'), encoding="utf-8"
    )
    page, said, asked = browser.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("requestfinished", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert any("Content Security Policy" in one for one in said)
    assert not [url for url in asked if url.startswith("http")]
    page.close()
