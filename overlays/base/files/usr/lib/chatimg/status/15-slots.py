"""The root slots: which image each holds, which one runs, snapshots, and how the last switch went."""

import time

from chatimg_box import text
from chatimg_box.health import Section
from chatimg_box.system import Trouble
from chatimg_update import bootstate, history, snapshot, switch, told
from chatimg_update.place import Box

BOX = Box()


def look() -> Section:
    section = Section("slots", data={})
    try:
        copies = bootstate.look(BOX)
        state = bootstate.best(copies)
    except Trouble as trouble:
        section.lines.append("unknown")
        section.problem(f"the boot state cannot be read: {trouble}", "see `chatimg-admin status` for the disks, then restart")
        return section
    on_trial = bootstate.on_trial(BOX, state)
    section.data = {"running": BOX.slot, "good": state["good"], "trial": on_trial, "slots": {}}
    for name in ("a", "b"):
        section.lines.append(f"{name:<8}{slot(name, state, on_trial)}")
        section.data["slots"][name] = state.get(name, "none")
    old = [one for one in copies if not one.values or one.values["gen"] != state["gen"]]
    if old:
        where = ", ".join(str(one.device) for one in old)
        section.problem(f"copies of the boot state are old or damaged: {where}", "sudo systemctl restart chatimg-mirror")
    last(section)
    snapshots(section)
    return section


def slot(name: str, state: dict[str, str], on_trial: bool) -> str:
    image = state.get(name, "none")
    if image in ("", "none"):
        return "empty"
    words = told.image(BOX, image)
    if name == BOX.slot:
        return f"{words}, runs{' on trial' if on_trial else since(image)}"
    return words


def since(image: str) -> str:
    events = [one for one in history.events(BOX) if one.get("to") == image and one.get("event") in ("committed", "rolled-back")]
    return f", in service since {told.day(events[-1]['time'])}" if events else ""


def last(section: Section) -> None:
    """The last switch, and one that is under way or planned."""
    planned = switch.planned(BOX)
    section.data["planned"] = planned[1] if planned else None
    if planned:
        section.lines.append(f"switch to {planned[0].to} planned for {told.day(planned[1])}")
    events = history.events(BOX)
    section.data["last"] = events[-1] if events else None
    if events and events[-1].get("event") == "failed":
        section.lines.append(told.event(events[-1]))
        section.data["failed-because"] = events[-1].get("reason")
    current = switch.read(BOX)
    if current and not BOX.trial.exists():
        section.problem("a switch is not finished", "see: sudo journalctl -b -u chatimg-settle; then restart the box")


def snapshots(section: Section) -> None:
    found = snapshot.all_of(BOX)
    about = ({"name": one.name, "image": one.image, "time": one.time, "size": one.size} for one in found)
    section.data["snapshots"] = list(about)
    for one in found:
        age, size = text.duration(max(0, time.time() - one.time)), text.size(one.size)
        section.lines.append(f"snapshot of {told.day(one.time)} ({age} ago), image {one.image}, {size}, mostly shared")
