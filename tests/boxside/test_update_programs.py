"""What people and overlays call: chatimg-admin, the probe, exports; and that the overlays name what there is."""

import argparse
import contextlib
import http.server
import importlib.machinery
import importlib.util
import io
import json
import os
import re
import sys
import threading
import time
import tomllib
import unittest
from unittest import mock

from answering import Answering
from fakebox import ID_A, ID_B, IMAGE, MIB, ROOT, FakeBox
from minisign import Key

from chatimg_box.system import Trouble
from chatimg_update import bootstate, history, place, switch, verify

LIBRARY = ROOT / "overlays/base/files/usr/lib/chatimg"
UNITS = ROOT / "overlays/base/files/etc/systemd/system"
KEY = Key()


def load(path, name="loaded"):
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


class Admin(FakeBox):
    """Commands of chatimg-admin, on the box in the folder."""

    outside = True

    def call(self, command, *words):
        module = load(LIBRARY / f"admin/{command}.py", f"chatimg_admin_{command}")
        parser = argparse.ArgumentParser()
        module.arguments(parser)
        said = io.StringIO()
        with mock.patch.object(module, "Box", lambda: self.box), contextlib.redirect_stdout(said), \
                mock.patch("chatimg_update.receive.be_nice"), \
                mock.patch.object(module, "from_outside", lambda: self.outside, create=True):  # fmt: skip
            if command == "rollback":
                with mock.patch.object(module, "update", lambda: load(LIBRARY / "admin/update.py")):
                    code = module.run(parser.parse_args(words))
            else:
                code = module.run(parser.parse_args(words))
        return code, said.getvalue()


class Update(Admin):
    def setUp(self):
        super().setUp()
        self.write(verify.SETTINGS, json.dumps({"update": {"keys": [KEY.public]}}))
        import hashlib

        self.image = os.urandom(MIB)
        root = {"sha256": hashlib.sha256(self.image).hexdigest(), "size": MIB}
        data = json.dumps(IMAGE | {"id": ID_B, "root": root}, sort_keys=True).encode()
        self.folder = self.write("/new/update.json", data).parent
        self.write("/new/root.img", self.image)
        self.write("/new/update.json.minisig", KEY.sign(data))

    def test_from_a_folder(self):
        code, said = self.call("update", "--from", str(self.folder), "--unattended")
        self.assertEqual((code, self.get(self.box.at("/dev/sda5"), 0, MIB)), (0, self.image))
        self.assertEqual((switch.read(self.box)["guard"], self.state()["try"]), ("gate", "b"))
        self.assertEqual(self.commands.calls[-1], "systemctl --no-block reboot")

    def test_only_written(self):
        self.call("update", "--from", str(self.folder), "--stage")
        self.assertEqual((switch.read(self.box), self.state()["try"], self.state()["b"]), ({}, "", "none"))

    def test_planned_and_cancelled(self):
        self.box = place.Box(self.root, self.commands, time.time)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + 600))
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(self.call("update", "--from", str(self.folder), "--at", when)[0], 2)
        self.call("update", "--from", str(self.folder), "--unattended", "--at", when)
        self.assertEqual(switch.planned(self.box)[0], switch.Job(ID_B, "b", "gate", "update"))
        with self.assertRaisesRegex(Trouble, "planned"):
            self.call("update", "--from", str(self.folder))
        self.call("update", "cancel")
        self.assertIsNone(switch.planned(self.box))

    def test_what_is_refused(self):
        self.write("/new/update.json.minisig", KEY.sign(b"other"))
        with self.assertRaisesRegex(Trouble, "signature is wrong"):
            self.call("update", "--from", str(self.folder))
        with self.assertRaisesRegex(Trouble, "root.img, update.json and"):
            self.call("update", "--from", str(self.root))
        # Of an image that was signed for people only.
        (self.folder / "root.img").unlink()
        with self.assertRaisesRegex(Trouble, "new/root.img: it is not there"):
            self.call("update", "--from", str(self.folder))
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(self.call("update")[0], 2)
        self.assertEqual(self.state()["gen"], "1")

    def test_times(self):
        moment = load(LIBRARY / "admin/update.py").moment
        self.assertTrue(0 < moment("03:30") - time.time() <= 86400 + 3600)
        self.assertEqual(time.localtime(moment("2030-12-24 03:30"))[:5], (2030, 12, 24, 3, 30))
        for wrong in ("", "25:00", "tomorrow"):
            self.assertRaises(ValueError, moment, wrong)

    def test_who_cannot_hear_it_any_more_does_not_keep_the_box_from_its_restart(self):
        gone = mock.Mock(write=mock.Mock(side_effect=BrokenPipeError), flush=mock.Mock(side_effect=BrokenPipeError))
        real = switch.perform

        def perform(box, job):
            real(box, job)
            sys.stdout = gone

        with mock.patch.object(switch, "perform", perform):
            self.call("update", "--from", str(self.folder), "--unattended")
        self.assertEqual(self.commands.calls[-1], "systemctl --no-block reboot")

    def test_confirm_on_the_console_shows_nothing(self):
        self.write("/run/chatimg/trial", "{}")
        self.outside = False
        with self.assertRaisesRegex(Trouble, "in an ssh login"):
            self.call("update", "confirm")
        self.assertFalse((self.box.run / "confirmed").exists())

    def test_who_came_by_ssh(self):
        module = load(LIBRARY / "admin/update.py")
        for names, outside in ((("sudo", "sudo", "bash", "sshd-session", "sshd"), True), (("sudo", "a) b (c", "login"), False)):
            pids = [os.getppid(), *range(50, 50 + len(names) - 1), 1]
            stats = {f"/proc/{pid}/stat": f"{pid} ({name}) S {up} 1 1 0" for pid, name, up in zip(pids, names, pids[1:])}
            with mock.patch.object(module.system, "read", lambda path, stats=stats: stats[path]):
                self.assertEqual(module.from_outside(), outside, names)

    def test_confirm(self):
        self.box.prepare()
        with self.assertRaisesRegex(Trouble, "no image is on trial"):
            self.call("update", "confirm")
        history.add(self.box, "committed", to=ID_A)
        self.assertEqual(self.call("update", "confirm")[0], 0)
        self.write("/run/chatimg/trial", "{}")
        self.write("/state/.chatimg/trial.json", json.dumps({"verdict": "failed", "reasons": ["x: no"], "switch": ""}))
        with self.assertRaisesRegex(Trouble, "has failed.*x: no"):
            self.call("update", "confirm")
        self.assertEqual((self.box.run / "confirmed").read_text(), ID_A)
        self.write("/state/.chatimg/trial.json", json.dumps({"verdict": "waiting", "reasons": [], "switch": ""}))
        threading.Timer(0.3, (self.box.run / "trial").unlink).start()
        code, said = self.call("update", "confirm")
        self.assertEqual(code, 0)
        self.assertIn("stays", said)


