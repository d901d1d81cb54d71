"""Brings settings into force. /etc is the image's and read-only: what differs lies in /run.

At boot nothing that reads these files runs yet; later `reload` has the services read them again."""

import glob
import json
import os
import socket
import subprocess

from chatimg_box.durable import write

from . import network, values
from .check import Check
from .files import read

IMAGE = "/usr/lib/chatimg/image.json"


class Box:
    """The machine. `root` is another folder than / in tests, where nothing is mounted."""

    def __init__(self, root="/"):
        self.root = root
        self.failures = []
        self.changed = set()

    def path(self, path):
        return os.path.join(self.root, path.lstrip("/"))

    def apply(self, settings):
        """Every part for itself: what fails holds up no other, and leaves what the image has in force.

        `failures` says what failed, `changed` which parts are others than before."""
        settings = self.usable(settings)
        for part, step in (
            ("hostname", self.hostname),
            ("timezone", self.timezone),
            ("network", self.network),
            ("admin", self.admin),
            ("calls", self.calls),
        ):
            try:
                if step(settings.get(part)):
                    self.changed.add(part)
            except Exception as error:  # Whatever it is: the box has to come up.
                self.failures.append(f"{part}: {error}")

    def usable(self, settings):
        """Without the parts in which something is wrong. A newer image may have known more keys: those alone are left out,
        and nothing has failed, for the way back to this one would be barred."""
        check = Check(has_password=True)
        plain = check.settings(settings)
        for problem in check.problems:
            if problem.unknown:
                print(f"host settings: {problem.key} is left out: this image does not know it")
                continue
            self.failures.append(str(problem))
            plain.pop(problem.key.split(".")[0], None)
        return plain

    def put(self, path, text):
        """Writes a file that all may read. True if it is another now."""
        path, data = self.path(path), text.encode()
        if read(path) == data:
            return False
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        write(path, data)
        return True

    def hostname(self, name):
        """The kernel's name, /etc/hostname and /etc/hosts; without one the image's."""
        image = self.image("hostname").strip()
        wanted = name or image
        changed = self.cover("hostname", wanted + "\n" if name else None)
        hosts = self.image("hosts")
        if name and not any(wanted in line.split() for line in hosts.splitlines()):
            names = " ".join(dict.fromkeys([wanted, wanted.partition(".")[0]]))
            self.cover("hosts", f"{hosts.rstrip()}\n127.0.1.1 {names}\n")
        else:
            self.cover("hosts", None)
        if self.root == "/" and (changed or name) and socket.gethostname() != wanted:
            socket.sethostname(wanted)
        return changed

    def image(self, name):
        """What the image has in /etc/NAME, be it covered or not."""
        kept = self.path(f"/run/chatimg/host/{name}.image")
        data = read(kept)
        return (read(self.path(f"/etc/{name}")) if data is None else data).decode()

    def cover(self, name, text):
        """Has /etc/NAME say this; None: what the image says. True if it says something else now."""
        path, over = self.path(f"/etc/{name}"), self.path(f"/run/chatimg/host/{name}")
        text = self.image(name) if text is None else text
        if read(path) == text.encode():
            return False
        if self.covered(path, over):
            # In place: another file would not be the mounted one. Never empty, whoever reads meanwhile.
            with open(over, "r+b") as file:
                file.write(text.encode())
                file.truncate()
            return True
        self.put(f"/run/chatimg/host/{name}.image", self.image(name))
        self.put(f"/run/chatimg/host/{name}", text)
        if self.root == "/":
            run("mount", "--bind", over, path)
            # Of the image there is only this much: a read-only place stays one.
            run("mount", "-o", "remount,bind,ro", path)
        return True

    @staticmethod
    def covered(path, over):
        return os.path.exists(over) and os.path.samefile(path, over)

    def timezone(self, name):
        """/etc/localtime of the image leads to this link."""
        link, wanted = self.path("/run/chatimg/localtime"), f"{values.ZONEINFO}/{name or 'Etc/UTC'}"
        if os.path.islink(link) and os.readlink(link) == wanted:
            return False
        os.makedirs(os.path.dirname(link), mode=0o755, exist_ok=True)
        new = link + ".new"
        if os.path.lexists(new):
            os.unlink(new)
        os.symlink(wanted, new)
        os.rename(new, link)
        return True

    def network(self, table):
        wanted = network.files(table)
        changed = False
        for path in glob.glob(self.path("/run/" + network.NETWORK.format("*"))):
            if os.path.relpath(path, self.path("/run")) not in wanted:
                os.unlink(path)
                changed = True
        for path in (network.RESOLVED, network.TIMESYNCD):
            path_in_run = self.path(f"/run/{path}")
            if path not in wanted and os.path.exists(path_in_run):
                os.unlink(path_in_run)
                changed = True
        for path, text in wanted.items():
            changed |= self.put(f"/run/{path}", text)
        return changed

    def admin(self, table):
        """sshd reads these keys beside the image's; %u of its AuthorizedKeysFile is the administrator."""
        keys = (table or {}).get("authorized-keys", [])
        name = json.loads(read(self.path(IMAGE)))["admin"]
        path = f"/run/chatimg/host/authorized_keys/{name}"
        if not keys and not os.path.exists(self.path(path)):
            return False
        return self.put(path, "".join(f"{key}\n" for key in keys))

    def calls(self, table):
        """coturn reads it, as its own user."""
        path, ip = "/run/chatimg/host/external-ip", (table or {}).get("external-ip")
        if ip:
            return self.put(path, f"{ip}\n")
        if not os.path.exists(self.path(path)):
            return False
        os.unlink(self.path(path))
        return True

    def reload(self):
        """Has running services take up what changed. Of the administrator's keys sshd knows by itself."""
        commands = {
            "network": [
                ["networkctl", "reload"],
                ["systemctl", "try-restart", "systemd-resolved.service", "systemd-timesyncd.service"],
            ],
            # It ends the calls that are relayed: they were for the old address.
            "calls": [["systemctl", "try-restart", "coturn.service"]],
            # Timers are set anew. Services that run keep the time zone that they started with.
            "timezone": [["systemctl", "daemon-reload"]],
        }
        for part in sorted(self.changed):
            for command in commands.get(part, []):
                try:
                    run(*command)
                except (OSError, subprocess.SubprocessError) as error:
                    self.failures.append(f"{part}: {error}")


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise OSError(f"{' '.join(command)}: {said}")
