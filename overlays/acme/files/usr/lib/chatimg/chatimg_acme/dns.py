"""One question to one DNS server (RFC 1035): the addresses of a name."""

import ipaddress
import secrets
import socket
import struct

PORT = 53
TIMEOUT = 5
A, AAAA = 1, 28
NXDOMAIN = 3
# The question wants recursion; a truncated answer is asked for again by TCP.
RECURSION, TRUNCATED, ANSWER = 0x0100, 0x0200, 0x8000


class Unusable(Exception):
    """An answer that says nothing on the name: why."""


def ask(server: str, name: str, kind: int) -> list[str]:
    """The addresses; none if there is no such name, or it has none. Raises OSError or Unusable."""
    number = secrets.randbits(16)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = labels + struct.pack(">xHH", kind, 1)
    message = struct.pack(">6H", number, RECURSION, 1, 0, 0, 0) + question
    answer = by_udp(server, message)
    if flags(answer) & TRUNCATED:
        answer = by_tcp(server, message)
    return understood(answer, number, question, kind)


def by_udp(server: str, message: bytes) -> bytes:
    family, _, _, _, address = socket.getaddrinfo(server, PORT, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.settimeout(TIMEOUT)
        peer.connect(address)
        peer.send(message)
        while True:
            answer = peer.recv(1 << 16)
            # Late answers to other questions, or nobody's.
            if answer[:2] == message[:2]:
                return answer


def by_tcp(server: str, message: bytes) -> bytes:
    with socket.create_connection((server, PORT), TIMEOUT) as peer, peer.makefile("rb") as stream:
        peer.sendall(struct.pack(">H", len(message)) + message)
        length = stream.read(2)
        return stream.read(int.from_bytes(length)) if len(length) == 2 else b""


def flags(answer: bytes) -> int:
    return int.from_bytes(answer[2:4])


def understood(answer: bytes, number: int, question: bytes, kind: int) -> list[str]:
    """What an answer says. Names before an address (CNAME) are followed by the server."""
    try:
        found_number, found_flags, questions, count, _, _ = struct.unpack_from(">6H", answer)
        if found_number != number or not found_flags & ANSWER or questions != 1:
            raise Unusable("it answers something else")
        if answer[12 : 12 + len(question)].lower() != question.lower():
            raise Unusable("it answers something else")
        code = found_flags & 15
        if code == NXDOMAIN:
            return []
        if code:
            raise Unusable(f"its answer is an error, number {code}")
        at, addresses = 12 + len(question), []
        for _ in range(count):
            at = after_name(answer, at)
            found_kind, _, _, length = struct.unpack_from(">HHIH", answer, at)
            data = answer[at + 10 : at + 10 + length]
            if found_kind == kind:
                addresses.append(str(ipaddress.ip_address(data)))
            at += 10 + length
        return addresses
    except (struct.error, IndexError, ValueError) as error:
        raise Unusable("its answer is damaged") from error


def after_name(answer: bytes, at: int) -> int:
    """Where a name ends: by an empty label, or by a reference to one before."""
    while length := answer[at]:
        if length >= 0xC0:
            return at + 2
        at += 1 + length
    return at + 1
