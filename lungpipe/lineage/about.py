"""What an export says of a run as a whole: title, date, software, and the data set that it worked on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.store import ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.store.place import Place

SIMULATED = (
    "Simulated intensities: the CT numbers behind every figure were generated, not measured on patients, and nothing here "
    "holds for patients."
)
PSEUDONYMS = "Identifiers are pseudonyms under a key that is not part of this; UIDs begin with 2.25."
_CREATIVE_COMMONS = re.compile(r"CC (BY(?:-NC)?(?:-(?:SA|ND))?) (\d\.\d)")


@dataclass(frozen=True, slots=True)
class Source:
    """A data set as a catalog describes it.

    Parameters
    ----------
    name, title : str
    licence : str
        Such as ``"CC BY 3.0"``.
    citation : str
        What its authors ask to be cited.
    """

    name: str
    title: str
    licence: str
    citation: str


@dataclass(frozen=True, slots=True)
class About:
    """A run.

    Parameters
    ----------
    title : str
    dataset : str
        Name of the data set.
    intensities : str
        ``"measured"`` or ``"simulated"``.
    made_at : datetime
        When its last record was written, UTC.
    environment : mapping
        Versions of lungpipe, Python and packages.
    recipe : mapping
        The recipe without paths; empty if it was not recorded.
    """

    title: str
    dataset: str
    intensities: str
    made_at: datetime
    environment: Mapping[str, Any]
    recipe: Mapping[str, Any]

    @property
    def description(self) -> str:
        """What readers of an export have to know first."""
        parts = [f"Tables of a lungpipe run on the data set {self.dataset}: nodules of chest CT and their radiomics."]
        return " ".join([*parts, *([SIMULATED] if self.intensities == "simulated" else []), PSEUDONYMS])


def about_run(place: Place) -> About:
    """Read what a workspace says of its run.

    Raises
    ------
    DatasetError
        If there is no finished run in it.
    """
    try:
        run = json.loads(place.read("run.json"))
    except FileNotFoundError:
        raise DatasetError(f"no run.json in {place}; is this a lungpipe workspace, and did its run finish?") from None
    except ValueError as error:
        raise DatasetError("run.json is damaged; run the recipe again") from error
    records = list(ledger.records(place, ledger.COHORT))
    if not records:
        raise DatasetError(f"the ledger of {place} has no record of tables or scores; run the recipe again")
    named = [entry.subject["dataset"] for entry in records if "dataset" in entry.subject]
    recipe = run.get("recipe", {})
    return About(
        run.get("title", "lungpipe run"),
        recipe.get("cohort", {}).get("dataset") or (named[0] if named else "unknown"),
        run.get("intensities", "measured"),
        datetime.fromtimestamp(max(entry.made_at_s for entry in records), UTC),
        run["environment"],
        recipe,
    )


def licence_address(licence: str) -> str:
    """Address of the text of a Creative Commons licence that is named so: ``"CC BY-NC 4.0"``; empty for any other."""
    found = _CREATIVE_COMMONS.fullmatch(licence)
    return f"https://creativecommons.org/licenses/{found[1].lower()}/{found[2]}/" if found else ""


def needs_extra(package: str) -> DatasetError:
    """Make the error for a missing package of the optional extra."""
    return DatasetError(f"{package} is not installed, which this needs: pip install 'lungpipe[provenance]'")
