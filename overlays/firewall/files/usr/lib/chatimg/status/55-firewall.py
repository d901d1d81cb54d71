"""Whether the firewall is there, and who is banned."""

import json

from chatimg_bans.keep import Keep
from chatimg_bans.listed import Faulty
from chatimg_bans.rules import TABLE
from chatimg_box import system
from chatimg_box.health import Section
from chatimg_box.system import Trouble


def look() -> Section:
    section = Section("firewall")
    loaded = tables()
    if "chatimg" not in loaded:
        section.problem("the firewall is not loaded: every port is open", "sudo systemctl restart nftables")
    try:
        bans = Keep().load()
        section.data = {"loaded": "chatimg" in loaded, "banned-ranges": len(bans)}
        section.lines.append(f"{'closed' if 'chatimg' in loaded else 'OPEN'}; {len(bans) or 'no'} ranges banned")
        if TABLE not in loaded:
            section.problem("banned ranges are not kept out", "sudo systemctl restart chatimg-bans nftables")
    except (Faulty, Trouble, OSError) as error:
        section.data = {"loaded": "chatimg" in loaded, "banned-ranges": None}
        section.lines.append("the list of banned ranges is broken; the last good one is in force")
        section.problem(f"banned ranges: {error}", "give a list anew: sudo chatimg-admin ban load FILE")
    return section


def tables() -> set[str]:
    """Names of nftables' tables."""
    try:
        found = json.loads(system.output("nft", "--json", "list", "tables"))
    except ValueError:
        return set()
    return {one["table"]["name"] for one in found.get("nftables", []) if "table" in one}
