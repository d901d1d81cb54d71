"""Asks the authority for a certificate, with certbot.

Key and request are made here, so that certbot has nothing to keep but the account: what it leaves after a power cut, a
new key with an old certificate, say, cannot harm anything. A certificate is taken when all of it is there and fits."""

import calendar
import json
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from chatimg_box import durable
from chatimg_tls import certificate

from .settings import RUN, Settings
from .state import HOME

CERTIFICATE = HOME / "certificate.pem"
WORK = HOME / "new"
CONFIG = HOME / "certbot"
LOGS = HOME / "log"
LIMIT = 15 * 60


@dataclass(frozen=True)
class Failure(Exception):
    """There is no certificate. `names`: those that the authority did not take, if that is what it was."""

    why: str
    names: dict[str, str] = field(default_factory=dict)
    # When the authority says to come again; Unix seconds.
    not_before: float = 0


def ask(settings: Settings, names: tuple[str, ...], now: float) -> None:
    """Has a new certificate in CERTIFICATE, with its key before it, or raises Failure."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(mode=0o700)
    mend_accounts(CONFIG)
    key, request, chain = (WORK / name for name in ("key.pem", "request.pem", "chain.pem"))
    among = "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", str(key)]
    made = ["req", "-new", *new_key, "-subj", "/", "-addext", among, "-out", str(request)]
    certificate.openssl(*made)
    if not request.exists():
        raise Failure(f"openssl made no request for {', '.join(names)}")
    done = run(command(settings, request, chain))
    if re.search("accountDoesNotExist|Account .* not found", done.stdout + done.stderr):
        print("the authority does not know the account any more: it will give a new one")
        shutil.rmtree(CONFIG / "accounts", ignore_errors=True)
        done = run(command(settings, request, chain))
    if done.returncode != 0 or not chain.exists():
        raise understood(done.stdout + done.stderr, names)
    whole = WORK / "whole.pem"
    whole.write_bytes(key.read_bytes() + chain.read_bytes())
    check(whole, names, now)
    durable.write(CERTIFICATE, whole.read_bytes(), 0o600)
    shutil.rmtree(WORK)


def command(settings: Settings, request: Path, chain: Path) -> list[str]:
    words = ["/usr/bin/certbot", "certonly", "--non-interactive", "--agree-tos", "--no-eff-email"]
    words += ["--config-dir", str(CONFIG), "--work-dir", str(WORK / "work"), "--logs-dir", str(LOGS)]
    words += ["--max-log-backups", "20", "--server", settings.url, "--csr", str(request)]
    words += ["--cert-path", str(WORK / "leaf.pem"), "--chain-path", str(WORK / "above.pem")]
    words += ["--fullchain-path", str(chain)]
    words += ["--email", settings.email] if settings.email else ["--register-unsafely-without-email"]
    if settings.challenge == "http":
        return [*words, "--webroot", "--webroot-path", str(RUN / "webroot")]
    return [*words, "--dns-cloudflare", "--dns-cloudflare-credentials", str(RUN / "cloudflare.ini"),
            "--dns-cloudflare-propagation-seconds", "30"]


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Failure("certbot did not come to an end") from error


def mend_accounts(config: Path) -> None:
    """Removes accounts that were cut short while they were written: certbot would stumble over them for ever."""
    accounts = [one for one in config.glob("accounts/**/*") if re.fullmatch("[0-9a-f]{32}", one.name)]
    for folder in accounts:
        try:
            for name in ("private_key.json", "regr.json", "meta.json"):
                json.loads((folder / name).read_bytes())
        except (OSError, ValueError):
            print(f"the account {folder.name} is damaged: the authority will give a new one")
            shutil.rmtree(folder)


def understood(said: str, names: tuple[str, ...]) -> Failure:
    """What certbot says of a failure: names that the authority did not take, or something else."""
    blocks = re.findall(r"^ *Domain: *(\S+)\n *Type: *(\S+)\n *Detail: *(.+)$", said, re.M)
    refused = {domain: f"{detail} ({kind})" for domain, kind, detail in blocks if domain in names}
    last = said.strip().splitlines() or ["certbot said nothing"]
    noise = ("Ask for help", "See the logfile", "Saving debug log", "Some challenges have failed", "Hint:")
    telling = [line.strip() for line in last if line.strip() and not line.strip().startswith(noise)]
    why = " ".join((telling or last)[-1].split())
    if not refused and "rate limit" not in said.lower() and "too many" not in said.lower():
        # A name that it takes from nobody stands in quotes.
        refused = {name: why for name in names if any(f'"{name}"' in line for line in telling)}
    until = re.search(r"retry after (\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)", said)
    not_before = 0.0
    if until:
        not_before = float(calendar.timegm(time.strptime(" ".join(until.groups()), "%Y-%m-%d %H:%M:%S")))
    return Failure("; ".join(f"{n}: {w}" for n, w in refused.items()) or why, refused, not_before)


def check(path: Path, names: tuple[str, ...], now: float) -> None:
    """Whether the authority gave what was asked for."""
    found = certificate.read(path)
    if found is None or not certificate.fits(path):
        raise Failure("what the authority gave is no certificate of the key that it was to be for")
    if not found.names.issuperset(names):
        raise Failure(f"the certificate lacks {', '.join(sorted(set(names) - found.names))}")
    if found.end <= now:
        raise Failure("the certificate has expired already: by the box's clock, which may be wrong")
