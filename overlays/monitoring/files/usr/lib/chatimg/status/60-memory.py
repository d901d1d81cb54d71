"""Errors of the memory, over all boots."""

from chatimg_box.health import Section
from chatimg_watch import memory


def look() -> Section:
    counters = memory.counters()
    state = memory.load()
    section = Section(
        "memory", data={"watched": bool(counters), "corrected": state.corrected, "uncorrected": state.uncorrected}
    )
    if not counters:
        section.lines.append("not watched: no ECC memory, or the kernel does not know its controller")
        return section
    section.lines.append(f"{state.corrected} errors corrected, {state.uncorrected} not; {state.today()} today")
    if any(count for name, count in counters.items() if "/ue" in name):
        section.problem(
            "the memory lost data since the last start", "sudo ras-mc-ctl --errors; test the memory, replace the module"
        )
    if state.today() >= memory.MANY:
        section.problem(f"{state.today()} memory errors in a day", "sudo ras-mc-ctl --error-count; replace the module")
    return section
