"""The files of systemd-networkd, -resolved and -timesyncd for a [network] table."""

import ipaddress

from .check import families, reaches

# Before the image's own 80-wired.network; where none of these matches, that one asks by DHCP.
NETWORK = "systemd/network/20-chatimg-{}.network"
# After the image's own, for the last one counts.
RESOLVED = "systemd/resolved.conf.d/zz-chatimg-host.conf"
TIMESYNCD = "systemd/timesyncd.conf.d/zz-chatimg-host.conf"


def files(network):
    """Path below /run and text of every file; none if nothing is set."""
    if not network:
        return {}
    found = {}
    for number, interface in enumerate(network.get("interfaces") or [network]):
        found[NETWORK.format(number)] = unit(interface, network)
    dns, search, ntp = (network.get(key) or [] for key in ("dns", "search", "ntp"))
    if dns:
        # An empty value forgets the image's; "~." has these servers asked for everything.
        domains = " ".join([*search, "~."])
        found[RESOLVED] = f"[Resolve]\nDNS=\nDomains=\nDNS={' '.join(dns)}\nDomains={domains}\n"
    elif search:
        found[RESOLVED] = f"[Resolve]\nDomains={' '.join(search)}\n"
    if ntp:
        found[TIMESYNCD] = f"[Time]\nNTP=\nNTP={' '.join(ntp)}\n"
    return found


def unit(interface, network):
    """One interface's .network file."""
    ipv4, ipv6 = families(interface)
    dhcp = {(True, True): "yes", (True, False): "ipv4", (False, True): "ipv6"}.get((ipv4, ipv6), "no")
    accept = interface.get("accept-ra", ipv6)
    lines = ["[Match]", *match(interface), "", "[Network]", f"DHCP={dhcp}"]
    lines += [f"IPv6AcceptRA={'yes' if accept else 'no'}", "LLMNR=no", "MulticastDNS=no"]
    addresses = interface.get("addresses", [])
    lines += [f"Address={address}" for address in addresses]
    own = [ipaddress.ip_interface(address) for address in addresses]
    for gateway in interface.get("gateways", []):
        lines += ["", "[Route]", f"Gateway={gateway}"]
        parsed = ipaddress.ip_address(gateway)
        if not any(parsed in address.network for address in own if reaches(address, parsed)):
            lines += ["GatewayOnLink=yes"]
    use_dns = ["UseDNS=no"] if network.get("dns") else []
    use_ntp = ["UseNTP=no"] if network.get("ntp") else []
    for section in ("DHCPv4", "DHCPv6"):
        lines += ["", f"[{section}]", "UseHostname=no", *use_dns, *use_ntp]
    if use_dns:
        lines += ["", "[IPv6AcceptRA]", *use_dns]
    return "\n".join(lines) + "\n"


def match(interface):
    if "interface" in interface:
        return [f"Name={interface['interface']}"]
    wired = ["Type=ether", "Kind=!*"]
    return [f"MACAddress={interface['mac']}", *wired] if "mac" in interface else wired
