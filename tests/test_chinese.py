"""The page in Chinese: who gets it, the switch, what stays English on it, and what is said later."""

import json
import re

import httpx
import numpy as np
import pytest

pytest.importorskip("gradio")
from browser import drag, open_page, overflow, until
from visitor import Visitor, serving

from byolmeta.ui.chinese import CHINESE
from byolmeta.ui.languages import COOKIE, Spoken, asked_for, language_of, speaking
from byolmeta.ui.map_page import map_page
from byolmeta.ui.sentences import renamed, retold, said
from byolmeta.ui.words import table

TABS = ("learn", "map", "teach", "locate", "measure")
# Names, and signs that every language has; what is left with two letters or more would be English.
NAMES = (
    r"byolmeta fewshot|byolmeta|BYOL|UMAP|COCO|YOLO|CSV|JSON|ONNX|GIF|GPU|CPU|WebP|PNG|JPG|BMP|TIFF|zip|PCA|k-NN|ANIL|Meta-SGD|MAML"
    r"|Ctrl|Shift|Esc|Escape|Enter|Tab|Backspace|Space|Delete|kB|MB|GB|lr|LARS|AdamW|SGD|English"
    r"|photos-small|drawings-conv4|untrained|resnet\d+|conv4|cpu|cuda|mps|auto|bf16|fp32|lars|adamw|sgd"
    r"|prototype|ridge|linear|anil|metasgd|maml|finetune|way|shot|N-way|K-shot|query|Query|torch\.compile|log_every|epoch|episode|small"
    r"|python -m byolmeta classify NAME\.byolmeta --images FOLDER|/home/me/\w*"
    r"|bird|boat|butterfly|cactus|car|cat|fish|flower|house|mushroom|octopus|robot|snail|turtle"
)
SHOWN = """() => {
  const found = new Set(), names = ["aria-label", "title", "placeholder", "alt", "aria-valuetext", "aria-description"];
  const walk = (node) => {
    if (["SCRIPT", "STYLE"].includes(node.tagName) || (!node.checkVisibility({ opacityProperty: true, visibilityProperty: true }))) return;
    for (const name of names) if (node.getAttribute(name)) found.add(node.getAttribute(name));
    if (node.tagName === "INPUT" && node.type === "text" && node.value) found.add(node.value);
    for (const child of node.childNodes) {
      if (child.nodeType === 3 && child.data.trim()) found.add(child.data.trim());
      if (child.nodeType === 1) walk(child);
    }
  };
  walk(document.body);
  return [...found];
}"""

OPEN = "() => document.querySelectorAll('button.label-wrap:not(.open)').forEach(fold => fold.click())"


@pytest.fixture(scope="module")
def page(browser, app):
    page = open_page(browser, app.address, locale="zh-CN")
    page.wait_for_selector("#report .tile")
    page.keyboard.press("Escape")  # the guide
    yield page
    page.context.close()


def english(page) -> list[str]:
    """What a visitor sees or hears on the page that is neither Chinese nor a name."""
    left = []
    for text in page.evaluate(SHOWN):
        rest = re.sub(r"[\w-]+/\d+\.webp", "", text)
        rest = re.sub(rf"(?<![A-Za-z])(?:{NAMES})(?![A-Za-z])", "", rest)
        if re.search("[A-Za-z]{2,}", rest):
            left.append(text[:120])
    return left


def language(page) -> str:
    return page.locator("html").get_attribute("lang")


def put(page, card: int, box: int) -> None:
    drag(page, page.locator("#board .bm-card").nth(card), page.locator("#board .bm-box").nth(box))


def filled(page) -> list[int]:
    return page.evaluate(
        "() => [...document.querySelectorAll('#board .bm-box')].map(box => box.querySelectorAll('.bm-thumb').length)"
    )


def first_box(page) -> str:
    return page.locator("#board .bm-box input").first.input_value()


# ---- which language


@pytest.mark.parametrize(
    "accept, language",
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("zh-TW", "zh"), ("en-US,en;q=0.9,zh;q=0.5", "en"), ("fr-FR,fr", "en"), ("", "en"),
        ("fr,zh;q=0.4", "zh"), ("en;q=0.2,zh;q=0.7", "zh"), ("zh;q=0", "en"), ("*", "en"), (";;q=,,=" * 3000, "en"),
    ],
)  # fmt: skip
def test_the_browser_says_which_language(accept, language):
    assert asked_for(accept) == language


def test_a_choice_comes_before_what_the_app_and_the_browser_say():
    request = httpx.Request("GET", "http://x/", headers={"accept-language": "zh-CN"})
    assert language_of(request) == "zh" and language_of(request, "en") == "en" and language_of(None) == "en"
    request.cookies = {COOKIE: "zh"}
    assert language_of(request, "en") == "zh"
    request.cookies = {COOKIE: "<b>"}
    assert language_of(request, "en") == "en"


