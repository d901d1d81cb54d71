"""What a disk says of itself, by smartctl."""

import json
from dataclasses import dataclass

from . import system

HOT = 60  # °C


@dataclass(frozen=True)
class Smart:
    """What matters of it."""

    health: str  # good, failing, or unknown
    temperature: int | None  # °C
    hours: int | None
    bad_sectors: int | None  # waiting to be replaced, or that could not be read


def parse(text: str) -> Smart:
    """`smartctl --json --all`."""
    try:
        wire = json.loads(text)
    except ValueError:
        wire = {}
    status = wire.get("smart_status", {}).get("passed")
    attributes = wire.get("ata_smart_attributes", {}).get("table", [])
    # 197: current pending sectors; 198: offline uncorrectable.
    bad = [one["raw"]["value"] for one in attributes if one.get("id") in (197, 198)]
    media = wire.get("nvme_smart_health_information_log", {}).get("media_errors")
    return Smart(
        health={True: "good", False: "failing"}.get(status, "unknown"),
        temperature=wire.get("temperature", {}).get("current") or None,
        hours=wire.get("power_on_time", {}).get("hours"),
        bad_sectors=max(bad) if bad else media,
    )


def of(device: str) -> Smart:
    """Asks a disk; one that sleeps stays asleep."""
    return parse(system.output("smartctl", "--json", "--all", "--nocheck=standby", device))
