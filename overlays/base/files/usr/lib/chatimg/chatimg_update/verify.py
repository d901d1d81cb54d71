"""Which images the box takes: signed by a key of its host settings, meant for it, and not older than what runs.

A signature is minisign's (https://jedisct1.github.io/minisign/), prehashed:

    untrusted comment: ...
    base64("ED", key's id (8), Ed25519 signature of the file's BLAKE2b-512 (64))
    trusted comment: TEXT
    base64(Ed25519 signature of the signature (64) and TEXT)

A public key is base64("Ed", its id (8), the key (32)): RW...
"""

import base64
import binascii
import hashlib
import json
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chatimg_box.system import Trouble

from .place import Box

LIMIT = 64 << 10
BLOCK = 4096
SPKI = bytes.fromhex("302a300506032b6570032100")  # What comes before an Ed25519 key in DER.
KEYS = {"appliance", "epoch", "formats", "id", "raid", "root", "schema"}
SETTINGS = "/var/lib/chatimg/host/settings.json"


class Refused(Trouble):
    """This image is not taken. `help` says what to do."""

    def __init__(self, what: str, help_: str) -> None:
        super().__init__(f"{what}\n  help: {help_}")
        self.what, self.help = what, help_


@dataclass(frozen=True)
class Description:
    """An update description whose every field was checked."""

    text: bytes
    id: str
    size: int
    sha256: str
    epoch: int
    formats: dict[str, tuple[str, str]]


def decoded(text: str, length: int) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == length else None


def signed(data: bytes, signature: str, keys: Iterable[str]) -> str:
    """The trusted comment of a signature that one of the keys made; anything else is refused."""
    lines = signature.split("\n")
    keys = [key for key in (decoded(one.strip(), 42) for one in keys) if key and key[:2] == b"Ed"]
    if not keys:
        raise Refused(
            "this box trusts no key, so it takes no updates",
            "sudo chatimg-admin settings set update.keys RW..., the public key of who builds the images",
        )
    help_ = "sign update.json with minisign (`chatimg update` does) and copy both files whole"
    trusted = "trusted comment: "
    if len(lines) < 4 or not lines[0].startswith("untrusted comment:") or not lines[2].startswith(trusted):
        raise Refused("the signature is none of minisign's", help_)
    first, second = decoded(lines[1].strip(), 74), decoded(lines[3].strip(), 64)
    if first is None or second is None or any(line.strip() for line in lines[4:]):
        raise Refused("the signature is damaged", help_)
    if first[:2] != b"ED":
        raise Refused("the signature is of an old kind, not prehashed", "sign with `minisign -S -H`")
    comment = lines[2][len(trusted) :].rstrip("\r")
    mine = [key[10:] for key in keys if key[2:10] == first[2:10]]
    if not mine:
        raise Refused(
            f"the image was signed by the key {first[2:10][::-1].hex().upper()}, which this box does not trust",
            "sign with a key of its host settings (sudo chatimg-admin settings get update.keys)",
        )
    digest = hashlib.blake2b(data).digest()
    for key in mine:
        if ed25519(key, first[10:], digest) and ed25519(key, second, first[10:] + comment.encode()):
            return comment
    raise Refused("the signature is wrong: the description is another than the one that was signed", help_)


