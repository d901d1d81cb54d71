"""Snapshots: reflink copies of the state that goes back with its image.

    snapshots/NAME/state/PATH     for each path
    snapshots/NAME/paths          these, a line each; the initrd puts them back by renaming, which uses the snapshot up
    snapshots/NAME/snapshot.json  image, time, size, why
    snapshots/restore-NAME        a copy that is to be used up
    snapshots/new                 one that is being made

Room for one is asked for beforehand: a copy takes little, but from then on every block that is written in the old files is
there twice. Databases may be rewritten as a whole by a newer program; files that people sent never are. So there have to be
256 MiB, as much as what goes back takes up without folders named `media`, and 2 KiB for each file.
"""

import contextlib
import os
import re
import shutil
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chatimg_box import durable, system, text
from chatimg_box.system import Trouble

from .place import Box

SPARE = 256 << 20
PER_FILE = 2 << 10
SPARE_FILES = 10_000
RUN_SPARE = 16 << 20
KEEP = 2
NEVER_REWRITTEN = {"media"}
NAME = re.compile("[0-9]{1,12}-[0-9a-z]{1,32}")


@dataclass(frozen=True)
class Rules:
    """What goes back, and who writes it."""

    paths: tuple[str, ...]  # none lies in another one
    units: tuple[str, ...]


def rules(box: Box) -> Rules:
    paths, units = [], []
    for line in system.read(box.library / "rollback").splitlines():
        kind, _, value = line.partition(" ")
        if kind == "state" and value.startswith("/"):
            paths.append(value)
        elif kind == "unit":
            units.append(value)
    top = [path for path in paths if not any(path.startswith(other + "/") for other in paths)]
    return Rules(tuple(sorted(set(top))), tuple(sorted(set(units))))


@dataclass
class Amount:
    files: int = 0
    rewritten: int = 0  # bytes that may be
    total: int = 0  # bytes

    def add(self, folder: Path, counts: bool = True) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    about = entry.stat(follow_symlinks=False)
                    self.files += 1
                    self.total += about.st_blocks * 512
                    self.rewritten += about.st_blocks * 512 if counts else 0
                    if stat.S_ISDIR(about.st_mode):
                        self.add(Path(entry.path), counts and entry.name not in NEVER_REWRITTEN)
                except FileNotFoundError:
                    continue  # Services still run.


@dataclass(frozen=True)
class Room:
    """What a switch needs on a file system, and has there."""

    place: str
    needed: int  # bytes
    free: int
    files: int = 0  # that are made; 0: none worth counting
    inodes: int = 0  # free for them


def rooms(
    box: Box, copies: int = 1, room: Callable[[Path], os.statvfs_result] = os.statvfs
) -> tuple[Amount, Room, Room]:
    """What goes back, and the room for it on the data partition and in /run."""
    amount = Amount()
    for path in rules(box).paths:
        if box.at(f"/state{path}").exists():
            amount.add(box.at(f"/state{path}"))
    data, run = room(box.at("/state")), room(box.at("/run"))
    amount.files *= copies
    needed, files = SPARE + amount.rewritten + amount.files * PER_FILE, amount.files + SPARE_FILES
    state = Room("/state", needed, data.f_bavail * data.f_frsize, files, data.f_favail)
    return amount, state, Room("/run", RUN_SPARE, run.f_bavail * run.f_frsize)


def check_room(box: Box, copies: int = 1, room: Callable[[Path], os.statvfs_result] = os.statvfs) -> int:
    """Refuses before anything stands still. How large a snapshot will be."""
    amount, state, run = rooms(box, copies, room)
    if state.free < state.needed:
        raise Trouble(
            f"the data partition has {text.size(state.free)} free, and a snapshot of the state needs "
            f"{text.size(state.needed)}; remove "
            "what is not needed (sudo du -xh --max-depth=3 /state | sort -h | tail), then try again"
        )
    if state.inodes < state.files:
        raise Trouble(
            f"the data partition has room for {state.inodes} more files, and a snapshot of the state needs "
            f"{state.files}; remove what is not needed, then try again"
        )
    if run.free < run.needed:
        raise Trouble(f"/run has less than {text.size(RUN_SPARE)} free; restart the box, then try again")
    return amount.total


class Services:
    """The units that write what goes back. Those that ran are started again."""

    def __init__(self, box: Box) -> None:
        self.box, self.units = box, rules(box).units
        self.stopped: list[str] = []
        self.since = 0

    def active(self) -> list[str]:
        command = ("systemctl", "list-units", "--state=active,activating,reloading", "--no-legend", "--plain", "--full")
        listed = self.box.command(*command, "--type=service,socket,timer,path")
        return [line.split()[0] for line in listed.splitlines() if line.split()]

    def stop(self) -> None:
        """Also stops those that need one of the units: systemd sees to that."""
        self.since = int(self.box.now())
        if self.units:
            before = self.active()
            self.stopped = [unit for unit in before if unit in self.units]
            self.box.command("systemctl", "stop", *self.units)
            now = self.active()
            self.stopped = [unit for unit in before if unit not in now]

    def start(self) -> None:
        if self.stopped:
            self.box.command("systemctl", "start", "--no-block", *self.stopped)


