"""Certificates: which one is used, what is asked for and when, and that nothing half-done is ever in place."""

import http.server
import importlib.util
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

OVERLAYS = Path(__file__).resolve().parents[2] / "overlays"
sys.dont_write_bytecode = True
LIBRARIES = {name: OVERLAYS / name / "files/usr/lib/chatimg" for name in ("base", "nginx", "acme")}
sys.path[:0] = [str(path) for path in LIBRARIES.values()]

from chatimg_acme import certbot, decide, dns, look, names, root, settings, state  # noqa: E402
from chatimg_box import system  # noqa: E402
from chatimg_box.health import Section  # noqa: E402
from chatimg_tls import certificate  # noqa: E402
from chatimg_tls.certificate import DAY, Certificate  # noqa: E402

HOUR = 3600.0
NOW = 1.8e9
HERE = names.Found("here", "", ("192.0.2.1",))
MISSING = names.Found("missing", "the DNS has no address for it")
UNKNOWN = names.Found("unknown", "the DNS does not answer")
URL = "https://acme.example/dir"


def wanted(*names_, **other):
    all_of_it = dict(names=names_ or ("a.example", "b.example"), agreed=True, email="", server=URL, challenge="http",
                     token="", own_until=0, now=False)
    return settings.Settings(**{**all_of_it, **other})


def have(*names_, left=60 * DAY, lifetime=90 * DAY):
    return Certificate(frozenset(names_), NOW + left - lifetime, NOW + left)


def pem(directory, name, days="30", names_="DNS:a.example", key=None):
    """A certificate with its key, as self-signed as it may be."""
    both, key_file = Path(directory, name), key or Path(directory, "key.pem")
    if key is None:
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key_file],
                       check=True, capture_output=True)
    # With -days alone none can be made that has expired.
    dates = ["-not_after", "20200101000000Z", "-not_before", "20190101000000Z"] if days == "past" else ["-days", days]
    request = Path(directory, "request.pem")
    made = subprocess.run(["openssl", "req", "-new", "-key", key_file, "-subj", "/", "-addext", f"subjectAltName={names_}",
                           "-x509", *dates, "-out", request], capture_output=True, check=False)
    if made.returncode != 0:
        old_style(directory, key_file, names_, request)
    both.write_bytes(Path(key_file).read_bytes() + request.read_bytes())
    return both


def old_style(directory, key, names_, out):
    """openssl before 3.4 makes an expired one by `openssl ca` only."""
    config = Path(directory, "ca.cnf")
    config.write_text("[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index\nserial=%s/serial\nnew_certs_dir=%s\ndefault_md=sha256\n"
                      "policy=p\nunique_subject=no\nx509_extensions=e\n[p]\ncommonName=optional\n[e]\nsubjectAltName=%s\n"
                      % (directory, directory, directory, names_))
    Path(directory, "index").write_text("")
    Path(directory, "serial").write_text("01\n")
    csr = Path(directory, "csr.pem")
    subprocess.run(["openssl", "req", "-new", "-key", key, "-subj", "/CN=x", "-out", csr], check=True, capture_output=True)
    subprocess.run(["openssl", "ca", "-batch", "-selfsign", "-config", config, "-keyfile", key, "-in", csr, "-out", out,
                    "-notext", "-startdate", "20190101000000Z", "-enddate", "20200101000000Z"], check=True, capture_output=True)


