"""Where a workspace is: a local folder, or any address that fsspec knows, behind the same few calls."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarr.abc.store import Store

#: Bytes hashed at once.
_PIECE = 1 << 20
#: Other processes write too, so no listing is remembered.
_FRESH: dict[str, Any] = {"use_listings_cache": False}
#: How often a request is sent to an S3 server that fails or is silent, and how long its answer may take; a night's work
#: should not end because one request in ten fails. ``AWS_MAX_ATTEMPTS`` sets the former.
_S3_ATTEMPTS, _S3_ANSWER_S = 8, 20


@dataclass(frozen=True)
class Place:
    """A folder of files named by relative paths with ``/``, on a disk or in an object store.

    A file is there whole or not at all: locally it is written under another name and renamed, and an object store shows
    an object only once all of it has arrived. Pickling keeps the address alone.

    Parameters
    ----------
    address : str
        Absolute local path, or an address with a scheme (``s3://bucket/prefix``).
    """

    address: str

    @classmethod
    def at(cls, address: str | Path | Place) -> Place:
        """Place at a path or address; a local path becomes absolute.

        Raises
        ------
        DatasetError
            If nothing installed knows the address's scheme, or it does not answer: tells now what would stop a worker.
        """
        if isinstance(address, Place):
            return address
        text = str(address)
        if isinstance(address, Path) or "://" not in text:
            return cls(str(Path(text).resolve()))
        if text.startswith("file://"):
            return cls(str(Path(text.removeprefix("file://")).resolve()))
        place = cls(text.rstrip("/"))
        try:
            place.exists("")
        except OSError as error:
            hint = "; AWS_ENDPOINT_URL names a server of your own" if text.startswith("s3://") else ""
            raise DatasetError(f"{place} cannot be reached ({error}); check address and credentials{hint}") from error
        return place

    def __reduce__(self) -> tuple[type[Place], tuple[str]]:
        """Pickle by address."""
        return Place, (self.address,)

    def __str__(self) -> str:
        return self.address

    @cached_property
    def local(self) -> Path | None:
        """The folder, where it is on this machine's disks."""
        return None if "://" in self.address else Path(self.address)

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        import fsspec

        try:
            return fsspec.core.url_to_fs(self.address, **_options(self.address))  # type: ignore[no-any-return]
        except (ImportError, ValueError) as error:
            hint = "; pip install 'lungpipe[s3]'" if self.address.startswith("s3://") else ""
            raise DatasetError(f"{self.address} cannot be opened: {error}{hint}") from error

    def _ask(self, method: str, name: str, *args: Any, **options: Any) -> Any:
        """Call the file system; whatever a client library raises for a server or credentials becomes an OSError."""
        fs, root = self._remote
        full = f"{root}/{inside}" if (inside := _inside(name)) else root
        try:
            return getattr(fs, method)(full, *args, **options)
        except (FileNotFoundError, PermissionError) as error:
            raise type(error)(f"{self}/{name}: {error}") from error
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def path(self, name: str) -> Path:
        """Local path of a file.

        Raises
        ------
        DatasetError
            If the place is no local folder, or the name leads out of it.
        """
        if self.local is None:
            raise DatasetError(f"{self.address} is no local folder; copy the workspace to one first")
        return self.local / _inside(name)

    @contextmanager
    def as_folder(self) -> Iterator[Path]:
        """The place as a local folder: itself, or a temporary copy."""
        if self.local is not None:
            yield self.local
            return
        with tempfile.TemporaryDirectory() as folder:
            for name in self.files():
                copy = Path(folder, name)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(self.read(name))
            yield Path(folder)

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises
        ------
        OSError
            ``FileNotFoundError`` if it is not there.
        """
        if self.local is not None:
            return self.path(name).read_bytes()
        content: bytes = self._ask("cat_file", name)
        return content

    def write(self, name: str, content: bytes, *, synced: bool = True) -> None:
        """Write a file, whole or not at all; an older one of that name is replaced.

        Where it is not ``synced``, the operating system chooses when it reaches the disk, as with what zarr writes.
        """
        if self.local is not None:
            write_atomically(self.path(name), content, synced=synced)
        else:
            self._ask("pipe_file", name, content)

    def create(self, name: str, content: bytes) -> None:
        """Write a file that is not there yet; of several that try at once, one succeeds.

        Raises
        ------
        OSError
            ``FileExistsError`` if it is there.
        """
        if self.local is not None:
            path = self.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as stream:
                stream.write(content)
        else:
            self._ask("pipe_file", name, content, mode="create")

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        if self.local is not None:
            return self.path(name).exists()
        return bool(self._ask("exists", name))

    def files(self, name: str = "") -> list[str]:
        """Every file below a folder (or the file itself), by relative path, sorted; empty if there is none."""
        if self.local is not None:
            start = self.path(name)
            if start.is_file():
                return [_inside(name)]
            found = [Path(folder, one) for folder, _, names in os.walk(start) for one in names]
            return sorted(p.relative_to(self.local).as_posix() for p in found)
        try:
            listed = [str(one).removeprefix(f"{self._remote[1]}/") for one in self._ask("find", name)]
        except FileNotFoundError:
            return []
        return sorted(one for one in listed if not one.endswith("/"))  # a console's object in place of a folder

    def children(self, name: str = "") -> list[str]:
        """Names of what is directly inside a folder, sorted; empty if there is no such folder."""
        if self.local is not None:
            try:
                return sorted(one.name for one in self.path(name).iterdir())
            except OSError:
                return []
        above = f"{self._remote[1]}/{_inside(name)}".rstrip("/") + "/"
        try:
            found = {str(one).rstrip("/") for one in self._ask("ls", name, detail=False)}
        except FileNotFoundError:
            return []
        # A file is listed as itself, and so is a console's object in place of a folder.
        return sorted(one.removeprefix(above) for one in found if one.startswith(above))

    def size(self, name: str) -> int:
        """Bytes of a file."""
        if self.local is not None:
            return self.path(name).stat().st_size
        return int(self._ask("size", name))

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing happens if it is not there."""
        if self.local is not None:
            path = self.path(name)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        elif not _inside(name):  # all that is in it; the bucket stays
            for child in self.children():
                self.remove(child)
        elif self.exists(name):
            self._ask("rm", name, recursive=True)

    def digest(self, name: str) -> str:
        """SHA-256 of a file, or over the names and contents of all files below a folder.

        Raises
        ------
        OSError
            If it is not there or cannot be read.
        """
        name = _inside(name)
        names = self.files(name)
        if names == [name]:
            return self._file_digest(name)
        if not names:
            raise FileNotFoundError(name)
        total = hashlib.sha256()
        for one in names:
            total.update(f"{one.removeprefix(name)}\0{self._file_digest(one)}\n".encode())
        return total.hexdigest()

    def _file_digest(self, name: str) -> str:
        if self.local is not None:
            with self.path(name).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        total = hashlib.sha256()
        with self._ask("open", name, "rb") as stream:
            while piece := stream.read(_PIECE):
                total.update(piece)
        return total.hexdigest()

    def zarr(self, name: str) -> Store | str:
        """Store of a zarr group, for the functions of :mod:`zarr`."""
        if self.local is not None:
            return str(self.path(name))
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(f"{self.address}/{_inside(name)}", storage_options=_options(self.address))


def _options(address: str) -> dict[str, Any]:
    """How a file system is opened."""
    if not address.startswith("s3://"):
        return _FRESH
    attempts = int(os.environ.get("AWS_MAX_ATTEMPTS", _S3_ATTEMPTS))
    retries = {"mode": "standard", "total_max_attempts": attempts}
    return {**_FRESH, "config_kwargs": {"read_timeout": _S3_ANSWER_S, "retries": retries}}


@lru_cache(maxsize=1024)
def _inside(name: str) -> str:
    """A relative path in its plainest form, empty for the place itself.

    Raises
    ------
    DatasetError
        If it leads out of the place.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{name!r} lies outside its workspace")
    return "" if path == PurePosixPath() else path.as_posix()


def write_atomically(path: Path, content: bytes, *, synced: bool = True) -> None:
    """Write a file under a temporary name in the same folder, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Workers on several machines may have the same process number.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            if synced:
                os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
