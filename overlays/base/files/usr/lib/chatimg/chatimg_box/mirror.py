"""What is done with the mirror as a whole: find the good disk, take legs in, wait for them, grow it."""

import time
from collections.abc import Callable

from . import bootcode, bootstate, disks, legs, md, system, text
from .bootstate import State
from .disks import Disk
from .legs import Leg
from .md import Array
from .system import Trouble

STATE = "/state"
GROW_FROM = 1 << 30  # bytes; less is not worth it
PARTITIONS = {"root-a": 4, "root-b": 5, "data": 6}
BLANK = b"CHATIMG-BLANK-DATA-1\n"
STAYS_OUT = b"CHATIMG-STAYS-OUT-1\n"  # src/image/initrd/data.sh
NOTE = 64 * 512  # where notes lie in partition 3
DATA_OFFSET = 1 << 20  # where a leg's data begin
PATIENCE = 15.0  # seconds for the kernel to begin a rebuild


def complete(arrays: list[Array]) -> set[str]:
    """Names of the disks that every array has whole."""
    found: set[str] | None = None
    for array in arrays:
        have = {disks.disk_of(one.partition) for one in array.members if one.in_sync}
        found = have if found is None else found & have
    return found or set()


def leg_of(known: list[Leg], disk: Disk) -> Leg | None:
    """Which leg a disk is by its table, if any."""
    try:
        guid = disks.table(disk).guid
    except Trouble:
        return None
    return next((leg for leg in known if leg.guid == guid), None)


def forget_lost(array: Array) -> None:
    """Takes members off the list that failed or are gone."""
    for what in ("failed", "detached"):
        # Nothing to remove is no failure of ours.
        system.output("mdadm", "--manage", array.device, "--remove", what)


def keep_out(device: str, start: int = 0) -> None:
    """Notes on a disk (its partition 3 begins at `start`) that the mirror's data are elsewhere: the initrd leaves it out,
    and formats it never."""
    bootcode.write_device(device, STAYS_OUT.ljust(legs.SECTOR, b"\0"), start + NOTE)


def let_in(disk: Disk) -> None:
    """Takes that note away: the disk has begun to take in the data."""
    bootcode.write_device(disk.partition(bootcode.BOOT_STATE), bytes(legs.SECTOR), NOTE)


def stays_out(disk: Disk) -> bool:
    """Whether a disk waits for replace-disk."""
    return read_start(disk, bootcode.BOOT_STATE, NOTE).startswith(STAYS_OUT)


def is_blank(disk: Disk) -> bool:
    """Whether a disk is as it was flashed: it holds no data yet."""
    return read_start(disk, legs.DATA, DATA_OFFSET).startswith(BLANK)


def read_start(disk: Disk, number: int, offset: int) -> bytes:
    """A sector of a partition; nothing if it cannot be read."""
    try:
        return bootcode.read_device(disk.partition(number), offset, legs.SECTOR)
    except (Trouble, OSError):
        return b""


def add(array: Array, partition: str) -> None:
    """Gives a blank partition to an array, which fills it."""
    system.run("wipefs", "--all", "--quiet", partition)
    system.run("mdadm", "--manage", array.device, "--add", partition)


def of_this_box(all_disks: list[Disk], arrays: list[Array]) -> list[Disk]:
    """Disks with this box's data. All boxes of an appliance have the same root arrays, but each has its own data. A disk
    that waits for replace-disk is none of them."""
    uuids = {one.uuid for one in arrays if one.name == "data"}
    return [
        disk
        for disk in all_disks
        if md.plain_uuid(md.examined(disk.partitions.get(legs.DATA, "")).get("MD_UUID", "-")) in uuids
        and not stays_out(disk)
    ]


def left_out(arrays: list[Array]) -> list[Disk]:
    """Disks that are legs by their tables, but not in all arrays: blank ones, refused ones, other boxes'. The root
    arrays of a disk with data of its own may be whole: they are the same on both."""
    known = legs.load()
    inside = [{disks.disk_of(one.partition) for one in array.members if not one.faulty} for array in arrays]
    return [
        one for one in disks.all_disks() if not all(one.name in names for names in inside) and leg_of(known, one)
    ]


def stale(array: Array, all_disks: list[Disk]) -> list[str]:
    """Partitions that were legs of this array and are not any more: a disk that was away."""
    members = {one.partition for one in array.members}
    names = [name for disk in all_disks for name in disk.partitions.values() if name not in members]
    return [name for name in names if md.plain_uuid(md.examined(name).get("MD_UUID", "")) == array.uuid]


def events(partition: str) -> int:
    """How often the array was changed, as a leg's superblock knows."""
    count = md.examined(partition).get("MD_EVENTS", "0")
    return int(count) if count.isdecimal() else 0


def progress(array: Array) -> str:
    """How far a rebuild or check is."""
    if not array.total:
        return "waiting for its turn"
    percent = 100 * array.done / array.total
    left = array.seconds_left()
    speed = f" at {text.size(array.speed * 1024)}/s" if array.speed else ""
    when = f", {text.duration(left)} left" if left is not None else ""
    return f"{percent:.1f} %{speed}{when}"


def progress_line(array: Array) -> str:
    """The same with the array's name."""
    return f"{array.name}: {progress(array)}"


def wait(array: Array, show: Callable[[str], None], pause: float = 1.0) -> Array:
    """Waits until the array is whole, and shows how it gets on."""
    quiet_since = time.monotonic()
    while True:
        array = md.again(array)
        if array.busy:
            quiet_since = time.monotonic()
            show(progress_line(array))
        elif array.degraded == 0:
            show(f"{array.name}: whole")
            return array
        elif time.monotonic() - quiet_since > PATIENCE:
            raise Trouble(
                f"{array.name} is not being rebuilt: the new disk may be faulty. See `journalctl -k`, "
                "take another disk, and run the command again"
            )
        time.sleep(pause)


def room(array: Array) -> int:
    """Bytes by which the array may grow: what its smallest partition has more than it uses."""
    spare = []
    for one in array.members:
        sectors = system.number(disks.SYS / disks.disk_of(one.partition) / one.partition / "size")
        spare.append((sectors - one.offset) * 512 - array.component * 1024)
    return max(0, min(spare, default=0))


def grow(arrays: list[Array]) -> str:
    """Grows the data array and its file system if both disks have room. Says what was done."""
    data = next((one for one in arrays if one.name == "data"), None)
    if data is None or data.degraded or data.action != "idle" or room(data) < GROW_FROM:
        return ""
    system.run("mdadm", "--grow", data.device, "--size=max")
    system.run("xfs_growfs", "-d", STATE)
    return f"the data partition has grown to {text.size(md.again(data).component * 1024)}"


def starters(arrays: list[Array]) -> set[str]:
    """Names of the disks that have all root slots: what it takes to start the box."""
    return complete([one for one in arrays if one.name != "data"])


def newest_state(names: set[str]) -> State:
    """The newest of the boot states in partition 3 of disks; nothing if none is sound."""
    found: list[State] = [{}]
    for name in names:
        try:
            one = disks.disk(name)
            found.append(bootstate.parse(bootcode.read_device(one.partition(bootcode.BOOT_STATE), 0, bootstate.BLOCK)))
        except (Trouble, OSError):
            continue
    return max(found, key=lambda state: int(state.get("gen", -1)))


def slot_image(array: Array) -> str:
    """The id of the image that a root slot should hold: `none` while it holds none."""
    names = {disks.disk_of(one.partition) for one in array.members}
    return newest_state(names).get(array.name.removeprefix("root-"), "")
