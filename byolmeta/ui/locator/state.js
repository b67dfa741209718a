// The locator in the browser: pictures on which things are boxed, painted or tagged, and what was found on all others.
// Gradio runs state, overlay, stage, results and locator, joined, as the body of js_on_load, with element, trigger,
// props and watch in scope, after CSS (the style sheet) and WORDS.
//
// Props (from Python)
//   pictures {key, n, tile, columns, per_sheet, sheets: [url], about: url}, or null
//   marked   {rev, classes: [{id, name, colour: 0..7}], marks: [mark], seq}
//            seq: another number where it counts whatever the page has; over: also before changes that it made since
//   order    [row]: pictures to choose from, the marked ones first
//   shown    {row, url, w, h, seq}: the picture on the stage, or {}
//   found    {rev, ids: [id of a class], state: "" | "looking" | "writing" | "done" | "stopped" | "left", done, total, left, note, sure, rows: [picture]}
//            sure: where the slider is put until somebody moves it
//            picture: {row, url, w, h, boxes: [[left, top, right, bottom, score, place in ids]], masks: url | null, mw, mh}
//            masks: a byte for each of mw x mh points of each class, 255 times how sure it is
//   mark     {id, row, cls: id of a class, no?: true, kind: "box", at: [left, top, right, bottom]}
//            {... kind: "stroke", points: [[x, y]], radius}   one point: a click     {... kind: "tag"}
//            no: this is not it. Places are shares of the picture's width and height, a radius of its longer side.
// Events (to Python)
//   "mark" {rev, classes, marks, key: of the pictures, window: of this page, base: the last rev that it was told}   "open" {row}   "stop" {}   "more" {}   "tags" {}
//   "keep" {kind: "coco" | "yolo" | "masks" | "csv" | "overlays", sure}   "ready" {}
//
// The page owns the marks while it is open; each change by hand raises rev. Names are text, never HTML.

const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999"];
const LIGHT_ON = ["#0072B2", "#009E73", "#D55E00"]; // colours that need white figures on them
const MAX_CLASSES = 8;
const MAX_STEPS = 50; // of undo
const SLIP = 5; // px that a click may move
const CARDS = 60; // results that are drawn at first
const TILES = 80; // pictures in the strip at first
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// ---------------------------------------------------------------- what is kept over a remount

const home = element.parentElement?.closest("[id]")?.id || "locator";
const memory = ((window.byolmetaLocators ??= {})[home] ??= {
  props: {}, window: `${Math.random()}`, rev: -1, base: null, state: null, past: [], future: [], sure: 0.5, tool: "box", cls: null, row: null,
});
memory.stop?.abort();
memory.stop = new AbortController();
const signal = memory.stop.signal;

// ---------------------------------------------------------------- words and nodes

const PATHS = {
  box: "M5 5h14v14H5z", brush: "M4 20c3 0 5-1 5-4 0-1.7 1.3-3 3-3l7-7a2 2 0 0 0-3-3l-7 7", not: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z M6.5 6.5l11 11",
  undo: "M9 7 4 12l5 5 M4 12h10a6 6 0 0 1 6 6", redo: "M15 7l5 5-5 5 M20 12H10a6 6 0 0 0-6 6", plus: "M12 5v14 M5 12h14",
  minus: "M5 12h14", fit: "M4 9V4h5 M20 9V4h-5 M4 15v5h5 M20 15v5h-5", close: "M6 6l12 12 M18 6L6 18", yes: "M5 13l4 4L19 7",
};

function press(name, key, sign, act) {
  const node = make("button", name, { type: "button" });
  if (sign) node.append(icon(sign));
  if (key) {
    if (sign && !name.includes("bm-loc-words")) {
      node.title = word(key);
      node.setAttribute("aria-label", word(key));
    } else node.append(make("span", "", {}, word(key)));
  }
  node.addEventListener("click", act);
  return node;
}

if (!document.getElementById("bm-locator-style")) {
  document.head.append(make("style", "", { id: "bm-locator-style" }, CSS));
}

