"""A box in a folder, for `--rsh`: python3 box.py FOLDER HOST COMMAND. What it is like stands in FOLDER/box.json:

    id, appliance, raid, keys    of the running image; the public keys it trusts
    fails                        the reason why a trial fails, if it does
    away                         how many commands get no connection after a restart
    cut                          the connection breaks after so many data messages
    silent                       the switch is not answered, as when the restart is faster

running.img and slot.img are its slots. An independent reading of docs/update.md: it shares no code with chatimg, and checks
signatures with openssl.
"""

import base64
import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

BLOCK = 4096
DER = bytes.fromhex("302a300506032b6570032100")


class Box:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.state = json.loads((self.folder / "box.json").read_text())

    def save(self):
        (self.folder / "box.json").write_text(json.dumps(self.state))

    def note(self, event, **about):
        line = {"time": int(time.time()), "event": event, **about}
        with (self.folder / "history.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def run(self, command):
        if self.state.get("down", 0) > 0:
            self.state["down"] -= 1
            if not self.state["down"]:
                self.started()
            self.save()
            return self.say(255, "ssh: connect to host box port 22: Connection refused")
        words = command.removeprefix("sudo -n ").split()
        if words == ["/usr/lib/chatimg/receive"]:
            return Receiver(self).run()
        if words == ["chatimg-admin", "history", "--json"]:
            history = self.folder / "history.jsonl"
            lines = history.read_text().splitlines() if history.exists() else []
            print(json.dumps([json.loads(line) for line in lines], indent=2))
            return 0
        if command.endswith(" && sudo -n chatimg-admin update confirm"):
            runs = command.split()[2].removeprefix("chatimg.id=")
            return self.confirm(runs)
        if words == ["chatimg-admin", "status"]:
            print("all is well, but for one disk")
            return 1
        if words[:2] == ["chatimg-admin", "rollback"]:
            self.state["trial"] = {"to": "0" * 16, "guard": "login", "kind": words[2:]}
            self.restart()
            return 255
        if words == ["cat", "/proc/cmdline"]:
            print(f"BOOT_IMAGE=x chatimg.slot=a chatimg.id={self.state['id']} ro")
            return 0
        if command.startswith("sudo -n sh -c '\necho \"@image\"; cat /usr/lib/chatimg/image.json\n"):
            print('@image\n{"formats": {"matrix-synapse": ["1.99.0", "1.83"]}}\n@debs\n@wheels')
            print("/opt/synapse/lib/python3.13/site-packages/matrix_synapse-1.99.0.dist-info")
            print("@links\n@files")
            return 0
        return self.say(127, f"sh: {command}: not found")

    @staticmethod
    def say(code, words):
        print(words, file=sys.stderr)
        return code

    def restart(self):
        self.note("switched", **{"from": self.state["id"], "to": self.state["trial"]["to"]})
        self.state["down"] = self.state.get("away", 2)
        self.save()

    def started(self):
        """The trial begins, and ends at once if the image is bad or nobody has to confirm it."""
        trial = self.state["trial"]
        if self.state.get("fails"):
            self.note("failed", **{"from": self.state["id"], "to": trial["to"], "reason": self.state["fails"]})
            del self.state["trial"]
        elif trial["guard"] == "gate":
            self.commit()

    def commit(self):
        trial = self.state.pop("trial")
        event = "rolled-back" if "kind" in trial else "committed"
        self.note(event, **{"from": self.state["id"], "to": trial["to"], "down": 74})
        self.state["id"] = trial["to"]

    def confirm(self, image):
        trial = self.state.get("trial")
        if not trial or trial["to"] != image:
            return 1  # It does not run: grep says nothing.
        self.commit()
        self.save()
        return 0


class Wrong(Exception):
    pass


def digest(data):
    return hashlib.blake2b(data, digest_size=16).digest()


def blocks(path):
    data = path.read_bytes() if path.exists() else b""
    return [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]


def verified(data, signature, keys):
    lines = signature.split("\n")
    first, second = base64.b64decode(lines[1]), base64.b64decode(lines[3])
    comment = lines[2].removeprefix("trusted comment: ").encode()
    assert first[:2] == b"ED" and lines[4:] == [""]
    known = {key[2:10]: key[10:] for key in map(base64.b64decode, keys)}
    key = known.get(first[2:10])
    prehashed = hashlib.blake2b(data).digest()
    return key and openssl(key, first[10:], prehashed) and openssl(key, second, first[10:] + comment)


def openssl(key, signature, message):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "key").write_bytes(DER + key)
        (folder / "signature").write_bytes(signature)
        (folder / "message").write_bytes(message)
        command = "openssl pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in message -sigfile signature"
        return not subprocess.run(command.split(), cwd=name, stdout=subprocess.DEVNULL).returncode


