"""Reading devices past the cache, and writing them through it."""

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from chatimg_box.system import Trouble

ALIGN = 4096
CHUNK = 1 << 20


class Reader:
    """Reads what the disk holds, not what memory remembers of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.buffer = mmap.mmap(-1, CHUNK)  # Aligned, as O_DIRECT wants it.
        try:
            self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise Trouble(f"reading {path}: {error.strerror}") from error
            self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.file)

    def size(self) -> int:
        return os.lseek(self.file, 0, os.SEEK_END)

    def read(self, at: int, length: int) -> memoryview:
        """Bytes of the device, good until the next call. `at` is aligned, and at most CHUNK is read."""
        view = memoryview(self.buffer)
        wanted = -(-length // ALIGN) * ALIGN
        have = 0
        while have < length:
            try:
                count = self._some(view[have:wanted], at + have)
            except OSError as error:
                raise Trouble(f"reading {self.path} at {at + have}: {error.strerror}") from error
            if not count:
                raise Trouble(f"{self.path} ends early, at {at + have}")
            have += count
        return view[:length]

    def _some(self, into: memoryview, at: int) -> int:
        try:
            return os.preadv(self.file, [into], at)
        except OSError as error:
            if error.errno != errno.EINVAL or not fcntl.fcntl(self.file, fcntl.F_GETFL) & os.O_DIRECT:
                raise
        # A file system that cannot read past the cache.
        fcntl.fcntl(self.file, fcntl.F_SETFL, 0)
        os.posix_fadvise(self.file, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.preadv(self.file, [into], at)

    def chunks(self, size: int) -> Iterator[tuple[int, memoryview]]:
        """The first `size` bytes, piece by piece, each with its place."""
        for at in range(0, size, CHUNK):
            yield at, self.read(at, min(CHUNK, size - at))


def peek(path: Path, at: int, length: int) -> bytes:
    """A few bytes, wherever they are."""
    start = at // ALIGN * ALIGN
    with Reader(path) as reader:
        return bytes(reader.read(start, at - start + length)[at - start :])


def poke(path: Path, at: int, data: bytes) -> None:
    """Writes in one go, and returns when it is on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if os.pwrite(descriptor, data, at) != len(data):
            raise OSError(errno.EIO, "written in part only")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Writer:
    """Writes blocks, those side by side together."""

    FLUSH = 64 << 20

    def __init__(self, path: Path) -> None:
        self.path = path
        # O_EXCL: refused while the kernel uses the device, as it does the slot that runs.
        try:
            self.file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_EXCL)
        except OSError as error:
            raise Trouble(f"{path} cannot be written: {error.strerror}") from error
        self.waiting = bytearray()
        self.start = 0
        self.unflushed = 0

    def write(self, at: int, data: bytes | memoryview) -> None:
        if at != self.start + len(self.waiting) or len(self.waiting) >= CHUNK:
            self.push()
            self.start = at
        self.waiting += data

    def push(self) -> None:
        """Hands what waits to the kernel; now and then to the disk, so that a cut loses little."""
        with memoryview(bytes(self.waiting)) as view:
            done = 0
            try:
                while done < len(view):
                    done += os.pwrite(self.file, view[done:], self.start + done)
                self.unflushed += done
                if self.unflushed >= self.FLUSH:
                    self.unflushed = 0
                    os.fdatasync(self.file)
            except OSError as error:
                raise Trouble(f"writing {self.path} at {self.start + done}: {error.strerror}") from error
        self.start += len(self.waiting)
        self.waiting.clear()

    def read(self, at: int, length: int) -> bytes:
        """What was written before."""
        self.push()
        data = os.pread(self.file, length, at)
        if len(data) != length:
            raise Trouble(f"{self.path} ends early, at {at + len(data)}")
        return data

    def flush(self) -> None:
        """Returns when all is on the disk."""
        self.push()
        try:
            os.fsync(self.file)
        except OSError as error:
            raise Trouble(f"flushing {self.path}: {error.strerror}") from error

    def close(self) -> None:
        if self.file < 0:
            return
        with contextlib.suppress(OSError, Trouble):
            self.push()
        os.close(self.file)
        self.file = -1
