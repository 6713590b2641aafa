"""Pages in Chromium: what a browser makes of them, and pictures of them."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_NAMES = filter(None, (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"))
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
"""The path of the browser: that in the variable CHROMIUM, or one that is installed; None if there is none."""

_LOOKED = r"""
function looked(frame) {
  const page = frame.contentDocument, root = page.documentElement, found = [];
  const named = each => (each.textContent.trim() || each.className || each.tagName).slice(0, 60);
  for (const each of page.body.querySelectorAll('*')) {
    const box = each.getBoundingClientRect(), style = frame.contentWindow.getComputedStyle(each);
    const inside = each.closest('.wide');
    if (!inside && box.width && box.right > root.clientWidth + 0.5) found.push('wider than the page: ' + named(each));
    if (['hidden', 'clip'].includes(style.overflowX) && each.namespaceURI.endsWith('xhtml')
        && each.scrollWidth > each.clientWidth + 1) found.push('cut: ' + named(each));
  }
  for (const each of page.querySelectorAll('.wide')) {
    const hint = each.querySelector('.hint'), shown = hint.getBoundingClientRect().height > 5
      && frame.contentWindow.getComputedStyle(hint).visibility === 'visible';
    if (shown !== each.scrollWidth > each.clientWidth) found.push((shown ? 'a' : 'no') + ' hint: ' + named(each));
    if (hint.getBoundingClientRect().right > root.clientWidth) found.push('cut hint: ' + named(each));
  }
  for (const drawing of page.querySelectorAll('svg')) {
    const view = drawing.viewBox.baseVal, before = [];
    for (const text of drawing.querySelectorAll('text')) {
      const box = text.getBBox(), right = box.x + box.width, foot = box.y + box.height;
      if (box.x < view.x || box.y < view.y || right > view.x + view.width || foot > view.y + view.height)
        found.push('out of its drawing: ' + named(text));
      for (const [other, name] of before)
        if (box.x < other.x + other.width - 1 && other.x < right - 1 && box.y < other.y + other.height - 4
            && other.y < foot - 4) found.push('one on the other: ' + named(text) + ', ' + name);
      before.push([box, named(text)]);
    }
  }
  return {width: root.clientWidth, plots: page.querySelectorAll('svg').length, wrong: found,
          scrolling: [...page.querySelectorAll('.wide')].filter(each => each.scrollWidth > each.clientWidth).length};
}
onload = () => {
  const frames = [...document.querySelectorAll('iframe')];
  for (const frame of frames)
    frame.contentDocument.querySelectorAll('details').forEach(each => each.open = true);
  setTimeout(() => { document.title = JSON.stringify(frames.map(looked)); }, 500);  // hints come with the next picture
}
"""


def chromium(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Chromium without a window."""
    # Errors of the browser's own, such as no message bus, are told from a page's by the word CONSOLE.
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0")
    return subprocess.run([CHROMIUM, *flags, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def looked_at(pages: Sequence[str], widths: Sequence[int], folder: Path) -> list[Mapping[str, Any]]:
    """What a browser makes of pages at some widths: for each page, for each width, what is wrong with it and figures.

    All are looked at in one start, in frames: a window cannot be as narrow as a phone, but a frame in it can.
    """
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe>'
        for page in pages
        for width in widths
    )
    file = folder / "frames.html"
    file.write_text(
        f"<!doctype html><title></title><style>iframe {{ border: 0 }}</style>{frames}<script>{_LOOKED}</script>"
    )
    done = chromium("--window-size=1800,1000", "--virtual-time-budget=3000", "--dump-dom", file.as_uri())
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title, done.stderr
    found: list[Mapping[str, Any]] = json.loads(html.unescape(title[1]))
    return found
