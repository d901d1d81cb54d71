"""Alerts that did not go out, and the ways they would."""

from chatimg_box import text
from chatimg_box.health import Section
from chatimg_watch import deliver
from chatimg_watch.spool import Spool


def look() -> Section:
    waiting = Spool().all()
    ways = deliver.load()
    section = Section("alerts", data={"waiting": [one.subject for one in waiting], "ways": ways.names})
    by = (
        f"sent by {' and '.join(ways.names)}" if ways.names else "sent to nobody: no webhook and no mail address is set"
    )
    section.lines.append(f"{len(waiting)} waiting; {by}")
    for fault in ways.faults:
        section.problem(fault, "set it right: sudo chatimg-admin settings")
    if waiting and not ways.names:
        subjects = "; ".join(one.subject for one in waiting[-3:])
        section.problem(
            f"{text.count(len(waiting), 'alert')} that nobody was told: {subjects}",
            "read them with `sudo chatimg-admin alerts`, drop them with --clear; "
            "set alerts.mail-to or a webhook (chatimg-admin settings)",
        )
    elif any(one.tries for one in waiting):
        section.problem(
            f"{text.count(len(waiting), 'alert')} not sent: {waiting[-1].trouble}",
            "set it right (chatimg-admin settings), and try: sudo chatimg-admin alerts --test",
        )
    return section
