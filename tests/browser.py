"""A page in a real browser: Debian's Chromium, without a window and without a network."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --virtual-time-budget=5000 --dump-dom"
)


def visit(page: str, script: str, folder: Path, width: int = 1280):
    """What `script` calls `tell(value)` with, at the end of the page in a window of this width."""
    path = folder / f"page-{width}.html"
    tail = (
        "<script>const tell = (value) => document.body.append(Object.assign(document.createElement('pre'), "
        f"{{id: 'report', textContent: JSON.stringify(value)}}));{script}</script></body>"
    )
    path.write_text(page.replace("</body>", tail), encoding="utf-8")
    size = (f"--window-size={width},900", f"--user-data-dir={folder / 'profile'}")
    command = [CHROMIUM, *_FLAGS.split(), *size, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    found = re.search(r'<pre id="report">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page's script failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return json.loads(html.unescape(found[1]))
