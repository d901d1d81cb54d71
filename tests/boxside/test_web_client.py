"""The web client: what it is made of comes with its licences."""

import tomllib
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OVERLAY = ROOT / "overlays/web-client"


class Licences(unittest.TestCase):
    def test_every_package_is_named_and_the_texts_are_there(self):
        """All that the lock has from npm goes into this bundle."""
        text = (OVERLAY / "hydrogen/licences.txt").read_text(encoding="utf-8")
        with open(ROOT / "appliance.lock", "rb") as lock:
            packages = {one["name"] for one in tomllib.load(lock)["npm"]}
        self.assertIn("hydrogen-view-sdk", packages)
        head = text.partition("========")[0]
        self.assertEqual([name for name in sorted(packages) if f"\n{name} " not in head], [])
        for licence in ("Apache License 2.0", "MIT", "SIL Open Font License 1.1"):
            self.assertIn(licence, head)
            self.assertIn(f"\n======== {licence}\n", text)

    def test_it_is_a_page(self):
        overlay = tomllib.loads((OVERLAY / "overlay.toml").read_text(encoding="utf-8"))
        self.assertIn("licences.txt", overlay["bundles"]["hydrogen"]["pages"])


if __name__ == "__main__":
    unittest.main()
