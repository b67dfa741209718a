"""Which language a page speaks: the visitor's choice, else what the app was started with, else what the browser asks for.

There is one page for all languages. What is laid out is translated as it is sent (`Page`, `Language`); what is said
later comes from `Spoken`, a table of words that knows whose event runs. So endpoints, queue and sessions stay single,
and a change of language is a reload.
"""

import collections
import contextlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import gradio as gr
from gradio.context import Context, LocalContext
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse

from byolmeta.ui.words import TABLES, TAGS, table

NAMES = {"en": "English", "zh": "中文"}  # on the switch
COOKIE = "byolmeta-language"
YEAR = 365 * 24 * 3600
PAGES = 10_000  # whose language is remembered
# Gradio's own words follow the browser's language, which need not be the page's.
FOLLOW = '<script>Object.defineProperty(navigator,"language",{get:()=>document.documentElement.lang})</script>'
# What Gradio says in English in all languages: of its sliders, which come when a step or a fold is opened, and above a
# message (of an error it drops the title that it was given).
GRADIO = """<script>(() => {
  const WORDS = %s;
  const slider = "[aria-label^='number input for '],[aria-label^='range slider for ']";
  const label = () => {
    for (const node of document.querySelectorAll(slider)) node.setAttribute("aria-label", node.getAttribute("aria-label").slice(17));
    for (const node of document.querySelectorAll(".reset-button")) node.setAttribute("aria-label", WORDS.reset);
  };
  for (const kind of ["click", "focusin"]) document.addEventListener(kind, () => setTimeout(label, 300));
  const seen = () => {
    for (const { firstChild } of document.querySelectorAll(".toast-title")) {
      const title = WORDS[firstChild?.data?.trim()];
      if (title) firstChild.data = title + " ";
    }
    for (const node of document.querySelectorAll(".toast-close")) node.setAttribute("aria-label", WORDS.close);
  };
  const wait = setInterval(() => {
    const messages = document.querySelector(".toast-wrap");
    if (!messages) return;
    clearInterval(wait);
    new MutationObserver(seen).observe(messages, { childList: true, subtree: true });
  }, 300);
})()</script>"""
drawn: ContextVar[str] = ContextVar("language", default="")  # of the page that is laid out or sent just now


# Which language


def asked_for(accept: str) -> str:
    """The language of ours that an Accept-Language header likes most; English for others."""
    liked = []
    for place, part in enumerate(accept.lower().split(",")[:50]):
        tag, _, weight = part.strip().partition(";")
        found = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", weight)
        liked.append((-float(found[1]) if found else -1.0, place, tag.strip().split("-")[0]))
    return next((tag for weight, _, tag in sorted(liked) if tag in TABLES and weight < 0), "en")


def language_of(request, usual: str | None = None) -> str:
    """What a request is answered in. `usual`: what the app was started with, None for the browser's choice."""
    chosen = (getattr(request, "cookies", None) or {}).get(COOKIE, "")
    if chosen in TABLES:
        return chosen
    headers = getattr(request, "headers", None) or {}
    return usual or asked_for(headers.get("accept-language", ""))


@contextlib.contextmanager
def speaking(language: str) -> Iterator[None]:
    """What is laid out inside is in a language."""
    token = drawn.set(language)
    try:
        yield
    finally:
        drawn.reset(token)


class Spoken(Mapping):
    """The words in the language of the page whose event runs; English where no page asked, as for a program."""

    def __init__(self, usual: str | None = None):
        self.usual = usual
        self.tables = {language: table(language) for language in TABLES}
        self.pages: collections.OrderedDict[str, str] = collections.OrderedDict()  # by session hash
        self.lock = threading.Lock()

    def language(self) -> str:
        """A page keeps the language that it came in, also when another page of the browser is switched meanwhile."""
        if drawn.get():
            return drawn.get()
        event = LocalContext.request.get(None)
        if event is None:
            return self.usual or "en"
        page = getattr(event, "session_hash", None)
        if not page:
            return language_of(event.request, self.usual)
        with self.lock:
            if page not in self.pages:
                self.pages[page] = language_of(event.request, self.usual)
                while len(self.pages) > PAGES:
                    self.pages.popitem(last=False)
            return self.pages[page]

    def __getitem__(self, key: str):
        return self.tables[self.language()][key]

    def __iter__(self):
        return iter(self.tables[self.language()])

    def __len__(self) -> int:
        return len(self.tables["en"])

    def __or__(self, other: dict) -> dict:
        return self.tables[self.language()] | dict(other)


