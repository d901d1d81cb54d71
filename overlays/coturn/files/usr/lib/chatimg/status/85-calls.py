"""Who gets calls relayed, and by which address."""

import ipaddress

from chatimg_box import system
from chatimg_box.health import Section
from chatimg_turn import addresses


def look() -> Section:
    settings, used = system.read(addresses.SETTINGS), system.read(addresses.IN_USE)
    listen = [line.partition("=")[2] for line in used.splitlines() if line.startswith("listening-ip=")]
    external = addresses.setting("external-ip", used).partition("/")[0]
    runs = system.output("systemctl", "is-active", "coturn.service").strip() == "active"
    name = addresses.setting("server-name", settings)
    section = Section("calls", data={"name": name, "runs": runs, "addresses": listen, "external-ip": external or None})
    if not runs:
        section.lines.append("no calls are relayed")
        section.problem("coturn does not run", "sudo systemctl status coturn")
        return section
    public = [one for one in listen if ipaddress.ip_address(one).is_global]
    if external:
        section.lines.append(f"{name}, known outside as {external}")
    elif public:
        section.lines.append(f"{name}, at {', '.join(public)}")
    else:
        section.lines.append(f"{name}, but the box has no public address: set calls.external-ip, or only its own network has calls")
    return section
