"""What settings may say as a whole. A settings table has the keys of host.toml."""

import ipaddress

from . import values
from .values import Wrong

MAGIC = b"CHATIMG-SETTINGS-1\n"
SECRETS = ("alerts-webhook", "cloudflare-token", "smtp-password")
INTERFACE = ("interface", "mac", "dhcp", "accept-ra", "addresses", "gateways")

# Every key: a check for a text, a list with one, or the type.
INTERFACE_KEYS = {
    "interface": values.interface,
    "mac": values.mac,
    "dhcp": "dhcp",
    "accept-ra": bool,
    "addresses": [values.address],
    "gateways": [values.ip],
}
SCHEMA = {
    "hostname": values.hostname,
    "timezone": lambda name: values.timezone(name),
    "network": {
        **INTERFACE_KEYS,
        "dns": [values.ip],
        "search": [values.domain],
        "ntp": [values.server],
        "interfaces": "interfaces",
    },
    "admin": {"authorized-keys": [values.public_key]},
    "alerts": {"mail-to": [values.mailbox]},
    "mail": {
        "host": values.server,
        "port": "port",
        "from": values.mailbox,
        "user": values.user,
        "tls": values.tls,
    },
    "acme": {
        "terms-agreed": bool,
        "email": values.mailbox,
        "server": values.authority,
        "challenge": values.challenge,
    },
    "calls": {"external-ip": values.public_ip},
    "backup": {"recipients": [values.recipient]},
    "update": {"keys": [values.owner_key]},
    "secrets": {name: "secret" for name in SECRETS},
}


class Problem:
    """Something wrong at a key."""

    def __init__(self, key, message, advice, unknown=False):
        """unknown: there is no such key, to this image."""
        self.key, self.message, self.advice, self.unknown = key, message, advice, unknown

    def __str__(self):
        return f"{self.key}: {self.message}\n  help: {self.advice}"


class Check:
    """Goes through settings. `problems` and `warnings` are what it found."""

    def __init__(self, has_password=False):
        """has_password: whether the box has an SMTP password already."""
        self.problems, self.warnings = [], []
        self.has_password = has_password

    def fail(self, key, message, advice, unknown=False):
        self.problems.append(Problem(key, message, advice, unknown))

    def settings(self, settings):
        """The settings in their plain form. Where there are problems, what it returns is not to be used."""
        if not isinstance(settings, dict):
            self.fail("settings", f"must be a table, not {kind(settings)}", "see docs/host.md")
            return {}
        plain = self.table("", SCHEMA, settings)
        if isinstance(settings.get("network"), dict):
            Network(self, plain.get("network", {})).check()
        self.mail(settings, plain)
        # An empty table says nothing.
        return {key: value for key, value in plain.items() if value != {}}

    def mail(self, settings, plain):
        mail = settings.get("mail")
        if plain.get("alerts", {}).get("mail-to") and mail is None:
            advice = "set mail.host and mail.from"
            self.fail("alerts.mail-to", "there is no [mail] to send this by", advice)
        if isinstance(mail, dict):
            for key in ("host", "from"):
                if key not in mail:
                    self.fail("mail", f'"{key}" is missing', f"set mail.{key}")
        password = self.has_password or "smtp-password" in plain.get("secrets", {})
        user = isinstance(mail, dict) and "user" in mail
        if user and plain.get("mail", {}).get("user") and not password:
            advice = "chatimg-admin settings secret smtp-password, or remove the user"
            self.fail("mail.user", "a user without a password", advice)
        if password and not user:
            advice = "set mail.user as well"
            self.warnings.append(Problem("secrets.smtp-password", "nothing uses this password", advice))

    def table(self, path, schema, table):
        plain = {}
        for key, value in table.items():
            name = f"{path}.{key}" if path else key
            if key not in schema:
                self.fail(name, f'unknown key "{key}"', values.near(key, list(schema)), unknown=True)
                continue
            try:
                plain[key] = self.value(name, key, schema[key], value)
            except Wrong as wrong:
                self.fail(name, str(wrong), wrong.advice)
        return plain

    def value(self, name, key, rule, value):
        if rule == "interfaces":
            return self.interfaces(name, key, value)
        if rule == "secret":
            if not isinstance(value, str):
                expected = 'a text or { file = "..." }'
                advice = "give a text; a file named in host.toml is read by `chatimg host encode`"
                raise Wrong(f'"{key}" must be {expected}, not {kind(value)}', advice)
            return values.secret(key, value)
        if isinstance(rule, dict):
            expect(key, value, dict, "a table", "set the keys below it")
            return self.table(name, rule, value)
        if isinstance(rule, list):
            expect(key, value, list, "a list of texts", "give a list, each in quotes")
            return [found for found in map(self.item(name, key, rule[0]), value) if found is not None]
        return scalar(key, rule, value)

    def item(self, name, key, rule):
        def check(value):
            try:
                return rule(text(f"an item of \"{key}\"", value))
            except Wrong as wrong:
                self.fail(name, str(wrong), wrong.advice)
                return None

        return check

    def interfaces(self, name, key, value):
        expect(key, value, list, "a list of tables", "give a list of tables")
        plain = []
        for number, table in enumerate(value):
            path = f"{name}.{number}"
            if not isinstance(table, dict):
                self.fail(path, f'"{key}" must be a table, not {kind(table)}', "give a list of tables")
                continue
            if "interface" not in table and "mac" not in table:
                advice = "set interface or mac"
                self.fail(path, "nothing says which interface this is", advice)
            plain.append(self.table(path, INTERFACE_KEYS, table))
        return plain


