// Hints for a first visit. Gradio runs this as a function body with element, after CSS, HINTS and WORDS.

const KEY = "byolmeta-shown-around", GAP = 12, EDGE = 8; // pixels between card and control, and to the window's edge
const MARK = "data-bm-pointed"; // not a class: Gradio writes those anew
const again = element.querySelector(".bm-again");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

window.byolmetaGuide?.abort(); // the mount before: its listeners and its card
const stop = window.byolmetaGuide = new AbortController();
const signal = stop.signal;

function make(tag, name, text = "") {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = text;
  return node;
}

if (!document.getElementById("bm-guide-style")) {
  const style = make("style", "", CSS);
  style.id = "bm-guide-style";
  document.head.append(style);
}

// The card. It lies right after the button, so that Tab goes from one into the other.
const card = make("div", "bm-guide");
const title = make("b", "", WORDS.title), say = make("p", "say"), dots = make("span", "dots");
const skip = make("button", "skip", WORDS.skip), next = make("button", "next", WORDS.next);
title.id = "bm-guide-title";
say.id = "bm-guide-say";
card.hidden = true;
card.tabIndex = -1;
for (const [name, value] of Object.entries({
  role: "dialog", "aria-modal": "false", "aria-labelledby": title.id, "aria-describedby": say.id,
})) card.setAttribute(name, value);
say.setAttribute("aria-live", "polite");
dots.setAttribute("role", "img");
for (const _ of HINTS) dots.append(make("i", ""));
for (const button of [skip, next]) button.type = "button";
const row = make("div", "acts");
row.append(dots, skip, next);
card.append(title, say, row);
again.after(card);
signal.addEventListener("abort", () => card.remove());
again.setAttribute("aria-label", WORDS.again);
again.title = WORDS.again;

let at = -1; // the hint that is shown, -1 for none
let pointed = null;

function remembered() {
  try {
    return localStorage.getItem(KEY) !== null;
  } catch { // storage is switched off: then they would come at every visit
    return true;
  }
}

function remember() {
  try {
    localStorage.setItem(KEY, "yes");
  } catch { /* see above */ }
}

const inLesson = () => new URLSearchParams(location.search).has("lesson");

function target() {
  const found = [...document.querySelectorAll(HINTS[at][0])];
  return found.find((each) => each.getClientRects().length && getComputedStyle(each).visibility === "visible") ?? null;
}

// Beside the control where there is room, on the side that is asked for first; else in the corner of the window.
function place() {
  if (at < 0) return;
  const now = target();
  if (now !== pointed) {
    pointed?.removeAttribute(MARK);
    now?.setAttribute(MARK, "");
    pointed = now;
  }
  const { offsetWidth: width, offsetHeight: height } = card;
  const wide = document.documentElement.clientWidth, high = window.innerHeight;
  let left = wide - width - EDGE, top = high - height - EDGE, side = "none";
  const area = now?.getBoundingClientRect();
  if (area && area.bottom > 0 && area.top < high && area.right > 0 && area.left < wide) {
    const rooms = {
      below: [area.left, area.bottom + GAP, high - area.bottom >= height + GAP + EDGE],
      above: [area.left, area.top - height - GAP, area.top >= height + GAP + EDGE],
      right: [area.right + GAP, area.top, wide - area.right >= width + GAP + EDGE],
      left: [area.left - width - GAP, area.top, area.left >= width + GAP + EDGE],
    };
    side = [HINTS[at][1], ...Object.keys(rooms)].find((each) => rooms[each][2]) ?? "none";
    if (side !== "none") [left, top] = rooms[side];
  }
  left = Math.min(Math.max(left, EDGE), Math.max(EDGE, wide - width - EDGE));
  top = Math.min(Math.max(top, EDGE), Math.max(EDGE, high - height - EDGE));
  card.dataset.side = side;
  card.style.left = `${left}px`;
  card.style.top = `${top}px`;
  if (area) {
    card.style.setProperty("--x", `${Math.min(Math.max(area.left + area.width / 2 - left, 18), width - 18)}px`);
    card.style.setProperty("--y", `${Math.min(Math.max(area.top + area.height / 2 - top, 18), height - 18)}px`);
  }
}

function show(number) {
  at = number;
  card.hidden = false;
  say.textContent = HINTS[at][2];
  next.textContent = at === HINTS.length - 1 ? WORDS.done : WORDS.next;
  dots.setAttribute("aria-label", WORDS.at.replace("{number}", at + 1).replace("{of}", HINTS.length));
  [...dots.children].forEach((dot, i) => dot.classList.toggle("on", i === at));
  place();
}

// Shows a hint that was asked for, and its control with it.
function seek(number) {
  show(number);
  pointed?.scrollIntoView({ block: "nearest", inline: "nearest", behavior: calm.matches ? "auto" : "smooth" });
}

function end() {
  const inside = card.contains(document.activeElement);
  at = -1;
  card.hidden = true;
  pointed?.removeAttribute(MARK);
  pointed = null;
  remember();
  if (inside) again.focus();
}

again.addEventListener("click", () => {
  if (at >= 0) return end();
  seek(0);
  card.focus({ preventScroll: true });
});
next.addEventListener("click", () => (at === HINTS.length - 1 ? end() : seek(at + 1)));
skip.addEventListener("click", end);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && at >= 0) end();
}, { signal });

let asked = 0;
function soon() {
  cancelAnimationFrame(asked);
  asked = requestAnimationFrame(place);
}
window.addEventListener("resize", soon, { signal });
window.addEventListener("scroll", soon, { signal, capture: true, passive: true });
// Pictures and text that arrive move the controls, also where the page stays as high as the window.
const looking = setInterval(() => at >= 0 && place(), 250);
signal.addEventListener("abort", () => clearInterval(looking));

// What somebody finds by themselves needs no hint: who opens a step has begun, and pictures of one's own are the first one.
document.addEventListener("click", (event) => {
  if (at >= 0 && event.isTrusted && event.target.closest?.("[role=tab]")) end();
}, { signal });
document.addEventListener("change", (event) => {
  if (at === 0 && pointed?.contains(event.target)) show(1);
}, { signal });

if (!inLesson() && !remembered()) show(0);
