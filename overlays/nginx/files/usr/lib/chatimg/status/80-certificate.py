"""The certificate that nginx shows, and how long it is good."""

import time
from pathlib import Path

from chatimg_box import text
from chatimg_box.health import Section
from chatimg_tls import certificate, places

SHOWN = Path("/run/chatimg-nginx/tls.pem")
GIVE = "give a new one: chatimg-admin certificate set <key-and-certificate.pem"
KINDS = {
    places.GIVEN: "the certificate that you gave",
    places.ASKED: "the authority's certificate",
    places.OWN: "the box's own certificate, which other servers refuse",
}


def look() -> Section:
    found = certificate.read(SHOWN)
    section = Section("web", data={"certificate-until": text.moment(int(found.end)) if found else None})
    if not found:
        section.lines.append("no certificate")
        section.problem("nginx has no certificate", "sudo systemctl status nginx")
        return section
    shown, now = SHOWN.resolve(), time.time()
    own = shown == places.OWN
    names = ", ".join(sorted(found.names))
    section.data |= {"self-signed": own, "days-left": int((found.end - now) // 86400), "names": sorted(found.names)}
    section.lines.append(f"{KINDS.get(shown, shown)}, {found.ending(now)}: {names}")
    if places.GIVEN.exists() and shown != places.GIVEN:
        given = certificate.read(places.GIVEN)
        why = f"it {given.ending(now)}" if given and given.end < now else "it cannot be used"
        section.problem(
            f"the certificate that you gave is not shown: {why}",
            "give a new one (chatimg-admin certificate set), or remove it: sudo chatimg-admin certificate remove",
        )
    # That an authority's is not renewed, the section on it tells.
    if found.near_end(now) and shown != places.ASKED:
        section.problem(f"the certificate {found.ending(now)}", GIVE)
    return section
