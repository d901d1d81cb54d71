"""Makes minisign's keys and signatures for tests, with openssl."""

import base64
import hashlib
import pathlib
import subprocess
import tempfile


class Key:
    def __init__(self, number=b"\1\2\3\4\5\6\7\x08"):
        self.number = number
        self.pem = openssl("genpkey", "-algorithm", "ed25519")
        self.raw = openssl("pkey", "-pubout", "-outform", "DER", stdin=self.pem)[-32:]

    @property
    def public(self):
        return base64.b64encode(b"Ed" + self.number + self.raw).decode()

    def raw_signature(self, message):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "key").write_bytes(self.pem)
            (folder / "message").write_bytes(message)
            return openssl("pkeyutl", "-sign", "-inkey", folder / "key", "-rawin", "-in", folder / "message")

    def sign(self, data, comment="timestamp:1", kind=b"ED"):
        signature = self.raw_signature(hashlib.blake2b(data).digest() if kind == b"ED" else data)
        total = self.raw_signature(signature + comment.encode())
        first = base64.b64encode(kind + self.number + signature).decode()
        return f"untrusted comment: x\n{first}\ntrusted comment: {comment}\n{base64.b64encode(total).decode()}\n"


def openssl(*arguments, stdin=b""):
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout
