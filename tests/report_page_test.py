"""The report's page in headless Chromium, driven through its debugging pipe.

Usage: report_page_test.py REPORT_SAMPLE [PICTURES]     (PICTURES: a folder that gets screenshots)
Without Chromium it says so and checks nothing.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SAMPLE = ""
PICTURES = None
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One tab of a headless Chromium (Chrome DevTools Protocol, messages that end with a zero byte)."""

    def __init__(self, profile):
        to_browser, self.write_to = os.pipe()
        self.read_from, from_browser = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                 "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]

        def connect():  # the browser reads from 3 and writes to 4
            os.dup2(os.dup(to_browser), 3)
            os.dup2(from_browser, 4)

        os.set_inheritable(from_browser, True)
        self.process = subprocess.Popen([CHROMIUM, *flags], preexec_fn=connect, close_fds=False,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.number = 0
        self.events = []
        self.session = None
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def receive(self):
        while b"\0" not in self.buffer:
            chunk = os.read(self.read_from, 1 << 16)
            if not chunk:
                raise RuntimeError("Chromium has ended")
            self.buffer += chunk
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write_to, data):]
        while True:
            reply = self.receive()
            if reply.get("id") == self.number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                return reply["result"]
            self.events.append(reply)

    def open(self, page, width=1280, height=900, dark=False):
        self.events.clear()
        scheme = "dark" if dark else "light"
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())
        self.frames()

    def frames(self):
        """Waits until resize observers have run and the page is painted."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"].get("description", script))
        return result["result"].get("value")

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=KEY_CODES[name])
        self.frames()

    def picture(self, name, whole=True):
        if PICTURES is not None:
            shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
            Path(PICTURES, f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    def complaints(self):
        """Uncaught exceptions, errors in the console, and addresses asked for beyond the page's own."""
        found = [str(e["params"]) for e in self.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
        urls = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return found + urls[1:]

    def close(self):
        self.process.terminate()
        self.process.wait()
        os.close(self.write_to)
        os.close(self.read_from)


KEY_CODES = {"Tab": 9, "ArrowRight": 39, "ArrowDown": 40, "End": 35, "Home": 36}

# Pairs of labels of one figure whose boxes overlap by more than a pixel.
OVERLAPS = """
[...document.querySelectorAll("svg")].flatMap(svg => {
  const labels = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
  return labels.flatMap(([a, p], i) => labels.slice(i + 1).filter(([b, q]) =>
    Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 3)
    .map(([b]) => `${a} | ${b}`));
})"""

# Smallest contrast (WCAG 2) of the tokens' ink on their background.
CONTRAST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = colour => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const rgb = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
      .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2];
  };
  const low = document.createElement("span"), all = [];
  for (let bits = 1; bits <= 16; bits += 0.1) {
    low.className = bits < HIGH ? "token low" : "token high";
    low.style.background = bitsColour(bits, [1, 2, 3, 4, 8, 16]);
    document.body.append(low);
    const style = getComputedStyle(low);
    const [a, b] = [luminance(style.color), luminance(style.backgroundColor)];
    all.push((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
    low.remove();
  }
  return Math.min(...all);
})()"""


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        cls.page = Path(cls.folder.name, "report.html")
        cls.empty = Path(cls.folder.name, "empty.html")
        subprocess.run([SAMPLE, cls.page], check=True)
        subprocess.run([SAMPLE, cls.empty, "empty"], check=True)
        cls.browser = Browser(Path(cls.folder.name, "profile"))

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.folder.cleanup()

    def check_layout(self):
        self.assertEqual(self.browser.complaints(), [])
        self.assertLessEqual(self.browser.run("document.documentElement.scrollWidth - innerWidth"), 0)
        self.assertEqual(self.browser.run(OVERLAPS), [])

    def test_desktop_has_all_figures_and_no_overlap(self):
        self.browser.open(self.page)
        self.check_layout()
        self.assertEqual(self.browser.run("document.querySelectorAll('figure > svg').length"), 7)
        self.browser.picture("desktop")
        self.browser.picture("top", whole=False)

    def test_phone_does_not_scroll_sideways(self):
        self.browser.open(self.page, width=390, height=844)
        self.check_layout()
        self.browser.picture("phone")

    def test_tokens_are_readable_in_both_schemes(self):
        for dark in (False, True):
            self.browser.open(self.page, dark=dark)
            self.check_layout()
            self.assertGreaterEqual(self.browser.run(CONTRAST), 4.5, f"dark: {dark}")
        self.browser.picture("dark")

    def test_text_cannot_become_markup(self):
        self.browser.open(self.page)
        text = self.browser.run("document.getElementById('text').textContent")
        self.assertTrue(text.startswith("</script><b>&amp;A language model reads"), text[:60])
        self.assertEqual(self.browser.run("document.querySelectorAll('#text b').length"), 0)

    def test_keyboard_moves_through_the_text(self):
        self.browser.open(self.page)
        self.browser.run("document.getElementById('heat-policy').focus()")
        self.browser.key("Tab")
        chosen = "Number(document.querySelector('[aria-selected=true]').dataset.index)"
        self.assertEqual(self.browser.run(chosen), 0)
        for _ in range(9):
            self.browser.key("ArrowRight")
        self.assertEqual(self.browser.run(chosen), 9)
        self.browser.key("ArrowDown")
        below = self.browser.run(chosen)
        self.assertGreater(below, 10)
        tops = self.browser.run(f"[9, {below}].map(i => document.querySelector(`[data-index='${{i}}']`).getClientRects()[0].top)")
        self.assertGreater(tops[1], tops[0])
        self.assertEqual(self.browser.run("document.querySelectorAll('#text [tabindex=\"0\"]').length"), 1)
        self.browser.key("End")
        self.assertIn("in the exact window", self.browser.run("document.querySelector('#panel h3').textContent"))
        self.browser.key("Home")
        self.assertIn("attention sink", self.browser.run("document.querySelector('#panel h3').textContent"))

    def test_chosen_token_shows_its_own_bits_and_signals(self):
        self.browser.open(self.page, width=390, height=844)
        self.browser.run("document.querySelector('[data-index=\"50\"]').click()")
        self.browser.frames()
        stored = self.browser.run("JSON.parse(document.getElementById('data').textContent).heat_maps[0].tokens[50]")
        widths = [(1, 2, 3, 4, 8, 16)[int(digit)] for digit in stored[3]]
        titles = self.browser.run("[...document.querySelectorAll('#panel rect title')].map(t => t.textContent)")
        names = ["K 0", "K 1", "K 2", "V 0", "V 1", "V 2"]
        expected = [f"layer {l}, {name}: {widths[6 * l + h]} bits" for h, name in enumerate(names) for l in range(30)]
        self.assertEqual(titles, expected)
        signals = self.browser.run("[...document.querySelectorAll('#panel dd')].map(d => d.textContent)")
        self.assertEqual(signals, ["2.31", "0.42", "5.5", "0.0021", "0.034", "0.2", "51.7", "3.25"])
        cells = self.browser.run("[...document.querySelectorAll('#heat-table td')].map(d => Number(d.textContent))")
        self.assertEqual(cells, widths)
        self.browser.run("document.getElementById('heat').scrollIntoView()")
        self.browser.frames()
        self.browser.picture("phone-token", whole=False)

    def test_other_policy_can_be_chosen(self):
        self.browser.open(self.page)
        self.browser.run("""{ const pick = document.getElementById('heat-policy');
            pick.value = 1; pick.dispatchEvent(new Event('change')); }""")
        self.browser.frames()
        self.assertEqual(self.browser.run("document.querySelectorAll('#panel rect').length"), 180)
        self.check_layout()

    def test_buttons_copy_commands(self):
        self.browser.open(self.page)
        self.browser.run("navigator.clipboard.writeText = async text => { globalThis.copied = text; }")
        self.browser.run("document.querySelector('#commands button').click()")
        self.browser.frames()
        command = "miser eval kl --kv q8 --kv q4 --data text.txt --report report.html"
        self.assertEqual(self.browser.run("globalThis.copied"), command)
        self.assertEqual(self.browser.run("document.getElementById('status').textContent"), f"Copied: {command}")

    def test_figures_have_names_and_descriptions(self):
        self.browser.open(self.page)
        unnamed = self.browser.run(
            "[...document.querySelectorAll('svg[role=img]')].filter(s => !s.querySelector(':scope > title').textContent).length")
        self.assertEqual(unnamed, 0)
        self.assertIn("q4: 4.5 bits, mean KL 0.0046 nats", self.browser.run("document.querySelector('#pareto desc').textContent"))

    def test_hull_joins_the_best_fixed_widths_only(self):
        self.browser.open(self.page)
        data = self.browser.run("JSON.parse(document.getElementById('data').textContent)")
        self.assertEqual([data["policies"][i]["kv"] for i in data["hull"]], ["q2", "k3v2", "q4", "q8"])
        self.assertEqual(self.browser.run("document.querySelector('#pareto .hull').points.length"), 4)

    def test_sections_without_data_are_left_out(self):
        self.browser.open(self.empty)
        self.check_layout()
        hidden = self.browser.run("[...document.querySelectorAll('section')].filter(s => s.hidden).map(s => s.id)")
        self.assertEqual(hidden, ["quality", "position", "speed", "heat"])


if __name__ == "__main__":
    if CHROMIUM is None:
        print("report_page_test: not run, there is no Chromium (apt-get install chromium)")
        sys.exit(0)
    SAMPLE = sys.argv[1]
    PICTURES = sys.argv[2] if len(sys.argv) > 2 else None
    unittest.main(argv=sys.argv[:1])
