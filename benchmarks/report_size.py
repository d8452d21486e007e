"""Size of the report page, and how long a browser needs for it: 1,000 simulated nodules with three noisy views each.

Run: python benchmarks/report_size.py [--nodules 1000] [--out page.html]. Prints megabytes by what they are spent on, and,
where Playwright and a Chromium are there, seconds until the page can be used, for a search, a sort and a nodule's page.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from lungpipe.report.contact import View, draw
from lungpipe.report.drawing import Tile
from lungpipe.report.page import Report, report_html
from lungpipe.report.pictures import FEW, SIDE_OF_FEW_PX, SIDE_PX

LIMIT_MB = 15.0
SEGMENTERS, RADII_MM, CLASSIFIERS = (
    ("otsu", "kmeans", "gmm", "fcm"),
    (0.0, 4.0, 8.0, 12.0),
    ("logistic", "random_forest", "knn"),
)


def make_tile(number: int, rng: np.random.Generator, side_px: int) -> Tile:
    """Return three views of a rough ball in lung with noise of 50 HU, which no compression likes."""
    radius_mm, views = 2.5 + 12 * rng.beta(1.2, 5), {}
    half_mm = radius_mm + 14
    for name, spacing_mm in (("axial", (0.7, 0.7)), ("coronal", (1.25, 0.7)), ("sagittal", (1.25, 0.7))):
        y, x = np.meshgrid(*(np.arange(-half_mm, half_mm, s) for s in spacing_mm), indexing="ij")
        angle, distance = np.arctan2(y, x), np.hypot(x, y)
        edge_mm = radius_mm * (1 + 0.18 * np.sin(3 * angle + number) + 0.1 * np.sin(7 * angle + 2 * number))
        hu = np.where(distance < edge_mm, 0.0, -840.0) + rng.normal(0, 50, x.shape)
        view = View(hu, spacing_mm, {"nodule": distance < edge_mm, "8 mm": distance < edge_mm + 8})
        views[name] = draw(view, side_px)
    return Tile(f"N-{number:012d}", views, f"S-{number:012d}")


def make_report(n: int) -> Report:
    """Return a report of ``n`` nodules, one a series."""
    rng = np.random.default_rng(7)
    identity = pd.DataFrame(
        {
            "dataset": "simulated",
            "intensities": "simulated",
            "patient_id": [f"P-{i:012d}" for i in range(n)],
            "series_uid": [f"S-{i:012d}" for i in range(n)],
            "nodule_id": [f"N-{i:012d}" for i in range(n)],
        }
    )
    y, size_mm = rng.integers(0, 2, n), 4 + rng.gamma(2, 3, n)
    nodules = pd.concat(
        [
            identity.assign(
                segmenter=name,
                malignant=pd.array(y, dtype="Int64"),
                volume_mm3=size_mm**3 / 2,
                axial_long_mm=size_mm * 1.1,
                axial_short_mm=size_mm * 0.8,
                axial_mean_mm=size_mm * 0.95,
                diameter_3d_mm=size_mm * 1.2,
                mean_hu=rng.normal(-100, 80, n),
                calcified_fraction=rng.random(n) * 0.1,
                soft_rim_fraction=rng.random(n),
                size_class="4A",
                verdict="accept",
                codes="leaves_box",
            )
            for name in SEGMENTERS
        ],
        ignore_index=True,
    )
    features = pd.concat(
        [
            identity.assign(
                segmenter="otsu",
                region="nodule" if r == 0 else "shell",
                radius_mm=r,
                volume_mm3=size_mm**3 / 2 + 100 * r,
                original_shape_Sphericity=rng.random(n),
                original_shape_SurfaceVolumeRatio=rng.random(n),
                original_firstorder_90Percentile=rng.normal(0, 50, n),
                original_firstorder_Entropy=rng.random(n) * 5,
                original_firstorder_Mean=rng.normal(-500, 90, n),
                original_glcm_Contrast=rng.gamma(2, 10, n),
            )
            for r in RADII_MM
        ],
        ignore_index=True,
    )
    chosen = identity.assign(segmenter="chosen", region="chosen", radius_mm=np.nan, classifier="chosen", y=y)
    p = np.clip(0.5 + 0.2 * (y - 0.5) + rng.normal(0, 0.2, (5, n)), 0.001, 0.999)
    predictions = pd.concat([chosen.assign(repeat=k, fold=0, p=p[k]) for k in range(5)], ignore_index=True)
    keys = [(s, r, c) for s in SEGMENTERS for r in RADII_MM for c in CLASSIFIERS]
    scores = pd.DataFrame(
        [
            {
                "segmenter": s, "region": "shell" if r else "nodule", "radius_mm": r, "classifier": c, "selection": "fixed",
                "chosen": "", "auc": 0.7, "auc_low": 0.65, "auc_high": 0.75, "auc_low_all": 0.6, "auc_high_all": 0.8, "inner_auc": 0.69,
            }
            for s, r, c in keys
        ]
        + [
            {
                "segmenter": "chosen", "region": "chosen", "radius_mm": np.nan, "classifier": "chosen", "selection": "inside",
                "chosen": "[]", "auc": 0.7, "auc_low": 0.65, "auc_high": 0.75, "auc_low_all": 0.6, "auc_high_all": 0.8, "inner_auc": 0.7,
            }
        ]
    ).assign(dataset="simulated", n=n, n_patients=n, n_malignant=int(y.sum()), average_precision=0.7, brier=0.2, balanced_accuracy=0.6)  # fmt: skip
    series = identity[["dataset", "patient_id", "series_uid"]].assign(
        verdict="accept", codes="contrast", manufacturer="A", model="B", kernel="C"
    )
    refs = [
        (name, f"P-000000000000/{name.lower()}-0123456789abcdef")
        for name in ("Features", "Masks", "Lung", "Annotations", "Volume")
    ]
    refs += [
        ("Content of the mask", "0123456789abcdef"),
        ("HU of the scan (SHA-256)", "0" * 64),
        ("Files of the series (SHA-256)", "0" * 64),
    ]
    one = {"nodule_id": "N-000000000001", "malignant": 1, "distance": 1.25}
    near = json.dumps([one] * 5)
    return Report(
        title="Simulated",
        intensities="simulated",
        run={},
        series=series,
        nodules=nodules,
        exclusions=pd.DataFrame(columns=["stage", "patient_id", "series_uid", "nodule_id", "code", "message"]),
        scores=scores,
        predictions=predictions,
        features=features,
        tiles=[make_tile(i, rng, SIDE_OF_FEW_PX if n <= FEW else SIDE_PX) for i in range(n)],
        radius_mm=8.0,
        lineage={(f"S-{i:012d}", f"N-{i:012d}"): refs for i in range(n)},
        neighbours=identity.assign(ood=1.0, ood_percentile=50.0, neighbours=near),
    )


def browse(path: Path) -> dict[str, float]:
    """Seconds until the page can be used, and for what is done on it."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        return {}
    seconds = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()

        def timed(name: str, script: str) -> None:
            start = time.perf_counter()
            # two frames later what the script changed has been laid out and drawn
            page.evaluate(
                f"async () => {{ {script}; for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame); }}"
            )
            seconds[name] = time.perf_counter() - start

        start = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_selector(".finder output")
        seconds["open"] = time.perf_counter() - start
        field = "const f = document.querySelector('.finder').elements"
        event = "document.querySelector('.finder').dispatchEvent(new Event('input'))"
        timed("search", f"{field}; f.find.value = 'malignant'; {event}")
        timed("sort", f"{field}; f.find.value = ''; f.sort.value = 'p-'; {event}")
        timed("nodule", "location.hash = document.querySelector('.tile a').hash")
        timed("next", "document.querySelector('.nodule:target .after').click()")
        browser.close()
    return seconds


