"""The authority that certificates come from: what it gave, what lacks, what is to be done."""

import time

from chatimg_acme import settings, state
from chatimg_box import text
from chatimg_box.health import Section
from chatimg_tls import certificate, places

AGREE = "read its terms (letsencrypt.org/repository), then: sudo chatimg-admin settings set acme.terms-agreed true"
TOKEN = "sudo chatimg-admin settings secret cloudflare-token"
AGAIN = "sudo chatimg-admin certificate now"


def look() -> Section:
    section = Section("authority", data={"asks": False, "until": None, "lacking": {}})
    try:
        wanted = settings.read()
    except (OSError, ValueError):
        section.lines.append("nothing was looked at since the start: a minute after it")
        return section
    shown(section, wanted, state.load(), certificate.read(places.ASKED), time.time())
    return section


def shown(
    section: Section,
    wanted: settings.Settings,
    memory: state.State,
    current: certificate.Certificate | None,
    now: float,
) -> None:
    section.data |= {"asks": wanted.agreed, "server": wanted.server, "lacking": memory.lacking}
    if current:
        section.data |= {"until": text.moment(int(current.end)), "names": sorted(current.names)}
        renewed = f"of {text.moment(int(current.start))}, renewed about {text.moment(int(current.due_at))}"
        section.lines.append(f"{wanted.server}: {renewed}" if now < current.due_at else f"{wanted.server}: renewal is due")
    if not wanted.agreed:
        # No problem for a box that is only tried out; the line on the certificate says what it means.
        section.lines.append("nothing is asked for: you have not agreed to the authority's terms")
        section.lines.append(f"to have a certificate, {AGREE}")
        return
    if wanted.missing():
        section.lines.append(wanted.missing())
        section.problem(wanted.missing(), TOKEN)
        return
    if memory.result == "own":
        section.lines.append("nothing is asked for while yours is good")
        return
    if memory.result != "good":
        section.lines.append(memory.says or "nothing was looked at yet")
    if memory.result == "failed":
        later = [memory.wait_until, *(one.until for one in memory.refused.values())]
        when = f"it tries again at {text.moment(int(max(later)))}" if max(later) > now else "it tries again soon"
        section.problem(f"there is no new certificate: {memory.says}", f"put that right; {when}, or: {AGAIN}")
    for name, why in sorted(memory.lacking.items()):
        section.lines.append(f"not in it: {name}: {why}")
        section.problem(f"{name} has no certificate: {why}", advice(name))
    if current and current.near_end(now):
        section.problem(f"the certificate {current.ending(now)}, and is not renewed", AGAIN)


def advice(name: str) -> str:
    return (
        f"add a DNS entry that leads {name} here, and let port 80 through; or leave the name out: option without of the "
        f"overlay acme. It tries again by itself; at once: {AGAIN}"
    )
