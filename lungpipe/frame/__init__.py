"""Whether annotations are read in the frame that they were written in: LPS mm, RAS mm, or voxel index."""

from lungpipe.frame.judge import judge
from lungpipe.frame.look import Evidence, Reading, look_at_grid, look_at_job, look_at_scan, sample
from lungpipe.frame.readings import FRAMES, candidates, takes_part
from lungpipe.frame.verdict import FrameVerdict, SetVerdict, Tally

#: Raise it when the same annotations and volumes give another verdict.
VERSION = "1"

__all__ = [
    "FRAMES",
    "VERSION",
    "Evidence",
    "FrameVerdict",
    "Reading",
    "SetVerdict",
    "Tally",
    "candidates",
    "judge",
    "look_at_grid",
    "look_at_job",
    "look_at_scan",
    "sample",
    "takes_part",
]