const root = element.querySelector(".bm-locator");
const toast = make("p", "bm-loc-toast", { hidden: "" });
const live = make("p", "bm-loc-live", { role: "status", "aria-live": "polite" });
const tell = (key, values) => { live.textContent = word(key, values); };

// A sentence that everybody should see, for a while, on the stage.
let hiding = 0;
function hint(key, values) {
  tell(key, values);
  toast.textContent = word(key, values);
  toast.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { toast.hidden = true; }, 4000);
}

// ---------------------------------------------------------------- what is known

let rev = 0;
let classes = []; // [{id, name, colour}]
let marks = [];
let names = null; // of the pictures, once fetched

const pictures = () => given("pictures");
const marksOn = (row) => marks.filter((mark) => mark.row === row);
const place = (id) => classes.findIndex((each) => each.id === id);
const hue = (id) => COLOURS[classes[place(id)]?.colour ?? 7];
const on = (shade) => (LIGHT_ON.includes(shade) ? "#fff" : "#111");
const nameOf = (row) => names?.[row] ?? word("picture", { n: (row + 1).toLocaleString() });
const found = () => given("found") ?? {};
const foundOn = (row) => (found().rows ?? []).find((each) => each.row === row);
const foundClass = (number) => classes[place(found().ids?.[number])]; // undefined after it was deleted
const current = () => classes[place(memory.cls)] ?? classes[0];

const fresh = (letter, list) => `${letter}${1 + Math.max(0, ...list.map((each) => Number(each.id.slice(1)) || 0))}`;

// Another state of marks and classes, by hand; the one before can be had again.
function change(next, said, values) {
  memory.past = [...memory.past.slice(1 - MAX_STEPS), { classes, marks }];
  memory.future = [];
  set(next);
  if (said) tell(said, values);
}

function set(next) {
  classes = next.classes ?? classes;
  marks = next.marks ?? marks;
  rev += 1;
  memory.rev = rev;
  memory.state = { classes, marks };
  trigger("mark", { rev, classes, marks, key: pictures()?.key, window: memory.window, base: memory.base });
  draw();
}

function step(from, to, said) {
  const next = memory[from].pop();
  if (!next) return tell(from === "past" ? "say_no_undo" : "say_no_redo");
  memory[to].push({ classes, marks });
  set(next);
  tell(said);
}

const undo = () => step("past", "future", "say_undone");
const redo = () => step("future", "past", "say_redone");

function add(mark, said) {
  const cls = current();
  if (!cls || memory.row === null) return;
  const whole = { id: fresh("m", marks), row: memory.row, cls: cls.id, ...mark };
  // one word for a picture: has it, or has it not
  const others = mark.kind === "tag" ? marks.filter((each) => !(each.kind === "tag" && each.row === whole.row && each.cls === cls.id)) : marks;
  change({ marks: [...others, whole] }, said, { name: cls.name });
}

function remove(id) {
  change({ marks: marks.filter((mark) => mark.id !== id) }, "say_removed");
}

// Marks and classes as Python has them: at first, after other pictures, and where another window was faster.
function takeMarks() {
  const sent = given("marked");
  if (!sent || sent.seq === memory.seq || (sent.rev <= rev && !sent.seq && memory.rev >= 0)) return;
  memory.seq = sent.seq;
  if (sent.over && memory.base !== null && sent.rev <= memory.base) return; // known: what was done since goes on from there
  memory.base = sent.rev;
  const same = memory.state && memory.marked === pictures()?.key; // of the pictures that the page had before
  if (same && sent.rev < rev && !sent.over) return; // it is on its way here since before the last change
  if (same && sent.rev === rev && JSON.stringify([sent.classes, sent.marks]) === JSON.stringify([classes, marks])) return;
  memory.past = same ? [...memory.past.slice(1 - MAX_STEPS), memory.state] : [];
  memory.marked = pictures()?.key;
  rev = memory.rev = sent.rev;
  ({ classes, marks } = sent);
  memory.state = { classes, marks };
  memory.future = [];
}
