"""Synapse, as root on the box asks it.

People are made with the secret that registers (keys/registration_shared_secret), so nobody has to be there before. All else is
Synapse's API for administrators, and asked in the name of the user chatimg-admin. That user is made when first needed, with a
password that nobody keeps: he never logs in, so no limit for logins holds him up and no session of his can be stolen. What
speaks for him is the application service in keys/admin_service.json, whose token Synapse takes from this machine only
(`ip_range_whitelist`; nginx says whom a request is from).
"""

import hashlib
import hmac
import http.client
import json
import secrets
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from chatimg_box.system import Trouble
from chatimg_box.text import plain

from . import names

SYNAPSE = "http://127.0.0.1:8008"
KEYS = Path("/var/lib/matrix-synapse/keys")
IMAGE = Path("/usr/lib/chatimg/image.json")
CONFIGURATION = Path("/etc/matrix-synapse/homeserver.yaml")
PATIENCE = 60
LARGEST = 16 << 20
PAGE = 500
NOT_WELL = "look at `sudo chatimg-admin status` and `journalctl -u matrix-synapse`"


class Taken(Exception):
    """There is a user of this name."""


class Synapse:
    """Tests have another server, and other folders."""

    def __init__(self, base: str = SYNAPSE, keys: Path = KEYS, image: Path = IMAGE, patience: int = PATIENCE) -> None:
        self.base, self.keys, self.patience = base, keys, patience
        self.domain: str = json.loads(image.read_text(encoding="utf-8"))["domain"]
        # Not by way of a proxy of the environment, whatever that says.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, method: str, path: str, body: dict | None = None, token: str = "") -> tuple[int, dict]:
        """Status and answer."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with self.opener.open(request, timeout=self.patience) as answer:
                return answer.status, _decoded(answer.read(LARGEST))
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _decoded(error.read(LARGEST))
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Trouble(f"Synapse does not answer ({reason}); {NOT_WELL}") from error

    def register(self, name: str, password: str, admin: bool = False, display_name: str | None = None) -> None:
        """Makes a user, who is logged in nowhere."""
        secret = self.secret("registration_shared_secret")
        status, answer = self.ask("GET", "/_synapse/admin/v1/register")
        nonce = answer.get("nonce")
        if status != 200 or not isinstance(nonce, str):
            raise refused("registering", status, answer)
        words = [nonce, name, password, "admin" if admin else "notadmin"]
        mac = hmac.new(secret.encode(), "\0".join(words).encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": name, "password": password, "admin": admin, "mac": mac, "inhibit_login": True}
        body |= {"displayname": display_name} if display_name is not None else {}
        status, answer = self.ask("POST", "/_synapse/admin/v1/register", body)
        if status == 400 and answer.get("errcode") == "M_USER_IN_USE":
            raise Taken(name)
        if status != 200:
            raise refused(f"making {names.full(name, self.domain)}", status, answer)

    def admin(self, what: str, method: str, path: str, body: dict | None = None, **query: str | int) -> dict | None:
        """Asks as an administrator; nothing if there is no such thing. `path` is what follows /_synapse/admin/."""
        status, answer = self._admin(method, path, body, query)
        if status == 403 and self._make_admin():
            status, answer = self._admin(method, path, body, query)
        if status == 404 and answer.get("errcode") == "M_NOT_FOUND":
            return None
        if status == 401:
            raise Trouble("Synapse does not know this box's own token; restart it: sudo systemctl restart matrix-synapse")
        if status == 403:
            raise Trouble(f"the box's own user {self.full(names.ADMIN)} is no administrator; docs/people.md says how to mend it")
        if status not in (200, 201):
            raise refused(what, status, answer)
        return answer

    def _admin(self, method: str, path: str, body: dict | None, query: dict) -> tuple[int, dict]:
        try:
            token = json.loads(self.secret("admin_service.json"))["as_token"]
        except (ValueError, KeyError, TypeError) as error:
            raise Trouble(f"{self.keys}/admin_service.json is damaged; remove it and restart the box") from error
        words = urllib.parse.urlencode(query | {"user_id": self.full(names.ADMIN)})
        return self.ask(method, f"/_synapse/admin/{path}?{words}", body, token)

    def _make_admin(self) -> bool:
        """False if there is one already."""
        try:
            self.register(names.ADMIN, secrets.token_hex(32), admin=True, display_name="The box itself")
        except Taken:
            return False
        return True

    def reserve(self) -> bool:
        """Makes the user who tries the server: nobody whom a token lets in takes that name. False if he is there already."""
        try:
            self.register(names.PROBE, self.secret("probe_password"))
        except Taken:
            return False
        return True

    def user(self, name: str) -> dict | None:
        return self.admin(f"looking for {self.full(name)}", "GET", f"v2/users/{self.quoted(name)}")

    def users(self) -> list[dict]:
        """All of them, by name."""
        found: list[dict] = []
        while True:
            # `user_id` says who asks, but this list also takes it for a pattern, unless `name` has one: %, everybody.
            query = {"name": "%", "from": len(found), "limit": PAGE, "deactivated": "true", "locked": "true"}
            answer = self.admin("listing users", "GET", "v2/users", **query) or {}
            page = answer.get("users")
            if not isinstance(page, list) or not page:
                break
            found += page
            if "next_token" not in answer:
                break
        if not any(one.get("name") == self.full(names.ADMIN) for one in found):
            raise Trouble(f"listing users: Synapse left out {self.full(names.ADMIN)}, who asked, so maybe others, too")
        return found

    def full(self, name: str) -> str:
        return names.full(name, self.domain)

    def quoted(self, name: str) -> str:
        return urllib.parse.quote(self.full(name), safe="")

    def secret(self, name: str) -> str:
        path = self.keys / name
        try:
            return path.read_text(encoding="ascii").strip()
        except OSError as error:
            advice = "chatimg-secrets.service makes it: restart the box"
            raise Trouble(f"{path} cannot be read: {error.strerror}; {advice}") from error


def refused(what: str, status: int, answer: dict) -> Trouble:
    """In Synapse's words."""
    words = " ".join(f"{answer.get('errcode', '')} {answer.get('error', '')}".split())
    return Trouble(f"{what}: Synapse says {status} {plain(words) or 'and nothing else'}; {NOT_WELL}")


def settings(path: Path = CONFIGURATION) -> dict[str, bool]:
    """Who may register, as Synapse's configuration has it."""
    wanted = ("enable_registration", "registration_requires_token", "allow_guest_access")
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    found = {key: value.strip() == "true" for key, colon, value in lines if colon}
    return {key: found.get(key, False) for key in wanted}


def _decoded(data: bytes) -> dict:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
