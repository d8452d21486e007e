"""Tables of ``docs/ibsi.md``: PyRadiomics' features against IBSI's definitions, feature by feature.

``python -m lungpipe.radiomics.ibsi.deviations docs/ibsi.md`` writes them anew, between the file's markers.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi.catalogue import (
    DIRECTED_FAMILIES,
    UNDIRECTED_FAMILIES,
    WHOLE_FAMILIES,
    families,
    family,
)
from lungpipe.radiomics.ibsi_codes import AGGREGATIONS, NUMBERING, original_features

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.radiomics.ibsi_codes import Feature


def deviation_table() -> list[str]:
    """Every PyRadiomics feature of the original image: its IBSI name and code, and how its value differs.

    Returns
    -------
    list of str
        Lines of Markdown.
    """
    lines = [
        "| PyRadiomics | IBSI | code | family | aggregation | unit | against IBSI's definition |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_line(feature) for feature in original_features().values()]
    legend = [f"* {code}: {said}" for code, said in AGGREGATIONS.items() if code]
    return [*lines, "", *legend, f"* numbering: {NUMBERING}"]


def _line(feature: Feature) -> str:
    name = feature.name.removeprefix("original_")
    said = [feature.differs] if feature.differs else ["same" if feature.ibsi_code else "not in IBSI"]
    if feature.numbered:
        said.append("see numbering")
    if feature.note:
        said.append(feature.note)
    of_family = f"{feature.family} ({feature.family_code})" if feature.ibsi_code else ""
    aggregation = feature.aggregation if feature.ibsi_code else ""
    cells = (name, feature.ibsi_name, feature.ibsi_code, of_family, aggregation, feature.unit, "; ".join(said))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def lacking_table() -> list[str]:
    """What of IBSI's families PyRadiomics has not, and the profiles have.

    Returns
    -------
    list of str
        Lines of Markdown.
    """
    there = {(feature.family_code, feature.ibsi_code) for feature in original_features().values()}
    lines = ["| family | features of the profiles that PyRadiomics' table lacks |", "|---|---|"]
    for key in (*WHOLE_FAMILIES, *DIRECTED_FAMILIES, *UNDIRECTED_FAMILIES):
        name, family_code = family(key)
        lacking = [
            f"{feature} ({code})" for feature, code in families()[key].values() if (family_code, code) not in there
        ]
        lines.append(f"| {name} ({family_code}) | {', '.join(lacking) if lacking else 'none'} |")
    return lines


def replaced(text: str, tables: Mapping[str, Sequence[str]]) -> str:
    """Put tables between the markers ``<!-- NAME -->`` and ``<!-- /NAME -->`` of a text.

    Raises
    ------
    DatasetError
        If a marker is missing.
    """
    for name, lines in tables.items():
        first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, opened, rest = text.partition(first)
        _, closed, after = rest.partition(last)
        if not (opened and closed):
            raise DatasetError(f"the text has no markers <!-- {name} --> and <!-- /{name} --> to put a table between")
        text = "\n".join([before + first.rstrip(), *lines, last + after])
    return text


def tables() -> dict[str, list[str]]:
    """The generated tables by the name of their markers."""
    return {"deviations": deviation_table(), "lacking": lacking_table()}


def main() -> None:
    """Write the tables into a file."""
    parser = argparse.ArgumentParser(prog="python -m lungpipe.radiomics.ibsi.deviations", description=__doc__)
    parser.add_argument("path", type=Path, help="docs/ibsi.md")
    path = parser.parse_args().path
    path.write_text(replaced(path.read_text(encoding="utf-8"), tables()), encoding="utf-8")


if __name__ == "__main__":
    main()
