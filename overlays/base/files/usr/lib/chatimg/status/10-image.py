"""What runs here, and since when."""

import json

from chatimg_box import system, text
from chatimg_box.health import Section


def look() -> Section:
    image = json.loads(system.read("/usr/lib/chatimg/image.json") or "{}")
    words = dict(word.partition("=")[::2] for word in system.read("/proc/cmdline").split())
    slot, id_ = words.get("chatimg.slot", "?"), words.get("chatimg.id", "?")
    up = float((system.read("/proc/uptime").split() or ["0"])[0])
    domain = image.get("domain", "?")
    data = {"domain": domain, "id": id_, "slot": slot, "uptime": int(up)}
    return Section("image", [f"{id_} of {domain}, slot {slot}, up {text.duration(up)}"], data)
