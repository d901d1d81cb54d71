"""Calls: which addresses coturn is told, and the client that tries it, by the vectors of RFC 5769 and against a small server."""

import hashlib
import importlib.machinery
import importlib.util
import ipaddress
import re
import socket
import struct
import sys
import threading
import unittest
from pathlib import Path
from unittest import mock

OVERLAYS = Path(__file__).resolve().parents[2] / "overlays"
sys.dont_write_bytecode = True
sys.path[:0] = [str(OVERLAYS / name / "files/usr/lib/chatimg") for name in ("base", "coturn")]

from chatimg_turn import addresses, client  # noqa: E402
from chatimg_turn.addresses import Addresses, found, lines  # noqa: E402


def program(name):
    path = OVERLAYS / "coturn/files/usr/lib/chatimg" / name
    loader = importlib.machinery.SourceFileLoader(path.stem.replace("-", "_"), str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def one(local, prefix, **more):
    return {"local": local, "prefixlen": prefix, "scope": "global", "family": "inet6" if ":" in local else "inet", **more}


def link(*infos, flags=("UP",)):
    return {"flags": list(flags), "addr_info": list(infos)}


class Addressing(unittest.TestCase):
    def test_only_lasting_addresses_are_listened_on(self):
        interfaces = [
            link(one("127.0.0.1", 8, scope="host"), one("198.18.0.9", 32), flags=("LOOPBACK", "UP")),
            link(
                one("192.168.1.10", 24),
                one("fe80::1", 64, scope="link"),
                one("2a01:4f8::10", 64),
                one("2a01:4f8::11", 64, temporary=True),
                one("2a01:4f8::12", 64, deprecated=True),
                one("2a01:4f8::13", 64, tentative=True),
            ),
        ]
        self.assertEqual([str(one.ip) for one in found(interfaces, [], {}).listen], ["192.168.1.10", "2a01:4f8::10"])

    def test_what_reaches_the_outside_relays(self):
        interfaces = [link(one("10.9.9.9", 24), one("fd00::1", 64)), link(one("100.64.3.3", 10), one("2a01:4f8::10", 64))]
        relay = found(interfaces, [], {4: "100.64.3.3", 6: "fd00::1"}).relay
        self.assertEqual([str(one) for one in relay], ["100.64.3.3", "2a01:4f8::10"])
        self.assertEqual([str(one) for one in found(interfaces, [], {4: "", 6: ""}).relay], ["10.9.9.9", "2a01:4f8::10"])
        self.assertEqual(found([], [], {4: "10.0.0.1"}), Addresses())

    def test_coturn_is_told_its_addresses_and_that_neighbours_are_closed(self):
        own = found([link(one("192.168.1.10", 24), one("2a01:4f8::10", 64))], [], {})
        self.assertEqual(
            lines(own, ""),
            "listening-ip=192.168.1.10\nlistening-ip=2a01:4f8::10\nrelay-ip=192.168.1.10\nrelay-ip=2a01:4f8::10\n"
            "allowed-peer-ip=192.168.1.10\nallowed-peer-ip=2a01:4f8::10\n"
            "denied-peer-ip=192.168.1.0-192.168.1.255\ndenied-peer-ip=2a01:4f8::-2a01:4f8::ffff:ffff:ffff:ffff\n",
        )
        behind = lines(found([link(one("192.168.1.10", 24))], [], {}), "9.9.9.9")
        self.assertIn("relay-ip=192.168.1.10\nexternal-ip=9.9.9.9/192.168.1.10\n", behind)

    def test_neighbours_that_only_a_route_tells_of_are_closed(self):
        routes = [
            {"dst": "default", "gateway": "192.168.1.1"},
            {"dst": "192.168.1.0/24", "dev": "eth0", "scope": "link"},
            {"dst": "2a01:4f8:0:9::/64", "dev": "eth0", "protocol": "ra"},
            {"dst": "172.31.1.1", "dev": "eth0"},
            # Neither of these is the neighbourhood: beyond a router, link-local, half the world by a tunnel.
            {"dst": "9.9.9.0/24", "gateway": "192.168.1.1"},
            {"dst": "9.8.8.0/24", "via": {"host": "fe80::1"}},
            {"dst": "fe80::/64", "dev": "eth0"},
            {"dst": "0.0.0.0/1", "dev": "tun0"},
            {"dst": "default", "dev": "ppp0"},
        ]
        near = found([link(one("192.168.1.10", 24), one("2a01:4f8:0:9::7", 128))], routes, {}).near
        self.assertEqual([str(one) for one in near], [
            "172.31.1.1/32", "192.168.1.0/24", "2a01:4f8:0:9::/64", "2a01:4f8:0:9::7/128"])

    def test_a_box_without_an_address_listens_to_itself(self):
        self.assertEqual(lines(Addresses(), "9.9.9.9"), "listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\n")

    def test_settings_are_found(self):
        text = "# external-ip=1.1.1.1\nno-cli\nexternal-ip=9.9.9.9\nuserdb=a=b\n"
        values = [addresses.setting(name, text) for name in ("external-ip", "userdb", "no-cli", "x")]
        self.assertEqual(values, ["9.9.9.9", "a=b", "", ""])

    def test_the_box_s_own_setting_goes_before_the_image_s(self):
        own = found([link(one("192.168.1.10", 24))], [], {})
        for setting, expected in (("9.9.9.9", "9.9.9.9"), ("", "8.8.8.8")):
            read = {addresses.EXTERNAL: setting, addresses.SETTINGS: "external-ip=8.8.8.8"}
            with (
                mock.patch.object(addresses, "current", lambda: own),
                mock.patch.object(addresses.system, "read", lambda path, read=read: read.get(path, "")),
            ):
                self.assertEqual(addresses.setting("external-ip", addresses.wanted()), f"{expected}/192.168.1.10")

    def test_the_route_tells_the_source(self):
        for said, source in (('[{"prefsrc": "10.0.2.15"}]', "10.0.2.15"), ("", ""), ("[]", ""), ("no", ""), ("[{}]", "")):
            with mock.patch.object(addresses.system, "output", lambda *_, said=said: said):
                self.assertEqual(addresses.source("x"), source)


class Watching(unittest.TestCase):
    def setUp(self):
        self.watch = program("watch-turn-addresses")

    def changed(self, used, now):
        own = found([link(*(one(ip, 24) for ip in now))], [], {})
        read = {addresses.IN_USE: used.strip()}
        with (
            mock.patch.object(addresses, "current", lambda: own),
            mock.patch.object(addresses.system, "read", lambda path: read.get(path, "")),
        ):
            return self.watch.changed()

    def test_only_other_addresses_end_coturn(self):
        used = lines(found([link(one("10.0.2.15", 24))], [], {}), "")
        self.assertFalse(self.changed(used, ["10.0.2.15"]))
        self.assertTrue(self.changed(used, ["10.0.2.16"]))
        self.assertTrue(self.changed(lines(Addresses(), ""), ["10.0.2.15"]))
        # Neighbours that are gone hurt nobody.
        self.assertFalse(self.changed(used + "denied-peer-ip=9.9.9.0-9.9.9.255\n", ["10.0.2.15"]))
        self.assertTrue(self.changed(used.replace("denied-peer-ip=10.0.2.0", "denied-peer-ip=10.0.2.7"), ["10.0.2.15"]))
        self.assertTrue(self.changed(used, ["10.0.2.15", "10.0.2.16"]))
        self.assertTrue(self.changed(lines(found([link(one("10.0.2.15", 24), one("10.0.2.16", 24))], [], {}), ""), ["10.0.2.15"]))
        # A cable that was pulled is put back, most often.
        self.assertFalse(self.changed(used, []))
        # coturn has not started yet.
        self.assertFalse(self.changed("", ["10.0.2.15"]))

    def test_who_does_not_run_is_not_ended(self):
        with mock.patch.object(self.watch, "PID", Path("/nonexistent")):
            self.watch.end_coturn()


# RFC 5769, 2.2 to 2.4.
ANSWER = bytes.fromhex("b7e7a701bc34d686fa87dfae")


class Messages(unittest.TestCase):
    def test_addresses_are_hidden_as_the_rfc_has_it(self):
        for address, value in (
            (("192.0.2.1", 32853), "0001a147e112a643"),
            (("2001:db8:1234:5678:11:2233:4455:6677", 32853), "0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"),
        ):
            self.assertEqual(client.packed_address(address, ANSWER).hex(), value)
            self.assertEqual(client.address_in(bytes.fromhex(value), ANSWER), address)
        with self.assertRaises(client.Failed):
            client.address_in(b"12345", ANSWER)

    def test_messages_are_signed_as_the_rfc_has_it(self):
        user, realm = "\u30de\u30c8\u30ea\u30c3\u30af\u30b9", "example.org"
        key = hashlib.md5(f"{user}:{realm}:TheMatrIX".encode()).digest()
        own = [
            (client.USERNAME, user.encode()),
            (client.NONCE, b"f//499k954d6OL34oL9FSTvy64sA"),
            (client.REALM, realm.encode()),
        ]
        data = client.message(client.BINDING, bytes.fromhex("78ad3433c6ad72c029da412e"), own, key)
        self.assertEqual(data[:8].hex(), "000100602112a442")
        self.assertEqual(data[-20:].hex(), "f67024656dd64a3e02b8e0712e85c9a28ca89666")
        kind, transaction, attributes = client.parsed(data)
        self.assertEqual((kind, transaction.hex()), (1, "78ad3433c6ad72c029da412e"))
        self.assertEqual(attributes[client.USERNAME].decode(), user)

    def test_what_is_no_message_is_refused(self):
        for data in (b"", b"\0" * 20, b"GET / HTTP/1.1\r\n\r\n"):
            with self.assertRaises(client.Failed):
                client.parsed(data)
        # Cut short: what is there counts.
        self.assertEqual(client.parsed(client.message(1, ANSWER, [(6, b"abcd")])[:-2])[2], {6: b"ab"})

    def test_credentials_are_the_homeserver_s(self):
        with mock.patch.object(client.time, "time", lambda: 1000.5):
            user, password = client.credentials("north", "@a:b", 60)
        self.assertEqual(user, "1060:@a:b")
        # printf %s 1060:@a:b | openssl dgst -sha1 -hmac north -binary | base64
        self.assertEqual(password, "pwJGC2lAS5MfrYFCXZ6J4GPmWd0=")


class Server(threading.Thread):
    """Answers by what the test says, one request after the other; an empty answer is none."""

    def __init__(self, *answers):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.answers, self.asked = answers, []
        self.start()

    def run(self):
        for kind, attributes in self.answers:
            data, sender = self.socket.recvfrom(65536)
            self.asked.append(client.parsed(data))
            transaction = self.asked[-1][1]
            if kind:
                own = [(name, value(transaction) if callable(value) else value) for name, value in attributes]
                self.socket.sendto(client.message(kind, transaction, own), sender)


def error(code, *more):
    return client.ALLOCATE | client.ERROR, [(client.ERROR_CODE, struct.pack(">HBB", 0, code // 100, code % 100) + b"no"), *more]


class Asking(unittest.TestCase):
    ASKS = (client.REALM, b"chat.example"), (client.NONCE, b"n1")
    GIVES = client.ALLOCATE | client.SUCCESS, [(client.RELAYED, lambda t: client.packed_address(("9.9.9.9", 50000), t))]

    def client(self, *answers, patience=5):
        self.server = Server(*answers)
        one = client.Client(self.server.socket.getsockname(), "udp", patience)
        self.addCleanup(self.server.socket.close)
        self.addCleanup(one.socket.close)
        one.log_in("1:user", "password")
        return one

    def test_a_lost_request_is_sent_again_and_the_realm_is_learnt(self):
        stale = error(438, (client.REALM, b"chat.example"), (client.NONCE, b"n2"))
        one = self.client((0, []), error(401, *self.ASKS), self.GIVES)
        self.assertEqual(one.allocate(), ("9.9.9.9", 50000))
        self.assertEqual(self.server.asked[2][2][client.NONCE], b"n1")
        self.assertNotIn(client.USERNAME, self.server.asked[0][2])
        one = self.client(error(401, *self.ASKS), stale)
        with self.assertRaises(client.Refused) as caught:
            one.allocate()
        self.assertEqual(caught.exception.code, 438)

    def test_a_wrong_password_is_not_tried_again(self):
        one = self.client(error(401, *self.ASKS), error(401, *self.ASKS))
        with self.assertRaisesRegex(client.Refused, "401 no") as caught:
            one.allocate()
        self.assertEqual((caught.exception.code, len(self.server.asked)), (401, 2))

    def test_silence_ends(self):
        with self.assertRaisesRegex(client.Failed, "no answer by udp"):
            self.client((0, []), patience=0.3).allocate()

    def test_data_that_comes_before_an_answer_is_kept(self):
        one = self.client(error(401, *self.ASKS), self.GIVES, (client.DATA | client.INDICATION, [
            (client.PEER, lambda t: client.packed_address(("8.8.8.8", 9), t)), (client.CONTENT, b"hello")]),
            (client.PERMISSION | client.SUCCESS, []))
        one.allocate()
        one.permit("8.8.8.8")
        self.assertEqual(one.receive(), (("8.8.8.8", 9), b"hello"))
        with self.assertRaises(TimeoutError):
            one.receive(0.1)


class Closed(unittest.TestCase):
    """The template's list, read as coturn 4.6.1 reads it: kinds of IP in order, and :: as a first address means all."""

    def setUp(self):
        text = (OVERLAYS / "coturn/files/etc/turnserver.conf.j2").read_text()
        ranges = re.findall(r'"([0-9a-f:.]+)-([0-9a-f:.]+)"', text)
        self.ranges = [(ipaddress.ip_address(low), ipaddress.ip_address(high)) for low, high in ranges]

    def closed(self, text):
        ip = ipaddress.ip_address(text)
        return any(low.version == ip.version and low <= ip <= high for low, high in self.ranges)

    def test_special_addresses_are_closed_and_others_are_not(self):
        for text in (
            "0.0.0.0 10.0.2.2 100.127.255.255 127.0.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.168.0.1 "
            "198.19.255.255 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 "
            "::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:10.0.0.1 64:ff9b::a00:1 64:ff9b:1::1 100::1 2001::1 2001:db8::1 "
            "2002:a00:1::1 3fff::1 5f00::1 fc00::1 fdff::1 fe80::1 fec0::1 feff::1 ff02::1"
        ).split():
            self.assertTrue(self.closed(text), text)
        for text in ("1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.167.255.255 "
                    "198.17.255.255 223.255.255.255 2001:200::1 2001:4860::8888 2003::1 2a01:4f8::1 3ffe::1 2606:4700::1").split():
            self.assertFalse(self.closed(text), text)

    def test_no_range_begins_at_nothing(self):
        """coturn would deny every address of the other kind by it."""
        self.assertGreater(len(self.ranges), 25)
        for low, high in self.ranges:
            self.assertLessEqual(low, high)
            self.assertNotEqual(str(low), "::")


if __name__ == "__main__":
    unittest.main()
