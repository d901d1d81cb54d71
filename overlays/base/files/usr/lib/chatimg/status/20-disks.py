"""Every disk, and what it says of itself."""

from dataclasses import asdict

from chatimg_box import disks, smart, text
from chatimg_box.disks import Disk
from chatimg_box.health import Section
from chatimg_box.smart import Smart


def look() -> Section:
    section = Section("disks", data=[])
    for disk in disks.all_disks():
        says = smart.of(disk.device)
        section.lines.append(line(disk, says))
        about = {"name": disk.name, "model": disk.model, "serial": disk.serial, "size": disk.size}
        section.data.append(about | asdict(says))
        judge(section, disk, says)
    return section


def line(disk: Disk, says: Smart) -> str:
    words = [f"SMART {says.health}"]
    if says.temperature is not None:
        words.append(f"{says.temperature} °C")
    if says.hours is not None:
        words.append(f"{says.hours} h")
    return f"{disk.name:<8}{disk.model}, {text.size(disk.size)}, serial {disk.serial}: {', '.join(words)}"


def judge(section: Section, disk: Disk, says: Smart) -> None:
    replace = "switch off, put a new disk in its place, start, and run: sudo chatimg-admin replace-disk /dev/sdX"
    who = f"the disk {disk.name} (serial {disk.serial})"
    if says.health == "failing":
        section.problem(f"{who} says that it is about to fail", replace)
    if says.bad_sectors:
        section.problem(
            f"{who} has {says.bad_sectors} sectors that cannot be read",
            f"watch whether they become more (sudo smartctl -a {disk.device}); if so: {replace}",
        )
    if says.temperature is not None and says.temperature >= smart.HOT:
        section.problem(f"{who} is too hot: {says.temperature} °C", "see that its fans turn and the air gets through")
