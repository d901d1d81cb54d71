"""The list as a text: a line a range, with a comment if one likes."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from .ranges import Range, Wrong, merged, parse, too_much

# What nft loads in a few seconds, on the smallest box.
LIMIT = 200_000
BYTES = 16 << 20
_SHOWN = 20


@dataclass(frozen=True)
class Ban:
    range: Range
    comment: str = ""

    def __str__(self) -> str:
        return f"{self.range} # {self.comment}" if self.comment else str(self.range)


class Faulty(ValueError):
    """A list that is not taken: the mistakes, a line of text each."""

    def __init__(self, mistakes: list[str]) -> None:
        shown = mistakes[:_SHOWN]
        if len(mistakes) > len(shown):
            shown.append(f"and {len(mistakes) - len(shown)} more lines")
        super().__init__("\n".join(shown))


def comment(text: str) -> str:
    """A comment on one line, without what a terminal would take as a command."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _lines(data: bytes) -> Iterator[tuple[int, str, str]]:
    """Number, range and comment of each line that has a range. What follows a # or ; is a comment."""
    for number, line in enumerate(data.decode(errors="replace").removeprefix("\ufeff").split("\n"), 1):
        at = min((at for at in (line.find("#"), line.find(";")) if at >= 0), default=len(line))
        if line[:at].strip():
            yield number, line[:at].strip(), comment(line[at + 1 :])


def read(data: bytes, name: str) -> list[Ban]:
    """The bans of a list. `name` is what mistakes call it."""
    if len(data) > BYTES:
        raise Faulty([f"{name}: this is larger than {BYTES >> 20} MiB"])
    bans: dict[Range, Ban] = {}
    mistakes = []
    for number, words, why in _lines(data):
        try:
            found = parse(words)
        except Wrong as wrong:
            mistakes.append(f"{name}:{number}: {comment(str(wrong))}")
            continue
        bans.setdefault(found, Ban(found, why))
    if mistakes:
        raise Faulty(mistakes)
    check(bans.values(), name)
    return list(bans.values())


def places(data: bytes) -> dict[Range, int]:
    """The lines of ranges in a list that was read."""
    found: dict[Range, int] = {}
    for number, words, _ in _lines(data):
        found.setdefault(parse(words), number)
    return found


def check(bans: Collection[Ban], name: str) -> None:
    """What no single line is to blame for."""
    if len(bans) > LIMIT:
        raise Faulty([f"{name}: these are {len(bans)} ranges, and {LIMIT} are the most"])
    why = too_much(merged(ban.range for ban in bans))
    if why:
        raise Faulty([f"{name}: {why}"])


def written(bans: list[Ban]) -> bytes:
    return "".join(f"{ban}\n" for ban in bans).encode()
