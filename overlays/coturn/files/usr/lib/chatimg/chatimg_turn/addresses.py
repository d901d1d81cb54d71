"""The box's own addresses, as coturn needs them: where it listens, what it relays by, and what nobody is relayed to."""

import ipaddress
import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

from chatimg_box import system

# The same on every box; lines of it are asked for below.
SETTINGS = Path("/etc/turnserver.conf")
# This box's own setting, calls.external-ip.
EXTERNAL = Path("/run/chatimg/host/external-ip")
# What coturn was told when it started.
IN_USE = Path("/run/chatimg-turn/addresses")

# Anything that the default route leads to: only the route is asked for, nobody is sent anything.
OUTSIDE = {4: "198.51.100.1", 6: "2001:db8::1"}
# Of an address that is not (yet, or no more) one to tell others.
PASSING = ("tentative", "deprecated", "temporary", "dadfailed")
# A network that is larger than that is no neighbourhood but a way out: bits of its prefix.
NEAR = {4: 16, 6: 48}


@dataclass(frozen=True)
class Addresses:
    """What there is. `relay`: one for each kind of IP, the one that reaches the outside. `near`: networks without a router
    before them."""

    listen: tuple[IPv4Interface | IPv6Interface, ...] = ()
    relay: tuple[IPv4Address | IPv6Address, ...] = ()
    near: tuple[IPv4Network | IPv6Network, ...] = ()


def found(interfaces: list[dict], routes: list[dict], sources: dict[int, str]) -> Addresses:
    """Of what `ip -json address` and `ip -json route` say; `sources`: by kind of IP, what packets to the outside have as
    their sender."""
    listen = set()
    for interface in interfaces:
        if "LOOPBACK" in interface.get("flags", []):
            continue
        for one in interface.get("addr_info", []):
            if one.get("scope") == "global" and not any(one.get(word) for word in PASSING):
                listen.add(ipaddress.ip_interface(f"{one['local']}/{one['prefixlen']}"))
    listen = sorted(listen, key=lambda one: (one.version, one))
    relay = []
    for version in (4, 6):
        own = [one.ip for one in listen if one.version == version]
        # An address for inside only would be no way to anybody else.
        own = [one for one in own if version == 4 or one.is_global]
        best = [one for one in own if str(one) == sources.get(version)]
        relay += (best or own)[:1]
    near = {one.network for one in listen} | {network for network in map(neighbours, routes) if network}
    return Addresses(tuple(listen), tuple(relay), tuple(sorted(near, key=lambda one: (one.version, one))))


def neighbours(route: dict) -> IPv4Network | IPv6Network | None:
    """The network of a route that needs no router: an address of DHCPv6 stands alone, and does not tell."""
    if any(word in route for word in ("gateway", "via", "nexthops")) or route.get("dst", "default") == "default":
        return None
    network = ipaddress.ip_network(route["dst"])
    # Link-local ones, and so on, are denied anyway.
    return network if network.prefixlen >= NEAR[network.version] and not network.is_link_local else None


def current() -> Addresses:
    """Those that the box has now."""
    interfaces = json.loads(system.run("ip", "-json", "address", "show", "up"))
    routes = [one for kind in ("-4", "-6") for one in json.loads(system.run("ip", "-json", kind, "route", "show") or "[]")]
    return found(interfaces, routes, {version: source(address) for version, address in OUTSIDE.items()})


def source(destination: str) -> str:
    """The box's own address on the way there; nothing if there is no way."""
    try:
        return json.loads(system.output("ip", "-json", "route", "get", destination) or "[]")[0].get("prefsrc", "")
    except (ValueError, IndexError):
        return ""


def setting(name: str, text: str) -> str:
    """A setting of turnserver.conf; empty if it is not there."""
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == name:
            return value
    return ""


def lines(addresses: Addresses, external: str) -> str:
    """What turnserver.conf needs of it. `external`: the address that the outside knows an IPv4 box behind NAT by."""
    if not addresses.listen:
        # Nobody comes in, but the service runs; another start follows as soon as there is an address.
        return "listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\n"
    text = [f"listening-ip={one.ip}" for one in addresses.listen]
    text += [f"relay-ip={one}" for one in addresses.relay]
    if external:
        text += [f"external-ip={external}/{one}" for one in addresses.relay if one.version == 4]
    # Allowed goes before denied. By these, two who are both relayed reach each other; the firewall sees to it that what
    # is relayed to them gets to no other service (/etc/chatimg/nftables/coturn.nft).
    text += [f"allowed-peer-ip={one}" for one in addresses.relay]
    # The box's neighbours may trust it, or be shielded by its router: they are for nobody outside. Who calls from there is
    # still reached by what the box relays for him.
    text += [f"denied-peer-ip={one[0]}-{one[-1]}" for one in addresses.near]
    return "".join(f"{line}\n" for line in text)


def wanted() -> str:
    """What coturn would be told if it started now."""
    return lines(current(), system.read(EXTERNAL) or setting("external-ip", system.read(SETTINGS)))
