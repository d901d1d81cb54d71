"""Snapshots, the switch, the trial and its verdict, and what follows."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest
from unittest import mock

from fakebox import ID_A, ID_B, ID_C, FakeBox

from chatimg_box import system
from chatimg_box.system import Trouble
from chatimg_update import bootstate, checks, gate, history, journal, settle, snapshot, switch, trial
from chatimg_update.switch import Job

UPDATE = Job(ID_B, "b", "gate", "update")
RULES = "state /var/lib/db\nstate /var/lib/db/inner\nstate /var/lib/chat\nunit db.service\nunit chat.service\n"


class SwitchBox(FakeBox):
    """Two services, a database and some media; `cp --reflink` copies plainly."""

    def setUp(self):
        super().setUp()
        self.box.prepare()
        self.write("/usr/lib/chatimg/rollback", RULES)
        self.write("/state/var/lib/db/main", "old data", 0o600)
        self.write("/state/var/lib/db/inner/x", "inner")
        self.write("/state/var/lib/chat/media/picture", b"x" * 50_000)
        self.running = {"db.service", "chat.service", "needs-db.service", "ssh.service"}
        self.commands.answers = {"systemctl list-units": self.units, "systemctl stop": self.stop, "cp": self.copy}
        self.told = []
        patch = mock.patch.object(system, "tell", lambda subject, body, **_: self.told.append(f"{subject}\n{body}"))
        patch.start()
        self.addCleanup(patch.stop)

    def units(self, *_):
        return "".join(f"{unit} loaded active running\n" for unit in sorted(self.running))

    def stop(self, *command):
        self.running -= {*command[2:], "needs-db.service"}
        return ""

    @staticmethod
    def copy(*command):
        assert command[:4] == ("cp", "--archive", "--reflink=always", "--"), command
        subprocess.run(["cp", "-a", *command[4:]], check=True)
        return ""

    def tree(self):
        """Everything kept, but folders of locks and logs."""
        return {str(path.relative_to(self.root)) for path in self.box.kept.rglob("*") if path.is_file()}

    def starts_b(self, **state):
        """The next start, of slot b."""
        found = self.state() | {"left": "2"} | state
        self.set_state(found | {"gen": str(int(found["gen"]) + 1)})
        self.starts("b", ID_B)
        shutil.rmtree(self.box.run)
        self.box.run.mkdir()
        self.clock += 60

    def starts_a(self, **state):
        self.starts_b(**state)
        self.starts("a", ID_A)


class Snapshots(SwitchBox):
    def test_it_holds_all_that_goes_back(self):
        services = snapshot.Services(self.box)
        services.stop()
        name = snapshot.take(self.box, "test")
        self.assertEqual(name, f"1000000-{ID_A}")
        folder = self.box.kept / "snapshots" / name
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        state = {"state/var/lib/db/main", "state/var/lib/db/inner/x", "state/var/lib/chat/media/picture"}
        self.assertEqual(files, state | {"snapshot.json", "paths"})
        self.assertEqual((folder / "paths").read_text(), "/var/lib/chat\n/var/lib/db\n")
        self.assertEqual((folder / "state/var/lib/db/main").stat().st_mode & 0o777, 0o600)
        about = json.loads((folder / "snapshot.json").read_text())
        self.assertEqual((about["image"], about["why"]), (ID_A, "test"))
        self.assertEqual(self.box.kept.stat().st_mode & 0o777, 0o700)
        # Synced before it gets its name.
        self.assertTrue(self.commands.called("sync --file-system"))
        with self.assertRaisesRegex(Trouble, "clock"):
            snapshot.take(self.box, "again")

    def test_a_path_that_is_not_there_yet_is_passed_over(self):
        shutil.rmtree(self.root / "state/var/lib/chat")
        name = snapshot.take(self.box, "test")
        self.assertEqual((self.box.kept / "snapshots" / name / "paths").read_text(), "/var/lib/db\n")

    def test_a_file_system_without_reflinks_is_refused_and_leaves_nothing(self):
        del self.commands.answers["cp"]
        self.commands.answers["cp"] = lambda *command: system.run(*command)
        source = self.root / "state/var/lib/db/main"
        done = subprocess.run(["cp", "--reflink=always", source, self.root / "copy"], capture_output=True)
        if done.returncode == 0:
            self.skipTest("this file system has reflinks")
        with self.assertRaisesRegex(Trouble, "cannot be copied"):
            snapshot.take(self.box, "test")
        self.assertEqual(list((self.box.kept / "snapshots").iterdir()), [])

    def test_what_a_cut_left_is_no_snapshot_and_goes(self):
        (self.box.kept / "snapshots/new/state").mkdir(parents=True)
        self.write(f"/state/.chatimg/snapshots/1-{ID_B}/state/x", "no description")
        self.assertEqual(snapshot.all_of(self.box), [])
        snapshot.take(self.box, "test")
        self.assertFalse((self.box.kept / "snapshots/new").exists())
        snapshot.prune(self.box, set(), set())
        self.assertEqual(len(list((self.box.kept / "snapshots").iterdir())), 1)

    def writer(self, pid, path, flags="0100002", maps=""):
        folder = f"/proc/{pid}"
        self.write(f"{folder}/comm", "psql\n")
        self.write(f"{folder}/fdinfo/3", f"pos:\t0\nflags:\t{flags}\n")
        self.write(f"{folder}/maps", maps)
        self.box.at(f"{folder}/fd").mkdir(parents=True, exist_ok=True)
        os.symlink(path, self.box.at(f"{folder}/fd/3"))

    def test_who_writes_into_the_state_is_named(self):
        self.writer(7, "/var/lib/db/main", "0100000")
        self.writer(8, "/var/lib/dbx/main")
        self.writer(9, "/var/log/x", maps="7f-80 r--s 0 08:06 5  /var/lib/db/main\n8-9 rw-p 0 08:06 5  /var/lib/db/main\n")
        self.assertEqual(snapshot.writers(self.box, snapshot.rules(self.box).paths), [])
        for pid, path, flags, maps in [
            (10, "/var/lib/db/main", "0100001", ""),
            (11, "/state/var/lib/chat/x (deleted)", "0100002", ""),
            (12, "/dev/null", "0", "7f-80 rw-s 00000000 08:06 5    /var/lib/db/shared mem\n"),
        ]:
            self.writer(pid, path, flags, maps)
            with self.assertRaisesRegex(Trouble, rf"^psql \({pid}\) writes into"):
                snapshot.take(self.box, "test", patience=0)
            shutil.rmtree(self.box.at(f"/proc/{pid}"))

    def room(self, **found):
        values = {"f_frsize": 4096, "f_bavail": 10**9, "f_favail": 10**9} | found
        return lambda path: mock.Mock(**values)

    def test_room_is_asked_for_beforehand(self):
        snapshot.check_room(self.box, room=self.room())
        needed = snapshot.SPARE // 4096
        with self.assertRaisesRegex(Trouble, "data partition has .* free"):
            snapshot.check_room(self.box, room=self.room(f_bavail=needed))
        # The database and a little for each file; media do not count.
        snapshot.check_room(self.box, room=self.room(f_bavail=needed + 20))
        self.write("/state/var/lib/db/big", b"x" * 200_000)
        with self.assertRaisesRegex(Trouble, "data partition has .* free"):
            snapshot.check_room(self.box, room=self.room(f_bavail=needed + 20))
        with self.assertRaisesRegex(Trouble, "more files"):
            snapshot.check_room(self.box, room=self.room(f_favail=snapshot.SPARE_FILES))
        small = lambda path: mock.Mock(f_frsize=4096, f_favail=10**9, f_bavail=10 if "run" in str(path) else 10**9)
        with self.assertRaisesRegex(Trouble, "/run has"):
            snapshot.check_room(self.box, room=small)

    def test_one_that_was_used_up_is_none(self):
        self.snapshot(5, ID_B)
        self.assertEqual(snapshot.left_by(self.box, ID_B).name, f"5-{ID_B}")
        shutil.rmtree(self.box.kept / f"snapshots/5-{ID_B}/state/var/lib/db")
        self.assertIsNone(snapshot.left_by(self.box, ID_B))
        snapshot.sweep(self.box, {f"5-{ID_B}"})
        self.assertTrue((self.box.kept / f"snapshots/5-{ID_B}").exists())
        snapshot.sweep(self.box, set())
        self.assertFalse((self.box.kept / f"snapshots/5-{ID_B}").exists())

    def test_old_ones_go_but_not_those_that_are_needed(self):
        for number, image in enumerate([ID_A, ID_C, ID_A, ID_B, ID_B, ID_B], 1):
            self.snapshot(number, image)
        for name in ("1-x", "2-x"):
            self.write(f"/state/.chatimg/aside/{name}/state/x", "x")
        snapshot.prune(self.box, {ID_A, ID_B}, {f"2-{ID_C}"})
        self.assertEqual([one.name for one in snapshot.all_of(self.box)], [f"2-{ID_C}", f"3-{ID_A}", f"5-{ID_B}", f"6-{ID_B}"])
        self.assertFalse((self.box.kept / "aside").exists())
        snapshot.prune(self.box, set(), set())
        self.assertEqual(len(snapshot.all_of(self.box)), 2)


class Switches(SwitchBox):
    def test_services_stop_then_all_is_written_then_one_write_makes_it_a_trial(self):
        switch.perform(self.box, UPDATE)
        found = switch.read(self.box)
        wanted = {"from": ID_A, "to": ID_B, "snapshot": f"1000000-{ID_A}", "restore": "", "touched": "no", "guard": "gate",
                  "kind": "update", "time": "1000000", "down-since": "1000000"}
        self.assertEqual(found, wanted)
        state = self.state()
        self.assertEqual((state["try"], state["left"], state["b"], state["good"], state["gen"]), ("b", "3", ID_B, "a", "2"))
        self.assertEqual(self.running, {"ssh.service"})
        self.assertEqual(self.commands.called("systemctl start"), [])
        self.assertEqual([one["event"] for one in history.events(self.box)], ["switched"])
        # What the image that is left reads and writes is known afterwards.
        self.assertIn("formats", self.box.json(self.box.kept / f"images/{ID_A}.json"))

    def fails_at(self, name):
        """As it was before, whatever step fails."""
        before = self.state()
        with mock.patch.object(*name, side_effect=Trouble("broken")), self.assertRaisesRegex(Trouble, "broken"):
            switch.perform(self.box, UPDATE)
        self.assertEqual(switch.read(self.box), {})
        self.assertEqual(self.state(), before)
        self.assertEqual(self.commands.called("systemctl start"),
                         ["systemctl start --no-block chat.service db.service needs-db.service"])

    def test_services_start_again_if_the_snapshot_fails(self):
        self.fails_at((snapshot, "take"))

    def test_services_start_again_if_the_switch_cannot_be_written(self):
        self.fails_at((switch, "write"))

    def test_services_start_again_if_no_boot_state_can_be_written(self):
        self.fails_at((bootstate, "change"))

    def test_services_start_again_if_stopping_fails(self):
        self.commands.answers["systemctl stop"] = mock.Mock(side_effect=Trouble("hangs"))
        with self.assertRaisesRegex(Trouble, "hangs"):
            switch.perform(self.box, UPDATE)
        self.assertEqual(self.commands.called("systemctl start"), ["systemctl start --no-block chat.service db.service"])

    def test_services_start_again_if_somebody_ends_the_program(self):
        with mock.patch.object(snapshot, "take", side_effect=SystemExit(143)), self.assertRaises(SystemExit):
            switch.perform(self.box, UPDATE)
        self.assertTrue(self.commands.called("systemctl start"))
        self.assertEqual(self.state()["try"], "")

    def test_a_write_that_came_through_although_it_failed_leads_on(self):
        real = bootstate.change

        def change(box, values, strict=False):
            if strict:
                real(box, values)
            raise Trouble("no answer")

        with mock.patch.object(bootstate, "change", change), contextlib.redirect_stdout(io.StringIO()):
            switch.perform(self.box, UPDATE)
        self.assertEqual(switch.read(self.box)["to"], ID_B)
        self.assertEqual(self.commands.called("systemctl start"), [])

    def test_a_write_that_came_through_although_it_failed_is_taken_back_if_it_can_be(self):
        real = bootstate.change

        def change(box, values, strict=False):
            real(box, values)
            if strict:
                raise Trouble("no answer")

        with mock.patch.object(bootstate, "change", change), self.assertRaisesRegex(Trouble, "no answer"):
            switch.perform(self.box, UPDATE)
        self.assertEqual((switch.read(self.box), self.state()["try"]), ({}, ""))
        self.assertTrue(self.commands.called("systemctl start"))

    def test_no_trial_begins_that_the_initrd_would_not_know_of(self):
        real = bootstate.put

        def put(copy, block):
            return real(copy, block) if copy.esp else "sda3: broken"

        with mock.patch.object(bootstate, "put", put), self.assertRaisesRegex(Trouble, "that the initrd reads.*sda3"):
            switch.perform(self.box, UPDATE)
        self.assertEqual((self.state()["try"], self.state()["gen"]), ("", "1"))

    def test_nothing_ends_the_program_between_the_note_and_the_boot_state(self):
        real = bootstate.change

        def change(*args, **more):
            os.kill(os.getpid(), signal.SIGTERM)
            return real(*args, **more)

        old = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.addCleanup(signal.signal, signal.SIGTERM, old)
        with mock.patch.object(bootstate, "change", change):
            switch.perform(self.box, UPDATE)
        self.assertEqual((switch.read(self.box)["to"], self.state()["try"]), (ID_B, "b"))

    def test_space_is_kept_for_the_way_back(self):
        switch.perform(self.box, UPDATE)
        self.assertEqual((self.box.kept / "reserve").stat().st_blocks * 512, switch.RESERVE)
        self.starts_b(**{"good": "b", "try": "", "left": "0"})
        settle.settle(self.box)
        self.assertFalse((self.box.kept / "reserve").exists())

    def test_a_snapshot_that_is_to_be_put_back_is_copied_for_that(self):
        self.snapshot(5, ID_B)
        switch.perform(self.box, Job(ID_B, "b", "gate", "rollback", f"5-{ID_B}"))
        name = switch.read(self.box)["restore"]
        self.assertEqual(name, f"restore-5-{ID_B}")
        folder = self.box.kept / "snapshots"
        self.assertEqual((folder / name / "state/var/lib/db/main").read_text(), "data of 5")
        self.assertEqual((folder / name / "paths").read_text(), "/var/lib/db\n")
        # What is under way is never swept away, and the snapshot itself stays one.
        snapshot.prune(self.box, *switch.kept(self.box))
        self.assertTrue((folder / name).exists())
        self.assertEqual(snapshot.left_by(self.box, ID_B).name, f"5-{ID_B}")
        self.starts_b(**{"good": "b", "try": "", "left": "0"})
        settle.settle(self.box)
        self.assertFalse((folder / name).exists())

    def test_values_that_the_initrd_could_misread_are_refused(self):
        for values in ({"to": "a b"}, {"to": "x\ny"}, {"TO": "x"}, {"to": "$(reboot)"}):
            with self.assertRaises(Trouble):
                switch.write(self.box, values)

    def test_a_planned_switch_that_fails_is_told(self):
        switch.plan(self.box, UPDATE, int(self.clock) + 60)
        with mock.patch.object(snapshot, "take", side_effect=Trouble("broken")), self.assertRaises(Trouble):
            switch.perform_planned(self.box)
        self.assertIn("was not done", self.told[0])
        self.assertIsNone(switch.planned(self.box))
        switch.plan(self.box, UPDATE, int(self.clock) + 60)
        switch.perform_planned(self.box)
        self.assertEqual(self.commands.calls[-1], "systemctl --no-block reboot")
        with self.assertRaises(Trouble):
            switch.perform_planned(self.box)

    def test_back_with_the_data_or_without(self):
        with self.assertRaisesRegex(Trouble, "nothing to go back to"):
            switch.back(self.box, True, "gate")
        bootstate.change(self.box, {"b": ID_B})
        with self.assertRaisesRegex(Trouble, "no snapshot"):
            switch.back(self.box, True, "gate")
        for number in (5, 7):
            self.snapshot(number, ID_B)
        self.assertEqual(switch.back(self.box, True, "login"), Job(ID_B, "b", "login", "rollback", f"7-{ID_B}"))
        with self.assertRaisesRegex(Trouble, "not known"):
            switch.back(self.box, False, "gate")
        for version, good in (("1.98.0", True), ("1.97.9", False), ("1.142.0", True)):
            about = {"formats": {"matrix-synapse": [version, "1.0"]}}
            self.write(f"/state/.chatimg/images/{ID_B}.json", json.dumps(about))
            if good:
                self.assertEqual(switch.back(self.box, False, "gate"), Job(ID_B, "b", "gate", "rollback"))
            else:
                with self.assertRaisesRegex(Trouble, "could not read the data"):
                    switch.back(self.box, False, "gate")


PORTS = "tcp 22 ssh ssh\ntcp 443 nginx HTTPS\ntcp 80 nginx HTTP, redirects\nudp 3478 turn TURN\nnonsense\ntcp x y z\n"
PORTS += "udp 49152-49407 turn relayed media\nudp 5-x turn nonsense\nudp 9-10-11 turn nonsense\n"
CLOSED = ["tcp dport 80", "tcp dport 443", "udp dport 3478", "udp dport 49152-49407"]


class Trials(SwitchBox):
    def setUp(self):
        super().setUp()
        self.write("/usr/lib/chatimg/ports", PORTS)

    def test_only_a_trial_closes_the_ports(self):
        self.assertFalse(trial.begin(self.box))
        self.assertFalse(self.box.trial.exists())
        switch.perform(self.box, UPDATE)
        self.assertFalse(trial.begin(self.box))
        self.starts_b()
        self.assertTrue(trial.begin(self.box))
        self.assertTrue(self.box.trial.exists())
        rules = (self.box.run / "nftables/trial.nft").read_text()
        drops = [line.strip() for line in rules.splitlines() if "dport" in line]
        self.assertEqual(drops, [f"{port} drop" for port in CLOSED])
        self.assertLess(rules.index("iif lo accept"), rules.index("drop"))
        self.assertIn("type filter hook input priority -10; policy accept;", rules)
        if shutil.which("nft"):
            subprocess.run(["nft", "--check", "--file", self.box.run / "nftables/trial.nft"], check=True)

    def test_ports_open_by_another_way_if_one_fails(self):
        self.write("/run/chatimg/nftables/trial.nft", "x")
        self.write("/run/chatimg/trial", "{}")
        self.commands.answers["nft"] = mock.Mock(side_effect=Trouble("no"))
        self.assertEqual(trial.end(self.box), "")
        self.assertEqual(self.commands.calls[-1], "systemctl reload-or-restart nftables.service")
        self.assertFalse(self.box.trial.exists())
        self.assertFalse((self.box.run / "nftables/trial.nft").exists())


class Gates(SwitchBox):
    def setUp(self):
        super().setUp()
        self.waited = 0.0
        patch = mock.patch.object(journal, "said", lambda *_: b"the journal")
        patch.start()
        self.addCleanup(patch.stop)

    def sleep(self, seconds):
        self.waited += seconds
        self.clock += seconds

    def judge(self, look, guard="gate"):
        switch.perform(self.box, Job(ID_B, "b", guard, "update"))
        self.starts_b()
        trial.begin(self.box)
        self.commands.calls.clear()
        found = gate.Gate(self.box, look, self.sleep, lambda: self.waited)
        with contextlib.redirect_stdout(io.StringIO()):
            return found.run()

    def test_all_holds_so_it_stays(self):
        guard = subprocess.Popen(["sleep", "60"])
        self.addCleanup(guard.kill)

        def look(_until):
            self.write("/run/chatimg/guard.pid", f"{guard.pid}\n")
            return {} if self.waited >= 20 else {"chat/answers": "not yet"}

        self.assertTrue(self.judge(look))
        state = self.state()
        self.assertEqual((state["good"], state["try"], state["left"]), ("b", "", "0"))
        self.assertEqual(guard.wait(5), -signal.SIGKILL)
        self.assertEqual(self.commands.called("nft"), ["nft delete table inet chatimg_trial"])
        self.assertFalse(self.box.trial.exists())
        self.assertFalse((self.box.kept / "switch").exists())
        event = history.events(self.box)[-1]
        # A minute for the start, and 20 s until all held.
        self.assertEqual((event["event"], event["from"], event["to"], event["down"]), ("committed", ID_A, ID_B, 80))
        self.assertEqual(self.commands.called("systemctl"), ["systemctl --no-block restart chatimg-mirror.service"])
        self.assertEqual(self.told, [])

    def test_a_firewall_that_fails_later_does_not_restart_the_machine(self):
        rule = self.write("/run/systemd/system/nftables.service.d/chatimg-trial.conf", "[Unit]\nFailureAction=reboot-force\n")
        self.assertTrue(self.judge(lambda _: {}))
        self.assertFalse(rule.exists())
        self.assertEqual(self.commands.called("systemctl")[0], "systemctl daemon-reload")

    def test_what_never_holds_leads_back(self):
        looks = []
        self.assertFalse(self.judge(lambda until: looks.append(until) or {"chat/answers": "502", "db.service": "failed"}))
        self.assertEqual(self.waited, gate.CHECKS + gate.FORCE)
        self.assertEqual(set(looks), {gate.CHECKS})
        state = self.state()
        self.assertEqual((state["good"], state["try"]), ("a", ""))
        reasons = self.box.json(self.box.kept / "trial.json")
        self.assertEqual((reasons["verdict"], reasons["reasons"]), ("failed", ["chat/answers: 502", "db.service: failed"]))
        self.assertEqual(len(list((self.box.kept / "failed").glob(f"*-{ID_B}.log"))), 1)
        wanted = ["systemctl --no-block reboot", "systemctl --force --force reboot", "reboot -f"]
        self.assertEqual([one for one in self.commands.calls if "reboot" in one], wanted)
        # What goes back must still know what to put back.
        self.assertEqual(switch.read(self.box)["snapshot"], f"1000000-{ID_A}")
        self.assertTrue(self.box.trial.exists())

    def test_it_goes_back_however_much_else_fails(self):
        self.commands.answers["systemctl --no-block reboot"] = mock.Mock(side_effect=Trouble("no"))
        with mock.patch.object(journal, "keep", side_effect=OSError("full")), \
                mock.patch.object(gate.Gate, "note", side_effect=OSError("full")):  # fmt: skip
            self.assertFalse(self.judge(lambda _: {}))
        self.assertEqual(self.state()["try"], "")
        self.assertEqual(self.commands.called("systemctl --force"), ["systemctl --force --force reboot"])

    def test_a_look_that_breaks_leads_back(self):
        self.assertFalse(self.judge(mock.Mock(side_effect=ZeroDivisionError)))
        self.assertIn("ZeroDivisionError", str(self.box.json(self.box.kept / "trial.json")))

    def test_a_boot_state_that_cannot_be_written_is_no_commit(self):
        real = bootstate.change

        def change(box, values, strict=False):
            if values.get("good"):
                raise Trouble("no copy can be written")
            return real(box, values, strict)

        with mock.patch.object(bootstate, "change", change):
            self.assertFalse(self.judge(lambda _: {}))
        self.assertTrue((self.box.kept / "switch").exists())
        self.assertEqual(self.commands.called("nft"), [])

    def test_somebody_has_to_confirm(self):
        self.assertFalse(self.judge(lambda _: {}, "login"))
        self.assertEqual(self.waited, gate.CONFIRM + gate.FORCE)
        self.assertIn("nobody confirmed", str(self.box.json(self.box.kept / "trial.json")))

    def test_somebody_confirms(self):
        def look(_until):
            self.write("/run/chatimg/confirmed", ID_B)
            return {}

        self.assertTrue(self.judge(look, "login"))
        self.assertEqual([one["event"] for one in history.events(self.box)], ["switched", "confirmed", "committed"])

    def test_a_confirmation_of_another_image_is_none(self):
        def look(_until):
            self.write("/run/chatimg/confirmed", ID_C)
            return {}

        self.assertFalse(self.judge(look, "login"))

    def test_the_verdict_comes_before_the_guard_s(self):
        self.assertFalse(self.judge(lambda _: {} if self.waited > 590 else {"x": "y"}, "login"))
        self.assertLessEqual(self.waited - gate.FORCE, 1200 - 60)

    def test_a_trial_that_nobody_wrote_down_is_judged_all_the_same(self):
        bootstate.change(self.box, {"try": "b", "b": ID_B, "left": "3"})
        self.starts_b()
        trial.begin(self.box)
        self.assertTrue(gate.Gate(self.box, lambda _: {}, self.sleep, lambda: self.waited).run())
        self.assertEqual(self.state()["good"], "b")

    def test_what_fails_after_the_commit_is_finished_at_the_next_start(self):
        with mock.patch.object(settle, "committed", side_effect=OSError("full")):
            self.assertTrue(self.judge(lambda _: {}))
        self.assertTrue((self.box.kept / "switch").exists())
        self.assertIn("proved itself", settle.settle(self.box))
        self.assertFalse((self.box.kept / "switch").exists())
        self.assertEqual(history.events(self.box)[-1]["event"], "committed")


class Settles(SwitchBox):
    def setUp(self):
        super().setUp()
        for name, value in (("said", b"the journal\n"), ("boots_since", ["x", "y"])):
            patch = mock.patch.object(journal, name, lambda *_, value=value: value)
            patch.start()
            self.addCleanup(patch.stop)
        switch.perform(self.box, UPDATE)

    def back(self, words, **state):
        self.starts_a(**state)
        self.assertIn("failed", settle.settle(self.box))
        event = history.events(self.box)[-1]
        self.assertEqual((event["event"], event["to"]), ("failed", ID_B))
        self.assertRegex(event["reason"], words)
        self.assertRegex(self.told[0], words)
        self.assertEqual((self.state()["try"], self.state()["good"]), ("", "a"))
        self.assertEqual(switch.read(self.box), {})
        # Once is enough.
        self.assertIn("nothing", settle.settle(self.box))
        self.assertEqual(len(self.told), 1)

    def test_three_starts_that_hung(self):
        self.back("three starts", left="0")
        (kept,) = (self.box.kept / "failed").iterdir()
        self.assertEqual(kept.read_text(), "the journal\n\nthe journal\n")

    def test_a_slot_that_grub_refused(self):
        self.back("GRUB did not start it", left="2")

    def test_a_cut_before_the_restart(self):
        self.back("power went", **{"try": "", "left": "0", "b": "none"})

    def test_the_gate_s_verdict_is_told(self):
        about = {"image": ID_B, "verdict": "failed", "reasons": ["chat/answers: 502"], "switch": "1000000"}
        self.write("/state/.chatimg/trial.json", json.dumps(about))
        self.write(f"/state/.chatimg/failed/1000100-{ID_B}.log", "kept by the gate")
        os.utime(self.box.kept / f"failed/1000100-{ID_B}.log", (2e6, 2e6))
        self.back("chat/answers: 502", **{"try": "", "left": "0"})
        self.assertEqual(len(list((self.box.kept / "failed").iterdir())), 1)

    def test_the_verdict_of_an_earlier_switch_is_not_believed(self):
        about = {"image": ID_B, "verdict": "failed", "reasons": ["old"], "switch": "999"}
        self.write("/state/.chatimg/trial.json", json.dumps(about))
        self.back("three starts", left="0")

    def test_state_that_was_not_put_back_is_no_end(self):
        self.starts_a(left="0")
        switch.write(self.box, switch.read(self.box) | {"touched": "yes"})
        with self.assertRaisesRegex(Trouble, "not put back"):
            settle.settle(self.box)
        self.assertTrue((self.box.kept / "switch").exists())

    def test_state_that_was_put_back_is_told_and_its_snapshot_is_used_up(self):
        name = switch.read(self.box)["snapshot"]
        switch.write(self.box, switch.read(self.box) | {"touched": "back"})
        shutil.rmtree(self.box.kept / "snapshots" / name / "state/var/lib/db")
        self.back("three starts", left="0")
        self.assertIn("data are those from before", self.told[0])
        self.assertEqual(list((self.box.kept / "snapshots").iterdir()), [])

    def test_a_full_disk_does_not_keep_the_box_from_being_done(self):
        for name in (history, "add"), (journal, "keep"), (system, "tell"):
            patch = mock.patch.object(*name, side_effect=OSError(28, "No space left on device"))
            patch.start()
            self.addCleanup(patch.stop)
        switch.write(self.box, switch.read(self.box) | {"touched": "back"})
        self.write("/state/.chatimg/aside/1000000-x/state/var/lib/db/huge", "fills it")
        self.starts_a(left="0")
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertIn("failed", settle.settle(self.box))
        self.assertEqual(switch.read(self.box), {})
        self.assertFalse((self.box.kept / "aside").exists())

    def test_a_cut_after_the_commit(self):
        self.starts_b(**{"good": "b", "try": "", "left": "0"})
        for _ in range(2):
            settle.settle(self.box)
        self.assertEqual([one["event"] for one in history.events(self.box)], ["switched", "committed"])
        self.assertEqual(self.told, [])

    def test_a_rollback_says_so(self):
        switch.write(self.box, switch.read(self.box) | {"kind": "rollback"})
        self.starts_b(**{"good": "b", "try": "", "left": "0"})
        settle.settle(self.box)
        self.assertEqual(history.events(self.box)[-1]["event"], "rolled-back")

    def test_a_trial_is_the_gate_s(self):
        self.starts_b()
        self.assertIn("nothing", settle.settle(self.box))
        self.assertTrue((self.box.kept / "switch").exists())

    def test_a_slot_that_was_started_by_hand_decides_nothing(self):
        self.starts_b(**{"try": "", "left": "0"})
        self.assertIn("by hand", settle.settle(self.box))
        self.assertTrue((self.box.kept / "switch").exists())


class Checks(FakeBox):
    def lines(self, *lines):
        self.write("/usr/lib/chatimg/health", "".join(f"{line}\n" for line in lines))
        return checks.load(self.box)

    def look(self, *lines, seconds=5, says=dict):
        return checks.look(self.lines(*lines), time.monotonic() + seconds, says)

    def test_lines_are_read_as_compose_writes_them(self):
        found = self.lines("nginx/answers 60 command\tcurl --fail https://127.0.0.1/", "a/b 5 unit\tx.service", "nonsense")
        self.assertEqual(found[0], checks.Check("nginx/answers", 60.0, "command", "curl --fail https://127.0.0.1/"))
        self.assertEqual([one.kind for one in found], ["command", "unit", "unknown"])

    def test_commands(self):
        wrong = self.look("a/good 5 command\ttrue", "a/bad 5 command\techo no; exit 3", "a/none 5 command\tno-such-program")
        self.assertEqual(set(wrong), {"a/bad", "a/none"})
        self.assertEqual(wrong["a/bad"], "exit status 3: no")

    def test_a_command_that_takes_too_long_leaves_nothing_behind(self):
        self.look(f"a/x 1 command\tsleep 100 & echo $! >{self.root}/pid; wait", f"a/y 5 command\tsleep 100 & echo $! >{self.root}/pid2")
        time.sleep(0.2)
        for name in ("pid", "pid2"):
            pid = int((self.root / name).read_text())
            status = system.read(f"/proc/{pid}/stat")
            self.assertTrue(not status or status.rpartition(")")[2].split()[0] == "Z", name)

    def test_nothing_hangs(self):
        begun = time.monotonic()
        wrong = self.look("a/slow 1 command\tsleep 100 & sleep 100", "a/late 100 command\tsleep 100", seconds=2)
        self.assertLess(time.monotonic() - begun, 6)
        self.assertEqual(wrong["a/slow"], "took longer than 1 s")
        self.assertIn("took longer", wrong["a/late"])
        with mock.patch.dict(checks.KINDS, {"tcp": lambda *_: time.sleep(20) or ""}):
            begun = time.monotonic()
            self.assertEqual(self.look("a/x 100 tcp\tx:1", seconds=1), {"a/x": "hangs"})
            self.assertLess(time.monotonic() - begun, 6)

    def test_ports_and_pages(self):
        import http.server
        import threading

        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path == "/good" else 503)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        lines = [f"a/tcp 5 tcp\t127.0.0.1:{port}", f"a/good 5 http\thttp://127.0.0.1:{port}/good"]
        self.assertEqual(self.look(*lines), {})
        wrong = self.look(*lines, f"a/bad 5 http\thttp://127.0.0.1:{port}/bad", "a/none 5 unknown\tx")
        self.assertEqual(set(wrong), {"a/bad", "a/none"})
        self.assertIn("503", wrong["a/bad"])
        server.shutdown()
        server.server_close()
        self.assertEqual(set(self.look(*lines)), {"a/tcp", "a/good"})

    def test_commands_wait_for_the_rest(self):
        mark = self.root / "mark"
        line = f"a/x 5 command\ttouch {mark}"
        self.assertEqual(self.look(line, says=lambda: {"x.service": "failed"}), {"x.service": "failed"})
        self.assertFalse(mark.exists())
        self.assertEqual(self.look(line), {})
        self.assertTrue(mark.exists())

    def test_what_systemd_says(self):
        said = {}
        with mock.patch.object(checks, "run", lambda command, _seconds: said[command[1]]):
            said |= {"--failed": (0, ""), "is-system-running": (0, "running"), "list-jobs": (0, "")}
            self.assertEqual(checks.systemd(), {})
            said["--failed"] = (0, "x.service loaded failed failed See y.service\n")
            self.assertEqual(checks.systemd(), {"x.service": "failed"})
            said |= {"--failed": (0, ""), "is-system-running": (1, "starting")}
            said["list-jobs"] = (0, "7 slow.service start running\n8 multi-user.target start waiting\n")
            self.assertEqual(checks.systemd(), {"slow.service": "is not up yet"})
            said["list-jobs"] = (0, "")
            self.assertEqual(checks.systemd(), {"systemd": "the system is starting"})
            said["--failed"] = (None, "")
            self.assertEqual(checks.systemd(), {"systemd": "does not answer"})


class Journals(FakeBox):
    def test_boots_of_the_trial_are_found(self):
        boots = [{"index": n, "boot_id": f"b{n}", "first_entry": (1000 + 10 * n) * 10**6} for n in range(-5, 1)]
        done = mock.Mock(stdout=json.dumps(boots).encode())
        with mock.patch.object(subprocess, "run", return_value=done):
            self.assertEqual(journal.boots_since(975), ["b-2", "b-1"])
            self.assertEqual(journal.boots_since(0), ["b-3", "b-2", "b-1"])
        with mock.patch.object(subprocess, "run", return_value=mock.Mock(stdout=b"nonsense")):
            self.assertEqual(journal.boots_since(0), [])

    def test_only_so_much_is_kept(self):
        for _ in range(9):
            self.clock += 1
            journal.keep(self.box, ID_B, b"x" * (journal.LIMIT + 9))
        kept = list((self.box.kept / "failed").iterdir())
        self.assertEqual(len(kept), journal.KEEP)
        self.assertEqual({path.stat().st_size for path in kept}, {journal.LIMIT})


class Histories(FakeBox):
    def test_a_torn_line_costs_only_itself(self):
        self.box.prepare()
        history.add(self.box, "switched", to=ID_B)
        path = self.box.kept / "history.jsonl"
        path.write_text(path.read_text() + '{"event":"comm')
        history.add(self.box, "committed", to=ID_B)
        self.assertEqual([one["event"] for one in history.events(self.box)], ["switched", "committed"])
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_an_event_of_a_switch_is_told_once(self):
        self.box.prepare()
        for switch_ in ("1", "1", "2"):
            history.add(self.box, "committed", to=ID_B, switch=switch_)
        history.add(self.box, "failed", to=ID_B, switch="2")
        self.assertEqual(len(history.events(self.box)), 3)

    def test_ids_are_no_paths(self):
        self.write("/state/x.json", '{"a": 1}')
        self.assertEqual(history.image(self.box, "../../x"), {})


if __name__ == "__main__":
    unittest.main()
