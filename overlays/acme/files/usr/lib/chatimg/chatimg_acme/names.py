"""Where the box's names lead, by the DNS: not by /etc/hosts, which has the domain."""

import errno
import http.client
import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path

from . import dns

RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")
TIMEOUT = 15
# Root servers. Nothing is sent there: the kernel says which of the box's addresses would be used.
OUTSIDE = {socket.AF_INET: "198.41.0.4", socket.AF_INET6: "2001:503:ba3e::2:30"}


@dataclass(frozen=True)
class Found:
    """What is known of a name: `here` if it may lead to this box, `missing` if the DNS says that there is no such name,
    `elsewhere`, `unknown` if nobody answered."""

    kind: str
    why: str = ""
    addresses: tuple[str, ...] = field(default=())


def ask(name: str) -> Found:
    """Asks the DNS servers that systemd-resolved knows. Where the name leads is not known yet."""
    why = "no DNS server is known"
    for server in 2 * servers():
        try:
            found = [dns.ask(server, name, kind) for kind in (dns.A, dns.AAAA)]
        except (OSError, dns.Unusable) as error:
            why = f"the DNS does not answer ({server}: {error})"
            continue
        if not any(found):
            return Found("missing", "the DNS has no address for it")
        return Found("here", "", tuple(sorted(address for one in found for address in one)))
    return Found("unknown", why)


def servers() -> list[str]:
    """Not systemd-resolved itself: it never asks others for the box's own name, which mostly is the domain."""
    try:
        text = RESOLV_CONF.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    words = [line.split() for line in text.splitlines()]
    return [one[1] for one in words if len(one) == 2 and one[0] == "nameserver"]


def look(name: str, webroot: Path) -> Found:
    """Where a name leads, as far as can be known from inside."""
    found = ask(name)
    if found.kind != "here":
        return found
    strange = [one for one in found.addresses if not is_own(one)]
    if not strange or not any(is_public(one) for one in strange):
        return found
    # Through a proxy, or another machine's? It is this box if what lies here is found there.
    token = secrets.token_urlsafe(24)
    folder = webroot / ".well-known/acme-challenge"
    file = folder / f"look-{token}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        file.write_text(token)
        file.chmod(0o644)
        lost = [one for one in strange if is_public(one) and not answers(one, name, file.name, token)]
    finally:
        file.unlink(missing_ok=True)
    if lost:
        return Found("elsewhere", f"it leads elsewhere, to {', '.join(lost)}", found.addresses)
    return found


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def is_own(address: str) -> bool:
    """Whether the box has this address: else nothing can be bound to it."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno not in (errno.EADDRNOTAVAIL, errno.EINVAL)
    return True


def is_public(address: str) -> bool:
    """Whether the box itself has a public address of that family. Behind a router's, nothing can be told by addresses."""
    kind = family(address)
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect((OUTSIDE[kind], 9))
            return ipaddress.ip_address(probe.getsockname()[0]).is_global
    except OSError:
        return False


def answers(address: str, name: str, file: str, token: str) -> bool:
    """Whether the file is found by that name at that address; so it is taken to be if the answer leads on from there."""
    connection = http.client.HTTPConnection(address, 80, timeout=TIMEOUT)
    try:
        connection.request("GET", f"/.well-known/acme-challenge/{file}", headers={"Host": name})
        answer = connection.getresponse()
        return answer.status in (301, 302, 307, 308) or answer.read(len(token) + 1) == token.encode()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
