"""Drives the server's page in Chromium: a chat that streams and stops, the list of models, a plan whose context is
pulled. It needs PyPI's playwright and a chromium, and writes screenshots.

    page.py ADDRESS MODEL FOLDER [CHROMIUM]
"""

import sys

from playwright.sync_api import sync_playwright

ADDRESS, MODEL, FOLDER = sys.argv[1:4]
CHROMIUM = sys.argv[4] if len(sys.argv) > 4 else "/usr/bin/chromium"


def main():
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 860})
        complaints = []
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))

        page.goto(ADDRESS)
        page.wait_for_selector(f"#model option[value='{MODEL}']", state="attached")
        page.select_option("#model", MODEL)
        page.fill("#ask textarea", "And God said")
        page.press("#ask textarea", "Enter")
        page.wait_for_selector("#speed:has-text('tokens/s')", timeout=60000)
        print("chat:", page.inner_text("#speed"))
        page.screenshot(path=f"{FOLDER}/chat.png")

        page.fill("#limit", "100000")
        page.fill("#ask textarea", "And again")
        page.click("#send")
        page.wait_for_selector("#send:has-text('Stop')")
        page.click("#send")
        page.wait_for_selector("#send:has-text('Send')", timeout=2000)
        print("chat: stopped")

        page.click("nav a[href='#models']")
        page.wait_for_selector(f"#models td:has-text('{MODEL}')")
        page.screenshot(path=f"{FOLDER}/models.png")
        print("models:", page.locator("#models tbody tr").count())

        page.click("nav a[href='#plan']")
        page.wait_for_selector("#picture svg rect")
        page.fill("#devices", "k80:2,cpu")
        before = page.inner_text("#tokens")
        page.locator("#context").evaluate("e => { e.value = 70; e.dispatchEvent(new Event('input', { bubbles: true })) }")
        page.wait_for_selector("#verdict:has-text('fit')")
        page.wait_for_selector("#curve polyline", state="attached")
        page.wait_for_timeout(1500)
        after = page.inner_text("#tokens")
        page.screenshot(path=f"{FOLDER}/plan.png")
        print("plan:", before, "to", after, "-", page.inner_text("#verdict"))
        assert before != after and page.locator("#picture svg rect").count() > 8, "the picture did not change"
        assert not complaints, complaints
        browser.close()


main()
