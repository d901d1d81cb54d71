"""A root image into the slot that does not run: written, flushed, and read back from every disk."""

import hashlib
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from chatimg_box.system import Trouble

from . import bootstate, slots
from .blocks import BLOCK, Here, Plan, digest, hashes, image_size, runs
from .devices import CHUNK, Reader, Writer
from .place import OTHER, Box
from .slots import Slot
from .verify import Description

Show = Callable[[int, int], None]  # bytes done, and of how many


def target(box: Box) -> Slot:
    return slots.slot(box, OTHER[box.slot])


def here(box: Box, to: Slot, size: int) -> Here:
    running = slots.slot(box, box.slot)
    return Here(hashes([running.device], image_size(running)), hashes(to.legs, size))


def mark(box: Box) -> None:
    """From now on GRUB does not start the other slot; the one that runs is good."""
    state = bootstate.read(box)
    wanted = {box.slot: box.id, OTHER[box.slot]: "none", "good": box.slot, **bootstate.SETTLED}
    if {name: state.get(name) for name in wanted} != wanted:
        bootstate.change(box, wanted)


class Filler:
    """Fills a slot by a plan. What is right already is not written."""

    def __init__(self, box: Box, plan: Plan, to: Slot) -> None:
        self.plan, self.to, self.running = plan, to, slots.slot(box, box.slot)
        self.writer = Writer(to.device)
        mark(box)
        self.due = list(plan.streamed.items())
        self.done = 0
        self.rest = bytearray()

    def take(self, data: bytes) -> None:
        """The next bytes of the blocks that were lacking."""
        self.rest += data
        count = len(self.rest) // BLOCK
        if self.done + count > len(self.due) or self.done + count == len(self.due) and len(self.rest) % BLOCK:
            raise Trouble("more data came than belong to the image")
        for at in range(0, count * BLOCK, BLOCK):
            block = bytes(self.rest[at : at + BLOCK])
            name, number = self.due[self.done]
            if digest(block) != name:
                raise Trouble(f"block {number} came as another one than was told")
            self.writer.write(number * BLOCK, block)
            self.done += 1
        del self.rest[: count * BLOCK]

    def like(self, first: int, count: int) -> bytes:
        """Blocks that run, of those that the new image does not have."""
        with Reader(self.running.device) as running:
            wanted = runs(self.plan.gone[first : first + count])
            return b"".join(bytes(running.read(start * BLOCK, length * BLOCK)) for start, length in wanted)

    def copy(self, show: Show) -> None:
        """Makes the other blocks from what is here."""
        if self.done < len(self.due) or self.rest:
            raise Trouble(f"{len(self.due) - self.done} blocks did not come")
        with Reader(self.running.device) as running:
            for number, origin, place, count in self.plan.copies():
                if origin == "zero":
                    data = bytes(count * BLOCK)
                elif origin == "running":
                    data = running.read(place * BLOCK, count * BLOCK)
                else:
                    data = self.writer.read(place * BLOCK, count * BLOCK)
                self.writer.write(number * BLOCK, data)
                show(number * BLOCK, self.plan.total * BLOCK)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def read_back(to: Slot, new: Description, show: Show) -> None:
    """Compares what each disk holds with the description."""
    done, found, troubles = [0] * len(to.legs), {}, []

    def look(number: int, leg: Path) -> None:
        total = hashlib.sha256()
        try:
            with Reader(leg) as reader:
                for at, part in reader.chunks(new.size):
                    total.update(part)
                    done[number] = at + len(part)
            found[leg] = total.hexdigest()
        except (OSError, Trouble) as error:
            troubles.append(str(error))

    threads = [threading.Thread(target=look, args=one) for one in enumerate(to.legs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(1)
            show(sum(done), new.size * len(to.legs))
    for leg, digest_ in found.items():
        if digest_ != new.sha256:
            troubles.append(f"{leg} gives back something else than belongs there")
    if troubles:
        raise Trouble(f"slot {to.name} was written, but is not whole: {'; '.join(troubles)}")


def from_file(box: Box, path: Path, new: Description, to: Slot, show: Show) -> None:
    """The same from a file on the box."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(CHUNK):
            total.update(part)
        if file.tell() != new.size or total.hexdigest() != new.sha256:
            raise Trouble(f"{path} is not the image that update.json describes")
        file.seek(0)
        writer = Writer(to.device)
        try:
            mark(box)
            with ExitStack() as stack:
                legs = [stack.enter_context(Reader(leg)) for leg in to.legs]
                for at in range(0, new.size, CHUNK):
                    part = file.read(min(CHUNK, new.size - at))
                    if any(bytes(leg.read(at, len(part))) != part for leg in legs):
                        writer.write(at, part)
                    show(at + len(part), new.size)
            writer.flush()
        finally:
            writer.close()
    read_back(to, new, show)
