"""chatimg-admin user and registration, against as much of Synapse as they need: what they ask, and what they say of it."""

import argparse
import contextlib
import copy
import hashlib
import hmac
import http.server
import importlib.machinery
import importlib.util
import io
import ipaddress
import json
import os
import pathlib
import pty
import re
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import unittest
import urllib.parse
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
OVERLAY = ROOT / "overlays/synapse"
LIBRARY = OVERLAY / "files/usr/lib/chatimg"
sys.dont_write_bytecode = True
FOLDERS = [str(LIBRARY), str(ROOT / "overlays/base/files/usr/lib/chatimg")]
sys.path[:0] = FOLDERS

from answering import Answering  # noqa: E402
from chatimg_box.system import Trouble  # noqa: E402
from chatimg_matrix import names, passwords, server  # noqa: E402

DOMAIN = "chat.example"
ME = f"@chatimg-admin:{DOMAIN}"
GOOD = "correct horse battery"


class FakeSynapse(Answering):
    """Answers as Synapse 1.163.2 does (its rest/admin/)."""

    users: dict = {}
    tokens: dict = {}
    nonces: set = set()
    asked: list = []
    broken: tuple | None = None

    def handle_any(self):
        cls = type(self)
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length)
        self.body = json.loads(text) if text else None
        path, _, query = self.path.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query))
        cls.asked.append((self.command, self.path, self.body))
        if cls.broken:
            return self.answer(*cls.broken)
        if path == "/_synapse/admin/v1/register":
            return self.register()
        if self.headers.get("Authorization") != "Bearer AS-TOKEN":
            return self.answer(401, {"errcode": "M_UNKNOWN_TOKEN", "error": "Invalid access token passed."})
        if self.query.get("user_id") not in cls.users:
            return self.answer(403, {"errcode": "M_FORBIDDEN", "error": "Application service has not registered this user"})
        if not cls.users[ME]["admin"]:
            return self.answer(403, {"errcode": "M_FORBIDDEN", "error": "You are not a server admin"})
        if path == "/_synapse/admin/v2/users":
            return self.listing()
        if found := re.fullmatch("/_synapse/admin/v2/users/([^/]*)", path):
            return self.user(urllib.parse.unquote(found[1]))
        if found := re.fullmatch("/_synapse/admin/v1/deactivate/([^/]*)", path):
            user = cls.users.get(urllib.parse.unquote(found[1]))
            if user is None:
                return self.answer(404, {"errcode": "M_NOT_FOUND"})
            user.update(deactivated=True, erased=self.body["erase"], password=None, sessions=0)
            return self.answer(200, {"id_server_unbind_result": "success"})
        if path.startswith("/_synapse/admin/v1/registration_tokens"):
            return self.registration(path.removeprefix("/_synapse/admin/v1/registration_tokens"))
        return self.answer(404, {"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"})

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def register(self):
        cls = type(self)
        if self.command == "GET":
            cls.nonces.add(nonce := f"nonce{len(cls.asked)}")
            return self.answer(200, {"nonce": nonce})
        body = self.body
        if body["nonce"] not in cls.nonces:
            return self.answer(400, {"errcode": "M_UNKNOWN", "error": "unrecognised nonce"})
        cls.nonces.remove(body["nonce"])
        words = [body["nonce"], body["username"], body["password"], "admin" if body["admin"] else "notadmin"]
        mac = hmac.new(b"shared", "\0".join(words).encode(), hashlib.sha1).hexdigest()
        if body["mac"] != mac:
            return self.answer(403, {"errcode": "M_UNKNOWN", "error": "HMAC incorrect"})
        full = f"@{body['username']}:{DOMAIN}"
        if full in cls.users:
            return self.answer(400, {"errcode": "M_USER_IN_USE", "error": "User ID already taken."})
        add(full, body["password"], body["admin"], body.get("displayname"), sessions=0 if body.get("inhibit_login") else 1)
        return self.answer(200, {"user_id": full})

    def listing(self):
        # As Synapse has it: `user_id` is a pattern of this list unless `name` is given, one of SQL's.
        like = self.query.get("name") or self.query["user_id"]
        parts = [re.escape(part) for part in f"%{like}%".split("%")]
        found = [one for name, one in sorted(type(self).users.items()) if re.fullmatch(".*".join(parts), name)]
        for flag in ("deactivated", "locked"):
            found = [one for one in found if self.query.get(flag) == "true" or not one[flag]]
        start, limit = int(self.query["from"]), int(self.query["limit"])
        shown = [{key: value for key, value in one.items() if key != "password"} for one in found[start : start + limit]]
        more = {"next_token": str(start + limit)} if start + limit < len(found) else {}
        return self.answer(200, {"users": shown, "total": len(found)} | more)

    def user(self, full):
        user = type(self).users.get(full)
        if user is None:
            return self.answer(404, {"errcode": "M_NOT_FOUND", "error": "User not found"})
        if self.command == "PUT":
            if self.body.get("deactivated") is False and "password" not in self.body:
                return self.answer(400, {"errcode": "M_UNKNOWN", "error": "Must provide a password to re-activate an account."})
            if "password" in self.body and self.body.get("logout_devices", True):
                user["sessions"] = 0
            user.update({key: value for key, value in self.body.items() if key != "logout_devices"})
        return self.answer(200, {key: value for key, value in user.items() if key != "password"})

    def registration(self, path):
        cls = type(self)
        if self.command == "GET" and not path:
            return self.answer(200, {"registration_tokens": list(cls.tokens.values())})
        if self.command == "POST" and path == "/new":
            body = self.body | {"pending": 0, "completed": 0}
            cls.tokens[body["token"]] = body
            return self.answer(200, body)
        token = urllib.parse.unquote(path.removeprefix("/"))
        if self.command == "DELETE" and cls.tokens.pop(token, None):
            return self.answer(200, {})
        return self.answer(404, {"errcode": "M_NOT_FOUND", "error": f"No such registration token: {token}"})


