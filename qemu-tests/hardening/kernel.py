"""On the box, as root: every kernel setting of the image is in force, and no program has the kernel load protocols."""

import socket
import sys
from pathlib import Path

wrong = count = 0
for line in Path("/etc/sysctl.d/60-chatimg.conf").read_text().splitlines():
    name, equals, value = (part.strip() for part in line.partition("="))
    if not equals or line.startswith("#"):
        continue
    file = Path("/proc/sys", name.lstrip("-").replace(".", "/"))
    count += 1
    if name.startswith("-") and not file.exists():
        print(f"{name}: this kernel has none")
    elif not file.exists() or file.read_text().strip() != value:
        print(f"BAD  {name} is {file.read_text().strip() if file.exists() else 'not there'}, not {value}")
        wrong += 1
# The box still takes its routes from routers, and has addresses of its own making.
for name in Path("/proc/sys/net/ipv6/conf").iterdir():
    if (name / "disable_ipv6").read_text().strip() != "0":
        print(f"BAD  {name.name} has no IPv6")
        wrong += 1
# SCTP, L2TP and SMC, which a service that may use IP could ask for.
for kind, protocol, module in ((socket.SOCK_STREAM, 132, "sctp"), (socket.SOCK_DGRAM, 115, "l2tp_ip"), (socket.SOCK_STREAM, 256, "smc")):
    try:
        socket.socket(socket.AF_INET, kind, protocol).close()
        print(f"BAD  anybody has {module}")
        wrong += 1
    except OSError:
        pass
    if f"\n{module} " in "\n" + Path("/proc/modules").read_text():
        print(f"BAD  {module} was loaded")
        wrong += 1
print(f"{count} settings, {wrong} wrong")
sys.exit(1 if wrong or count < 30 else 0)