def test_words_follow_who_speaks():
    words = Spoken()
    assert words["title"] == table("en")["title"] and len(words) == len(table("en")) == len(list(words))
    with speaking("zh"):
        assert words["title"] == CHINESE["title"] and words.get("none of these") is None
        assert (words | {"title": "x"})["title"] == "x" and (words | {"title": "x"})["open"] == CHINESE["open"]
    assert Spoken("zh")["title"] == CHINESE["title"]


# ---- sentences


def test_a_problem_is_told_in_chinese_and_names_stay():
    words = table("zh")
    told = said(words, "There are no pictures at '/home/me/No such file or directory'. Check the path.")
    assert "/home/me/No such file or directory" in told and not re.search("There|Check", told)
    assert said(words, "Nobody wrote this one.") == "Nobody wrote this one."
    assert said(table("en"), "There are no pictures at 'x'. Check the path.").startswith("There")
    assert said(words, "{0} {x} {") == "{0} {x} {"
    assert "“{0}”" in said(words, "There are no pictures at '{0}'. Check the path.")


def test_sentences_and_reasons_in_a_row_are_told_one_by_one():
    words = table("zh")
    whole = said(words, "None of the 1 pictures could be read. b.png: The content is not a picture that can be read.")
    assert "b.png" in whole and not re.search("None|content", whole)
    half = said(words, "Stopped when asked; what was learned is kept. There are no pictures at 'x'. Check the path.")
    assert not re.search("Stopped|kept|There", half)
    row = said(words, "a.txt: Not a picture (.txt).; b.doc: Not a picture (.doc).")
    assert row.count("Not a") == 0 and "a.txt" in row and "b.doc" in row and ".doc" in row


def test_a_long_message_takes_no_time():
    said(table("zh"), "; ".join(f"a{n}: b. c" for n in range(300)))  # a regular expression would not come back
    said(table("zh"), "'" * 3_999)


def test_names_that_the_page_gave_follow_and_those_of_people_stay():
    words = table("zh")
    mine = words["box_name"].format(n=2)
    assert renamed(words, ["Box 2", mine, "Box two", "My Box 2"], "box_name") == [mine, mine, "Box two", "My Box 2"]
    assert renamed(table("en"), [mine], "box_name") == ["Box 2"]
    assert retold(words, "Handwritten digits") == words["sample_digits"] and retold(words, "cats") == "cats"


# ---- one page, two languages


def test_the_map_as_a_page_is_in_its_language(store):
    page = map_page(np.zeros((36, 2), np.float32), store, words=table("zh"))
    assert '<html lang="zh-CN">' in page and CHINESE["of_scatter"]["page_title"].format(n=36) in page
    assert '<html lang="en">' in map_page(np.zeros((36, 2), np.float32), store)


def test_only_what_parts_say_differs_and_endpoints_stay_single(tmp_path):
    with serving(tmp_path / "home", spoken=True) as (_, demo, address):
        english, chinese = (_config(address, accept) for accept in ("en", "zh-CN"))
        assert english["dependencies"] == chinese["dependencies"] and english["layout"] == chinese["layout"]
        shapes = [
            [(part["id"], part["type"], part["props"].keys()) for part in each["components"]]
            for each in (english, chinese)
        ]
        assert shapes[0] == shapes[1]
        plain = httpx.get(f"{address}/config", headers={"accept-language": "zh-CN"}).json()
        assert [part["props"].get("label") for part in plain["components"]] == [
            part["props"].get("label") for part in english["components"]
        ]  # programs see one page
        info = httpx.get(f"{address}/gradio_api/info", headers={"accept-language": "zh-CN"}).text
        assert not re.search("[\u4e00-\u9fff]", json.dumps(json.loads(info), ensure_ascii=False))


def _config(address: str, accept: str) -> dict:
    text = httpx.get(address, headers={"accept-language": accept}).text
    return json.loads(re.search(r"window\.gradio_config = (\{.*?\});</script>", text, re.DOTALL)[1])


def test_an_event_speaks_as_its_page_does_and_a_choice_is_kept(tmp_path):
    with serving(tmp_path / "home", spoken=True) as (_, _, address):
        here, there = Visitor(address), Visitor(address)
        there.web.headers["accept-language"] = "zh-CN"
        for visitor, words in ((here, table("en")), (there, table("zh"))):
            visitor.first()
            visitor.web.cookies.set(COOKIE, "en")  # another page of the browser is switched meanwhile
            told = visitor.event("open", "click", ["", None])
            assert words["path_empty"] in json.dumps(told, ensure_ascii=False).replace("\\\\", "")
        answer = here.web.get("/?lang=zh", headers={"referer": f"{address}/?lesson=three&step=2&x=//evil"})
        assert answer.status_code == 303 and answer.headers["location"] == "./?lesson=three&step=2"
        assert "SameSite=Lax" in answer.headers["set-cookie"] and "HttpOnly" in answer.headers["set-cookie"]
        away = here.web.get("/?lang=zh", headers={"referer": "http://evil.example/?lesson=three"})
        assert away.headers["location"] == "./"
        assert here.web.get("/?lang=xx").status_code == 200


