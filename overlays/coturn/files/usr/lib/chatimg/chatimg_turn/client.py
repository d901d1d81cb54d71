"""A client of TURN (RFC 8656) by UDP, TCP or TLS: as much of it as a call needs."""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import time
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

COOKIE = 0x2112A442
# Methods; an answer has a class in the two bits between.
BINDING, ALLOCATE, REFRESH, SEND, DATA, PERMISSION = 1, 3, 4, 6, 7, 8
REQUEST, INDICATION, SUCCESS, ERROR = 0x000, 0x010, 0x100, 0x110
USERNAME, INTEGRITY, ERROR_CODE, LIFETIME, PEER, CONTENT, REALM, NONCE = 6, 8, 9, 0xD, 0x12, 0x13, 0x14, 0x15
RELAYED, FAMILY, TRANSPORT, MAPPED, FINGERPRINT = 0x16, 0x17, 0x19, 0x20, 0x8028
UDP = 17
# Seconds.
PATIENCE = 5
FIRST_WAIT = 0.5

Address = tuple[str, int]


class Failed(Exception):
    """It does not work: why."""


class Refused(Failed):
    """The server's own no, with its number."""

    def __init__(self, what: str, code: int, reason: str) -> None:
        super().__init__(f"{what}: {code} {reason}".rstrip())
        self.code = code


def credentials(secret: str, name: str, lifetime: int = 60) -> tuple[str, str]:
    """User name and password, as a homeserver makes them of the secret."""
    user = f"{int(time.time()) + lifetime}:{name}"
    mac = hmac.new(secret.encode(), user.encode(), hashlib.sha1).digest()
    return user, base64.b64encode(mac).decode()


def message(kind: int, transaction: bytes, attributes: list[tuple[int, bytes]], key: bytes = b"") -> bytes:
    """On the wire; signed with `key` if there is one."""
    body = b"".join(struct.pack(">HH", name, len(value)) + value + bytes(-len(value) % 4) for name, value in attributes)

    def head(more: int) -> bytes:
        return struct.pack(">HHI", kind, len(body) + more, COOKIE) + transaction

    if key:
        mac = hmac.new(key, head(24) + body, hashlib.sha1).digest()
        body += struct.pack(">HH", INTEGRITY, 20) + mac
    return head(0) + body


def parsed(data: bytes) -> tuple[int, bytes, dict[int, bytes]]:
    """Kind, transaction and attributes; of those that come twice, the first."""
    if len(data) < 20 or struct.unpack_from(">I", data, 4)[0] != COOKIE:
        raise Failed("an answer that is not STUN's")
    kind, length = struct.unpack_from(">HH", data)
    attributes, at, end = {}, 20, min(20 + length, len(data))
    while at + 4 <= end:
        name, size = struct.unpack_from(">HH", data, at)
        attributes.setdefault(name, data[at + 4 : at + 4 + size])
        at += 4 + size + -size % 4
    return kind, data[8:20], attributes


def _mask(version: int, transaction: bytes) -> bytes:
    return struct.pack(">I", COOKIE) + (transaction if version == 6 else b"")


def packed_address(address: Address, transaction: bytes) -> bytes:
    """As an XOR-... attribute has it."""
    ip, port = ip_address(address[0]), address[1]
    hidden = bytes(a ^ b for a, b in zip(ip.packed, _mask(ip.version, transaction), strict=True))
    return struct.pack(">BBH", 0, 1 if ip.version == 4 else 2, port ^ (COOKIE >> 16)) + hidden


def address_in(value: bytes, transaction: bytes) -> Address:
    """The other way round."""
    if len(value) not in (8, 20):
        raise Failed("an address that is none")
    _, _, port = struct.unpack_from(">BBH", value)
    version = 4 if len(value) == 8 else 6
    plain = bytes(a ^ b for a, b in zip(value[4:], _mask(version, transaction), strict=True))
    ip = IPv4Address(plain) if version == 4 else IPv6Address(plain)
    return str(ip), port ^ (COOKIE >> 16)


