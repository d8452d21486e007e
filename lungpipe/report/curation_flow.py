"""The archive's flow diagram: what was found, what was left out, and what the series came to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lungpipe.report.flow_boxes import Box, draw_flow, noun, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.report.curation_counts import Flow


def flow_diagram(flow: Flow) -> str:
    """Draw the way from the archive to the cohort, what was left out at each step beside it.

    The last row is the cohort. Every series is counted once, by its deciding code.

    Parameters
    ----------
    flow : Flow
        The counts.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    return draw_flow(_steps(flow), describe(flow), last_goes_on=True)


def describe(flow: Flow) -> str:
    """Say in words what the flow diagram shows."""

    def listed(counts: Sequence[tuple[str, int]]) -> str:
        return f" ({', '.join(f'{name} {n:,}' for name, n in counts)})" if counts else ""

    return (
        f"Flow diagram. {_found(flow)}. Passed over, not images: {total(flow.others):,}{listed(flow.others)}. "
        f"Files left out: {total(flow.unreadable):,}{listed(flow.unreadable)}. Series: {flow.series:,}. "
        f"Quarantined: {total(flow.quarantined):,}{listed(flow.quarantined)}. "
        f"Accepted with a warning: {total(flow.warned):,}{listed(flow.warned)}. "
        f"Accepted without a warning: {flow.accepted:,}."
    )


def _steps(flow: Flow) -> list[tuple[Box, list[Box]]]:
    """Return each row of the diagram: what goes on, and what stands beside it."""
    split = f"{flow.n_uids:,} before mixed series were split" if flow.n_uids != flow.series else ""
    left_out = [
        Box("aside", f"Passed over, not images: {total(flow.others):,}", flow.others),
        Box("aside", f"Files left out: {total(flow.unreadable):,}", flow.unreadable),
    ]
    bad = total(flow.quarantined)
    quarantined = Box("bad", f"Quarantined: {bad:,} series{_of(flow.quarantined_patients, bad)}", flow.quarantined)
    warned = total(flow.warned)
    return [
        (Box("kept", _found(flow)), left_out),
        (
            Box(
                "kept",
                f"{flow.series:,} series{_of(flow.patients, flow.series)}",
                notes=tuple(note for note in (f"{flow.n_slices:,} {noun(flow.n_slices, 'slice')}", split) if note),
            ),
            [quarantined],
        ),
        (
            Box("good", f"Accepted: {flow.accepted:,} series", notes=_patients(flow.accepted_patients, flow.accepted)),
            [Box("warned", f"With a warning: {warned:,} series{_of(flow.warned_patients, warned)}", flow.warned)],
        ),
    ]


def _found(flow: Flow) -> str:
    if flow.n_files is not None:
        return f"{flow.n_files:,} {noun(flow.n_files, 'file')} found"
    return "Archive, files not counted"


def _of(patients: int, series: int) -> str:
    return f" from {patients:,} {noun(patients, 'patient')}" if series else ""


def _patients(patients: int, series: int) -> tuple[str, ...]:
    return (f"without a warning{_of(patients, series)}",)
