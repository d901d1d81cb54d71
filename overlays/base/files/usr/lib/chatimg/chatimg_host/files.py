"""Where settings are kept, on the data partition; and how they come there."""

import contextlib
import fcntl
import hashlib
import json
import os
import re

from chatimg_box.durable import sync, write

from .check import MAGIC, SECRETS, Check

LIMIT = 1 << 20
STATE = "/var/lib/chatimg/host"
RUN = "/run/chatimg"


class Refused(Exception):
    """Settings that came are not taken: why. It quotes no secret."""


def read(path, limit=LIMIT):
    """A file's contents, or None."""
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        return None


def load_settings(path):
    """The settings, without secrets. Those before the last change, if the newest cannot be read."""
    for one in (path, f"{path}.old"):
        try:
            found = json.loads(read(one) or b"")
            if isinstance(found, dict):
                return found
        except (ValueError, OSError):
            continue
    return {}


def decode(data):
    """The settings in what `chatimg host encode` writes and flashing puts onto the disk."""
    head = re.match(rb"([0-9a-f]{64}) ([0-9]{1,7})\n", data[len(MAGIC) :])
    if not data.startswith(MAGIC) or not head:
        raise Refused("the settings are damaged: they do not begin as they should")
    start = len(MAGIC) + head.end()
    body = data[start : start + int(head[2])]
    if len(body) != int(head[2]) or hashlib.sha256(body).hexdigest().encode() != head[1]:
        raise Refused("the settings are damaged: their digest is another")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused("the settings are damaged: they are not JSON") from error


class Files:
    """The files, in a folder that root alone may enter."""

    def __init__(self, state=STATE, run=RUN):
        self.state, self.run = state, run
        self.incoming = os.path.join(state, "incoming")
        self.settings = os.path.join(state, "settings.json")
        self.secrets = os.path.join(state, "secrets")
        # A change of the network that is in force, but to be confirmed: gone with the next start.
        self.pending = os.path.join(run, "settings-pending.json")
        for directory, mode in ((state, 0o700), (self.secrets, 0o700), (run, 0o755)):
            os.makedirs(directory, exist_ok=True)
            os.chmod(directory, mode)

    @contextlib.contextmanager
    def lock(self):
        """One at a time."""
        with open(os.path.join(self.run, "settings.lock"), "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def load(self):
        """The settings, without secrets. Those before the last change, if the newest cannot be read."""
        return load_settings(self.settings)

    def load_pending(self):
        """The settings that wait for being confirmed, without secrets; or None."""
        found = read(self.pending)
        if found is None:
            return None
        settings = json.loads(found)
        settings.pop("secrets", None)
        return settings

    def pending_secrets(self):
        """The secrets that wait with them."""
        return json.loads(read(self.pending) or b"{}").get("secrets", {})

    def save(self, settings):
        """Keeps the settings; secrets among them are left out."""
        public = {key: value for key, value in settings.items() if key != "secrets"}
        data = json.dumps(public, sort_keys=True, indent=1).encode()
        old = read(self.settings)
        if old == data:
            return
        if old is not None:
            write(self.settings + ".old", old, 0o600)
        write(self.settings, data, 0o600)

    def secret_names(self):
        return sorted(name for name in os.listdir(self.secrets) if name in SECRETS)

    def set_secret(self, name, value):
        write(os.path.join(self.secrets, name), value.encode(), 0o400)

    def remove_secret(self, name):
        path = os.path.join(self.secrets, name)
        if os.path.exists(path):
            erase(path)

    def take_over(self):
        """Makes what flashing left the settings. True if there was something.

        Whenever the power goes, it is done again from the start. Raises Refused; the old settings stay then."""
        data = read(self.incoming, LIMIT + 1)
        if data is None:
            return False
        try:
            settings = decode(data)
            check = Check()
            plain = check.settings(settings)
            if check.problems:
                raise Refused("the settings are wrong:\n" + "\n".join(map(str, check.problems)))
        except Refused:
            os.rename(self.incoming, self.incoming + ".refused")
            sync(self.state)
            raise
        secrets = plain.get("secrets", {})
        for name, value in secrets.items():
            self.set_secret(name, value)
        for name in os.listdir(self.secrets):
            if name not in secrets:
                self.remove_secret(name)
        self.save(plain)
        erase(self.incoming)
        return True


def erase(path):
    """Removes a file whose contents nobody is to find on the disk."""
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())
    os.unlink(path)
    sync(os.path.dirname(path))
