"""Looks at the box from outside: exactly the ports that its image declares answer, and nothing is routed through it.

Outside is a network namespace on the box, joined to it by a pair of virtual Ethernet ports, so packets from there pass the
firewall as from a wire. They are made here, Ethernet header and all: every port of TCP and UDP, on IPv4 and IPv6, without waiting
for each. Two witnesses must agree: what comes back to the wire, and a table of the firewall's own that sees what
went through its input chain. Then the scanner shows that it would see more, were there more. All of it is undone at the end.
"""

import contextlib
import ctypes
import ipaddress
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

IMAGE = "/usr/lib/chatimg/image.json"
OUTSIDE, BEYOND = "chatimg-outside", "chatimg-beyond"
# Seconds that services have to take up new addresses; then what does not answer is wrong.
SETTLED = 120
# The box's end of each pair, the other one's, both addresses of each end (for documentation: RFC 5737 and 3849).
WIRES = {
    OUTSIDE: ("scan0", "wire0", ("192.0.2.1", "192.0.2.2"), ("2001:db8:1::1", "2001:db8:1::2")),
    BEYOND: ("scan1", "wire1", ("198.51.100.1", "198.51.100.2"), ("2001:db8:2::1", "2001:db8:2::2")),
}
CHAINS, COMMENT = ("input", "forward"), "chatimg-scan"
ALL = range(1, 65536)
# Some that are not declared, for the scanner to find.
BAIT = range(31300, 31400)
BATCH = 256
# What is late is in the backlog of a CPU: an emulated one takes its time.
QUIET = 1.5
# A STUN server answers this (RFC 8489): one that listens for UDP and is asked nonsense stays silent.
STUN = struct.pack(">HHI12s", 1, 0, 0x2112A442, b"chatimg-scan")
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
NAMES = {TCP: "TCP", UDP: "UDP"}
SYN, RST, ACK = 2, 4, 16
# Kernels answer as many unreachable ports as there are, and not one a second.
UNLIMITED = {"net/ipv4/icmp_ratemask": "0", "net/ipv6/icmp/ratemask": "0"}

TABLE = """
table inet chatimg_scan {
    set passed { typeof meta nfproto . meta l4proto . th dport; flags dynamic; size 400000; }
    counter strange { }
    chain after {
        type filter hook input priority 100; policy accept;
        iifname != scan0 return
        ip saddr { 127.0.0.0/8, 192.0.2.1 } counter name strange return
        ip daddr 127.0.0.0/8 counter name strange return
        ip6 saddr ::1 counter name strange return
        ip6 daddr ::1 counter name strange return
        meta l4proto { tcp, udp } update @passed { meta nfproto . meta l4proto . th dport }
    }
}
"""


class Wrong(Exception):
    """The box does what it should not, or the scan did not work."""


