"""The box's side of an update by ssh (docs/update.md, Transfer): a state for each step, and one message leads to the next."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict

from chatimg_box.system import Trouble

from . import history, slots, snapshot, switch, verify, write
from .blocks import BLOCK, HASH, Plan
from .place import Box, refuse_if_busy
from .unpack import Unpacker
from .verify import Refused
from .wire import HELP, Channel, Gone

PART = 1 << 20
PIECE = 18
LIKE = 8192  # blocks that a stream may be made with
PACE = 1.0


class Receiver:
    """One update."""

    def __init__(self, box: Box, channel: Channel) -> None:
        self.box, self.channel = box, channel
        self.next: dict[str, Callable[[dict], None]] = {"hello": self.hello}
        self.dry = False
        self.received = 0
        self.told = 0.0
        self.filler: write.Filler | None = None
        self.unpacker: Unpacker | None = None

    def run(self) -> int:
        """Answers until the other side is done. The exit status."""
        try:
            while True:
                message = self.channel.receive()
                step = self.next.get(message["op"])
                if step is None:
                    raise Refused(f"{message['op'][:20]!r} comes at the wrong time", HELP)
                step(message)
        except Gone:
            if self.unpacker:
                # What came stays: the next try need not send it again.
                with contextlib.suppress(Trouble, OSError):
                    self.unpacker.finish()
            return 0 if not self.next else 1
        except Refused as refused:
            return self.fail(refused.what, refused.help)
        except Trouble as trouble:
            return self.fail(str(trouble), "what is on the box goes on as before")
        except OSError as error:
            return self.fail(str(error), "what is on the box goes on as before; see `journalctl -k`")
        finally:
            self.close()

    def fail(self, what: str, help_: str) -> int:
        try:
            self.channel.send({"error": what, "help": help_})
        except Gone:
            pass
        return 1

    def close(self) -> None:
        if self.unpacker:
            self.unpacker.close()
        if self.filler:
            self.filler.close()

    def hello(self, message: dict) -> None:
        if message.get("protocol") != 1:
            raise Refused("this box speaks protocol 1 only", HELP)
        data = self.channel.payload(message, verify.LIMIT)
        signature, older = message.get("signature"), message.get("older", False)
        self.dry = message.get("dry-run", False)
        if not isinstance(signature, str) or not isinstance(older, bool) or not isinstance(self.dry, bool):
            raise Refused("the first message is not as it should be", HELP)
        refuse_if_busy(self.box)
        self.to = write.target(self.box)
        self.new = verify.fitting(self.box, data, signature, self.to.capacity, older)
        answer = {"ok": True, "running": self.box.id, "slot": self.to.name}
        warning = lacking(self.box)
        self.channel.send(answer | ({"warning": warning} if warning else {}))
        self.next = {"pieces": self.pieces}

    def pieces(self, message: dict) -> None:
        blocks = self.new.size // BLOCK
        wire = self.channel.payload(message, blocks * PIECE)
        if len(wire) % PIECE:
            raise Refused("pieces have a payload that is cut off", HELP)
        be_nice()
        self.plan = Plan(write.here(self.box, self.to, self.new.size), blocks)
        self.channel.send({"ok": True}, bytes(self.plan.take_pieces(wire)))
        self.next = {"blocks": self.blocks}

    def blocks(self, message: dict) -> None:
        length = sum(count for _, count, _ in self.plan.lacking) * HASH
        wire = self.channel.payload(message, length, exactly=True)
        bits = self.plan.take_blocks(wire)
        answer = {"ok": True, "gone": self.plan.gone_digest().hex()}
        self.channel.send(answer | ({"space": self.space()} if self.dry else {}), bytes(bits))
        # What is compressed badly becomes a little larger.
        self.most = len(self.plan.streamed) * BLOCK * 129 // 128 + PART
        self.next = {} if self.dry else {"data": self.data, "end": self.end}

    def space(self) -> list[dict]:
        """What the switch will need, and what is free."""
        _, *rooms = snapshot.rooms(self.box)
        slot = snapshot.Room(f"slot {self.to.name}", self.new.size, self.to.capacity)
        return [asdict(one) for one in (slot, *rooms)]

    def fill(self) -> write.Filler:
        """The slot is touched from here on."""
        if self.filler is None:
            self.filler = write.Filler(self.box, self.plan, self.to)
        return self.filler

    def data(self, message: dict) -> None:
        part = self.channel.payload(message, PART)
        self.received += len(part)
        if self.received > self.most:
            raise Refused("more data came than belong to the image", HELP)
        if "like" in message:
            self.begin(message["like"])
        if self.unpacker is None:
            raise Refused("data came without what they are like", HELP)
        self.unpacker.feed(part)

    def begin(self, like: object) -> None:
        """Another stream, made with some of the blocks that run."""
        pair = isinstance(like, list) and len(like) == 2 and all(verify.whole(one) for one in like)
        if not pair or like[1] > LIKE or sum(like) > len(self.plan.gone):
            raise Refused("data are like blocks that there are not", HELP)
        if self.unpacker:
            self.unpacker.finish()
            self.unpacker.close()
        self.unpacker = Unpacker(self.fill().take, self.fill().like(*like))

    def end(self, _message: dict) -> None:
        if self.unpacker:
            self.unpacker.finish()
        self.fill().copy(self.progress)
        self.fill().close()
        write.read_back(self.to, self.new, self.progress)
        history.keep_image(self.box, self.new.id, self.new.text)
        self.channel.send({"ok": True, "received": self.received})
        self.next = {"switch": self.switch}

    def progress(self, done: int, total: int) -> None:
        if time.monotonic() - self.told >= PACE:
            self.told = time.monotonic()
            self.channel.send({"progress": done, "total": total})

    def switch(self, message: dict) -> None:
        guard, at = message.get("guard"), message.get("at", 0)
        if guard not in ("login", "gate") or not verify.whole(at):
            raise Refused("the switch is not as it should be", HELP)
        self.next = {}
        job = switch.Job(self.new.id, self.to.name, guard, "update")
        if at:
            switch.plan(self.box, job, at)
            self.channel.send({"ok": True, "down": False, "at": at})
        else:
            switch.perform(self.box, job)
            try:
                self.channel.send({"ok": True, "down": True})
            except Gone:
                pass  # There is no way back from here.
            switch.restart(self.box)


def lacking(box: Box) -> str:
    """What the administrator should know before, though nothing is refused for it."""
    if not box.mirror:
        return ""
    names = [f"slot {name}" for name in ("a", "b") if not slots.slot(box, name).whole]
    if not names:
        return ""
    return f"the mirror lacks a disk ({', '.join(names)}): the update goes to the other one alone; see chatimg-admin status"


def be_nice() -> None:
    """People go on chatting meanwhile."""
    try:
        os.nice(10)
        subprocess.run(["ionice", "-c", "2", "-n", "7", "-p", str(os.getpid())], capture_output=True, check=False)
    except OSError:
        pass  # It only takes longer for them.
