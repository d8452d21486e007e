"""Plug-in ``command``: any program that reads an image file and writes a label file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from lungpipe.errors import DatasetError
from lungpipe.segment.outside.identity import executable, version_said
from lungpipe.segment.outside.model import HERE_ONLY, OutsideModel, Plan


@dataclass(frozen=True, slots=True)
class Command(OutsideModel):
    """A program of the user's, run once a scan.

    Parameters
    ----------
    command : tuple of str
        Program and arguments, no shell. ``{input}`` stands for the scan (``.nii.gz``, HU), ``{output}`` for the label
        file to write (``.nii.gz``), ``{device}`` and ``{weights}`` (the first of them) for those parameters.
    version_command : tuple of str
        What prints the program's version, on one line.

    Attributes
    ----------
    command_recorded : tuple of str
        ``command`` without folders.
    """

    name: ClassVar[str] = "command"

    command: tuple[str, ...] = field(default=(), metadata=HERE_ONLY)
    version_command: tuple[str, ...] = field(default=(), metadata=HERE_ONLY)
    command_recorded: tuple[str, ...] = field(init=False, default=())

    def check(self) -> None:
        """Refuse a command that names no input, output or program."""
        if not self.command:
            raise DatasetError(
                'command: name the program to run, such as command = ["segment.py", "{input}", "{output}"] '
                "under [segment.parameters.command]"
            )
        text = " ".join(self.command)
        for word in ("{input}", "{output}"):
            if word not in text:
                raise DatasetError(f"command: {word} must stand where the program expects that file")
        if "{weights}" in text and not self.weights:
            raise DatasetError("command: {weights} stands in the command, and no weights are named")
        executable(self.command[0], "give its full path, or put its folder on PATH")
        object.__setattr__(self, "command_recorded", tuple(_without_folders(word) for word in self.command))

    def program_version(self) -> str:
        """What ``version_command`` prints; without one, nothing is known."""
        return version_said(self.version_command) if self.version_command else "not stated"

    def plan(self, room: Path) -> Plan:
        """The command with files in place."""
        (room / "output").mkdir()
        values = {
            "{input}": str(self.scan_file(room)),
            "{output}": str(room / "output" / "labels.nii.gz"),
            "{device}": self.device,
            "{weights}": str(Path(self.weights[0]).expanduser().absolute()) if self.weights else "",
        }
        first = executable(self.command[0], "give its full path, or put its folder on PATH")
        return Plan((first, *(_filled(word, values) for word in self.command[1:])), "output/labels.nii.gz")


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def _without_folders(word: str) -> str:
    """A word of a command with the last part alone of a path in it (``--model=/a/b.pt`` is ``--model=b.pt``)."""
    option, sign, value = word.partition("=")
    return f"{option}{sign}{Path(value).name}" if sign else Path(word).name
