"""Root slots that GRUB passed over when it started the box: it takes the other disk's, and only says so here."""

from dataclasses import dataclass

from . import away, disks, legs, md, mirror
from .bootstate import Running
from .disks import Disk
from .md import Array

SLOTS = {"gpt4": "a", "gpt5": "b"}
WHY = {"damaged": "its kernel or initrd is damaged", "id": "it holds another image than the boot state says"}


@dataclass(frozen=True)
class Passed:
    """A slot that was passed over."""

    slot: str
    disk: str  # as GRUB calls it
    serial: int  # of its ESP; 0 if GRUB does not know
    why: str


def parse(items: tuple[str, ...]) -> list[Passed]:
    """`hd1,gpt4,1234-ABCD,damaged` each; what is none is left out."""
    found = []
    for item in items:
        disk, part, serial, why = (item.split(",") + [""] * 4)[:4]
        try:
            number = int(serial.replace("-", "") or "0", 16)
        except ValueError:
            number = 0
        if part in SLOTS and why in WHY:
            found.append(Passed(SLOTS[part], disk, number, WHY[why]))
    return found


def disk_of(one: Passed, all_disks: list[Disk]) -> Disk | None:
    """Which disk that was."""
    known = legs.load()
    for disk in all_disks:
        leg = mirror.leg_of(known, disk)
        if leg and leg.esp_serial == one.serial:
            return disk
    return None


def words(now: Running, arrays: list[Array], all_disks: list[Disk]) -> dict[str, str]:
    """What the administrator should know, by key. A leg that is not in its array is told of as such."""
    found = {}
    everything = parse(now.skipped)
    for one in everything:
        array = next((array for array in arrays if array.name == f"root-{one.slot}"), None)
        if {other.disk for other in everything if other.slot == one.slot} != {one.disk}:
            found[f"mirror/passed/{one.slot}"] = (
                f"Slot {one.slot} cannot be started from any disk ({one.why}). The box runs slot {now.slot}; the next update "
                "writes the other slot anew."
            )
            continue
        disk = disk_of(one, all_disks)
        member = array.member(disk.names) if array and disk else None
        if disk and array and not (member and member.in_sync):
            continue
        what = f"GRUB passed over slot {one.slot} of {away.named(disk) if disk else f'its disk {one.disk}'}: {one.why}."
        if disk and array and member and array.degraded == 0:
            what += (
                f" The other disk's is sound. Have it copied:\n  sudo mdadm --manage {array.device} --fail "
                f"/dev/{member.partition}\n  sudo systemctl restart chatimg-mirror\nIf it happens again, replace the disk "
                f"{disk.name}."
            )
        found[f"mirror/passed/{one.slot}/{disk.name if disk else one.disk}"] = what
    return found


def tell(now: Running) -> list[tuple[str, str, str]]:
    """Subject, text and key of each alert."""
    said = words(now, md.arrays(), disks.all_disks())
    return [("a root slot was passed over at the start", text, key) for key, text in said.items()]
