"""Which images the box takes."""

import base64
import json
import unittest

from fakebox import ID_A, ID_B, IMAGE, MIB, FakeBox
from minisign import Key

from chatimg_host import check
from chatimg_update import verify
from chatimg_update.verify import Refused

KEY, FOREIGN = Key(), Key()
GOOD = IMAGE | {"id": ID_B, "root": {"sha256": "5" * 64, "size": MIB}}


def wire(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


class Signatures(unittest.TestCase):
    def refused(self, words, data, signature, keys=(KEY.public,)):
        with self.assertRaisesRegex(Refused, words):
            verify.signed(data, signature, keys)

    def test_one_of_the_keys_signed_it(self):
        other = Key(b"8" * 8)
        self.assertEqual(verify.signed(b"x", KEY.sign(b"x", "hello"), [other.public, KEY.public]), "hello")
        self.assertEqual(verify.signed(b"x", KEY.sign(b"x").replace("\n", "\r\n"), [KEY.public]), "timestamp:1")

    def test_a_signature_of_minisign_itself(self):
        # From the documentation of the crate minisign-verify.
        key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
        signature = (
            "untrusted comment: signature from minisign secret key\n"
            "RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n"
            "trusted comment: timestamp:1556193335\tfile:test\n"
            "y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==\n"
        )
        self.assertEqual(verify.signed(b"test", signature, [key]), "timestamp:1556193335\tfile:test")
        self.refused("wrong", b"Test", signature, [key])

    def test_anything_else_is_refused(self):
        good = KEY.sign(b"x")
        self.refused("wrong", b"y", good)
        self.refused("does not trust", b"x", good, [Key(b"8" * 8).public])
        # Another key of the same number.
        self.refused("wrong", b"x", FOREIGN.sign(b"x"))
        self.refused("old kind", b"x", KEY.sign(b"x", kind=b"Ed"))
        self.refused("trusts no key", b"x", good, [])
        self.refused("trusts no key", b"x", good, ["nonsense", "RWQ="])
        # The comment is signed, too.
        self.refused("wrong", b"x", good.replace("timestamp:1", "timestamp:2"))
        lines = good.splitlines()
        for text, words in [
            ("", "none of minisign's"),
            ("\n".join(lines[:3]), "none of minisign's"),
            ("\n".join([*lines, "more"]), "damaged"),
            ("\n".join([lines[0], "!!!", *lines[2:]]), "damaged"),
            ("\n".join([lines[0], lines[1][:-8], *lines[2:]]), "damaged"),
        ]:
            self.refused(words, b"x", text)

    def test_every_bit_of_a_signature_matters(self):
        lines = KEY.sign(b"x").splitlines()
        for line in (1, 3):
            raw = bytearray(base64.b64decode(lines[line]))
            for at in (0, 1, 2, 9, 10, 41, len(raw) - 1):
                raw[min(at, len(raw) - 1)] ^= 1
                changed = [*lines]
                changed[line] = base64.b64encode(raw).decode()
                with self.assertRaises(Refused):
                    verify.signed(b"x", "\n".join(changed), [KEY.public])
                raw[min(at, len(raw) - 1)] ^= 1


class Descriptions(FakeBox):
    def setUp(self):
        super().setUp()
        self.write(verify.SETTINGS, json.dumps({"update": {"keys": [KEY.public]}}))

    def judge(self, value, older=False, capacity=MIB):
        data = value if isinstance(value, bytes) else wire(value)
        return verify.fitting(self.box, data, KEY.sign(data), capacity, older)

    def test_a_good_one_is_taken(self):
        found = self.judge(GOOD)
        self.assertEqual((found.id, found.size, found.sha256, found.epoch), (ID_B, MIB, "5" * 64, 1000))
        self.assertEqual(self.judge(GOOD | {"epoch": 999}, older=True).epoch, 999)

    def test_what_is_for_another_box_or_older_is_refused(self):
        for change, words in [
            ({"appliance": "other"}, "for the appliance"),
            ({"raid": "mirror"}, "raid"),
            ({"root": {"sha256": "5" * 64, "size": MIB + 4096}}, "slot takes"),
            ({"id": ID_A}, "runs already"),
            ({"epoch": 999}, "older"),
            ({"formats": {"matrix-synapse": ["1.97.1", "1.90"]}}, "too old"),
        ]:
            with self.assertRaisesRegex(Refused, words):
                self.judge(GOOD | change)

    def test_a_wrong_description_is_refused_whoever_signed_it(self):
        root = GOOD["root"]
        bad = [{"schema": 2}, {"schema": True}, {"more": 1}, {"id": "A" * 16}, {"id": "a" * 15}, {"id": ID_B + "\n"},
               {"id": 7}, {"root": []}, {"root": root | {"size": 0}}, {"root": root | {"size": -4096}},
               {"root": root | {"size": 4097}}, {"root": root | {"size": 4096.0}}, {"root": root | {"size": True}},
               {"root": root | {"sha256": "5" * 63}}, {"root": root | {"x": 1}}, {"epoch": "1"}, {"epoch": -1},
               {"formats": []}, {"formats": {"a": ["1"]}}, {"formats": {"a": ["x", "1"]}}, {"formats": {"a b": ["1", "1"]}},
               {"appliance": 1}, {"raid": None}]
        for change in bad:
            with self.assertRaisesRegex(Refused, "description is wrong"):
                self.judge(GOOD | change)
        for data in (b"", b"[]", b"nonsense", b"\xff", b"{}", b" " * 70000, b"[" * 60000):
            with self.assertRaisesRegex(Refused, "description is wrong"):
                self.judge(data)

    def test_the_signature_comes_first(self):
        with self.assertRaisesRegex(Refused, "signature"):
            verify.fitting(self.box, b"nonsense", KEY.sign(b"other"), MIB, False)

    def test_without_keys_nothing_is_taken(self):
        for settings in ({}, {"update": {}}, {"update": {"keys": []}}, {"update": {"keys": "RW"}}, {"update": 1}):
            self.write(verify.SETTINGS, json.dumps(settings))
            with self.assertRaisesRegex(Refused, "trusts no key"):
                self.judge(GOOD)


class Settings(unittest.TestCase):
    def test_keys_are_set_like_all_else(self):
        found = check.Check()
        self.assertEqual(found.settings({"update": {"keys": [KEY.public]}}), {"update": {"keys": [KEY.public]}})
        self.assertEqual(found.problems, [])
        for wrong in ("", "RW", KEY.public[:-4], "A" * 56, "RW" + "!" * 54):
            found = check.Check()
            found.settings({"update": {"keys": [wrong]}})
            self.assertIn("is not a public key of minisign", str(found.problems[0]))


class Versions(unittest.TestCase):
    def test_they_compare_by_number(self):
        order = ["1.9", "1.98", "1.98.1", "1.142.0rc1", "1.142.0", "1.142.0-1", "1.142.1", "2.0", "17.6-0+deb13u1", "1:1.0"]
        for before, after in zip(order, order[1:], strict=False):
            self.assertLess(verify.version(before), verify.version(after), (before, after))
        self.assertEqual(verify.version("1.98"), verify.version("1.98.0"))
        for bad in ("", "x", "-1", "1" * 40, ".1"):
            self.assertIsNone(verify.version(bad), bad)

    def test_an_older_program_reads_what_it_is_said_to(self):
        written = {"matrix-synapse": ("1.142.0", "1.98"), "new": ("1", "1")}
        self.assertEqual(verify.cannot_read({"matrix-synapse": ("1.98.0", "1.90")}, written), [])
        (why,) = verify.cannot_read({"matrix-synapse": ("1.97", "1.90")}, written)
        self.assertIn("matrix-synapse 1.97", why)


if __name__ == "__main__":
    unittest.main()