def ed25519(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the key made this signature of the message. openssl has to see them as files."""
    pem = base64.b64encode(SPKI + key).decode()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key").write_text(f"-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n", encoding="ascii")
        (folder / "signature").write_bytes(signature)
        (folder / "message").write_bytes(message)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key", "-rawin"]
        done = subprocess.run(
            [*command, "-in", "message", "-sigfile", "signature"], cwd=name, capture_output=True, check=False
        )
    return done.returncode == 0


def keys(box: Box) -> list[str]:
    """The keys that this box trusts."""
    table = box.json(box.at(SETTINGS)).get("update")
    found = table.get("keys") if isinstance(table, dict) else None
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def whole(value: object, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def formats(value: object) -> dict[str, tuple[str, str]] | None:
    """Programs, each with its version and the oldest that reads what it writes."""
    if not isinstance(value, dict) or len(value) > 100:
        return None
    found = {}
    for name, pair in value.items():
        good = isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) and version(one) for one in pair)
        if not good or not re.fullmatch("[A-Za-z0-9.+_-]{1,100}", name):
            return None
        found[name] = (pair[0], pair[1])
    return found


def description(data: bytes) -> Description:
    """Takes an update description apart. What it says is only to be believed once its signature was checked."""
    def wrong(what: str) -> Refused:
        return Refused(f"the update description is wrong: {what}", "build the image anew, with the chatimg that fits this box")

    if len(data) > LIMIT:
        raise wrong(f"it has more than {LIMIT} bytes")
    try:
        wire = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise wrong("it is not JSON") from None
    if not isinstance(wire, dict) or wire.get("schema") != 1 or isinstance(wire["schema"], bool):
        raise wrong("its schema is not 1")
    if set(wire) != KEYS:
        odd = ", ".join(sorted(set(wire) ^ KEYS))
        raise wrong(f"it has other keys than it should ({odd[:200]})")
    root, programs = wire["root"], formats(wire["formats"])
    if not isinstance(wire["id"], str) or not re.fullmatch("[0-9a-f]{16}", wire["id"]):
        raise wrong("its id is not 16 hexadecimal digits")
    if not isinstance(root, dict) or set(root) != {"sha256", "size"} or programs is None or not whole(wire["epoch"]):
        raise wrong("root, formats or epoch are not as they should be")
    if not isinstance(root["sha256"], str) or not re.fullmatch("[0-9a-f]{64}", root["sha256"]):
        raise wrong("the digest of its root image is not 64 hexadecimal digits")
    if not whole(root["size"], BLOCK) or root["size"] % BLOCK:
        raise wrong(f"the size of its root image is no multiple of {BLOCK}")
    if not isinstance(wire["appliance"], str) or not isinstance(wire["raid"], str):
        raise wrong("appliance or raid is no text")
    return Description(data, wire["id"], root["size"], root["sha256"], wire["epoch"], programs)


def fitting(box: Box, data: bytes, signature: str, capacity: int, older: bool) -> Description:
    """A description that is signed, and that this box takes into a slot of this capacity."""
    signed(data, signature, keys(box))
    new, mine = description(data), box.image
    wire = json.loads(data.decode())
    if wire["appliance"] != mine.get("appliance"):
        raise Refused(
            f"the image is for the appliance {wire['appliance'][:100]!r}, and this box is {mine.get('appliance')!r}",
            "send the image that was built for this box",
        )
    if wire["raid"] != mine.get("raid"):
        raise Refused(
            f'the image is for raid = "{wire["raid"][:100]}", and this box has raid = "{mine.get("raid")}"',
            "build it for the disks of this box; to change them, flash anew",
        )
    if new.size > capacity:
        raise Refused(
            f"the image has {new.size} bytes, and the slot takes {capacity}",
            "leave out packages, or flash anew with larger slots",
        )
    if new.id == box.id:
        raise Refused(f"the image {new.id} runs already", "nothing is to be done")
    if new.epoch < mine.get("epoch", 0) and not older:
        raise Refused(
            "the image is older than the one that runs: holes that were closed would be open again",
            "if you mean it: --older; to go back to the image before this one: sudo chatimg-admin rollback",
        )
    unreadable = cannot_read(new.formats, formats(mine.get("formats")) or {})
    if unreadable:
        raise Refused(
            f"the image could not read this box's data: {'; '.join(unreadable)}",
            "to go back with the data as they were: sudo chatimg-admin rollback --with-data",
        )
    return new


def version(text: str) -> tuple | None:
    """A dotted number that compares as Debian's and Python's do, as far as both agree; nothing if it is none."""
    found = re.fullmatch(r"(?:([0-9]{1,9})[:!])?v?([0-9]{1,9}(?:\.[0-9]{1,9}){0,9})([^0-9.].{0,60})?", text)
    if not found:
        return None
    numbers, rest = [int(one) for one in found[2].split(".")], found[3] or ""
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    before = re.match(r"~|[.-]?(?:a|b|c|rc|dev|alpha|beta)[0-9]", rest)
    return int(found[1] or 0), tuple(numbers), not before, [int(one) for one in re.findall("[0-9]{1,9}", rest)]


def cannot_read(old: dict[str, tuple[str, str]], written: dict[str, tuple[str, str]]) -> list[str]:
    """Why programs of an image cannot read what those of another wrote. One that is not there reads nothing."""
    found = []
    for name in sorted(set(old) & set(written)):
        have, needed = old[name][0], written[name][1]
        if (version(have) or ()) < (version(needed) or ()):
            found.append(f"{name} {have} is too old, {needed} is needed since {written[name][0]} wrote them")
    return found