def run(*words, text=""):
    done = subprocess.run(words, input=text, capture_output=True, text=True)
    if done.returncode:
        raise Wrong(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def mac(name):
    return bytes.fromhex(read(f"/sys/class/net/{name}/address").replace(":", ""))


def read(path):
    with open(path) as file:
        return file.read().strip()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


@contextlib.contextmanager
def inside(namespace):
    """What is opened meanwhile belongs to a namespace."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        os.setns(other, os.CLONE_NEWNET)
        yield
    finally:
        os.setns(own, os.CLONE_NEWNET)
        os.close(own)
        os.close(other)


def undo():
    """Whatever another scan left goes as well."""
    for chain in CHAINS:
        take_back(chain)
    for namespace, (port, *_) in WIRES.items():
        subprocess.run(["ip", "link", "delete", port], capture_output=True)
        subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)
    subprocess.run(["nft", "delete", "table", "inet", "chatimg_scan"], capture_output=True)


def lay_wires():
    for namespace, (port, far, *addresses) in WIRES.items():
        within = ("ip", "-n", namespace)
        run("ip", "netns", "add", namespace)
        run("ip", "link", "add", port, "type", "veth", "peer", "name", far, "netns", namespace)
        for near, there in addresses:
            bits, no_wait = ("/64", ["nodad"]) if ":" in near else ("/24", [])
            run("ip", "address", "add", near + bits, "dev", port, *no_wait)
            run(*within, "address", "add", there + bits, "dev", far, *no_wait)
        run("ip", "link", "set", port, "up")
        run(*within, "link", "set", far, "up")
        for near, _ in addresses:
            run(*within, "route", "add", "default", "via", near)
    run("nft", "-f", "-", text=TABLE)


@contextlib.contextmanager
def changed(settings):
    """Kernel settings, for a while."""
    before = {name: read(f"/proc/sys/{name}") for name in settings}
    try:
        for name, value in settings.items():
            write(f"/proc/sys/{name}", value)
        yield
    finally:
        for name, value in before.items():
            write(f"/proc/sys/{name}", value)


@contextlib.contextmanager
def rule(chain, *words):
    """A rule at the head of a chain of the box's firewall, for a while."""
    run("nft", "insert", "rule", "inet", "chatimg", chain, *words, "comment", f'"{COMMENT}"')
    try:
        yield
    finally:
        take_back(chain)


def take_back(chain):
    """Removes the scanner's rules."""
    rules = json.loads(run("nft", "-j", "list", "chain", "inet", "chatimg", chain))["nftables"]
    for one in (item["rule"] for item in rules if "rule" in item):
        if one.get("comment") == COMMENT:
            run("nft", "delete", "rule", "inet", "chatimg", chain, "handle", str(one["handle"]))


def chains():
    """The box's own chains; of the counters in them nothing."""
    return [run("nft", "-s", "list", "chain", "inet", "chatimg", chain) for chain in CHAINS]


class Header(ctypes.Structure):
    """`struct msghdr` of Linux on 64 bits."""

    _fields_ = [
        ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p), ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int),
    ]


class Message(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = [("header", Header), ("len", ctypes.c_uint32)]


class Wire:
    """The far end of a pair: what it is given goes to the box, and all that comes from there is kept."""

    def __init__(self, namespace):
        self.port, far, (self.box4, self.own4), (self.box6, self.own6) = WIRES[namespace]
        self.namespace = namespace
        with inside(namespace):
            self.ears = [self.listen(far, kind) for kind in (0x0800, 0x86DD)]
            self.mouth = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.mouth.bind((far, 0))
            self.mac = self.mouth.getsockname()[4]
        self.send_all = ctypes.CDLL(None, use_errno=True).sendmmsg

    @staticmethod
    def listen(far, kind):
        # Of what the namespace itself sends, nothing comes here: it is asked for one protocol.
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind))
        ear.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
        ear.bind((far, kind))
        ear.setblocking(False)
        return ear

    def close(self):
        for one in (*self.ears, self.mouth):
            one.close()

    def addresses(self, version):
        return (self.own4, self.box4) if version == 4 else (self.own6, self.box6)

    def frame(self, version, source, target, protocol, payload):
        source, target = (ipaddress.ip_address(one).packed for one in (source, target))
        if version == 4:
            fields = (0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, source, target)
            head = bytearray(struct.pack(">BBHHHBBH4s4s", *fields))
            struct.pack_into(">H", head, 10, folded(words(head)) ^ 0xFFFF)
        else:
            head = struct.pack(">IHBB16s16s", 6 << 28, len(payload), protocol, 64, source, target)
        return mac(self.port) + self.mac + (b"\x08\x00" if version == 4 else b"\x86\xdd") + head + payload

    def probes(self, version, protocol, origin, ports, source, target):
        """One packet for each port, one after the other, and the length of each: a SYN, or a datagram."""
        if protocol == TCP:
            payload = struct.pack(">HHIIBBHHH", origin, 0, 0xC4A7, 0, 0x50, SYN, 1024, 0, 0)
            at = 16
        else:
            payload = struct.pack(">HHHH", origin, 0, 8 + len(STUN), 0) + STUN
            at = 6
        frame = self.frame(version, source, target, protocol, payload)
        pseudo = b"".join(ipaddress.ip_address(one).packed for one in (source, target))
        base = words(pseudo) + protocol + len(payload) + words(payload)
        sums = [(folded(base + port) ^ 0xFFFF) or 0xFFFF for port in ports]
        start, size = len(frame) - len(payload), len(frame)
        packets = bytearray(frame * len(ports))
        for place, values in ((start + 2, ports), (start + at, sums)):
            packets[place::size] = bytes(value >> 8 for value in values)
            packets[place + 1 :: size] = bytes(value & 255 for value in values)
        return packets, size

    def send(self, packets, size):
        count = len(packets) // size
        base = ctypes.addressof(ctypes.c_char.from_buffer(packets))
        for first in range(0, count, BATCH):
            number = min(BATCH, count - first)
            parts = (ctypes.c_uint64 * (2 * number))()
            parts[0::2] = [base + (first + index) * size for index in range(number)]
            parts[1::2] = [size] * number
            messages = (Message * number)()
            for index, message in enumerate(messages):
                message.header.iov, message.header.iovlen = ctypes.addressof(parts) + 16 * index, 1
            sent = 0
            while sent < number:
                rest = ctypes.byref(messages, sent * ctypes.sizeof(Message))
                did = self.send_all(self.mouth.fileno(), rest, number - sent, 0)
                if did <= 0:
                    raise Wrong(f"sending: {os.strerror(ctypes.get_errno())}")
                sent += did
        return count

    def heard(self):
        """All IP packets that came, until nothing comes any more."""
        packets, last = [], time.monotonic()
        while time.monotonic() - last < QUIET:
            for ear in self.ears:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        packets.append(ear.recv(2048))
                        last = time.monotonic()
            time.sleep(0.02)
        return packets


