"""Where certificates lie, each with its key in one file, and which one is used."""

from pathlib import Path

from chatimg_box import system
from chatimg_box.durable import sync

DIR = Path("/var/lib/chatimg/tls")
# Of the administrator, of an authority, the box's own: in this order.
GIVEN, ASKED, OWN = DIR / "certificate.pem", DIR / "acme.pem", DIR / "self-signed.pem"
LIB = Path("/usr/lib/chatimg")


def chosen() -> Path:
    """The one that services use, or will when they are told."""
    return Path(system.output(str(LIB / "choose-certificate")).strip() or OWN)


def announce() -> None:
    """Has services take up what is to be used now."""
    system.run(str(LIB / "announce-certificate"))


def remove_given() -> bool:
    """Removes the administrator's. False if there is none."""
    if not GIVEN.exists():
        return False
    GIVEN.unlink()
    sync(DIR)
    announce()
    return True
