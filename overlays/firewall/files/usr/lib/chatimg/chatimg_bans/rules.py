"""The list as nftables has it: a table of its own, replaced as a whole in one transaction."""

from collections.abc import Iterable

from .ranges import Range, address

TABLE = "chatimg_bans"
_SETS = {4: ("v4", "ipv4_addr", "ip"), 6: ("v6", "ipv6_addr", "ip6")}


def rules(ranges: Iterable[Range]) -> str:
    """What nft is to do. The ranges are merged.

    They are dropped before connections are looked up, so that those that are open end, too. What the box sends to
    itself is never looked at, by whichever of its addresses.
    """
    elements: dict[int, list[str]] = {4: [], 6: []}
    for one in ranges:
        first, last = address(one.version, one.first), address(one.version, one.last)
        elements[one.version].append(str(first) if first == last else f"{first}-{last}")
    sets = "".join(_set(version, found) for version, found in elements.items())
    drops = "".join(f"        {family} saddr @{name} counter drop\n" for name, _, family in _SETS.values())
    return (
        f"destroy table inet {TABLE}\ntable inet {TABLE} {{\n{sets}"
        f"    chain prerouting {{\n        type filter hook prerouting priority raw; policy accept;\n"
        f"        iif lo accept\n{drops}    }}\n}}\n"
    )


def _set(version: int, elements: list[str]) -> str:
    name, kind, _ = _SETS[version]
    all_of_them = ",\n".join(elements)
    inside = f"        elements = {{\n{all_of_them}\n        }}\n" if elements else ""
    return f"    set {name} {{\n        type {kind}; flags interval;\n{inside}    }}\n"