# The page


class Page(gr.Blocks):
    """Gradio's page, whose parts have other words where `drawn` says so.

    `laid` {language: {number of a part: its props}} comes from the same layout, made once in each language.
    """

    laid: dict[str, dict[int, dict]] = {}

    @property
    def config(self) -> dict:
        laid = self.laid.get(drawn.get())
        if not laid:
            return self._config
        parts = [part | {"props": part["props"] | laid.get(part["id"], {})} for part in self._config["components"]]
        return self._config | {"components": parts}

    @config.setter
    def config(self, config: dict) -> None:
        self._config = config


class Draft(gr.Blocks):
    """A page that is laid out to see what its parts say, and never served."""

    def queue(self, *_, **__):  # it makes a server
        return self

    def __exit__(self, problem=None, *_):
        if problem is None:
            self.fill_expected_parents()
        Context.block = Context.root_block = None

    def props(self) -> dict[int, dict]:
        """{number of a part: its props}, without what events add to them."""
        parts = self.default_config.get_config()["components"]
        return {
            part["id"]: {k: v for k, v in part["props"].items() if not k.startswith("_")}
            for part in parts
            if part["id"] != self._id
        }


@contextlib.contextmanager
def numbered(first: int) -> Iterator[None]:
    """Parts that are made inside are numbered as those that follow, so that both layouts have the same numbers."""
    Context.id = first
    try:
        yield
    finally:
        Context.id = first


def switch(words: Mapping) -> str:
    """The link to the page in the other language, which says so in that language."""
    other = next(language for language in NAMES if language != words["language"])
    return f"<a href='?lang={other}' lang='{TAGS[other]}' hreflang='{TAGS[other]}'>{NAMES[other]}</a>"


class Language:
    """ASGI middleware: sends the page in its language, and keeps the choice of the switch (`?lang=zh`) in a cookie."""

    def __init__(self, app, usual: str | None = None):
        self.app, self.usual = app, usual

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] not in ("GET", "HEAD"):
            return await self.app(scope, receive, send)
        request = Request(scope)
        chosen = request.query_params.get("lang", "")
        if chosen in TABLES:
            return await _chosen(request, chosen)(scope, receive, send)
        language = language_of(request, self.usual)
        with speaking(language):
            await self.app(scope, receive, _tagged(send, language))


def _chosen(request: Request, language: str) -> RedirectResponse:
    """To the page itself, with the lesson that the page with the switch showed."""
    came = urlsplit(request.headers.get("referer", ""))
    query = came.query if came.netloc == request.headers.get("host") else ""
    kept = [(name, value) for name, value in parse_qsl(query) if name in ("lesson", "step")]
    answer = RedirectResponse("./" + ("?" + urlencode(kept) if kept else ""), 303)
    secure = request.headers.get("x-forwarded-proto", request.url.scheme).startswith("https")
    where = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Lax"  # a frame on Spaces needs the former
    answer.headers["set-cookie"] = f"{COOKIE}={language}; Path=/; Max-Age={YEAR}; HttpOnly; {where}"
    return answer


def _of_gradio(words: dict) -> str:
    said = {"reset": "reset", "close": "close", "Error": "error_what", "Warning": "warning_what", "Info": "info_what"}
    return GRADIO % json.dumps({name: words[key] for name, key in said.items()})


def _tagged(send, language: str):
    """A `send` of a page that says which language it is in, and that another visitor may get another."""
    start, held = None, []

    async def sending(message):
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
            return
        if message["type"] != "http.response.body":
            return await send(message)
        held.append(message.get("body", b""))
        if message.get("more_body"):
            return
        body = b"".join(held)
        headers = MutableHeaders(raw=list(start["headers"]))
        if headers.get("content-type", "").startswith("text/html") and body:
            body = re.sub(rb'(<html\s+lang=)"\w*"', rb'\1"%s"' % TAGS[language].encode(), body, count=1)
            more = FOLLOW if language == "en" else FOLLOW + _of_gradio(table(language))
            body = body.replace(b"<head>", b"<head>" + more.encode(), 1)
            headers["content-length"] = str(len(body))
        headers["content-language"] = TAGS[language]
        headers["cache-control"] = "no-cache"
        headers.add_vary_header("Accept-Language, Cookie")
        await send(start | {"headers": headers.raw})
        await send({"type": "http.response.body", "body": body})

    return sending
