"""What is to be done now. It decides by what it is given, and does nothing itself."""

from dataclasses import dataclass, field

from chatimg_tls.certificate import Certificate

from .names import Found
from .settings import Settings
from .state import State


@dataclass(frozen=True)
class Decision:
    """`ask`: the names to ask for a certificate for; none: nothing is to be done, and `says` has the reason."""

    ask: tuple[str, ...] = ()
    result: str = "good"
    says: str = ""
    # The names that are left out, and why.
    lacking: dict[str, str] = field(default_factory=dict)


def decide(
    now: float, settings: Settings, current: Certificate | None, found: dict[str, Found], state: State
) -> Decision:
    """`current`: the authority's certificate so far. `found`: where the names lead."""
    lacking = {}
    for name in settings.names:
        refused = state.refused.get(name)
        if found[name].kind != "here":
            lacking[name] = found[name].why
        elif refused and now < refused.until and refused.addresses == list(found[name].addresses):
            lacking[name] = refused.why
    good = tuple(name for name in settings.names if name not in lacking)
    usable = current is not None and now < current.end and state.server == settings.url
    covered = current.names if usable else frozenset()
    due = not usable or now >= current.due_at
    if not due and covered.issuperset(good):
        return Decision(lacking={name: why for name, why in lacking.items() if name not in covered})
    lost = [name for name in settings.names if name in covered and name in lacking]
    if lost and not current.near_end(now):
        # They may come back; until it is time, the certificate that has them stays.
        return Decision(result="waits", says=f"waits for {', '.join(lost)}", lacking=lacking)
    if not good and all(one.kind == "unknown" for one in found.values()):
        return Decision(result="network", says="the DNS does not answer", lacking=lacking)
    if not good and state.refused:
        return Decision(result="failed", says="the authority refused every name", lacking=lacking)
    if not good:
        return Decision(result="waits", says="no name leads to this box yet", lacking=lacking)
    if now < state.wait_until:
        return Decision(result="failed", says=state.says, lacking=lacking)
    if not state.may_fail(now):
        says = "too much failed in the last hour: the authority allows no more"
        return Decision(result="failed", says=says, lacking=lacking)
    return Decision(good, "asks", "", lacking)
