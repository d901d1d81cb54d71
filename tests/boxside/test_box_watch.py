"""Alerts, the monthly check, memory errors, SMART: everything that decides without the box."""

import contextlib
import email
import errno
import http.server
import importlib.machinery
import importlib.util
import io
import json
import os
import re
import socket
import tempfile
import threading
import sys
import unittest
from pathlib import Path
from unittest import mock

OVERLAYS = Path(__file__).resolve().parents[2] / "overlays"
sys.dont_write_bytecode = True
sys.path[:0] = [str(OVERLAYS / name / "files/usr/lib/chatimg") for name in ("base", "monitoring")]

from chatimg_box import disks, durable, health, md, smart, text  # noqa: E402
from chatimg_watch import deliver, lacking, memory, scrub, spool  # noqa: E402
from chatimg_watch.spool import Alert, Spool, Told  # noqa: E402

HOUR = 3600


def alert(key="k", at=1e9, subject="a disk failed"):
    return Alert(subject, "It failed.\nWhat to do: replace it.", key, "critical", at)


def program(name):
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(OVERLAYS / "monitoring/files/usr/lib/chatimg" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def array(name, degraded, members, action="idle"):
    legs = tuple(md.Member(one, "in_sync", 0, role) for role, one in enumerate(members))
    return md.Array(name, f"md{name}", f"uuid-{name}", 2, degraded, action, 0, 0, 0, 1000, 0, "none", legs)


class DeadDisk(unittest.TestCase):
    """What mdadm --monitor reports, when the kernel knows the disk no more."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.sys, self.told = Path(folder.name, "sys"), []
        (self.sys / "sdb/sdb6").mkdir(parents=True)
        (self.sys / "sdb/size").write_text("2048")
        disk, disk_of = disks.disk, disks.disk_of
        for module, name, value in (
            (disks, "SEEN", Path(folder.name, "seen.json")),
            (disks, "disk", lambda name: disk(name, self.sys)),
            (disks, "disk_of", lambda name: disk_of(name, self.sys)),
            (lacking.newdisk, "waiting", lambda _: []),
            (disks.system, "output", lambda *_: ""),
            (disks.system, "tell", lambda subject, body, key="", **_: self.told.append((key, subject, body))),
        ):
            patch = mock.patch.object(module, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        disks.see([disks.Disk("sda", 1, 512, "WDC WD10", "WD-42"), disks.Disk("nvme0n1", 1, 512, "Fast", "N-1")])

    def event(self, *words, arrays):
        module = program("md-event")
        with mock.patch.object(module.md, "arrays", lambda: arrays), mock.patch("sys.argv", ["md-event", *words]):
            self.assertEqual(module.main(), 0)

    def test_it_is_told_as_one_disk_by_model_and_serial_number(self):
        arrays = [array(name, 1, [f"sdb{number}"]) for name, number in (("root-a", 4), ("root-b", 5), ("data", 6))]
        for number in (4, 5, 6):
            self.event("Fail", f"/dev/md{number}", f"/dev/sda{number}", arrays=arrays)
        self.assertEqual({key for key, _, _ in self.told}, {"mirror/failed/sda"})
        _, subject, body = self.told[0]
        self.assertEqual(subject, "a disk of the mirror failed: sda")
        self.assertIn("The disk sda (WDC WD10, serial WD-42), which is gone, failed in the array", body)

    def test_names_of_partitions_lead_to_disks_that_are_gone(self):
        for partition, disk in (("sda6", "sda"), ("sdaa12", "sdaa"), ("nvme0n1p6", "nvme0n1"), ("nvme0n1", "nvme0n1"), ("vda1", "vda")):
            self.assertEqual(disks.disk_of(partition), disk)
        self.assertEqual(lacking.disk_in_words("nvme0n1p6"), "nvme0n1 (Fast, serial N-1), which is gone,")
        self.assertEqual(lacking.disk_in_words("sdz1"), "sdz (unknown model, serial sdz), which is gone,")

    def test_what_is_lacking_is_told_again_every_night(self):
        module = program("scrub")
        arrays = [array("data", 1, ["sdb6"])]
        with mock.patch.object(module.md, "arrays", lambda: arrays), mock.patch.object(module, "run"), \
                mock.patch.object(module.mend, "problems", lambda _: {"sdb": ["GRUB", "ESP"]}), \
                mock.patch.object(module.scrub, "load", dict), mock.patch.object(module.signal, "signal"):  # fmt: skip
            module.main()
        self.assertEqual([key for key, _, _ in self.told], ["mirror/degraded", "mirror/starter/sdb"])
        self.assertIn("GRUB, ESP", self.told[1][2])
        self.assertIn("The arrays data have one disk only", self.told[0][2])
        self.assertFalse(lacking.tell([array("data", 1, ["sdb6"], "recover"), array("root-a", 0, ["sda4", "sdb4"])]))


class Spooling(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.spool = Spool(Path(folder.name, "state"), Path(folder.name, "run"))

    def test_a_flapping_disk_is_told_once_and_counted(self):
        self.assertTrue(self.spool.add(alert()))
        for second in range(1, 1000):
            self.assertFalse(self.spool.add(alert(at=1e9 + second)))
        self.assertTrue(self.spool.add(alert(at=1e9 + spool.QUIET)))
        first, second = self.spool.all()
        self.assertNotIn("more times", first.body)
        self.assertIn("999 more times", second.body)

    def test_what_was_settled_is_news_when_it_comes_again(self):
        self.spool.add(alert("mirror/failed/sda"))
        self.assertTrue(self.spool.outstanding("mirror/degraded", "mirror/failed"))
        self.assertFalse(self.spool.outstanding("mirror/degraded"))
        self.assertTrue(self.spool.add(alert("mirror/whole", 1e9 + 60), clears="mirror/"))
        # Each array says so.
        self.assertFalse(self.spool.add(alert("mirror/whole", 1e9 + 61), clears="mirror/"))
        self.assertTrue(self.spool.add(alert("mirror/failed/sda", 1e9 + 120)))

    def test_many_matters_are_bounded_by_the_hour_and_in_all(self):
        told = [self.spool.add(alert(str(n))) for n in range(50)]
        self.assertEqual(told.count(True), spool.PER_HOUR)
        self.assertTrue(self.spool.add(alert("later", 1e9 + HOUR)))
        self.assertIn("30 other alerts were held back", self.spool.all()[-1].body)
        self.assertFalse(Told().admits("k", 1e9, spool.LIMIT))

    def test_a_clock_that_was_set_back_silences_nothing(self):
        self.spool.add(alert(at=2e9))
        self.assertTrue(self.spool.add(alert(at=1e9)))
        late = alert()
        late.put_off(2e9, "no")
        self.assertFalse(late.waits(1e9))

    def test_tries_come_later_each_time(self):
        one = alert()
        pauses = []
        for _ in range(12):
            one.put_off(1e9, "no network")
            pauses.append(one.due - 1e9)
        self.assertEqual(pauses[:3], [60, 120, 240])
        self.assertEqual(pauses[-1], spool.LONGEST_PAUSE)
        self.assertTrue(one.waits(1e9))

    def test_old_ones_go_and_damaged_ones_do_no_harm(self):
        self.spool.add(alert(at=0))
        (self.spool.folder / "waiting/0-0.json").write_text("{")
        (self.spool.folder / "told.json").write_text("[]")
        self.spool.expire(1e9)
        self.assertEqual(len(self.spool.all()), 1)
        self.spool.expire(1e9 + spool.KEEP + 1)
        self.assertEqual(self.spool.names(), [])
        self.assertTrue(self.spool.add(alert()))

    def test_the_folders_are_for_root_alone(self):
        for folder in (self.spool.folder, self.spool.spare):
            self.assertEqual((folder / "waiting").stat().st_mode & 0o777, 0o700)


class FullDisk(Spooling):
    """All that holds else, and what is peculiar to a data partition that takes nothing more."""

    def setUp(self):
        super().setUp()
        self.full = True
        write = durable.write

        def refuse(path, *more, **named):
            if self.full and self.spool.folder in Path(path).parents:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, *more, **named)

        patch = mock.patch.object(durable, "write", refuse)
        patch.start()
        self.addCleanup(patch.stop)

    def test_an_alert_waits_in_memory(self):
        self.assertTrue(self.spool.add(alert()))
        self.assertEqual([one.subject for one in self.spool.all()], ["a disk failed"])
        self.assertEqual([one.name for one in self.spool.spare.glob("waiting/*")], self.spool.names())
        self.assertEqual(list(self.spool.folder.glob("waiting/*")), [])
        self.assertFalse(self.spool.add(alert(at=1e9 + 60)))

    def test_it_goes_to_the_disk_when_that_has_room_again(self):
        self.spool.add(alert())
        self.spool.settle()
        self.assertEqual(len(list(self.spool.spare.glob("waiting/*"))), 1)
        self.full = False
        self.spool.settle()
        self.assertEqual(list(self.spool.spare.glob("waiting/*")), [])
        self.assertEqual([one.name for one in self.spool.folder.glob("waiting/*")], self.spool.names())
        # And what was told is known there, too: it is not told again after a restart.
        again = Spool(self.spool.folder, self.spool.folder.parent / "run after a restart")
        self.assertFalse(again.add(alert(at=1e9 + 60)))

    def test_one_from_before_is_tried_later_each_time(self):
        self.full = False
        self.spool.add(alert())
        self.full = True
        (name,) = self.spool.names()
        one = self.spool.read(name)
        one.put_off(1e9, "no network")
        self.spool.keep(name, one)
        self.assertEqual([found.tries for found in self.spool.all()], [1])
        self.spool.remove(name)
        self.assertEqual(self.spool.names(), [])

    def test_it_is_sent(self):
        module = program("send-alerts")
        self.spool.add(alert())
        sent = []
        with (
            mock.patch.object(module, "Spool", lambda: self.spool),
            mock.patch.object(module.deliver, "load", lambda: deliver.Ways("box", "https://example.org/")),
            mock.patch.object(module.deliver, "send", lambda _way, _ways, one: sent.append(one.subject)),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            self.assertEqual(module.main(), 0)
        self.assertEqual((sent, self.spool.names()), (["a disk failed"], []))


class Files(unittest.TestCase):
    def test_a_write_that_fails_leaves_nothing_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")
            path.write_text("old")
            with mock.patch.object(durable.os, "fsync", side_effect=OSError(errno.ENOSPC, "full")):
                with self.assertRaises(OSError):
                    durable.write(path, b"new")
            self.assertEqual([(one.name, one.read_text()) for one in Path(folder).iterdir()], [("file", "old")])


class Units(unittest.TestCase):
    FOLDER = OVERLAYS / "monitoring/files/etc/systemd/system"

    def test_timers_start_units_and_programs_that_there_are(self):
        timers = list(self.FOLDER.glob("*.timer"))
        self.assertTrue(timers)
        for timer in timers:
            named = re.search("^Unit=(.*)$", timer.read_text(), re.M)
            name, _, instance = (named[1] if named else f"{timer.stem}.service").removesuffix(".service").partition("@")
            unit = (self.FOLDER / f"{name}{'@' if instance else ''}.service").read_text()
            path = re.search("^ExecStart=(\\S+)", unit, re.M)[1].replace("%i", instance)
            self.assertTrue(os.access(OVERLAYS / f"monitoring/files{path}", os.X_OK), path)
        for folder in self.FOLDER.glob("chatimg-*.service.d"):
            self.assertTrue((self.FOLDER / re.sub("@.*", "@.service", folder.name)).exists(), folder)

    def test_the_sender_starts_for_both_folders_and_may_write_to_both(self):
        unit = (self.FOLDER / "chatimg-alerts.service").read_text()
        conditions = re.findall(r"^ConditionDirectoryNotEmpty=(.*)$", unit, re.M)
        self.assertEqual(conditions, [f"|{folder}/waiting" for folder in (spool.FOLDER, spool.SPARE)])
        self.assertIn(f"\nBindPaths={spool.FOLDER}\n", unit)
        self.assertIn(f"\nRuntimeDirectory={spool.SPARE.relative_to('/run')}\nRuntimeDirectoryMode=0700\n", unit)
        # What waits there must outlast the service.
        self.assertIn("\nRuntimeDirectoryPreserve=yes\n", unit)


class Settings(unittest.TestCase):
    def load(self, settings, **secrets):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "secrets").mkdir()
            (folder / "settings.json").write_text(settings if isinstance(settings, str) else json.dumps(settings))
            for key, value in secrets.items():
                (folder / "secrets" / key.replace("_", "-")).write_text(value + "\n")
            return deliver.load(folder)

    def test_none_at_all(self):
        ways = deliver.load(Path("/nonexistent"))
        self.assertEqual((ways.names, ways.faults), ([], ()))

    def test_both_ways(self):
        settings = {"hostname": "box", "alerts": {"mail-to": ["me@example.org"]}}
        settings["mail"] = {"host": "mx.example.org", "from": "box@example.org", "user": "u"}
        ways = self.load(settings, smtp_password="secret", alerts_webhook="https://example.org/hook")
        self.assertEqual((ways.hostname, ways.names), ("box", ["webhook", "mail"]))
        self.assertEqual((ways.mail.port, ways.mail.tls, ways.mail.password), (587, "starttls", "secret"))
        settings["mail"]["tls"] = "tls"
        self.assertEqual(self.load(settings).mail.port, 465)

    def test_mail_without_a_server_is_said(self):
        ways = self.load({"alerts": {"mail-to": ["me@example.org"]}})
        self.assertEqual((ways.names, ways.faults[0]), ([], "alerts.mail-to is set, but no mail.host to send by"))

    def test_damaged_settings_are_those_before_the_last_change(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "settings.json").write_text("{")
            (folder / "settings.json.old").write_text('{"hostname": "older"}')
            self.assertEqual(deliver.load(folder).hostname, "older")


class Sending(unittest.TestCase):
    def hook(self, status):
        got = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return deliver.Ways("box", f"http://127.0.0.1:{server.server_port}/hook/secret-token"), got

    def test_a_webhook_gets_text_and_fields(self):
        ways, got = self.hook(200)
        deliver.send("webhook", ways, alert())
        self.assertEqual(got[0]["text"], "[box] a disk failed\nIt failed.\nWhat to do: replace it.")
        self.assertEqual((got[0]["host"], got[0]["level"]), ("box", "critical"))

    def test_refusals_and_redirects_are_failures_that_tell_no_secret(self):
        for status in (302, 403, 500):
            ways, _ = self.hook(status)
            with self.assertRaisesRegex(deliver.NotSent, str(status)) as raised:
                deliver.send("webhook", ways, alert())
            self.assertNotIn("secret-token", str(raised.exception))

    def test_no_failure_ends_the_sender_or_quotes_the_address(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def garbage():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"garbage\r\n\r\n")

        threading.Thread(target=garbage, daemon=True).start()
        for address in (f"http://127.0.0.1:{listener.getsockname()[1]}/CANARY", "https://ops:CANARY@127.0.0.1/"):
            with self.assertRaises(deliver.NotSent) as raised:
                deliver.send("webhook", deliver.Ways("box", address), alert())
            self.assertNotIn("CANARY", str(raised.exception))

    def mail(self, answers):
        """A server for one mail that says these answers; gives back what it is told."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        heard = []

        def serve():
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                connection.sendall(answers["hello"])
                inside = False
                for line in lines:
                    heard.append(line)
                    word = line[:4].strip().upper()
                    if inside and line != b".\r\n":
                        continue
                    inside = word == b"DATA"
                    connection.sendall(answers.get(word.decode(), b"250 fine\r\n"))
                    if word == b"QUIT":
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 5)
        port = listener.getsockname()[1]
        to = ("me@example.org", "you@example.org")
        return deliver.Ways("box", mail=deliver.Mail("127.0.0.1", port, "box@example.org", to, "", "", "none")), heard

    def test_mail_arrives_whole(self):
        ways, heard = self.mail({"hello": b"220 hi\r\n", "DATA": b"354 go\r\n"})
        deliver.send("mail", ways, alert(subject="two\nlines: ü"))
        self.assertIn(b"rcpt TO:<you@example.org>\r\n", heard)
        data = b"".join(heard).partition(b"data\r\n")[2]
        mail = email.message_from_bytes(data, policy=email.policy.default)
        self.assertEqual(mail["Subject"], "[box] two lines: ü")
        self.assertEqual(mail["Auto-Submitted"], "auto-generated")
        self.assertIn("replace it", mail.get_content())

    def test_mail_that_is_refused_is_a_failure_in_the_server_s_words(self):
        ways, _ = self.mail({"hello": b"220 hi\r\n", "MAIL": b"550 go away\r\n"})
        with self.assertRaisesRegex(deliver.NotSent, "go away"):
            deliver.send("mail", ways, alert())


