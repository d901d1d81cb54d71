"""`chatimg-admin alerts`: the alerts that did not go out yet; a test of the ways they go."""

import argparse
import time

from chatimg_box.system import Trouble
from chatimg_watch import deliver
from chatimg_watch.spool import Alert, Spool

SUMMARY = "show the alerts that wait, drop them, or send one as a test"


def arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--test", action="store_true", help="send a test alert now, and say how it went")
    what.add_argument("--clear", action="store_true", help="drop all that wait")


def run(args: argparse.Namespace) -> int:
    if args.test:
        return test()
    spool = Spool()
    for name in spool.names():
        alert = spool.read(name)
        if alert is None:
            continue
        if args.clear:
            spool.remove(name)
            print(f"dropped: {alert.subject}")
            continue
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(alert.time))
        print(f"{when}  {alert.subject}\n  " + alert.body.replace("\n", "\n  "))
        if alert.trouble:
            print(f"  not sent after {alert.tries} tries: {alert.trouble}")
    return 0


def test() -> int:
    ways = deliver.load()
    for fault in ways.faults:
        print(fault)
    if not ways.names:
        raise Trouble("no way is set: neither a webhook nor alerts.mail-to (chatimg-admin settings)")
    alert = Alert("a test", "Alerts of this box reach you. Nothing needs to be done.", "test", "info", time.time())
    bad = 0
    for way in ways.names:
        try:
            deliver.send(way, ways, alert)
            print(f"{way}: sent")
        except deliver.NotSent as trouble:
            bad = 1
            print(f"not sent: {trouble}")
    return bad
