"""proxied.py DOMAIN, on the box, as root: a network namespace is the world, in which one address is Cloudflare's proxy."""

import contextlib
import subprocess
import sys
import time

DOMAIN = sys.argv[1]
BOX = "198.51.100.1"
STRANGER = "198.51.100.8"
PROXY = "173.245.48.7"
PORTS = (80, 443, 2222)
wrong = []


def run(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def expect(what, so):
    print("good" if so else "BAD ", what, flush=True)
    if not so:
        wrong.append(what)


def until(what, so, seconds=90):
    end = time.monotonic() + seconds
    while not so() and time.monotonic() < end:
        time.sleep(1)
    expect(what, so())


@contextlib.contextmanager
def world():
    run("ip", "netns", "add", "world")
    try:
        for line in (
            "link add wire type veth peer name eth0 netns world",
            "-n world link set lo up",
            "link set wire up",
            "-n world link set eth0 up",
            f"address add {BOX}/24 dev wire",
            f"-n world address add {STRANGER}/24 dev eth0",
            f"-n world address add {PROXY}/32 dev eth0",
            f"route add {PROXY}/32 dev wire",
        ):
            run("ip", *line.split())
        yield
    finally:
        run("ip", "link", "delete", "wire", check=False)
        run("ip", "netns", "delete", "world", check=False)


TRY = """
import socket, sys
for port in sys.argv[3:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), 5, (sys.argv[2], 0)).close()
        print(port)
    except OSError:
        pass
"""


def reached(source):
    done = run("ip", "netns", "exec", "world", "python3", "-c", TRY, BOX, source, *map(str, PORTS))
    return [int(port) for port in done.split()]


def ask(path, client=None, data=None):
    """The status that somebody behind the proxy gets."""
    words = ["ip", "netns", "exec", "world", "curl", "--silent", "--insecure", "--max-time", "30", "--interface", PROXY]
    words += ["--resolve", f"{DOMAIN}:443:{BOX}", "--output", "/dev/null", "--write-out", "%{http_code}"]
    words += ["--header", f"CF-Connecting-IP: {client}"] if client else []
    words += ["--data", data] if data else []
    return run(*words, f"https://{DOMAIN}{path}", check=False)


def main():
    versions = "/_matrix/client/versions"
    with world():
        expect("a stranger reaches ssh alone, at its port", reached(STRANGER) == [2222])
        expect("a proxy reaches all", reached(PROXY) == list(PORTS))
        expect("whoever is behind it is answered", ask(versions, "203.0.113.9") == "200")
        until(
            "the log has that address",
            lambda: "203.0.113.9" in run("journalctl", "--boot", "--no-pager", "--identifier", "nginx", "--grep", "client/versions", check=False),
        )
        run("chatimg-admin", "ban", "add", "203.0.113.0/28", "--comment", "a test")
        try:
            until("who is banned is refused, though a proxy speaks for him", lambda: ask(versions, "203.0.113.9") == "403")
            expect("others are not", ask(versions, "203.0.113.77") == "200")
            refused = run("chatimg-admin", "ban", "add", PROXY, check=False)
            expect("a proxy is not banned", reached(PROXY) == list(PORTS) and refused == "")
        finally:
            run("chatimg-admin", "ban", "remove", "203.0.113.0/28")
        until("the ban is taken back", lambda: ask(versions, "203.0.113.9") == "200")
        body = '{"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "nobody"}, "password": "wrong"}'
        said = [ask("/_matrix/client/v3/login", "203.0.113.10", body) for _ in range(4)]
        expect(f"wrong passwords are refused ({' '.join(said)})", set(said) <= {"403", "429"})
        until("and then the address", lambda: ask(versions, "203.0.113.10") == "403")
        expect("not the proxy's, nor others behind it", ask(versions, "203.0.113.77") == "200")
        banned = run("fail2ban-client", "get", "chatimg-logins", "banip").split()
        expect(f"fail2ban has that one alone ({' '.join(banned)})", banned == ["203.0.113.10"])
        run("fail2ban-client", "unban", "--all")
        until("until it is let in again", lambda: ask(versions, "203.0.113.10") == "200")
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


sys.exit(main())