class Checks(unittest.TestCase):
    def test_the_first_check_of_the_data_is_a_repair(self):
        record = scrub.Record()
        self.assertTrue(record.due(1e9))
        record.start("data")
        self.assertEqual(record.action, "repair")
        record.mismatches = 4096
        record.finish(1e9)
        self.assertEqual((record.repaired, record.last_mismatches, record.action), (True, 4096, ""))
        self.assertFalse(record.due(1e9 + 27 * 86400))
        self.assertTrue(record.due(1e9 + 28 * 86400))
        record.start("data")
        self.assertEqual(record.action, "check")
        other = scrub.Record()
        other.start("root-a")
        self.assertEqual(other.action, "check")

    def test_one_that_was_cut_short_goes_on(self):
        record = scrub.Record()
        record.start("root-a")
        record.position = 5000
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scrub.json"
            durable.write_json(path, scrub.to_json({"uuid": record}))
            again = scrub.load(path)["uuid"]
            path.write_text('{"uuid": 3}')
            self.assertEqual(scrub.load(path), {})
        self.assertTrue(again.due(1e9))
        self.assertEqual((again.action, again.position), ("check", 5000))

    def test_a_mirror_in_need_is_left_alone(self):
        def array(degraded, action):
            return md.Array("data", "md6", "", 2, degraded, action, 0, 0, 0, 1, 0, "")

        self.assertEqual(scrub.skip(array(0, "idle")), "")
        self.assertIn("lacks", scrub.skip(array(1, "idle")))
        self.assertIn("resync", scrub.skip(array(0, "resync")))

    def test_only_root_slots_with_an_image_are_alerted(self):
        self.assertTrue(scrub.alerted("root-a", "0123"))
        self.assertFalse(scrub.alerted("root-b", "none"))
        self.assertFalse(scrub.alerted("data", "0123"))


