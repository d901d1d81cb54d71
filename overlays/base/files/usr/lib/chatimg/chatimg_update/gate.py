"""The verdict on an image that is on trial (chatimg-gate.service).

Within some minutes (`checks` in /etc/chatimg/trial; 10) all checks have to hold at once; with `guard=login` somebody has to
confirm from outside, within some more (`confirm`; 10).
Whatever happens, there is a verdict before the initrd's guard restarts the machine (20 minutes).
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable

from chatimg_box import durable, system
from chatimg_box.system import Trouble

from . import bootstate, checks, history, journal, settle, switch, trial
from .place import Box

CHECKS = 600.0
CONFIRM = 600.0
ALL = 1080.0
PAUSE = 5.0
FORCE = 60.0

Look = Callable[[float], dict[str, str]]  # by when; what does not hold, and why


class Gate:
    def __init__(self, box: Box, look: Look | None = None, sleep: Callable[[float], None] = time.sleep,
                 clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        self.box, self.sleep, self.clock = box, sleep, clock
        self.begun = clock()
        self.current = switch.read(box)
        self.patience = patience(box)
        self.look = look or self.checks

    def checks(self, until: float) -> dict[str, str]:
        return checks.look(checks.load(self.box), until)

    def run(self) -> bool:
        """Whether the image stays."""
        try:
            reasons = self.health() or self.confirmation() or self.commit()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold the box in a trial for ever
            reasons = [f"the gate broke: {error!r}"]
        if reasons:
            self.leave(reasons)
        return not reasons

    def health(self) -> list[str]:
        """Why the checks do not hold; nothing as soon as all do at once."""
        until = self.begun + self.patience["checks"]
        wrong = {"gate": "no time to look"}
        while self.clock() < until:
            wrong = self.look(until)
            if not wrong:
                self.note("waiting" if self.needs_login else "good", [])
                return []
            self.note("looking", told(wrong))
            self.sleep(min(PAUSE, max(0.0, until - self.clock())))
        return told(wrong)

    @property
    def needs_login(self) -> bool:
        return self.current.get("guard") == "login"

    def confirmation(self) -> list[str]:
        """Waits until somebody has logged in and said so."""
        until = min(self.clock() + self.patience["confirm"], self.begun + ALL)
        while self.needs_login and not confirmed(self.box):
            if self.clock() >= until:
                return ["nobody confirmed it from outside: is the network as it should be?"]
            self.sleep(1.0)
        return []

    def commit(self) -> list[str]:
        """One write, then everything that follows from it."""
        if self.needs_login:
            history.add(self.box, "confirmed", switch=self.current.get("time"), to=self.box.id)
        try:
            failed = bootstate.change(self.box, {"good": self.box.slot, **bootstate.SETTLED})
        except Trouble as trouble:
            return [str(trouble)]
        # From here on nothing leads back.
        self.after(lambda: release(self.box))
        self.after(lambda: trial.relax(self.box))
        self.after(lambda: self.opened(trial.end(self.box)))
        now = self.box.now()
        self.after(lambda: self.note("committed", []))
        self.after(lambda: settle.committed(self.box, self.current, now))
        self.after(lambda: bootstate.tell_failed(failed))
        # Now the image's GRUB may come to both disks.
        self.after(lambda: self.box.command("systemctl", "--no-block", "restart", "chatimg-mirror.service"))
        print(f"the image {self.box.id} has proved itself", flush=True)
        return []

    @staticmethod
    def after(step: Callable[[], None]) -> None:
        """What fails now is told, and done at the next start (chatimg-settle.service)."""
        try:
            step()
        except Exception as error:  # noqa: BLE001
            print(f"error: after the commit: {error!r}", flush=True)

    @staticmethod
    def opened(trouble: str) -> None:
        if trouble:
            system.tell(
                "the ports are still closed",
                f"{trouble}\nWhat to do: restart the box (sudo reboot).", key="update/ports", level="critical",
            )  # fmt: skip

    def note(self, verdict: str, reasons: list[str]) -> None:
        about = {"image": self.box.id, "verdict": verdict, "reasons": reasons, "time": int(self.box.now())}
        # For people only: a full disk must not decide.
        with contextlib.suppress(OSError):
            durable.write_json(self.box.kept / "trial.json", about | {"switch": self.current.get("time", "")})

    def leave(self, reasons: list[str]) -> None:
        """Back to the image before. Nothing here may keep it from that."""
        print(f"the image {self.box.id} has failed: {'; '.join(reasons)}", flush=True)
        for step in (
            lambda: self.note("failed", reasons),
            # Before all that may take long: the initrd's guard would only have it tried again.
            lambda: bootstate.change(self.box, bootstate.SETTLED),
            lambda: journal.keep(self.box, self.box.id, journal.said("--boot")),
            os.sync,
            lambda: self.box.command("systemctl", "--no-block", "reboot"),
        ):
            try:
                step()
            except Exception as error:  # noqa: BLE001
                print(f"error: on the way back: {error!r}", flush=True)
        self.sleep(FORCE)
        for command in (("systemctl", "--force", "--force", "reboot"), ("reboot", "-f")):
            with contextlib.suppress(Trouble):
                self.box.command(*command)


def patience(box: Box) -> dict[str, float]:
    """Seconds for the checks and for the confirmation."""
    found = {"checks": CHECKS, "confirm": CONFIRM}
    for line in system.read(box.at("/etc/chatimg/trial")).splitlines():
        name, _, value = line.partition("=")
        if name in found and value.isdecimal():
            found[name] = min(float(value), ALL)
    return found


def told(wrong: dict[str, str]) -> list[str]:
    return [f"{name}: {why}" for name, why in sorted(wrong.items())][:20]


def confirmed(box: Box) -> bool:
    return system.read(box.run / "confirmed") == box.id


def release(box: Box) -> None:
    """Ends the initrd's guard, which would restart the machine."""
    pid = system.number(box.run / "guard.pid")
    if pid > 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    (box.run / "guard.pid").unlink(missing_ok=True)
