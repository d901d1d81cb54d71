"""people.py DOMAIN, on the box, as root: who gets in by token or as a guest, and what the homeserver's options make of rooms."""

import json
import subprocess
import sys
import urllib.parse
from pathlib import Path

DOMAIN = sys.argv[1]
wrong = []


def expect(what, so):
    print("good" if so else "BAD ", what, flush=True)
    if not so:
        wrong.append(what)


def run(*words, check=True, stdin=""):
    return subprocess.run(words, check=check, input=stdin, capture_output=True, text=True).stdout.strip()


def matrix(path, body=None, token=None, host=DOMAIN):
    """Status and answer of the homeserver, as clients get them through nginx."""
    words = ["curl", "--silent", "--insecure", "--max-time", "60", "--resolve", f"{host}:443:127.0.0.1"]
    words += ["--write-out", "\n%{http_code}"]
    words += ["--header", f"Authorization: Bearer {token}"] if token else []
    words += ["--data", json.dumps(body)] if body is not None else []
    text, status = run(*words, f"https://{host}{path}").rsplit("\n", 1)
    try:
        return int(status), json.loads(text)
    except ValueError:
        return int(status), text


def client(path, body=None, token=None):
    return matrix(f"/_matrix/client/v3/{path}", body, token)


def register(name, token=None):
    """Goes through the stages that Synapse names, as a client does."""
    account = {"username": name, "password": "correct horse battery"}
    status, answer = client("register", account)
    if token is None or status != 401:
        return status, answer
    auth = {"type": "m.login.registration_token", "token": token, "session": answer["session"]}
    status, answer = client("register", account | {"auth": auth})
    if status == 401 and "m.login.registration_token" in answer.get("completed", []):
        auth = {"type": "m.login.dummy", "session": answer["session"]}
        status, answer = client("register", account | {"auth": auth})
    return status, answer


def tokens():
    token = run("chatimg-admin", "registration", "token", "create", "--uses", "1")
    status, answer = register("nobody")
    flows = [flow["stages"] for flow in answer.get("flows", [])]
    expect("without a token there is no way in", status == 401 and all("m.login.registration_token" in flow for flow in flows))
    expect("nor with a wrong one", register("nobody", "aaaa-bbbb-cccc-dddd-eeee")[0] == 401)
    status, answer = register("tom", token)
    expect(f"with one there is ({status})", status == 200 and answer["user_id"] == f"@tom:{DOMAIN}")
    expect("but once", register("tim", token)[0] == 401)
    expect("as the list says", "1 of 1 used" in run("chatimg-admin", "registration", "token", "list"))
    expect("a new user is no administrator", matrix("/_synapse/admin/v1/server_version", token=answer["access_token"])[0] == 404)
    return answer["access_token"]


def guests(token):
    status, guest = client("register?kind=guest", {})
    expect("guests are let in", status == 200)
    guest = guest["access_token"]
    expect("and make no rooms", client("createRoom", {}, guest)[0] == 403)
    _, room = client("createRoom", {"preset": "public_chat"}, token)
    join = "join/" + urllib.parse.quote(room["room_id"])
    expect("nor enter those that let no guests in", client(join, {}, guest)[0] == 403)


def rooms(token):
    for preset in ("private_chat", "public_chat"):
        _, room = client("createRoom", {"preset": preset}, token)
        status, state = client(f"rooms/{urllib.parse.quote(room['room_id'])}/state/m.room.encryption", token=token)
        expect(f"a room is encrypted though nobody asked for it ({preset})", status == 200 and state["algorithm"].startswith("m.megolm"))


def others(token):
    page = "/_matrix/client/v1/media/preview_url?url=" + urllib.parse.quote("http://127.0.0.1:8008/", safe="")
    status, answer = matrix(page, token=token)
    expect("pages are previewed, the box's own are not", status == 403 and "IP address blocked" in answer["error"])
    expect("other servers get no answer", matrix("/_matrix/federation/v1/version")[0] == 404)
    status, answer = client(f"presence/{urllib.parse.quote(f'@tom:{DOMAIN}')}/status", token=token)
    expect("who is online is not told", answer.get("presence", "offline") == "offline")
    page = matrix("/", host=f"talk.{DOMAIN}")[1]
    expect("the web client has its title", "<title>Räder und Töpfe</title>" in page)
    head = run("curl", "--silent", "--insecure", "--head", "--resolve", f"{DOMAIN}:443:127.0.0.1", f"https://{DOMAIN}/")
    expect("browsers are not bound to HTTPS", head.startswith("HTTP/") and "strict-transport-security" not in head.lower())
    main = run("systemctl", "show", "--property", "MainPID", "--value", "matrix-synapse")
    expect("Synapse has its usual allocator", "jemalloc" not in Path(f"/proc/{main}/maps").read_text(encoding="utf-8"))
    for port, word in ((9009, "synapse_"), (9101, "node_")):
        metrics = run("curl", "--silent", f"http://127.0.0.1:{port}/metrics")
        expect(f"metrics are at port {port}", word in metrics)


def main():
    token = tokens()
    guests(token)
    rooms(token)
    others(token)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


sys.exit(main())