class Rollback(Admin):
    def setUp(self):
        super().setUp()
        bootstate.change(self.box, {"b": ID_B})
        self.snapshot(900_000, ID_B)
        self.commands.answers["cp"] = lambda *command: place.system.run("cp", "-a", *command[4:])
        self.write(f"/state/.chatimg/images/{ID_B}.json", json.dumps({"formats": {"matrix-synapse": ["1.140.0", "1.90"]}}))

    def hook(self, text="echo \"messages since $1\" >\"$2\""):
        self.write("/usr/lib/chatimg/export/chat", f"#!/bin/sh\n{text}\n", 0o755)
        self.write("/usr/lib/chatimg/export/__pycache__/shared.cpython-313.pyc", "no program")
        self.commands.answers[str(self.box.library / "export")] = lambda *command: place.system.run(*command)

    def test_with_data_saves_what_came_since(self):
        self.hook()
        code, said = self.call("rollback", "--with-data", "--yes")
        (file,) = (self.box.kept / "exports").iterdir()
        self.assertEqual((file.read_text(), file.stat().st_mode & 0o777), ("messages since 900000\n", 0o600))
        self.assertIn(str(file), said)
        found = switch.read(self.box)
        self.assertEqual((found["kind"], found["restore"], found["guard"]), ("rollback", f"restore-900000-{ID_B}", "login"))
        self.assertEqual(self.state()["try"], "b")
        # Nobody sends anything between the export and the restart.
        calls = self.commands.calls
        nft = next(n for n, one in enumerate(calls) if one.startswith("nft --file"))
        export = next(n for n, one in enumerate(calls) if "export/chat" in one)
        self.assertLess(nft, export)
        self.assertFalse(self.commands.called("nft delete"))

    def test_an_export_that_fails_stops_it(self):
        self.hook("exit 1")
        with self.assertRaisesRegex(Trouble, "cannot be saved"):
            self.call("rollback", "--with-data", "--yes")
        self.assertEqual((switch.read(self.box), self.state()["try"]), ({}, ""))
        self.assertTrue(self.commands.called("nft delete table"))
        self.call("rollback", "--with-data", "--yes", "--no-export")
        self.assertEqual(self.state()["try"], "b")

    def test_keep_data(self):
        code, said = self.call("rollback", "--keep-data", "--yes", "--unattended")
        self.assertIn("nothing that was sent is lost", said)
        self.assertEqual((switch.read(self.box)["restore"], switch.read(self.box)["guard"]), ("", "gate"))
        self.assertFalse(list(self.box.kept.glob("exports/*")))

    def test_nobody_is_asked_without_a_terminal(self):
        with mock.patch("sys.stdin", io.StringIO()), self.assertRaisesRegex(Trouble, "--yes"):
            self.call("rollback", "--keep-data")
        self.assertEqual(switch.read(self.box), {})

    def test_one_of_both_must_be_said(self):
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit):
            self.call("rollback", "--yes")