def words(data):
    return sum(struct.unpack(f">{len(data) // 2}H", data))


def folded(total):
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def taken_apart(packet):
    """Version, source, protocol and payload of an IP packet."""
    if packet[0] >> 4 == 4:
        return 4, str(ipaddress.IPv4Address(packet[12:16])), packet[9], packet[4 * (packet[0] & 15) :]
    return 6, str(ipaddress.IPv6Address(packet[8:24])), packet[6], packet[40:]


def verdict(packet, version, protocol, origin):
    """The port that a packet is an answer of, and what it says; nothing if it is no answer."""
    is_version, _, its, payload = taken_apart(packet)
    if is_version != version:
        return None
    if its == protocol:
        port, to = struct.unpack_from(">HH", payload)
        if to != origin:
            return None
        if protocol == UDP:
            return port, "answers"
        flags = payload[13]
        return port, "answers" if flags & (SYN | ACK | RST) == SYN | ACK else "nobody listens"
    errors = {ICMP: (3, 3), ICMP6: (1, 4)}
    if its not in errors or payload[0] != errors[its][0]:
        return None
    _, _, asked, within = taken_apart(payload[8:])
    start, port = struct.unpack_from(">HH", within)
    if asked != protocol or start != origin:
        return None
    # Of TCP no kernel speaks by ICMP: only a firewall does.
    nobody = protocol == UDP and payload[1] == errors[its][1]
    return port, "nobody listens" if nobody else "refused by ICMP"


class Scan:
    """Looks at ports, and at what went through the firewall meanwhile."""

    def __init__(self, wire):
        self.wire = wire
        self.origin = 40000

    def ports(self, version, protocol, ports):
        """What answers, and what was let through."""
        self.origin += 1
        run("nft", "flush", "set", "inet", "chatimg_scan", "passed")
        source, target = self.wire.addresses(version)
        packets, size = self.wire.probes(version, protocol, self.origin, ports, source, target)
        before = self.lost(), self.arrived()
        sent = self.wire.send(packets, size)
        answers = {}
        for packet in self.wire.heard():
            answer = verdict(packet, version, protocol, self.origin)
            if answer:
                answers[answer[0]] = answer[1]
        if self.lost() != before[0] or self.arrived() < before[1] + sent:
            raise Wrong(f"of {sent} packets {self.arrived() - before[1]} arrived: the scan says nothing")
        return answers, self.passed(version, protocol)

    def passed(self, version, protocol):
        listed = json.loads(run("nft", "-j", "list", "set", "inet", "chatimg_scan", "passed"))
        elements = next(item["set"] for item in listed["nftables"] if "set" in item).get("elem", [])
        wanted = [f"ipv{version}", NAMES[protocol].lower()]
        concatenated = [one.get("elem", {}).get("val", one)["concat"] for one in elements]
        return {number(port) for *kind, port in concatenated if kind == wanted}

    def strange(self):
        listed = json.loads(run("nft", "-j", "list", "counter", "inet", "chatimg_scan", "strange"))
        return next(item["counter"]["packets"] for item in listed["nftables"] if "counter" in item)

    def arrived(self):
        return int(read(f"/sys/class/net/{self.wire.port}/statistics/rx_packets"))

    @staticmethod
    def lost():
        return sum(int(line.split()[1], 16) for line in read("/proc/net/softnet_stat").splitlines())


