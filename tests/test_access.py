"""Whether everybody can use the page: axe finds nothing serious, in light and dark; how much of it is sent; zoom; installing."""

import json

import pytest

pytest.importorskip("gradio")
from browser import open_page, overflow, until

axe = pytest.importorskip("axe_playwright_python.sync_playwright")

STEPS = ("pictures", "learn", "map", "teach", "locate", "measure")
HEAVY = 2_000_000  # bytes of a page before its pictures


def go(page, name: str) -> None:
    page.get_by_role("tab", name=name.capitalize()).first.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(app, browser, scheme):
    page = open_page(browser, app.address, color_scheme=scheme, reduced_motion="reduce")
    page.wait_for_selector("#report .tile")
    found = {}
    for name in STEPS:
        go(page, name)
        page.wait_for_timeout(1500)
        report = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response
        for one in report["violations"]:
            if one["impact"] in ("serious", "critical"):
                found[f"{name}: {one['id']}"] = [node["html"][:200] for node in one["nodes"]]
    page.context.close()
    assert found == {}, json.dumps(found, indent=1)


def test_the_page_weighs_less_than_two_megabytes_before_its_pictures(app, browser):
    page = open_page(browser, "about:blank")
    watch = page.context.new_cdp_session(page)
    watch.send("Network.enable")
    sent, names = {}, {}
    watch.on("Network.responseReceived", lambda e: names.update({e["requestId"]: e["response"]["url"]}))
    watch.on("Network.loadingFinished", lambda e: sent.update({e["requestId"]: e["encodedDataLength"]}))
    page.goto(app.address)
    page.wait_for_selector("#report .tile")
    page.wait_for_timeout(1000)
    weights = {names.get(key, key): bytes for key, bytes in sent.items()}
    own = {
        url: bytes for url, bytes in weights.items() if "/thumbs/" not in url and not url.startswith(("data:", "blob:"))
    }
    assert 100_000 < sum(own.values()) < HEAVY, sorted(own.items(), key=lambda each: -each[1])[:8]
    page.context.close()


def test_at_twice_the_size_nothing_is_beside_the_window(app, browser):
    page = open_page(browser, app.address, viewport={"width": 720, "height": 450}, device_scale_factor=2)
    page.wait_for_selector("#report .tile")
    for name in STEPS:
        go(page, name)
        page.wait_for_timeout(300)
        assert overflow(page) <= 0, name
    page.context.close()


def test_it_can_be_installed(app, browser):
    page = open_page(browser, app.address)
    manifest = page.locator("link[rel=manifest]")
    until(manifest.count, "the page has a manifest")
    told = page.request.get(app.address + "/manifest.json").json()
    assert told["name"] and told["display"] == "standalone" and told["icons"]
    for icon in told["icons"]:
        answer = page.request.get(app.address + "/" + icon["src"].lstrip("/"))
        assert answer.ok and answer.headers["content-type"].startswith("image/")
    page.context.close()
