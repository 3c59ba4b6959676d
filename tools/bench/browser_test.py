# SPDX-License-Identifier: MIT
"""Opens the page of figures in a real browser (Chromium, by WebDriver): at a telephone's width, on a desk, in the
dark and in print. The last line is `N passed, N failed`.

    browser_test.py FOLDER      makes a page there from figures of its own, so that every form of a case is in it
"""
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

import page

LONG = "a_case_with_a_name_that_is_longer_than_a_telephone_is_wide_and_has_no_place_to_break_at_all"
CASES = [
    {"name": "fast", "unit": "ns", "quarry": 3.0, "peers": {"glibc": 6.0}, "ratio": 0.5, "bar": 1.0, "met": True},
    {"name": LONG, "unit": "ns", "quarry": 9.0, "peers": {"glibc": 6.0}, "ratio": 1.5, "bar": 1.0, "met": False,
     "bound": "what bounds it " * 20},
    {"name": "told", "unit": "ns", "quarry": 25000000.0, "peers": {}, "ratio": None, "bar": None, "met": None},
]
LATENCY = [
    {"name": "latency-call", "unit": "instructions", "quarry": 9000, "peers": {"kmem_cache": 830}, "ratio": 10.8,
     "bar": None, "met": None, "calls": 1000000,
     "quantiles": {"quarry": {"median": 44, "p99.9": 60, "p99.999": 8000, "longest": 9000},
                   "kmem_cache": {"median": 320, "p99.9": 400, "p99.999": 800, "longest": 830}},
     "distribution": {"quarry": [[44, 999000], [60, 990], [8192, 10]], "kmem_cache": [[320, 999990], [832, 10]]}},
]
# Nothing is wider than the window, nothing that is text lies outside it.
PROBE = """
const wide = document.documentElement.clientWidth, out = [];
for (const e of document.querySelectorAll('h1, h2, p, b, span, svg, text')) {
  const box = e.getBoundingClientRect();
  if (box.width && (box.right > wide + 1 || box.left < -1)) out.push(e.tagName + ' ' + (e.textContent || '').slice(0, 40));
}
const style = getComputedStyle(document.body);
return {scroll: document.documentElement.scrollWidth, wide: wide, out: out, ink: style.color, paper: style.backgroundColor,
        cases: document.querySelectorAll('.case').length, curves: document.querySelectorAll('svg.calls-curve polyline').length};
"""


class Browser:
    """Just so much of WebDriver."""

    def __init__(self, options):
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       text=True, start_new_session=True)
        for line in self.driver.stdout:
            if port := re.search(r"successfully on port (\d+)", line):
                self.base = f"http://127.0.0.1:{port.group(1)}/session"
                break
        time.sleep(0.2)
        # As root, and in containers, it has no sandbox of its own: it sees nothing but our own page.
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--user-data-dir=" + tempfile.mkdtemp(), *options]
        made = self.call("POST", "", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"}}}})
        self.base += "/" + made["sessionId"]

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, path, width, height):
        # A window has a least width, a page has not.
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 600}})
        self.call("POST", "/url", {"url": "file://" + os.path.abspath(path)})

    def probe(self):
        return self.call("POST", "/execute/sync", {"script": PROBE, "args": []})

    def end(self):
        try:
            self.call("DELETE", "")
        finally:
            os.killpg(self.driver.pid, 15)


passed = failed = 0


def check(good, name, detail=""):
    global passed, failed
    print(("ok   " if good else "FAIL ") + name + ("" if good else f": {detail}"))
    passed, failed = passed + bool(good), failed + (not good)


def look(browser, path, width, name):
    browser.open(path, width, 800)
    seen = browser.probe()
    # On a desk a bar to scroll down by takes some of it.
    check(width - 20 <= seen["wide"] <= width and seen["scroll"] <= seen["wide"], f"{name}: {width} pixels wide, nothing to scroll sideways",
          f"{seen['scroll']} of {seen['wide']} pixels")
    check(not seen["out"], f"{name}: everything lies inside", seen["out"][:3])
    check(seen["cases"] == 3 and seen["curves"] == 2, f"{name}: every case and curve is there", seen)
    return seen


def main(folder):
    os.makedirs(folder, exist_ok=True)
    for name, cases in (("host", CASES), ("latency", LATENCY)):
        with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as f:
            json.dump({"machine": "a machine", "cases": cases}, f)
    page.main(folder)
    path = os.path.join(folder, "report.html")
    browser = Browser([])
    try:
        light = look(browser, path, 360, "a telephone")
        look(browser, path, 1280, "a desk")
        errors = [line for line in browser.call("POST", "/se/log", {"type": "browser"}) if line["level"] == "SEVERE"]
        check(not errors, "the browser has nothing to complain of", errors[:3])
        printed = base64.b64decode(browser.call("POST", "/print", {"page": {"width": 21.0, "height": 29.7}}))
        check(printed.startswith(b"%PDF") and len(printed) > 5000, "it prints", len(printed))
        browser.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {
            "features": [{"name": "prefers-color-scheme", "value": "dark"}]}})
        dark = look(browser, path, 360, "in the dark")
        check(dark["paper"] != light["paper"] and dark["ink"] != light["ink"], "in the dark: other colours", dark)
        # What looks for a thing that is too wide has to see one.
        with open(path, encoding="utf-8") as f:
            text = f.read()
        planted = os.path.join(folder, "planted.html")
        with open(planted, "w", encoding="utf-8") as f:
            f.write(text.replace("<h1>", '<p style="width: 500px">planted</p><h1>', 1))
        browser.open(planted, 360, 800)
        check(browser.probe()["scroll"] > 360, "a planted paragraph that is too wide is seen")
    finally:
        browser.end()
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
