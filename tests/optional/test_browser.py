"""The HTML report in a real browser: it needs Chromium (`chromium` or `google-chrome` on the path)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import symnet as sn
from symnet.look.html_report import html_report

BROWSER = next((found for name in ("chromium", "google-chrome", "chrome") if (found := shutil.which(name))), "chromium")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
# what the page is wider than the window, how many formulas take room, what it asked others for
MEASURE = (
    "<script>document.title=[document.documentElement.scrollWidth-window.innerWidth,"
    "[...document.querySelectorAll('section math')].filter(m=>m.getBoundingClientRect().width>5).length,"
    "performance.getEntriesByType('resource').length,"
    "getComputedStyle(document.body).backgroundColor].join('|')</script>"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = sn.Network(4, [sn.dense(5, "tanh", name="hidden"), sn.dense(3, name="out")], "softmax_cross_entropy")
    model = network.compile()
    rng = np.random.default_rng(0)
    history = model.fit(rng.normal(size=(60, 4)), rng.integers(0, 3, 60), 5, validation_split=0.2)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html_report(model, history).replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    return path


def opened(page: Path, width: int, *flags: str) -> list[str]:
    command = [BROWSER, *FLAGS, f"--user-data-dir={page.parent / 'profile'}", f"--window-size={width},900", *flags]
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return re.search(r"<title>(.*?)</title>", done.stdout)[1].split("|")


@pytest.mark.parametrize("width", [500, 1400])
def test_the_page_fits_the_window_shows_its_formulas_and_asks_nobody_for_anything(page: Path, width: int) -> None:
    wider, formulas, asked, _ = opened(page, width)
    assert int(wider) <= 0 and int(formulas) >= 10 and asked == "0"


def test_the_page_follows_light_and_dark(page: Path) -> None:
    light = opened(page, 1000, "--blink-settings=preferredColorScheme=1")[3]
    dark = opened(page, 1000, "--blink-settings=preferredColorScheme=0")[3]
    assert light == "rgb(255, 255, 255)" and dark == "rgb(18, 23, 30)"