class Deciding(unittest.TestCase):
    def decide(self, found, current=None, memory=None, now=NOW, **other):
        memory = memory or state.State(server=URL)
        return decide.decide(now, wanted(*found, **other), current, found, memory)

    def test_a_name_without_an_address_keeps_no_other_from_a_certificate(self):
        found = self.decide({"a.example": HERE, "b.example": MISSING})
        self.assertEqual((found.ask, found.lacking), (("a.example",), {"b.example": MISSING.why}))

    def test_without_any_name_nobody_is_asked(self):
        found = self.decide({"a.example": MISSING, "b.example": UNKNOWN})
        self.assertEqual((found.ask, found.result), ((), "waits"))
        self.assertEqual(self.decide({"a.example": UNKNOWN, "b.example": UNKNOWN}).result, "network")

    def test_what_is_good_stays_until_a_third_of_its_life_is_left(self):
        both = {"a.example": HERE, "b.example": HERE}
        self.assertEqual(self.decide(both, have(*both, left=31 * DAY)), decide.Decision())
        self.assertEqual(self.decide(both, have(*both, left=29 * DAY)).ask, tuple(both))
        self.assertEqual(self.decide(both, have(*both, left=-DAY)).ask, tuple(both))
        # Of six days as of ninety.
        self.assertEqual(self.decide(both, have(*both, left=2.1 * DAY, lifetime=6 * DAY)).ask, ())
        self.assertEqual(self.decide(both, have(*both, left=1.9 * DAY, lifetime=6 * DAY)).ask, tuple(both))

    def test_a_name_that_appears_is_taken_in(self):
        both = {"a.example": HERE, "b.example": HERE}
        self.assertEqual(self.decide(both, have("a.example")).ask, tuple(both))

    def test_a_name_that_is_lost_is_waited_for_until_it_is_time(self):
        found = {"a.example": HERE, "b.example": MISSING, "c.example": HERE}
        for current in (have("a.example", "b.example"), have("a.example", "b.example", "c.example", left=20 * DAY)):
            self.assertEqual(self.decide(found, current).result, "waits")
        last = self.decide(found, have("a.example", "b.example", left=13 * DAY))
        self.assertEqual(last.ask, ("a.example", "c.example"))
        # As long as nothing is due, it is still in the certificate: nothing lacks.
        self.assertEqual(self.decide({"a.example": HERE, "b.example": MISSING}, have("a.example", "b.example")),
                         decide.Decision())

    def test_another_authority_s_certificate_is_none(self):
        both = {"a.example": HERE, "b.example": HERE}
        trial = state.State(server=settings.SERVERS["staging"])
        self.assertEqual(self.decide(both, have(*both), trial).ask, tuple(both))

    def test_what_was_refused_is_left_out_for_a_while_or_until_it_leads_elsewhere(self):
        memory = state.State(server=URL)
        memory.was_refused({"b.example": "no"}, {"b.example": HERE.addresses}, NOW)
        found = {"a.example": HERE, "b.example": HERE}
        self.assertEqual(self.decide(found, None, memory, NOW + HOUR - 1).ask, ("a.example",))
        self.assertEqual(self.decide(found, None, memory, NOW + HOUR + 1).ask, tuple(found))
        found["b.example"] = names.Found("here", "", ("192.0.2.2",))
        self.assertEqual(self.decide(found, None, memory, NOW + 1).ask, tuple(found))

    def test_never_five_failures_in_an_hour(self):
        """A box that everything fails on, looked at every minute by an impatient administrator, for three days."""
        memory, failures, found = state.State(server=URL), [], {"a.example": HERE}
        for minute in range(3 * 24 * 60):
            now = NOW + 60 * minute
            memory.changed(str(minute // 7), minute % 5 == 0)
            if self.decide(found, None, memory, now).ask:
                failures.append(now)
                memory.begins(now)
                if minute % 3 == 0:
                    pass  # It was killed.
                elif minute % 2:
                    memory.was_refused({"a.example": "no"}, {}, now)
                else:
                    memory.has_failed(now)
        self.assertGreater(len(failures), 200)
        for first, fifth in zip(failures, failures[4:]):
            self.assertGreater(fifth - first, HOUR - 1)

    def test_left_alone_it_asks_ever_less(self):
        for fail in (lambda memory, now: memory.was_refused({"a.example": "no"}, {"a.example": HERE.addresses}, now),
                     lambda memory, now: memory.has_failed(now)):
            memory, failures = state.State(server=URL), []
            for quarter in range(7 * 96):
                now = NOW + 900 * quarter
                if self.decide({"a.example": HERE}, None, memory, now).ask:
                    failures.append(now)
                    memory.begins(now)
                    fail(memory, now)
            self.assertTrue(10 < len(failures) < 25, len(failures))
            self.assertGreaterEqual(failures[-1] - failures[-2], 12 * HOUR)

    def test_the_authority_s_own_time_holds(self):
        memory = state.State(server=URL)
        memory.has_failed(NOW, NOW + 30 * HOUR)
        self.assertEqual(self.decide({"a.example": HERE}, None, memory, NOW + 29 * HOUR).ask, ())
        self.assertEqual(self.decide({"a.example": HERE}, None, memory, NOW + 31 * HOUR).ask, ("a.example",))


class Memory(unittest.TestCase):
    def test_a_try_counts_as_failed_until_it_went_well(self):
        memory = state.State(says="x", failures=3, wait_until=NOW)
        for offset in range(3):
            memory.begins(NOW + offset)
        memory.was_refused({"b.example": "no"}, {}, NOW)
        memory.has_gone_well(NOW + 2, URL, ("a.example", "b.example"))
        self.assertEqual(memory, state.State(result="good", got=NOW + 2, server=URL, failed=[NOW, NOW + 1]))

    def test_it_comes_back_as_it_was_and_damage_is_forgotten(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "state.json")
            memory = state.State(says="x", since=NOW)
            memory.was_refused({"a.example": "no"}, {"a.example": ("192.0.2.1",)}, NOW)
            state.save(memory, path)
            self.assertEqual(state.load(path), memory)
            for damage in ("", "{", "[]", '{"refused": {"a": 1}}', '{"refused": []}', "\0\0"):
                path.write_text(damage)
                self.assertEqual(state.load(path), state.State())
            path.write_text('{"says": "x", "of a later image": 1}')
            self.assertEqual(state.load(path).says, "x")

    def test_whoever_has_taken_its_user_over_gains_nothing_by_it(self):
        """Root reads it, too: not what it leads to, nor without end, nor what is of another kind than it was."""
        with tempfile.TemporaryDirectory() as folder:
            path, elsewhere = Path(folder, "state.json"), Path(folder, "elsewhere")
            elsewhere.write_text('{"says": "CANARY"}')
            path.symlink_to(elsewhere)
            self.assertEqual(state.load(path), state.State())
            path.unlink()
            os.mkfifo(path)
            self.assertEqual(state.load(path), state.State())
            path.unlink()
            path.write_text('{"says": "%s"}' % ("x" * (1 << 20)))
            self.assertEqual(state.load(path), state.State())
            wrong = ('{"says": 1}', '{"since": "now"}', '{"lacking": {"a": []}}', '{"lacking": "x"}', '{"failed": ["x"]}', "[" * 100_000)
            refused = ('{"a": {"why": 1, "count": 1, "until": 1, "addresses": []}}', '{"a": {"why": "", "count": 1, "until": 1, "addresses": [1]}}')
            for damage in (*wrong, *('{"refused": %s}' % one for one in refused)):
                path.write_text(damage)
                self.assertEqual(state.load(path), state.State(), damage[:40])
            path.write_text('{"says": "a\\u001b[2Jb", "lacking": {"x": "\\u009b1m"}}')
            self.assertEqual((state.load(path).says, state.load(path).lacking), ("a\N{REPLACEMENT CHARACTER}[2Jb", {"x": "\N{REPLACEMENT CHARACTER}1m"}))

    def test_a_clock_that_was_ahead_makes_it_wait_no_longer_than_a_day(self):
        memory = state.State()
        memory.was_refused({"a.example": "no"}, {}, NOW + 9999 * DAY)
        memory.next_look = NOW + 9999 * DAY
        memory.sane(NOW)
        self.assertLess(memory.next_look, NOW + 26 * HOUR)
        self.assertLess(memory.refused["a.example"].until, NOW + 26 * HOUR)
        self.assertTrue(memory.may_fail(NOW))


class Looking(unittest.TestCase):
    def idle(self, current=None, now=NOW, synchronised=True, up=10.0, trial=False, **other):
        with tempfile.TemporaryDirectory() as folder:
            mark = Path(folder, "synchronized")
            if synchronised:
                mark.touch()
            on_trial = Path(folder, "trial")
            if trial:
                on_trial.touch()
            with (
                mock.patch.object(look, "SYNCHRONISED", mark),
                mock.patch.object(look, "TRIAL", on_trial),
                mock.patch("time.clock_gettime", return_value=up),
            ):
                return look.idle(wanted(**other), current, now)[0]

    def test_when_nothing_is_looked_for(self):
        self.assertEqual(self.idle(), "")
        self.assertEqual(self.idle(agreed=False), "terms")
        self.assertEqual(self.idle(challenge="dns-cloudflare"), "terms")
        self.assertEqual(self.idle(challenge="dns-cloudflare", token="x"), "")
        self.assertEqual(self.idle(own_until=NOW + 15 * DAY), "own")
        self.assertEqual(self.idle(own_until=NOW + 13 * DAY), "")

    def test_an_image_on_trial_asks_nobody_to_come_to_its_closed_ports(self):
        self.assertEqual(self.idle(trial=True), "trial")
        self.assertEqual(self.idle(trial=True, agreed=False), "terms")

    def test_a_clock_that_is_not_set_is_waited_for(self):
        self.assertEqual(self.idle(synchronised=False), "clock")
        self.assertEqual(self.idle(synchronised=False, up=2 * HOUR), "")
        # Set or not: the certificate is from the future.
        self.assertEqual(self.idle(have("a.example"), now=NOW - 9999 * DAY), "clock")

    def test_well_it_is_looked_at_twice_a_day_and_before_it_is_due(self):
        good = state.State(result="good")
        for _ in range(99):
            self.assertTrue(11 * HOUR <= look.next_look(good, have("a.example"), NOW) - NOW <= 13 * HOUR)
        self.assertEqual(look.next_look(good, have("a.example", left=50, lifetime=60), NOW), NOW + 30)
        self.assertEqual(look.next_look(state.State(result="good", lacking={"b.example": "no"}), None, NOW), 0)
        self.assertEqual(look.next_look(state.State(result="waits"), None, NOW), 0)


class Whole(unittest.TestCase):
    """A look from its start to its end, with a made-up certbot and resolver."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = Path(folder.name)
        mark = self.home / "synchronized"
        mark.touch()
        self.settings, self.found = wanted(), {"a.example": HERE, "b.example": MISSING}
        self.asked, self.fails, self.trouble, self.now = [], None, "", time.time()
        for patch in (mock.patch.object(look, "SYNCHRONISED", mark), mock.patch.object(look.settings, "read", lambda: self.settings),
                      mock.patch.object(look.names, "look", lambda name, _: self.found[name]),
                      mock.patch.object(look, "unreachable", lambda _: self.trouble), mock.patch.object(certbot, "ask", self.ask),
                      mock.patch.object(certbot, "CERTIFICATE", self.home / "c.pem"), mock.patch("builtins.print"),
                      mock.patch("time.time", lambda: self.now),
                      mock.patch.object(look.state, "load", lambda: self.load(self.home / "state.json")),
                      mock.patch.object(look.state, "save", lambda memory: self.save(memory, self.home / "state.json"))):
            patch.start()
            self.addCleanup(patch.stop)

    load, save = staticmethod(state.load), staticmethod(state.save)

    def ask(self, _, names_, now):
        self.asked.append(names_)
        # What is known if the power goes now: a failure.
        self.assertEqual(len([one for one in self.memory().failed if one == now]), 1)
        if self.fails:
            raise self.fails
        pem(self.home, "c.pem", names_=",".join(f"DNS:{name}" for name in names_), days="90")

    def memory(self):
        return self.load(self.home / "state.json")

    def after(self, seconds):
        self.now += seconds
        self.asked.clear()
        self.assertEqual(look.main(), 0)
        return self.asked

    def test_a_box_s_life(self):
        self.settings = wanted(agreed=False)
        self.assertEqual(self.after(0), [])
        self.settings, self.trouble = wanted(), "no network"
        self.assertEqual(self.after(900), [])
        self.assertEqual((self.memory().result, self.memory().failed), ("network", []))
        self.trouble, self.fails = "", certbot.Failure("x")
        self.assertEqual(self.after(900), [("a.example",)])
        self.fails = None
        self.assertEqual(self.after(600), [])
        self.assertEqual(self.after(600), [("a.example",)])
        self.assertEqual(self.memory().lacking, {"b.example": MISSING.why})
        self.assertEqual(self.after(900), [])
        self.found["b.example"] = HERE
        self.assertEqual(self.after(900), [("a.example", "b.example")])
        self.assertEqual((self.memory().result, self.memory().lacking), ("good", {}))
        # Nothing is looked at now for eleven hours, whatever becomes of the names.
        self.found["b.example"] = MISSING
        self.assertEqual(self.after(10 * HOUR), [])
        self.assertEqual(self.memory().lacking, {})
        self.found["b.example"] = HERE
        for _ in range(59):
            self.assertEqual(self.after(DAY), [])
        self.assertEqual(self.after(DAY), [("a.example", "b.example")])

    def test_a_name_that_was_refused_costs_the_others_a_quarter_of_an_hour(self):
        self.found["b.example"] = HERE
        self.fails = certbot.Failure("b.example: no", {"b.example": "no"})
        self.assertEqual(self.after(0), [("a.example", "b.example")])
        self.fails = None
        self.assertEqual(self.after(900), [("a.example",)])
        self.assertEqual(self.memory().lacking, {"b.example": "no"})
        self.assertEqual(self.after(900), [])
        self.assertEqual(self.after(HOUR), [("a.example", "b.example")])


class Settings(unittest.TestCase):
    IMAGE = {"names": ["a.example", "chat.a.example", "a.example"], "more": ["b.example"], "without": ["chat.a.example"],
             "terms-agreed": False, "email": "", "server": "letsencrypt", "challenge": "http"}

    def test_the_box_s_settings_come_before_the_image_s(self):
        found = settings.put_together(self.IMAGE, {"acme": {"terms-agreed": True, "server": "staging"}}, "", 0, False)
        self.assertEqual(found.names, ("a.example", "b.example"))
        self.assertTrue(found.agreed)
        self.assertEqual(found.url, settings.SERVERS["staging"])
        self.assertFalse(settings.put_together(self.IMAGE, {}, "", 0, False).agreed)

    def test_what_is_handed_in_has_no_token_and_comes_back(self):
        found = settings.put_together(self.IMAGE, {}, "CANARY", 5, True)
        self.assertNotIn(b"CANARY", settings.encode(found))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "s")
            path.write_bytes(settings.encode(found))
            self.assertEqual(settings.read(path), found)
        other = settings.put_together(self.IMAGE, {}, "OTHER", 5, True)
        self.assertNotEqual(found.fingerprint(), other.fingerprint())


class Certbot(unittest.TestCase):
    """What it says, as it was seen to say it, and what it leaves."""

    REFUSED = """Saving debug log to /var/lib/chatimg-acme/log/letsencrypt.log
Requesting a certificate for a.example and b.example

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: b.example
  Type:   connection
  Detail: 192.0.2.1: Fetching http://b.example/.well-known/acme-challenge/x: Connection refused

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile ... for more details.
"""

    def test_names_that_were_refused(self):
        found = certbot.understood(self.REFUSED, ("a.example", "b.example"))
        self.assertEqual(list(found.names), ["b.example"])
        self.assertIn("Connection refused (connection)", found.why)
        forbidden = 'Cannot issue for "b.example": The ACME server refuses to issue a certificate for this domain name\n'
        self.assertEqual(list(certbot.understood(forbidden + "Ask for help", ("a.example", "b.example")).names), ["b.example"])

    def test_other_failures_are_nobody_s(self):
        limit = ('too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, "a.example", '
                 "retry after 2027-01-15 08:00:01 UTC: see https://letsencrypt.org/docs/rate-limits/\nAsk for help")
        found = certbot.understood(limit, ("a.example",))
        self.assertEqual((found.names, found.not_before), ({}, 1800000001.0))
        self.assertEqual(certbot.understood("", ("a.example",)).names, {})

    def test_a_new_certificate_is_whole_or_not_there(self):
        """Killed at any moment, or given nonsense, the old one stays."""
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            places = {"CERTIFICATE": home / "c.pem", "WORK": home / "new", "CONFIG": home / "config", "LOGS": home / "log"}

            def authority(words):
                option = dict(zip(words, words[1:]))
                request, chain = Path(option["--csr"]), Path(option["--fullchain-path"])
                key = request.with_name("key.pem")
                if self.says == "right":
                    made = pem(home, "made.pem", names_="DNS:a.example,DNS:b.example", key=key).read_bytes()
                elif self.says == "of another key":
                    made = pem(home, "made.pem", names_="DNS:a.example,DNS:b.example").read_bytes()
                elif self.says == "of other names":
                    made = pem(home, "made.pem", key=key).read_bytes()
                else:
                    made = b"nonsense"
                chain.write_bytes(made[made.find(b"-----BEGIN CERT"):])
                return subprocess.CompletedProcess(words, 0, "", "")

            with mock.patch.multiple(certbot, run=authority, **places):
                self.says = "right"
                certbot.ask(wanted(), ("a.example", "b.example"), time.time())
                first = places["CERTIFICATE"].read_bytes()
                self.assertTrue(certificate.fits(places["CERTIFICATE"]))
                self.assertEqual(places["CERTIFICATE"].stat().st_mode & 0o777, 0o600)
                self.assertFalse(places["WORK"].exists())
                for self.says in ("of another key", "of other names", "nonsense"):
                    with self.assertRaises(certbot.Failure, msg=self.says):
                        certbot.ask(wanted(), ("a.example", "b.example"), time.time())
                    self.assertEqual(places["CERTIFICATE"].read_bytes(), first)
                self.says = "right"
                for call in ("os.rename", "os.fsync", "os.fchmod"):
                    with mock.patch(call, side_effect=InterruptedError), self.assertRaises(InterruptedError):
                        certbot.ask(wanted(), ("a.example", "b.example"), time.time())
                    self.assertEqual(places["CERTIFICATE"].read_bytes(), first)
                certbot.ask(wanted(), ("a.example", "b.example"), time.time())
                self.assertNotEqual(places["CERTIFICATE"].read_bytes(), first)

    def test_an_account_that_was_cut_short_is_given_up(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, cut in (("a" * 32, ""), ("b" * 32, "regr.json"), ("c" * 32, "meta.json")):
                account = Path(folder, "accounts/acme.example/dir", name)
                account.mkdir(parents=True)
                for file in ("private_key.json", "regr.json", "meta.json"):
                    (account / file).write_text("" if file == cut else "{}")
            Path(folder, "accounts/acme.example/dir", "c" * 32, "private_key.json").unlink()
            Path(folder, "accounts/acme.example/dir", "d" * 32).mkdir()
            with mock.patch("builtins.print"):
                certbot.mend_accounts(Path(folder))
            self.assertEqual([one.name for one in Path(folder, "accounts/acme.example/dir").iterdir()], ["a" * 32])


class Names(unittest.TestCase):
    def serve(self, answer):
        """A DNS server, by UDP and TCP; `answer` gives flags and records for a kind of question."""
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket()
        udp.bind(("127.0.0.1", 0))
        port = udp.getsockname()[1]
        tcp.bind(("127.0.0.1", port))
        tcp.listen()

        def reply(message, by):
            kind = int.from_bytes(message[-4:-2])
            flags, records = answer(kind, by)
            body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", one, 1, 60, len(data)) + data for one, data in records)
            return message[:2] + struct.pack(">5H", 0x8180 | flags, 1, len(records), 0, 0) + message[12:] + body

        def by_udp():
            while True:
                message, peer = udp.recvfrom(512)
                if message == b"end":
                    return
                udp.sendto(b"xx" + message[2:], peer)
                udp.sendto(reply(message, "udp"), peer)

        def by_tcp():
            while True:
                peer, _ = tcp.accept()
                with peer, peer.makefile("rb") as stream:
                    length = stream.read(2)
                    if not length:
                        return
                    said = reply(stream.read(int.from_bytes(length)), "tcp")
                    peer.sendall(struct.pack(">H", len(said)) + said)

        threads = [threading.Thread(target=one) for one in (by_udp, by_tcp)]
        for one in threads:
            one.start()

        def end():
            udp.sendto(b"end", ("127.0.0.1", port))
            socket.create_connection(("127.0.0.1", port)).close()
            for one in threads:
                one.join()
            udp.close()
            tcp.close()

        self.addCleanup(end)
        for patch in (mock.patch.object(dns, "PORT", port), mock.patch.object(dns, "TIMEOUT", 1),
                      mock.patch.object(names, "servers", lambda: ["127.0.0.1"])):
            patch.start()
            self.addCleanup(patch.stop)

    V4, V6 = (1, bytes([192, 0, 2, 1])), (28, bytes([32, 1, 13, 184, *[0] * 11, 1]))

    def test_addresses_of_both_kinds_behind_another_name(self):
        alias = (5, b"\x01b\x07example\x00")
        self.serve(lambda kind, _: (0, [alias, self.V4 if kind == 1 else self.V6]))
        self.assertEqual(names.ask("a.example"), names.Found("here", "", ("192.0.2.1", "2001:db8::1")))

    def test_a_truncated_answer_is_asked_for_by_tcp(self):
        self.serve(lambda kind, by: (0x200, []) if by == "udp" else (0, [self.V4] * (kind == 1)))
        self.assertEqual(names.ask("a.example").addresses, ("192.0.2.1",))

    def test_no_such_name_and_no_address_are_missing_an_error_is_not(self):
        for flags, kind in ((3, "missing"), (0, "missing"), (2, "unknown"), (5, "unknown")):
            self.serve(lambda *_: (flags, []))
            self.assertEqual(names.ask("a.example").kind, kind, flags)
            self.doCleanups()

    def test_damaged_answers_say_nothing(self):
        question = b"\x01a\x07example\x00" + struct.pack(">HH", 1, 1)
        head = struct.pack(">6H", 7, 0x8180, 1, 1, 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes(4)
        whole = head + question + record
        self.assertEqual(dns.understood(whole, 7, question, 1), ["0.0.0.0"])
        for end in range(len(whole)):
            with self.assertRaises(dns.Unusable, msg=end):
                dns.understood(whole[:end], 7, question, 1)
        with self.assertRaises(dns.Unusable):
            dns.understood(whole, 8, question, 1)
        with self.assertRaises(dns.Unusable):
            dns.understood(whole.replace(b"a\x07", b"b\x07"), 7, question, 1)

    def test_the_servers_are_those_of_the_resolver(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "resolv.conf")
            with mock.patch.object(names, "RESOLV_CONF", path):
                self.assertEqual(names.ask("a.example"), names.Found("unknown", "no DNS server is known"))
                path.write_text("# nameserver x\nnameserver 192.0.2.53\nnameserver fe80::1%eno1\nsearch .\n")
                self.assertEqual(names.servers(), ["192.0.2.53", "fe80::1%eno1"])

    def test_own_addresses(self):
        self.assertTrue(names.is_own("127.0.0.1"))
        self.assertFalse(names.is_own("192.0.2.77"))

    def look(self, addresses, public=True, served=None):
        with tempfile.TemporaryDirectory() as folder:
            found = names.Found("here", "", addresses)
            with mock.patch.object(names, "ask", return_value=found), \
                    mock.patch.object(names, "is_public", return_value=public), \
                    mock.patch.object(names, "answers", side_effect=served or (lambda *_: False)):
                result = names.look("a.example", Path(folder))
            self.assertEqual([one for one in Path(folder).rglob("*") if one.is_file()], [])
            return result

    def test_a_name_of_another_machine_is_told_where_that_can_be_known(self):
        self.assertEqual(self.look(("127.0.0.1",)).kind, "here")
        self.assertEqual(self.look(("192.0.2.77",)).kind, "elsewhere")
        self.assertIn("192.0.2.77", self.look(("127.0.0.1", "192.0.2.77")).why)
        # Behind a router nobody knows; behind a proxy what lies here is found.
        self.assertEqual(self.look(("192.0.2.77",), public=False).kind, "here")
        self.assertEqual(self.look(("192.0.2.77",), served=lambda *_: True).kind, "here")

    def test_what_a_server_answers(self):
        class Server(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, text = {"right": (200, b"token"), "moved": (301, b""), "wrong": (200, b"hello")}[self.headers["Host"]]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            real = names.http.client.HTTPConnection
            with mock.patch.object(names.http.client, "HTTPConnection",
                                   lambda address, port, timeout: real(address, server.server_port, timeout=timeout)):
                said = [names.answers("127.0.0.1", host, "f", "token") for host in ("right", "moved", "wrong")]
            server.shutdown()
        self.assertEqual(said, [True, True, False])


class Choosing(unittest.TestCase):
    """The shell programs, on a folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)
        self.tls, self.hooks = self.dir / "tls", self.dir / "lib/certificate.d"
        self.tls.mkdir()
        self.hooks.mkdir(parents=True)
        for name in ("choose-certificate", "check-certificate", "put-certificate", "set-certificate", "announce-certificate",
                     "renew-self-signed"):
            text = (LIBRARIES["nginx"] / name).read_text()
            for old, new in (("/var/lib/chatimg/tls", self.tls), ("/usr/lib/chatimg", self.dir / "lib"),
                             ("/run/chatimg", self.dir / "run")):
                text = text.replace(old, str(new))
            path = self.dir / "lib" / name
            path.write_text(text)
            path.chmod(0o755)
        pem(self.tls, "self-signed.pem")

    def run_(self, name, *arguments, stdin=b""):
        return subprocess.run([self.dir / "lib" / name, *arguments], input=stdin, capture_output=True, check=False)

    def chosen(self):
        link = self.dir / "link.pem"
        self.assertEqual(self.run_("choose-certificate", link).returncode, 0)
        return link.resolve().name

    def test_order(self):
        self.assertEqual(self.chosen(), "self-signed.pem")
        pem(self.tls, "acme.pem")
        self.assertEqual(self.chosen(), "acme.pem")
        pem(self.tls, "certificate.pem")
        self.assertEqual(self.chosen(), "certificate.pem")
        pem(self.tls, "certificate.pem", "past")
        self.assertEqual(self.chosen(), "acme.pem")
        pem(self.tls, "acme.pem", "past")
        self.assertEqual(self.chosen(), "certificate.pem")
        (self.tls / "certificate.pem").write_text("nonsense")
        self.assertEqual(self.chosen(), "acme.pem")
        (self.tls / "acme.pem").unlink()
        self.assertEqual(self.chosen(), "self-signed.pem")

    def test_what_does_not_fit_or_has_expired_is_refused_and_nothing_changes(self):
        good = pem(self.tls, "certificate.pem").read_bytes()
        other = pem(self.dir, "other.pem").read_bytes()
        wrong = other[:other.find(b"-----BEGIN CERT")] + good[good.find(b"-----BEGIN CERT"):]
        for bad in (b"", b"nonsense", wrong, pem(self.dir, "past.pem", "past").read_bytes()):
            self.assertNotEqual(self.run_("set-certificate", stdin=bad).returncode, 0)
            self.assertEqual((self.tls / "certificate.pem").read_bytes(), good)
        self.assertEqual(list(self.tls.glob(".new*")), [])
        self.assertEqual(self.run_("set-certificate", stdin=other).returncode, 0)
        self.assertEqual((self.tls / "certificate.pem").read_bytes(), other)
        self.assertEqual((self.tls / "certificate.pem").stat().st_mode & 0o777, 0o600)

    def test_the_own_one_is_renewed_a_month_before_its_end_with_its_key_and_names(self):
        hook = self.hooks / "a"
        hook.write_text(f"#!/bin/sh\necho told >>{self.dir}/told\n")
        hook.chmod(0o755)
        own = pem(self.tls, "self-signed.pem", "40")
        before = own.read_bytes()
        self.assertEqual(self.run_("renew-self-signed").returncode, 0)
        self.assertEqual((own.read_bytes(), (self.dir / "told").exists()), (before, False))
        for days in ("20", "past"):
            before = pem(self.tls, "self-signed.pem", days).read_bytes()
            done = self.run_("renew-self-signed")
            self.assertEqual(done.returncode, 0, done.stderr)
            new = certificate.read(own)
            self.assertEqual(new.names, frozenset({"a.example"}))
            self.assertEqual(new.lifetime, 365 * DAY)
            self.assertEqual(self.run_("check-certificate", own).returncode, 0)
            key = lambda text: subprocess.run(["openssl", "pkey"], input=text, capture_output=True, check=True).stdout  # noqa: E731
            self.assertEqual(key(own.read_bytes()), key(before))
            serial = lambda text: subprocess.run(  # noqa: E731
                ["openssl", "x509", "-noout", "-serial"], input=text, capture_output=True, check=True).stdout
            self.assertNotEqual(serial(own.read_bytes()), serial(before))
            self.assertEqual(own.stat().st_mode & 0o777, 0o400)
        self.assertEqual((self.dir / "told").read_text(), "told\n" * 2)
        self.assertEqual([path.name for path in self.tls.iterdir() if path.name.startswith(".")], [])

    def test_services_are_told_once_and_again_if_one_failed(self):
        for name, ends in (("a", "exit 1"), ("b", "exit 0")):
            hook = self.hooks / name
            hook.write_text(f"#!/bin/sh\necho {name} >>{self.dir}/told\n{ends}\n")
            hook.chmod(0o755)
        (self.hooks / "README").write_text("not to be run")
        told = lambda: (self.dir / "told").read_text().split()  # noqa: E731
        self.assertEqual(self.run_("announce-certificate").returncode, 1)
        self.assertEqual(told(), ["a", "b"])
        (self.hooks / "a").write_text(f"#!/bin/sh\necho a >>{self.dir}/told\n")
        self.assertEqual(self.run_("announce-certificate").returncode, 0)
        self.assertEqual(self.run_("announce-certificate").returncode, 0)
        self.assertEqual(told(), ["a", "b"] * 2)
        self.run_("put-certificate", "acme.pem", stdin=pem(self.dir, "new.pem").read_bytes())
        self.assertEqual(self.run_("announce-certificate").returncode, 0)
        self.assertEqual(told(), ["a", "b"] * 3)


class Telling(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for patch in (mock.patch.object(root.places, "DIR", Path(folder.name)),
                      mock.patch.object(root.certificate, "read", side_effect=lambda _: self.current),
                      mock.patch.object(root.system, "tell", side_effect=lambda subject, *_, **more: self.told.append((subject, more)))):
            patch.start()
            self.addCleanup(patch.stop)
        self.told, self.current = [], None

    def tell(self, now, **memory):
        self.told.clear()
        root.tell(wanted(), state.State(**{"result": "failed", "since": NOW, **memory}), now)
        return [subject for subject, _ in self.told]

    def test_no_certificate_matters_after_a_day_and_is_told_once_a_day(self):
        self.assertEqual(self.tell(NOW + 23 * HOUR), [])
        self.assertEqual(len(self.tell(NOW + 25 * HOUR)), 1)
        self.assertEqual(self.tell(NOW + 26 * HOUR), [])
        self.assertEqual(len(self.tell(NOW + 50 * HOUR)), 1)
        self.current = have("a.example", left=90 * DAY)
        self.assertIn("good again", self.tell(NOW + 51 * HOUR, result="good")[0])
        self.assertEqual(self.told[0][1]["clears"], "certificate/")
        self.assertEqual(self.tell(NOW + 52 * HOUR, result="good"), [])

    def test_an_end_that_is_near_matters_but_not_by_a_clock_that_may_be_wrong(self):
        self.current = have("a.example", left=15 * DAY)
        self.assertEqual(self.tell(NOW), [])
        self.current = have("a.example", left=13 * DAY)
        for result in ("clock", "terms", "own"):
            self.assertEqual(self.tell(NOW, result=result), [])
        self.assertIn("ends in 13 d", self.tell(NOW)[0])

    def test_folders_are_the_user_s_only_when_all_is_made_in_them(self):
        with tempfile.TemporaryDirectory() as folder:
            given = []
            there = lambda path: sorted(str(one.relative_to(folder)) for one in Path(folder).rglob("*"))  # noqa: E731
            with mock.patch.object(root.os, "chown", lambda path, *_: given.append((str(path.relative_to(folder)), there(path)))):
                root.make_webroot(Path(folder, "webroot"), 403, 403)
            every = ["webroot", "webroot/.well-known", "webroot/.well-known/acme-challenge"]
            # From the inside out: nobody can put a link where root is still at work.
            self.assertEqual(given, [(name, every) for name in reversed(every)])

    def test_what_somebody_else_has_a_file_lead_to_is_not_read(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "secret").write_text("CANARY")
            os.symlink(Path(folder, "secret"), Path(folder, "link"))
            self.assertEqual(system.read_as_given(Path(folder, "link")), b"")
            os.mkfifo(Path(folder, "pipe"))
            self.assertEqual(system.read_as_given(Path(folder, "pipe")), b"")
            self.assertEqual(system.read_as_given(Path(folder, "secret")), b"CANARY")


class Status(unittest.TestCase):
    def section(self, memory, current=None, **other):
        spec = importlib.util.spec_from_file_location("authority", LIBRARIES["acme"] / "status/81-authority.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        section = Section("authority", data={})
        module.shown(section, wanted(**other), memory, current, NOW)
        return section

    def test_what_it_says(self):
        off = self.section(state.State(result="terms"), agreed=False)
        self.assertIn("acme.terms-agreed true", " ".join(off.lines))
        self.assertEqual(off.problems, [])
        lacking = self.section(state.State(result="good", lacking={"turn.a.example": "the DNS has no address for it"}),
                               have("a.example"))
        self.assertIn("not in it: turn.a.example: the DNS has no address for it", lacking.lines)
        self.assertEqual(len(lacking.problems), 1)
        self.assertEqual(self.section(state.State(result="good"), have("a.example")).problems, [])
        token = self.section(state.State(), challenge="dns-cloudflare")
        self.assertIn("settings secret cloudflare-token", token.problems[0].do)
        self.assertEqual(len(self.section(state.State(result="waits", says="x"), have("a.example", left=5 * DAY)).problems), 1)


if __name__ == "__main__":
    unittest.main()