def kind(value):
    names = {str: "a text", bool: "true or false", int: "a number", float: "a decimal number"}
    names.update({list: "a list", dict: "a table"})
    return names.get(type(value), "a date")


def expect(key, value, wanted, what, advice):
    if type(value) is not wanted:
        raise Wrong(f'"{key}" must be {what}, not {kind(value)}', advice)


def text(what, value):
    if not isinstance(value, str):
        raise Wrong(f"{what} must be a text, not {kind(value)}", "put it in quotes")
    return value


def scalar(key, rule, value):
    if rule is bool:
        expect(key, value, bool, "true or false", "write true or false")
        return value
    if rule == "dhcp":
        if isinstance(value, str):
            if value not in ("ipv4", "ipv6"):
                advice = "write true, false, ipv4 or ipv6"
                raise Wrong('"dhcp" has a value that it cannot have', advice)
            return value
        return scalar(key, bool, value)
    if rule == "port":
        expect(key, value, int, "a number", "write a whole number, such as 587")
        if not 1 <= value <= 65535:
            side = "small" if value < 1 else "large"
            raise Wrong(f'"{key}" is too {side}', "allowed: 1 to 65535")
        return value
    return rule(text(f'"{key}"', value))


def families(interface):
    """Whether an interface asks for IPv4 and IPv6 addresses."""
    dhcp = interface.get("dhcp", not interface.get("addresses"))
    return dhcp in (True, "ipv4"), dhcp in (True, "ipv6")


class Network:
    """What the keys of [network] mean together."""

    def __init__(self, check, network):
        self.check_, self.network = check, network
        self.names, self.addresses, self.gateways = set(), set(), set()
        self.automatic = False

    def fail(self, path, message, advice):
        self.check_.fail(path, message, advice)

    def check(self):
        several = self.network.get("interfaces")
        if several:
            for key in INTERFACE:
                if key in self.network:
                    message = f'"{key}" belongs to one of [[network.interfaces]]'
                    self.fail(f"network.{key}", message, "move it below the one it is meant for")
            for number, interface in enumerate(several):
                self.interface(f"network.interfaces.{number}", interface)
        else:
            self.interface("network", self.network)
        if self.addresses and not self.automatic:
            self.warn()

    def warn(self):
        for key, message in (
            ("gateways", "there is no gateway: the box reaches its own network only"),
            ("dns", "there is no DNS server: the box can look up no names"),
        ):
            if not (self.gateways if key == "gateways" else self.network.get("dns")):
                problem = Problem("network", message, f"set network.{key}, unless that is meant")
                self.check_.warnings.append(problem)

    def interface(self, path, interface):
        if "interface" in interface and "mac" in interface:
            message = '"interface" says already which interface this is'
            self.fail(f"{path}.mac", message, "remove one of the two")
        for key in ("interface", "mac"):
            name = interface.get(key)
            if name in self.names:
                self.fail(f"{path}.{key}", f'"{name}" is there twice', "put all of it into one table")
            elif name is not None:
                self.names.add(name)
        own = [ipaddress.ip_interface(address) for address in interface.get("addresses", [])]
        ipv4, ipv6 = families(interface)
        for address in own:
            self.address(path, address, ipv4 if address.version == 4 else ipv6)
        self.reach(path, interface.get("gateways", []), own)
        if not own and not (ipv4 or ipv6 or interface.get("accept-ra")):
            message = '"dhcp" is off, and there are no addresses'
            self.fail(f"{path}.dhcp", message, "set addresses, or turn it on")
        self.automatic |= ipv4 or ipv6 or bool(interface.get("accept-ra"))

    def address(self, path, address, dhcp):
        if address.ip in self.addresses:
            message = f"the address {address.ip} is there twice"
            self.fail(f"{path}.addresses", message, "remove one of the two")
        self.addresses.add(address.ip)
        if dhcp:
            message = f'"dhcp" asks for the IPv{address.version} address already'
            other = "ipv6" if address.version == 4 else "ipv4"
            advice = f"remove the address, or set dhcp to false or {other}"
            self.fail(f"{path}.addresses", message, advice)

    def reach(self, path, gateways, own):
        key = f"{path}.gateways"
        for shown in gateways:
            gateway = ipaddress.ip_address(shown)
            family = f"IPv{gateway.version}"
            if family in self.gateways:
                advice = "one for each of IPv4 and IPv6, on the interface that leads out"
                self.fail(key, f'"{shown}" is a second {family} gateway', advice)
            elif any(address.ip == gateway for address in own):
                self.fail(key, f'"{shown}" is the box\'s own address', "write the router's address")
            elif not any(reaches(address, gateway) for address in own):
                advice = "it must be in the network of one of the addresses"
                self.fail(key, f'the gateway "{shown}" cannot be reached', advice)
            self.gateways.add(family)


def reaches(own, gateway):
    """A network of one address is what hosting providers give out: its gateway is on the link."""
    single = own.network.prefixlen == own.max_prefixlen
    link_local = gateway.version == 6 and gateway.is_link_local
    return own.version == gateway.version and (gateway in own.network or single or link_local)
