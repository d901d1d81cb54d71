"""The box judges host settings as chatimg does: the samples of tests/host/."""

import json
import pathlib
import re
import sys
import tomllib
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "overlays/base/files/usr/lib/chatimg"))

from chatimg_host import check, values  # noqa: E402

SAMPLES = ROOT / "tests/host"
ZONES = set((ROOT / "src/host/timezones.txt").read_text().splitlines())


def samples(folder):
    for path in sorted((SAMPLES / folder).glob("*.toml")):
        text = path.read_text()
        if not text.startswith("# file"):
            yield path, text


def judge(settings):
    found = check.Check()
    return found.settings(settings), found


class Samples(unittest.TestCase):
    def setUp(self):
        self.is_zone, values.is_zone = values.is_zone, ZONES.__contains__

    def tearDown(self):
        values.is_zone = self.is_zone

    def test_what_is_refused(self):
        count = 0
        for path, text in samples("invalid"):
            with self.subTest(path.stem):
                _, found = judge(tomllib.loads(text))
                mine = {problem.message for problem in found.problems}
                said = path.with_suffix(".txt").read_text()
                theirs = set(re.findall(r"^host\.toml:\d+:\d+: (.*)$", said, re.M))
                self.assertEqual(mine, theirs)
                shown = "\n".join(map(str, found.problems + found.warnings))
                self.assertNotIn("CANARY", shown)
                self.assertNotIn("4711", shown)
            count += 1
        self.assertGreater(count, 80)

    def test_what_is_taken(self):
        for path, text in samples("valid"):
            with self.subTest(path.stem):
                said = path.with_suffix(".txt").read_text()
                expected = json.loads(said.splitlines()[0])
                for settings in (tomllib.loads(text), expected):
                    plain, found = judge(settings)
                    self.assertEqual([str(problem) for problem in found.problems], [])
                    self.assertEqual(plain, expected)
                    theirs = re.findall(r"^host\.toml:\d+:\d+: (.*)$", said, re.M)
                    self.assertEqual({w.message for w in found.warnings}, set(theirs))


class Nonsense(unittest.TestCase):
    def test_any_json_is_judged_without_an_exception(self):
        for value in (None, 1, "CANARY", [], [[]], {"a": None}, {"CANARY": {}}):
            for settings in (value, {"hostname": value}, {"network": value}, {"secrets": value},
                             {"network": {"interfaces": value, "addresses": value, "dhcp": value}},
                             {"network": {"interfaces": [value]}}, {"mail": value},
                             {"alerts": {"mail-to": value}}, {"secrets": {"smtp-password": value}},
                             {"admin": {"authorized-keys": [value]}}):
                judge(settings)


if __name__ == "__main__":
    unittest.main()