class Told(Admin):
    def look(self):
        module = load(LIBRARY / "status/15-slots.py")
        module.BOX = self.box
        return module.look()

    def test_history(self):
        self.assertIn("no update yet", self.call("history")[1])
        self.box.prepare()
        history.add(self.box, "switched", **{"from": ID_A, "to": ID_B, "kind": "update", "switch": "1"})
        history.add(self.box, "failed", **{"from": ID_A, "to": ID_B, "reason": "x: no", "switch": "1"})
        history.add(self.box, "committed", **{"from": ID_A, "to": ID_B, "down": 71, "switch": "2"})
        lines = self.call("history")[1].splitlines()
        self.assertIn(f"update to {ID_B} failed, back to {ID_A}: x: no", lines[1])
        self.assertIn("down for 71 s", lines[2])
        self.assertEqual([one["event"] for one in json.loads(self.call("history", "--json")[1])],
                         ["switched", "failed", "committed"])

    def test_status(self):
        section = self.look()
        self.assertEqual((section.lines, section.problems), ([f"a       {ID_A} (matrix-synapse 1.142.0), runs", "b       empty"], []))
        self.box.prepare()
        history.add(self.box, "failed", **{"from": ID_A, "to": ID_B, "reason": "x: no"})
        self.snapshot(int(time.time()) - 7200, ID_A, size=3_000_000)
        section = self.look()
        self.assertRegex("\n".join(section.lines), "failed, back to.*x: no\nsnapshot of .*2 h.* ago.*3.0 MB")
        self.assertEqual((section.data["running"], section.data["slots"], section.data["trial"]),
                         ("a", {"a": ID_A, "b": "none"}, False))
        json.dumps(section.data)

    def test_what_needs_somebody(self):
        self.write("/state/.chatimg/switch", f"to={ID_B}\n")
        device, _ = self.copies()[1]
        self.put(device, 0, bytes(1024))
        problems = " ".join(one.what for one in self.look().problems)
        self.assertRegex(problems, "sda3.*not finished")
        for device, at in self.copies():
            self.put(device, at, bytes(1024))
        self.assertRegex(self.look().problems[0].what, "cannot be read")


class Synapse(Answering):
    """As much of Synapse as the probe needs."""

    users, rooms, tokens, tries, logins, loses = {}, [], set(), 0, 0, False
    messages = []

    def handle_any(self):
        cls = type(self)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        path = self.path.partition("?")[0]
        allowed = (self.headers.get("Authorization") or "").removeprefix("Bearer ") in cls.tokens
        if path == "/_synapse/admin/v1/register":
            if self.command == "GET":
                return self.answer(200, {"nonce": "n"})
            import hashlib
            import hmac

            mac = hmac.new(b"shared", f"n\0{body['username']}\0{body['password']}\0notadmin".encode(), hashlib.sha1)
            if body["mac"] != mac.hexdigest() or body["admin"]:
                return self.answer(403, {"errcode": "M_FORBIDDEN"})
            if body["username"] in cls.users:
                return self.answer(400, {"errcode": "M_USER_IN_USE"})
            cls.users[body["username"]] = body["password"]
            # Whoever registers is logged in, if he does not say that he need not be.
            cls.logins += not body.get("inhibit_login")
            return self.answer(200, {})
        if path.endswith("/login"):
            cls.tries += 1
            if cls.users.get(body["identifier"]["user"]) != body["password"]:
                return self.answer(403, {"errcode": "M_FORBIDDEN", "error": "Invalid"})
            cls.logins += 1
            cls.tokens = {f"TOKEN{cls.logins}"}
            return self.answer(200, {"access_token": f"TOKEN{cls.logins}"})
        if not allowed:
            return self.answer(401, {"errcode": "M_UNKNOWN_TOKEN"})
        if path.endswith("/whoami"):
            return self.answer(200, {})
        if path.endswith("/joined_rooms"):
            return self.answer(200, {"joined_rooms": cls.rooms})
        if path.endswith("/createRoom"):
            cls.rooms.append("!r:x")
            return self.answer(200, {"room_id": "!r:x"})
        if "/send/" in path:
            cls.messages.append({"event_id": f"${len(cls.messages)}", "content": body})
            return self.answer(200, {"event_id": cls.messages[-1]["event_id"]})
        if path.endswith("/messages"):
            return self.answer(200, {"chunk": [] if cls.loses else cls.messages[::-1]})
        return self.answer(404, {})

    do_GET = do_POST = do_PUT = handle_any


