"""What `turn.toml` tries: calls from outside, a network namespace joined to the box by a veth pair. The argument says which."""

import hashlib
import json
import os
import pwd
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, "/usr/lib/chatimg")
from chatimg_turn import client  # noqa: E402

# Of the other side: a caller, and somebody who is called.
CALLER, CALLED = "9.1.1.1", "9.1.1.2"
CALLER6, CALLED6, BOX6 = "2a01:4f8:1::1", "2a01:4f8:1::2", "2a01:4f8:2::10"
KEPT = Path("/run/turn-test.json")
PORTS = {"udp": 3478, "tcp": 3478, "tls": 5349}
RELAYS = range(49152, 49408)
QUOTA = 24
STRANGERS = 2000


def run(command):
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


@contextmanager
def outside():
    """Sockets made meanwhile are the other side's."""
    with open("/run/netns/outside") as there, open("/proc/self/ns/net") as here:
        os.setns(there.fileno(), os.CLONE_NEWNET)
        try:
            yield
        finally:
            os.setns(here.fileno(), os.CLONE_NEWNET)


def box():
    """The address that coturn listens on."""
    for line in Path("/run/chatimg-turn/addresses").read_text().splitlines():
        if line.startswith("listening-ip="):
            return line.partition("=")[2]
    raise SystemExit("coturn has no address")


def caller(how="udp", server=None, user=None):
    """Somebody outside with the credentials that Synapse gave."""
    kept = json.loads(KEPT.read_text())
    with outside():
        one = client.Client((server or box(), PORTS[how]), how)
    one.log_in(*(user or (kept["username"], kept["password"])))
    return one


def called(address=CALLED):
    """Somebody who answers all with the same in capitals."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with outside():
        one = socket.socket(family, socket.SOCK_DGRAM)
        one.bind((address, 0))

    def answer():
        while True:
            data, sender = one.recvfrom(4096)
            heard.append(sender[0])
            one.sendto(data.upper(), sender)

    heard = []
    threading.Thread(target=answer, daemon=True).start()
    return one.getsockname()[:2], heard


def refused(code, what, *arguments):
    try:
        what(*arguments)
    except client.Refused as error:
        if error.code == code:
            return
        raise SystemExit(f"{arguments}: {error}, not {code}") from error
    raise SystemExit(f"{arguments}: not refused")


def setup():
    """The other side, by whose addresses the box's firewall sees it as any other machine."""
    run(
        "ip netns add outside; ip link add calls type veth peer name box netns outside; "
        # Not of global scope: coturn does not listen on it.
        "ip address add 169.254.77.1/30 scope link dev calls; ip link set calls up; ip route add 9.1.1.0/24 via 169.254.77.2"
    )
    run(
        "ip netns exec outside sh -ec 'ip link set lo up; ip address add 169.254.77.2/30 dev box; ip link set box up; "
        f"ip address add {CALLER}/32 dev lo; ip address add {CALLED}/32 dev lo; ip route add default via 169.254.77.1 src {CALLER}'"
    )
    print("joined")


def teardown():
    run("ip netns delete outside")
    KEPT.unlink(missing_ok=True)