def add(full, password=None, admin=False, display_name=None, **more):
    FakeSynapse.users[full] = {
        "name": full,
        "password": password,
        "admin": admin,
        "displayname": display_name or full[1:].partition(":")[0],
        "deactivated": False,
        "erased": False,
        "locked": False,
        "is_guest": False,
        "creation_ts": 1_700_000_000_000,
        "last_seen_ts": None,
        "sessions": 0,
    } | more


def load(command):
    name = f"chatimg_admin_{command}"
    loader = importlib.machinery.SourceFileLoader(name, str(LIBRARY / f"admin/{command}.py"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


class People(unittest.TestCase):
    def setUp(self):
        for name, value in {"users": {}, "tokens": {}, "nonces": set(), "asked": [], "broken": None}.items():
            setattr(FakeSynapse, name, value)
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeSynapse)
        threading.Thread(target=self.http.serve_forever, args=[0.01], daemon=True).start()
        self.addCleanup(self.http.server_close)
        self.addCleanup(self.http.shutdown)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.keys = pathlib.Path(folder.name)
        (self.keys / "registration_shared_secret").write_text("shared\n")
        (self.keys / "probe_password").write_text("PROBE-PASSWORD\n")
        (self.keys / "admin_service.json").write_text('{"as_token": "AS-TOKEN"}')
        (self.keys / "image.json").write_text(json.dumps({"domain": DOMAIN}))
        self.base = f"http://127.0.0.1:{self.http.server_port}"
        self.open = {"enable_registration": False, "registration_requires_token": False, "allow_guest_access": False}

    def synapse(self):
        return server.Synapse(self.base, self.keys, self.keys / "image.json")

    def call(self, *words, stdin=""):
        """Exit status, standard output and standard error."""
        module = load(words[0])
        parser = argparse.ArgumentParser()
        module.arguments(parser)
        out, err = io.StringIO(), io.StringIO()
        with mock.patch.object(module, "Synapse", self.synapse), mock.patch("sys.stdin", io.StringIO(stdin)), \
                mock.patch.object(module, "settings", lambda: self.open, create=True), \
                contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):  # fmt: skip
            code = module.run(parser.parse_args(words[1:]))
        self.assertEqual(code, 0)
        return out.getvalue(), err.getvalue()

    def refused(self, pattern, *words, stdin=""):
        """Nothing is changed, and no password is told."""
        before = copy.deepcopy([FakeSynapse.users, FakeSynapse.tokens])
        with self.assertRaisesRegex(Trouble, pattern) as found:
            self.call(*words, stdin=stdin)
        if ME not in before[0]:
            FakeSynapse.users.pop(ME, None)
        self.assertEqual([FakeSynapse.users, FakeSynapse.tokens], before)
        if stdin.strip():
            self.assertNotIn(stdin.strip(), str(found.exception))

    def usage(self, *words):
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as found:
            self.call(*words)
        self.assertEqual(found.exception.code, 2)


