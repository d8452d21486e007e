"""The report: figures, contact sheet and the self-contained page."""

#: Nodules that have a tile and a page; the table to download has all.
MOST_NODULES = 2000
#: What intensities may be: simulated, measured by a scanner, or none at all.
SIMULATED, MEASURED, NONE = "simulated", "measured", "none"