class Probe(FakeBox):
    def setUp(self):
        super().setUp()
        for name, value in {"users": {}, "rooms": [], "tokens": set(), "tries": 0, "logins": 0, "loses": False, "messages": []}.items():
            setattr(Synapse, name, value)
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Synapse)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.module = load(ROOT / "overlays/synapse/files/usr/lib/chatimg/probe-matrix")
        self.keys = self.write("/keys/probe_password", "secret\n").parent
        self.write("/keys/registration_shared_secret", "shared\n")
        self.image = self.write("/keys/image.json", json.dumps({"domain": "chat.example"}))
        self.login = self.box.run / "probe.json"

    def probe(self):
        synapse = self.module.Synapse(f"http://127.0.0.1:{self.server.server_port}", self.keys, self.image, patience=5)
        self.module.probe(self.module.Matrix(synapse), self.login)

    def test_it_makes_its_user_and_room_once_and_seldom_logs_in(self):
        for _ in range(3):
            self.probe()
        self.assertEqual((Synapse.users, Synapse.rooms, Synapse.logins), ({"chatimg-probe": "secret"}, ["!r:x"], 1))
        self.assertEqual(len(Synapse.messages), 3)
        self.assertEqual(self.login.stat().st_mode & 0o777, 0o600)
        self.login.write_text(json.dumps({"token": "TOKEN1", "time": time.time() - 601}))
        self.probe()
        self.assertEqual(Synapse.logins, 2)
        # A token that Synapse forgot, as after a rollback.
        Synapse.tokens = set()
        self.probe()
        self.assertEqual(Synapse.logins, 3)

    def test_what_does_not_work_is_said(self):
        self.probe()
        Synapse.loses = True
        with self.assertRaisesRegex(Trouble, "is not there"):
            self.probe()
        self.login.unlink()
        Synapse.users["chatimg-probe"] = "another"
        tries = Synapse.tries
        with self.assertRaisesRegex(Trouble, "cannot log in: 403") as failed:
            self.probe()
        self.assertNotIn("secret", str(failed.exception))
        # Synapse counts failures: it is not tried again for a user who was there already.
        self.assertEqual(Synapse.tries, tries + 1)
        Synapse.users.clear()
        self.write("/keys/registration_shared_secret", "another\n")
        with self.assertRaisesRegex(Trouble, "making @chatimg-probe:chat.example: Synapse says 403 M_FORBIDDEN"):
            self.probe()
        self.server.shutdown()
        self.server.server_close()
        with self.assertRaisesRegex(Trouble, "does not answer"):
            self.probe()
        with self.assertRaisesRegex(Trouble, "TLS for chat.example"):
            self.module.tls("chat.example", ("127.0.0.1", self.server.server_port))


class Files(unittest.TestCase):
    """The overlays name units and programs that there are."""

    def test_units_are_enabled_and_start_what_there_is(self):
        enabled = tomllib.loads((ROOT / "overlays/base/overlay.toml").read_text())["enable"]
        for name in ("trial", "gate", "settle"):
            text = (UNITS / f"chatimg-{name}.service").read_text()
            self.assertIn(f"chatimg-{name}.service", enabled)
            program = re.search("^ExecStart=/usr/lib/chatimg/(.*)$", text, re.M)[1]
            self.assertTrue(os.access(LIBRARY / program, os.X_OK), program)
        # It must not wait for a boot that hangs, nor be stopped by a restart that hangs.
        gate = (UNITS / "chatimg-gate.service").read_text()
        self.assertIn("DefaultDependencies=no", gate)
        self.assertEqual(re.findall("^After=(.*)$", gate, re.M), ["chatimg-trial.service"])
        self.assertNotIn("Conflicts", gate)

    def test_programs_compile_and_their_modules_load(self):
        for name in ("receive", "switch", "trial", "gate", "settle"):
            self.assertTrue(callable(load(LIBRARY / name).main))
            self.assertTrue(os.access(LIBRARY / name, os.X_OK), name)

    def test_the_export_of_synapse_takes_numbers_only(self):
        program = ROOT / "overlays/synapse/files/usr/lib/chatimg/export/synapse"
        self.assertTrue(os.access(program, os.X_OK))
        for wrong in ("", "x", "1; drop", "-1"):
            with self.assertRaisesRegex(Trouble, "usage"):
                place.system.run(str(program), wrong, "/nonexistent")


if __name__ == "__main__":
    unittest.main()