def test_on_a_shared_machine_a_refusal_is_told_in_the_visitors_language(tmp_path):
    with serving(tmp_path / "home", public=True, spoken=True) as (_, _, address):
        found = [
            httpx.get(f"{address}/nowhere", headers={"accept-language": accept}).json()["error"]
            for accept in ("en", "zh")
        ]
        assert found[0].startswith("There is nothing") and re.search("[\u4e00-\u9fff]", found[1])


# ---- in the browser


@pytest.mark.parametrize("locale, lang", [("zh-CN", "zh-CN"), ("en-GB", "en"), ("fr-FR", "en")])
def test_the_page_arrives_in_the_browsers_language(browser, app, locale, lang):
    page = open_page(browser, app.address, locale=locale)
    words = table("zh" if lang == "zh-CN" else "en")
    page.get_by_role("heading", name=words["title"]).wait_for()
    assert language(page) == lang and page.evaluate("navigator.language") == lang
    assert page.problems == []
    page.context.close()


def test_no_step_says_anything_in_english(page):
    left = {"pictures": english(page)}
    for name in TABS:
        page.locator(f"#{name}-tab-button").click()
        page.locator(f"#{name}-tab").wait_for()
        page.evaluate(OPEN)
        page.wait_for_timeout(700)
        left[name] = english(page)
    assert {name: texts for name, texts in left.items() if texts} == {}


def test_a_problem_is_shown_in_chinese(page):
    page.locator("#pictures-tab-button, [role=tab]").first.click()
    page.locator("#path textarea, #path input").fill("/nowhere/at/all")
    page.wait_for_timeout(200)
    page.locator("#open").click()
    page.locator("#problem p").wait_for()
    text = page.locator("#problem p").inner_text()
    assert "/nowhere/at/all" in text and re.search("[\u4e00-\u9fff]", text) and "There" not in text
    page.locator("#teach-tab-button").click()
    page.evaluate(OPEN)
    page.locator("#fill-names").click()
    page.get_by_text(CHINESE["fill_no_names"]).wait_for()
    page.get_by_text(CHINESE["error_what"]).wait_for()  # Gradio's own title is English
    assert [text for text in english(page) if "nowhere" not in text] == []


def test_the_switch_changes_the_page_both_ways_and_keeps_what_was_done(page):
    page.locator("#teach-tab-button").click()
    put(page, 2, 0)
    put(page, 7, 1)
    page.locator("#verdict .score, #verdict p").first.wait_for()
    until(lambda: filled(page) == [1, 1], "a picture lies in each box")
    assert first_box(page) == CHINESE["box_name"].format(n=1)
    for name, lang, words in (("English", "en", table("en")), ("中文", "zh-CN", table("zh"))):
        link = page.get_by_role("link", name=name)
        assert link.get_attribute("lang") == lang
        link.focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=words["title"]).wait_for()
        if lang == "en":
            page.reload()
            page.get_by_role("heading", name=words["title"]).wait_for()
        assert language(page) == lang
        page.locator("#teach-tab-button").click()
        until(lambda: filled(page) == [1, 1], "the boxes are as they were")
        name = words["box_name"].format(n=1)
        until(lambda name=name: first_box(page) == name, f"the box is named {name}")
        until(lambda: page.locator("#verdict .score").count(), "it says how often it is right")
    page.locator("#verdict .worth").wait_for()
    until(lambda: not english(page), f"the page is in Chinese, not {english(page)[:5]}", 60)


def test_the_switch_stays_in_the_lesson(browser, app):
    page = open_page(browser, f"{app.address}/?lesson=three&step=2", locale="zh-CN")
    page.get_by_text(CHINESE["lessons"]["three"]["steps"][1]).wait_for()
    page.get_by_role("link", name="English").click()
    page.get_by_text(table("en")["lessons"]["three"]["steps"][1]).wait_for()
    assert "lesson=three" in page.url and "lang" not in page.url
    page.context.close()


def test_on_a_phone_nothing_is_wider_than_the_window(browser, app):
    page = open_page(browser, app.address, locale="zh-CN", viewport={"width": 390, "height": 800})
    page.wait_for_selector("#report .tile")
    wide = {"pictures": overflow(page)}
    for name in TABS:
        page.locator(f"#{name}-tab-button").click()
        page.wait_for_timeout(400)
        wide[name] = overflow(page)
    assert not any(wide.values()), wide
    switch, again = (page.locator(f"#{name}").bounding_box() for name in ("language", "guide"))
    assert switch["y"] >= again["y"] + again["height"] - 6 or switch["x"] + switch["width"] <= again["x"]
    page.context.close()