def number(port):
    """nft has names for some ports."""
    return port if isinstance(port, int) else socket.getservbyname(port)


def declared():
    """Of each protocol the ports that the image opens: 443/tcp, 49152-49407/udp."""
    with open(IMAGE) as file:
        texts = json.load(file)["ports"]
    found = {TCP: set(), UDP: set()}
    for text in texts:
        ports, protocol = text.split("/")
        first, _, last = ports.partition("-")
        found[TCP if protocol == "tcp" else UDP].update(range(int(first), int(last or first) + 1))
    return found


def ranges(ports):
    found = []
    for port in sorted(ports):
        if found and found[-1][1] == port - 1:
            found[-1][1] = port
        else:
            found.append([port, port])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found) or "none"


def compare(scan, version, protocol, wanted):
    """All ports: what is declared answers, all else is silent."""
    start = time.monotonic()
    answers, passed = scan.ports(version, protocol, ALL)
    took = time.monotonic() - start
    what, wrong = f"IPv{version} {NAMES[protocol]}", []
    # Somebody must listen where TCP is declared. Behind a UDP port he may be silent, but he is let through.
    silent = {port for port in wanted if answers.get(port) != "answers"} if protocol == TCP else set()
    for ports, words in (
        (silent, "is declared, and does not answer"),
        (wanted - passed, "is declared, and not let through"),
        (passed - wanted, "is let through, and not declared"),
        (answers.keys() - wanted, "is not declared, and not silent"),
    ):
        if ports:
            wrong.append(f"{what} {ranges(ports)} {words}")
    good = {port for port, says in answers.items() if says == "answers"}
    print(f"{what}: {len(ALL)} ports in {took:.1f} s; {ranges(good)} answer, let through: {ranges(passed)}", flush=True)
    return wrong


def settle(scan, ports):
    """Services that listen on the box's addresses one by one see the new ones after a while."""
    end = time.monotonic() + SETTLED
    while time.monotonic() < end:
        found = [scan.ports(version, TCP, sorted(ports))[0] for version in (4, 6)]
        if all(answers.get(port) == "answers" for answers in found for port in ports):
            return
        time.sleep(2)


def find_bait(scan, version):
    """The scanner finds what is open, and tells what it is."""
    first, second, third = BAIT[0], BAIT[1], BAIT[2]
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family) as listener, contextlib.ExitStack() as rules:
        listener.bind(("", first))
        listener.listen()
        if any(scan.ports(version, TCP, BAIT)):
            raise Wrong(f"IPv{version}: somebody who listens is found behind the closed firewall")
        for words in (["accept"], ["counter", "accept"]):
            port = str(first if words == ["accept"] else second)
            rules.enter_context(rule("input", "meta", "l4proto", "{", "tcp,", "udp", "}", "th", "dport", port, *words))
        rules.enter_context(rule("input", "tcp", "dport", str(third), "reject"))
        found = scan.ports(version, TCP, BAIT)
        wanted = {first: "answers", second: "nobody listens", third: "refused by ICMP"}, {first, second}
        if found != wanted:
            raise Wrong(f"IPv{version}: of open TCP ports this is found: {found}, and not {wanted}")
        found = scan.ports(version, UDP, BAIT)
        wanted = dict.fromkeys((first, second), "nobody listens"), {first, second}
        if found != wanted:
            raise Wrong(f"IPv{version}: of open UDP ports this is found: {found}, and not {wanted}")
    if any(scan.ports(version, TCP, BAIT)):
        raise Wrong(f"IPv{version}: a port that was closed again is still open")
    print(f"IPv{version}: open ports are found, and gone again", flush=True)


