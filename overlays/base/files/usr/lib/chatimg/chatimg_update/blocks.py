"""A root image as blocks and pieces, and what of a new one is here already (docs/update.md, Transfer).

Hashes of blocks lie one after the other in one string of bytes, 16 for each.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from chatimg_box.system import Trouble

from .devices import CHUNK, Reader
from .slots import Slot

BLOCK, HASH, MOST = 4096, 16, 1024
RUN = CHUNK // BLOCK


def digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=HASH).digest()


EMPTY = bytes(BLOCK)
ZERO = digest(EMPTY)


# Of a block that the disks have differently: no block has this hash, so it is written anew.
UNLIKE = bytes(HASH)


def hashes(legs: Iterable[Path], size: int) -> bytearray:
    """Of the first `size` bytes, which should be the same on all of these devices."""
    found = bytearray()
    with ExitStack() as stack:
        first, *others = [stack.enter_context(Reader(leg)) for leg in legs]
        for start, view in first.chunks(size):
            # Views are compared a byte at a time, bytes as fast as the memory is.
            part = bytes(view)
            same = [bytes(other.read(start, len(part))) for other in others]
            for at in range(0, len(part), BLOCK):
                block = part[at : at + BLOCK]
                name = ZERO if block == EMPTY else digest(block)
                found += name if all(one[at : at + BLOCK] == block for one in same) else UNLIKE
    return found


def image_size(slot: Slot) -> int:
    """How large the image in a slot is by its ext4 superblock; 0 if there is none."""
    with Reader(slot.device) as reader:
        start = bytes(reader.read(0, BLOCK))
    (magic,) = struct.unpack_from("<H", start, 1024 + 56)
    (count,), (shift,) = struct.unpack_from("<I", start, 1024 + 4), struct.unpack_from("<I", start, 1024 + 24)
    if magic != 0xEF53 or shift > 6:
        return 0
    return min(count << 10 + shift, slot.capacity) // BLOCK * BLOCK


def pieces(of: bytes) -> Iterator[tuple[int, int]]:
    """First block and count of each piece."""
    start, total = 0, len(of) // HASH
    for number in range(total):
        if of[number * HASH + HASH - 1] & 63 == 0 or number + 1 - start == MOST or number + 1 == total:
            yield start, number + 1 - start
            start = number + 1


def span(of: bytes, start: int, count: int) -> bytes:
    """The hashes of some blocks."""
    return bytes(of[start * HASH : (start + count) * HASH])


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First number and count of those that follow each other, at most as many as are read at once."""
    first, count = 0, 0
    for number in numbers:
        if count and count < RUN and number == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = number, 1
    if count:
        yield first, count


class Bits(bytearray):
    """A bit for each thing, least significant first."""

    def __init__(self, count: int) -> None:
        super().__init__((count + 7) // 8)

    def set(self, number: int) -> None:
        self[number // 8] |= 1 << number % 8


class Here:
    """What the two slots hold."""

    def __init__(self, running: bytes, target: bytes) -> None:
        self.running, self.target = running, target
        self.blocks = {span(running, number, 1): number for number in range(len(running) // HASH)}
        self.pieces = {digest(span(running, *place)): place for place in pieces(running)}


@dataclass
class Plan:
    """The way from what is here to a new image. Pieces are told first, then the blocks of those that are lacking."""

    here: Here
    total: int  # blocks of the new image
    wanted: bytearray = field(default_factory=bytearray)
    lacking: list[tuple[int, int, bytes]] = field(default_factory=list)  # pieces: first block, count, hash
    twice: list[tuple[int, int, int]] = field(default_factory=list)  # first block, count, and where the same piece is
    streamed: dict[bytes, int] = field(default_factory=dict)  # hash of a block that comes, and where it goes
    final: dict[bytes, int] = field(default_factory=dict)  # hash of a block that is in its place already
    gone: list[int] = field(default_factory=list)  # blocks that run, and that the new image does not have

    def take_pieces(self, wire: bytes) -> Bits:
        """Which pieces are lacking. A piece that comes twice is lacking only once."""
        self.wanted = bytearray(self.total * HASH)
        bits, seen, start = Bits(len(wire) // 18), {}, 0
        for number, (count, name) in enumerate(struct.iter_unpack("<H16s", wire)):
            if not 1 <= count <= MOST or start + count > self.total:
                raise Trouble(f"piece {number} has {count} blocks, which cannot be")
            here = self._piece(start, count, name)
            if name in seen and seen[name][1] == count:
                self.twice.append((start, count, seen[name][0]))
            elif here:
                self.wanted[start * HASH : (start + count) * HASH] = here
            else:
                bits.set(number)
                self.lacking.append((start, count, name))
            seen.setdefault(name, (start, count))
            start += count
        if start != self.total:
            raise Trouble(f"the pieces have {start} blocks together, and the image has {self.total}")
        return bits

    def _piece(self, start: int, count: int, name: bytes) -> bytes:
        """The hashes of a piece that is here."""
        here = span(self.here.target, start, count)
        if len(here) == count * HASH and digest(here) == name:
            return here
        place = self.here.pieces.get(name)
        return span(self.here.running, *place) if place and place[1] == count else b""

    def take_blocks(self, wire: bytes) -> Bits:
        """Which blocks of the pieces lacking are lacking themselves."""
        at = 0
        for start, count, name in self.lacking:
            told = wire[at : at + count * HASH]
            if len(told) != count * HASH or digest(told) != name:
                raise Trouble(f"the blocks of the piece at {start} are other ones than its hash says")
            self.wanted[start * HASH : (start + count) * HASH] = told
            at += len(told)
        for start, count, first in self.twice:
            self.wanted[start * HASH : (start + count) * HASH] = span(self.wanted, first, count)
        kept = set()
        for number in range(self.total):
            one = span(self.wanted, number, 1)
            kept.add(one)
            if one == span(self.here.target, number, 1):
                self.final.setdefault(one, number)
        running = range(len(self.here.running) // HASH)
        self.gone = [number for number in running if span(self.here.running, number, 1) not in kept]
        bits, index = Bits(len(wire) // HASH), 0
        for start, count, _ in self.lacking:
            for number in range(start, start + count):
                one = span(self.wanted, number, 1)
                if one != ZERO and one not in self.here.blocks and one not in self.final and one not in self.streamed:
                    self.streamed[one] = number
                    bits.set(index)
                index += 1
        return bits

    def gone_digest(self) -> bytes:
        """Who has the same image sees by it that these are the blocks it means."""
        return digest(b"".join(span(self.here.running, number, 1) for number in self.gone))

    def copies(self) -> Iterator[tuple[int, str, int, int]]:
        """Blocks that are made from what is here: the first, where from (`zero`, `running`, `target`), its place there,
        and how many follow each other in both."""
        first, origin, place, count = 0, "", 0, 0
        for number in range(self.total):
            one = span(self.wanted, number, 1)
            if one == span(self.here.target, number, 1) or self.streamed.get(one) == number:
                continue
            if one == ZERO:
                source = ("zero", number)
            elif one in self.here.blocks:
                source = ("running", self.here.blocks[one])
            else:
                source = ("target", self.streamed[one] if one in self.streamed else self.final[one])
            if count and count < RUN and number == first + count and source == (origin, place + count):
                count += 1
                continue
            if count:
                yield first, origin, place, count
            first, (origin, place), count = number, source, 1
        if count:
            yield first, origin, place, count