class Creating(People):
    def test_the_first_user_needs_nobody(self):
        out, _ = self.call("user", "create", "alice", "--admin", "--display-name", "Alice A.", stdin=GOOD + "\n")
        self.assertEqual(out, f"made @alice:{DOMAIN}, an administrator\n")
        alice = FakeSynapse.users[f"@alice:{DOMAIN}"]
        self.assertEqual((alice["password"], alice["admin"], alice["displayname"], alice["sessions"]), (GOOD, True, "Alice A.", 0))

    def test_the_box_s_own_user_is_made_once_with_a_password_that_nobody_knows(self):
        self.call("user", "list")
        first = FakeSynapse.users[ME]["password"]
        self.assertTrue(FakeSynapse.users[ME]["admin"])
        self.assertGreaterEqual(len(first), 64)
        self.call("user", "list")
        made = [body for method, path, body in FakeSynapse.asked if method == "POST"]
        self.assertEqual((len(made), FakeSynapse.users[ME]["password"]), (1, first))
        self.assertFalse([path for _, path, _ in FakeSynapse.asked if "login" in path], "limits for logins could stop it")

    def test_secrets_are_in_no_address(self):
        self.call("user", "create", "bob", stdin=GOOD)
        self.call("user", "password", "bob", stdin="another " + GOOD)
        for _, path, _ in FakeSynapse.asked:
            for secret in ("horse", "AS-TOKEN", "shared"):
                self.assertNotIn(secret, urllib.parse.unquote(path))

    def test_a_made_password_is_all_of_the_output(self):
        out, err = self.call("user", "create", "bob", "--generate")
        self.assertRegex(out, "^[a-z2-9]{4}(-[a-z2-9]{4}){4}\n$")
        self.assertEqual(FakeSynapse.users[f"@bob:{DOMAIN}"]["password"], out.strip())
        self.assertNotIn(out.strip(), err)
        self.assertIn("this once", err)

    def test_a_full_name_is_one_of_this_server(self):
        self.call("user", "create", f"@carol:{DOMAIN}", "--generate")
        self.assertIn(f"@carol:{DOMAIN}", FakeSynapse.users)
        self.refused("user of other.example; this box is chat.example", "user", "create", "@carol:other.example")

    def test_names_that_cannot_be(self):
        for name, why in {
            "Dave": "lower case: dave",
            "däve": "is no name",
            "d ave": "is no name",
            "dave!": "letters a to z",
            "_dave": "kept for bridges",
            "12345": "kept for guests",
            "chatimg-admin": "the box's own",
            "chatimg-probe": "the box's own",
            "": "is no name",
            "@": "is no name",
            "@:chat.example": "is no name",
            "dave:chat.example": "is no name",
            "dave\n": "is no name",
            "d" * 250: "more than 255",
        }.items():
            self.refused(why, "user", "create", name, stdin=GOOD)
        for name in ("a", "a.b_c=d/e+f-9", "d" * (255 - len(DOMAIN) - 2)):
            self.call("user", "create", name, stdin=GOOD)
            self.assertIn(f"@{name}:{DOMAIN}", FakeSynapse.users)

    def test_a_name_that_is_taken(self):
        add(f"@bob:{DOMAIN}", GOOD)
        add(f"@gone:{DOMAIN}", deactivated=True)
        self.refused("there already; a new password: chatimg-admin user password bob", "user", "create", "bob", stdin=GOOD)
        self.refused("was deactivated.*chatimg-admin user activate gone", "user", "create", "gone", stdin=GOOD)

    def test_a_name_that_is_taken_meanwhile(self):
        real = passwords.read

        def read(name):
            add(f"@bob:{DOMAIN}", "another")
            return real(name)

        with mock.patch.object(passwords, "read", read), self.assertRaisesRegex(Trouble, "there already"):
            self.call("user", "create", "bob", stdin=GOOD)
        self.assertEqual(FakeSynapse.users[f"@bob:{DOMAIN}"]["password"], "another")

    def test_passwords_that_cannot_be(self):
        for password, why in {
            "": "no password was given",
            "\n": "no password was given",
            "short-one": "10 characters at least",
            f"{GOOD}\n{GOOD}\n": "one line",
            f"{GOOD}\x00": "one line",
            f"{GOOD}\x1b": "one line",
            "x" * 513: "512 characters at most",
            "dave-the-great": "the name is no password",
        }.items():
            self.refused(why, "user", "create", "dave-the-great", stdin=password)
        for password in ("ten-chars!", "x" * 512, "pässwörter", "  blanks count  "):
            self.call("user", "create", "dave", stdin=f"{password}\r\n" if password == "ten-chars!" else password)
            self.assertEqual(FakeSynapse.users.pop(f"@dave:{DOMAIN}")["password"], password)

    def test_a_display_name_is_one_line(self):
        for wrong in ("", "two\nlines", "\x1b[31m", "x" * 257):
            self.refused("one line", "user", "create", "bob", "--display-name", wrong, stdin=GOOD)

    def test_no_option_takes_a_password(self):
        self.usage("user", "create", "bob", "--password", GOOD)
        self.usage("user", "create", "bob", GOOD)
        self.usage("user", "password", "bob", GOOD)


