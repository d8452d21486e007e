"""The curation page of a workspace, from its tables and the archive's thumbnails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lungpipe.dicom.pseudonymise import load_pseudonymiser
from lungpipe.store.page import write_page
from lungpipe.store.record import environment
from lungpipe.store.tables import make_table

if TYPE_CHECKING:
    from lungpipe.cohort import Plan
    from lungpipe.dicom.quality import QualitySettings
    from lungpipe.store.place import Place
    from tasks.curate import Curated

#: Codes of series whose pictures may show a name.
_WITHHELD = {"burned_in_annotation", "secondary_capture", "dose_report"}


def write_curation_page(
    place: Place, curated: Curated, plan: Plan, quality: QualitySettings, title: str
) -> tuple[str, str]:
    """Write ``report/curation.html`` of a workspace, and return its address and the reference of its record.

    Parameters
    ----------
    place : Place
        The workspace.
    curated : Curated
    plan : Plan
        Made from it; holds the rows under pseudonyms.
    quality : QualitySettings
        What was judged with.
    title : str
    """
    from lungpipe.report.curation import Curation, curation_html

    pseudonym, _ = load_pseudonymiser()
    thumbnails, withheld = {}, {}
    for judged in curated.curation.stacks:
        key = f"{pseudonym('series', judged.series.name)}/{judged.series.stack}"
        if _WITHHELD & set(judged.codes):
            withheld[key] = "text in the picture may identify"
        elif picture := curated.pictures.get(judged.series.key, b""):
            thumbnails[key] = picture
    found = environment()
    page = Curation(
        title=title,
        intensities="simulated" if any(row["intensities"] == "simulated" for row in plan.series_rows) else "measured",
        series=make_table("series", [{**row, "volume_id": ""} for row in plan.series_rows]),
        exclusions=make_table("exclusions", [row for row in plan.exclusions if row["stage"] in ("index", "quality")]),
        others=dict(curated.curation.others),
        thumbnails=thumbnails,
        withheld=withheld,
        run={
            "lungpipe": found["lungpipe"],
            "pseudonym_key_fingerprint": pseudonym.fingerprint,
            "limits": {"max_slice_mm": quality.max_slice_mm, "min_slices": quality.min_slices},
            "files": curated.curation.n_files,
            "seconds": curated.seconds,
        },
        verdicts={code: str(verdict) for code, verdict in quality.in_force().items()},
    )
    return write_page(place, "curation", "report/curation.html", curation_html(page))