class Space(unittest.TestCase):
    def test_it_is_told_before_the_disk_is_full(self):
        space = program("check-space")
        told = [(free, space.step(1000, free)) for free in (1000, 151, 150, 51, 50, 0)]
        self.assertEqual(told, [(1000, 0), (151, 0), (150, 85), (51, 85), (50, 95), (0, 95)])
        self.assertEqual(space.step(0, 0), 0)

    def test_the_alert_says_how_much_is_left(self):
        space = program("check-space")
        full = mock.Mock(f_blocks=1000, f_frsize=1 << 20, f_bavail=40)
        with mock.patch.object(space.os, "statvfs", return_value=full), mock.patch.object(space.system, "tell") as tell:
            self.assertEqual(space.main(), 0)
        (subject, body), words = tell.call_args
        self.assertIn("95 %", subject)
        self.assertIn(text.size(40 << 20), body)
        self.assertEqual((words["key"], words["level"]), ("space/95", "critical"))


class Memory(unittest.TestCase):
    def test_counters_are_added_up_over_boots(self):
        state = memory.State()
        self.assertEqual(state.update({"mc0/ce": 5, "mc0/ue": 0}, "boot1", "d1"), memory.New(5, 0))
        self.assertEqual(state.update({"mc0/ce": 7, "mc0/ue": 0}, "boot1", "d1"), memory.New(2, 0))
        self.assertEqual(state.update({"mc0/ce": 1, "mc0/ue": 2}, "boot2", "d2"), memory.New(1, 2))
        self.assertEqual((state.corrected, state.uncorrected, state.days), (8, 2, {"d1": 7, "d2": 1}))
        self.assertEqual(state.today(), 1)

    def test_controllers_are_read(self):
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder) / "mc0"
            here.mkdir()
            (here / "ce_count").write_text("3\n")
            (here / "ue_count").write_text("0\n")
            self.assertEqual(memory.counters(Path(folder)), {"mc0/ce": 3, "mc0/ue": 0})
        self.assertEqual(memory.counters(Path("/nonexistent")), {})