class Terminal(unittest.TestCase):
    """A password is asked for twice, and not shown."""

    def asked(self, *typed):
        program = (
            f"import sys; sys.dont_write_bytecode = True; sys.path[:0] = {FOLDERS!r}\n"
            "from chatimg_box.system import Trouble\nfrom chatimg_matrix import passwords\n"
            "try: print('GOT', len(passwords.read('bob')))\nexcept Trouble as trouble: print('error:', trouble)\n"
        )
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-B", "-c", program])
        said = b""
        for word in typed:
            while not said.endswith(b": "):
                said += os.read(terminal, 1024)
            os.write(terminal, word.encode() + b"\n")
            said += b"\n"
        with contextlib.suppress(OSError):  # EIO is a terminal's end of file.
            while more := os.read(terminal, 1024):
                said += more
        os.waitpid(pid, 0)
        os.close(terminal)
        return said.decode()

    def test_asked_twice(self):
        said = self.asked(GOOD, GOOD)
        self.assertIn(f"GOT {len(GOOD)}", said)
        self.assertNotIn("horse", said)

    def test_two_that_differ(self):
        self.assertIn("error: these two differ", self.asked(GOOD, GOOD + "!"))

    def test_a_bad_one_is_refused_before_it_is_typed_again(self):
        said = self.asked("short")
        self.assertIn("10 characters at least", said)
        self.assertNotIn("Once more", said)


