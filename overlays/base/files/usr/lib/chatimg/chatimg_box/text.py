"""Numbers as people read them."""

import time


def size(count: int) -> str:
    """Bytes, as disks are sold: 4.0 TB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """The two largest units: 3 d 4 h."""
    left = int(seconds)
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def count(number: int, one: str) -> str:
    """1 alert, 2 alerts."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def moment(seconds: int) -> str:
    """A time by the box's clock; Unix seconds."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "at an unknown time"


def plain(text: object) -> str:
    """What others wrote, such that no terminal acts on it."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(text))
