"""Depot: where the changes of a cell are shipped to, a folder or a bucket. Names have one level.

What must never happen here: an object that has its name before all of it is there.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Protocol

from hansa.kernel.buckets import cause, parse_bucket
from hansa.kernel.keeping.manifest import sync

PIECE_BYTES: Final = 1 << 20
TRIES: Final = 3
AGAIN_S: Final = 0.5
SMALL_BYTES_MAX: Final = 1 << 12


class Depot(Protocol):
    """What a depot does. Raises OSError when it cannot."""

    def put(self, name: str, file: Path) -> None:
        """Keep a file under a name; when this returns it outlives a power cut."""
        ...

    def names(self) -> list[str]:
        """Return the names of all that is there, sorted."""
        ...

    def find(self, name: str) -> bytes | None:
        """Return the beginning of an object, which is all of a small one; None if there is none."""
        ...

    def has(self, name: str) -> bool:
        """Tell whether there is an object of that name."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """Return an object in pieces."""
        ...

    def erase(self, name: str) -> None:
        """Take an object away."""
        ...


class FolderDepot:
    """A folder, better of another machine's disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, file: Path) -> None:
        """See `Depot`."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f".{name}"
        shutil.copyfile(file, draft)
        draft.chmod(0o600)
        sync(draft)
        os.replace(draft, self._folder / name)
        sync(self._folder)

    def names(self) -> list[str]:
        """See `Depot`."""
        if not self._folder.is_dir():
            return []
        return sorted(one for one in os.listdir(self._folder) if not one.startswith("."))

    def find(self, name: str) -> bytes | None:
        """See `Depot`."""
        try:
            with (self._folder / name).open("rb") as stream:
                return stream.read(SMALL_BYTES_MAX)
        except FileNotFoundError:
            return None

    def has(self, name: str) -> bool:
        """See `Depot`."""
        return (self._folder / name).exists()

    def pieces(self, name: str) -> Iterator[bytes]:
        """See `Depot`."""
        with (self._folder / name).open("rb") as stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece

    def erase(self, name: str) -> None:
        """See `Depot`."""
        (self._folder / name).unlink(missing_ok=True)


class BucketDepot:
    """A bucket of an S3-compatible server; keys come from the usual AWS_* variables."""

    def __init__(self, url: str) -> None:
        """Take what an operator names it by. Raises ValueError."""
        from obstore.store import S3Store  # 60 ms that other commands do not pay

        bucket, options = parse_bucket(url)
        self._store: Any = S3Store(
            bucket, client_options=options.pop("client", {}), retry_config={"max_retries": TRIES},
            **options,
        )  # fmt: skip

    def put(self, name: str, file: Path) -> None:
        """See `Depot`. A large file goes in parts, and is there when the last one is."""
        import obstore

        with _told(), file.open("rb") as stream:
            obstore.put(self._store, name, stream)

    def names(self) -> list[str]:
        """See `Depot`."""
        import obstore

        with _told():
            return sorted(one["path"] for some in obstore.list(self._store) for one in some)

    def find(self, name: str) -> bytes | None:
        """See `Depot`."""
        import obstore

        with _told():
            try:
                found = obstore.get(self._store, name)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None
            return next((bytes(one)[:SMALL_BYTES_MAX] for one in found.stream()), b"")

    def has(self, name: str) -> bool:
        """See `Depot`."""
        import obstore

        with _told():
            try:
                obstore.head(self._store, name)
            except FileNotFoundError:
                return False
            return True

    def pieces(self, name: str) -> Iterator[bytes]:
        """See `Depot`."""
        import obstore

        with _told():
            for piece in obstore.get(self._store, name).stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)

    def erase(self, name: str) -> None:
        """See `Depot`."""
        import obstore

        with _told():
            obstore.delete(self._store, name)


@contextmanager
def _told() -> Iterator[None]:
    """Tell what went wrong, in one line."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        raise OSError(f"the bucket cannot be used: {cause(error)}") from error


def parse_depot(text: str) -> Depot:
    """Return the depot that an operator names: ``s3://...`` or a folder. Raises ValueError."""
    return BucketDepot(text) if text.startswith("s3://") else FolderDepot(Path(text))


def patiently(put: Any, *arguments: Any) -> None:
    """Try something a few times that a network may break. Raises the last OSError."""
    for number in range(TRIES):
        try:
            put(*arguments)
            return
        except OSError:
            if number == TRIES - 1:
                raise
            time.sleep(AGAIN_S)


class Stream:
    """The pieces of an object as a file that can be read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size`; nothing at the end."""
        while size < 0 or len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        end = len(self._rest) if size < 0 else size
        found, self._rest = self._rest[:end], self._rest[end:]
        return found


def reader(depot: Depot, name: str) -> IO[bytes]:
    """Return an object of a depot as a stream."""
    return Stream(depot.pieces(name))  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