def main() -> None:
    """Make the page, weigh it, open it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodules", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    report = make_report(asked.nodules)
    start = time.process_time()
    html = report_html(report)
    seconds = time.process_time() - start
    size_mb = len(html.encode()) / 1e6
    parts = {
        "pictures": sum(map(len, re.findall(r"data:image/webp[^\"]*", html))),
        "outlines": sum(map(len, re.findall(r'<path class="o\d" d="[^"]*"/>', html))),
        "downloads": sum(map(len, re.findall(r"data:text/csv[^\"]*", html))),
        "charts": sum(map(len, re.findall(r"data:image/svg[^\"]*", html))),
    }
    shares = ", ".join(f"{name} {size / 1e6:.2f}" for name, size in parts.items())
    print(f"{asked.nodules} nodules: {size_mb:.2f} MB ({shares}); made in {seconds:.1f} s of processor time")
    if asked.nodules <= 1000 and size_mb >= LIMIT_MB:
        raise SystemExit(f"the page must stay below {LIMIT_MB:g} MB")
    with tempfile.TemporaryDirectory() as folder:
        path = asked.out or Path(folder) / "page.html"
        path.write_text(html, encoding="utf-8")
        try:
            print(
                "; ".join(f"{name} {s:.2f} s" for name, s in browse(path.resolve()).items())
                or "no Chromium to open it with"
            )
        except ImportError:
            print("Playwright is not installed: not opened")


if __name__ == "__main__":
    main()