def writers(box: Box, paths: tuple[str, ...]) -> list[str]:
    """Processes that can write into the state, each as `name (pid)`."""
    places = [place for path in paths for place in (f"{path}/", f"/state{path}/")]
    found = []
    for process in box.at("/proc").glob("[0-9]*"):
        if process.name != str(os.getpid()) and any(name.startswith(tuple(places)) for name in open_files(process)):
            found.append(f"{system.read(process / 'comm') or '?'} ({process.name})")
    return sorted(found)


def open_files(process: Path) -> list[str]:
    """What a process has open for writing, or mapped so."""
    found = []
    with contextlib.suppress(OSError):
        for link in (process / "fd").iterdir():
            # A process may end, and close files, at any time.
            with contextlib.suppress(OSError):
                flags = re.search(r"^flags:\s*([0-7]+)", (process / "fdinfo" / link.name).read_text(), re.M)
                if flags and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY:
                    found.append(os.readlink(link))
    with contextlib.suppress(OSError):
        for line in (process / "maps").read_text(errors="replace").splitlines():
            parts = line.split(maxsplit=5)
            if len(parts) == 6 and "w" in parts[1] and "s" in parts[1]:
                found.append(parts[5])
    return found


def copy(box: Box, from_: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    box.command("cp", "--archive", "--reflink=always", "--", str(from_), str(to))


def name_it(box: Box, new: Path, path: Path) -> None:
    """Once it has its name it is whole, whenever the power goes."""
    box.command("sync", "--file-system", str(new))
    os.rename(new, path)
    durable.sync(path.parent)


def to_restore(box: Box, name: str) -> str:
    """A copy of a snapshot for the initrd, which uses it up. Its name."""
    folder = box.kept / "snapshots"
    remove(folder / "new")
    remove(folder / f"restore-{name}")
    try:
        copy(box, folder / name, folder / "new")
        name_it(box, folder / "new", folder / f"restore-{name}")
    except (OSError, Trouble) as error:
        remove(folder / "new")
        raise Trouble(f"the snapshot {name} cannot be copied: {error}") from error
    return f"restore-{name}"


def take(box: Box, why: str, size: int = 0, patience: float = 10) -> str:
    """Takes a snapshot while the services stand still. Its name."""
    paths = rules(box).paths
    until = time.monotonic() + patience
    while busy := writers(box, paths):
        if time.monotonic() >= until:
            raise Trouble(f"{', '.join(busy)} writes into the state that is to be copied; stop it, then try again")
        time.sleep(0.2)
    folder = box.kept / "snapshots"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    new, name = folder / "new", f"{int(box.now())}-{box.id}"
    if not NAME.fullmatch(name) or (folder / name).exists():
        raise Trouble(f"there is a snapshot {name} already; the clock stands still, or was set back")
    remove(new)
    new.mkdir(mode=0o700)
    try:
        there = [path for path in paths if box.at(f"/state{path}").exists()]
        for path in there:
            copy(box, box.at(f"/state{path}"), new / "state" / path.lstrip("/"))
        durable.write(new / "paths", "".join(f"{path}\n" for path in there).encode(), 0o600)
        durable.write_json(new / "snapshot.json", {"image": box.id, "time": int(box.now()), "why": why, "size": size})
        name_it(box, new, folder / name)
    except (OSError, Trouble) as error:
        remove(new)
        raise Trouble(f"the state cannot be copied: {error}") from error
    return name


@dataclass(frozen=True)
class Snapshot:
    name: str
    image: str
    time: int
    size: int  # bytes of its files, most of which it shares with the state
    path: Path


def all_of(box: Box) -> list[Snapshot]:
    """Those that are whole, oldest first."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in (box.kept / "snapshots").iterdir():
            about = box.json(path / "snapshot.json")
            if NAME.fullmatch(path.name) and about and is_whole(path):
                time_, size = int(about.get("time") or 0), int(about.get("size") or 0)
                found.append(Snapshot(path.name, str(about.get("image")), time_, size, path))
    return sorted(found, key=lambda one: one.time)


def is_whole(path: Path) -> bool:
    """Whether it was not used up, not even in part."""
    try:
        paths = (path / "paths").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return all((path / "state" / one.lstrip("/")).exists() for one in paths)


def left_by(box: Box, image: str) -> Snapshot | None:
    """The state as it was when this image was left."""
    return next((one for one in reversed(all_of(box)) if one.image == image), None)


def prune(box: Box, images: set[str], named: set[str]) -> None:
    """Removes old snapshots, and state that was put aside. The newest two stay, the newest of each of these images, and
    those that are named."""
    known = all_of(box)
    keep = named | {one.name for one in known[-KEEP:]}
    keep |= {one.name for image in images if (one := left_by(box, image))}
    for one in known:
        if one.name not in keep:
            # Without its description it is none: a cut leaves nothing that looks whole.
            (one.path / "snapshot.json").unlink(missing_ok=True)
            durable.sync(one.path)
            remove(one.path)
    sweep(box, named)


def sweep(box: Box, named: set[str]) -> None:
    """Removes what is no whole snapshot (used up, or cut short), and what snapshots replaced: of a trial, nobody but the
    box itself has written there, and of a rollback, there is a snapshot. It may fill the disk."""
    whole = {one.name for one in all_of(box)}
    with contextlib.suppress(FileNotFoundError):
        for path in (box.kept / "snapshots").iterdir():
            if path.name not in whole | named:
                remove(path)
    remove(box.kept / "aside")


def remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
