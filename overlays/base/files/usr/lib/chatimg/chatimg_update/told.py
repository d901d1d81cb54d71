"""Times and images as people read them."""

import time

from . import history
from .place import Box


def day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def image(box: Box, id_: str) -> str:
    """An image's id, and what its programs are."""
    formats = history.image(box, id_).get("formats")
    if not isinstance(formats, dict):
        return id_
    names = [f"{name} {pair[0]}" for name, pair in sorted(formats.items()) if isinstance(pair, list) and pair]
    return f"{id_} ({', '.join(names)})" if names else id_


def event(one: dict) -> str:
    """A line of history."""
    from_, to, kind = one.get("from", "?"), one.get("to", "?"), one.get("kind", "update")
    words = {
        "switched": f"{kind} from {from_} to {to}: restart",
        "committed": f"{to} has proved itself",
        "confirmed": f"{to} was confirmed from outside",
        "rolled-back": f"rolled back from {from_} to {to}",
        "failed": f"{kind} to {to} failed, back to {from_}: {one.get('reason', 'unknown why')}",
    }
    down = f"; down for {one['down']} s" if one.get("down") else ""
    return f"{day(one.get('time', 0))}  {words.get(str(one.get('event')), str(one.get('event')))}{down}"
