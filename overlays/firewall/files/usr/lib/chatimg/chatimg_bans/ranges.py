"""Ranges of addresses: what people write, and what of it may be banned."""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
BITS = {4: 32, 6: 128}
# The widest range that is taken, and the most that all together may be, in bits of addresses.
WIDEST = {4: 24, 6: 116}
MOST = {4: 31, 6: 124}
# What comes from the box itself, its own link, or nobody: a ban of it would only break the box.
_NEVER = [
    ("0.0.0.0/8", "no address at all"),
    ("127.0.0.0/8", "the box itself"),
    ("169.254.0.0/16", "the box's own link"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("::/128", "no address at all"),
    ("::1/128", "the box itself"),
    ("fe80::/10", "the box's own link"),
    ("ff00::/8", "multicast"),
]


class Wrong(ValueError):
    """A range that is not taken: why, and what to write instead."""


@dataclass(frozen=True, order=True)
class Range:
    """From `first` to `last`, both of it, as numbers."""

    version: int
    first: int
    last: int

    def __str__(self) -> str:
        size = self.last - self.first + 1
        first = str(address(self.version, self.first))
        if size == 1:
            return first
        if size & (size - 1) == 0 and self.first % size == 0:
            return f"{first}/{BITS[self.version] - size.bit_length() + 1}"
        return f"{first}-{address(self.version, self.last)}"

    def networks(self) -> Iterator["Range"]:
        """The same as networks, each of which has a prefix."""
        first = self.first
        while first <= self.last:
            size = 1 << ((self.last - first + 1).bit_length() - 1)
            size = min(size, first & -first) if first else size
            yield Range(self.version, first, first + size - 1)
            first += size

    def __contains__(self, other: "Range") -> bool:
        return self.version == other.version and self.first <= other.first and other.last <= self.last

    def overlaps(self, other: "Range") -> bool:
        return self.version == other.version and self.first <= other.last and other.first <= self.last


def address(version: int, number: int) -> Address:
    return ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number)


def parse(text: str) -> Range:
    """An address, ADDRESS/BITS or FIRST-LAST."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    if dash:
        found = _between(_address(first), _address(last))
    elif "/" in text:
        found = _network(text.strip())
    else:
        one = _address(text.strip())
        found = Range(one.version, int(one), int(one))
    _may_be_banned(found)
    return found


def _address(text: str) -> Address:
    try:
        one = ipaddress.ip_address(text)
    except ValueError:
        raise Wrong(f'"{text}" is no IPv4 or IPv6 address') from None
    if isinstance(one, ipaddress.IPv6Address):
        if one.scope_id is not None:
            raise Wrong(f'"{text}" names an interface; a ban is for all of them')
        if one.ipv4_mapped is not None:
            raise Wrong(f'"{text}" comes as IPv4: write {one.ipv4_mapped}')
    return one


def _between(first: Address, last: Address) -> Range:
    if first.version != last.version:
        raise Wrong(f"{first} and {last} are of two kinds")
    if int(first) > int(last):
        raise Wrong(f"{first} comes after {last}: write {last}-{first}")
    return Range(first.version, int(first), int(last))


def _network(text: str) -> Range:
    front, _, bits = text.partition("/")
    one = _address(front)
    if not (bits.isascii() and bits.isdecimal() and int(bits) <= one.max_prefixlen):
        raise Wrong(f'"{text}" needs a number from 0 to {one.max_prefixlen} after the /')
    network = ipaddress.ip_network((one, int(bits)), strict=False)
    if network.network_address != one:
        raise Wrong(f'"{text}" does not begin where the network does: write {network}, or the address alone')
    return Range(one.version, int(network.network_address), int(network.broadcast_address))


def _may_be_banned(found: Range) -> None:
    if found.last - found.first >= 1 << WIDEST[found.version]:
        widest = BITS[found.version] - WIDEST[found.version]
        raise Wrong(f"{found} is wider than a /{widest}: that is much of the internet; write what is really meant")
    for never, why in NEVER:
        if found.overlaps(never):
            raise Wrong(f"{found} cannot be banned: {never} is {why}")


def _plain(text: str) -> Range:
    network = ipaddress.ip_network(text)
    return Range(network.version, int(network.network_address), int(network.broadcast_address))


NEVER = [(_plain(text), why) for text, why in _NEVER]


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same addresses in as few ranges as can be, sorted, none of which touches another."""
    found: list[Range] = []
    for one in sorted(ranges):
        before = found[-1] if found else None
        if before and before.version == one.version and one.first <= before.last + 1:
            found[-1] = Range(one.version, before.first, max(before.last, one.last))
        else:
            found.append(one)
    return found


def too_much(ranges: Iterable[Range]) -> str:
    """Why these are too much together; nothing if they are not. They are merged."""
    sums = {4: 0, 6: 0}
    for one in ranges:
        sums[one.version] += one.last - one.first + 1
    for version, most in MOST.items():
        if sums[version] > 1 << most:
            return f"together that is more than half of the internet's IPv{version} addresses"
    return ""
