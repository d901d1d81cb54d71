"""What root does before and after a look: hands in the settings, puts the certificate in place, tells of trouble."""

import json
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

from chatimg_box import durable, system, text
from chatimg_host import files
from chatimg_tls import certificate, places
from chatimg_tls.certificate import DAY

from . import certbot, settings, state

NOW = Path("/run/chatimg/certificate-now")
USER = "certs"


def prepare() -> int:
    """Everything that the user certs may know lies in /run/chatimg-acme."""
    user = pwd.getpwnam(USER)
    settings.RUN.mkdir(mode=0o755, exist_ok=True)
    settings.RUN.chmod(0o755)
    make_webroot(settings.RUN / "webroot", user.pw_uid, user.pw_gid)
    host = Path(files.STATE)
    token = system.read(host / "secrets/cloudflare-token")
    wanted = settings.put_together(
        json.loads(settings.IMAGE.read_bytes()),
        files.load_settings(str(host / "settings.json")),
        token,
        own_until(),
        NOW.exists(),
    )
    NOW.unlink(missing_ok=True)
    hand_in(settings.RUN / "settings.json", settings.encode(wanted), user.pw_gid)
    credentials = settings.RUN / "cloudflare.ini"
    if token and wanted.challenge == "dns-cloudflare":
        hand_in(credentials, f"dns_cloudflare_api_token = {token}\n".encode(), user.pw_gid)
    else:
        credentials.unlink(missing_ok=True)
    return 0


def make_webroot(path: Path, user: int, group: int) -> None:
    """Anew each time: what was cut short leaves its files there. The user's only when nothing more is made in it."""
    if path.exists():
        shutil.rmtree(path)
    folders = (path, path / ".well-known", path / ".well-known/acme-challenge")
    for folder in folders:
        folder.mkdir()
        folder.chmod(0o755)
    for folder in reversed(folders):
        os.chown(folder, user, group)


def hand_in(path: Path, data: bytes, group: int) -> None:
    """Writes a file that root may change and the group may read."""
    durable.write(path, data, 0o600)
    os.chown(path, 0, group)
    path.chmod(0o640)


def own_until() -> float:
    """Until when the administrator's own certificate is good."""
    found = certificate.read(places.GIVEN) if certificate.fits(places.GIVEN) else None
    return found.end if found else 0


def finish() -> int:
    data = system.read_as_given(certbot.CERTIFICATE)
    done = 0
    if data and data != system.read_as_given(places.ASKED):
        done = subprocess.run([places.LIB / "put-certificate", places.ASKED.name], input=data, check=False).returncode
    # Whatever comes to be used by this, if only because another one has expired.
    done = subprocess.run([places.LIB / "announce-certificate"], check=False).returncode or done
    tell(settings.read(), state.load(), time.time())
    return done


def tell(wanted: settings.Settings, memory: state.State, now: float) -> None:
    """Alerts, when it matters; once a day. Nothing is told by a clock that may be wrong."""
    if memory.result in ("", "terms", "own", "clock", "trial"):
        return
    told_file = places.DIR / "told.json"
    told = json.loads(system.read(told_file) or "{}")
    current = certificate.read(places.ASKED)
    key = ""
    if current is None and now - memory.since > DAY:
        key, subject = "certificate/none", f"there is no certificate for {wanted.names[0]} after a day"
    elif current and current.near_end(now):
        left = current.end - now
        when = f"ends in {text.duration(left)}" if left > 0 else "has expired"
        key, subject = "certificate/end", f"the certificate for {wanted.names[0]} {when}, and is not renewed"
    if key and not 0 <= now - told.get(key, -DAY) < DAY:
        reasons = [memory.says, *(f"{name}: {why}" for name, why in memory.lacking.items())]
        do = "What to do: `sudo chatimg-admin status` has it all; the box goes on trying by itself."
        system.tell(subject, "\n".join([*filter(None, reasons), do]), key=key)
        durable.write_json(told_file, {key: now})
    elif not key and told:
        system.tell(
            f"the certificate for {wanted.names[0]} is good again",
            f"until {text.moment(int(current.end)) if current else 'then'}",
            key="certificate/good", clears="certificate/", level="info",
        )
        told_file.unlink()
