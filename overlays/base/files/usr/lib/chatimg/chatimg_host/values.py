"""What single values may be. Each check takes a text and returns it in its plain form, or raises Wrong."""

import base64
import binascii
import difflib
import ipaddress
import os
import re
import struct

ZONEINFO = "/usr/share/zoneinfo"
# The database's own files, and its link to what the box uses.
NO_ZONES = {"localtime", "posixrules", "leapseconds", "Factory"}
KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
COPY_KEY = "copy the whole line of the .pub file"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


class Wrong(Exception):
    """A value cannot be: why, and what to do. Neither quotes a secret."""

    def __init__(self, message, advice):
        super().__init__(message)
        self.advice = advice


def near(name, known):
    """Advice on a name that is none of the known ones."""
    found = difflib.get_close_matches(name, known, 1)
    return f'did you mean "{found[0]}"?' if found else "known: " + ", ".join(known)


def quoted(text):
    """The text as messages name it, unless it looks like a secret."""
    private = "PRIVATE KEY" in text or "AGE-SECRET-KEY" in text or is_owner_secret(text)
    scheme, found, rest = text.partition("://")
    return "this" if private or (found and "@" in rest) else f'"{text}"'


def is_dns_name(name):
    """RFC 1123, section 2.1."""
    labels = name.split(".")
    return (
        len(name) <= 253
        and all(re.fullmatch("[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", label) for label in labels)
        and not re.fullmatch("[0-9]+", labels[-1])
    )


def parsed_ip(text):
    """The address, or None; no scope (%eth0), no number."""
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        return None


def hostname(name):
    lower = "".join(c.lower() if c.isascii() else c for c in name)
    if name == "localhost" or name.startswith("localhost."):
        advice = 'every machine calls itself that; such as "chat1"'
    elif name != lower and is_dns_name(lower):
        advice = f'write it in lower case: "{lower}"'
    elif len(name) > 64:
        advice = "at most 64 characters"
    elif is_dns_name(name):
        return name
    else:
        advice = "lower-case letters, digits and dashes, in parts of up to 63 with a dot between"
    raise Wrong(f"{quoted(name)} cannot be a host's name", advice)


def is_zone(name):
    """Whether the box has this time zone."""
    part = "[A-Za-z0-9+_-]+"
    if name in NO_ZONES or not re.fullmatch(f"{part}(/{part})*", name):
        return False
    try:
        with open(os.path.join(ZONEINFO, name), "rb") as file:
            return file.read(4) == b"TZif"
    except OSError:
        return False


def timezone(name):
    if is_zone(name):
        return name
    advice = 'write a name of the time zone database, such as "Europe/Berlin" or "UTC"'
    raise Wrong(f"there is no time zone {quoted(name)}", advice)


def interface(name):
    special = name in ("", ".", "..", "lo", "all", "default")
    if special or not re.fullmatch("[A-Za-z0-9._-]{1,15}", name) or re.fullmatch("[0-9]+", name):
        advice = 'as `ip link` shows it, such as "eno1" or "enp3s0"'
        raise Wrong(f"{quoted(name)} cannot be the name of a network interface", advice)
    return name


def mac(text):
    pairs = re.fullmatch("[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", text)
    if not pairs or int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        advice = 'six pairs of hexadecimal digits, such as "52:54:00:12:34:56"'
        raise Wrong(f"{quoted(text)} is not an interface's MAC address", advice)
    return text.lower()


def ip(text):
    if parsed_ip(text) is None:
        advice = 'such as "192.0.2.1" or "2001:db8::1", without a prefix length'
        raise Wrong(f"{quoted(text)} is not an IP address", advice)
    return text


SPECIAL = [
    ipaddress.ip_network(network)
    for network in "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16 224.0.0.0/3".split()
]


def public_ip(text):
    """The address that the outside knows a box behind NAT by."""
    ip = parsed_ip(text)
    if ip is None or ip.version != 4:
        raise Wrong(f"{quoted(text)} is not an IPv4 address", 'the router\'s address on the internet, such as "192.0.2.1"')
    if any(ip in network for network in SPECIAL):
        advice = "the address that the internet knows your router by; one of 100.64.0.0/10 is shared, and cannot be reached"
        raise Wrong(f"{quoted(text)} is not a public address", advice)
    return text


def address(text):
    """An interface's address with its prefix length."""
    alone, _, prefix = text.partition("/")
    parsed = parsed_ip(alone)
    if parsed is None:
        advice = 'such as "192.0.2.10/24" or "2001:db8::10/64"'
        raise Wrong(f"{quoted(text)} is not an IP address", advice)
    size = parsed.max_prefixlen
    if not re.fullmatch("[0-9]{1,3}", prefix) or not 1 <= int(prefix) <= size:
        usual = 24 if parsed.version == 4 else 64
        advice = f'write how many of its {size} bits name the network: "{alone}/{usual}"'
        raise Wrong(f'"{text}" has no valid prefix length', advice)
    why = unusable(ipaddress.ip_interface(f"{alone}/{int(prefix)}"))
    if why:
        advice = f"{why}; write the box's own address in it"
        raise Wrong(f'"{text}" cannot be a box\'s address', advice)
    return text


def unusable(own):
    """What an interface cannot have, and why."""
    if own.ip.is_unspecified or own.ip.is_loopback or own.ip.is_multicast:
        return "it is a special address"
    if own.max_prefixlen - own.network.prefixlen < 2:
        return None
    if own.ip == own.network.network_address:
        return "it is the network itself"
    if own.version == 4 and own.ip == own.network.broadcast_address:
        return "it is the network's broadcast address"
    return None


def domain(text):
    if not is_dns_name(text):
        raise Wrong(f"{quoted(text)} is not a domain name", 'such as "example.org"')
    return text


def server(text):
    if not is_dns_name(text) and parsed_ip(text) is None:
        advice = 'write the name or the IP address alone, such as "smtp.example.org"'
        raise Wrong(f"{quoted(text)} is neither a DNS name nor an IP address", advice)
    return text


