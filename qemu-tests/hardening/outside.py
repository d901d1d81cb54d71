"""On the box, as root: a network namespace behind a veth pair is the world outside. Bans and fail2ban are tried from there.

The box is left as it was found.
"""

import contextlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

BOX = {4: "198.51.100.1", 6: "2001:db8:5::1"}
BAD = {4: "198.51.100.7", 6: "2001:db8:5::7"}
GOOD = {4: "198.51.100.8", 6: "2001:db8:5::88"}
SSH, WEB = 22, 443
# Ports that something of the box may listen on, for itself alone.
INNER = [5432, 8008, 8448, 9000, 9090, 9093, 9100, 9187]
wrong = []


def run(*words, stdin="", check=True):
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done


def ip(*words):
    run("ip", *words)


def expect(what, so):
    print("good" if so else "BAD ", what, flush=True)
    if not so:
        wrong.append(what)


@contextlib.contextmanager
def world():
    ip("netns", "add", "world")
    try:
        ip("link", "add", "wire", "type", "veth", "peer", "name", "eth0", "netns", "world")
        ip("-n", "world", "link", "set", "lo", "up")
        ip("link", "set", "wire", "up")
        ip("-n", "world", "link", "set", "eth0", "up")
        ip("address", "add", f"{BOX[4]}/24", "dev", "wire")
        ip("-6", "address", "add", f"{BOX[6]}/64", "dev", "wire", "nodad")
        for who in (GOOD, BAD):
            ip("-n", "world", "address", "add", f"{who[4]}/24", "dev", "eth0")
            ip("-n", "world", "-6", "address", "add", f"{who[6]}/64", "dev", "eth0", "nodad")
        # Who is banned cannot even ask where the box is, and would keep his neighbour from asking.
        mac = Path("/sys/class/net/wire/address").read_text(encoding="ascii").strip()
        for address in BOX.values():
            ip("-n", "world", "neighbour", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "permanent")
        yield
    finally:
        run("ip", "link", "delete", "wire", check=False)
        run("ip", "netns", "delete", "world", check=False)


TRY = """
import socket, sys, concurrent.futures
def answers(port):
    try:
        socket.create_connection((sys.argv[1], int(port)), 5, (sys.argv[2], 0)).close()
        return True
    except OSError:
        return False
ports = sys.argv[3:]
with concurrent.futures.ThreadPoolExecutor(len(ports)) as pool:
    print(*[port for port, so in zip(ports, pool.map(answers, ports)) if so])
"""


def reached(version, source, *ports):
    """Which of these ports of the box answer."""
    done = run("ip", "netns", "exec", "world", "python3", "-c", TRY, BOX[version], source, *map(str, ports))
    return [int(port) for port in done.stdout.split()]


def login(version, source, user='"nobody"'):
    host = f"[{BOX[6]}]" if version == 6 else BOX[4]
    body = f'{{"type": "m.login.password", "identifier": {{"type": "m.id.user", "user": {user}}}, "password": "wrong"}}'
    words = ["curl", "--silent", "--insecure", "--max-time", "20", "--interface", source, "--output", "/dev/null"]
    words += ["--write-out", "%{http_code}", "--data", body, f"https://{host}/_matrix/client/v3/login"]
    return run("ip", "netns", "exec", "world", *words, check=False).stdout


def banned_by_fail2ban(jail):
    return set(run("fail2ban-client", "get", jail, "banip", check=False).stdout.split())


def guess(user, version, *prefix):
    """A login by ssh that fails: from outside, or by the box itself."""
    words = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=20", "-b"]
    words += [BAD[version] if prefix else BOX[version], "-o", "UserKnownHostsFile=/dev/null", f"{user}@{BOX[version]}", "true"]
    run(*prefix, *words, check=False)


def until(what, so, seconds=90):
    end = time.monotonic() + seconds
    while not so() and time.monotonic() < end:
        time.sleep(1)
    expect(what, so())


