"""A look at the certificate, as the user certs."""

import os
import random
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

from chatimg_tls import certificate
from chatimg_tls.certificate import DAY

from . import certbot, names, settings, state
from .decide import decide
from .names import Found
from .settings import Settings
from .state import HOUR, State

# While an image is on trial, see chatimg_update/trial.py.
TRIAL = Path("/run/chatimg/trial")
SYNCHRONISED = Path("/run/systemd/timesync/synchronized")


def main() -> int:
    wanted = settings.read()
    memory = state.load()
    now = time.time()
    memory.sane(now)
    memory.changed(wanted.fingerprint(), wanted.now)
    if now < memory.next_look:
        return 0
    look(wanted, memory, so_far(), now)
    memory.looked = time.time()
    memory.next_look = next_look(memory, so_far(), now)
    state.save(memory)
    print(memory.says or "the certificate is good")
    for name, why in memory.lacking.items():
        print(f"not in it: {name}: {why}")
    return 0


def so_far() -> certificate.Certificate | None:
    """The authority's certificate, if it can be used."""
    return certificate.read(certbot.CERTIFICATE) if certificate.fits(certbot.CERTIFICATE) else None


def next_look(memory: State, current: certificate.Certificate | None, now: float) -> float:
    """What is well is looked at twice a day, not by all boxes at the same time; what is not, with the timer."""
    if memory.result not in ("good", "own") or memory.lacking:
        return 0
    later = now + random.uniform(11, 13) * HOUR
    return min(later, current.due_at) if current and memory.result == "good" else later


def look(wanted: Settings, memory: State, current: certificate.Certificate | None, now: float) -> None:
    """Does what is to be done, and notes what came of it."""
    result, says = idle(wanted, current, now)
    if result:
        memory.result, memory.says, memory.lacking = result, says, {}
        memory.since = 0 if result in ("terms", "own") else memory.since
        return
    memory.since = memory.since or now
    found = {name: where(wanted, name) for name in wanted.names}
    memory.refused = {name: one for name, one in memory.refused.items() if name in found}
    decision = decide(now, wanted, current, found, memory)
    memory.result, memory.says, memory.lacking = decision.result, decision.says, decision.lacking
    if not decision.ask:
        return
    trouble = unreachable(wanted.url)
    if trouble:
        memory.result, memory.says = "network", trouble
        return
    print(f"asking {wanted.url} for {', '.join(decision.ask)}", flush=True)
    ask(wanted, memory, decision.ask, found)


def ask(wanted: Settings, memory: State, wished: tuple[str, ...], found: dict[str, Found]) -> None:
    now = time.time()
    memory.begins(now)
    state.save(memory)
    try:
        certbot.ask(wanted, wished, now)
    except certbot.Failure as failure:
        memory.result, memory.says = "failed", failure.why
        memory.lacking |= failure.names
        if failure.names:
            memory.was_refused(failure.names, {name: one.addresses for name, one in found.items()}, now)
        else:
            memory.has_failed(now, failure.not_before)
        return
    memory.has_gone_well(now, wanted.url, wished)


def idle(wanted: Settings, current: certificate.Certificate | None, now: float) -> tuple[str, str]:
    """Why nothing is to be looked for; empty if something is."""
    missing = wanted.missing()
    if missing:
        return "terms", missing
    if TRIAL.exists():
        # Its ports are closed: the authority would find nobody, and count that.
        return "trial", "waits until this image has proved itself"
    if wanted.own_until - now > 14 * DAY:
        return "own", "the administrator's own certificate is in use"
    if not clock_is_right(current, now):
        return "clock", "waits for the clock to be set"
    return "", ""


def clock_is_right(current: certificate.Certificate | None, now: float) -> bool:
    """A clock without a battery is wrong until a time server has answered. One that never does, because its port is
    closed, say, is no reason to wait for ever: the authority's own certificate tells whether the clock is far off."""
    if current is not None and now < current.start:
        return False
    return SYNCHRONISED.exists() or time.clock_gettime(time.CLOCK_BOOTTIME) > HOUR


def where(wanted: Settings, name: str) -> Found:
    """By DNS a name can be shown to be the box's wherever it leads."""
    if wanted.challenge == "dns-cloudflare":
        return Found("here")
    return names.look(name, settings.RUN / "webroot")


def unreachable(url: str) -> str:
    """Why the authority cannot be reached, which costs none of the few failures that it allows."""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    try:
        context = ssl.create_default_context(cafile=bundle)
        with urllib.request.urlopen(url, timeout=30, context=context) as answer:
            answer.read(1 << 16)
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}"
    except (OSError, ValueError) as error:
        return f"{url} cannot be reached: {error}"
    return ""
