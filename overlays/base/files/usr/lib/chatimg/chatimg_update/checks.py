"""The image's health: every line of /usr/lib/chatimg/health, and what systemd says.

    OVERLAY/NAME TIMEOUT KIND<TAB>ARGUMENT

Nothing here may hang: whoever asks has a deadline, and gets an answer.
"""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from .place import Box

SAID = 64 << 10
QUICK = 15.0  # seconds for one look; a check's own timeout is how long a command may take
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}


@dataclass(frozen=True)
class Check:
    name: str
    timeout: float
    kind: str
    argument: str


def load(box: Box) -> list[Check]:
    found = []
    for line in (box.library / "health").read_text(encoding="utf-8").splitlines():
        what, _, argument = line.partition("\t")
        words = what.split(" ")
        if len(words) == 3 and words[1].isdecimal() and words[2] in KINDS:
            found.append(Check(words[0], float(words[1]), words[2], argument))
        elif line:
            # Never passed over: an image that cannot be judged is not good.
            found.append(Check(words[0], QUICK, "unknown", line))
    return found


def run(command: list[str], seconds: float) -> tuple[int | None, str]:
    """Exit status and the end of what a command said; no status if it took too long."""
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=ENVIRONMENT, start_new_session=True
            )
        except OSError as error:
            return 127, f"{command[0]}: {error.strerror}"
        try:
            code: int | None = process.wait(max(0.1, seconds))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # What it left behind, too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
        said.seek(max(0, said.seek(0, os.SEEK_END) - SAID))
        return code, said.read().decode(errors="replace").strip()


def short(said: str) -> str:
    return " ".join(said.split())[-500:]


def unit(argument: str, seconds: float) -> str:
    code, said = run(["systemctl", "is-active", argument], min(seconds, QUICK))
    if code is None:
        return "systemd does not answer"
    return "" if code == 0 else f"{argument} is {short(said) or 'not active'}"


def tcp(argument: str, seconds: float) -> str:
    host, _, port = argument.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), min(seconds, QUICK)).close()
    except (OSError, ValueError) as error:
        return f"{argument}: {error}"
    return ""


def http(argument: str, seconds: float) -> str:
    trusting = ssl.create_default_context()
    # Seen from the box itself the name in the certificate is another.
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
    )
    try:
        with opener.open(argument, timeout=min(seconds, QUICK)) as answer:
            return "" if answer.status == 200 else f"{argument} answers {answer.status}"
    except urllib.error.HTTPError as error:
        return f"{argument} answers {error.code}"
    except (OSError, ValueError) as error:
        return f"{argument}: {error}"


def command(argument: str, seconds: float) -> str:
    code, said = run(["sh", "-c", argument], seconds)
    if code is None:
        return f"took longer than {seconds:.0f} s"
    return "" if code == 0 else f"exit status {code}: {short(said)}"


def unknown(argument: str, _seconds: float) -> str:
    return f"{argument!r} is no check"


KINDS = {"unit": unit, "tcp": tcp, "http": http, "command": command, "unknown": unknown}


def one(check: Check, left: float) -> str:
    """Why a check does not hold; nothing if it does."""
    try:
        return KINDS[check.kind](check.argument, min(check.timeout, left))
    except Exception as error:  # noqa: BLE001 - a check that breaks does not hold
        return f"cannot be done: {error!r}"


def all_at_once(checks: list[Check], until: float) -> dict[str, str]:
    """Those that do not hold, with why. By `until` (monotonic) there is an answer, whatever hangs."""
    found: dict[str, str] = {}

    def look(check: Check) -> None:
        found[check.name] = one(check, until - time.monotonic())

    threads = {check.name: threading.Thread(target=look, args=(check,), daemon=True) for check in checks}
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.1, until + 2 - time.monotonic()))
    return {name: why for name in threads if (why := dict(found).get(name, "hangs"))}


def systemd() -> dict[str, str]:
    """What systemd complains about: units that failed, or that are not up yet."""
    code, listed = run(["systemctl", "--failed", "--no-legend", "--plain", "--full"], QUICK)
    if code is None:
        return {"systemd": "does not answer"}
    failed = [line.split()[0] for line in listed.splitlines() if line.split()]
    if failed:
        return {name: "failed" for name in failed}
    _, state = run(["systemctl", "is-system-running"], QUICK)
    if state == "running":
        return {}
    _, jobs = run(["systemctl", "list-jobs", "--no-legend", "--plain", "--full"], QUICK)
    waiting = [words[1] for words in map(str.split, jobs.splitlines()) if len(words) > 3 and words[3] == "running"]
    return {name: "is not up yet" for name in waiting} or {"systemd": f"the system is {short(state) or 'in no state'}"}


def look(checks: list[Check], until: float, says: Callable[[], dict[str, str]] = systemd) -> dict[str, str]:
    """What is wrong. Commands, which may take long and leave traces, are run once all the rest holds."""
    quick = [one for one in checks if one.kind != "command"]
    wrong = all_at_once(quick, min(until, time.monotonic() + QUICK)) | says()
    if wrong:
        return wrong
    return all_at_once([one for one in checks if one.kind == "command"], until)
