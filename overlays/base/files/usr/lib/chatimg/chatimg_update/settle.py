"""Finishes what a switch has left: history, old snapshots, and word to the administrator (chatimg-settle.service).

Runs after a start that is no trial, if there is a switch. All of it can be done twice.
"""

from collections.abc import Mapping

from chatimg_box import system

from . import bootstate, history, journal, snapshot, switch
from .place import Box
from .place import remove as remove_file

WORD = {"update": "update", "rollback": "rollback"}


def committed(box: Box, current: Mapping[str, str], down_until: float | None = None) -> None:
    """The image has proved itself. `down_until`: when the ports opened."""
    about = {"from": current.get("from"), "to": box.id, "kind": current.get("kind"), "switch": current.get("time")}
    since = current.get("down-since", "")
    if down_until is not None and since.isdecimal():
        about["down"] = max(1, round(down_until - int(since)))
    event = "rolled-back" if current.get("kind") == "rollback" else "committed"
    history.add(box, event, **about)
    remove_file(box.kept / "reserve")
    remove_file(box.kept / "switch")
    state = bootstate.read(box)
    snapshot.prune(box, {state.get("a", ""), state.get("b", "")}, {current.get("snapshot", "")})


def why(box: Box, current: Mapping[str, str], state: Mapping[str, str]) -> str:
    """Why an image was left again."""
    verdict = box.json(box.kept / "trial.json")
    to = current.get("to", "")
    reasons = verdict.get("reasons")
    if verdict.get("image") == to and str(verdict.get("switch")) == current.get("time") and isinstance(reasons, list):
        return "; ".join(str(one) for one in reasons) or "it was cut short before its verdict"
    tried = {"3": 0, "2": 1, "1": 2, "0": 3}.get(state.get("left", ""), 0)
    if not state.get("try"):
        return "the power went before the restart"
    if tried == 3:
        return "it did not come up in three starts: it hung, or the kernel gave up"
    return "GRUB did not start it: its slot is damaged, or the boot state could not be saved"


def failed(box: Box, current: Mapping[str, str], state: Mapping[str, str]) -> None:
    """The box is back."""
    # What the failed image has left may fill the disk.
    remove_file(box.kept / "reserve")
    reason, to, kind = why(box, current, state), current.get("to", ""), WORD.get(current.get("kind", ""), "update")
    if state.get("try") or state.get("next"):
        bootstate.change(box, bootstate.SETTLED)
    time = current.get("time", "")
    data = "its data are those from before" if current.get("touched") == "back" else "its data were not touched"
    about = {"reason": reason, "switch": time, "to": to, "kind": current.get("kind"), "from": box.id}
    # What fails of this is told and nothing more: else the box would never be done with this switch. Who waits for the
    # verdict reads the history, so that comes last.
    for step in (
        lambda: snapshot.sweep(box, set()),
        lambda: keep_journal(box, to, int(time) if time.isdecimal() else 0),
        lambda: system.tell(
            f"the {kind} to {to} failed; the box runs {box.id} again",
            f"Why: {reason}.\nThe box has gone back by itself, and {data}.\nWhat to do: see /state/.chatimg/failed for the "
            f"journal of the image that failed, and `sudo chatimg-admin history`; mend the image, and begin the {kind} anew.",
            key=f"update/failed/{time}",
            level="critical",
        ),
        lambda: history.add(box, "failed", **about),
    ):
        try:
            step()
        except (OSError, system.Trouble) as error:
            print(f"error: {error}", flush=True)
    remove_file(box.kept / "switch")


def keep_journal(box: Box, image: str, since: int) -> None:
    """That of an image which could not keep its own."""
    boots = journal.boots_since(since) if since else []
    kept = list((box.kept / "failed").glob(f"*-{image}.log"))
    if boots and not any(path.stat().st_mtime >= since for path in kept):
        journal.keep(box, image, b"\n".join(journal.said(f"--boot={one}") for one in boots))


def settle(box: Box) -> str:
    """What there was to finish."""
    current, state = switch.read(box), bootstate.read(box)
    if not current or bootstate.on_trial(box, state):
        return "nothing is to be finished"
    good = state.get("good") == box.slot
    if good and current.get("to") == box.id:
        committed(box, current)
        return f"the image {box.id} has proved itself"
    if good and current.get("touched") in ("restoring", "yes", "returning"):
        # The initrd puts the state back before it says `back`.
        raise system.Trouble("the state was not put back: restart the box")
    if good:
        failed(box, current, state)
        return f"the switch to {current.get('to')} failed"
    # Somebody chose the other slot in GRUB's menu, this once. The next start finishes it.
    return f"slot {box.slot} was started by hand; the switch to {current.get('to')} is finished later"
