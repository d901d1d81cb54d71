"""Messages: a line of JSON, and `payload` bytes after it. What comes is not trusted."""

import json
from typing import BinaryIO

from .verify import Refused, whole

LINE = 64 << 10
HELP = "update with the chatimg that fits this box"


class Gone(Exception):
    """Nobody is at the other end any more."""


class Channel:
    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self.reader, self.writer = reader, writer

    def receive(self) -> dict:
        line = self.reader.readline(LINE + 1)
        if not line:
            raise Gone
        if len(line) > LINE or not line.endswith(b"\n"):
            raise Refused("a message is longer than 64 KiB, or was cut off", HELP)
        try:
            message = json.loads(line.decode())
        except (ValueError, RecursionError):
            raise Refused("a message is not JSON", HELP) from None
        if not isinstance(message, dict) or not isinstance(message.get("op"), str):
            raise Refused("a message has no op", HELP)
        if not whole(message.get("payload", 0)):
            raise Refused("the payload of a message is no number of bytes", HELP)
        return message

    def payload(self, message: dict, most: int, exactly: bool = False) -> bytes:
        """What follows the line; never more is read than may follow."""
        length = message.get("payload", 0)
        if length > most or exactly and length != most:
            raise Refused(f"{message['op'][:20]} has {length} bytes of payload, which cannot be", HELP)
        parts, left = [], length
        while left:
            part = self.reader.read(min(left, 1 << 20))
            if not part:
                raise Gone
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def send(self, message: dict, payload: bytes = b"") -> None:
        if payload:
            message = message | {"payload": len(payload)}
        try:
            self.writer.write(json.dumps(message).encode() + b"\n" + payload)
            self.writer.flush()
        except (BrokenPipeError, ConnectionError, ValueError) as error:
            raise Gone from error
