"""chatimg-admin settings: see and change what differs from box to box."""

import getpass
import json
import os
import re
import signal
import sys
import tomllib

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from chatimg_host import change, check  # noqa: E402
from chatimg_host.files import LIMIT, Files, Refused, decode  # noqa: E402
from chatimg_host.values import Wrong, near, secret  # noqa: E402

SUMMARY = "see and change this box's name, network, keys and secrets"
PATIENCE = 120


def arguments(parser):
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    show = verbs.add_parser("show", help="all settings; of secrets only that they are set")
    show.add_argument("--json", action="store_true", help="as JSON")
    get = verbs.add_parser("get", help="one setting; a line for each value of a list")
    get.add_argument("key", metavar="KEY", help="such as network.addresses")
    put = verbs.add_parser("set", help="KEY VALUE..., or several KEY=VALUE[,VALUE...] at once")
    put.add_argument("words", nargs="+", metavar="KEY VALUE")
    unset = verbs.add_parser("unset", help="back to what the image has")
    unset.add_argument("key", metavar="KEY")
    hide = verbs.add_parser("secret", help="set a secret, read from the terminal or standard input")
    hide.add_argument("name", metavar="NAME", help=", ".join(check.SECRETS))
    hide.add_argument("--remove", action="store_true", help="remove it")
    load = verbs.add_parser("load", help="replace all settings; secrets that the file lacks stay")
    load.add_argument("file", metavar="FILE", help="host.toml, JSON or `chatimg host encode`; - is standard input")
    verbs.add_parser("confirm", help="keep a change of the network")
    verbs.add_parser("revert", help="take back a change of the network that is not confirmed yet")
    for verb in (put, unset, load):
        guard = verb.add_mutually_exclusive_group()
        guard.add_argument(
            "--confirm-within",
            type=seconds,
            default=PATIENCE,
            metavar="TIME",
            help="take a change of the network back unless it is confirmed in this time (default: 120 s)",
        )
        guard.add_argument("--no-confirm", action="store_true", help="keep it at once")


def seconds(text):
    found = re.fullmatch(r"([0-9]{1,5}) ?(s|min|)", text)
    count = int(found[1]) * (60 if found[2] == "min" else 1) if found else 0
    if not 10 <= count <= 86400:
        raise ValueError  # argparse says which option it is about.
    return count


def run(args):
    if os.geteuid() != 0:
        return fail("settings are root's", "run it with sudo")
    os.umask(0o022)
    # The connection may go with the network; what was begun is brought to its end.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    files = Files()
    try:
        return VERBS[args.verb](files, args)
    except Wrong as wrong:
        return fail(str(wrong), wrong.advice)
    except Refused as refused:
        return fail(str(refused), "make it anew with `chatimg host encode`")


def fail(message, advice):
    print(f"error: {message}\n  help: {advice}", file=sys.stderr)
    return 1


def show(files, args):
    settings = files.load_pending() or files.load()
    secrets = {name: "set" for name in files.secret_names()}
    everything = {**settings, "secrets": secrets} if secrets else settings
    if args.json:
        print(json.dumps(everything, sort_keys=True, indent=2))
        return 0
    for key, value in flat("", everything):
        print(f"{key} = {value}")
    if files.load_pending() is not None:
        print("the network waits for: chatimg-admin settings confirm", file=sys.stderr)
    return 0


