// The board in the browser: what it knows and what the page holds. Gradio runs state, changes, drawing, playing,
// pointer, menus, keys and board, joined, as the body of js_on_load, with element, trigger, props, upload and watch in
// scope, after CSS (the style sheet), DEFAULT_WORDS, and SHARED (whether windows tell each other of their changes).
//
// Props (from Python)
//   pictures {key, n, tile, columns, per_sheet, sheets: [url], about: url}, or null
//   boxes    {rev, boxes: [{id, name, items: [picture id], off?: true, colour?: 0..7, muted?: [picture id]}], force?}
//   answers  {rev, label, sure, box_ids, box_notes?}, label and sure in base64, or null
//   extras   [{id, url, name}]: pictures dropped from the desktop, ids from n on
//   able     ["why", "mute", "off", "colour"] or some of them: what it offers beside sorting
//   words    one table of strings, or {en: table, "zh-CN": table}
// Events (to Python)
//   "change" {rev, boxes, page: this window, known: the newest rev that came from elsewhere, key: of its pictures}
//       "dropfiles" {box, rev, files: [{path, name}]}      "why" {id}
// Events (of the window)
//   "byolmeta-step" {step, of, rev, labels: Int8Array, box_ids, flipped: [picture id]}, or null: see playing.js
//
// The board owns its state while the page is open. Each change by hand raises rev; what comes from Python with
// a rev that is not higher is an echo, unless it says force. Names of files and boxes are text, never HTML.

const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999"];
const LIGHT_ON = "#0072B2"; // the one colour that needs white figures on it (Okabe and Ito's eight)
const MAX_BOXES = 20;
const MAX_STEPS = 50; // of undo
const MAX_THUMBS = 120; // drawn in one box at first
const LONG_PRESS = 250; // ms
const GAP = 6; // px between cards
const WIDE = 860; // px from which tray and boxes lie side by side (a page of 900 with its margins)
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// ---------------------------------------------------------------- what is kept over a remount

const home = element.parentElement?.closest("[id]")?.id || "board";
const kept = (window.byolmetaBoards ??= {});
const memory = (kept[home] ??= {
  props: {}, rev: -1, boxes: null, past: [], future: [], size: 84, known: -1, page: crypto.randomUUID?.() ?? String(Math.random()),
});
memory.stop?.abort(); // the listeners of the mount before
memory.stop = new AbortController();
const signal = memory.stop.signal;

// ---------------------------------------------------------------- state

let pictures = null;
let extras = new Map(); // id -> {id, url, name}
let names = null; // of the pictures, once fetched
let lowerNames = null;
let words = {};
let boxes = []; // see the prop: replaced, never edited in place
let rev = 0;
let where = new Int8Array(0); // picture id -> index of its box, or -1
let muted = new Set(); // ids of examples that do not count
let played = null; // a step of the adaptation, while it is played: {labels, boxIds, order, flipped: Set, any}
let guesses = null; // {rev, label, sure, order: index in the answer -> index of the box, notes: by box id}
let stride = 1; // ids walk through the tray in steps of this, see strideOf
let view = []; // picture ids in the tray, in order
let counts = { all: 0, box: [], unsure: 0, none: 0, changed: 0 };
let filter = memory.filter ?? "all"; // "all", "unsure", "none", "changed" or the id of a box
let query = "";
let selected = new Set();
let anchor = null; // where a range of the selection starts
let current = 0; // index in view of the card that Tab reaches
let columns = 1;
let cell = memory.size;
let drag = null;
let press = null;
let landed = new Set();
let pointer = "mouse";

