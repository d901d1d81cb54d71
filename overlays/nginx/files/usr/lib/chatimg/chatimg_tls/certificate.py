"""What is in a certificate."""

import re
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from chatimg_box import text

DAY = 86400.0


@dataclass(frozen=True)
class Certificate:
    """The first one of a file. Times are Unix seconds."""

    names: frozenset[str]
    start: float
    end: float

    @property
    def lifetime(self) -> float:
        return self.end - self.start

    @property
    def due_at(self) -> float:
        """With a third of its lifetime left it is renewed."""
        return self.end - self.lifetime / 3

    def ending(self, now: float) -> str:
        """Its end, for people."""
        return f"{'ends' if now < self.end else 'expired'} {text.moment(int(self.end))}"

    def near_end(self, now: float) -> bool:
        """Renewing has failed for long; now it matters."""
        return self.end - now < min(14 * DAY, self.lifetime / 4)


def openssl(*arguments: str) -> str:
    """What openssl says; nothing if it fails."""
    command = ["/usr/bin/openssl", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def read(path: Path) -> Certificate | None:
    """None: there is none, or it cannot be read."""
    said = openssl("x509", "-in", str(path), "-noout", "-startdate", "-enddate", "-ext", "subjectAltName")
    dates = dict(re.findall(r"^(notBefore|notAfter)=(.+)$", said, re.M))
    if len(dates) != 2:
        return None
    start, end = (ssl.cert_time_to_seconds(dates[key]) for key in ("notBefore", "notAfter"))
    return Certificate(frozenset(re.findall(r"DNS:([^,\s]+)", said)), start, end)


def fits(path: Path) -> bool:
    """Whether the private key in the file is the certificate's."""
    key = openssl("pkey", "-in", str(path), "-pubout")
    return bool(key) and key == openssl("x509", "-in", str(path), "-noout", "-pubkey")