class Smart(unittest.TestCase):
    def test_answers(self):
        table = [{"id": 197, "raw": {"value": 8}}, {"id": 198, "raw": {"value": 2}}, {"id": 5, "raw": {"value": 9}}]
        answer = {"smart_status": {"passed": False}, "temperature": {"current": 61}, "power_on_time": {"hours": 7}}
        answer["ata_smart_attributes"] = {"table": table}
        self.assertEqual(smart.parse(json.dumps(answer)), smart.Smart("failing", 61, 7, 8))
        nvme = {"smart_status": {"passed": True}, "nvme_smart_health_information_log": {"media_errors": 0}}
        self.assertEqual(smart.parse(json.dumps(nvme)), smart.Smart("good", None, None, 0))
        for nothing in ("", "{}"):
            self.assertEqual(smart.parse(nothing).health, "unknown")


class Backups(unittest.TestCase):
    def test_status_says_what_to_do_while_there_are_none(self):
        path = OVERLAYS / "base/files/usr/lib/chatimg/status/45-backups.py"
        module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("backups", path))
        module.__spec__.loader.exec_module(module)
        section = module.look()
        self.assertIn("this box makes none", section.lines[0])
        page, heading = re.search('yourself: (docs/\\S+), "(.*)"', section.lines[1]).groups()
        text = (OVERLAYS.parent / page).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        for what in ("pg_dump", "pg_restore", "var/lib/matrix-synapse", "var/lib/chatimg"):
            self.assertIn(what, text)


class Words(unittest.TestCase):
    def test_numbers(self):
        for count, words in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (4_000_787_030_016, "4.0 TB"),
            (123_456_789, "123 MB"),
        ]:
            self.assertEqual(text.size(count), words)
        for seconds, words in [(0, "0 s"), (61, "1 min 1 s"), (90061, "1 d 1 h"), (86405, "1 d 5 s")]:
            self.assertEqual(text.duration(seconds), words)

    def test_a_status_says_what_to_do(self):
        good, bad = health.Section("image", ["one"], {"a": 1}), health.Section("disks", ["two", "three"], [])
        self.assertTrue(health.as_text([good]).endswith("All is well."))
        bad.problem("it is hot", "cool it")
        shown = health.as_text([good, bad])
        self.assertIn("image  one\ndisks  two\n       three\n", shown)
        self.assertIn("PROBLEM: it is hot\n  do: cool it\n", shown)
        data = health.as_json([good, bad])
        self.assertFalse(data["healthy"])
        self.assertEqual(data["sections"]["image"], {"a": 1})


if __name__ == "__main__":
    unittest.main()
