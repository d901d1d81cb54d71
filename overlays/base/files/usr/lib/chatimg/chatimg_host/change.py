"""Changing settings on the running box. A change of the network is kept only when it was confirmed: whoever locks
himself out by it gets the old network back after a while, or with the next start."""

import json
import subprocess

from chatimg_box.durable import write

from .apply import Box, run
from .check import INTERFACE_KEYS, SCHEMA, Check
from .files import erase
from .values import Wrong, near

UNIT = "chatimg-settings-revert"


def rule(key):
    """How a key's value is checked; its names, and None if there is no such key."""
    names, found = key.split("."), SCHEMA
    for name in names:
        if not isinstance(found, dict) or name not in found:
            known = list(found) if isinstance(found, dict) else list(INTERFACE_KEYS)
            raise Wrong(f'there is no setting "{key}"', near(name, known))
        found = found[name]
    return names, found


def typed(key, texts):
    """The value of a key from the words of a command line."""
    names, kind = rule(key)
    if names[0] == "secrets":
        advice = f"chatimg-admin settings secret {names[-1]}, which reads it from the terminal or a pipe"
        raise Wrong("secrets are not given as arguments: others would see them", advice)
    if isinstance(kind, dict):
        advice = "known: " + ", ".join(f"{key}.{name}" for name in kind)
        raise Wrong(f'"{key}" is a group of settings', advice)
    if kind == "interfaces":
        raise Wrong("several interfaces cannot be set this way", "chatimg-admin settings load FILE")
    if isinstance(kind, list):
        return texts
    if len(texts) != 1:
        raise Wrong(f'"{key}" has one value', f"chatimg-admin settings set {key} VALUE")
    text = texts[0]
    if kind in (bool, "dhcp") and text in ("true", "false"):
        return text == "true"
    if kind == "port" and text.isascii() and text.isdigit():
        return int(text)
    return text


def with_value(settings, key, value):
    """A copy with the key set; None: without it."""
    copy = json.loads(json.dumps(settings))
    *above, last = key.split(".")
    table = copy
    for name in above:
        table = table.setdefault(name, {})
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value
    for name in above[:1]:
        if not copy[name]:
            del copy[name]
    return copy


def commit(files, settings, secrets, patience):
    """Brings new settings into force. The problems, the warnings, what failed, and whether it is to be confirmed.

    secrets: those to be set; others stay. patience: seconds until a change of the network is taken back; None: it
    needs no confirmation."""
    check = Check(has_password="smtp-password" in files.secret_names())
    plain = check.settings({**settings, "secrets": secrets} if secrets else settings)
    plain.pop("secrets", None)
    if check.problems:
        return check.problems, check.warnings, [], False
    box = Box()
    if plain.get("network") == files.load().get("network") or patience is None:
        keep(files, plain, secrets)
        guarded = False
    else:
        # Secrets wait, too: a password and the user it belongs to change together.
        write(files.pending, json.dumps({**plain, "secrets": secrets}).encode(), 0o600)
        try:
            revert_after(patience)
        except (OSError, subprocess.SubprocessError) as error:
            erase(files.pending)
            return [], check.warnings, [f"nothing was changed, for it could not be taken back: {error}"], False
        guarded = True
    box.apply(plain)
    box.reload()
    return [], check.warnings, box.failures, guarded


def keep(files, settings, secrets):
    """Makes both last."""
    for name, value in secrets.items():
        files.set_secret(name, value)
    files.save(settings)


def revert_after(seconds):
    stop_timer()
    command = ["/usr/lib/chatimg/host-settings", "revert"]
    timer = [f"--on-active={seconds}s", "--timer-property=AccuracySec=1s"]
    run("systemd-run", "--quiet", "--collect", f"--unit={UNIT}", *timer, *command)


def stop_timer():
    try:
        run("systemctl", "stop", f"{UNIT}.timer")
    except (OSError, subprocess.SubprocessError):
        pass  # There is none.


def confirm(files):
    """Keeps the change that waits for it. False if none does."""
    with files.lock():
        pending = files.load_pending()
        if pending is None:
            return False
        keep(files, pending, files.pending_secrets())
        erase(files.pending)
    stop_timer()
    return True


def revert(files):
    """Takes back the change that waits to be confirmed. What failed."""
    with files.lock():
        if files.load_pending() is None:
            return []
        erase(files.pending)
        box = Box()
        box.apply(files.load())
        box.reload()
        return box.failures
