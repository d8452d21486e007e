"""What all programs outside have in common: a scan in, a label file out, limits, and an identity that is recorded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from lungpipe import plugin_parameters
from lungpipe.errors import DatasetError, PluginError, SegmentationError
from lungpipe.segment.outside.identity import weights_digest
from lungpipe.segment.outside.labels import LabelMap, nodule_of, read_labels, write_scan
from lungpipe.segment.outside.supervise import Room, environment_of, refuse_failure

if TYPE_CHECKING:
    from lungpipe.nodule import Nodule
    from lungpipe.volume import CTVolume, Mask

#: See :data:`lungpipe.plugin_parameters.HERE_ONLY`.
HERE_ONLY = plugin_parameters.HERE_ONLY

#: What models made of the volumes that are still there, or why they failed: the last volume of each worker.
_MADE: WeakKeyDictionary[CTVolume, dict[OutsideModel, LabelMap | SegmentationError]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Plan:
    """How to run a program on one scan.

    Parameters
    ----------
    argv : tuple of str
        Program and arguments.
    written : str
        Pattern of the label file below the room; exactly one file must answer to it.
    environment : mapping
        Variables of its own.
    afterwards : tuple of str
        A command that ends what killing its processes does not.
    """

    argv: tuple[str, ...]
    written: str
    environment: Mapping[str, str] = field(default_factory=dict)
    afterwards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OutsideModel(ABC):
    """A program that labels a scan, as a plug-in; subclasses say how it is run.

    Parameters
    ----------
    labels : tuple of int or str
        Labels that are nodule, by number, or by name where the model's names are known; all but 0 where none is named.
    device : str
        What it computes on, in the program's own words (``"cpu"``).
    time_limit_s : float
        Wall time for one scan, seconds.
    memory_limit_gb : float
        Memory for all its processes together, 10^9 bytes.
    pass_environment : tuple of str
        Names of variables that it gets besides those of :data:`lungpipe.segment.outside.supervise.PASSED`.
    weights : tuple of str
        Files or folders of its weights. Not recorded; their hash is.

    Attributes
    ----------
    version_of_model : str
        What the program says of itself.
    weights_sha256 : str
        :func:`lungpipe.segment.outside.identity.weights_digest`; empty where no weights are named.
    wanted : tuple of int
        ``labels`` as numbers.

    Raises
    ------
    PluginError
        If the program or its weights are not there.
    DatasetError
        If a parameter is impossible.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"

    labels: tuple[int | str, ...] = ()
    device: str = "cpu"
    time_limit_s: float = 3600.0
    memory_limit_gb: float = 16.0
    pass_environment: tuple[str, ...] = ()
    weights: tuple[str, ...] = field(default=(), metadata=HERE_ONLY)
    version_of_model: str = field(init=False, default="")
    weights_sha256: str = field(init=False, default="")
    wanted: tuple[int, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(item.default, tuple) and not isinstance(value, tuple):
                if not isinstance(value, list):
                    raise DatasetError(f"{self.name}: {item.name} is a list, found {value!r}")
                object.__setattr__(self, item.name, tuple(value))
        if min(self.time_limit_s, self.memory_limit_gb) <= 0:
            raise DatasetError(f"{self.name}: time_limit_s and memory_limit_gb must be positive")
        self.check()
        version, weights = self.identify()
        object.__setattr__(self, "version_of_model", version)
        object.__setattr__(self, "weights_sha256", weights)
        object.__setattr__(self, "wanted", numbers_of(self.name, self.labels, self.label_names()))

    @abstractmethod
    def check(self) -> None:
        """Refuse impossible parameters, and programs that are not there."""

    @abstractmethod
    def program_version(self) -> str:
        """What the program says of itself; it may start it."""

    @abstractmethod
    def plan(self, room: Path) -> Plan:
        """How to run it on the scan at :meth:`scan_file`, in a folder where it may write."""

    def scan_file(self, room: Path) -> Path:
        """Where the scan is written for it."""
        return room / "input" / "scan.nii.gz"

    def label_names(self) -> Mapping[str, int]:
        """Numbers of the labels that it knows by name."""
        return {}

    def weight_files(self) -> tuple[Path, ...]:
        """Files and folders whose content decides what it computes."""
        return tuple(Path(path).expanduser() for path in self.weights)

    def identify(self) -> tuple[str, str]:
        """Version of the program, and hash of its weights; both remembered by this process.

        Raises
        ------
        PluginError
            If the program cannot say its version, or weights are missing.
        """
        return self.program_version(), weights_digest(self.weight_files())

    def prepare(self, volume: CTVolume) -> LabelMap:
        """Run the program on a scan; see :class:`lungpipe.segment.outside.ScanSegmenter`."""
        found = self.identify()
        if found != (self.version_of_model, self.weights_sha256):
            raise PluginError(
                f"{self.name}: the model is not what it was when the run was planned, or differs between workers "
                f"(version {found[0]!r} instead of {self.version_of_model!r}, weights {found[1][:12] or 'none'} instead of "
                f"{self.weights_sha256[:12] or 'none'}); make them the same and run again"
            )
        with Room() as room:
            write_scan(volume, self.scan_file(room.folder))
            plan = self.plan(room.folder)
            finished = room.run(
                plan.argv,
                environment_of(plan.environment, self.pass_environment),
                time_limit_s=self.time_limit_s,
                memory_limit_gb=self.memory_limit_gb,
                afterwards=plan.afterwards,
            )
            refuse_failure(finished, self.time_limit_s, self.memory_limit_gb)
            return read_labels(_only_file(room.folder, plan.written), volume)

    def pick(self, labels: LabelMap, volume: CTVolume, nodule: Nodule) -> Mask:
        """The component that is one nodule; see :func:`lungpipe.segment.outside.labels.nodule_of`."""
        return nodule_of(labels, self.wanted, volume, nodule)

    def __call__(self, volume: CTVolume, nodule: Nodule) -> Mask:
        """Segment one nodule; the model runs once for all nodules of a volume, and fails once."""
        made = _MADE.setdefault(volume, {})
        if self not in made:
            try:
                made[self] = self.prepare(volume)
            except SegmentationError as error:  # without its traceback, which would hold the volume
                made[self] = SegmentationError(error.code, error.message)
        labels = made[self]
        if isinstance(labels, SegmentationError):
            raise SegmentationError(labels.code, labels.message)
        return self.pick(labels, volume, nodule)


def numbers_of(name: str, labels: tuple[int | str, ...], known: Mapping[str, int]) -> tuple[int, ...]:
    """Labels as numbers, sorted.

    Raises
    ------
    DatasetError
        If a name is not known, or a number is not above 0.
    """
    numbers = set()
    for label in labels:
        if isinstance(label, bool) or (isinstance(label, int) and label < 1):
            raise DatasetError(f"{name}: labels are names or numbers above 0, found {label!r}")
        if isinstance(label, str) and label not in known:
            names = ", ".join(known) or "none: give its number"
            raise DatasetError(f"{name}: no label {label!r} is known; known by name: {names}")
        numbers.add(known[label] if isinstance(label, str) else label)
    return tuple(sorted(numbers))


def _only_file(room: Path, pattern: str) -> Path:
    found = sorted(path for path in room.glob(pattern) if path.is_file() and not path.is_symlink())
    if not found:
        raise SegmentationError(
            "outside_wrote_nothing",
            "the outside model ended without an error, and without a label file where it was told",
        )
    if len(found) > 1:
        raise SegmentationError(
            "outside_wrote_many", f"the outside model wrote {len(found)} images where one label file was expected"
        )
    return found[0]
