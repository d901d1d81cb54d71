"""The system around: commands, files of the kernel, and trouble that is told to a person."""

import os
import subprocess
from pathlib import Path

ALERT = Path("/usr/lib/chatimg/alert")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}


class Trouble(Exception):
    """Something cannot be done. The text says what is wrong and what to do."""


def run(*command: str, stdin: str = "") -> str:
    """Runs a command and gives back what it printed. Its failure is trouble, in its own words."""
    done = _run(command, stdin)
    if done.returncode != 0:
        words = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        raise Trouble(f"{' '.join(command)}: {words}")
    return done.stdout


def output(*command: str) -> str:
    """What a command printed, however it ended; nothing if it is not installed."""
    try:
        return _run(command, "").stdout
    except Trouble:
        return ""


def _run(command: tuple[str, ...], stdin: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            env=_ENVIRONMENT,
            check=False,
        )
    except OSError as error:
        raise Trouble(f"{command[0]} cannot be run: {error.strerror}") from error


def read(path: Path | str) -> str:
    """A small file's text without white space around it; empty if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def read_as_given(path: Path | str, most: int = 1 << 20) -> bytes:
    """A file that another user wrote, up to so many bytes: its own contents, not those of what he has it lead to; nothing if
    it cannot be read."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return file.read(most)
    except OSError:
        return b""


def number(path: Path | str) -> int:
    """A file's number; 0 if there is none."""
    text = read(path)
    return int(text) if text.isdecimal() else 0


def tell(subject: str, body: str, key: str = "", clears: str = "", level: str = "warning") -> None:
    """Alerts the administrator, or only says it where nothing sends alerts."""
    print(f"{subject}\n{body}", flush=True)
    if not ALERT.exists():
        return
    options = ["--level", level]
    options += ["--key", key] if key else []
    options += ["--clears", clears] if clears else []
    run(str(ALERT), *options, subject, stdin=body)