class Changing(People):
    def setUp(self):
        super().setUp()
        add(ME, "unknown", admin=True)
        add(f"@bob:{DOMAIN}", GOOD, sessions=3)
        add(f"@gone:{DOMAIN}", deactivated=True)
        add(f"@7:{DOMAIN}", is_guest=True)
        self.bob = FakeSynapse.users[f"@bob:{DOMAIN}"]

    def test_a_new_password_logs_out(self):
        out, _ = self.call("user", "password", "bob", stdin="another " + GOOD)
        self.assertEqual((self.bob["password"], self.bob["sessions"]), ("another " + GOOD, 0))
        self.assertIn("logged out everywhere", out)

    def test_unless_told_otherwise(self):
        out, err = self.call("user", "password", "bob", "--keep-sessions", "--generate")
        self.assertEqual((self.bob["password"], self.bob["sessions"]), (out.strip(), 3))
        self.assertIn("stays logged in", err)

    def test_whose_password_cannot_be_set(self):
        self.refused("there is no user @nobody:chat.example; .*user list", "user", "password", "nobody", stdin=GOOD)
        self.refused("no user @Bob:chat.example, names are in lower case", "user", "password", "Bob", stdin=GOOD)
        self.refused("is deactivated; chatimg-admin user activate gone", "user", "password", "gone", stdin=GOOD)
        self.refused("is a guest", "user", "password", "7", stdin=GOOD)
        for own in ("chatimg-admin", ME, "chatimg-probe"):
            self.refused("the box's own", "user", "password", own, stdin=GOOD)

    def test_deactivating_asks_for_the_name(self):
        self.refused("nobody can be asked here; add --yes", "user", "deactivate", "bob")
        module = load("user")
        with mock.patch("sys.stdin", mock.Mock(isatty=lambda: True)), contextlib.redirect_stdout(io.StringIO()):
            with mock.patch("builtins.input", lambda _: "yes"), self.assertRaisesRegex(Trouble, "nothing was changed"):
                module.ask(f"@bob:{DOMAIN}", "bob", False)
            with mock.patch("builtins.input", lambda _: "bob "):
                module.ask(f"@bob:{DOMAIN}", "bob", True)

    def test_deactivated(self):
        out, _ = self.call("user", "deactivate", "bob", "--yes")
        self.assertEqual((self.bob["deactivated"], self.bob["erased"], out), (True, False, f"@bob:{DOMAIN} is deactivated\n"))
        self.refused("is deactivated already", "user", "deactivate", "bob", "--yes")
        self.call("user", "deactivate", "bob", "--yes", "--erase")
        self.assertTrue(self.bob["erased"])
        self.refused("there is no user", "user", "deactivate", "nobody", "--yes")
        self.refused("the box's own", "user", "deactivate", "chatimg-admin", "--yes")

    def test_a_name_with_a_slash(self):
        add(f"@a/b+c:{DOMAIN}")
        self.call("user", "deactivate", "a/b+c", "--yes")
        self.assertTrue(FakeSynapse.users[f"@a/b+c:{DOMAIN}"]["deactivated"])

    def test_activated_again(self):
        self.refused("is not deactivated", "user", "activate", "bob", stdin=GOOD)
        out, _ = self.call("user", "activate", "gone", "--generate")
        gone = FakeSynapse.users[f"@gone:{DOMAIN}"]
        self.assertEqual((gone["deactivated"], gone["password"]), (False, out.strip()))

    def test_administrators(self):
        self.assertIn("now an administrator", self.call("user", "admin", "bob", "--grant")[0])
        self.assertTrue(self.bob["admin"])
        self.assertIn("already", self.call("user", "admin", "bob", "--grant")[0])
        self.call("user", "admin", "bob", "--revoke")
        self.assertEqual((self.bob["admin"], self.bob["sessions"]), (False, 3))
        self.refused("is deactivated", "user", "admin", "gone", "--grant")
        self.refused("is a guest", "user", "admin", "7", "--grant")
        self.refused("the box's own", "user", "admin", "chatimg-admin", "--revoke")
        self.usage("user", "admin", "bob")


class Listing(People):
    def test_nobody(self):
        self.assertEqual(self.call("user", "list")[0], "nobody yet; chatimg-admin user create NAME\n")

    def test_everybody_whatever_a_page_holds(self):
        for number in range(7):
            add(f"@user{number}:{DOMAIN}", locked=number == 3, deactivated=number == 4)
        with mock.patch.object(server, "PAGE", 3):
            lines = self.call("user", "list")[0].splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["NAME", *(f"user{number}" for number in range(7))])
        self.assertRegex(lines[4], "user3  locked ")
        self.assertRegex(lines[5], "user4  deactivated ")

    def test_the_box_s_own_are_left_out_or_marked(self):
        add(f"@chatimg-probe:{DOMAIN}")
        add(f"@alice:{DOMAIN}", admin=True, last_seen_ts=1_700_000_100_000)
        self.assertNotIn("chatimg", self.call("user", "list")[0])
        every = self.call("user", "list", "--all")[0]
        self.assertRegex(every, "(?m)^chatimg-admin  admin, the box's own ")
        self.assertRegex(every, "(?m)^chatimg-probe  the box's own ")
        (alice,) = json.loads(self.call("user", "list", "--json")[0])
        self.assertEqual(
            (alice["name"], alice["id"], alice["admin"], alice["made"], alice["seen"], alice["own"]),
            ("alice", f"@alice:{DOMAIN}", True, 1_700_000_000, 1_700_000_100, False),
        )

    def test_a_display_name_does_nothing_to_the_terminal(self):
        add(f"@bob:{DOMAIN}", display_name="\x1b]0;x\x07\u202e" + "z" * 200)
        out = self.call("user", "list")[0]
        self.assertNotRegex(out, "[\x1b\x07\u202e]")
        self.assertLess(max(map(len, out.splitlines())), 120)

    def test_a_list_that_lacks_who_asks_is_not_believed(self):
        # As if a Synapse to come took "%" for a letter.
        with mock.patch.object(FakeSynapse, "listing", lambda self: self.answer(200, {"users": [], "total": 0})):
            self.refused("left out @chatimg-admin", "user", "list")


