"""Units that failed."""

from chatimg_box import system
from chatimg_box.health import Section


def look() -> Section:
    listed = system.output("systemctl", "--failed", "--no-legend", "--plain", "--full")
    failed = [line.split()[0] for line in listed.splitlines() if line.split()]
    section = Section("services", [", ".join(failed) + " failed" if failed else "none failed"], {"failed": failed})
    for unit in failed:
        section.problem(f"{unit} failed", f"sudo journalctl -b -u {unit}; then: sudo systemctl restart {unit}")
    return section
