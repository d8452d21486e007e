"""Which items of five checklists a run reports, which in part, and which need a person. It claims no compliance and gives no score."""

from __future__ import annotations

import csv
import io
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.report.checklists import cohort_rules, feature_rules, learning_rules, result_rules
from lungpipe.report.checklists.facts import OTHER, PARTIAL, PERSON, REPORTED, Facts, Finding, facts_of
from lungpipe.report.html import data_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.report.page import Report

#: Files beside this module, in the order of the page.
CHECKLISTS = ("clear", "metrics", "tripod_ai", "claim", "ibsi")
RULES = {**cohort_rules.RULES, **feature_rules.RULES, **learning_rules.RULES, **result_rules.RULES}
#: Keys that an item may have; those after the third are for rules, or for a person.
ITEM_KEYS = {"n", "what", "rule", "cap", "add", "columns", "keys", "says", "or", "and", "weight"}
MARKS = {REPORTED: "\u25cf", PARTIAL: "\u25d0", PERSON: "\u25cb", OTHER: "\u2013"}
_CSV = ("checklist", "item", "section", "what", "status", "run_says", "evidence", "person_adds", "weight")


@dataclass(frozen=True, slots=True)
class Row:
    """An item with what was found.

    Parameters
    ----------
    number, section, what : str
        As in the data file.
    finding : Finding
    add : str
        What a person has to add.
    weight : float or None
        Of METRICS.
    """

    number: str
    section: str
    what: str
    finding: Finding
    add: str
    weight: float | None

    @property
    def evidence(self) -> list[tuple[str, str]]:
        """Text and anchor (empty without one) of every piece of evidence; columns of one table are one piece."""
        pieces: dict[str, list[str]] = {}
        for place in self.finding.where:
            head, _, tail = place.partition(": ")
            pieces.setdefault(head, []).append(tail)
        found = []
        for head, tails in pieces.items():
            if head.startswith("#"):
                found.append((head[1:].capitalize(), head))
            elif head == "run.json":
                found += [(f"run.json: {tail}", "#recipe") for tail in tails]
            else:
                found.append((f"tables/{head}.parquet: {', '.join(tails)}", ""))
        return found

    @property
    def mark(self) -> str:
        """A sign for the status, beside its words."""
        return MARKS[self.finding.status]


def checklist_content(report: Report) -> list[dict[str, Any]]:
    """Collect what the page shows of every checklist.

    Parameters
    ----------
    report : Report

    Returns
    -------
    list of dict
        Keys id, name, title, source, about, rows, counts (status to number, those that occur) and csv (a link that holds it).
    """
    facts = facts_of(report)
    content = []
    for stem in CHECKLISTS:
        data = checklist(stem)
        rows = evaluate(data, facts)
        content.append(
            {
                "id": f"checklist-{stem.replace('_', '-')}",
                **{name: data[name] for name in ("name", "title", "source", "about")},
                "rows": rows,
                "weighted": any(row.weight is not None for row in rows),
                "counts": summary(rows),
                "csv": data_uri("text/csv;charset=utf-8", as_csv(data, rows).encode()),
            }
        )
    return content


@cache
def checklist(stem: str) -> Mapping[str, Any]:
    """Read one checklist.

    Parameters
    ----------
    stem : str
        One of :data:`CHECKLISTS`.

    Raises
    ------
    DatasetError
        If an item has a key or names a rule that there is not.
    """
    text = resources.files("lungpipe.report.checklists").joinpath(f"{stem}.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    for section in data["section"]:
        for item in section["items"]:
            if unknown := sorted(set(item) - ITEM_KEYS):
                raise DatasetError(
                    f"{stem}.toml, item {item['n']}: unknown key {unknown[0]!r}; known: {', '.join(sorted(ITEM_KEYS))}"
                )
            for name in (item[key] for key in ("rule", "or", "and") if key in item):
                if name not in RULES:
                    raise DatasetError(f"{stem}.toml, item {item['n']}: no rule {name!r}; there are {', '.join(RULES)}")
    return data


def evaluate(data: Mapping[str, Any], facts: Facts) -> list[Row]:
    """Look for every item of a checklist in a run.

    Parameters
    ----------
    data : mapping
        As :func:`checklist` gives it.
    facts : Facts
    """
    rows = []
    for section in data["section"]:
        for item in section["items"]:
            finding = _finding(item, facts)
            add = item.get("add", "") if finding.status not in (REPORTED, OTHER) else ""
            rows.append(Row(item["n"], section["name"], item["what"], finding, add, item.get("weight")))
    return rows


def _finding(item: Mapping[str, Any], facts: Facts) -> Finding:
    """Apply an item's rule; ``or`` gives part of it, ``and`` has to hold too, and ``cap`` is the most that a run can say."""
    finding = RULES[item["rule"]](facts, item)
    if "or" in item and finding.status == PERSON:
        other = RULES[item["or"]](facts, item)
        if other.status in (REPORTED, PARTIAL):
            finding = Finding(PARTIAL, f"{other.said}; {finding.said}", other.where)
    if "and" in item:
        finding = _both(finding, RULES[item["and"]](facts, item))
    if item.get("cap") == PARTIAL and finding.status == REPORTED:
        finding = Finding(PARTIAL, finding.said, finding.where)
    return finding


def _both(first: Finding, second: Finding) -> Finding:
    said, where = f"{first.said}; {second.said}", tuple(dict.fromkeys((*first.where, *second.where)))
    statuses = {first.status, second.status}
    return Finding(statuses.pop() if len(statuses) == 1 else PARTIAL, said, where)


def summary(rows: list[Row]) -> dict[str, int]:
    """Count items by status: the three of every checklist, and those that do not apply where there are any."""
    counts = {status: sum(row.finding.status == status for row in rows) for status in MARKS}
    return {status: n for status, n in counts.items() if n or status != OTHER}


def as_csv(data: Mapping[str, Any], rows: list[Row]) -> str:
    """Write a checklist as CSV, a row an item."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_CSV)
    for row in rows:
        finding = row.finding
        where = "; ".join(finding.where)
        writer.writerow(
            (data["name"], row.number, row.section, row.what, finding.status, finding.said, where, row.add, row.weight)
        )
    return text.getvalue()