class Client:
    """One connection to a server: at most one relay."""

    def __init__(self, server: Address, how: str = "udp", patience: float = PATIENCE) -> None:
        self.how, self.patience, self.buffer = how, patience, b""
        self.user = self.password = self.realm = self.nonce = self.key = b""
        self.relayed: Address = ("", 0)
        self.waiting: list[tuple[Address, bytes]] = []
        try:
            if how == "udp":
                family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
                self.socket = socket.socket(family, socket.SOCK_DGRAM)
                self.socket.connect(server)
            else:
                self.socket = socket.create_connection(server, patience)
            if how == "tls":
                # Whose certificate it is, is another question.
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                self.socket = context.wrap_socket(self.socket)
        except OSError as error:
            raise Failed(f"{how} to {server[0]} port {server[1]}: {error}") from error

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        if self.relayed[1]:
            try:
                self.ask(REFRESH, [(LIFETIME, bytes(4))])
            except Failed:
                pass
        self.socket.close()

    def log_in(self, user: str, password: str) -> None:
        """From now on all is asked as this user: the first answer tells realm and nonce."""
        self.user = user.encode()
        self.password = password.encode()

    def ask(self, method: int, attributes: list[tuple[int, bytes | Address]]) -> dict[int, Any]:
        """The answer's attributes. Addresses are plain, there and back."""
        for _ in range(2):
            transaction = os.urandom(12)
            own = [
                (name, value if isinstance(value, bytes) else packed_address(value, transaction)) for name, value in attributes
            ]
            if self.key:
                own += [(USERNAME, self.user), (REALM, self.realm), (NONCE, self.nonce)]
            kind, found = self._exchange(message(method | REQUEST, transaction, own, self.key), transaction)
            if kind == method | SUCCESS:
                return {
                    name: address_in(value, transaction) if name in (RELAYED, MAPPED, PEER) else value
                    for name, value in found.items()
                }
            code = found.get(ERROR_CODE, bytes(4))
            number, reason = code[2] * 100 + code[3], code[4:].decode(errors="replace")
            first = number == 401 and not self.key and self.user
            if (first or number == 438) and REALM in found and NONCE in found:
                self.realm, self.nonce = found[REALM], found[NONCE]
                self.key = hashlib.md5(b":".join([self.user, self.realm, self.password])).digest()
                continue
            break
        raise Refused(f"{self.how} {'allocating' if method == ALLOCATE else 'asking'}", number, reason)

    def allocate(self, family: int = 0) -> Address:
        """Gets a relay. `family`: 4 or 6, or what the server gives by itself."""
        attributes: list[tuple[int, bytes | Address]] = [(TRANSPORT, bytes([UDP, 0, 0, 0]))]
        if family:
            attributes.append((FAMILY, bytes([1 if family == 4 else 2, 0, 0, 0])))
        answer = self.ask(ALLOCATE, attributes)
        if RELAYED not in answer:
            raise Failed("a relay without an address")
        self.relayed = answer[RELAYED]
        return self.relayed

    def permit(self, *peers: str) -> None:
        """Lets these in."""
        self.ask(PERMISSION, [(PEER, (peer, 0)) for peer in peers])

    def send(self, peer: Address, content: bytes) -> None:
        """By way of the relay."""
        transaction = os.urandom(12)
        attributes = [(PEER, packed_address(peer, transaction)), (CONTENT, content)]
        self._send(message(SEND | INDICATION, transaction, attributes))

    def receive(self, patience: float | None = None) -> tuple[Address, bytes]:
        """What came by way of the relay, and from whom."""
        end = time.monotonic() + (self.patience if patience is None else patience)
        while not self.waiting:
            self._read(end)
        return self.waiting.pop(0)

    def _exchange(self, request: bytes, transaction: bytes) -> tuple[int, dict[int, bytes]]:
        """UDP loses: it is sent again, later each time."""
        end, wait = time.monotonic() + self.patience, FIRST_WAIT
        while True:
            self._send(request)
            again = end if self.how != "udp" else min(end, time.monotonic() + wait)
            try:
                while True:
                    answer = self._read(again)
                    if answer and answer[1] == transaction:
                        return answer[0], answer[2]
            except TimeoutError as error:
                if time.monotonic() >= end:
                    raise Failed(f"no answer by {self.how} in {self.patience:g} s") from error
            wait *= 2

    def _send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Failed(f"sending by {self.how}: {error}") from error

    def _read(self, end: float) -> tuple[int, bytes, dict[int, bytes]] | None:
        """The next message; nothing if it was data for later. `TimeoutError` when it is `end`."""
        data = self._message(end)
        kind, transaction, found = parsed(data)
        if kind != DATA | INDICATION:
            return kind, transaction, found
        if PEER in found and CONTENT in found:
            self.waiting.append((address_in(found[PEER], transaction), found[CONTENT]))
        return None

    def _message(self, end: float) -> bytes:
        while True:
            size = 20 + struct.unpack_from(">H", self.buffer, 2)[0] if len(self.buffer) >= 20 else 20
            if len(self.buffer) >= max(size, 20) and self.how != "udp":
                data, self.buffer = self.buffer[:size], self.buffer[size:]
                return data
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                raise
            except OSError as error:
                raise Failed(f"reading by {self.how}: {error}") from error
            if self.how == "udp":
                return data
            if not data:
                raise Failed(f"the server ended the connection by {self.how}")
            self.buffer += data