def loopback(scan, ports):
    """Nobody outside can speak as the box itself, or to it by its loopback address."""
    wire = scan.wire
    kinds = [
        (4, "127.0.0.1", wire.box4), (4, wire.box4, wire.box4), (4, wire.own4, "127.0.0.1"), (4, "127.0.0.1", "127.0.0.1"),
        (6, "::1", wire.box6), (6, wire.own6, "::1"), (6, "::1", "::1"),
    ]

    def reach():
        before, arrived, sent = scan.strange(), scan.arrived(), 0
        for version, source, target in kinds:
            for protocol in (TCP, UDP):
                sent += wire.send(*wire.probes(version, protocol, 39999, ports, source, target))
        heard = wire.heard()
        if scan.arrived() < arrived + sent:
            raise Wrong("of the packets from loopback addresses not all arrived: that says nothing")
        from_loopback = [packet for packet in heard if taken_apart(packet)[1] in ("127.0.0.1", "::1")]
        return scan.strange() - before, len(from_loopback)

    wrong = []
    found = reach()
    if any(found):
        wrong.append(f"of packets from or to loopback addresses {found[0]} are let in, {found[1]} answered")
    # Of this port alone the kernel lets them pass, so it would have been seen.
    lax = [f"net/ipv4/conf/{wire.port}/{name}" for name in ("accept_local", "route_localnet")]
    with changed(dict.fromkeys(lax, "1")):
        if not reach()[0]:
            raise Wrong("packets from loopback addresses are not seen even where the kernel lets them in")
    print("loopback addresses: dropped", flush=True)
    return wrong


def routed(scan):
    """What is sent by way of the box to somebody else does not get there."""
    wire, beyond = scan.wire, Wire(BEYOND)
    kinds = [(4, wire.own4, beyond.own4), (6, wire.own6, beyond.own6)]

    def reach(kinds):
        for version, source, target in kinds:
            for protocol in (TCP, UDP):
                wire.send(*wire.probes(version, protocol, 39998, [22, 53, 443], source, target))
            echo = struct.pack(">BBHHH", 8 if version == 4 else 128, 0, 0, 1, 1)
            protocol = ICMP if version == 4 else ICMP6
            frame = wire.frame(version, source, target, protocol, echo)
            wire.send(bytearray(frame), len(frame))
        sources = {source for _, source, _ in kinds}
        return [packet for packet in beyond.heard() if taken_apart(packet)[1] in sources]

    with contextlib.closing(beyond):
        wrong = [f"the box routes: {len(got)} packets" for got in [reach(kinds)] if got]
        setting = f"net/ipv4/conf/{wire.port}/forwarding"
        with changed({setting: "1"}), rule("forward", "iifname", wire.port, "accept"):
            if not reach(kinds[:1]):
                raise Wrong("what the box routes is not seen")
    print("routing: none", flush=True)
    return wrong


def echo(wire):
    wrong = []
    for version, target in ((4, wire.box4), (6, wire.box6)):
        ping = ["ip", "netns", "exec", wire.namespace, "ping", f"-{version}", "-c", "1", "-W", "10", target]
        if subprocess.run(ping, capture_output=True).returncode:
            wrong.append(f"IPv{version}: no answer to ping")
    return wrong


def main():
    def stop(number, _frame):
        sys.exit(128 + number)

    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(one, stop)
    wanted = declared()
    if not wanted[TCP]:
        raise Wrong(f"{IMAGE} declares no TCP port: somebody misreads it")
    undo()
    before, links = chains(), os.listdir("/sys/class/net")
    try:
        lay_wires()
        wire = Wire(OUTSIDE)
        with contextlib.closing(wire), changed(UNLIMITED):
            scan = Scan(wire)
            wrong = echo(wire)
            settle(scan, wanted[TCP])
            for version in (4, 6):
                for protocol in (TCP, UDP):
                    wrong += compare(scan, version, protocol, wanted[protocol])
                find_bait(scan, version)
            # One that is declared, and Synapse itself, who listens on the loopback address only.
            wrong += loopback(scan, [min(wanted[TCP]), 8008])
            wrong += routed(scan)
    finally:
        undo()
    if chains() != before or sorted(os.listdir("/sys/class/net")) != sorted(links):
        wrong.append("not all is as it was before the scan")
    if wrong:
        raise Wrong("\n".join(wrong))
    print("exactly the declared ports answer")


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(str(wrong))
