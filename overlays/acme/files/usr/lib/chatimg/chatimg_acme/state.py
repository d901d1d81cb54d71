"""What is remembered from one look to the next. Times are Unix seconds."""

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import get_args, get_origin

from chatimg_box import durable, system, text

HOME = Path("/var/lib/chatimg-acme")
FILE = HOME / "state.json"
MINUTE, HOUR = 60.0, 3600.0
# Let's Encrypt allows five failures an hour, for each name and account.
FAILURES_AN_HOUR = 4
# No time is later than that.
LATEST = 1e11


@dataclass
class Refused:
    """A name that the authority did not take. `addresses`: where it led then."""

    why: str
    count: int
    until: float
    addresses: list[str]


@dataclass
class State:
    """Everything; what is missing in the file is as here."""

    # What came of the last look, for a person.
    says: str = ""
    # good, waits, failed, or what is missing: terms, own, clock, network
    result: str = ""
    looked: float = 0
    # Before that there is nothing to look for.
    next_look: float = 0
    # The names that are to be in the certificate and are not, and why.
    lacking: dict[str, str] = field(default_factory=dict)
    # Since when a certificate is asked for.
    since: float = 0
    # When one was got last, and from whom.
    got: float = 0
    server: str = ""
    fingerprint: str = ""
    # Failures in a row that are no single name's, and until when to wait for it.
    failures: int = 0
    wait_until: float = 0
    # Times of the failures of the last hour, oldest first.
    failed: list[float] = field(default_factory=list)
    refused: dict[str, Refused] = field(default_factory=dict)

    def changed(self, fingerprint: str, now_again: bool) -> None:
        """Other settings, or an impatient administrator: waits are over, but for the authority's own limits."""
        if fingerprint != self.fingerprint or now_again:
            self.fingerprint = fingerprint
            self.next_look = self.wait_until = 0
            self.failures = 0
            self.refused = {}

    def may_fail(self, now: float) -> bool:
        """Whether one more failure is within the authority's limits."""
        self.failed = [one for one in self.failed if now - HOUR < one <= now]
        return len(self.failed) < FAILURES_AN_HOUR

    def begins(self, now: float) -> None:
        """Each try counts as a failure until it has gone well: it may be cut short, and the authority counts, too."""
        self.failed.append(now)

    def has_gone_well(self, now: float, server: str, asked: tuple[str, ...]) -> None:
        self.result, self.says, self.got, self.server = "good", "", now, server
        self.failed.pop()
        self.failures, self.wait_until = 0, 0
        for name in asked:
            self.refused.pop(name, None)

    def was_refused(self, why: dict[str, str], addresses: dict[str, tuple[str, ...]], now: float) -> None:
        """Names that the authority did not take: an hour, then longer, up to a day."""
        for name, reason in why.items():
            count = self.refused[name].count + 1 if name in self.refused else 1
            wait = min(HOUR * 2 ** min(count - 1, 10), 24 * HOUR)
            self.refused[name] = Refused(reason, count, now + wait, list(addresses.get(name, ())))

    def has_failed(self, now: float, not_before: float = 0) -> None:
        """Something else went wrong: a quarter of an hour, then longer, up to half a day."""
        self.failures += 1
        wait = min(15 * MINUTE * 2 ** min(self.failures - 1, 10), 12 * HOUR)
        self.wait_until = max(now + wait, not_before)

    def sane(self, now: float) -> None:
        """A clock that was ahead once must not make it wait for ever."""
        day = now + 25 * HOUR
        self.next_look = min(self.next_look, day)
        self.wait_until = min(self.wait_until, now + 8 * 24 * HOUR)
        for one in self.refused.values():
            one.until = min(one.until, day)


def load(path: Path = FILE) -> State:
    """What cannot be read is forgotten: nothing depends on it but how long to wait. Root reads it, too, and the user certs
    may have written anything there."""
    try:
        found = json.loads(system.read_as_given(path))
        known = {key: value for key, value in found.items() if key in State.__dataclass_fields__}
        known["refused"] = {name: Refused(**one) for name, one in known.get("refused", {}).items()}
        memory = State(**known)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return State()
    if not fits(memory, State):
        return State()
    memory.says = text.plain(memory.says)
    memory.lacking = {text.plain(name): text.plain(why) for name, why in memory.lacking.items()}
    return memory


def fits(value: object, kind: type) -> bool:
    """Whether a value, and all in it, is what the class says. Numbers are times and counts."""
    inner = get_args(kind)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(fits(key, inner[0]) and fits(one, inner[1]) for key, one in value.items())
    if get_origin(kind) is list:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value)
    if is_dataclass(kind):
        return isinstance(value, kind) and all(fits(getattr(value, one.name), one.type) for one in fields(kind))
    if kind in (int, float):
        return type(value) in (int, kind) and abs(value) < LATEST
    return isinstance(value, kind)


def save(state: State, path: Path = FILE) -> None:
    durable.write_json(path, asdict(state))