class Registration(People):
    def setUp(self):
        super().setUp()
        self.open["enable_registration"] = self.open["registration_requires_token"] = True

    def test_a_token_is_for_one_account_and_a_week(self):
        out, err = self.call("registration", "token", "create")
        (token,) = FakeSynapse.tokens.values()
        self.assertRegex(out, "^[a-z2-9]{4}(-[a-z2-9]{4}){4}\n$")
        self.assertEqual((token["token"], token["uses_allowed"]), (out.strip(), 1))
        self.assertAlmostEqual(token["expiry_time"] / 1000, time.time() + 7 * 86400, delta=5)
        self.assertIn("for 1 account, until ", err)
        self.assertNotIn("warning", err)

    def test_as_it_is_asked_for(self):
        words = ["--uses", "unlimited", "--expires", "never", "--token", "a.b_c~d-e012"]
        out, err = self.call("registration", "token", "create", *words)
        token = FakeSynapse.tokens["a.b_c~d-e012"]
        self.assertEqual((out, token["uses_allowed"], token["expiry_time"]), ("a.b_c~d-e012\n", None, None))
        self.assertIn("any number of accounts, for ever", err)
        self.call("registration", "token", "create", "--uses", "5", "--expires", "2 h", "--token", "weak")
        self.assertEqual(FakeSynapse.tokens["weak"]["uses_allowed"], 5)
        self.assertAlmostEqual(FakeSynapse.tokens["weak"]["expiry_time"] / 1000, time.time() + 7200, delta=5)

    def test_a_token_that_can_be_guessed_is_warned_of(self):
        self.assertIn("can be guessed", self.call("registration", "token", "create", "--token", "weak")[1])

    def test_times(self):
        expiry = load("registration").expiry
        year = time.localtime().tm_year + 1
        self.assertEqual(time.localtime(expiry(f"{year}-12-24"))[:5], (year, 12, 24, 0, 0))
        self.assertEqual(time.localtime(expiry(f"{year}-12-24 18:30"))[:5], (year, 12, 24, 18, 30))
        self.assertAlmostEqual(expiry("1min"), time.time() + 60, delta=2)
        for wrong in ("", "0 d", "7", "tomorrow", "2020-01-01", "2030-13-01", "99999 d", "-1 d"):
            self.assertRaises(ValueError, expiry, wrong)
            self.usage("registration", "token", "create", "--expires", wrong)
        for wrong in ("", "0", "-1", "1.5", "many"):
            self.usage("registration", "token", "create", "--uses", wrong)

    def test_tokens_that_cannot_be(self):
        for wrong in ("", "-dash", "a b", "ä", "a/b", "x" * 65, "a\n"):
            self.refused("a token has 1 to 64", "registration", "token", "create", f"--token={wrong}")
        self.call("registration", "token", "create", "--token", "twice-the-same")
        self.refused("such a token already", "registration", "token", "create", "--token", "twice-the-same")

    def test_nobody_takes_the_box_s_names(self):
        self.call("registration", "token", "create")
        self.assertEqual(FakeSynapse.users[f"@chatimg-probe:{DOMAIN}"]["password"], "PROBE-PASSWORD")
        self.assertFalse(FakeSynapse.users[f"@chatimg-probe:{DOMAIN}"]["admin"])
        self.assertIn(ME, FakeSynapse.users)

    def test_while_registration_is_closed_a_token_is_warned_of(self):
        self.open["enable_registration"] = False
        out, err = self.call("registration", "token", "create")
        self.assertIn('registration = "token"', err)
        self.assertIn(out.strip(), FakeSynapse.tokens)

    def test_list_and_remove(self):
        self.assertIn("no token", self.call("registration", "token", "list")[0])
        now = int(time.time() * 1000)
        made = (("a", 2, 1, None), ("b", 1, 1, None), ("c", None, 9, now - 1000), ("d", None, 0, now + 10**6))
        for token, uses, used, expires in made:
            body = {"token": token, "uses_allowed": uses, "completed": used, "pending": 0, "expiry_time": expires}
            FakeSynapse.tokens[token] = body
        FakeSynapse.tokens["a"]["pending"] = 1
        lines = self.call("registration", "token", "list")[0].splitlines()
        self.assertEqual(lines[0], "a  1 of 2 used, 1 under way, for ever")
        self.assertEqual(lines[1], "b  1 of 1 used, for ever: of no use any more")
        self.assertRegex(lines[2], "^c  9 of any number used, until .*: of no use any more$")
        self.assertRegex(lines[3], "^d  0 of any number used, until [^:]*:[^:]*$")
        found = json.loads(self.call("registration", "token", "list", "--json")[0])
        self.assertEqual([one["usable"] for one in found], [True, False, False, True])
        self.assertEqual(found[3]["expires"], (now + 10**6) // 1000)
        self.assertIn("2 that can be used, 2 used up or expired", self.call("registration", "show")[0])
        self.call("registration", "token", "remove", "a")
        self.assertNotIn("a", FakeSynapse.tokens)
        self.refused("no such token", "registration", "token", "remove", "a")
        self.refused("that is no token", "registration", "token", "remove", "a/../b")

    def test_show(self):
        out = self.call("registration", "show")[0]
        self.assertRegex(out, "registration +for those with a token\nguests +none\ntokens +0 that can be used, 0 ")
        self.open.update(enable_registration=False, allow_guest_access=True)
        self.assertRegex(self.call("registration", "show")[0], "registration +closed.*\nguests +may enter")
        self.open.update(enable_registration=True, registration_requires_token=False)
        self.assertIn("OPEN TO ALL", self.call("registration", "show")[0])


class Failing(People):
    """What does not work is said, with what to do next."""

    def test_synapse_is_away(self):
        self.http.shutdown()
        self.http.server_close()
        self.refused("Synapse does not answer.*chatimg-admin status", "user", "list")

    def test_what_synapse_refuses_is_told_in_its_words(self):
        FakeSynapse.broken = (500, {"errcode": "M_UNKNOWN", "error": "Internal\x1b[2J\nerror"})
        self.refused("Synapse says 500 M_UNKNOWN Internal\N{REPLACEMENT CHARACTER}\\[2J error;", "user", "list")
        for nonsense in (b"<html>", b"[1, 2]", b"[" * 100_000, b""):
            FakeSynapse.broken = (502, nonsense)
            self.refused("Synapse says 502 and nothing else", "user", "list")

    def test_a_token_that_synapse_has_not_read_yet(self):
        (self.keys / "admin_service.json").write_text('{"as_token": "OTHER"}')
        self.refused("systemctl restart matrix-synapse", "user", "list")

    def test_secrets_that_are_missing_or_damaged(self):
        (self.keys / "admin_service.json").write_text("{")
        self.refused("is damaged", "user", "list")
        (self.keys / "admin_service.json").unlink()
        self.refused("admin_service.json cannot be read: No such file", "user", "list")

    def test_a_user_of_the_box_s_name_who_is_no_administrator_becomes_none(self):
        add(ME, "somebody's")
        self.refused("own user @chatimg-admin:chat.example is no administrator; docs/people.md", "user", "list")
        self.assertFalse(FakeSynapse.users[ME]["admin"])

    def test_no_proxy_is_asked(self):
        with mock.patch.dict(os.environ, {"http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"}):
            self.call("user", "list")


class Overlay(unittest.TestCase):
    """What the image brings along fits the commands."""

    overlay = tomllib.loads((OVERLAY / "overlay.toml").read_text())
    configuration = (OVERLAY / "files/etc/matrix-synapse/homeserver.yaml.j2").read_text()

    def test_the_secret_is_an_application_service_for_this_machine_alone(self):
        (secret,) = [one for one in self.overlay["secrets"] if one["path"].endswith("/admin_service.json")]
        self.assertEqual((secret["owner"], secret["mode"]), ("matrix-synapse", "0400"))
        self.assertEqual(secret["path"], str(server.KEYS / "admin_service.json"))
        self.assertIn(f"app_service_config_files: [{secret['path']}]", self.configuration)
        with tempfile.TemporaryDirectory() as folder:
            made = []
            for name in ("1", "2"):
                out = pathlib.Path(folder, name)
                subprocess.run(["sh", "-eu", "-c", secret["generate"]], env=os.environ | {"OUT": str(out)}, check=True)
                made.append(json.loads(out.read_text()))
        first, second = made
        self.assertRegex(first["as_token"], "^[0-9a-f]{64}$")
        self.assertEqual(len({first["as_token"], first["hs_token"], second["as_token"], second["hs_token"]}), 4)
        self.assertEqual((first["url"], first["ip_range_whitelist"], first["rate_limited"]), (None, ["127.0.0.1"], False))
        # The user himself is in no exclusive namespace, or he could not be registered; nobody else is in any.
        self.assertNotEqual(first["sender_localpart"], names.ADMIN)
        ((namespace,),) = first["namespaces"].values()
        self.assertFalse(namespace["exclusive"])
        self.assertTrue(re.match(namespace["regex"], ME))
        for other in ("alice", "chatimg-admin2", "xchatimg-admin", "chatimg-probe"):
            self.assertFalse(re.match(namespace["regex"], names.full(other, DOMAIN)))

    def test_a_generator_that_fails_makes_no_empty_token(self):
        (secret,) = [one for one in self.overlay["secrets"] if one["path"].endswith("/admin_service.json")]
        with tempfile.TemporaryDirectory() as folder:
            openssl = pathlib.Path(folder, "openssl")
            openssl.write_text("#!/bin/sh\nexit 1\n")
            openssl.chmod(0o755)
            environment = os.environ | {"OUT": f"{folder}/out", "PATH": f"{folder}:{os.environ['PATH']}"}
            done = subprocess.run(["sh", "-eu", "-c", secret["generate"]], env=environment)
            self.assertNotEqual(done.returncode, 0)
            self.assertFalse(pathlib.Path(folder, "out").exists())

    def test_registration_is_never_open_to_all(self):
        option = self.overlay["options"]["registration"]
        self.assertEqual((option["choices"], option["default"]), (["closed", "token"], "closed"))
        self.assertIs(self.overlay["options"]["guests"]["default"], False)
        self.assertNotIn("enable_registration_without_verification", self.configuration)

    def test_settings_are_read_as_the_template_writes_them(self):
        choice = r'\{% if options.registration == "token" %\}\n(.*?)\{% else %\}\n(.*?)\{% endif %\}\n'
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "homeserver.yaml")
            for token in (True, False):
                text = re.sub(choice, r"\1" if token else r"\2", self.configuration, flags=re.S)
                file.write_text(text.replace("{{ options.guests | tojson }}", "true"))
                expected = {"enable_registration": token, "registration_requires_token": token, "allow_guest_access": True}
                self.assertEqual(server.settings(file), expected)

    def test_people_are_asked_for_the_same_passwords_everywhere(self):
        self.assertIn(f"    minimum_length: {passwords.SHORTEST}\n", self.configuration)

    def test_previews_of_nothing_that_is_inside(self):
        ranges = re.search("url_preview_ip_range_blacklist:\n((?:  - .*\n)+)", self.configuration)[1]
        nets = [ipaddress.ip_network(line.strip(' -"')) for line in ranges.splitlines()]
        # IANA's special-purpose address registries and multicast: first and last address of what is not global.
        inside = """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
            192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32
            ::/128 ::1/128 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/32 2001:2::/48 2001:10::/28 2001:20::/28
            2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8""".split()
        for one in map(ipaddress.ip_network, inside):
            self.assertTrue(any(one.version == net.version and one.subnet_of(net) for net in nets), one)
        for outside in ("8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "2a00:1450::1", "2400:cb00::1"):
            address = ipaddress.ip_address(outside)
            self.assertFalse(any(address in net for net in nets if net.version == address.version), outside)


if __name__ == "__main__":
    unittest.main()