function say(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

const number = new Intl.NumberFormat().format; // 5,000

function counted(one, many, count) {
  return say(count === 1 ? one : many, { count: number(count) });
}

const total = () => (pictures ? pictures.n : 0) + extras.size;
const boxIndex = (id) => boxes.findIndex((box) => box.id === id);
const colour = (index) => COLOURS[boxes[index]?.colour ?? index % COLOURS.length];
const can = (name) => (given("able") ?? [name]).includes(name);

function nameOf(id) {
  return extras.get(id)?.name || names?.[id] || say("picture", { number: number(id + 1) });
}

// What the card of a picture shows: the step that is played, or the answer.
function guessOf(id) {
  if (!played) return answerOf(id);
  const box = played.order[played.labels[id]] ?? -1;
  return box < 0 ? null : { box, sure: 2 };
}

function answerOf(id) {
  if (!guesses || !(id < guesses.label.length)) return null;
  const box = guesses.order[guesses.label[id]] ?? -1;
  const sure = box < 0 ? 0 : guesses.sure[id];
  return { box, sure };
}

// ---------------------------------------------------------------- the page

const PATHS = {
  undo: "M9 7 4 12l5 5 M4 12h10a6 6 0 0 1 6 6",
  redo: "m15 7 5 5-5 5 M20 12H10a6 6 0 0 0-6 6",
  close: "M6 6l12 12 M18 6 6 18",
  plus: "M12 5v14 M5 12h14",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13z M15.5 15.5 20 20",
  more: "M5.5 12h.01 M12 12h.01 M18.5 12h.01",
  mute: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z M6.5 6.5l11 11",
  why: "M9 9.2a3 3 0 1 1 4.4 2.7c-.9.5-1.4 1.1-1.4 2.1 M12 17.6h.01 M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  hint: "M12 3a6 6 0 0 0-3.5 10.9V17h7v-3.1A6 6 0 0 0 12 3z M10 20.5h4",
};

function button(name, ...children) {
  return make("button", name, { type: "button" }, ...children);
}

if (!document.getElementById("bm-board-style")) {
  document.head.append(make("style", "", { id: "bm-board-style" }, CSS));
}

const root = element.querySelector(".bm-board");
root.replaceChildren();

const hint = make("p", "bm-hint", {}, icon("hint"), make("span"));
const live = make("div", "bm-live", { role: "status", "aria-live": "polite" });

const undoButton = button("bm-icon", icon("undo"));
const redoButton = button("bm-icon", icon("redo"));
const boxesTitle = make("h3", "bm-title");
const boxesHead = make("div", "bm-head", {}, boxesTitle, make("span", "bm-grow"), undoButton, redoButton);
const addButton = button("bm-add", icon("plus"), make("span"));
const boxList = make("div", "bm-boxes", { role: "group" }, addButton);
const side = make("section", "bm-side", {}, boxesHead, boxList);

const trayTitle = make("h3", "bm-title");
const trayCount = make("span", "bm-count");
const search = make("input", "bm-search", { type: "search", autocomplete: "off", spellcheck: "false" });
const size = make("input", "bm-size", { type: "range", min: 56, max: 140, step: 4 });
const trayHead = make(
  "div", "bm-head", {}, trayTitle, trayCount, make("span", "bm-grow"),
  make("label", "bm-searchbox", {}, icon("search"), search), size,
);
const chips = make("div", "bm-chips", { role: "group" });
const space = make("div", "bm-space", { role: "presentation" });
const scroll = make("div", "bm-scroll", { role: "grid", "aria-multiselectable": "true" }, space);
const trayEmpty = make("p", "bm-tray-empty");
const pickedCount = make("span", "bm-picked-count");
const moveButton = button("bm-primary");
const clearButton = button("bm-plain");
const picked = make("div", "bm-picked", { role: "toolbar" }, pickedCount, moveButton, clearButton);
const help = make("p", "bm-live", { id: `${home}-help` });
scroll.setAttribute("aria-describedby", help.id);
const frame = make("div", "bm-frame", {}, scroll, trayEmpty, picked);
const tray = make("section", "bm-tray", {}, trayHead, chips, frame, help);
root.append(hint, side, tray, live);

moveButton.setAttribute("aria-haspopup", "menu");
size.value = memory.size;