def mailbox(text):
    local, _, host = text.rpartition("@")
    atoms = re.fullmatch(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", local)
    if not atoms or len(local) > 64 or not is_dns_name(host):
        raise Wrong(f"{quoted(text)} is not a mail address", 'write the address alone: "me@example.org"')
    return text


def user(text):
    if not text or text.strip() != text or has_control(text) or not text.isascii():
        raise Wrong("this cannot be a user's name", "as the relay's operator gave it to you")
    return text


def tls(text):
    if text not in ("starttls", "tls"):
        raise Wrong(f"unknown kind of TLS {quoted(text)}", near(text, ["starttls", "tls"]))
    return text


def authority(text):
    """Where certificates come from: Let's Encrypt's two, or the address of another one's directory."""
    if text not in ("letsencrypt", "staging") and not (text.startswith("https://") and is_http(text)):
        advice = 'letsencrypt, staging, or the address of its directory: "https://..."'
        raise Wrong(f"{quoted(text)} is no authority", advice)
    return text


def challenge(text):
    known = ["http", "dns-cloudflare"]
    if text not in known:
        raise Wrong(f"unknown challenge {quoted(text)}", near(text, known))
    return text


def has_control(text):
    """C0, DEL and C1, as Unicode's category Cc has them."""
    return re.search("[\0-\x1f\x7f-\x9f]", text) is not None


def public_key(text):
    """A line of authorized_keys without options."""
    key = text.strip()
    if "PRIVATE KEY" in key:
        advice = "never write it anywhere; the public one is in the file ending in .pub"
        raise Wrong("this is a private key", advice)
    if has_control(key):
        raise Wrong("a public key is one line", "write every key as a text of its own")
    words = key.split() or [""]
    if words[0] not in KEY_TYPES:
        if any(word in KEY_TYPES for word in words):
            advice = "options of keys are not supported: begin with the key's type"
            raise Wrong("the public key does not begin with its type", advice)
        raise Wrong(f'"{words[0]}" is not a type of public keys', near(words[0], KEY_TYPES))
    if len(words) < 2:
        raise Wrong("nothing follows the public key's type", COPY_KEY)
    try:
        data = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or base64.b64encode(data).decode() != words[1]:
        raise Wrong("the public key is damaged: its base64 cannot be decoded", COPY_KEY)
    fields = key_fields(data)
    if not fields:
        raise Wrong("the public key is cut short", COPY_KEY)
    if fields[0] != words[0].encode():
        inner = fields[0].decode("utf-8", "replace")
        raise Wrong(f'the public key says "{words[0]}", but is of type "{inner}"', COPY_KEY)
    if len(fields) < 2:
        raise Wrong("the public key is cut short", COPY_KEY)
    return key


def key_fields(data):
    """Each field has its length before it (RFC 4253, section 6.6); None if one is cut."""
    fields = []
    while data:
        if len(data) < 4:
            return None
        length = struct.unpack(">I", data[:4])[0]
        if len(data) < 4 + length:
            return None
        fields.append(data[4 : 4 + length])
        data = data[4 + length :]
    return fields


def recipient(text):
    """age's X25519 recipient, in Bech32 (BIP 173)."""
    if "AGE-SECRET-KEY" in text.upper():
        advice = "keep it where backups are read; here belongs its public one: age-keygen -y FILE"
        raise Wrong("this is a secret key of age", advice)
    if not text.startswith("age1"):
        raise Wrong(f"{quoted(text)} is not a recipient of age", 'it begins with "age1"')
    values = [BECH32.find(c) for c in text[4:]]
    if len(values) != 58 or -1 in values or values[51] & 15 or bech32_checksum(values) != 1:
        advice = 'copy the whole line after "public key:" that age-keygen says'
        what = "it is damaged, or of another kind"
        raise Wrong(f"{quoted(text)} is not a recipient of age: {what}", advice)
    return text


def bech32_checksum(values):
    generator = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
    prefix = [ord(c) >> 5 for c in "age"] + [0] + [ord(c) & 31 for c in "age"]
    total = 1
    for value in prefix + values:
        top = total >> 25
        total = (total & 0x1FFFFFF) << 5 ^ value
        for bit, part in enumerate(generator):
            total ^= part if top >> bit & 1 else 0
    return total


def is_owner_secret(text):
    """Whether a secret key of minisign is in it, with or without a password."""
    return "RWRTY0Iy" in text or "RWQAAEIy" in text


def owner_key(text):
    """A public key of minisign: whose images the box takes."""
    if is_owner_secret(text):
        advice = "keep it where images are built; here belongs its public half: chatimg key show"
        raise Wrong("this is a secret key of minisign", advice)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    whole = len(data) == 42 and data[:2] == b"Ed" and base64.b64encode(data).decode() == text
    if not whole or not is_signing_point(data[10:]):
        advice = 'copy the line that `chatimg key show` says; it begins with "RW"'
        raise Wrong(f"{quoted(text)} is not a public key of minisign", advice)
    return text


def is_signing_point(data):
    """Whether it is a point of Ed25519's curve (RFC 8032, section 5.1.3), and not one of those few that anybody can
    sign for."""
    prime = 2**255 - 19
    d = -121665 * pow(121666, -1, prime)
    y = int.from_bytes(data, "little") % 2**255
    square = (y * y - 1) * pow(d * y * y + 1, -1, prime) % prime
    weak = y % prime in (0, 1, prime - 1) or (d * y**4 + 2 * y * y - 1) % prime == 0
    return pow(square, (prime - 1) // 2, prime) in (0, 1) and not weak


def secret(name, text):
    """A secret; messages say nothing of it."""
    if not text:
        raise Wrong(f'the secret "{name}" is empty', "leave it out if there is none")
    if has_control(text):
        what = "a secret is one line without control characters"
        raise Wrong(f'the secret "{name}" is more than one line', what)
    if text.strip() != text:
        raise Wrong(f'the secret "{name}" has white space at an end', "copy it without")
    if len(text) > 4096:
        raise Wrong(f'the secret "{name}" is too long', "at most 4096 characters")
    if name == "alerts-webhook" and not is_http(text):
        advice = "https://HOST/..., without user and password; http:// is for a server on the box itself"
        raise Wrong('the secret "alerts-webhook" is not an address that alerts can be sent to', advice)
    if name == "smtp-password" and not text.isascii():
        raise Wrong('the secret "smtp-password" is not ASCII', "mail servers take nothing else; choose another one")
    if name == "cloudflare-token" and not re.fullmatch("[A-Za-z0-9_-]{20,}", text):
        advice = "20 or more letters, digits, - and _"
        raise Wrong('the secret "cloudflare-token" is not an API token', advice)
    return text


def is_http(text):
    """https://HOST[:PORT][/...]; http for the box itself."""
    found = re.fullmatch("(https?)://([!-~]+)", text)
    if not found:
        return False
    authority = re.split("[/?#]", found[2])[0]
    bracket = re.fullmatch(r"\[([^\]]*)\](.*)", authority)
    host, port = bracket.groups() if bracket else re.fullmatch("([^:]*)(.*)", authority).groups()
    if port and not (re.fullmatch(":[0-9]+", port) and 0 < int(port[1:]) < 65536):
        return False
    if found[1] == "http" and host not in ("127.0.0.1", "localhost", "::1"):
        return False
    return is_dns_name(host) or parsed_ip(host) is not None