class Receiver:
    def __init__(self, box):
        self.box, self.input, self.output = box, sys.stdin.buffer, sys.stdout.buffer

    def send(self, message, payload=b""):
        if payload:
            message["payload"] = len(payload)
        self.output.write(json.dumps(message).encode() + b"\n" + payload)
        self.output.flush()

    def receive(self, *expected):
        line = self.input.readline()
        if not line:
            raise EOFError
        assert len(line) <= 65536
        message = json.loads(line)
        if message["op"] not in expected:
            raise Wrong(f"{message['op']} comes at the wrong time")
        payload = self.input.read(message.get("payload", 0))
        assert len(payload) == message.get("payload", 0)
        return message, payload

    def run(self):
        try:
            self.update()
        except EOFError:
            return 0
        except Wrong as wrong:
            self.send({"error": str(wrong), "help": "do it right"})
            return 1
        return 0

    def unpack(self, like, stream):
        with tempfile.NamedTemporaryFile() as file:
            file.write(like)
            file.flush()
            command = ["zstd", "-d", "-q", "-c"] + ([f"--patch-from={file.name}"] if like else [])
            return subprocess.run(command, input=stream, capture_output=True, check=True).stdout

    def update(self):
        box = self.box
        hello, data = self.receive("hello")
        if not verified(data, hello["signature"], box.state["keys"]):
            raise Wrong("the image was signed by a key that this box does not trust")
        new = json.loads(data)
        assert data == json.dumps(new, sort_keys=True, separators=(",", ":")).encode()
        if new["appliance"] != box.state["appliance"]:
            raise Wrong(f"the image is for {new['appliance']}")
        self.send({"ok": True, "running": box.state["id"], "slot": "b", "warning": "one disk is missing"})
        _, pieces = self.receive("pieces")
        here = {digest(block): block for name in ("running", "slot") for block in blocks(box.folder / f"{name}.img")}
        here[digest(bytes(BLOCK))] = bytes(BLOCK)
        order = [digest(block) for block in blocks(box.folder / "running.img")]
        wanted, lacking, total = [], [], 0
        bits = bytearray((len(pieces) // 18 + 7) // 8)
        # This box knows no pieces: all are lacking, but those that are the beginning of what runs.
        for number, (count, name) in enumerate(struct.iter_unpack("<H16s", pieces)):
            assert 1 <= count <= 1024
            same = order[total : total + count]
            if len(same) == count and digest(b"".join(same)) == name:
                wanted.append(same)
            else:
                bits[number // 8] |= 1 << number % 8
                wanted.append(None)
                lacking.append((number, count, name))
            total += count
        assert total * BLOCK == new["root"]["size"]
        self.send({"ok": True}, bytes(bits))
        _, hashes = self.receive("blocks")
        missing, at = [], 0
        bits = bytearray((len(hashes) // 16 + 7) // 8)
        for number, count, name in lacking:
            told = hashes[at * 16 : (at + count) * 16]
            assert digest(told) == name
            wanted[number] = [told[i : i + 16] for i in range(0, len(told), 16)]
            for one in wanted[number]:
                if one not in here and one not in missing:
                    bits[at // 8] |= 1 << at % 8
                    missing.append(one)
                at += 1
        assert at * 16 == len(hashes)
        kept = {one for piece in wanted for one in piece}
        gone = [block for block in blocks(box.folder / "running.img") if digest(block) not in kept]
        answer = {"ok": True, "gone": digest(b"".join(map(digest, gone))).hex()}
        if hello["dry-run"]:
            answer["space"] = [{"place": "/state", "needed": 10000, "free": 5000, "files": 7, "inodes": 9}]
        self.send(answer, bytes(bits))
        if hello["dry-run"]:
            return
        streams, count = [], 0
        while True:
            message, data = self.receive("data", "end")
            if message["op"] == "end":
                break
            assert len(data) <= 1 << 20
            if "like" in message:
                first, many = message["like"]
                assert 0 <= first <= first + many <= len(gone) and many <= 8192
                streams.append([b"".join(gone[first : first + many]), b""])
            streams[-1][1] += data
            count += 1
            if count == box.state.get("cut"):
                del box.state["cut"]
                box.save()
                print("Connection reset by peer", file=sys.stderr)
                sys.exit(255)
        plain = b"".join(self.unpack(*stream) for stream in streams)
        assert len(plain) == len(missing) * BLOCK
        for number, name in enumerate(missing):
            here[name] = plain[number * BLOCK : (number + 1) * BLOCK]
            assert digest(here[name]) == name
        image = b"".join(here[one] for piece in wanted for one in piece)
        self.send({"progress": 1, "total": len(image)})
        if hashlib.sha256(image).hexdigest() != new["root"]["sha256"]:
            raise Wrong("the root image has another digest than its description says")
        (box.folder / "slot.img").write_bytes(image)
        self.send({"ok": True, "received": sum(len(stream) for _, stream in streams)})
        switch, _ = self.receive("switch")
        (box.folder / "switch.json").write_text(json.dumps(switch))
        if switch["at"]:
            self.send({"ok": True, "down": False, "at": switch["at"]})
            return
        box.state["trial"] = {"to": new["id"], "guard": switch["guard"]}
        box.restart()
        if not box.state.get("silent"):
            self.send({"ok": True, "down": True})


if __name__ == "__main__":
    folder, host, command = sys.argv[1:]
    assert host == "box.example", host
    sys.exit(Box(folder).run(command))
