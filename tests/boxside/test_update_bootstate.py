"""The boot state: its form, its copies, and which of them counts."""

import contextlib
import os
import unittest
from unittest import mock

from fakebox import ESP_AT, ID_A, ID_B, FakeBox

from chatimg_box.system import Trouble
from chatimg_update import bootstate, slots

# Of src/image/envblock.rs.
RUST = b"# GRUB Environment Block\na=0123456789abcdef\nb=none\ngen=1\ngood=a\nleft=0\nnext=\ntry=\n"
VALUES = {"gen": "1", "good": "a", "try": "", "left": "0", "next": "", "a": "0123456789abcdef", "b": "none"}


class Form(unittest.TestCase):
    def test_it_is_the_builder_s(self):
        block = bootstate.encode(VALUES)
        self.assertEqual(block, RUST.ljust(1024, b"#"))
        self.assertEqual(bootstate.parse(block), VALUES)

    def test_what_is_no_state_counts_as_none(self):
        signed = bootstate.SIGNATURE
        for bad in (b"", bytes(1024), b"#" * 1024, signed, signed + b"gen", signed + b"gen=1\ngood=$(reboot)\n",
                    signed + b"gen=1\ngood=c\n", signed + b"gen=x\ngood=a\n", signed + b"good=a\n",
                    signed + b"gen=1\ngood=a\n\xff", signed + b"=x\ngen=1\ngood=a\n", signed + b"gen=-1\ngood=a\n"):
            self.assertEqual(bootstate.parse(bad.ljust(1024, b"#")), {}, bad)

    def test_what_does_not_fit_a_sector_or_is_no_word_is_refused(self):
        for extra in ({"x": "y" * 500}, {"x": "two words"}, {"": "x"}, {"x": "a\nb"}):
            with self.assertRaises(Trouble):
                bootstate.encode(VALUES | extra)


class Single(FakeBox):
    def test_a_change_goes_to_both_copies(self):
        self.assertEqual(bootstate.change(self.box, {"try": "b", "b": ID_B, "left": "3"}), [])
        for device, at in self.copies():
            found = bootstate.parse(self.get(device, at, 1024))
            self.assertEqual((found["gen"], found["try"], found["b"], found["a"]), ("2", "b", ID_B, ID_A))
        # Nothing beside them.
        esp = self.get(self.box.at("/dev/sda2"), 0, 2 << 20)
        self.assertEqual(esp.replace(esp[ESP_AT : ESP_AT + 1024], b""), bytes((2 << 20) - 1024))
        self.assertFalse(any(self.get(self.box.at("/dev/sda3"), 1024, 4096)))

    def test_the_highest_gen_counts_by_number(self):
        for esp, raw, wanted in ((9, 10, "10"), (10, 9, "10"), (2, 2, "2")):
            for (device, at), gen in zip(self.copies(), (esp, raw), strict=True):
                self.put(device, at, bootstate.encode(VALUES | {"gen": str(gen)}))
            self.assertEqual(self.state()["gen"], wanted)

    def test_of_equals_the_one_that_grub_counted_in(self):
        (esp, at), (raw, start) = self.copies()
        for device, place, left in ((esp, at, "1"), (raw, start, "3")):
            self.put(device, place, bootstate.encode(VALUES | {"try": "b", "left": left}))
        self.assertEqual(self.state()["left"], "1")

    def test_a_damaged_copy_is_passed_over_and_made_whole(self):
        device, _ = self.copies()[1]
        self.put(device, 0, bytes(1024))
        self.assertEqual(self.state()["good"], "a")
        self.assertEqual(bootstate.change(self.box, {}), [])
        self.assertEqual(bootstate.parse(self.get(device, 0, 1024))["gen"], "2")

    def test_an_esp_without_a_state_is_told_and_stops_nothing(self):
        self.put(*self.copies()[0], bytes(1024))
        (failed,) = bootstate.change(self.box, {"good": "b"})
        self.assertIn("ESP", failed)
        self.assertEqual(self.state()["good"], "b")

    def test_none_that_can_be_read_or_written_is_trouble(self):
        for device, _ in self.copies():
            device.chmod(0o400)
        if os.geteuid():
            with self.assertRaisesRegex(Trouble, "can be written"):
                bootstate.change(self.box, {})
        for device, at in self.copies():
            device.chmod(0o600)
            self.put(device, at, bytes(1024))
        with self.assertRaisesRegex(Trouble, "can be read"):
            bootstate.change(self.box, {})

    def test_the_esp_s_copy_is_found_again_when_it_moved(self):
        self.state()
        device, at = self.copies()[0]
        block = self.get(device, at, 1024)
        self.put(device, at, bytes(1024))
        self.put(device, 512, block)
        self.assertEqual(bootstate.look(self.box)[1].at, 512)

    def test_a_device_that_gives_back_something_else_is_told(self):
        copy = bootstate.Copy(self.box.at("/dev/full"), 0, None)
        self.write("/dev/full", bytes(4096))
        real = bootstate.devices.poke
        bootstate.devices.poke = lambda *_: None
        self.addCleanup(setattr, bootstate.devices, "poke", real)
        self.assertIn("something else", bootstate.put(copy, bootstate.encode(VALUES)))

    def test_a_trial_is_a_try_that_is_not_good(self):
        for good, trying, wanted in (("b", "a", True), ("a", "a", False), ("b", "", False), ("b", "b", False)):
            self.assertEqual(bootstate.on_trial(self.box, {"good": good, "try": trying}), wanted)


