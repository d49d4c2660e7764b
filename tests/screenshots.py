"""Takes a picture of every page in both schemes and two widths: `python tests/screenshots.py [site] [part of a path]`.

They go to build/screenshots/ and are looked at by a person; nothing compares them.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.browser import find_chromium, page_urls, served

FOLDER = Path("build/screenshots")


def main(site: Path, part: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    executable = find_chromium()
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            for width in (360, 1280):
                look = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "reduced_motion": "reduce"}
                page = browser.new_page(**look)
                for url in page_urls(site):
                    if part not in url:
                        continue
                    page.goto(address + url, wait_until="networkidle")
                    name = url.strip("/").replace("/", "-") or "index"
                    page.screenshot(path=FOLDER / f"{name}-{scheme}-{width}.png", full_page=True)
                page.close()
        browser.close()
    print(f"the pictures are in {FOLDER}/")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "site"), sys.argv[2] if len(sys.argv) > 2 else "")
