"""Take the pictures of the page that the guides show, in Debian's Chromium.

    alpaca-lora demo --output_dir alpaca-demo
    alpaca-lora finetune --base_model alpaca-tiny --data_path sample --output_dir forty-steps --max_steps 40
    python scripts/screenshot_page.py --adapter forty-steps alpaca-demo --output_dir docs/guides

Serves the page on the embedded model with the adapters given, the last one answering first, asks as a person would and
saves four pictures. Needs `playwright` and `chromium`; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from alpaca_lora.config import ModelConfig
from alpaca_lora.inference.models import Models
from alpaca_lora.inference.page.app import create_page
from alpaca_lora.inference.page.labels import WORDS
from alpaca_lora.inference.page.run import find_port, open_page
from alpaca_lora.inference.settings import AdaptersConfig, UiConfig
from alpaca_lora.inference.torch_engine import TorchEngine
from alpaca_lora.model.load import EMBEDDED

WIDTH, PHONE = 1100, {"width": 390, "height": 844}
QUESTIONS = ("What is the capital of Australia?", "What do we call people from Portugal?", "Give the opposite of busy.")


def open_window(browser: Browser, address: str, **settings: Any) -> Page:
    """Open the page and wait until it is there."""
    page = browser.new_page(**settings)
    page.goto(address)
    page.locator("#instruct-instruction textarea").wait_for()
    return page


def ask(page: Page, box: str, text: str) -> None:
    """Type a text and send it."""
    page.locator(f"{box} textarea").fill(text)
    page.keyboard.press("Enter")


def save(page: Page, path: Path, *, whole: bool = True) -> None:
    """Save what the page shows once it rests, without the cursor."""
    page.wait_for_timeout(800)
    page.screenshot(path=path, full_page=whole, caret="hide")
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


def take_pictures(browser: Browser, address: str, adapters: list[str], folder: Path) -> None:
    """Ask on each tab, and on a phone in the dark with Chinese labels."""
    page = open_window(browser, address, viewport={"width": WIDTH, "height": 700})
    ask(page, "#instruct-instruction", QUESTIONS[0])
    page.locator("#instruct-status", has_text=WORDS["stop"][0]).wait_for()
    page.get_by_role("button", name=WORDS["exact_prompt"][0]).click()
    save(page, folder / "page-instruct.png")

    page.get_by_role("tab", name=WORDS["chat"][0]).click()
    for number, question in enumerate(QUESTIONS[1:], start=1):
        ask(page, "#message", question)
        page.locator("#conversation .bot").nth(number - 1).wait_for()
        page.locator("#chat-status", has_text=WORDS["stop"][0]).wait_for()
        page.wait_for_timeout(500)
    save(page, folder / "page-chat.png")

    page.get_by_role("tab", name=WORDS["compare"][0]).click()
    for name in adapters[:-1]:
        page.locator("#compare-models input").click()
        page.get_by_role("option", name=name, exact=True).click()
    ask(page, "#compare-instruction", QUESTIONS[1])
    page.locator("#vote").get_by_text(adapters[-1]).click()
    save(page, folder / "page-compare.png")

    phone = open_window(browser, f"{address}?__theme=dark", viewport=PHONE, device_scale_factor=1.5, locale="zh-CN")
    phone.get_by_role("tab", name=WORDS["compare"][1]).wait_for()
    ask(phone, "#instruct-instruction", QUESTIONS[0])
    phone.locator("#instruct-status", has_text=WORDS["stop"][1]).wait_for()
    save(phone, folder / "page-phone-dark.png", whole=False)


def main() -> None:
    """Serve the page, take the pictures, and leave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", nargs="+", required=True, help="folders of adapters for the embedded model")
    parser.add_argument("--output_dir", type=Path, required=True)
    arguments = parser.parse_args()
    adapters = AdaptersConfig(adapter=tuple(arguments.adapter))
    config = UiConfig(model=ModelConfig(base_model=EMBEDDED), adapters=adapters)
    models = Models(config.model, config.adapters)
    engine = TorchEngine(models, config.limits)
    blocks = create_page(models, engine, config)
    address = open_page(blocks, config, find_port("127.0.0.1", 0))
    names = [name for name in models.names if name in models.folders]
    with sync_playwright() as driver:
        chromium = shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        take_pictures(browser, address, names, arguments.output_dir)
        browser.close()
    engine.close()
    blocks.close(verbose=False)


if __name__ == "__main__":
    main()