class Mirror(FakeBox):
    RAID = "mirror"

    def test_all_four_copies_are_written(self):
        bootstate.change(self.box, {"good": "b"})
        blocks = {self.get(device, at, 1024) for device, at in self.copies()}
        self.assertEqual(len(blocks), 1)
        self.assertEqual(bootstate.parse(blocks.pop())["gen"], "2")

    def test_a_disk_that_was_away_has_an_old_state_and_catches_up(self):
        for device, at in self.copies()[:2]:
            self.put(device, at, bootstate.encode(VALUES | {"gen": "7", "good": "b", "b": ID_B}))
        bootstate.change(self.box, {"left": "1"})
        for device, at in self.copies():
            found = bootstate.parse(self.get(device, at, 1024))
            self.assertEqual((found["gen"], found["good"], found["left"]), ("8", "b", "1"))

    def test_a_disk_outside_the_mirror_is_left_alone(self):
        for number in (4, 5, 6):
            self.write(f"/sys/block/md{number}/md/dev-sdb{number}/state", "faulty\n")
        before = self.get(self.box.at("/dev/sdb3"), 0, 1024)
        self.assertEqual(slots.disks(self.box), ["sda"])
        bootstate.change(self.box, {"good": "b"})
        self.assertEqual(self.get(self.box.at("/dev/sdb3"), 0, 1024), before)

    def test_a_disk_that_went_dead_stops_nothing(self):
        os.unlink(self.box.at("/dev/sdb2"))
        os.unlink(self.box.at("/dev/sdb3"))
        self.assertEqual(len(bootstate.change(self.box, {"good": "b"})), 2)
        self.assertEqual(self.state()["good"], "b")

    def test_slots_are_arrays_read_back_from_legs_in_step(self):
        slot = slots.slot(self.box, "b")
        self.assertEqual([one.name for one in slot.legs], ["sda5", "sdb5"])
        self.assertEqual((slot.device.name, slot.capacity, slot.whole), ("md5", self.SLOT, True))
        self.write("/sys/block/md5/md/dev-sdb5/state", "spare\n")
        self.write("/sys/block/md5/md/degraded", "1\n")
        slot = slots.slot(self.box, "b")
        self.assertEqual(([one.name for one in slot.legs], slot.whole), (["sda5"], False))


    def test_the_copies_that_the_initrd_reads_come_first(self):
        written = []
        with mock.patch.object(bootstate, "put", lambda copy, _: written.append(copy.device.name) or ""):
            bootstate.change(self.box, {})
        self.assertEqual(written, ["sda3", "sdb3", "sda2", "sdb2"])

    def test_a_cut_between_two_copies_leaves_the_new_state(self):
        for cut in range(1, 5):
            self.set_state(VALUES | {"gen": str(10 * cut)})
            real, done = bootstate.put, []

            def put(copy, block):
                if len(done) == cut:
                    raise KeyboardInterrupt
                done.append(copy)
                return real(copy, block)

            with mock.patch.object(bootstate, "put", put), contextlib.suppress(KeyboardInterrupt):
                bootstate.change(self.box, {"good": "b"})
            self.assertEqual((self.state()["good"], self.state()["gen"]), ("b", str(10 * cut + 1)))


class SingleSlot(FakeBox):
    def test_the_end_of_a_slot_stays_free_as_on_a_mirror(self):
        slot = slots.slot(self.box, "b")
        self.assertEqual((slot.device.name, slot.capacity), ("sda5", self.SLOT - (1 << 20)))
        self.assertEqual(slot.legs, (slot.device,))


if __name__ == "__main__":
    unittest.main()
