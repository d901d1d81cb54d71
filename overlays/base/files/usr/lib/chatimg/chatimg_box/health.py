"""What `chatimg-admin status` shows: sections, each with lines, data and problems."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Problem:
    """Something that needs the administrator."""

    what: str
    do: str


@dataclass
class Section:
    """One thing that was looked at."""

    title: str
    lines: list[str] = field(default_factory=list)
    data: Any = None
    problems: list[Problem] = field(default_factory=list)

    def problem(self, what: str, do: str) -> None:
        self.problems.append(Problem(what, do))


def as_text(sections: list[Section]) -> str:
    """One screen for a person."""
    width = max((len(one.title) for one in sections), default=0) + 2
    lines = []
    for section in sections:
        for index, line in enumerate(section.lines):
            title = section.title if index == 0 else ""
            lines.append(f"{title:<{width}}{line}".rstrip())
    problems = [problem for section in sections for problem in section.problems]
    lines.append("")
    for problem in problems:
        lines += [f"PROBLEM: {problem.what}", f"  do: {problem.do}"]
    lines.append("All is well." if not problems else f"{len(problems)} to be dealt with.")
    return "\n".join(lines)


def as_json(sections: list[Section]) -> dict:
    """The same for a program."""
    problems = [
        {"section": section.title, "what": problem.what, "do": problem.do}
        for section in sections
        for problem in section.problems
    ]
    return {
        "healthy": not problems,
        "problems": problems,
        "sections": {section.title: section.data for section in sections},
    }