def credentials():
    """What the homeserver gives a user for a call; `turn-alice` is one. Nobody gets them without having logged in."""
    domain, password = sys.argv[2:4]
    base = f"https://{domain}/_matrix/client/v3"
    plain = ssl.create_default_context()
    plain.check_hostname, plain.verify_mode = False, ssl.CERT_NONE
    resolve = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *more, **named: resolve("127.0.0.1" if host == domain else host, *more, **named)

    def ask(path, body=None, token=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(base + path, body and json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, context=plain, timeout=60) as answer:
            return json.load(answer)

    try:
        ask("/voip/turnServer")
        raise SystemExit("anybody gets credentials")
    except urllib.error.HTTPError as error:
        assert error.code == 401, error
    user = {"type": "m.id.user", "user": "turn-alice"}
    token = ask("/login", {"type": "m.login.password", "identifier": user, "password": password})["access_token"]
    given = ask("/voip/turnServer", token=token)
    KEPT.touch(0o600)
    KEPT.write_text(json.dumps(given))
    print(*given["uris"], given["ttl"])


def relays():
    """By each way, to somebody outside and back."""
    for how in PORTS:
        peer, heard = called()
        with caller(how) as one:
            relayed = one.allocate()
            assert relayed[0] == box() and relayed[1] in RELAYS, relayed
            one.send(peer, b"before it is let in")
            one.permit(peer[0])
            one.send(peer, b"hello")
            assert one.receive(20) == (peer, b"HELLO")
            assert heard == [box()], heard
            # Who was not let in is not heard.
            with outside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.bind((CALLER, 0))
                stranger.sendto(b"spam", relayed)
            one.send(peer, b"still there")
            assert one.receive(20) == (peer, b"STILL THERE")
            print("relayed by", how)


def both():
    """Two who both need a relay, one by UDP and one by TLS."""
    with caller("udp") as one, caller("tls") as other:
        for each in (one, other):
            each.allocate()
        one.permit(other.relayed[0])
        other.permit(one.relayed[0])
        one.send(other.relayed, b"ring")
        assert other.receive(20) == (one.relayed, b"ring")
        other.send(one.relayed, b"hello?")
        assert one.receive(20) == (other.relayed, b"hello?")
    print("relayed to each other")


def strangers():
    """Who has no credentials, old ones, or such as another secret makes."""
    user, password = client.credentials("0" * 64, "mallory")
    refused(401, caller(user=(user, password)).allocate)
    secret = Path("/var/lib/chatimg/turn/secret").read_text().strip()
    refused(401, caller(user=client.credentials(secret, "turn-alice", -60)).allocate)
    refused(401, caller("tls", user=("", "")).allocate)
    with caller(user=client.credentials(secret, "turn-alice")) as one:
        one.allocate()
    print("refused")


CLOSED = (
    "0.0.0.0 0.1.2.3 10.0.2.2 10.255.255.255 100.64.0.1 127.0.0.1 127.1.2.3 169.254.77.2 172.16.0.1 192.0.0.8 192.168.1.1 "
    "198.18.0.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255"
)
CLOSED6 = (
    ":: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.2.15 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 100::1 2001::1 2001:db8::1 2002:7f00:1::1 "
    "fc00::1 fd00::1 fe80::1 fec0::1 ff02::1 2a01:4f8:2::1"
)


def bind(one, peer):
    """A channel: the other way to be let through."""
    one.ask(9, [(0xC, struct.pack(">HH", 0x4000, 0)), (client.PEER, (peer, 53))])


def closed():
    """Nobody gets inside, nor to the box's own services, nor opens connections by TCP."""
    with caller() as one:
        one.allocate()
        for peer in CLOSED.split():
            if peer != box():
                refused(403, one.permit, peer)
                refused(403, bind, one, peer)
    # Relays reach each other by the box's own address. A service of it hears nothing.
    service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    service.bind(("0.0.0.0", 5353))
    service.settimeout(3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as test:
        test.sendto(b"the box itself", (box(), 5353))
    assert service.recv(100) == b"the box itself"
    with caller() as one:
        one.allocate()
        one.permit(box())
        for port in (5353, 53, 3478, 68):
            one.send((box(), port), b"let me in")
        try:
            print("inside:", service.recv(100))
            raise SystemExit(1)
        except TimeoutError:
            pass
        # The call goes on: who is called says himself where that is.
        peer, _ = called()
        one.permit(peer[0])
        one.send(peer, b"still there")
        assert one.receive(20) == (peer, b"STILL THERE")
    with caller() as one:
        refused(442, one.ask, client.ALLOCATE, [(client.TRANSPORT, bytes([6, 0, 0, 0]))])
    print("closed")


def apart():
    """coturn's user reaches nothing else of the box, by UDP or TCP, and opens no connections to others. Another program may
    send from a port like a relay's: Synapse looks names up from any."""
    coturn, other = (pwd.getpwnam(name).pw_uid for name in ("turnserver", "nobody"))
    here = listening()
    with outside():
        there = listening()
    for address, (datagrams, connections) in (("127.0.0.1", here), (box(), here), (CALLED, there)):
        assert says(address, other, free()), address
        assert datagrams.recv(100) == b"hello"
        connections.accept()[0].close()
        for source in (0, free()) if address != CALLED else (0,):
            assert not says(address, coturn, source), address
    # The kernel's own answers belong to no program: who asks at a closed port is told so.
    for address in ("127.0.0.1", box()):
        try:
            socket.create_connection((address, 5354), 2)
            raise SystemExit(f"somebody listens at {address}")
        except ConnectionRefusedError:
            pass
    for datagrams, _ in (here, there):
        try:
            print("heard:", datagrams.recv(100))
            raise SystemExit(1)
        except TimeoutError:
            pass
    print("apart")


def listening():
    """By UDP and TCP."""
    found = []
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        one = socket.socket(socket.AF_INET, kind)
        one.bind(("0.0.0.0", 5353))
        one.settimeout(3)
        found.append(one)
    found[1].listen()
    return found


def says(address, who, source):
    """Whether a user's program gets a connection there, after it has sent a packet."""
    script = (
        "import os, socket, sys\nos.setuid(int(sys.argv[1]))\n"
        "one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\none.bind(('', int(sys.argv[3])))\n"
        "try: one.sendto(b'hello', (sys.argv[2], 5353))\nexcept OSError: pass\n"
        "try: socket.create_connection((sys.argv[2], 5353), 3).close()\nexcept OSError: sys.exit(1)\n"
    )
    return subprocess.run(["python3", "-c", script, str(who), address, str(source)]).returncode == 0


def free():
    """A port of the relays' that is none now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for port in RELAYS:
            try:
                one.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue
    raise SystemExit("all relays are in use")


def stateless():
    """However many come, the firewall remembers none of them: its table of connections would be full, and nobody got in."""
    count = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    before, answered = int(count.read_text()), 0
    with caller() as one, caller("tls") as other:
        for each in (one, other):
            each.allocate()
        one.permit(other.relayed[0])
        other.permit(one.relayed[0])
        for port in range(20000, 20000 + STRANGERS):
            with outside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.bind((CALLER, port))
                stranger.sendto(b"spam", one.relayed)
                stranger.sendto(struct.pack(">HHI", client.BINDING, 0, client.COOKIE) + os.urandom(12), (box(), 3478))
                stranger.settimeout(5)
                answered += bool(stranger.recv(100))
        one.send(other.relayed, b"ring")
        assert other.receive(20) == (one.relayed, b"ring")
        grown = int(count.read_text()) - before
    assert answered == STRANGERS, answered
    assert grown < STRANGERS / 10, f"{grown} more connections are remembered"
    print("none remembered")


def narrow():
    """A way that takes no packets of full size says so, and is heard."""
    (peer, _), mtu = called(), 1400
    with caller() as one:
        one.allocate()
        one.permit(peer[0])
        # In pieces, too.
        for size in (1300, 3000):
            one.send(peer, b"x" * size)
            assert one.receive(20) == (peer, b"X" * size)
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 1428, 0, 0, 64, 17, 0, packed(one.relayed[0]), packed(peer[0]))
        sent = ip + struct.pack(">HHHH", one.relayed[1], peer[1], 1408, 0)
        error = struct.pack(">BBHHH", 3, 4, 0, 0, mtu) + sent
        error = error[:2] + struct.pack(">H", checksum(error)) + error[4:]
        with outside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as router:
            router.bind((CALLER, 0))
            router.sendto(error, (box(), 0))
        end = time.monotonic() + 10
        while f"mtu {mtu}" not in run(f"ip route get {peer[0]}"):
            assert time.monotonic() < end, "not heard"
            time.sleep(0.2)
    run("ip route flush cache")
    print("heard")


def packed(address):
    return socket.inet_aton(address)


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def closed6():
    """The same by IPv6: another address comes, coturn takes it, and leaves it when it goes."""
    run(
        "ip netns exec outside sh -ec 'ip -6 address add fe80::77/64 nodad dev box; "
        f"ip -6 address add {CALLER6}/128 dev lo; ip -6 address add {CALLED6}/128 dev lo; "
        f"ip -6 route add {BOX6} dev box src {CALLER6}'"
    )
    run(f"ip -6 route add 2a01:4f8:1::/64 via fe80::77 dev calls; ip -6 address add {BOX6}/64 nodad dev calls")
    waits_for(lambda: f"listening-ip={BOX6}" in Path("/run/chatimg-turn/addresses").read_text())
    peer, _ = called(CALLED6)
    with caller("tls", BOX6) as one:
        relayed = one.allocate(6)
        assert relayed[0] == BOX6, relayed
        one.permit(peer[0])
        one.send(peer, b"hello")
        assert one.receive(20) == (peer, b"HELLO")
        for address in CLOSED6.split():
            refused(403, one.permit, address)
            refused(403, bind, one, address)
    with caller("udp", BOX6) as one:
        # A client that asks for nothing gets what most peers have.
        assert one.allocate()[0] == box()
    run(f"ip -6 address delete {BOX6}/64 dev calls; ip -6 route delete 2a01:4f8:1::/64")
    waits_for(lambda: f"listening-ip={BOX6}" not in Path("/run/chatimg-turn/addresses").read_text())
    print("closed")


def waits_for(what):
    """coturn has started anew, and so it was."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if what() and subprocess.run(["/usr/lib/chatimg/probe-turn"], capture_output=True).returncode == 0:
            return
        time.sleep(1)
    raise SystemExit("coturn did not take the box's addresses")


def quota():
    """A user has so many relays and no more, and others have theirs."""
    secret = Path("/var/lib/chatimg/turn/secret").read_text().strip()
    ones = [caller(user=client.credentials(secret, "@greedy:x", 60 + number)) for number in range(QUOTA + 1)]
    for one in ones[:QUOTA]:
        one.allocate()
    refused(486, ones[QUOTA].allocate)
    with caller() as other:
        other.allocate()
    for one in ones[:QUOTA]:
        one.__exit__()
    end = time.monotonic() + 30
    while True:
        with caller(user=client.credentials(secret, "@greedy:x")) as again:
            try:
                again.allocate()
                break
            except client.Refused as error:
                if error.code != 486 or time.monotonic() > end:
                    raise
        time.sleep(1)
    print("held")


def shown():
    """Digest of the certificate that the box shows for calls."""
    with socket.create_connection((box(), PORTS["tls"]), 20) as plain:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as secure:
            return hashlib.sha256(secure.getpeercert(binary_form=True)).hexdigest()


def certificate():
    """A new one is shown to whoever comes; a call goes on."""
    before, peer = shown(), called()[0]
    with caller("tls") as one:
        one.allocate()
        one.permit(peer[0])
        run(
            "cd /run && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj /CN=new "
            "-keyout turn-key.pem -out turn-certificate.pem && cat turn-key.pem turn-certificate.pem | "
            "/usr/lib/chatimg/set-certificate; rm turn-key.pem turn-certificate.pem; /usr/lib/chatimg/certificate.d/coturn"
        )
        end = time.monotonic() + 30
        while shown() == before and time.monotonic() < end:
            time.sleep(0.5)
        assert shown() != before, "still the old one"
        one.send(peer, b"hello")
        assert one.receive(20) == (peer, b"HELLO")
        # The same call asks again: nothing of it was forgotten.
        one.ask(client.REFRESH, [])
        one.permit(peer[0])
    run("rm /var/lib/chatimg/tls/certificate.pem; systemctl reload nginx; /usr/lib/chatimg/certificate.d/coturn")
    end = time.monotonic() + 30
    while shown() != before and time.monotonic() < end:
        time.sleep(0.5)
    assert shown() == before, "not the one before"
    print("taken")


def answers():
    """What anybody is sent is hardly more than what he sent: no gain for who forges the sender. And no version."""
    with outside():
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.settimeout(2)

    def answer(kind, cookie=client.COOKIE, attributes=b""):
        one.sendto(struct.pack(">HHI", kind, len(attributes), cookie) + os.urandom(12) + attributes, (box(), 3478))
        try:
            return one.recv(2048)
        except TimeoutError:
            return b""

    assert len(answer(client.BINDING)) <= 44
    # As it was before RFC 5389.
    assert not answer(client.BINDING, cookie=0x01020304)
    first = answer(client.ALLOCATE, attributes=struct.pack(">HHI", client.TRANSPORT, 4, client.UDP << 24))
    assert 0 < len(first) <= 160, len(first)
    assert b"oturn" not in first
    print("short")


def silent():
    """The journal has neither the secret nor a password, no user's name, and nobody's address."""
    said = run("journalctl -b -u coturn -u coturn-addresses -o cat")
    kept = json.loads(KEPT.read_text())
    secret = Path("/var/lib/chatimg/turn/secret").read_text().strip()
    for what in (secret, kept["password"], kept["username"], "turn-alice", "greedy", CALLER):
        assert what not in said, what
    print("silent")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
