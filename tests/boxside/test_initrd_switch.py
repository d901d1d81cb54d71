"""src/image/initrd/switch.sh: the state fits the image that starts, whenever the power goes."""

import subprocess
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "src/image/initrd/switch.sh"
OLD, NEW = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"
PATHS = ("/var/lib/chat", "/var/lib/database")

# What the other parts of the initrd give. The power goes before the step (a rename or a copy of the switch) number CUT.
AROUND = """
say() { echo "$*"; }
fail() { echo "failed: $1"; exit 9; }
partition() { echo "$1$2"; }
sync() { :; }
steps=0
mv() { steps=$((steps + 1)); [ "$steps" != "$CUT" ] || exit 7; command mv "$@"; }
"""


def block(**state: str) -> str:
    return "# GRUB Environment Block\n" + "".join(f"{name}={value}\n" for name, value in sorted(state.items()))


class Box:
    """A data partition, and disks with a boot state."""

    def __init__(self, folder: str):
        self.root = Path(folder)
        self.state = self.root / "sysroot/state"
        self.own = self.state / ".chatimg"
        (self.own / "snapshots").mkdir(parents=True)
        (self.root / "dev").mkdir()
        self.disks: list[str] = []
        for path in PATHS:
            self.put(self.state, path, "now")

    def put(self, base: Path, path: str, text: str) -> None:
        folder = base / path[1:]
        folder.mkdir(parents=True)
        (folder / "data").write_text(text)

    def snapshot(self, name: str, text: str) -> None:
        for path in PATHS:
            self.put(self.own / "snapshots" / name / "state", path, text)
        (self.own / "snapshots" / name / "paths").write_text("".join(f"{path}\n" for path in PATHS))

    def switch(self, **values: str) -> None:
        whole = {"from": OLD, "to": NEW, "snapshot": "before", "restore": "", "touched": "no", "time": "77"} | values
        (self.own / "switch").write_text("".join(f"{name}={value}\n" for name, value in whole.items()))

    def disk(self, name: str, **values: str) -> None:
        whole = {"gen": "5", "good": "a", "try": "b", "left": "2", "next": "", "a": OLD, "b": NEW} | values
        (self.root / "dev" / f"{name}3").write_text(block(**whole).ljust(1024, "#"))
        if name not in self.disks:
            self.disks.append(name)

    def start(self, slot: str, cut: int = 0) -> subprocess.CompletedProcess:
        text = SCRIPT.read_text().replace("/sysroot", f"{self.root}/sysroot").replace('"/dev/', f'"{self.root}/dev/')
        image = {"a": OLD, "b": NEW}[slot]
        script = f"CUT={cut}\n{AROUND}\n{text}\ndisks='{' '.join(self.disks)}' slot={slot} id={image}\n"
        script += 'settle_switch\necho "trial=$trial steps=$steps"\n'
        return subprocess.run(["sh", "-u", "-c", script], capture_output=True, text=True, check=False)

    def data(self) -> list[str]:
        return [(self.state / path[1:] / "data").read_text() for path in PATHS]

    def touched(self) -> str:
        lines = (self.own / "switch").read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith("touched="))


class SwitchTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.box = Box(folder.name)

    def good(self, done: subprocess.CompletedProcess, trial: str = "") -> None:
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertIn(f"trial={trial} ", done.stdout)

    def test_nothing_happens_without_a_switch(self):
        self.box.disk("sda", **{"try": "", "left": "0"})
        self.good(self.box.start("a"))
        self.assertEqual(self.box.data(), ["now", "now"])

    def test_a_trial_is_known_by_the_newest_state(self):
        self.box.disk("sda", gen="9")
        self.box.disk("sdb", gen="10", good="b", **{"try": ""})
        self.good(self.box.start("b"))
        self.box.disk("sdb", gen="8", good="b", **{"try": ""})
        self.good(self.box.start("b"), trial="yes")
        self.box.disk("sda", gen="not a number")
        self.good(self.box.start("b"))

    def test_the_trial_notes_that_it_may_write(self):
        self.box.disk("sda")
        self.box.snapshot("before", "old")
        self.box.switch()
        self.good(self.box.start("b"), trial="yes")
        self.assertEqual((self.box.touched(), self.box.data()), ("yes", ["now", "now"]))

    def test_a_start_of_the_new_image_that_is_no_trial_notes_nothing(self):
        self.box.disk("sda", good="b", **{"try": ""})
        self.box.switch()
        self.good(self.box.start("b"))
        self.assertEqual(self.box.touched(), "no")

    def test_the_old_image_gets_its_data_back(self):
        self.box.disk("sda", left="0")
        self.box.snapshot("before", "old")
        self.box.switch(touched="yes")
        self.good(self.box.start("a"))
        self.assertEqual((self.box.touched(), self.box.data()), ("back", ["old", "old"]))
        aside = self.box.own / "aside/77-before/state/var/lib/chat/data"
        self.assertEqual(aside.read_text(), "now")
        self.good(self.box.start("a"))
        self.assertEqual(self.box.data(), ["old", "old"])

    def test_the_reserve_is_freed_before_anything_is_moved(self):
        self.box.disk("sda", left="0")
        self.box.snapshot("before", "old")
        self.box.switch(touched="yes")
        (self.box.own / "reserve").write_text("space")
        self.assertEqual(self.box.start("a", 1).returncode, 7)
        self.assertEqual(((self.box.own / "reserve").exists(), self.box.touched()), (False, "yes"))

    def test_a_rollback_cut_short_while_it_puts_data_back_is_undone_by_the_other_image(self):
        for cut in range(1, 12):
            with self.subTest(cut=cut), tempfile.TemporaryDirectory() as folder:
                box = Box(folder)
                box.disk("sda")
                box.snapshot("before", "now, as it was left")
                box.snapshot("restore-older", "older")
                box.switch(kind="rollback", restore="restore-older")
                done = box.start("b", cut)
                if done.returncode == 0:
                    self.assertEqual(box.data(), ["older", "older"])
                    break
                # Its tries are used up, or somebody chooses the other slot.
                box.disk("sda", left="0")
                self.good(box.start("a"))
                expected = "now" if box.touched() == "no" else "now, as it was left"
                self.assertEqual(box.data(), [expected, expected])
        self.assertGreater(cut, 5, "both folders went aside and came back, and two notes were made")

    def test_an_untouched_state_stays(self):
        self.box.disk("sda", left="0")
        self.box.snapshot("before", "old")
        self.box.switch()
        self.good(self.box.start("a"))
        self.assertEqual((self.box.touched(), self.box.data()), ("no", ["now", "now"]))

    def test_a_committed_image_keeps_its_data_even_if_the_old_one_starts(self):
        self.box.disk("sda", good="b", **{"try": ""})
        self.box.snapshot("before", "old")
        self.box.switch(touched="yes")
        self.good(self.box.start("a"))
        self.assertEqual(self.box.data(), ["now", "now"])

    def test_a_trial_that_is_over_is_not_begun_again(self):
        self.box.disk("sda")
        self.box.switch(touched="back")
        self.assertEqual(self.box.start("b").returncode, 9)

    def test_a_missing_snapshot_leaves_the_data_alone(self):
        self.box.disk("sda", left="0")
        self.box.switch(touched="yes")
        self.assertEqual(self.box.start("a").returncode, 9)
        self.assertEqual(self.box.data(), ["now", "now"])

    def cuts(self, slot: str, touched: str, steps: int) -> None:
        """Cuts the power before each step; the next start brings it to its end."""
        cut = 0
        while True:
            cut += 1
            with tempfile.TemporaryDirectory() as folder:
                box = Box(folder)
                box.disk("sda")
                box.snapshot("before", "old")
                box.switch(touched=touched, restore="before" if slot == "b" else "")
                first = box.start(slot, cut)
                self.assertIn(first.returncode, (0, 7), first.stderr)
                if slot == "a" and box.touched() != "yes":
                    # GRUB may have a try left, after a start by hand.
                    self.assertEqual(box.start("b").returncode, 9, cut)
                self.good(box.start(slot), trial="yes" if slot == "b" else "")
                self.assertEqual(box.data(), ["old", "old"], cut)
                aside = (box.own / "aside/77-before/state" / path[1:] / "data" for path in PATHS)
                self.assertEqual([one.read_text() for one in aside], ["now", "now"], cut)
                if first.returncode == 0:
                    break
        self.assertEqual(cut, steps)  # Two folders of two renames each, the notes, and none.

    def test_power_cuts_while_the_old_data_come_back(self):
        self.cuts("a", "yes", 7)

    def test_power_cuts_while_a_rollback_puts_data_in_place(self):
        self.cuts("b", "no", 7)


if __name__ == "__main__":
    unittest.main()
