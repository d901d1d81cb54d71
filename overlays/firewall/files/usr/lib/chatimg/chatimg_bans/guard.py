"""Addresses whose ban would lock out who sets it, or cut the box off."""

import ipaddress
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from chatimg_box import system

from . import listed
from .ranges import Range

_RESOLVERS = Path("/run/systemd/resolve/resolv.conf")
# Of overlays: `RANGE # why` a line.
_NEVER = Path("/etc/chatimg/never-banned.d")


def protected(
    proc: Path = Path("/proc"), resolvers: Path = _RESOLVERS, never: Path = _NEVER, output=system.output
) -> dict[Range, str]:
    """Each address, and why it is not banned."""
    found = {
        ban.range: ban.comment for path in sorted(never.glob("*")) for ban in listed.read(path.read_bytes(), str(path))
    }
    for why, addresses in (
        ("the box's own address", _own(output)),
        ("the box's router", _routers(output)),
        ("the box's name server", _name_servers(resolvers)),
        ("where somebody is logged in from", _sessions(output)),
        ("where you are logged in from", _client(proc)),
    ):
        for text in addresses:
            try:
                one = ipaddress.ip_address(text.partition("%")[0])
            except ValueError:
                continue
            if isinstance(one, ipaddress.IPv6Address) and one.ipv4_mapped is not None:
                one = one.ipv4_mapped
            found[Range(one.version, int(one), int(one))] = why
    return found


def _client(proc: Path) -> Iterator[str]:
    """Of the ssh connection that this command came by: sudo drops SSH_CONNECTION, the processes above it still have it."""
    seen = set()
    pid = os.getpid()
    while pid > 1 and pid not in seen:
        seen.add(pid)
        try:
            variables = (proc / f"{pid}/environ").read_bytes().split(b"\0")
            status = (proc / f"{pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return
        for variable in variables:
            name, _, value = variable.decode(errors="replace").partition("=")
            if name in ("SSH_CONNECTION", "SSH_CLIENT") and value:
                yield value.split()[0]
        above = [line.split()[1] for line in status.splitlines() if line.startswith("PPid:")]
        pid = int(above[0]) if above else 0


def _sessions(output) -> Iterator[str]:
    """Of all who are logged in: whoever works in tmux came by another connection than tmux did."""
    for session in _json(output("loginctl", "list-sessions", "--json=short")):
        name = str(session.get("session", ""))
        if name:
            yield output("loginctl", "show-session", name, "--property=RemoteHost", "--value").strip()


def _own(output) -> Iterator[str]:
    for interface in _json(output("ip", "-json", "address", "show")):
        for one in interface.get("addr_info", []):
            yield str(one.get("local", ""))


def _routers(output) -> Iterator[str]:
    for family in ("-4", "-6"):
        for route in _json(output("ip", "-json", family, "route", "show", "default")):
            for hop in [route, *route.get("nexthops", [])]:
                yield str(hop.get("gateway", ""))
                yield str(hop.get("via", {}).get("host", ""))


def _name_servers(path: Path) -> Iterator[str]:
    for line in system.read(path).splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "nameserver":
            yield words[1]


def _json(text: str) -> list[dict]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def refused(ranges: Iterable[Range], guarded: dict[Range, str]) -> Iterator[tuple[Range, Range, str]]:
    """Ranges that are not banned, with the address that is in them and why."""
    for one in ranges:
        for address, why in guarded.items():
            if address.overlaps(one):
                yield one, address, why
                break
