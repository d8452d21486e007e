"""The report: figures, contact sheet and the self-contained page."""

#: Nodules that have a tile and a page; the table to download has all.
MOST_NODULES = 2000
