"""What becomes of host settings on the box: taking them over, bringing them into force, changing them."""

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import os
import pathlib
import stat
import sys
import tempfile
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIB = ROOT / "overlays/base/files/usr/lib/chatimg"
sys.path.insert(0, str(LIB))

from chatimg_host import apply, change, network, values  # noqa: E402
from chatimg_host.check import MAGIC  # noqa: E402
from chatimg_host.files import Files, Refused  # noqa: E402

NETWORK = {"interface": "eno1", "addresses": ["192.0.2.10/24"], "gateways": ["192.0.2.1"], "dns": ["192.0.2.53"]}


def encode(settings):
    body = json.dumps(settings).encode()
    head = f"{hashlib.sha256(body).hexdigest()} {len(body)}\n".encode()
    return MAGIC + head + body + bytes((1 << 20) - len(MAGIC) - len(head) - len(body))


class Folder(unittest.TestCase):
    """A box in a folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.state, self.run = self.root / "state", self.root / "run/chatimg"
        self.write("etc/hostname", "chat.example\n")
        self.write("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 chat.example\n")
        self.write("usr/lib/chatimg/image.json", '{"admin": "admin"}')
        patch = mock.patch.object(values, "is_zone", {"Europe/Berlin", "Asia/Tokyo"}.__contains__)
        patch.start()
        self.addCleanup(patch.stop)
        self.files = Files(str(self.state), str(self.run))

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def text(self, path):
        return (self.root / path).read_text()

    def arrive(self, data):
        (self.state / "incoming").write_bytes(data)

    def everything(self):
        return "".join(p.read_text(errors="replace") for p in self.root.rglob("*") if p.is_file())


class TakingOver(Folder):
    def test_settings_and_secrets_are_taken_apart(self):
        self.arrive(encode({"hostname": "chat1", "secrets": {"smtp-password": "CANARY"}}))
        self.assertTrue(self.files.take_over())
        self.assertEqual(self.files.load(), {"hostname": "chat1"})
        secret = self.state / "secrets/smtp-password"
        self.assertEqual(secret.read_text(), "CANARY")
        for path, mode in ((secret, 0o400), (secret.parent, 0o700), (self.state, 0o700),
                           (self.state / "settings.json", 0o600)):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), mode, path)
        self.assertFalse((self.state / "incoming").exists())
        self.assertEqual(self.everything().count("CANARY"), 1)
        self.assertFalse(self.files.take_over())

    def test_new_settings_replace_all_old_ones(self):
        self.arrive(encode({"hostname": "chat1", "secrets": {"smtp-password": "CANARY"}}))
        self.files.take_over()
        self.arrive(encode({"timezone": "Europe/Berlin"}))
        self.files.take_over()
        self.assertEqual(self.files.load(), {"timezone": "Europe/Berlin"})
        self.assertEqual(self.files.secret_names(), [])

    def test_what_is_damaged_or_wrong_is_put_aside(self):
        self.arrive(encode({"hostname": "chat1"}))
        self.files.take_over()
        good = encode({"hostname": "chat2", "secrets": {"smtp-password": "CANARY"}})
        cases = [b"", b"nonsense", good[:120], good.replace(b"chat2", b"chat3"), good.replace(b"-1\n", b"-2\n"),
                 encode({"hostname": "_"}), encode(["CANARY"]), encode({"secrets": {"CANARX": "CANARY"}}),
                 MAGIC + f"{hashlib.sha256(b'CANARY').hexdigest()} 6\nCANARY".encode()]
        for data in cases:
            self.arrive(data)
            with self.assertRaises(Refused) as refused:
                self.files.take_over()
            self.assertNotIn("CANARY", str(refused.exception))
            self.assertEqual((self.state / "incoming.refused").read_bytes(), data)
            self.assertEqual(self.files.load(), {"hostname": "chat1"})
            self.assertEqual(self.files.secret_names(), [])

    def test_a_cut_at_any_write_leaves_old_or_new_and_is_taken_up_again(self):
        for cut in range(30):
            self.arrive(encode({"hostname": "chat1"}))
            self.files.take_over()
            self.arrive(encode({"hostname": "chat2", "secrets": {"smtp-password": "CANARY"}}))
            calls = iter(range(1000))
            real = os.fsync

            def fsync(descriptor):
                if next(calls) == cut:
                    raise InterruptedError
                real(descriptor)

            with mock.patch("os.fsync", fsync):
                try:
                    self.files.take_over()
                    done = True
                except InterruptedError:
                    done = False
            self.assertIn(self.files.load()["hostname"], ("chat1", "chat2"))
            if (self.state / "incoming").exists():
                with contextlib.suppress(Refused):  # Its erasing was cut: all of it is in place.
                    self.files.take_over()
            self.assertEqual(self.files.load(), {"hostname": "chat2"}, cut)
            self.assertEqual(self.files.secret_names(), ["smtp-password"])
            if done:
                return
        self.fail("it is never done")

    def test_settings_that_cannot_be_read_give_way_to_those_before(self):
        self.files.save({"hostname": "chat1"})
        self.files.save({"hostname": "chat2"})
        (self.state / "settings.json").write_bytes(b"\0\0")
        self.assertEqual(self.files.load(), {"hostname": "chat1"})


class Applying(Folder):
    def apply(self, settings):
        box = apply.Box(str(self.root))
        box.apply(settings)
        return box

    def test_what_a_newer_image_knows_is_left_out_and_nothing_fails(self):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            box = self.apply({"later": {"x": 1}, "network": {**NETWORK, "later": True}, "timezone": "Asia/Tokyo"})
        self.assertEqual(box.failures, [])
        self.assertIn("192.0.2.10/24", "".join(path.read_text() for path in self.root.glob("run/systemd/network/*.network")))
        self.assertIn("network.later is left out", said.getvalue())
        self.assertNotIn("True", said.getvalue())

    def test_without_settings_all_is_as_the_image_has_it(self):
        box = self.apply({})
        self.assertEqual((box.failures, box.changed), ([], {"timezone"}))
        self.assertEqual(os.readlink(self.root / "run/chatimg/localtime"), "/usr/share/zoneinfo/Etc/UTC")
        self.assertFalse((self.root / "run/systemd").exists())
        self.assertFalse((self.root / "run/chatimg/host").exists())

    def test_settings_come_into_force_and_out_of_it(self):
        box = self.apply({"hostname": "chat1.example.org", "timezone": "Europe/Berlin", "network": NETWORK})
        self.assertEqual(box.failures, [])
        self.assertEqual(box.changed, {"hostname", "timezone", "network"})
        self.assertEqual(self.text("run/chatimg/host/hostname"), "chat1.example.org\n")
        self.assertIn("\n127.0.1.1 chat.example\n127.0.1.1 chat1.example.org chat1\n",
                      self.text("run/chatimg/host/hosts"))
        self.assertEqual(os.readlink(self.root / "run/chatimg/localtime"), "/usr/share/zoneinfo/Europe/Berlin")
        units = self.root / "run/systemd/network"
        self.assertEqual([path.name for path in units.iterdir()], ["20-chatimg-0.network"])
        self.assertEqual(stat.S_IMODE(next(units.iterdir()).stat().st_mode), 0o644)
        box = self.apply({"timezone": "Asia/Tokyo"})
        self.assertIn("network", box.changed)
        self.assertEqual(list(units.iterdir()), [])
        self.assertFalse((self.root / "run/systemd/resolved.conf.d/zz-chatimg-host.conf").exists())

    def test_one_wrong_part_holds_up_no_other(self):
        keys = {"authorized-keys": ["CANARY"]}
        box = self.apply({"hostname": "_", "later": 1, "timezone": "Europe/Berlin", "admin": keys})
        self.assertEqual(len(box.failures), 2)
        self.assertEqual(os.readlink(self.root / "run/chatimg/localtime"), "/usr/share/zoneinfo/Europe/Berlin")
        with mock.patch.object(apply.Box, "hostname", side_effect=RuntimeError("broken")):
            box = self.apply({"hostname": "chat1", "timezone": "Asia/Tokyo"})
        self.assertEqual(box.failures, ["hostname: broken"])
        self.assertIn("timezone", box.changed)

    def test_keys_of_the_administrator(self):
        data = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
        key = f"ssh-ed25519 {data} me"
        self.assertEqual(self.apply({"admin": {"authorized-keys": [key]}}).failures, [])
        path = self.root / "run/chatimg/host/authorized_keys/admin"
        self.assertEqual(path.read_text(), key + "\n")
        for above in (path, *list(path.parents)[:4]):
            self.assertFalse(above.stat().st_mode & 0o022, above)
            self.assertTrue(above.stat().st_mode & 0o004, above)
        self.apply({})
        self.assertEqual(path.read_text(), "")

    def test_the_outside_s_address_of_a_box_behind_nat(self):
        path = self.root / "run/chatimg/host/external-ip"
        for wanted, changed in (("192.0.2.1", True), ("192.0.2.1", False), ("192.0.2.2", True)):
            box = self.apply({"calls": {"external-ip": wanted}})
            self.assertEqual((box.failures, "calls" in box.changed, path.read_text()), ([], changed, wanted + "\n"))
        self.assertIn("calls", self.apply({}).changed)
        self.assertFalse(path.exists())
        self.assertNotIn("calls", self.apply({"calls": {}}).changed)
        self.assertIn("calls.external-ip", self.apply({"calls": {"external-ip": "10.0.0.1"}}).failures[0])


class Network(unittest.TestCase):
    def test_fixed_addresses(self):
        text = network.files(NETWORK)["systemd/network/20-chatimg-0.network"]
        for line in ("Name=eno1", "DHCP=no", "IPv6AcceptRA=no", "Address=192.0.2.10/24", "Gateway=192.0.2.1"):
            self.assertIn(f"\n{line}\n", text)
        self.assertNotIn("GatewayOnLink", text)
        resolved = network.files(NETWORK)["systemd/resolved.conf.d/zz-chatimg-host.conf"]
        self.assertEqual(resolved, "[Resolve]\nDNS=\nDomains=\nDNS=192.0.2.53\nDomains=~.\n")

    def test_a_gateway_beyond_the_network_is_on_the_link(self):
        text = network.unit({"addresses": ["192.0.2.10/32"], "gateways": ["172.31.1.1"]}, {})
        self.assertIn("[Route]\nGateway=172.31.1.1\nGatewayOnLink=yes\n", text)

    def test_dhcp_and_several(self):
        table = {"ntp": ["a", "b"], "interfaces": [{"mac": "52:54:00:12:34:56", "dhcp": "ipv4"}, {"interface": "x"}]}
        found = network.files(table)
        first, second = (found[f"systemd/network/20-chatimg-{n}.network"] for n in (0, 1))
        self.assertIn("MACAddress=52:54:00:12:34:56\nType=ether\nKind=!*\n", first)
        self.assertIn("DHCP=ipv4\nIPv6AcceptRA=no\n", first)
        self.assertIn("UseNTP=no", first)
        self.assertIn("DHCP=yes\nIPv6AcceptRA=yes\n", second)
        self.assertEqual(found["systemd/timesyncd.conf.d/zz-chatimg-host.conf"], "[Time]\nNTP=\nNTP=a b\n")


class Plugin(Folder):
    """chatimg-admin settings, with commands of the system noted down."""

    def setUp(self):
        super().setUp()
        spec = importlib.util.spec_from_file_location("settings", LIB / "admin/settings.py")
        self.plugin = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.plugin)
        self.commands = []
        apply.Box(str(self.root)).apply({})

        def run(*command):
            self.commands.append(" ".join(command))

        box = apply.Box
        for target, name, value in (
            (self.plugin, "Files", lambda: self.files),
            (os, "geteuid", lambda: 0),
            (apply, "run", run),
            (change, "run", run),
            (change, "Box", lambda: box(str(self.root))),
        ):
            patch = mock.patch.object(target, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def admin(self, *words, stdin=b""):
        parser = argparse.ArgumentParser()
        self.plugin.arguments(parser)
        out, err = io.StringIO(), io.StringIO()
        source = io.TextIOWrapper(io.BytesIO(stdin))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch("sys.stdin", source):
            status = self.plugin.run(parser.parse_args(words))
        return status, out.getvalue(), err.getvalue()

    def test_setting_showing_and_unsetting(self):
        self.assertEqual(self.admin("set", "hostname", "chat1"), (0, "", ""))
        self.assertEqual(self.admin("set", "timezone=Europe/Berlin"), (0, "", ""))
        self.assertEqual(self.admin("get", "timezone"), (0, "Europe/Berlin\n", ""))
        self.assertEqual(self.admin("show"), (0, "hostname = chat1\ntimezone = Europe/Berlin\n", ""))
        self.assertEqual(self.commands, ["systemctl daemon-reload"])
        self.assertEqual(self.admin("unset", "hostname")[0], 0)
        status, _, said = self.admin("get", "hostname")
        self.assertEqual(status, 1)
        self.assertIn("hostname is not set", said)

    def test_what_is_wrong_changes_nothing(self):
        for words, expected in (
            (("set", "hostname", "_"), 'hostname: "_" cannot be a host\'s name'),
            (("set", "hostnam", "a"), 'did you mean "hostname"?'),
            (("set", "network", "a"), "is a group of settings"),
            (("set", "mail.user", "box"), "\"host\" is missing"),
            (("set", "mail.host=a", "mail.from=b@c", "mail.port=x"), '"port" must be a number'),
            (("set", "secrets.smtp-password", "CANARY"), "secrets are not given as arguments"),
            (("set", "network.gateways", "192.0.2.1"), "cannot be reached"),
            (("secret", "smtp"), 'there is no secret "smtp"'),
            (("load", "/nonexistent"), "reading /nonexistent"),
        ):
            status, out, said = self.admin(*words)
            self.assertEqual((status, out), (1, ""), words)
            self.assertIn(expected, said)
            self.assertNotIn("CANARY", said)
        self.assertEqual(self.files.load(), {})
        self.assertEqual(self.commands, [])

    def test_secrets(self):
        self.assertEqual(self.admin("secret", "smtp-password", stdin=b"CANARY\n"), (0, "", ""))
        self.assertEqual((self.state / "secrets/smtp-password").read_text(), "CANARY")
        status, out, said = self.admin("set", "mail.host=a", "mail.from=b@c.de", "mail.user=box")
        self.assertEqual((status, said), (0, ""))
        for words in (("show",), ("show", "--json"), ("get", "secrets.smtp-password")):
            status, out, _ = self.admin(*words)
            self.assertIn("set", out)
            self.assertNotIn("CANARY", out)
        self.assertIn("mail.user needs it", self.admin("secret", "smtp-password", "--remove")[2])
        self.assertEqual(self.admin("unset", "mail.user")[0], 0)
        self.assertEqual(self.admin("secret", "smtp-password", "--remove")[0], 0)
        self.assertEqual(self.files.secret_names(), [])
        self.assertNotIn("CANARY", self.everything())
        self.assertIn("is not an API", self.admin("secret", "cloudflare-token", stdin=b"CANARY")[2])

    def test_a_network_is_kept_only_when_confirmed(self):
        words = ("set", "network.interface=eno1", "network.addresses=192.0.2.10/24", "network.gateways=192.0.2.1",
                 "network.dns=192.0.2.53", "--confirm-within", "5min")
        status, out, said = self.admin(*words)
        self.assertEqual((status, said), (0, ""))
        self.assertIn("changes back in 300 s", out)
        unit = self.root / "run/systemd/network/20-chatimg-0.network"
        self.assertTrue(unit.exists())
        self.assertEqual(self.files.load(), {})
        self.assertTrue(any("--on-active=300s" in command for command in self.commands))
        self.assertLess(self.commands.index(next(c for c in self.commands if "systemd-run" in c)),
                        self.commands.index("networkctl reload"))
        self.assertIn("waits to be confirmed", self.admin("set", "hostname", "a")[2])
        change.revert(self.files)
        self.assertFalse(unit.exists())
        self.assertIn("nothing waits", self.admin("confirm")[2])
        self.admin(*words)
        self.assertEqual(self.admin("confirm")[0], 0)
        self.assertEqual(self.files.load()["network"], NETWORK)
        self.assertEqual(change.revert(self.files), [])
        self.assertTrue(unit.exists())
        self.assertEqual(self.admin("unset", "network", "--no-confirm")[0], 0)
        self.assertFalse(unit.exists())

    def test_secrets_wait_with_the_network_they_came_with(self):
        self.files.set_secret("smtp-password", "before")
        secret = self.state / "secrets/smtp-password"
        data = json.dumps({"network": NETWORK, "secrets": {"smtp-password": "CANARY"}}).encode()
        self.assertEqual(self.admin("load", "-", stdin=data)[0], 0)
        self.assertNotIn("CANARY", self.admin("show")[1])
        self.assertEqual(secret.read_text(), "before")
        change.revert(self.files)
        self.assertEqual(secret.read_text(), "before")
        self.assertEqual(self.admin("load", "-", stdin=data)[0], 0)
        self.assertEqual(self.admin("confirm")[0], 0)
        self.assertEqual(secret.read_text(), "CANARY")

    def test_loading_all_three_forms(self):
        settings = {"hostname": "chat1", "secrets": {"smtp-password": "CANARY"}}
        toml = b'hostname = "chat1"\n[secrets]\nsmtp-password = "CANARY"\n'
        for data in (toml, json.dumps(settings).encode(), encode(settings)[:2000].rstrip(b"\0")):
            self.files.save({})
            status, out, said = self.admin("load", "-", stdin=data)
            self.assertEqual((status, out), (0, ""))
            self.assertNotIn("CANARY", said)
            self.assertEqual(self.files.load(), {"hostname": "chat1"})
            self.assertEqual(self.files.secret_names(), ["smtp-password"])
        for data in (b"hostname = CANARY", b'{"CANARY', MAGIC + b"CANARY", b"x = 1", b"secrets = 'CANARY'"):
            status, out, said = self.admin("load", "-", stdin=data)
            self.assertEqual((status, out), (1, ""))
            self.assertNotIn("CANARY", said)
            self.assertEqual(self.files.load(), {"hostname": "chat1"})


if __name__ == "__main__":
    unittest.main()
