"""The certificate that nginx shows, and how long it is good."""

import ssl
import time
from pathlib import Path

from chatimg_box import system
from chatimg_box.health import Section

CHOSEN = Path("/run/chatimg-nginx/tls.pem")
GIVEN = Path("/var/lib/chatimg/tls/certificate.pem")
SOON = 14 * 86400


def look() -> Section:
    end = system.output("openssl", "x509", "-noout", "-enddate", "-in", str(CHOSEN)).strip().partition("=")[2]
    section = Section("web", data={"certificate-until": end or None})
    if not end:
        section.lines.append("no certificate")
        section.problem("nginx has no certificate", "sudo systemctl status nginx")
        return section
    own = CHOSEN.resolve().name == "self-signed.pem"
    left = ssl.cert_time_to_seconds(end) - time.time()
    section.data |= {"self-signed": own, "days-left": int(left // 86400)}
    kind = "the box's own certificate, which other servers refuse" if own else "certificate"
    section.lines.append(f"{kind}, until {end}")
    if own and GIVEN.exists():
        section.problem(
            f"{GIVEN} is not used", "see why: sudo journalctl -b -u nginx; give another one to set-certificate"
        )
    if left < SOON:
        section.problem(
            f"the certificate ends on {end}",
            "give a new one: sudo /usr/lib/chatimg/set-certificate <key-and-certificate.pem",
        )
    return section
