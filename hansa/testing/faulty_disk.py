"""FaultyDisk: a SQLite VFS whose power can fail, so that a missing fsync is a lost row.

An ordinary disk hides a missing fsync from a test that kills the process: what was written stays in
the operating system's cache. This one keeps every write in the process's memory until SQLite calls
xSync, and only then hands it to the real file. So SIGKILL is a power cut: whatever was not synced
is gone. Real disks also write some of it early, in any order and torn in the middle; with
`leak` a seeded part of the writes reaches the file at once, whole or up to a sector's border.

`cut_power` is the same without the end of the process: nothing is written any more, by nobody.

It can also refuse: SQLITE_FULL when its free bytes are used up (writing over old bytes is free, as
on a real disk), SQLITE_IOERR on a write or sync counted from now, until it heals.

    disk = FaultyDisk("faulty", seed=7, leak=0.3)
    storage = SqliteStorage(path, vfs=disk.name)

Creating, deleting and truncating to nothing at a deletion are durable at once; locks and the shared
memory of the write-ahead log are the real ones. One process at a time may use a file through it.
"""

import random
from threading import RLock
from typing import TYPE_CHECKING, Final

import apsw

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLOCK: Final = 4096
SECTOR: Final = 512


class _Image:
    """What a file looks like to this process: the real file, under the blocks not yet synced."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.blocks: dict[int, bytearray] = {}
        self.floor = size
        """The smallest size since the last sync: no byte of the real file counts from here on."""

    def block(self, number: int, real: "FaultyFile") -> bytearray:
        """Return a block to be changed, with what stands in it now."""
        if number not in self.blocks:
            self.blocks[number] = bytearray(self._below(number, real))
        return self.blocks[number]

    def read(self, amount: int, offset: int, real: "FaultyFile") -> bytes:
        """Return the bytes from `offset`, fewer than `amount` at the end of the file."""
        amount = max(0, min(amount, self.size - offset))
        first, last = offset // BLOCK, (offset + amount - 1) // BLOCK
        if offset + amount <= self.floor and self.blocks.keys().isdisjoint(range(first, last + 1)):
            return real.read_through(amount, offset)
        parts = [
            bytes(self.blocks.get(number) or self._below(number, real))
            for number in range(first, last + 1)
        ]
        start = offset - first * BLOCK
        return b"".join(parts)[start : start + amount]

    def write(self, data: bytes, offset: int, real: "FaultyFile") -> None:
        """Put bytes into the image."""
        done = 0
        while done < len(data):
            number, start = divmod(offset + done, BLOCK)
            part = data[done : done + BLOCK - start]
            self.block(number, real)[start : start + len(part)] = part
            done += len(part)
        self.size = max(self.size, offset + len(data))

    def truncate(self, size: int) -> None:
        """Cut the image off at `size`, or lengthen it with zeros."""
        if size < self.size:
            self.floor = min(self.floor, size)
            keep = -(-size // BLOCK)
            for number in [number for number in self.blocks if number >= keep]:
                del self.blocks[number]
            if size % BLOCK and keep - 1 in self.blocks:
                self.blocks[keep - 1][size % BLOCK :] = bytes(BLOCK - size % BLOCK)
        self.size = size

    def flush(self, real: "FaultyFile") -> None:
        """Make the real file equal to the image."""
        if self.floor < real.size_through():
            real.truncate_through(self.floor)
        for number in sorted(self.blocks):
            start = number * BLOCK
            if start < self.size:
                real.write_through(bytes(self.blocks[number][: self.size - start]), start)
        if real.size_through() != self.size:
            real.truncate_through(self.size)
        self.blocks.clear()
        self.floor = self.size

    def _below(self, number: int, real: "FaultyFile") -> bytes:
        start = number * BLOCK
        there = max(0, min(BLOCK, self.floor - start))
        return (real.read_through(there, start) if there else b"").ljust(BLOCK, b"\0")


class FaultyFile(apsw.VFSFile):
    """One open file of a FaultyDisk. All that have the same name share one image."""

    def __init__(self, disk: "FaultyDisk", name: apsw.URIFilename | str, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._image = disk.image(str(_plain(name)), self)

    def xRead(self, amount: int, offset: int) -> bytes:
        with self._disk.lock:
            return self._image.read(amount, offset, self)

    def xWrite(self, data: "Buffer", offset: int) -> None:
        with self._disk.lock:
            whole = bytes(data)
            self._disk.before_write(len(whole), offset + len(whole) - self._image.size)
            self._image.write(whole, offset, self)
            early = self._disk.leaks(len(whole), offset)
            if early:
                super().xWrite(whole[:early], offset)

    def xTruncate(self, newsize: int) -> None:
        with self._disk.lock:
            self._disk.must_be_on()
            self._image.truncate(newsize)

    def xFileSize(self) -> int:
        with self._disk.lock:
            return self._image.size

    def xSync(self, flags: int) -> None:
        with self._disk.lock:
            self._disk.before_sync()
            self._image.flush(self)

    def read_through(self, amount: int, offset: int) -> bytes:
        """Read the real file, with zeros where it ends too early."""
        return super().xRead(amount, offset).ljust(amount, b"\0")

    def write_through(self, data: bytes, offset: int) -> None:
        """Write to the real file."""
        super().xWrite(data, offset)

    def truncate_through(self, size: int) -> None:
        """Cut the real file off at `size`, or lengthen it."""
        super().xTruncate(size)

    def size_through(self) -> int:
        """Return the size of the real file in bytes."""
        return super().xFileSize()


class FaultyDisk(apsw.VFS):
    """A VFS registered under `name`. Pass its name to `SqliteStorage(vfs=...)`, keep the object."""

    def __init__(self, name: str = "faulty", *, seed: int = 0, leak: float = 0.0) -> None:
        """Register the VFS. `leak` is the chance (0 to 1) that a write, or its first sectors,
        reaches the real file before it is synced; `seed` decides which."""
        super().__init__(name, "")
        self.name = name
        self.lock = RLock()
        self.synced = 0
        """How many syncs there were."""
        self.written = 0
        """How many bytes were written, synced or not."""
        self._images: dict[str, _Image] = {}
        self._random = random.Random(seed)
        self._leak = leak
        self._bytes_left: int | None = None
        self._writes_left: int | None = None
        self._syncs_left: int | None = None
        self._is_off = False

    # ---- faults to order

    def cut_power(self) -> None:
        """Lose what was not synced, and refuse everything from now on; for good."""
        with self.lock:
            self._is_off = True
            self._images.clear()

    def fill_up(self, bytes_left: int = 0) -> None:
        """Refuse as SQLITE_FULL what makes files longer by more than `bytes_left` in all."""
        with self.lock:
            self._bytes_left = bytes_left

    def fail_write(self, after: int = 0) -> None:
        """Fail one xWrite as SQLITE_IOERR: the one after `after` more."""
        with self.lock:
            self._writes_left = after

    def fail_sync(self, after: int = 0) -> None:
        """Fail one xSync as SQLITE_IOERR: the one after `after` more. It syncs nothing."""
        with self.lock:
            self._syncs_left = after

    def heal(self) -> None:
        """Work again: forget every fault that was ordered."""
        with self.lock:
            self._bytes_left = self._writes_left = self._syncs_left = None

    # ---- what SQLite calls

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:
        if name is None or not flags[0] & _KEPT:
            return apsw.VFSFile("", name, flags)  # temporary: nothing to lose
        return FaultyFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        with self.lock:
            self.must_be_on()
            self._images.pop(filename, None)
            super().xDelete(filename, syncdir)

    # ---- what its files call

    def image(self, name: str, file: FaultyFile) -> _Image:
        """Return the shared image of a file, as it is on the disk when it was not open before."""
        with self.lock:
            if name not in self._images:
                self._images[name] = _Image(file.size_through())
            return self._images[name]

    def before_write(self, size: int, growth: int) -> None:
        """Count a write that makes its file `growth` bytes longer, and fail it if it has to."""
        self.must_be_on()
        if self._bytes_left is not None and growth > 0:
            if self._bytes_left < growth:
                raise _error(apsw.FullError, apsw.SQLITE_FULL, "the disk is full")
            self._bytes_left -= growth
        if self._writes_left is not None:
            if self._writes_left == 0:
                self._writes_left = None
                raise _error(apsw.IOError, apsw.SQLITE_IOERR_WRITE, "the write failed")
            self._writes_left -= 1
        self.written += size

    def before_sync(self) -> None:
        """Count a sync, and fail it if that is its turn."""
        self.must_be_on()
        if self._syncs_left is not None:
            if self._syncs_left == 0:
                self._syncs_left = None
                raise _error(apsw.IOError, apsw.SQLITE_IOERR_FSYNC, "the sync failed")
            self._syncs_left -= 1
        self.synced += 1

    def must_be_on(self) -> None:
        """Fail once the power is cut."""
        if self._is_off:
            raise _error(apsw.IOError, apsw.SQLITE_IOERR, "the power is off")

    def leaks(self, size: int, offset: int) -> int:
        """Return how many of a write's first bytes reach the real file at once."""
        if self._leak == 0.0 or self._random.random() >= self._leak:
            return 0
        first = SECTOR - offset % SECTOR
        borders: list[int] = [*range(first, size, SECTOR), size]
        return self._random.choice(borders)


_KEPT: Final = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL


def _plain(name: apsw.URIFilename | str) -> str:
    return name if isinstance(name, str) else name.filename()


def _error(kind: type[apsw.Error], code: int, text: str) -> apsw.Error:
    error = kind(text)
    error.extendedresult = code  # type: ignore[attr-defined]  # APSW reads it, its stub lacks it
    return error