def flat(path, value):
    """Key and value of everything below, a line each."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from flat(f"{path}.{key}" if path else key, value[key])
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, table in enumerate(value):
            yield from flat(f"{path}.{number}", table)
    else:
        yield path, " ".join(map(word, value)) if isinstance(value, list) else word(value)


def word(value):
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    return f'"{text}"' if " " in text else text


def get(files, args):
    names, _ = change.rule(args.key)
    if names[0] == "secrets":
        value = "set" if len(names) == 2 and names[1] in files.secret_names() else None
    else:
        value = files.load_pending() or files.load()
        for name in names:
            value = (value or {}).get(name)
    if value is None:
        return fail(f"{args.key} is not set", "the image's own holds; chatimg-admin settings set sets it")
    if isinstance(value, dict) or value and isinstance(value, list) and isinstance(value[0], dict):
        print(json.dumps(value, sort_keys=True, indent=2))
    else:
        for item in value if isinstance(value, list) else [value]:
            print(json.dumps(item) if isinstance(item, bool) else item)
    return 0


def put(files, args):
    first, *rest = args.words
    if "=" in first:
        pairs = [word.partition("=") for word in args.words]
        for key, found, _ in pairs:
            if not found:
                raise Wrong(f'"{key}" is no KEY=VALUE', "separate the values of a list by commas")
        pairs = [(key, value.split(",") if is_list(key) else [value]) for key, _, value in pairs]
    elif rest:
        pairs = [(first, rest)]
    else:
        raise Wrong(f"nothing is said to set {first} to", f"chatimg-admin settings set {first} VALUE")
    settings = files.load()
    for key, texts in pairs:
        settings = change.with_value(settings, key, change.typed(key, texts))
    return commit(files, settings, {}, args)


def is_list(key):
    return isinstance(change.rule(key)[1], list)


def unset(files, args):
    names, _ = change.rule(args.key)
    if names[0] == "secrets":
        advice = "chatimg-admin settings secret NAME --remove"
        raise Wrong("secrets are removed in another way", advice)
    return commit(files, change.with_value(files.load(), args.key, None), {}, args)


def hide(files, args):
    if args.name not in check.SECRETS:
        raise Wrong(f'there is no secret "{args.name}"', near(args.name, check.SECRETS))
    with files.lock():
        if args.remove:
            if args.name == "smtp-password" and "user" in files.load().get("mail", {}):
                raise Wrong("mail.user needs it", "chatimg-admin settings unset mail.user first")
            files.remove_secret(args.name)
            return 0
        if sys.stdin.isatty():
            text = getpass.getpass(f"{args.name}: ")
        else:
            text = sys.stdin.read(LIMIT).removesuffix("\n")
        files.set_secret(args.name, secret(args.name, text))
    return 0


def load(files, args):
    if args.file == "-":
        data = sys.stdin.buffer.read(LIMIT + 1)
    else:
        try:
            with open(args.file, "rb") as file:
                data = file.read(LIMIT + 1)
        except OSError as error:
            return fail(f"reading {args.file}: {error.strerror}", "name another file")
    settings = parsed(data)
    secrets = settings.pop("secrets", {})
    if not isinstance(secrets, dict):
        raise Wrong('"secrets" must be a table', "see docs/host.md")
    return commit(files, settings, secrets, args)


def parsed(data):
    """Settings in any of the three forms. What is wrong with their syntax is told without quoting them."""
    if len(data) > LIMIT:
        raise Wrong("this is larger than 1 MiB", "leave out some keys")
    if data.startswith(check.MAGIC):
        settings = decode(data)
    else:
        form, parse = ("JSON", json.loads) if data.lstrip()[:1] == b"{" else ("TOML", tomllib.loads)
        try:
            settings = parse(data.decode())
        except (ValueError, RecursionError):
            advice = "`chatimg host check` says where it is wrong, line by line"
            raise Wrong(f"this is not {form}", advice) from None
    if not isinstance(settings, dict):
        raise Wrong("settings are a table", "see docs/host.md")
    return settings


def commit(files, settings, secrets, args):
    with files.lock():
        if files.load_pending() is not None:
            advice = "chatimg-admin settings confirm, or chatimg-admin settings revert"
            raise Wrong("a change of the network waits to be confirmed", advice)
        patience = None if args.no_confirm else args.confirm_within
        problems, warnings, failures, guarded = change.commit(files, settings, secrets, patience)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    if problems:
        print("nothing was changed", file=sys.stderr)
    if guarded:
        print(f"the network changes back in {patience} s, unless: sudo chatimg-admin settings confirm")
    return 1 if problems or failures else 0


def confirm(files, _args):
    if not change.confirm(files):
        return fail("nothing waits to be confirmed", "chatimg-admin settings show")
    print("the network stays as it is")
    return 0


def revert(files, _args):
    failures = change.revert(files)
    change.stop_timer()
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


VERBS = {
    "show": show,
    "get": get,
    "set": put,
    "unset": unset,
    "secret": hide,
    "load": load,
    "confirm": confirm,
    "revert": revert,
}
