"""On the box, as root: no service can do more than it has to, by the measure of `systemd-analyze security`.

Units of ours (those of /etc) are at most 2.5, all others 4.0, but for these.
"""

import re
import subprocess
import sys

OURS, OTHERS = 2.5, 4.0
EXCEPTIONS = {
    "ssh": "what the administrator does is done below it",
    r"user@.*|user-runtime-dir@.*": "the administrator's session",
    r"getty.*|.*-getty.*|console-getty.*|serial-getty.*|rescue|emergency|debug-shell": "the console",
    r"chatimg-gate": "runs all overlays' checks as root, and restarts a machine that hangs",
    r"chatimg-host-settings": "what it mounts must show outside, so it has no mounts of its own; 3.9",
    r"chatimg-swap": "its swap file must be known by its path when it has ended, so it has no mounts of its own; 3.7",
    r"systemd-(?!(networkd|resolved|timesyncd|logind|hostnamed|timedated|localed)$).*": "systemd's own, at the start or without the network",
    r"dbus|rc-local|ldconfig|kmod-static-nodes|modprobe@.*|initrd-.*|quotaon.*|mdadm.*|mdcheck.*": "Debian's own, without the network",
    r"fstrim|xfs_scrub.*|e2scrub.*|dpkg-.*|apt-.*|logrotate|man-db|lvm2-.*|blk-availability": "Debian's own, without the network",
}


def output(*words):
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def services():
    found = {line.split()[0] for line in output("systemctl", "list-units", "--all", "--type=service", "--plain", "--no-legend").splitlines()}
    timers = output("systemctl", "list-unit-files", "--type=timer,path", "--state=enabled,static", "--no-legend").splitlines()
    for timer in (line.split()[0] for line in timers):
        if not timer.partition(".")[0].endswith("@"):
            found.add(output("systemctl", "show", timer, "--property=Unit", "--value").strip())
    enabled = output("systemctl", "list-unit-files", "--type=service", "--state=enabled", "--no-legend").splitlines()
    found |= {line.split()[0] for line in enabled if "@." not in line.split()[0]}
    # One of this template is as good as all.
    found = {unit for unit in found if unit and not unit.startswith("chatimg-alert@")} | {"chatimg-alert@x.service"}
    shown = output("systemctl", "show", "--property=Id,LoadState,FragmentPath", *sorted(found))
    for block in shown.split("\n\n"):
        fields = dict(line.partition("=")[::2] for line in block.splitlines())
        if fields.get("LoadState") == "loaded":
            yield fields["Id"], fields["FragmentPath"].startswith("/etc/")


def main():
    ours = dict(services())
    levels = {}
    said = output("systemd-analyze", "security", "--no-pager", *sorted(ours))
    for unit, level in re.findall(r"Overall exposure level for (\S+): ([0-9.]+)", said):
        levels[unit] = float(level)
    wrong = 0
    for unit, mine in sorted(ours.items(), key=lambda one: levels.get(one[0], 99)):
        level, limit = levels.get(unit), OURS if mine else OTHERS
        name = unit.removesuffix(".service")
        why = next((why for words, why in EXCEPTIONS.items() if re.fullmatch(words, name)), "")
        if level is None:
            # A unit that runs but cannot be judged is none of the good.
            print(f"BAD  {unit}: not judged")
            wrong += 1
        elif level > limit and not why:
            print(f"BAD  {level} {unit}: at most {limit}")
            wrong += 1
        elif level <= limit:
            print(f"good {level} {unit}")
    print(f"{len(ours)} services, {wrong} above their limit")
    return 1 if wrong or len(levels) < 20 else 0


sys.exit(main())
