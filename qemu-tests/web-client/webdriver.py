"""A browser, driven by WebDriver (W3C) over plain HTTP: what `browse` needs of it, with Python's standard library only."""

import base64
import hashlib
import json
import re
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

# An emulated machine is slow; everything is looked for again and again until then.
PATIENCE = 300
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# Programs, and the packages that they are in.
PROGRAMS = {"chromium": "chromium", "chromedriver": "chromium-driver", "openssl": "openssl"}


class Failed(Exception):
    """What a person is to be told."""


def need_programs() -> None:
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        raise Failed(f"this test needs a browser; install it: apt-get install {' '.join(missing)}")


def box_key(port: int, name: str) -> str:
    """The SHA-256 of the box's public key, as Chromium wants it."""
    try:
        pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=60)
    except OSError as error:
        raise Failed(f"{name} shows no certificate: {error}") from error
    public = subprocess.run(["openssl", "x509", "-pubkey", "-noout"], input=pem.encode(), capture_output=True, check=True)
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public.stdout, capture_output=True, check=True)
    return base64.b64encode(hashlib.sha256(der.stdout).digest()).decode()


class Element:
    def __init__(self, browser: "Browser", reference: str) -> None:
        self.browser = browser
        self.path = f"/element/{reference}"

    def click(self) -> None:
        self.browser.insist(lambda: self.browser.command("POST", f"{self.path}/click", {}) or True, "a click")

    def type(self, text: str) -> None:
        self.browser.command("POST", f"{self.path}/value", {"text": text})

    def property(self, name: str) -> object:
        return self.browser.command("GET", f"{self.path}/property/{name}")

    def text(self) -> str:
        return self.browser.command("GET", f"{self.path}/text")

    def shown(self) -> bool:
        return self.browser.command("GET", f"{self.path}/displayed")


class Browser:
    """Chromium with a profile of its own, which takes all of `domain` for the box at a port of this machine, and knows no
    other host."""

    def __init__(self, domain: str, port: int, key: str, profile: Path, phone: dict | None) -> None:
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0", "--log-level=SEVERE"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.base = f"http://127.0.0.1:{self.driver_port()}"
        self.said: list[str] = []
        self.downloads = profile / "kept"
        shutil.rmtree(profile, ignore_errors=True)
        self.downloads.mkdir(parents=True)
        box = f"127.0.0.1:{port}"
        arguments = [
            "headless=new",
            "no-sandbox",
            "disable-gpu",
            "disable-dev-shm-usage",
            "no-first-run",
            "disable-background-networking",
            "disable-component-update",
            f"user-data-dir={profile}",
            f"host-resolver-rules=MAP {domain} {box}, MAP *.{domain} {box}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"ignore-certificate-errors-spki-list={key}",
            "window-size=1280,900",
            "force-color-profile=srgb",
        ]
        options: dict = {"args": arguments, "binary": shutil.which("chromium")}
        options["prefs"] = {"download.default_directory": str(self.downloads)}
        if phone:
            options["mobileEmulation"] = {"deviceMetrics": phone}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        wanted["timeouts"] = {"script": PATIENCE * 1000, "pageLoad": PATIENCE * 1000}
        try:
            session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except Failed:
            self.driver.kill()
            raise
        self.base += f"/session/{session['sessionId']}"

    def driver_port(self) -> int:
        for line in self.driver.stdout or []:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                return int(found[1])
        raise Failed("chromedriver does not start")

    def ask(self, method: str, path: str, body: dict | None = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE + 60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise Failed(f"{value['error']}: {value['message'].splitlines()[0]}") from error
        except OSError as error:
            raise Failed(f"chromedriver: {error}") from error

    command = ask

    def insist(self, look, what: str):
        """What `look` finds, as soon as it finds something."""
        end = time.monotonic() + PATIENCE
        why = ""
        while time.monotonic() < end:
            try:
                found = look()
                if found:
                    return found
            except Failed as error:
                why = f" ({error})"
            time.sleep(0.2)
        raise Failed(f"after {PATIENCE} s there is not {what} on {self.address()}{why}")

    def go(self, address: str) -> None:
        self.command("POST", "/url", {"url": address})

    def reload(self) -> None:
        self.command("POST", "/refresh", {})

    def address(self) -> str:
        return self.command("GET", "/url")

    def all(self, selector: str, text: str = "", shown: bool = False) -> list[Element]:
        found = self.command("POST", "/elements", {"using": "css selector", "value": selector})
        elements = [Element(self, reference[ELEMENT]) for reference in found]
        return [one for one in elements if (not shown or one.shown()) and (not text or text in one.text())]

    def find(self, selector: str, text: str = "", shown: bool = False) -> Element:
        what = f'{selector} with "{text}"' if text else selector
        return self.insist(lambda: self.all(selector, text, shown), what)[0]

    def script(self, text: str, *values: object) -> object:
        return self.command("POST", "/execute/sync", {"script": text, "args": values})

    def wait_for_script(self, text: str, *values: object) -> object:
        return self.command("POST", "/execute/async", {"script": text, "args": values})

    def screenshot(self) -> bytes:
        return base64.b64decode(self.command("GET", "/screenshot"))

    def errors(self) -> list[str]:
        """What the console has said since the beginning that tells of an error."""
        lines = self.command("POST", "/se/log", {"type": "browser"})
        self.said += [line["message"] for line in lines if line["level"] in ("SEVERE", "WARNING")]
        return self.said

    def close(self) -> None:
        try:
            self.command("DELETE", "")
        except Failed:
            pass
        self.driver.terminate()
        self.driver.wait(30)
