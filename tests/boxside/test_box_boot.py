"""What starts a disk, and the boot state: told right from wrong, and mended in an order that always leaves a way to start."""

import struct
import sys
import tempfile
import unittest
import zlib
from pathlib import Path
from unittest import mock

OVERLAYS = Path(__file__).resolve().parents[2] / "overlays"
sys.dont_write_bytecode = True
sys.path[:0] = [str(OVERLAYS / name / "files/usr/lib/chatimg") for name in ("base", "monitoring")]

from chatimg_box import bootcode, bootstate, disks, gpt, legs, md, mend, mirror, passed, system  # noqa: E402
from chatimg_box.bootstate import Copy, Running  # noqa: E402
from chatimg_box.system import Trouble  # noqa: E402

OLD, NEW, THIRD = "a" * 16, "b" * 16, "c" * 16
STATE = {"gen": "5", "good": "a", "try": "", "left": "0", "next": "", "a": OLD, "b": NEW}
RUNNING = Running("a", OLD)
SERIALS = {"sda": 0x11111111, "sdb": 0x22222222}
AT = 20 * 512


# The tests put one of their own in its place.
read_template = bootcode.template


def state(**values):
    return STATE | values


class BootState(unittest.TestCase):
    def test_a_block_is_sound_or_nothing(self):
        block = bootstate.encode(STATE)
        self.assertEqual((len(block), bootstate.parse(block)), (1024, STATE))
        whole = b"# GRUB Environment Block\na=x\ngen=7\ngood=b\n"
        self.assertEqual(bootstate.parse(whole.ljust(1024, b"#"))["gen"], "7")
        torn = [bytes(1024), block[:512] + bytes(512), bytes(512) + block[512:], block[:1023], b"\0" + block[1:]]
        torn += [bootstate.EMPTY, whole.replace(b"7", b"x").ljust(1024, b"#"), whole.replace(b"=b", b"=c").ljust(1024, b"#")]
        for bad in torn:
            self.assertEqual(bootstate.parse(bad), {}, bad[:60])
        with self.assertRaises(Trouble):
            bootstate.encode(state(a="x" * 600))

    def test_what_grub_says_of_itself(self):
        line = "chatimg.slot=b chatimg.id=abc chatimg.esp=1234-ABCD chatimg.skipped=hd1,gpt4,1234-ABCD,id/hd0,gpt4,,sums ro"
        now = bootstate.running(line)
        self.assertEqual((now.slot, now.other, now.image, now.started_by), ("b", "a", "abc", 0x1234ABCD))
        self.assertEqual(now.skipped, ("hd1,gpt4,1234-ABCD,id", "hd0,gpt4,,sums"))
        self.assertEqual(bootstate.running("ro chatimg.esp= chatimg.skipped="), Running("", ""))

    def choose(self, *states, away=(), other=NEW, now=RUNNING):
        copies = [Copy("", 0, one, index in away) for index, one in enumerate(states)]
        return bootstate.choose(copies, now, other)

    def test_the_newest_sound_copy_counts(self):
        self.assertEqual(self.choose(state(gen="9"), state(gen="10"), {}, state(gen="8")), state(gen="10"))

    def test_of_equal_copies_the_one_that_is_used_up_more(self):
        copies = [state(**{"try": "b", "left": left, "next": once}) for left, once in [("2", ""), ("1", ""), ("0", "b")]]
        self.assertEqual(self.choose(*copies), copies[1])

    def test_nothing_is_settled_while_an_image_is_on_trial(self):
        trial = state(gen="6", **{"try": "b", "left": "2"})
        self.assertEqual(self.choose(STATE, trial, now=Running("b", NEW)), {})
        self.assertEqual(self.choose(STATE, state(gen="6", good="b")), {})
        self.assertEqual(self.choose(STATE, now=Running("a", THIRD)), {})

    def test_a_state_that_speaks_of_slots_which_were_filled_anew_does_not_count(self):
        # The disk with the third copy was away; its slot b was another image, and is NEW now.
        self.assertEqual(self.choose(STATE, STATE, state(gen="9", b=THIRD), away=[2]), state(gen="10"))
        self.assertEqual(self.choose(STATE, STATE, state(gen="5", b=THIRD), away=[2]), state(gen="6"))
        self.assertEqual(self.choose(STATE, STATE, state(gen="4", b=THIRD), away=[2]), STATE)
        self.assertEqual(self.choose(STATE, state(gen="9", good="b", a=THIRD), away=[1]), state(gen="10"))

    def test_a_true_and_newer_state_counts_whoever_has_it(self):
        self.assertEqual(self.choose({}, {}, state(gen="9", b="none"), away=[2]), state(gen="9", b="none"))
        self.assertEqual(self.choose(STATE, state(gen="6"), away=[1]), state(gen="6"))

    def test_without_any_what_runs_is_good(self):
        self.assertEqual(self.choose({}, {}, other=""), state(gen="1", b="none"))


