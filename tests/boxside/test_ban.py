"""Banned ranges: what is taken, what is kept, and what a broken list does. fail2ban's filter for chat logins."""

import argparse
import contextlib
import fcntl
import importlib.machinery
import importlib.util
import io
import ipaddress
import json
import os
import random
import re
import sys
import tempfile
import threading
import types
import unittest
from pathlib import Path
from unittest import mock

OVERLAYS = Path(__file__).resolve().parents[2] / "overlays"
sys.dont_write_bytecode = True
sys.path[:0] = [str(OVERLAYS / name / "files/usr/lib/chatimg") for name in ("base", "firewall")]

from chatimg_bans import guard, listed, ranges  # noqa: E402
from chatimg_bans.keep import HalfDone, Keep  # noqa: E402
from chatimg_bans.listed import Ban, Faulty  # noqa: E402
from chatimg_bans.ranges import Range, Wrong, merged, parse  # noqa: E402
from chatimg_bans.rules import rules  # noqa: E402
from chatimg_box.system import Trouble  # noqa: E402


def load(path):
    loader = importlib.machinery.SourceFileLoader(f"of_{path.stem}", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class Ranges(unittest.TestCase):
    def test_what_is_written_comes_back(self):
        for text, shown in (
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7/32", "203.0.113.7"),
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("203.0.113.0 - 203.0.113.255", "203.0.113.0/24"),
            ("203.0.113.5-203.0.113.9", "203.0.113.5-203.0.113.9"),
            ("44.0.0.0/8", "44.0.0.0/8"),
            ("2001:DB8:0::/48", "2001:db8::/48"),
            ("2001:db8::1-2001:db8::2", "2001:db8::1-2001:db8::2"),
            ("2a00::/12", "2a00::/12"),
        ):
            self.assertEqual(str(parse(text)), shown)
            self.assertEqual(parse(shown), parse(text))

    def test_what_would_break_the_box_or_is_no_range_is_refused_with_a_reason(self):
        for text, why in (
            ("0.0.0.0/0", "wider than a /8"),
            ("::/0", "wider than a /12"),
            ("1.0.0.0-2.0.0.0", "wider than a /8"),
            ("0.0.0.0", "no address at all"),
            ("127.0.0.1", "the box itself"),
            ("126.255.0.0-127.0.0.5", "the box itself"),
            ("::1", "the box itself"),
            ("::", "no address at all"),
            ("169.254.169.254", "own link"),
            ("fe80::/64", "own link"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("203.0.113.7/24", "write 203.0.113.0/24"),
            ("203.0.113.0/33", "0 to 32"),
            ("203.0.113.0/", "0 to 32"),
            ("203.0.113.0/+8", "0 to 32"),
            ("203.0.113.9-203.0.113.5", "write 203.0.113.5-203.0.113.9"),
            ("203.0.113.9-2001:db8::1", "two kinds"),
            ("203.0.113.09", "no IPv4 or IPv6 address"),
            ("203.0.113", "no IPv4 or IPv6 address"),
            ("", "no IPv4 or IPv6 address"),
            ("evil.example", "no IPv4 or IPv6 address"),
            ("::ffff:203.0.113.7", "write 203.0.113.7"),
            ("fe80::1%eth0", "names an interface"),
        ):
            with self.subTest(text), self.assertRaisesRegex(Wrong, re.escape(why)):
                parse(text)

    def test_ranges_that_touch_become_one_and_nothing_is_lost(self):
        self.assertEqual(
            merged([parse("203.0.113.128/25"), parse("203.0.113.0/25"), parse("203.0.113.9"), parse("2001:db8::1")]),
            [parse("203.0.113.0/24"), parse("2001:db8::1")],
        )
        chance = random.Random(5)
        for _ in range(50):
            some = []
            for _ in range(30):
                first = chance.randrange(300)
                some.append(Range(4, first, first + chance.randrange(20)))
            wanted = {number for one in some for number in range(one.first, one.last + 1)}
            for found in (merged(some), [network for one in merged(some) for network in one.networks()]):
                self.assertEqual(wanted, {number for one in found for number in range(one.first, one.last + 1)})
            for before, after in zip(merged(some), merged(some)[1:]):
                self.assertGreater(after.first, before.last + 1)

    def test_networks_are_those_of_python_s_own(self):
        for text in ("203.0.113.5-203.0.114.9", "1.0.0.0-1.255.255.255", "2001:db8::7-2001:db8::ffff:9", "198.51.100.1"):
            one = parse(text)
            first, last = (ranges.address(one.version, number) for number in (one.first, one.last))
            self.assertEqual(
                [str(network) for network in one.networks()],
                [str(network).removesuffix("/32").removesuffix("/128") for network in ipaddress.summarize_address_range(first, last)],
            )


class Lists(unittest.TestCase):
    def test_comments_and_empty_lines_may_be_there(self):
        text = "\ufeff# Spamhaus\r\n\r\n 203.0.113.0/24 ; SBL1\n2001:db8::/32# two\x1b[2J\n203.0.113.0/24\n"
        bans = listed.read(text.encode(), "f")
        self.assertEqual([str(ban) for ban in bans], ["203.0.113.0/24 # SBL1", "2001:db8::/32 # two [2J"])
        self.assertEqual(listed.read(listed.written(bans), "f"), bans)

    def test_each_mistake_is_told_with_its_line(self):
        with self.assertRaises(Faulty) as caught:
            listed.read(b"# all\n203.0.113.0/24\nfoo\n\n10.0.0.0/7 # wide\n\xff\xfe\n", "bad.txt")
        lines = str(caught.exception).splitlines()
        self.assertEqual([line.split(": ")[0] for line in lines], ["bad.txt:3", "bad.txt:5", "bad.txt:6"])
        self.assertIn('"foo" is no IPv4 or IPv6 address', lines[0])

    def test_a_page_of_mistakes_is_enough(self):
        with self.assertRaises(Faulty) as caught:
            listed.read(b"x\n" * 1000, "bad.txt")
        self.assertEqual(len(str(caught.exception).splitlines()), 21)
        self.assertIn("980 more", str(caught.exception))

    def test_half_of_the_internet_is_too_much(self):
        half = [f"{first}.0.0.0/8" for first in range(1, 224) if first not in (127, 169)]
        with self.assertRaisesRegex(Faulty, "more than half of the internet's IPv4"):
            listed.read("\n".join(half).encode(), "f")
        self.assertEqual(len(listed.read("\n".join(half[:100]).encode(), "f")), 100)

    def test_what_is_too_long_is_refused_at_once(self):
        with mock.patch.object(listed, "BYTES", 10), self.assertRaisesRegex(Faulty, "larger"):
            listed.read(b"x" * 11, "f")
        with mock.patch.object(listed, "LIMIT", 1), self.assertRaisesRegex(Faulty, "1 are the most"):
            listed.read(b"203.0.113.1\n203.0.113.3\n", "f")


class Rules(unittest.TestCase):
    def test_the_table_is_replaced_before_connections_are_looked_up(self):
        text = rules([parse("203.0.113.0/24"), parse("203.0.114.7"), parse("2001:db8::/32")])
        self.assertTrue(text.startswith("destroy table inet chatimg_bans\n"))
        self.assertIn("hook prerouting priority raw", text)
        self.assertIn("203.0.113.0-203.0.113.255,\n203.0.114.7\n", text)
        self.assertLess(text.index("iif lo accept"), text.index("ip saddr @v4 counter drop"))
        self.assertIn("ip6 saddr @v6 counter drop", text)

    def test_nobody_is_banned_by_an_empty_list(self):
        self.assertNotIn("elements", rules([]))


class InAFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root, self.calls, self.fails = Path(folder.name), [], False
        for path in ("var/lib/chatimg/bans", "usr/lib/chatimg/bans.d"):
            (self.root / path).mkdir(parents=True)
        self.keep = Keep(self.root, self.command)
        self.refused = self.keep.wanted

    def command(self, *words):
        self.calls.append(" ".join(words))
        if self.fails:
            self.fails = False
            raise Trouble("nft: out of memory")

    def text(self, path):
        return path.read_text(encoding="utf-8") if path.exists() else None


class Kept(InAFolder):
    def test_a_change_is_in_force_and_kept(self):
        hook = self.root / "usr/lib/chatimg/bans.d/nginx"
        hook.write_text("")
        hook.chmod(0o755)
        (self.root / "usr/lib/chatimg/bans.d/README").write_text("")
        self.keep.change([Ban(parse("203.0.113.0/24"), "why"), Ban(parse("203.0.112.0/24"))])
        self.assertEqual(self.calls, [f"nft --file {self.keep.rules}", str(hook)])
        self.assertEqual(self.text(self.keep.wanted), "203.0.113.0/24 # why\n203.0.112.0/24\n")
        self.assertEqual(self.text(self.keep.good), self.text(self.keep.wanted))
        self.assertEqual(self.text(self.keep.networks), "203.0.112.0/23\n")
        self.assertIn("203.0.112.0-203.0.113.255", self.text(self.keep.rules))
        self.assertEqual(self.keep.wanted.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.keep.load(), [Ban(parse("203.0.113.0/24"), "why"), Ban(parse("203.0.112.0/24"))])

    def test_what_the_kernel_refuses_changes_nothing(self):
        self.keep.change([Ban(parse("203.0.113.0/24"))])
        before = [self.text(path) for path in (self.keep.wanted, self.keep.good, self.keep.rules)]
        self.fails = True
        with self.assertRaisesRegex(Trouble, "out of memory"):
            self.keep.change([Ban(parse("198.51.100.0/24"))])
        self.assertEqual([self.text(path) for path in (self.keep.wanted, self.keep.good, self.keep.rules)], before)
        self.assertEqual(self.calls[-1], f"nft --file {self.keep.rules}")

    def test_what_cannot_be_kept_is_not_in_force(self):
        self.keep.change([Ban(parse("203.0.113.0/24"))])
        with mock.patch("chatimg_bans.keep.durable.write", side_effect=self.full_disk):
            with self.assertRaisesRegex(OSError, "No space"):
                self.keep.change([Ban(parse("198.51.100.0/24"))])
        self.assertIn("203.0.113.0", self.text(self.keep.rules))
        self.assertEqual(self.text(self.keep.wanted), "203.0.113.0/24\n")

    def test_what_fails_after_the_change_is_told_as_such_and_holds_up_no_other(self):
        for name in ("first", "second"):
            hook = self.root / "usr/lib/chatimg/bans.d" / name
            hook.write_text("")
            hook.chmod(0o755)

        def command(*words):
            self.calls.append(" ".join(words))
            if words[0].endswith("first"):
                raise Trouble("first: it is on fire")

        with self.assertRaises(HalfDone) as caught:
            Keep(self.root, command).change([Ban(parse("203.0.113.0/24"))])
        said = str(caught.exception)
        self.assertIn("the list is changed, and the firewall has it", said)
        self.assertIn("first: it is on fire", said)
        self.assertIn(f"sudo chatimg-admin ban load {self.keep.wanted}", said)
        self.assertEqual([one.rpartition("/")[2] for one in self.calls], ["bans.nft", "first", "second"])
        self.assertEqual(self.text(self.keep.wanted), "203.0.113.0/24\n")

    def test_a_copy_that_cannot_be_kept_is_told_and_holds_up_nothing(self):
        hook = self.root / "usr/lib/chatimg/bans.d/nginx"
        hook.write_text("")
        hook.chmod(0o755)
        self.refused = self.keep.good
        with mock.patch("chatimg_bans.keep.durable.write", side_effect=self.full_disk):
            with self.assertRaisesRegex(HalfDone, "list.good: No space left on device"):
                self.keep.change([Ban(parse("203.0.113.0/24"))])
        self.assertEqual(self.calls[-1], str(hook))
        self.assertEqual(self.text(self.keep.networks), "203.0.113.0/24\n")

    def test_a_way_back_that_fails_is_no_way_back(self):
        self.keep.change([Ban(parse("203.0.113.0/24"))])

        def command(*words):
            self.calls.append(" ".join(words))
            if len(self.calls) > 2:
                raise Trouble("nft: out of memory")

        with mock.patch("chatimg_bans.keep.durable.write", side_effect=self.full_disk):
            with self.assertRaises(HalfDone) as caught:
                Keep(self.root, command).change([Ban(parse("198.51.100.0/24"))])
        said = str(caught.exception)
        self.assertIn("No space left", said)
        self.assertIn("the list is as it was, but the firewall may have the new ranges: nft: out of memory", said)
        self.assertEqual(self.text(self.keep.wanted), "203.0.113.0/24\n")

    def full_disk(self, path, data, mode=0o644):
        if path == self.refused:
            raise OSError(28, "No space left on device", str(path))
        path.write_bytes(data)

    def test_at_the_start_the_list_is_made_into_rules(self):
        self.keep.wanted.write_text("203.0.113.0/24\n")
        bans, wrong = self.keep.prepare()
        self.assertEqual((len(bans), wrong), (1, ""))
        self.assertIn("203.0.113.0", self.text(self.keep.rules))
        self.assertEqual(self.text(self.keep.good), "203.0.113.0/24\n")
        self.assertEqual(self.calls, [])

    def test_there_need_be_no_list(self):
        self.assertEqual(self.keep.prepare(), ([], ""))
        self.assertIn("chain prerouting", self.text(self.keep.rules))
        self.assertFalse(self.keep.good.exists())

    def test_of_a_broken_list_the_last_good_one_is_used_and_it_stays_for_the_administrator_to_see(self):
        self.keep.change([Ban(parse("203.0.113.0/24"))])
        self.keep.wanted.write_text("198.51.100.0/24\nnonsense\n")
        bans, wrong = self.keep.prepare()
        self.assertEqual(len(bans), 1)
        self.assertIn(f"{self.keep.wanted}:2: ", wrong)
        self.assertIn("The last good list is used", wrong)
        self.assertIn("203.0.113.0", self.text(self.keep.rules))
        self.assertNotIn("198.51.100.0", self.text(self.keep.rules))
        self.assertIn("nonsense", self.text(self.keep.wanted))
        self.assertEqual(self.text(self.keep.good), "203.0.113.0/24\n")

    def test_with_both_broken_the_firewall_still_comes_up(self):
        self.keep.wanted.write_text("0.0.0.0/0\n")
        self.keep.good.write_bytes(b"\x00\xff")
        bans, wrong = self.keep.prepare()
        self.assertEqual(bans, [])
        self.assertIn("Nobody is banned", wrong)
        self.assertIn("chain prerouting", self.text(self.keep.rules))


class Command(InAFolder):
    def setUp(self):
        super().setUp()
        self.program = load(OVERLAYS / "firewall/files/usr/lib/chatimg/admin/ban.py")
        self.guarded = {parse("198.51.100.9"): "where you are logged in from"}

    def ban(self, *words, stdin=b""):
        """Exit status, what was said, what was complained of."""
        parser = argparse.ArgumentParser()
        self.program.arguments(parser)
        out, err, mask = io.StringIO(), io.StringIO(), os.umask(0o022)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with mock.patch.object(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(stdin))):
                status = self.program.run(parser.parse_args(words), self.keep, lambda: self.guarded)
        os.umask(mask)
        return status, out.getvalue(), err.getvalue()

    def test_add_list_remove(self):
        self.assertEqual(self.ban("add", "203.0.113.0/24", "2001:db8::1", "--comment", "a\nscanner"), (0, "", ""))
        self.assertEqual(self.ban("list"), (0, "203.0.113.0/24  a scanner\n2001:db8::1     a scanner\n", ""))
        status, out, _ = self.ban("list", "--json")
        self.assertEqual(json.loads(out)["ranges"][0], {"range": "203.0.113.0/24", "comment": "a scanner"})
        self.assertEqual(self.ban("add", "203.0.113.0/24"), (0, "203.0.113.0/24 was banned already\n", ""))
        self.assertEqual(self.ban("remove", "203.0.113.0-203.0.113.255"), (0, "", ""))
        self.assertEqual(self.ban("list")[1], "2001:db8::1  a scanner\n")

    def test_it_says_nothing_was_changed_only_when_that_is_so(self):
        def refuse(path, data, mode=0o644):
            raise OSError(28, "No space left on device", str(path))

        with mock.patch("chatimg_bans.keep.durable.write", side_effect=refuse):
            status, _, err = self.ban("add", "203.0.113.0/24")
        self.assertEqual(status, 1)
        self.assertIn("bans.nft: No space left on device\n", err)
        self.assertTrue(err.endswith("nothing was changed\n"), err)
        hook = self.root / "usr/lib/chatimg/bans.d/nginx"
        hook.write_text("")
        hook.chmod(0o755)

        def command(*words):
            if words[0] == str(hook):
                raise Trouble("nginx: it is on fire")

        object.__setattr__(self.keep, "command", command)
        for words in (("add", "203.0.113.0/24"), ("remove", "203.0.113.0/24"), ("load", "-")):
            status, _, err = self.ban(*words)
            self.assertEqual(status, 1)
            self.assertIn("the list is changed, and the firewall has it", err)
            self.assertNotIn("nothing was changed", err)
        self.assertEqual(self.ban("list")[1], "")

    def test_one_wrong_range_stops_all(self):
        status, _, err = self.ban("add", "203.0.113.0/24", "203.0.113.7/24", "localhost")
        self.assertEqual(status, 1)
        self.assertEqual(len(err.splitlines()), 3)
        self.assertTrue(err.endswith("nothing was changed\n"))
        self.assertEqual((self.calls, self.ban("list")[1]), ([], ""))

    def test_nobody_bans_himself(self):
        for words, said in (
            (("198.51.100.9",), "198.51.100.9 is not banned: it is where you are logged in from"),
            (("198.51.100.0/24",), "198.51.100.9 in it is where you are logged in from"),
        ):
            status, _, err = self.ban("add", *words)
            self.assertEqual(status, 1)
            self.assertIn(said, err)
        status, _, err = self.ban("load", "-", stdin=b"# x\n203.0.113.0/24\n198.51.100.0/24\n")
        self.assertEqual(status, 1)
        self.assertIn("standard input:3: 198.51.100.0/24 is not banned", err)
        self.assertEqual(self.calls, [])

    def test_what_is_not_in_the_list_cannot_be_removed(self):
        self.ban("add", "203.0.113.0/24")
        status, _, err = self.ban("remove", "203.0.113.7")
        self.assertEqual(status, 1)
        self.assertIn("203.0.113.7 is not in the list; these are, and have it or some of it: 203.0.113.0/24", err)

    def test_what_is_banned_by_another_range_still_is(self):
        self.ban("add", "203.0.113.0/24", "203.0.113.7")
        status, _, err = self.ban("remove", "203.0.113.7")
        self.assertEqual(status, 0)
        self.assertIn("still banned, by 203.0.113.0/24", err)

    def test_a_file_takes_the_list_s_place_or_changes_nothing(self):
        file = self.root / "list.txt"
        file.write_text("198.51.100.0/28\n2001:db8::/32 # them\n")
        self.ban("add", "203.0.113.0/24")
        self.guarded = {}
        self.assertEqual(self.ban("load", str(file)), (0, "2 ranges are banned\n", ""))
        file.write_text("203.0.113.0/24\nnonsense\n")
        status, _, err = self.ban("load", str(file))
        self.assertEqual(status, 1)
        self.assertIn(f'{file}:2: "nonsense" is no', err)
        self.assertEqual(self.ban("list")[1], "198.51.100.0/28\n2001:db8::/32    them\n")
        self.assertEqual(self.ban("load", "/nonexistent")[0], 1)
        self.assertEqual(self.ban("load", "-"), (0, "0 ranges are banned\n", ""))

    def test_a_broken_list_is_mended_by_loading_one(self):
        self.keep.wanted.write_text("nonsense\n")
        for words in (("list",), ("add", "203.0.113.1"), ("remove", "203.0.113.1")):
            status, _, err = self.ban(*words)
            self.assertEqual(status, 1)
            self.assertIn("list:1: ", err)
        self.assertEqual(self.ban("load", "-", stdin=b"203.0.113.1\n")[0], 0)
        self.assertEqual(self.ban("list")[:2], (0, "203.0.113.1\n"))


class Guard(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def output(self, *command):
        return {
            "loginctl list-sessions": '[{"session":"3","user":"admin"},{"session":"4"}]',
            "loginctl show-session": {"3": "192.0.2.33\n", "4": "\n"}.get(command[2], ""),
            "ip -json address": '[{"addr_info":[{"local":"198.51.100.1"},{"local":"fe80::1"}]},{}]',
            "ip -json -4": '[{"gateway":"198.51.100.254","dev":"eth0"}]',
            "ip -json -6": '[{"nexthops":[{"gateway":"fe80::2"},{"via":{"host":"2001:db8::fe"}}]}]',
        }[" ".join(command[:3] if command[0] == "ip" else command[:2])]

    def process(self, pid, above, environment):
        (self.root / f"proc/{pid}").mkdir(parents=True)
        (self.root / f"proc/{pid}/environ").write_bytes(b"\0".join(environment))
        (self.root / f"proc/{pid}/status").write_text(f"Name:\tx\nPPid:\t{above}\n")

    def test_addresses_are_found_where_sudo_has_dropped_them(self):
        self.process(os.getpid(), 4_000_001, [b"SUDO_USER=admin"])
        self.process(4_000_001, 4_000_002, [b"SUDO_USER=admin", b"SSH_TTY=x"])
        self.process(4_000_002, 1, [b"SSH_CONNECTION=::ffff:203.0.113.77 5000 10.0.0.1 22"])
        (self.root / "resolv").write_text("nameserver 198.51.100.53\nnameserver fe80::3%eth0\noptions x\n")
        (self.root / "never").mkdir()
        (self.root / "never/proxy").write_text("192.0.2.128/25 # a proxy\n")
        found = guard.protected(self.root / "proc", self.root / "resolv", self.root / "never", self.output)
        wanted = {"203.0.113.77", "192.0.2.33", "198.51.100.1", "198.51.100.254", "2001:db8::fe", "198.51.100.53"}
        self.assertLessEqual(wanted | {"192.0.2.128/25"}, {str(one) for one in found})
        self.assertEqual(found[parse("203.0.113.77")], "where you are logged in from")
        self.assertEqual(found[parse("192.0.2.33")], "where somebody is logged in from")
        for text in ("192.0.2.130", "192.0.2.0/24", "203.0.113.0/24"):
            self.assertTrue(list(guard.refused([parse(text)], found)), text)
        self.assertFalse(list(guard.refused([parse("203.0.113.78")], found)))

    def test_a_loop_of_processes_ends(self):
        self.process(os.getpid(), 4_000_001, [])
        self.process(4_000_001, 4_000_001, [])
        self.assertEqual(list(guard._client(self.root / "proc")), [])


class BehindAProxy(unittest.TestCase):
    """nginx refuses whom the firewall cannot see."""

    def setUp(self):
        self.deny = load(OVERLAYS / "cloudflare/files/usr/lib/chatimg/bans.d/nginx")

    def in_a_folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        root = Path(folder.name)
        for name, path in (("RANGES", "bans"), ("ADDRESSES", "denied"), ("RULES", "nginx/bans.conf"), ("PID", "nginx.pid")):
            patch = mock.patch.object(self.deny, name, root / path)
            patch.start()
            self.addCleanup(patch.stop)
        self.deny.RULES.parent.mkdir()
        return root

    def test_one_at_a_time_so_that_the_last_one_has_all(self):
        """fail2ban and the administrator may ban at the same moment."""
        self.in_a_folder()
        self.deny.RANGES.write_text("203.0.113.0/24\n")
        with open(self.deny.RULES.parent / "lock", "w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            late = threading.Thread(target=self.deny.main, daemon=True)
            late.start()
            late.join(0.3)
            self.assertFalse(self.deny.RULES.exists())
            self.deny.RANGES.write_text("198.51.100.0/24\n")
        late.join(10)
        self.assertEqual(self.deny.RULES.read_text(), "deny 198.51.100.0/24;\n")

    def test_a_failure_is_told_in_a_line(self):
        self.in_a_folder()
        err = io.StringIO()
        with (
            mock.patch.object(self.deny.durable, "write", side_effect=OSError(28, "No space left on device", "x")),
            contextlib.redirect_stderr(err),
        ):
            self.assertEqual(self.deny.main(), 1)
        self.assertEqual(len(err.getvalue().splitlines()), 1)
        self.assertIn("No space left on device", err.getvalue())
        self.assertIn("nginx does not refuse who was banned last", err.getvalue())

    def test_only_addresses_get_into_nginx_s_configuration(self):
        deny = self.deny
        names = ["7.7.7.7", "2001:db8::7", "all;\nload_module x", "1.2.3.4;", "..", ""]
        self.assertEqual(
            deny.rules("203.0.113.0/24\n2001:db8::/32", names),
            "deny 203.0.113.0/24;\ndeny 2001:db8::/32;\ndeny 2001:db8::7;\ndeny 7.7.7.7;\n",
        )


class Client(unittest.TestCase):
    """fail2ban-client believes its server all (pickle): it must not be root to it."""

    def setUp(self):
        self.program = load(OVERLAYS / "fail2ban/files/usr/bin/fail2ban-client")
        self.calls = []
        client = types.ModuleType("fail2ban.client.fail2banclient")
        client.exec_command_line = lambda words: self.calls.append(("client", *words))
        modules = {"fail2ban": types.ModuleType("fail2ban"), "fail2ban.client": types.ModuleType("fail2ban.client")}
        for patch in (
            mock.patch.dict(sys.modules, modules | {client.__name__: client}),
            mock.patch.object(sys, "argv", ["fail2ban-client", "status"]),
            mock.patch.object(self.program.pwd, "getpwnam", lambda name: types.SimpleNamespace(pw_uid=404, pw_gid=405)),
            *(
                mock.patch.object(self.program.os, name, lambda *ids, name=name: self.calls.append((name, *ids)))
                for name in ("initgroups", "setresgid", "setresuid")
            ),
        ):
            patch.start()
            self.addCleanup(patch.stop)

    def called_by(self, user):
        with mock.patch.object(self.program.os, "geteuid", lambda: user):
            self.program.main()
        return self.calls

    def test_root_is_fail2ban_before_the_server_is_asked(self):
        dropped = [("initgroups", "fail2ban", 405), ("setresgid", 405, 405, 405), ("setresuid", 404, 404, 404)]
        self.assertEqual(self.called_by(0), [*dropped, ("client", "fail2ban-client", "status")])

    def test_others_stay_who_they_are(self):
        self.assertEqual(self.called_by(404), [("client", "fail2ban-client", "status")])


class ChatLogins(unittest.TestCase):
    """fail2ban's filter on what nginx wrote of real logins."""

    LINE = re.compile(r"^failregex = \^%\(__prefix_line\)s<ADDR> (.*)$", re.M)

    def matches(self, line):
        text = (OVERLAYS / "fail2ban/files/etc/fail2ban/filter.d/chatimg-logins.conf").read_text()
        found = re.match(r"chat\.example nginx\[\d+\]: (\S+) " + self.LINE.search(text)[1], line)
        return found and found[1]

    def test_refused_logins_count_and_nothing_else(self):
        start = "chat.example nginx[1526]: "
        for line, who in (
            ('198.51.100.8 "POST /_matrix/client/v3/login HTTP/2.0" 403 64 "curl/8.14.1"', "198.51.100.8"),
            ('2001:db8:5::8 "POST /_matrix/client/r0/login HTTP/1.1" 429 80 "curl/8.14.1"', "2001:db8:5::8"),
            ('198.51.100.8 "POST /_matrix/client/v3/login HTTP/2.0" 200 364 "curl/8.14.1"', None),
            ('198.51.100.8 "GET /_matrix/client/v3/login HTTP/2.0" 429 64 "curl/8.14.1"', None),
            ('198.51.100.8 "POST /_matrix/client/v3/register HTTP/2.0" 403 64 "curl/8.14.1"', None),
            # A client can name itself, or ask for anything; nginx writes \x22 for its quotes.
            ('198.51.100.8 "GET / HTTP/2.0" 200 64 "9.9.9.9 \\x22POST /_matrix/client/v3/login HTTP/2.0\\x22 403 "', None),
            ('198.51.100.8 "POST /\\x22POST /_matrix/client/v3/login HTTP/2.0\\x22 403 HTTP/1.1" 404 1 "x"', None),
        ):
            self.assertEqual(self.matches(start + line), who, line)


if __name__ == "__main__":
    unittest.main()
