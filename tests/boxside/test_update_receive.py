"""An update by ssh: a client that speaks the protocol, and clients that do not."""

import hashlib
import io
import json
import os
import random
import struct
import subprocess
import tempfile
import unittest
from unittest import mock

from fakebox import ID_A, ID_B, IMAGE, MIB, FakeBox
from minisign import Key

from chatimg_update import blocks, receive, snapshot, switch, unpack, verify, write
from chatimg_update.wire import Channel

KEY = Key()
BLOCK = 4096


def noise(seed, count):
    """Blocks that zstd cannot make small, none like another."""
    return random.Random(seed).randbytes(count * BLOCK)


def ext4(image):
    """An image that says how large it is."""
    image = bytearray(image)
    struct.pack_into("<I", image, 1024 + 4, len(image) // BLOCK)
    struct.pack_into("<I", image, 1024 + 24, 2)
    struct.pack_into("<H", image, 1024 + 56, 0xEF53)
    return bytes(image)


def compress(data, *options):
    return subprocess.run(["zstd", "-c", "-q", *options], input=data, capture_output=True, check=True).stdout


def compress_like(data, shown):
    with tempfile.NamedTemporaryFile() as file, tempfile.NamedTemporaryFile() as like:
        file.write(data)
        like.write(shown)
        file.flush()
        like.flush()
        command = ["zstd", "-c", "-q", f"--patch-from={like.name}", file.name]
        return subprocess.run(command, capture_output=True, check=True).stdout


class Session:
    """The box's other end, message by message: the Receiver reads what `script` yields."""

    def __init__(self, box):
        self.box, self.answers, self.out = box, [], io.BytesIO()

    def run(self, script):
        """`script` is a generator of wire bytes; it is sent each answer (message, payload)."""
        out = self.out

        class Feed(io.RawIOBase):
            def __init__(self, outer):
                self.outer, self.waiting, self.begun = outer, b"", False

            def readable(self):
                return True

            def readinto(self, buffer):
                while not self.waiting:
                    try:
                        self.waiting = script.send(self.outer.latest()) if self.begun else next(script)
                        self.begun = True
                    except StopIteration:
                        return 0
                count = min(len(buffer), len(self.waiting))
                buffer[:count], self.waiting = self.waiting[:count], self.waiting[count:]
                return count

        # A buffer of one byte: nothing is asked for that the box does not read.
        reader = io.BufferedReader(Feed(self), 1)
        receiver = receive.Receiver(self.box, Channel(reader, out))
        code = receiver.run()
        self.latest()
        return code, self.answers

    def latest(self):
        data = self.out.getvalue()
        self.out.seek(0)
        self.out.truncate()
        while data:
            line, _, data = data.partition(b"\n")
            message = json.loads(line)
            length = message.get("payload", 0)
            self.answers.append((message, data[:length]))
            data = data[length:]
        return self.answers[-1] if self.answers else None


def say(op, payload=b"", **rest):
    message = {"op": op, **rest} | ({"payload": len(payload)} if payload else {})
    return json.dumps(message).encode() + b"\n" + payload


def lacking(payload, count):
    return [bool(payload[n // 8] >> n % 8 & 1) for n in range(count)]


def only(wire):
    yield wire


class Client:
    """Sends an image as chatimg does."""

    def __init__(self, image, **description):
        self.image = image
        root = {"sha256": hashlib.sha256(image).hexdigest(), "size": len(image)}
        self.about = IMAGE | {"id": ID_B, "root": root} | description
        self.update = json.dumps(self.about, sort_keys=True).encode()
        self.hashes = [blocks.digest(image[at : at + BLOCK]) for at in range(0, len(image), BLOCK)]
        self.sent = 0

    def hello(self, **rest):
        words = {"protocol": 1, "signature": KEY.sign(self.update), "older": False, "dry-run": False} | rest
        return say("hello", self.update, **words)

    def cut(self):
        pieces, start = [], 0
        for number, one in enumerate(self.hashes):
            if one[15] & 63 == 0 or number + 1 - start == 1024 or number + 1 == len(self.hashes):
                pieces.append((start, number + 1 - start, blocks.digest(b"".join(self.hashes[start : number + 1]))))
                start = number + 1
        return pieces

    def all(self, stop_after=None, dry=False, switch=None, hello=None):
        yield self.hello(**{"dry-run": dry} | (hello or {}))
        pieces = self.cut()
        _, bits = yield say("pieces", b"".join(struct.pack("<H", count) + name for _, count, name in pieces))
        chosen = [piece for piece, bit in zip(pieces, lacking(bits, len(pieces)), strict=True) if bit]
        numbers = [n for start, count, _ in chosen for n in range(start, start + count)]
        _, bits = yield say("blocks", b"".join(self.hashes[n] for n in numbers))
        self.numbers = [n for n, bit in zip(numbers, lacking(bits, len(numbers)), strict=True) if bit]
        if dry:
            return
        data = compress(b"".join(self.image[n * BLOCK : (n + 1) * BLOCK] for n in self.numbers)) if self.numbers else b""
        for number, at in enumerate(range(0, len(data), 40_000)):
            if number == stop_after:
                return
            part = data[at : at + 40_000]
            self.sent += len(part)
            yield say("data", part, **({} if number else {"like": [0, 0]}))
        yield say("end")
        if switch:
            yield say("switch", **switch)


class UpdateBox(FakeBox):
    def setUp(self):
        super().setUp()
        self.write(verify.SETTINGS, json.dumps({"update": {"keys": [KEY.public]}}))
        self.old = ext4(noise(1, 100) + bytes(20 * BLOCK) + noise(2, 300))
        self.put(self.box.at("/dev/sda4"), 0, self.old)

    def target(self, size):
        return self.get(self.box.at("/dev/sda5"), 0, size)

    def update(self, client, **how):
        return Session(self.box).run(client.all(**how))

    def done(self, client, **how):
        code, answers = self.update(client, **how)
        self.assertNotIn("error", answers[-1][0])
        self.assertEqual((code, answers[-1][0]), (1, {"ok": True, "received": client.sent}))
        self.assertEqual(self.target(len(client.image)), client.image)
        return answers

    def refused(self, words, script):
        code, answers = Session(self.box).run(script)
        self.assertEqual(code, 1)
        self.assertRegex(answers[-1][0]["error"], words)
        self.assertTrue(answers[-1][0]["help"])
        return answers


class Updates(UpdateBox):
    def test_only_what_is_new_is_sent(self):
        new = self.old[: 50 * BLOCK] + noise(3, 7) + self.old[50 * BLOCK :]
        client = Client(new)
        answers = self.done(client)
        self.assertEqual(answers[0][0], {"ok": True, "running": ID_A, "slot": "b"})
        self.assertEqual(client.numbers, list(range(50, 57)))
        self.assertLess(client.sent, 7 * BLOCK + 1000)
        self.assertEqual(self.state()["b"], "none")
        self.assertEqual(self.box.json(self.box.kept / "images" / f"{ID_B}.json"), client.about)

    def test_what_is_there_already_is_neither_sent_nor_written(self):
        client = Client(noise(4, 200))
        self.done(client)
        again = Client(client.image)
        wrote = []
        real = os.pwrite
        with mock.patch("os.pwrite", lambda *args: wrote.append(args[2]) or real(*args)):
            self.done(again)
        self.assertEqual((again.numbers, again.sent, wrote), ([], 0, []))

    def test_a_transfer_that_was_cut_short_goes_on(self):
        client = Client(noise(5, 250))
        code, answers = self.update(client, stop_after=9)
        self.assertEqual((code, len(answers)), (1, 3))
        self.assertEqual(self.state()["b"], "none")
        again = Client(client.image)
        self.done(again)
        self.assertLess(len(again.numbers), 200)
        self.assertGreater(len(again.numbers), 100)

    def test_blocks_move_within_the_slot_without_harm(self):
        first = Client(noise(6, 120))
        self.done(first)
        # What only the slot itself has, in another place, may be overwritten before it is needed.
        for image in (first.image[BLOCK:] + first.image[:BLOCK], first.image[60 * BLOCK :] + first.image[: 60 * BLOCK]):
            self.done(Client(image))

    def test_random_images_arrive_whole(self):
        chooser = random.Random(7)
        known = [noise(n, 1) for n in range(40)] + [bytes(BLOCK)] * 5
        for _ in range(25):
            image = b"".join(chooser.choice(known) for _ in range(chooser.randrange(1, 400)))
            if chooser.random() < 0.3:
                self.put(self.box.at("/dev/sda4"), 0, ext4(image))
            self.done(Client(image))

    def test_a_block_that_comes_twice_is_sent_once(self):
        one = noise(8, 1)
        client = Client(one * 40 + noise(9, 1) + one * 40 + bytes(10 * BLOCK))
        self.done(client)
        self.assertEqual(len(client.numbers), 2)

    def test_what_is_like_what_runs_takes_next_to_nothing(self):
        old = ext4(noise(1, 100))
        self.put(self.box.at("/dev/sda4"), 0, old)
        # Every byte from block 20 on has moved, so these 80 blocks are gone.
        client = Client(old[: 20 * BLOCK] + (bytes(9) + old[20 * BLOCK :])[: 80 * BLOCK])
        part = [slice(20 * BLOCK, 80 * BLOCK), slice(80 * BLOCK, 100 * BLOCK)]
        first, second = (compress_like(client.image[one], old[one]) for one in part)
        self.assertLess(len(first) + len(second), 2 * BLOCK)
        wire = say("data", first[:100], like=[0, 60]) + say("data", first[100:]) + say("data", second, like=[60, 20])
        _, answers = Session(self.box).run(iter_after(client, wire + say("end")))
        gone = b"".join(blocks.digest(old[at : at + BLOCK]) for at in range(20 * BLOCK, 100 * BLOCK, BLOCK))
        self.assertEqual(answers[2][0]["gone"], blocks.digest(gone).hex())
        self.assertEqual(answers[-1][0], {"ok": True, "received": len(first) + len(second)})
        self.assertEqual(self.target(len(client.image)), client.image)

    def test_a_stream_may_have_the_window_of_chatimg_s_and_no_larger_one(self):
        for window, words in ((27, ""), (28, "no zstd stream")):
            taken = []
            unpacker = unpack.Unpacker(taken.append)
            # The window is as large as the data unless their size is unknown.
            packed = compress(noise(50, 4), f"--long={window}", "--no-content-size")
            try:
                unpacker.feed(packed)
                unpacker.finish()
                self.assertEqual((words, b"".join(taken)), ("", noise(50, 4)))
            except Exception as error:
                self.assertTrue(words and words in str(error), f"{window}: {error}")
            finally:
                unpacker.close()

    def test_a_dry_run_changes_nothing(self):
        before = self.target(self.SLOT)
        client = Client(noise(10, 50))
        code, answers = self.update(client, dry=True)
        self.assertEqual((code, len(client.numbers)), (0, 50))
        slot, state, run = answers[2][0]["space"]
        self.assertEqual(slot, {"place": "slot b", "needed": 50 * BLOCK, "free": 3 * MIB, "files": 0, "inodes": 0})
        self.assertEqual((state["place"], run["place"]), ("/state", "/run"))
        self.assertEqual((state["needed"], state["files"]), (snapshot.SPARE, snapshot.SPARE_FILES))
        self.assertGreater(state["free"], 0)
        self.assertEqual((self.target(self.SLOT), self.state()["gen"]), (before, "1"))
        self.refused("wrong time", iter_after(Client(noise(10, 50)), say("end"), dry=True))
        self.assertEqual(self.state()["gen"], "1")

    def test_the_slot_is_none_before_its_first_byte_changes(self):
        self.set_state({"a": ID_A, "b": ID_B, "gen": "5", "good": "a", "left": "0", "next": "", "try": ""})
        seen = []
        real = os.pwrite

        def pwrite(file, data, at):
            if os.readlink(f"/proc/self/fd/{file}").endswith("sda5"):
                seen.append(self.state()["b"])
            return real(file, data, at)

        with mock.patch("os.pwrite", pwrite):
            self.done(Client(noise(11, 30), id="c" * 16))
        self.assertEqual(set(seen), {"none"})

    def test_a_box_that_runs_what_was_not_good_keeps_that(self):
        self.starts("b", ID_B)
        self.set_state({"a": ID_A, "b": "none", "gen": "5", "good": "a", "left": "2", "next": "a", "try": ""})
        write.mark(self.box)
        found = self.state()
        self.assertEqual((found["good"], found["a"], found["b"], found["left"], found["next"]), ("b", "none", ID_B, "0", ""))

    def test_a_disk_that_gives_back_something_else_is_found(self):
        real = write.read_back

        def damaged(to, new, show):
            self.put(self.box.at("/dev/sda5"), 5000, b"?")
            return real(to, new, show)

        with mock.patch.object(write, "read_back", damaged):
            self.refused("gives back something else", Client(noise(12, 30)).all())
        self.assertEqual(self.state()["b"], "none")

    def test_it_switches(self):
        jobs = []
        with mock.patch.object(switch, "perform", lambda box, job: jobs.append(job)):
            code, answers = self.update(Client(noise(13, 9)), switch={"guard": "login", "at": 0})
        self.assertEqual((code, answers[-1][0]), (0, {"ok": True, "down": True}))
        self.assertEqual(jobs, [switch.Job(ID_B, "b", "login", "update")])
        self.assertEqual(self.commands.called("systemctl"), ["systemctl --no-block reboot"])

    def test_it_plans_a_switch_and_is_busy_then(self):
        at = int(self.clock) + 3600
        code, answers = self.update(Client(noise(13, 9)), switch={"guard": "gate", "at": at})
        self.assertEqual((code, answers[-1][0]), (0, {"ok": True, "down": False, "at": at}))
        (run,) = self.commands.called("systemd-run")
        self.assertIn(f"--on-calendar=@{at}", run)
        self.refused("is planned", Client(noise(13, 9)).all())
        self.assertTrue(switch.cancel(self.box))
        self.assertFalse(switch.cancel(self.box))
        for wrong in (1, int(self.clock), int(self.clock) + 10**9):
            self.refused("planned", Client(noise(13, 9)).all(switch={"guard": "gate", "at": wrong}))

    def test_a_switch_that_is_refused_leaves_the_box_running(self):
        def full(path):
            found = os.statvfs(path)
            return os.statvfs_result((found[0], 4096, 1000, 10, 10, *found[5:]))

        with mock.patch.object(snapshot.check_room, "__defaults__", (1, full)):
            self.refused("snapshot of the state needs", Client(noise(13, 9)).all(switch={"guard": "gate"}))
        self.assertEqual((self.commands.called("systemctl"), self.state()["try"]), ([], ""))


def iter_after(client, wire, count=3, **how):
    """The first `count` messages of a good client, then something else."""
    script = client.all(**how)
    answer = None
    for _ in range(count):
        try:
            answer = yield script.send(answer)
        except StopIteration:
            break
    yield wire


class Hostile(UpdateBox):
    """What is not as it should be is refused, and nothing is changed that need not be."""

    LIKE = ([0, 421], [420, 1], [0, 9000], [-1, 2], [0], [0, 0, 0], [True, 1], [0.0, 1], "", {}, None)

    def fresh(self):
        return Client(noise(20, 60))

    def test_nonsense(self):
        for wire, words in [
            (b"nonsense\n", "not JSON"),
            (b"\xff\n", "not JSON"),
            (b"[" * 60_000 + b"\n", "not JSON"),
            (b"[]\n", "no op"),
            (b'{"op":1}\n', "no op"),
            (b"x" * 70_000, "longer than 64 KiB"),
            (b'{"op":"hello"', "cut off"),
            (say("switch"), "wrong time"),
            (say("end"), "wrong time"),
            (say("hello"), "protocol"),
            (say("hello", protocol=2), "protocol"),
            (say("hello", protocol=1), "first message"),
            (say("hello", protocol=1, signature=""), "none of minisign's"),
        ]:
            self.refused(words, only(wire))
        for payload in ("1", -1, 1.5, True, None, [], 10**30):
            wire = json.dumps({"op": "hello", "protocol": 1, "signature": "", "payload": payload}).encode() + b"\n"
            self.refused("payload", only(wire))
        self.assertEqual(self.state()["gen"], "1")

    def test_images_that_are_not_for_this_box(self):
        for change, words in [({"epoch": 1}, "older"), ({"appliance": "x"}, "appliance"), ({"raid": "mirror"}, "raid"),
                              ({"id": ID_A}, "runs already"), ({"root": {"sha256": "0" * 64, "size": 1 << 40}}, "slot takes")]:
            self.refused(words, Client(noise(20, 9), **change).all())
        client = self.fresh()
        self.refused("signature", client.all(hello={"signature": Key().sign(client.update)}))
        self.refused("first message", client.all(hello={"older": 1}))
        self.refused("first message", client.all(hello={"dry-run": "no"}))
        self.assertEqual(self.state()["gen"], "1")
        code, answers = self.update(Client(noise(20, 9), epoch=1), hello={"older": True})
        self.assertEqual(answers[-1][0]["ok"], True)

    def test_while_something_else_is_under_way(self):
        for path, words in (("/run/chatimg/trial", "on trial"), ("/state/.chatimg/switch", "not finished")):
            self.write(path, "to=x\n")
            self.refused(words, self.fresh().all())
            self.box.at(path).unlink()

    def test_pieces_that_cannot_be(self):
        name = bytes(16)
        for payload, words in [
            (b"", "0 blocks together"),
            (b"x" * 17, "cut off"),
            (struct.pack("<H", 0) + name, "cannot be"),
            (struct.pack("<H", 61) + name, "cannot be"),
            (struct.pack("<H", 1025) + name, "cannot be"),
            (struct.pack("<H", 59) + name, "59 blocks together"),
            ((struct.pack("<H", 60) + name) * 2, "cannot be"),
            (bytes(61 * 18), "cannot be"),
        ]:
            self.refused(words, iter_after(self.fresh(), say("pieces", payload), 1))
        self.refused("cannot be", iter_after(self.fresh(), b'{"op":"pieces","payload":1000000000000}\n', 1))

    def test_blocks_that_cannot_be(self):
        client = self.fresh()
        for payload in (b"", b"x" * 16 * 59, b"x" * 16 * 61):
            self.refused("cannot be", iter_after(client, say("blocks", payload), 2))
        self.refused("other ones than its hash", iter_after(client, say("blocks", b"x" * 16 * 60), 2))
        self.assertEqual(self.state()["gen"], "1")

    def test_data_that_cannot_be(self):
        good = b"".join(noise(20, 60)[n * BLOCK : (n + 1) * BLOCK] for n in range(60))
        bomb = compress(bytes(1 << 30))
        self.assertLess(len(bomb), 200_000)
        end = say("end")

        def data(payload):
            return say("data", payload, like=[0, 0])

        for wire, words in [
            (say("data", compress(good)), "without what they are like"),
            (data(compress(good)[:-9]) + data(compress(good)), "no zstd stream"),
            # Of what runs 420 blocks are gone.
            *((say("data", b"x", like=like), "blocks that there are not") for like in self.LIKE),
            (data(bomb) + end, "another one|more data"),
            (data(compress(good + bytes(BLOCK))) + end, "more data"),
            (data(compress(good + b"x")) + end, "more data"),
            (data(compress(good[:-BLOCK])) + end, "1 blocks did not come"),
            (data(compress(good[:-1])) + end, "1 blocks did not come"),
            (data(compress(good)[:-9]) + end, "no zstd stream|did not come"),
            (data(compress(good[BLOCK:] + good[:BLOCK])) + end, "another one"),
            (data(b"nonsense" * 100) + end, "no zstd stream"),
            (end, "60 blocks did not come"),
            (b'{"op":"data","payload":1048577}\n', "cannot be"),
            # Frames that say nothing, without end.
            (data(b"\x50\x2a\x4d\x18" + struct.pack("<I", 1 << 19) + bytes(1 << 19)) * 5, "more data"),
        ]:
            self.put(self.box.at("/dev/sda5"), 0, bytes(self.SLOT))
            self.refused(words, iter_after(self.fresh(), wire))
            self.assertEqual(self.state()["b"], "none")
            self.assertEqual(self.get(self.box.at("/dev/sda5"), 60 * BLOCK, self.SLOT), bytes(self.SLOT - 60 * BLOCK))
        self.done(self.fresh())

    def test_an_image_that_is_another_than_its_digest(self):
        root = {"sha256": "0" * 64, "size": 60 * BLOCK}
        self.refused("gives back something else", Client(noise(20, 60), root=root).all())

    def test_a_switch_that_cannot_be(self):
        for how in ({"guard": "none"}, {"guard": 1}, {}, {"guard": "gate", "at": "x"}, {"guard": "gate", "at": -1}):
            self.refused("not as it should be", self.fresh().all(switch=how or {"at": 0}))
        self.assertEqual(self.commands.called("systemctl"), [])


class Mirrored(FakeBox):
    RAID = "mirror"

    def setUp(self):
        super().setUp()
        self.write(verify.SETTINGS, json.dumps({"update": {"keys": [KEY.public]}}))
        # md's part: what is written to the array goes to both legs.
        real = os.pwrite

        def pwrite(file, data, at):
            if os.readlink(f"/proc/self/fd/{file}").endswith("/md5"):
                self.put(self.box.at("/dev/sdb5"), at, bytes(data))
            return real(file, data, at)

        patch = mock.patch("os.pwrite", pwrite)
        patch.start()
        self.addCleanup(patch.stop)

    def run_(self, image):
        client = Client(image, raid="mirror")
        return client, Session(self.box).run(client.all())

    def test_both_legs_are_read_back(self):
        client, (_, answers) = self.run_(noise(30, 40))
        self.assertTrue(answers[-1][0]["ok"])
        for leg in ("sda5", "sdb5"):
            self.assertEqual(self.get(self.box.at(f"/dev/{leg}"), 0, 40 * BLOCK), client.image)

    def test_a_block_that_only_one_disk_has_right_is_written_anew(self):
        image = noise(30, 40)
        self.run_(image)
        self.put(self.box.at("/dev/sdb5"), 3 * BLOCK, b"?")
        client, (_, answers) = self.run_(image)
        self.assertTrue(answers[-1][0]["ok"])
        self.assertEqual(client.numbers, [3])
        self.assertEqual(self.get(self.box.at("/dev/sdb5"), 0, 40 * BLOCK), image)

    def test_a_leg_that_loses_what_was_written_is_named(self):
        self.write("/sys/block/md5/md/dev-sdc5/state", "in_sync\n")
        self.write("/sys/block/sdc/sdc5/partition", "5\n")
        self.write("/dev/sdc5", bytes(self.SLOT))
        _, (_, answers) = self.run_(noise(30, 40))
        self.assertRegex(answers[-1][0]["error"], "sdc5 gives back something else")

    def test_a_mirror_that_lacks_a_disk_is_warned_of(self):
        self.write("/sys/block/md5/md/dev-sdb5/state", "faulty\n")
        self.write("/sys/block/md5/md/degraded", "1\n")
        _, (_, answers) = self.run_(noise(30, 40))
        self.assertIn("slot b", answers[0][0]["warning"])
        self.assertTrue(answers[-1][0]["ok"])


class Local(UpdateBox):
    def test_an_image_in_a_folder(self):
        image = noise(40, 50)
        path = self.write("/tmp/root.img", image)
        new = verify.description(Client(image).update)
        to = write.target(self.box)
        write.from_file(self.box, path, new, to, lambda *_: None)
        self.assertEqual(self.target(len(image)), image)
        self.assertEqual(self.state()["b"], "none")

    def test_another_file_than_was_signed_costs_nothing(self):
        self.set_state({"a": ID_A, "b": ID_B, "gen": "5", "good": "a", "left": "0", "next": "", "try": ""})
        path = self.write("/tmp/root.img", noise(41, 50))
        for image in (noise(40, 50), noise(41, 51)):
            with self.assertRaisesRegex(Exception, "is not the image"):
                write.from_file(self.box, path, verify.description(Client(image).update), write.target(self.box), print)
        self.assertEqual(self.state()["b"], ID_B)


if __name__ == "__main__":
    unittest.main()
