"""The report: figures, contact sheet and the self-contained page."""
