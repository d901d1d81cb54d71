"""What the image and this box's settings say. Root puts it together; the user certs reads it from /run."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

IMAGE = Path("/etc/chatimg/acme.json")
RUN = Path("/run/chatimg-acme")
SERVERS = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}


@dataclass(frozen=True)
class Settings:
    """What is wanted."""

    names: tuple[str, ...]
    agreed: bool
    email: str
    server: str
    challenge: str
    # SHA-256 of the token; empty if there is none.
    token: str
    # Until when the administrator's own certificate is good; 0 if there is none.
    own_until: float
    # Told by hand: what was refused before is asked for again.
    now: bool

    @property
    def url(self) -> str:
        return SERVERS.get(self.server, self.server)

    def fingerprint(self) -> str:
        """Another one means that what failed before may go well now."""
        told = [self.names, self.email, self.server, self.challenge, self.token]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def missing(self) -> str:
        """What the administrator has to do before anything can be asked for."""
        if not self.agreed:
            return "you have not agreed to the authority's terms"
        if self.challenge == "dns-cloudflare" and not self.token:
            return "the secret cloudflare-token is not set"
        return ""


def put_together(image: dict, host: dict, token: str, own_until: float, now: bool) -> Settings:
    """The box's settings come before the image's."""
    acme = host.get("acme", {})
    both = {**image, **acme}
    names = [name for name in image["names"] if name not in image["without"]] + image["more"]
    return Settings(
        names=tuple(dict.fromkeys(names)),
        agreed=both["terms-agreed"],
        email=both["email"],
        server=both["server"],
        challenge=both["challenge"],
        token=hashlib.sha256(token.encode()).hexdigest() if token else "",
        own_until=own_until,
        now=now,
    )


def encode(settings: Settings) -> bytes:
    return json.dumps(asdict(settings)).encode()


def read(path: Path = RUN / "settings.json") -> Settings:
    found = json.loads(path.read_bytes())
    return Settings(**{**found, "names": tuple(found["names"])})