class Disk:
    """A disk's parts as files, and what is written to them."""

    def __init__(self, folder, name, right):
        self.disk = disks.Disk(f"{folder}/{name}", 1 << 20, 512, "Model", "S", {n: f"{folder}/{name}{n}" for n in (1, 2, 3)})
        self.esp = right.esp_of(SERIALS[name], bootstate.encode(STATE))
        self.put(0, right.code + bytes(range(72)))
        self.put(1, right.core + bytes(4096))
        self.put(2, self.esp + b"rest of the file system")
        self.put(3, bootstate.encode(STATE) + bytes(4096))

    def path(self, part):
        return Path(self.disk.device if part == 0 else self.disk.partition(part))

    def put(self, part, data, at=0):
        old = self.path(part).read_bytes() if self.path(part).exists() else b""
        self.path(part).write_bytes(old[:at] + data + old[at + len(data) :])

    def all(self):
        return [self.path(part).read_bytes() for part in range(4)]


class Mending(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        esp = bytearray(range(256)) * 80
        struct.pack_into("<H", esp, 50, 6)
        for sector in (0, 6):
            struct.pack_into("<I", esp, sector * 512 + 67, 0)
        esp[AT : AT + 1024] = bootstate.EMPTY
        boot = Path(folder.name) / "boot"
        boot.mkdir()
        for name, data in [("code", b"c" * 440), ("core", b"core" * 256), ("esp", bytes(esp))]:
            (boot / name).write_bytes(data)
        self.right = read_template(boot)
        self.boot = boot
        self.written = []
        device = property(lambda one: one.name)
        partition = lambda one, number: one.partitions[number]  # noqa: E731
        real = bootcode.write_device

        def write_device(path, data, offset=0):
            self.written.append((Path(path).name, offset))
            real(path, data, offset)

        self.now = Running("a", OLD)
        self.told = []
        for module, name, value in [
            (disks.Disk, "device", device),
            (disks.Disk, "partition", partition),
            (bootcode, "write_device", write_device),
            (bootcode, "template", lambda: self.right),
            (bootstate, "LOCK", Path(folder.name) / "lock"),
            (bootstate, "running", lambda: self.now),
            (bootstate, "held", lambda slot: NEW),
            (mend, "known_legs", lambda names, known=None: [self.pair(name) for name in sorted(names)]),
            (gpt, "faults", lambda disk: []),
            (system, "run", lambda *command, stdin="": ""),
            (system, "tell", lambda *words, **more: self.told.append(words[0])),
        ]:
            patch = mock.patch.object(module, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        self.disks = {name: Disk(folder.name, name, self.right) for name in ("sda", "sdb")}
        self.sound = {name: one.all() for name, one in self.disks.items()}

    def pair(self, name):
        return self.disks[name].disk, legs.Leg(1, "", SERIALS[name], {})

    def all_sound(self):
        return {name: one.all() for name, one in self.disks.items()} == self.sound

    def test_a_template_that_is_none_is_a_faulty_image(self):
        for name, data in [("code", b"c"), ("esp", bytes(4096)), ("esp", bootstate.EMPTY * 2)]:
            old = (self.boot / name).read_bytes()
            (self.boot / name).write_bytes(data)
            with self.assertRaisesRegex(Trouble, "image is faulty"):
                read_template(self.boot)
            (self.boot / name).write_bytes(old)

    def test_disks_that_are_right_are_not_touched(self):
        self.assertEqual(mend.mend({"sda", "sdb"}), [])
        self.assertEqual((self.written, mend.problems({"sda", "sdb"})), ([], {}))

    def test_any_byte_that_starts_the_box_is_mended_from_the_image_and_only_there(self):
        for name in ("sda", "sdb"):
            for part, at, what in [
                (0, 0, "boot code"),
                (0, 439, "boot code"),
                (1, 1023, "GRUB"),
                (2, 3, "ESP"),
                (2, 67, "ESP"),
                (2, 6 * 512 + 70, "ESP"),
                (2, AT - 1, "ESP"),
                (2, AT + 1024, "ESP"),
                (2, len(self.right.esp) - 1, "ESP"),
            ]:
                byte = self.disks[name].all()[part][at]
                self.disks[name].put(part, bytes([byte ^ 1]), at)
                self.assertEqual(list(mend.problems({"sda", "sdb"}).values()), [[what]], (name, part, at))
                self.written.clear()
                self.assertIn(what, mend.mend({"sda", "sdb"})[0])
                self.assertTrue(self.all_sound(), (name, part, at))
                self.assertEqual({path[:3] for path, _ in self.written}, {name})
                self.assertIn(f"damaged on {self.disks[name].disk.name}", self.told[-1])

    def test_the_disk_is_passed_over_until_it_is_whole(self):
        self.disks["sda"].put(1, b"x")
        mend.mend({"sda", "sdb"})
        self.assertEqual(self.written[:2], [("sda", 0), ("sda2", 0)])
        self.assertEqual(self.written[-2:], [("sda2", 0), ("sda", 0)])

    def test_if_neither_is_right_the_one_that_started_the_box_comes_last(self):
        for started in ("sda", "sdb"):
            for one in self.disks.values():
                one.put(1, b"older")
            self.written.clear()
            self.now = Running("a", OLD, SERIALS[started])
            mend.mend({"sda", "sdb"})
            order = [path[:3] for path, _ in self.written]
            self.assertEqual(order, sorted(order, key=lambda name: name == started))
            self.assertTrue(self.all_sound())
            self.assertEqual(self.told, [])

    def test_the_second_disk_is_not_touched_if_the_first_does_not_become_right(self):
        for one in self.disks.values():
            one.put(1, b"older")
        real = bootcode.write_pieces

        def bad(path, pieces):
            real(path, [(at, data if not path.endswith("sda1") else b"?" * len(data)) for at, data in pieces])

        with mock.patch.object(bootcode, "write_pieces", bad), self.assertRaisesRegex(Trouble, "replace"):
            mend.mend({"sda", "sdb"})
        self.assertEqual(self.disks["sda"].all()[0][:4].hex(), "cd18ebfe")
        self.assertEqual({path[:3] for path, _ in self.written}, {"sda"})

    def test_the_only_disk_keeps_its_boot_files_but_gets_its_state_mended(self):
        self.disks["sda"].put(2, b"x", 300)
        self.disks["sda"].put(3, b"torn")
        before = self.disks["sda"].all()
        self.assertEqual(list(mend.problems({"sda"}).values()), [["ESP", "boot state"]])
        mend.mend({"sda"})
        after = self.disks["sda"].all()
        self.assertEqual(after[:3], before[:3])
        self.assertEqual(after[3], self.sound["sda"][3])

    def test_torn_and_old_states_are_written_anew(self):
        self.disks["sda"].put(2, b"\0", AT)
        self.disks["sdb"].put(3, bootstate.encode(state(gen="4")))
        self.assertEqual(sorted(map(str, mend.problems({"sda", "sdb"}).values())), ["['boot state']"] * 2)
        self.assertEqual(len(mend.mend({"sda", "sdb"})), 2)
        self.assertTrue(self.all_sound())
        self.assertEqual(self.written, [("sda2", AT), ("sdb3", 0)])

    def test_nothing_is_written_on_trial(self):
        self.disks["sda"].put(1, b"damaged")
        self.disks["sda"].put(2, b"\0", AT)
        self.now = Running("b", NEW)
        self.assertIn("trial", mend.mend({"sda", "sdb"})[0])
        self.assertEqual((self.written, mend.problems({"sda", "sdb"})), ([], {}))

    def test_a_state_in_another_image_s_place_is_found(self):
        moved = self.right.esp_of(1).replace(bootstate.EMPTY, bytes(1024))
        at = 30 * 512
        moved = moved[:at] + bootstate.encode(state(gen="8")) + moved[at + 1024 :]
        self.disks["sda"].put(2, moved)
        self.assertEqual([one.gen for one in bootcode.states(self.right, self.disks["sda"].disk)], [-1, 8, 5])
        self.disks["sdb"].put(3, b"torn")
        mend.mend({"sda", "sdb"})
        for name, one in self.disks.items():
            self.assertEqual(bootstate.parse(one.all()[3][:1024]), state(gen="8"), name)
            self.assertEqual(bootstate.parse(one.all()[2][AT : AT + 1024]), state(gen="8"), name)

    def test_a_new_disk_gets_the_state_even_on_trial(self):
        self.now = Running("b", NEW)
        self.assertEqual(mend.state_for_new(self.right, self.disks["sda"].disk), STATE)


class PassedOver(unittest.TestCase):
    def setUp(self):
        self.disks = [disks.Disk(n, 1, 512, "M", f"S-{n}", {4: f"{n}4", 5: f"{n}5"}) for n in ("sda", "sdb")]

    def words(self, *skipped, state="in_sync"):
        members = (md.Member("sda4", "in_sync", 0, 0), md.Member("sdb4", state, 0, 1))
        array = md.Array("root-a", "md4", "", 2, 0 if state == "in_sync" else 1, "idle", 0, 0, 0, 0, 0, "idle", members)
        with (
            mock.patch.object(legs, "load", lambda: []),
            mock.patch.object(mirror, "leg_of", lambda known, one: legs.Leg(1, "", SERIALS[one.name], {})),
        ):
            return passed.words(Running("a", OLD, 0, skipped), [array], self.disks)

    def test_a_damaged_slot_of_one_disk_is_told_with_what_mends_it(self):
        ((key, text),) = self.words("hd1,gpt4,2222-2222,damaged").items()
        self.assertEqual(key, "mirror/passed/a/sdb")
        self.assertIn("slot a of /dev/sdb (M, serial S-sdb): its kernel or initrd is damaged", text)
        self.assertIn("mdadm --manage /dev/md4 --fail /dev/sdb4", text)

    def test_a_leg_that_is_old_anyway_is_not_told_twice(self):
        self.assertEqual(self.words("hd1,gpt4,2222-2222,id", state="spare"), {})

    def test_a_slot_that_no_disk_can_start(self):
        ((key, text),) = self.words("hd0,gpt5,1111-1111,id", "hd1,gpt5,2222-2222,id").items()
        self.assertEqual(key, "mirror/passed/b")
        self.assertIn("from any disk", text)
        self.assertNotIn("mdadm", text)

    def test_what_grub_does_not_know_is_told_as_it_is(self):
        ((_, text),) = self.words("hd1,gpt4,,damaged").items()
        self.assertIn("its disk hd1", text)
        self.assertEqual(self.words("nonsense", "", "hd1,gpt4", "hd1,gpt9,,id", "hd0,gpt4,zz,??"), {})


class Tables(unittest.TestCase):
    def test_each_copy_of_the_table_is_checked(self):
        sectors, entries = 2048, b"entries!" * 2048

        def header(own, at):
            head = b"EFI PART" + struct.pack("<IIIIQQ", 0x10000, 92, 0, 0, own, sectors - own) + bytes(32)
            head += struct.pack("<QIII", at, 128, 128, zlib.crc32(entries))
            return head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]

        whole = bytearray(sectors * 512)
        for own, at in ((1, 2), (sectors - 1, sectors - 33)):
            whole[own * 512 : own * 512 + 92] = header(own, at)
            whole[at * 512 : at * 512 + len(entries)] = entries
        with tempfile.NamedTemporaryFile() as file, mock.patch.object(system, "run"):
            disk = disks.Disk(f"..{file.name}", len(whole), 512, "", "", {})
            for at, found in [
                (None, []),
                (512, ["the partition table at its start"]),
                (512 + 56, ["the partition table at its start"]),
                (1024, ["the partition table at its start"]),
                (len(whole) - 512, ["the partition table at its end"]),
                (len(whole) - 1000, ["the partition table at its end"]),
            ]:
                bytes_ = bytearray(whole)
                if at is not None:
                    bytes_[at] ^= 1
                Path(file.name).write_bytes(bytes_)
                self.assertEqual(gpt.faults(disk), found, at)


if __name__ == "__main__":
    unittest.main()
