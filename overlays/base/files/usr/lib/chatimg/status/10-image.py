"""What runs here, and since when."""

import json

from chatimg_box import bootstate, system, text
from chatimg_box.health import Section


def look() -> Section:
    image = json.loads(system.read("/usr/lib/chatimg/image.json") or "{}")
    now = bootstate.running()
    slot, id_ = now.slot or "?", now.image or "?"
    up = float((system.read("/proc/uptime").split() or ["0"])[0])
    domain = image.get("domain", "?")
    data = {"domain": domain, "id": id_, "slot": slot, "uptime": int(up)}
    return Section("image", [f"{id_} of {domain}, slot {slot}, up {text.duration(up)}"], data)