def ports_and_bans():
    for version in (4, 6):
        for who in (GOOD, BAD):
            expect(f"IPv{version}: {who[version]} gets in by ssh and the web", reached(version, who[version], SSH, WEB) == [SSH, WEB])
        expect(f"IPv{version}: inner ports are closed", reached(version, GOOD[version], *INNER) == [])
    words = ["import socket, sys; s = socket.create_connection((sys.argv[1], 22), 20, (sys.argv[2], 0)); s.recv(99); print(1)"]
    words += ["sys.stdout.flush(); sys.stdin.readline(); s.settimeout(8); s.sendall(b'SSH-2.0-x\\r\\n'); print(len(s.recv(99)))"]
    silent = ["import socket, sys, time; s = socket.create_connection((sys.argv[1], 443), 20, (sys.argv[2], 0)); start = time.monotonic()"]
    silent += ["s.settimeout(90); s.recv(1); print(round(time.monotonic() - start))"]
    silent = subprocess.Popen(
        ["ip", "netns", "exec", "world", "python3", "-c", "; ".join(silent), BOX[4], GOOD[4]], stdout=subprocess.PIPE, text=True
    )
    opened = subprocess.Popen(
        ["ip", "netns", "exec", "world", "python3", "-c", "; ".join(words), BOX[4], BAD[4]],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    expect("a connection is open", opened.stdout.readline() == "1\n")
    run("chatimg-admin", "ban", "add", BAD[4], f"{BAD[6]}-2001:db8:5::7f", "203.0.113.0/24", "--comment", "a test")
    expect("it hears nothing more once its address is banned", opened.communicate("\n")[0] == "")
    for _ in range(2):
        for version in (4, 6):
            expect(f"IPv{version}: who is banned gets nothing", reached(version, BAD[version], SSH, WEB) == [])
            expect(f"IPv{version}: who is not, all", reached(version, GOOD[version], SSH, WEB) == [SSH, WEB])
        run("systemctl", "reload", "nftables")
    seconds = silent.communicate()[0].strip()
    expect(f"who says nothing to the web server is let go ({seconds} s)", seconds.isdecimal() and int(seconds) <= 30)
    listed = json.loads(run("chatimg-admin", "ban", "list", "--json").stdout)["ranges"]
    expect("the list says so", {"range": BAD[4], "comment": "a test"} in listed)
    for text, why in ((BOX[4], "the box's own address"), ("0.0.0.0/0", "wider than a /8"), ("::1", "the box itself")):
        done = run("chatimg-admin", "ban", "add", text, check=False)
        expect(f"{text} cannot be banned", done.returncode == 1 and why in done.stderr)
    done = run("chatimg-admin", "ban", "load", "-", stdin="203.0.113.0/24\nnonsense\n", check=False)
    expect("of a wrong file nothing is taken", done.returncode == 1 and "standard input:2: " in done.stderr)
    expect("who was banned still is", reached(4, BAD[4], SSH) == [])
    run("chatimg-admin", "ban", "remove", BAD[4], f"{BAD[6]}-2001:db8:5::7f", "203.0.113.0/24")
    expect("and gets in when the ban is taken back", reached(4, BAD[4], SSH) + reached(6, BAD[6], SSH) == [SSH, SSH])


def fail2ban():
    # Somebody who writes a log line of his own has nobody banned by it.
    line = 'x\\nINFO synapse.access.http.8008 POST-1 9.9.9.9 - 8008 - {None} 0 403 \\"POST /_matrix/client/v3/login HTTP/1.1\\" '
    line += '\\nnginx[1]: 9.9.9.9 \\"POST /_matrix/client/v3/login HTTP/2.0\\" 403 1 \\"x\\"'
    said = [login(4, BAD[4], f'"{line}"')] + [login(4, BAD[4]) for _ in range(9)]
    expect(f"wrong passwords are refused ({' '.join(said)})", set(said) <= {"403", "429"})
    until("and then the address", lambda: BAD[4] in banned_by_fail2ban("chatimg-logins"))
    # The rules come a moment later.
    until("it gets nothing of the web, but ssh", lambda: reached(4, BAD[4], SSH, WEB) == [SSH])
    expect("another one does", reached(4, GOOD[4], WEB) == [WEB])
    expect("a line that somebody made up counts for nothing", "9.9.9.9" not in banned_by_fail2ban("chatimg-logins"))
    run("systemctl", "reload", "nftables")
    expect("the firewall's reload changes nothing", reached(4, BAD[4], WEB) == [])
    kept = run("fail2ban-client", "get", "sshd", "maxretry").stdout.strip()
    # Less than sshd's own penalties begin with.
    run("fail2ban-client", "set", "sshd", "maxretry", "2")
    for number in range(2):
        guess(f"guess{number}", 6, "ip", "netns", "exec", "world")
        guess(f"guess{number}", 4)
    until("who guesses users of ssh is kept out, too", lambda: BAD[6] in banned_by_fail2ban("sshd"))
    expect("who does so on the box is not", not {BOX[4]} & banned_by_fail2ban("sshd"))
    run("fail2ban-client", "set", "sshd", "maxretry", kept)
    until("of ssh", lambda: reached(6, BAD[6], SSH, WEB) == [WEB])
    run("fail2ban-client", "unban", BAD[4], BAD[6])
    expect("when the ban ends, he gets in", reached(4, BAD[4], WEB) + reached(6, BAD[6], SSH) == [WEB, SSH])
    run("fail2ban-client", "set", "chatimg-logins", "banip", GOOD[4])
    until("a ban holds", lambda: reached(4, GOOD[4], WEB) == [], 20)
    run("systemctl", "restart", "nftables")
    until("over a restart of the firewall, too", lambda: GOOD[4] in banned_by_fail2ban("chatimg-logins"))
    until("with its rules", lambda: reached(4, GOOD[4], WEB) == [], 60)
    run("fail2ban-client", "unban", GOOD[4])
    kept = run("fail2ban-client", "get", "chatimg-logins", "bantime").stdout.strip()
    run("fail2ban-client", "set", "chatimg-logins", "bantime", "5")
    run("fail2ban-client", "set", "chatimg-logins", "banip", GOOD[4])
    until("a ban ends by itself", lambda: reached(4, GOOD[4], WEB) == [WEB], 60)
    run("fail2ban-client", "set", "chatimg-logins", "bantime", kept)


def main():
    before = run("chatimg-admin", "ban", "list").stdout
    before = re.sub(r"^(\S+)  +(.*)$", r"\1 # \2", before, flags=re.M)
    try:
        with world():
            ports_and_bans()
            if run("systemctl", "is-active", "fail2ban", check=False).stdout.strip() == "active":
                fail2ban()
    finally:
        run("chatimg-admin", "ban", "load", "-", stdin=before, check=False)
        run("fail2ban-client", "unban", "--all", check=False)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


sys.exit(main())
