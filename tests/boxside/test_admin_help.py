"""chatimg-admin as it lies on a box that has every overlay: its help lists all commands, each of which tells how it is used."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Help(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.usr = pathlib.Path(folder.name) / "usr"
        for files in sorted(ROOT.glob("overlays/*/files/usr")):
            for part in ("bin", "lib/chatimg"):
                if (files / part).is_dir():
                    shutil.copytree(files / part, self.usr / part, dirs_exist_ok=True, symlinks=True)

    def call(self, *words):
        command = ["python3", "-I", "-B", str(self.usr / "bin/chatimg-admin"), *words]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"}, check=False)

    def test_all_commands_are_listed_and_tell_how_they_are_used(self):
        modules = sorted((self.usr / "lib/chatimg/admin").glob("*.py"))
        self.assertGreaterEqual(len(modules), 7)
        all_help = self.call("--help")
        self.assertEqual(all_help.returncode, 0, all_help.stderr)
        words = " ".join(all_help.stdout.split())
        for module in modules:
            name = module.stem.replace("_", "-")
            with self.subTest(name):
                [summary] = re.findall(r'^SUMMARY = "(.{10,})"$', module.read_text(), re.MULTILINE)
                self.assertIn(f" {name} {summary}", words)
                own = self.call(name, "--help")
                self.assertEqual(own.returncode, 0, own.stderr)
                self.assertTrue(own.stdout.startswith(f"usage: chatimg-admin {name} "), own.stdout)

    def test_wrong_usage_is_told_from_failure(self):
        for words in ([], ["no-such-command"], ["status", "--no-such-option"]):
            with self.subTest(words):
                self.assertEqual(self.call(*words).returncode, 2)


if __name__ == "__main__":
    unittest.main()
