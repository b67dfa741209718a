// The board in the browser. Gradio runs this file as the body of js_on_load, with element, trigger, props,
// upload and watch in scope; __init__.py puts the style sheet in front, as CSS.
//
// Props (from Python)
//   pictures {key, n, tile, columns, per_sheet, sheets: [url], about: url}, or null
//   boxes    {rev, boxes: [{id, name, items: [picture id]}], force?}
//   answers  {rev, label, sure, box_ids, box_notes?}, label and sure in base64, or null
//   extras   [{id, url, name}]: pictures dropped from the desktop, ids from n on
//   words    one table of strings, or {en: table, "zh-CN": table}
// Events (to Python)
//   "change" {rev, boxes}      "dropfiles" {box, rev, files: [{path, name}]}
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
const memory = (kept[home] ??= { props: {}, rev: -1, boxes: null, past: [], future: [], size: 84 });
memory.stop?.abort(); // the listeners of the mount before
memory.stop = new AbortController();
const signal = memory.stop.signal;

function given(name) {
  // A remount can lose the props: then the last ones seen count.
  if (props[name] !== undefined) memory.props[name] = props[name];
  return memory.props[name];
}

// ---------------------------------------------------------------- state

let pictures = null;
let extras = new Map(); // id -> {id, url, name}
let names = null; // of the pictures, once fetched
let lowerNames = null;
let words = {};
let boxes = []; // [{id, name, items}]: replaced, never edited in place
let rev = 0;
let where = new Int8Array(0); // picture id -> index of its box, or -1
let guesses = null; // {rev, label, sure, order: index in the answer -> index of the box, notes: by box id}
let stride = 1; // ids walk through the tray in steps of this, see strideOf
let view = []; // picture ids in the tray, in order
let counts = { all: 0, box: [], unsure: 0, none: 0 };
let filter = memory.filter ?? "all"; // "all", "unsure", "none" or the id of a box
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
const colour = (index) => COLOURS[index % COLOURS.length];

function nameOf(id) {
  return extras.get(id)?.name || names?.[id] || say("picture", { number: number(id + 1) });
}

function guessOf(id) {
  if (!guesses || !(id < guesses.label.length)) return null;
  const box = guesses.order[guesses.label[id]] ?? -1;
  const sure = box < 0 ? 0 : guesses.sure[id];
  return { box, sure };
}

// ---------------------------------------------------------------- the page

function make(tag, name, attributes = {}, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const PATHS = {
  undo: "M9 7 4 12l5 5 M4 12h10a6 6 0 0 1 6 6",
  redo: "m15 7 5 5-5 5 M20 12H10a6 6 0 0 0-6 6",
  close: "M6 6l12 12 M18 6 6 18",
  plus: "M12 5v14 M5 12h14",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13z M15.5 15.5 20 20",
  hint: "M12 3a6 6 0 0 0-3.5 10.9V17h7v-3.1A6 6 0 0 0 12 3z M10 20.5h4",
};

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

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

// ---------------------------------------------------------------- changes

function remember() {
  Object.assign(memory, { rev, boxes, filter, key: pictures?.key });
  root.dataset.rev = rev;
}

let emitting = 0;

function emit() {
  clearTimeout(emitting);
  emitting = setTimeout(() => trigger("change", { rev, boxes }), 0);
}

function show(next) {
  boxes = next;
  indexBoxes();
  remember();
  drawAll();
}

function change(next, sentence) {
  memory.past.push(boxes);
  if (memory.past.length > MAX_STEPS) memory.past.shift();
  memory.future = [];
  rev += 1;
  show(next);
  announce(sentence);
  emit();
}

function step(from, to, sentence, nothing) {
  if (!from.length) return announce(say(nothing));
  to.push(boxes);
  rev += 1;
  landed.clear();
  show(from.pop());
  announce(say(sentence));
  emit();
}

const undo = () => step(memory.past, memory.future, "say_undone", "say_nothing_to_undo");
const redo = () => step(memory.future, memory.past, "say_redone", "say_nothing_to_redo");

function announce(text) {
  live.textContent = live.textContent === text ? `${text}\u00a0` : text; // the same words twice are read twice
}

function indexBoxes() {
  where = new Int8Array(total()).fill(-1);
  boxes.forEach((box, index) => box.items.forEach((id) => (where[id] = index)));
  if (guesses) guesses.order = guesses.boxIds.map(boxIndex);
  if (!["all", "unsure", "none"].includes(filter) && boxIndex(filter) < 0) filter = "all";
}

// Puts pictures into a box, or back into the tray where target is null. Says so, and keeps the focus near.
function move(ids, target, extraBoxes = boxes) {
  const goes = new Set(ids.filter((id) => (where[id] < 0 ? null : boxes[where[id]].id) !== target));
  if (!goes.size) {
    if (target === null) announce(say("say_not_in_box"));
    return false;
  }
  const next = extraBoxes.map((box) => {
    const stay = box.items.some((id) => goes.has(id)) ? box.items.filter((id) => !goes.has(id)) : box.items;
    const items = box.id === target ? [...stay, ...goes] : stay;
    return items === box.items ? box : { ...box, items };
  });
  const focus = focusPlan(goes);
  landed = goes.size <= 60 ? goes : new Set();
  selected.clear();
  anchor = null;
  const what = goes.size === 1 ? nameOf([...goes][0]) : counted("picture_one", "picture_many", goes.size);
  const box = next.find((candidate) => candidate.id === target);
  let sentence = say("say_out", { what });
  if (box) {
    const count = counted("example_one", "example_many", box.items.length);
    sentence = say("say_moved", { what, name: box.name, count });
  }
  change(next, sentence);
  if (focus === "tray" && view.length) sentence += ` ${say("say_next", { name: nameOf(view[current]) })}`;
  announce(sentence);
  if (focus) restoreFocus(focus);
  return true;
}

// Where the focus goes when these pictures leave: the next card of the tray, or the neighbour in the box.
function focusPlan(goes) {
  const active = document.activeElement;
  if (scroll.contains(active)) {
    const at = view.findIndex((id) => goes.has(id));
    if (at >= 0) current = at; // the cards behind move up into this place
    return "tray";
  }
  const thumb = active?.closest?.(".bm-thumb");
  if (!thumb || !root.contains(thumb)) return null;
  const items = thumb.parentElement;
  const neighbours = [...items.querySelectorAll(".bm-thumb")];
  const from = neighbours.indexOf(thumb);
  const order = [...neighbours.slice(from), ...neighbours.slice(0, from).reverse()];
  const next = order.find((node) => !goes.has(idOf(node)));
  return { box: items.closest(".bm-box").dataset.box, id: next ? idOf(next) : null };
}

function restoreFocus(plan) {
  if (plan === "tray") return view.length ? focusCard(current) : undoButton.focus();
  const node = boxNodes.get(plan.box);
  const thumb = plan.id === null ? null : node?.thumbs.get(plan.id);
  (thumb ?? node?.name)?.focus({ preventScroll: true });
}

function newBox() {
  if (boxes.length >= MAX_BOXES) {
    notice(say("box_full", { count: MAX_BOXES }));
    return null;
  }
  const taken = new Set(boxes.map((box) => box.name));
  let at = boxes.length + 1;
  while (taken.has(say("box_new_name", { number: at }))) at += 1;
  const id = `b${Date.now().toString(36)}${Math.floor(Math.random() * 1e6).toString(36)}`;
  return { id, name: say("box_new_name", { number: at }), items: [] };
}

function addBox() {
  const box = newBox();
  if (!box) return;
  change([...boxes, box], say("say_added", { name: box.name }));
  const name = boxNodes.get(box.id).name;
  name.focus();
  name.select();
}

function deleteBox(id) {
  const at = boxIndex(id);
  if (at < 0) return;
  change(boxes.filter((box) => box.id !== id), say("say_deleted", { name: boxes[at].name }));
  const next = boxes[Math.min(at, boxes.length - 1)];
  (next ? boxNodes.get(next.id).name : addButton).focus({ preventScroll: true });
}

function renameBox(id, text) {
  const at = boxIndex(id);
  const name = text.replace(/\p{Cc}/gu, " ").trim().slice(0, 80);
  if (at < 0 || !name || name === boxes[at].name) return drawBoxes(); // puts the old name back
  const next = boxes.map((box) => (box.id === id ? { ...box, name } : box));
  change(next, say("say_renamed", { number: at + 1, name }));
}

// ---------------------------------------------------------------- drawing: cards

function cssUrl(address) {
  const url = new URL(address, location.href);
  if (url.origin !== location.origin && !["blob:", "data:"].includes(url.protocol)) return "none";
  return `url("${url.href.replace(/["\\\n]/g, encodeURIComponent)}")`;
}

// Shows picture `id` on a node: a piece of a sprite sheet, or a picture of its own.
function paint(node, id) {
  const extra = extras.get(id);
  node.dataset.id = id;
  node.classList.toggle("bm-whole", Boolean(extra));
  if (extra) {
    node.style.backgroundImage = cssUrl(extra.url);
    return;
  }
  if (!pictures) return;
  const place = id % pictures.per_sheet;
  const sheet = pictures.sheets[Math.floor(id / pictures.per_sheet)];
  node.style.backgroundImage = sheet ? cssUrl(sheet) : "none";
  node.style.setProperty("--col", place % pictures.columns);
  node.style.setProperty("--row", Math.floor(place / pictures.columns));
}

// Writes an attribute or a text only where it differs: a page of cards is marked again after each answer.
function put(node, name, value) {
  const text = String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

function write(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

const idOf = (node) => Number(node.dataset.id);

function hue(node, index) {
  if (node.hue === colour(index)) return;
  node.hue = colour(index);
  node.style.setProperty("--hue", colour(index));
  node.style.setProperty("--on-hue", colour(index) === LIGHT_ON ? "#fff" : "#111");
}

// What a card says beside its picture: the guess, the selection, its place.
function mark(node, id, index) {
  const guess = guessOf(id);
  const sure = guess ? guess.sure : 0;
  put(node, "data-sure", sure);
  if (sure) hue(node, guess.box);
  write(node.firstChild, sure === 1 ? "?" : sure ? guess.box + 1 : "");
  const name = nameOf(id);
  const key = guess && ["guess_none", "guess_unsure", "guess_fair", "guess_sure"][sure];
  const spoken = key ? say(key, { name: boxes[guess.box]?.name }) : "";
  put(node, "title", spoken ? `${name}\n${spoken}` : name);
  put(node, "aria-label", spoken ? `${name}, ${spoken}` : name);
  put(node, "aria-selected", selected.has(id));
  put(node, "aria-colindex", (index % columns) + 1);
  put(node, "tabindex", index === current ? 0 : -1);
}

// ---------------------------------------------------------------- drawing: the tray, a list of visible rows

const rows = new Map(); // row number -> node
let top = 0; // of what is visible, in px: remembered, because asking the page for it costs a layout
let tall = 0;

function scrollTray(to) {
  scroll.scrollTop = to;
  top = scroll.scrollTop;
}

// One pass over all pictures: what the tray holds, in order, and the figures on the filters.
function computeView() {
  const before = view[current];
  counts = { all: 0, box: boxes.map(() => 0), unsure: 0, none: 0 };
  const wanted = boxIndex(filter);
  const found = [[], [], [], []]; // by sureness
  const needle = query.trim().toLowerCase();
  for (let place = 0; place < where.length; place += 1) {
    const id = place < (pictures?.n ?? 0) ? (place * stride) % pictures.n : place;
    if (where[id] >= 0) continue;
    const guess = guessOf(id);
    const sure = guess ? guess.sure : 0;
    counts.all += 1;
    if (sure > 1) counts.box[guess.box] += 1; // so that boxes, unsure and none add up to all
    if (sure === 1) counts.unsure += 1;
    if (guess && !sure) counts.none += 1;
    const shown =
      filter === "all" || (filter === "unsure" && sure === 1) || (filter === "none" && guess && !sure) ||
      (wanted >= 0 && sure > 1 && guess.box === wanted);
    if (!shown || (needle && !matches(id, needle))) continue;
    found[wanted >= 0 ? 3 - sure : 0].push(id);
  }
  view = found[0].concat(found[1], found[2], found[3]);
  const again = before === undefined ? -1 : view.indexOf(before);
  current = again >= 0 ? again : Math.max(0, Math.min(current, view.length - 1));
}

function matches(id, needle) {
  const name = extras.has(id) ? extras.get(id).name.toLowerCase() : lowerNames?.[id];
  return (name ?? nameOf(id).toLowerCase()).includes(needle);
}

function measure() {
  const width = scroll.clientWidth - 2 * GAP;
  if (width <= 0) return false; // in a tab that is not open
  const focused = focusInTray();
  const first = Math.floor(top / rowHeight()) * columns;
  const wished = Number(size.value);
  columns = Math.max(2, Math.floor((width + GAP) / (wished + GAP)));
  cell = Math.floor((width - GAP * (columns - 1)) / columns);
  root.style.setProperty("--cell", `${cell}px`);
  rows.forEach((row) => row.remove());
  rows.clear();
  space.style.height = `${Math.ceil(view.length / columns) * rowHeight() + GAP}px`;
  scrollTray(Math.floor(first / columns) * rowHeight());
  tall = scroll.clientHeight;
  if (focused && view.length) focusCard(current, false);
  return true;
}

const focusInTray = () => document.activeElement !== scroll && scroll.contains(document.activeElement);

const rowHeight = () => cell + GAP;

function drawTray() {
  const focused = focusInTray();
  const last = Math.ceil(view.length / columns) - 1;
  const height = (last + 1) * rowHeight() + GAP;
  space.style.height = `${height}px`;
  top = Math.max(0, Math.min(top, height - tall));
  scroll.setAttribute("aria-rowcount", last + 1);
  scroll.setAttribute("aria-colcount", columns);
  drawRows();
  if (focused && view.length) focusCard(current, false);
  trayCount.textContent = number(view.length);
  trayEmpty.hidden = view.length > 0;
  trayEmpty.textContent = say(!total() ? "tray_none" : counts.all ? "tray_no_match" : "tray_done");
}

function drawRows() {
  const height = rowHeight();
  const last = Math.ceil(view.length / columns) - 1;
  const from = Math.max(0, Math.floor(top / height) - 2);
  const to = Math.min(last, Math.ceil((top + tall) / height) + 1);
  // The row of the card that Tab reaches stays, and so does the row that a finger still holds.
  const stay = new Set([Math.floor(current / columns)]);
  if (drag?.row !== undefined) stay.add(drag.row);
  for (let at = from; at <= to; at += 1) stay.add(at);
  for (const [at, row] of rows) {
    if (stay.has(at) && at <= last) continue;
    row.remove();
    rows.delete(at);
  }
  for (const at of stay) if (at <= last) drawRow(at);
}

function drawRow(at) {
  let row = rows.get(at);
  if (!row) {
    row = make("div", "bm-row", { role: "row", "aria-rowindex": at + 1 });
    row.style.top = `${at * rowHeight() + GAP}px`;
    rows.set(at, row);
    space.append(row);
  }
  const ids = view.slice(at * columns, (at + 1) * columns);
  while (row.children.length > ids.length) row.lastChild.remove();
  ids.forEach((id, column) => {
    let card = row.children[column];
    if (!card) {
      card = make("div", "bm-card bm-pic", { role: "gridcell" }, make("span", "bm-tag", { "aria-hidden": "true" }));
      row.append(card);
    }
    if (card.dataset.id !== String(id)) paint(card, id);
    mark(card, id, at * columns + column);
    if (landed.has(id)) land(card, id);
  });
}

function cardAt(index) {
  return rows.get(Math.floor(index / columns))?.children[index % columns];
}

function focusCard(index, reveal = true) {
  current = Math.max(0, Math.min(index, view.length - 1));
  if (reveal) {
    const start = Math.floor(current / columns) * rowHeight();
    const least = start + rowHeight() + GAP - tall;
    if (top > start) scrollTray(start);
    if (top < least) scrollTray(least);
  }
  drawRows();
  cardAt(current)?.focus({ preventScroll: true });
}

// A small sign that a picture has arrived.
function land(node, id) {
  landed.delete(id);
  if (calm.matches) return;
  node.animate(
    [{ transform: "scale(0.7)", opacity: 0.3 }, { transform: "scale(1.06)", opacity: 1, offset: 0.7 }, { transform: "none" }],
    { duration: 260, easing: "ease-out" },
  );
}

// ---------------------------------------------------------------- drawing: the boxes

const boxNodes = new Map(); // box id -> {node, badge, name, count, remove, items, empty, note, more, thumbs}

function makeBox(id) {
  const badge = make("span", "bm-badge", { "aria-hidden": "true" });
  const name = make("input", "bm-name", { type: "text", maxlength: 80, autocomplete: "off", spellcheck: "false" });
  const count = make("span", "bm-box-count");
  const remove = button("bm-icon bm-remove", icon("close"));
  const items = make("div", "bm-items", { role: "listbox", "aria-multiselectable": "true" });
  const empty = make("div", "bm-box-empty", {}, make("span"), make("small"));
  const note = make("p", "bm-note");
  const head = make("header", "bm-box-head", {}, badge, name, count, remove);
  const node = make("div", "bm-box", { role: "group", "data-box": id }, head, items, empty, note);
  name.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter") name.blur();
    if (event.key === "Escape") {
      name.value = boxes[boxIndex(id)].name;
      name.blur();
      event.stopPropagation();
    }
  });
  name.addEventListener("focus", () => name.select());
  name.addEventListener("blur", () => renameBox(id, name.value));
  remove.addEventListener("click", () => deleteBox(id));
  return { node, badge, name, count, remove, items, empty, note, thumbs: new Map(), most: MAX_THUMBS };
}

function drawBoxes() {
  for (const [id, parts] of boxNodes) {
    if (boxIndex(id) >= 0) continue;
    boxNodes.delete(id); // first: taking out a name that has the focus blurs it, and that looks the box up
    parts.node.remove();
  }
  boxes.forEach((box, index) => {
    if (!boxNodes.has(box.id)) boxNodes.set(box.id, makeBox(box.id));
    const node = boxNodes.get(box.id).node;
    if (boxList.children[index] !== node) boxList.insertBefore(node, boxList.children[index]);
    drawBox(box, index);
  });
  addButton.hidden = boxes.length >= MAX_BOXES;
  addButton.lastChild.textContent = say("box_new");
}

function drawBox(box, index) {
  const parts = boxNodes.get(box.id);
  const count = box.items.length;
  const spoken = count ? counted("example_one", "example_many", count) : say("example_none");
  hue(parts.node, index);
  parts.badge.textContent = index + 1;
  if (document.activeElement !== parts.name || !root.contains(parts.name)) parts.name.value = box.name;
  parts.name.setAttribute("aria-label", say("box_name", { number: index + 1 }));
  parts.name.title = box.name;
  parts.count.textContent = count ? number(count) : "";
  parts.count.title = spoken;
  parts.node.setAttribute("aria-label", say("box_label", { number: index + 1, name: box.name, count: spoken }));
  parts.remove.hidden = boxes.length <= 2;
  parts.remove.setAttribute("aria-label", say("box_delete", { name: box.name }));
  parts.remove.title = say("box_delete", { name: box.name });
  parts.items.setAttribute("aria-label", say("box_items", { name: box.name }));
  parts.items.hidden = count === 0;
  parts.empty.hidden = count > 0;
  parts.empty.firstChild.textContent = say("box_empty");
  const fingers = matchMedia("(pointer: coarse)").matches;
  parts.empty.lastChild.textContent =
    fingers ? say("box_empty_touch") : index < 9 ? say("box_empty_keys", { number: index + 1 }) : "";
  parts.note.textContent = guesses?.notes.get(box.id) ?? "";
  parts.note.hidden = !parts.note.textContent;
  drawThumbs(box, parts);
}

// The examples of one box. The newest are at the end, and in a very full box the oldest hide behind "more".
function drawThumbs(box, parts) {
  const first = Math.max(0, box.items.length - parts.most);
  const shown = box.items.slice(first);
  const keep = new Set(shown);
  for (const [id, thumb] of parts.thumbs) {
    if (keep.has(id)) continue;
    thumb.remove();
    parts.thumbs.delete(id);
  }
  parts.more?.remove();
  parts.more = null;
  let arrived = false;
  shown.forEach((id, place) => {
    let thumb = parts.thumbs.get(id);
    if (!thumb) {
      thumb = make("div", "bm-thumb bm-pic", { role: "option" });
      paint(thumb, id);
      parts.thumbs.set(id, thumb);
    }
    if (parts.items.children[place] !== thumb) parts.items.insertBefore(thumb, parts.items.children[place] ?? null);
    put(thumb, "title", nameOf(id));
    put(thumb, "aria-label", nameOf(id));
    put(thumb, "aria-selected", selected.has(id));
    put(thumb, "aria-posinset", first + place + 1);
    put(thumb, "aria-setsize", box.items.length);
    if (landed.has(id)) {
      land(thumb, id);
      arrived = true;
    }
    if (thumb !== document.activeElement) put(thumb, "tabindex", place === 0 ? 0 : -1);
  });
  if (first > 0) {
    parts.more = button("bm-more", say("box_more", { count: number(first) }));
    parts.more.addEventListener("click", () => {
      parts.most += 400;
      drawThumbs(box, parts);
    });
    parts.items.append(parts.more);
  }
  if (arrived) {
    parts.items.scrollTop = parts.items.scrollHeight;
    parts.items.scrollLeft = parts.items.scrollWidth;
  }
}

// ---------------------------------------------------------------- drawing: filters, hints, selection

function drawChips() {
  const list = [
    ["all", null, say("filter_all"), counts.all],
    ...boxes.map((box, index) => [box.id, index, box.name, counts.box[index]]),
    ["unsure", null, say("filter_unsure"), counts.unsure],
    ["none", null, say("filter_none"), counts.none],
  ];
  list.forEach(([id, index, text, count], place) => {
    let chip = chips.children[place];
    if (!chip) {
      chip = button("bm-chip", make("i"), make("span"), make("b"));
      chips.append(chip);
    }
    const [badge, label, figure] = chip.children;
    chip.dataset.filter = id;
    chip.setAttribute("aria-pressed", filter === id);
    badge.hidden = index === null && id !== "unsure";
    badge.className = id === "unsure" ? "bm-badge bm-open" : "bm-badge";
    write(badge, index === null ? "?" : index + 1);
    if (index !== null) hue(badge, index);
    write(label, text);
    const ready = guesses || id === "all"; // before that they show what will come
    write(figure, ready ? number(count) : "");
    put(chip, "aria-disabled", !ready);
    chip.title = index === null ? text : say("filter_box", { name: text });
  });
  while (chips.children.length > list.length) chips.lastChild.remove();
  chips.hidden = !total();
}

let noticeUntil = 0;

function drawHint() {
  if (performance.now() < noticeUntil) return;
  const filled = boxes.filter((box) => box.items.length).length;
  const ready = guesses && filled >= 2 && counts.all > 0;
  const start = matchMedia("(pointer: coarse)").matches ? "hint_start_touch" : "hint_start";
  const key = ready ? "hint_answers" : filled >= 2 ? "hint_waiting" : filled ? "hint_second" : start;
  hint.classList.remove("bm-notice");
  hint.lastChild.textContent = say(key);
  hint.hidden = !total() || (filled >= 2 && !counts.all);
}

// A message in the place of the hint, for a while.
function notice(text, wait = 5000) {
  noticeUntil = performance.now() + wait;
  hint.hidden = false;
  hint.classList.add("bm-notice");
  hint.lastChild.textContent = text;
  announce(text);
  setTimeout(() => signal.aborted || drawHint(), wait + 20);
}

function drawSelection() {
  picked.classList.toggle("bm-on", selected.size > 0);
  picked.inert = selected.size === 0;
  root.classList.toggle("bm-picking", selected.size > 0);
  if (selected.size) pickedCount.textContent = say("selected", { count: number(selected.size) });
  for (const node of root.querySelectorAll(".bm-card, .bm-thumb")) {
    put(node, "aria-selected", selected.has(idOf(node)));
  }
}

function drawButtons() {
  for (const [node, steps, key, keys] of [
    [undoButton, memory.past, "undo", "Ctrl+Z"], [redoButton, memory.future, "redo", "Ctrl+Shift+Z"],
  ]) {
    node.setAttribute("aria-disabled", steps.length === 0); // not disabled: the focus would be lost
    node.setAttribute("aria-label", say(key));
    node.title = `${say(key)} (${keys})`;
  }
}

function drawWords() {
  boxesTitle.textContent = say("boxes_title");
  boxList.setAttribute("aria-label", say("boxes_title"));
  trayTitle.textContent = say("tray_title");
  scroll.setAttribute("aria-label", say("tray_title"));
  tray.setAttribute("aria-label", say("tray_title"));
  side.setAttribute("aria-label", say("boxes_title"));
  search.placeholder = say("search");
  search.setAttribute("aria-label", say("search"));
  size.setAttribute("aria-label", say("size"));
  size.title = say("size");
  chips.setAttribute("aria-label", say("filters"));
  help.textContent = say("tray_help");
  moveButton.textContent = say("move_to");
  clearButton.textContent = say("clear");
  frame.dataset.drop = say("tray_drop");
}

function drawAll() {
  for (const id of selected) if (id >= total()) selected.delete(id);
  computeView();
  drawBoxes();
  drawChips();
  drawTray();
  drawHint();
  drawSelection();
  drawButtons();
  root.classList.toggle("bm-stale", Boolean(guesses) && guesses.rev < rev);
  landed = new Set();
}

// ---------------------------------------------------------------- selection

function select(ids, last = null) {
  selected = new Set(ids);
  if (last !== null) anchor = last;
  drawSelection();
}

// The pictures around `id` in the order that people see: of the tray, or of its box.
const neighboursOf = (id) => (where[id] < 0 ? view : boxes[where[id]].items);

function selectRange(id) {
  const list = neighboursOf(id);
  const from = anchor === null ? -1 : list.indexOf(anchor);
  const to = list.indexOf(id);
  if (from < 0) return select([id], id);
  select(list.slice(Math.min(from, to), Math.max(from, to) + 1));
}

function toggle(id) {
  const next = new Set(selected);
  if (!next.delete(id)) next.add(id);
  select(next, id);
}

function clearSelection() {
  if (!selected.size) return false;
  select([]);
  announce(say("say_cleared"));
  return true;
}

// In the order that people see, so that a box fills in that order.
function inOrder(ids) {
  if (ids.size < 2) return [...ids];
  const fromBoxes = boxes.flatMap((box) => box.items.filter((id) => ids.has(id)));
  const fromTray = view.filter((id) => ids.has(id));
  const seen = new Set([...fromTray, ...fromBoxes]);
  return [...seen, ...[...ids].filter((id) => !seen.has(id))];
}

// ---------------------------------------------------------------- pointer: mouse, pen and touch in one path

const onCard = (node) => node.closest?.(".bm-card, .bm-thumb");

root.addEventListener("pointerdown", (event) => {
  pointer = event.pointerType || "mouse";
  if (event.button !== 0 || press || drag) return;
  const node = onCard(event.target);
  if (!node) return;
  const touch = pointer !== "mouse";
  press = { node, id: idOf(node), x: event.clientX, y: event.clientY, pointer: event.pointerId, touch };
  // A finger that moves at once scrolls; one that rests takes the picture up.
  if (touch) press.timer = setTimeout(() => press && startDrag(press.x, press.y), LONG_PRESS);
}, { signal });

document.addEventListener("pointermove", (event) => {
  const held = drag ?? press;
  if (!held || held.pointer !== event.pointerId) return;
  if (drag) return moveDrag(event.clientX, event.clientY);
  const way = Math.hypot(event.clientX - press.x, event.clientY - press.y);
  if (!press.touch && way > 4) startDrag(event.clientX, event.clientY);
  if (press?.touch && way > 9) endPress();
}, { signal });

document.addEventListener("pointerup", (event) => {
  const held = drag ?? press;
  if (!held || held.pointer !== event.pointerId) return;
  if (drag) return drop(event.clientX, event.clientY);
  const { id, touch } = press;
  endPress();
  pick(id, touch, event);
}, { signal });

document.addEventListener("pointercancel", (event) => {
  const held = drag ?? press;
  if (!held || held.pointer !== event.pointerId) return;
  endPress();
  if (drag) cancelDrag();
}, { signal });

// Not passive: while a picture is held, the page must not scroll under the finger.
root.addEventListener("touchmove", (event) => drag && event.preventDefault(), { signal, passive: false });

// With a selection, a tap on a box moves it there; the name must not take the focus then.
root.addEventListener("mousedown", (event) => {
  if (pointer !== "mouse" && selected.size && event.target.closest(".bm-name")) event.preventDefault();
}, { signal });

function endPress() {
  clearTimeout(press?.timer);
  press = null;
}

function pick(id, touch, event) {
  if (touch) {
    const box = where[id] < 0 ? null : boxes[where[id]];
    if (box && selected.size && [...selected].some((other) => !box.items.includes(other))) {
      return move(inOrder(selected), box.id);
    }
    return toggle(id);
  }
  if (event.shiftKey) return selectRange(id);
  if (event.ctrlKey || event.metaKey) return toggle(id);
  select([id], id);
}

function startDrag(x, y) {
  const { node, id, pointer: held, touch } = press;
  endPress();
  if (!node.isConnected) return;
  if (!selected.has(id)) select([id], id);
  const ids = inOrder(selected);
  const row = node.closest(".bm-row");
  drag = { id, ids, node, pointer: held, x, y, over: undefined, row: row ? Number(row.getAttribute("aria-rowindex")) - 1 : undefined };
  drag.ghost = makeGhost(ids, id, node);
  root.classList.add("bm-dragging");
  for (const each of root.querySelectorAll(".bm-card, .bm-thumb")) {
    each.classList.toggle("bm-lifted", selected.has(idOf(each)));
  }
  try { root.setPointerCapture(held); } catch { /* the pointer is gone already: pointercancel follows */ }
  if (touch) navigator.vibrate?.(10);
  drag.frame = requestAnimationFrame(autoScroll);
  moveDrag(x, y);
}

function makeGhost(ids, id, node) {
  const ghost = make("div", "bm-ghost", { "aria-hidden": "true" });
  const box = node.getBoundingClientRect();
  const side = Math.max(56, Math.min(box.width, 84));
  ghost.style.setProperty("--cell", `${side}px`);
  const behind = ids.filter((other) => other !== id).slice(0, 2);
  [...behind.reverse(), id].forEach((each) => {
    const sheet = make("div", "bm-pic");
    paint(sheet, each);
    ghost.append(sheet);
  });
  if (ids.length > 1) ghost.append(make("b", "", {}, number(ids.length)));
  root.append(ghost);
  if (ghost.showPopover) { // above everything, whatever the page around does
    ghost.popover = "manual";
    ghost.showPopover();
  }
  return ghost;
}

function targetAt(x, y) {
  const node = document.elementFromPoint(x, y);
  if (!node || !root.contains(node)) return undefined;
  const box = node.closest(".bm-box");
  if (box) return box.dataset.box;
  if (node.closest(".bm-add")) return "new";
  return node.closest(".bm-tray") ? null : undefined;
}

function moveDrag(x, y) {
  Object.assign(drag, { x, y });
  drag.ghost.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
  highlight((drag.over = targetAt(x, y)));
}

function highlight(target) {
  for (const [id, parts] of boxNodes) parts.node.classList.toggle("bm-over", id === target);
  addButton.classList.toggle("bm-over", target === "new");
  const leaves = target === null && drag?.ids.some((id) => where[id] >= 0);
  frame.classList.toggle("bm-over", Boolean(leaves));
}

// Near an edge of the tray, of the boxes or of the window, what lies behind comes nearer.
function autoScroll() {
  if (!drag) return;
  const { x, y } = drag;
  const pull = (at, low, high) => {
    const edge = Math.min(48, (high - low) / 4);
    if (at < low + edge) return -Math.min(1, (low + edge - at) / edge);
    return at > high - edge ? Math.min(1, (at - high + edge) / edge) : 0;
  };
  let inside = false;
  for (const node of [scroll, boxList]) {
    const area = node.getBoundingClientRect();
    if (x < area.left || x > area.right || y < area.top || y > area.bottom) continue;
    const down = node.scrollHeight > node.clientHeight ? pull(y, area.top, area.bottom) : 0;
    const right = node.scrollWidth > node.clientWidth ? pull(x, area.left, area.right) : 0;
    const before = node.scrollTop + node.scrollLeft;
    node.scrollTop += Math.round(down * 14);
    node.scrollLeft += Math.round(right * 14);
    inside ||= node.scrollTop + node.scrollLeft !== before;
  }
  if (!inside) window.scrollBy(0, Math.round(pull(y, 0, window.innerHeight) * 12));
  highlight((drag.over = targetAt(x, y)));
  drag.frame = requestAnimationFrame(autoScroll);
}

function endDrag() {
  cancelAnimationFrame(drag.frame);
  const ended = drag;
  drag = null;
  root.classList.remove("bm-dragging");
  root.querySelectorAll(".bm-lifted").forEach((node) => node.classList.remove("bm-lifted"));
  highlight(undefined);
  if (waiting.size) apply();
  return ended;
}

function drop(x, y) {
  const { ids, ghost, id } = endDrag();
  const target = targetAt(x, y);
  let moved = false;
  if (target === "new") {
    const box = newBox();
    if (box) moved = move(ids, box.id, [...boxes, box]);
  } else if (target !== undefined) {
    moved = (target !== null || ids.some((each) => where[each] >= 0)) && move(ids, target);
  }
  const goal = root.querySelector(`.bm-thumb[data-id="${id}"], .bm-card[data-id="${id}"]`);
  settle(ghost, goal, moved);
}

function cancelDrag() {
  const { ghost, node } = endDrag();
  announce(say("say_cancelled"));
  settle(ghost, node, false);
}

// The ghost flies to where its picture now lies, and goes.
function settle(ghost, goal, moved) {
  const area = goal?.isConnected ? goal.getBoundingClientRect() : null;
  if (calm.matches || !area) return ghost.remove();
  const to = `translate(${area.x + area.width / 2}px, ${area.y + area.height / 2}px) translate(-50%, -50%)`;
  const fade = ghost.animate(
    [{}, { transform: `${to} scale(${moved ? 0.6 : 0.9})`, opacity: moved ? 0 : 0.4 }],
    { duration: moved ? 150 : 190, easing: "ease-out" },
  );
  fade.onfinish = fade.oncancel = () => ghost.remove();
}

root.addEventListener("click", (event) => {
  const node = onCard(event.target);
  if (node) {
    if (event.detail === 0 && event.pointerType !== "touch") toggle(idOf(node)); // a screen reader's click
    return;
  }
  const box = event.target.closest(".bm-box");
  if (box && pointer !== "mouse" && selected.size && !event.target.closest("button")) {
    return move(inOrder(selected), box.dataset.box);
  }
  if (pointer !== "mouse" && selected.size && event.target.closest(".bm-add")) return; // handled by the button
  if (!event.target.closest("button, input, label")) clearSelection();
}, { signal });

root.addEventListener("contextmenu", (event) => {
  const node = onCard(event.target);
  if (!node) return;
  event.preventDefault();
  if (drag || (pointer !== "mouse" && event.pointerType !== "mouse" && press)) return; // a long press
  endPress();
  if (!selected.has(idOf(node))) select([idOf(node)], idOf(node));
  const area = node.getBoundingClientRect();
  const byKey = event.clientX === 0 || event.button !== 2;
  openMenu(byKey ? area.left + 12 : event.clientX, byKey ? area.bottom - 8 : event.clientY, node);
}, { signal });

// ---------------------------------------------------------------- keys

root.addEventListener("focusin", (event) => {
  const card = event.target.closest?.(".bm-card");
  if (card) {
    const at = Number(card.parentElement.getAttribute("aria-rowindex")) - 1;
    const index = at * columns + Number(card.getAttribute("aria-colindex")) - 1;
    if (index !== current) {
      if (cardAt(current)) cardAt(current).tabIndex = -1;
      current = index;
      card.tabIndex = 0;
    }
  }
  const thumb = event.target.closest?.(".bm-thumb");
  if (!thumb) return;
  for (const each of thumb.parentElement.querySelectorAll(".bm-thumb")) each.tabIndex = each === thumb ? 0 : -1;
}, { signal });

function walk(event, at, length, across, page) {
  const steps = {
    ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, PageDown: page * across, PageUp: -page * across,
  };
  if (event.key === "Home") return 0;
  if (event.key === "End") return length - 1;
  if (!(event.key in steps)) return null;
  const next = at + steps[event.key];
  if (next >= 0 && next < length) return next;
  if (event.key.startsWith("Page")) return next < 0 ? 0 : length - 1;
  return event.key === "ArrowDown" && Math.floor(at / across) < Math.floor((length - 1) / across) ? length - 1 : at;
}

root.addEventListener("keydown", (event) => {
  const node = onCard(event.target);
  if (!node || menu || event.altKey) return;
  const id = idOf(node);
  const card = node.classList.contains("bm-card");
  const command = event.ctrlKey || event.metaKey;
  let done = true;
  if (command && event.key.toLowerCase() === "a") {
    select(neighboursOf(id), id);
    announce(say("say_selected", { count: number(selected.size) }));
  } else if (command && event.key !== "Home" && event.key !== "End") {
    done = false;
  } else if (event.key === " " || event.key === "Enter") {
    if (event.shiftKey) selectRange(id);
    else toggle(id);
    announce(say("say_selected", { count: number(selected.size) }));
  } else if (/^[1-9]$/.test(event.key)) {
    const box = boxes[Number(event.key) - 1];
    if (box) move(selected.size ? inOrder(selected) : [id], box.id);
    else announce(say("say_no_box", { number: event.key }));
  } else if (["0", "Backspace", "Delete"].includes(event.key)) {
    move(selected.size ? inOrder(selected) : [id], null);
  } else if (event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) {
    if (!selected.has(id)) select([id], id);
    const area = node.getBoundingClientRect();
    openMenu(area.left + 12, area.bottom - 8, node);
  } else {
    done = card ? walkTray(event, id) : walkBox(event, node);
  }
  if (done) event.preventDefault();
}, { signal });

function walkTray(event, id) {
  const page = Math.max(1, Math.floor(tall / rowHeight()) - 1);
  const next = walk(event, current, view.length, columns, page);
  if (next === null) return false;
  if (event.shiftKey && anchor === null) anchor = id;
  focusCard(next);
  if (event.shiftKey) selectRange(view[next]);
  return true;
}

function walkBox(event, node) {
  const thumbs = [...node.parentElement.querySelectorAll(".bm-thumb")];
  const across = Math.max(1, thumbs.filter((thumb) => thumb.offsetTop === thumbs[0].offsetTop).length);
  const next = walk(event, thumbs.indexOf(node), thumbs.length, across, 2);
  if (next === null) return false;
  thumbs[next].focus();
  if (event.shiftKey) selectRange(idOf(thumbs[next]));
  return true;
}

document.addEventListener("keydown", (event) => {
  if (!root.isConnected) return;
  if (event.key === "Escape") {
    if (drag) return cancelDrag();
    if (!menu && root.contains(event.target)) clearSelection();
    return;
  }
  const here = root.contains(event.target) || event.target === document.body;
  const typing = event.target.matches?.("input:not([type=range]), textarea, [contenteditable]");
  if (!here || typing || !(event.ctrlKey || event.metaKey) || event.altKey || drag) return;
  if (root.offsetParent === null) return; // in a tab that is not open
  const key = event.key.toLowerCase();
  if (key === "z" && !event.shiftKey) undo();
  else if (key === "y" || key === "z") redo();
  else return;
  event.preventDefault();
}, { signal });

// ---------------------------------------------------------------- the menu of boxes

let menu = null;

function openMenu(x, y, opener) {
  closeMenu();
  const ids = inOrder(selected);
  if (!ids.length) return;
  menu = make("div", "bm-menu", { role: "menu", "aria-label": say("move_to") });
  menu.opener = opener;
  const add = (badge, text, index, act) => {
    const item = button("bm-menu-item", badge, make("span", "", {}, text));
    item.setAttribute("role", "menuitem");
    item.tabIndex = -1;
    if (index !== null) hue(badge, index);
    item.addEventListener("click", () => {
      closeMenu(true);
      act();
    });
    menu.append(item);
  };
  boxes.forEach((box, index) => {
    if (ids.every((id) => where[id] === index)) return; // they are in there
    add(make("i", "bm-badge", {}, String(index + 1)), box.name, index, () => move(ids, box.id));
  });
  if (boxes.length < MAX_BOXES) {
    add(make("i", "bm-badge bm-open", {}, icon("plus")), say("box_new"), null, () => {
      const box = newBox();
      if (!box) return;
      move(ids, box.id, [...boxes, box]);
      boxNodes.get(box.id)?.name.focus();
    });
  }
  if (ids.some((id) => where[id] >= 0)) {
    add(make("i", "bm-badge bm-open", {}, icon("undo")), say("move_out"), null, () => move(ids, null));
  }
  menu.addEventListener("keydown", menuKeys);
  root.append(menu);
  if (menu.showPopover) {
    menu.popover = "manual";
    menu.showPopover();
  }
  const area = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(x, window.innerWidth - area.width - 8))}px`;
  menu.style.top = `${Math.max(8, y + area.height + 8 > window.innerHeight ? y - area.height : y)}px`;
  menu.firstChild.focus();
}

function menuKeys(event) {
  const items = [...menu.children];
  const at = items.indexOf(document.activeElement);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (next !== undefined) items.at(next % items.length).focus();
  else if (/^[1-9]$/.test(event.key) && boxes[Number(event.key) - 1]) items[Number(event.key) - 1].click();
  else if (event.key === "Escape" || event.key === "Tab") closeMenu(true);
  else if (event.key !== "Enter" && event.key !== " ") return;
  else return event.stopPropagation();
  event.preventDefault();
  event.stopPropagation();
}

function closeMenu(back = false) {
  if (!menu) return;
  const { opener } = menu;
  menu.remove();
  menu = null;
  if (back && opener?.isConnected) opener.focus({ preventScroll: true });
}

document.addEventListener("pointerdown", (event) => menu && !menu.contains(event.target) && closeMenu(), { signal });
window.addEventListener("blur", () => closeMenu(), { signal });

// ---------------------------------------------------------------- files from the desktop

const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
const isPicture = (file) =>
  /^image\/(jpeg|png|webp|bmp|gif|tiff)$/.test(file.type) || /\.(jpe?g|png|webp|bmp|gif|tiff?)$/i.test(file.name);

root.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  const target = targetAt(event.clientX, event.clientY);
  root.classList.add("bm-files");
  highlight(target === "new" ? undefined : target);
  frame.classList.toggle("bm-over", target === null);
  frame.dataset.drop = say("files_drop");
}, { signal });

root.addEventListener("dragleave", (event) => {
  if (event.relatedTarget && root.contains(event.relatedTarget)) return;
  endFiles();
}, { signal });

root.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  event.stopPropagation();
  endFiles();
  const box = event.target.closest?.(".bm-box")?.dataset.box ?? null;
  sendFiles([...event.dataTransfer.files], box);
}, { signal });

function endFiles() {
  root.classList.remove("bm-files");
  highlight(undefined);
  frame.dataset.drop = say("tray_drop");
}

async function sendFiles(dropped, box) {
  const files = dropped.filter(isPicture);
  if (!files.length) return notice(say("files_not_pictures"));
  notice(say("files_sending", { what: counted("picture_one", "picture_many", files.length) }), 60000);
  const sent = new Array(files.length).fill(null);
  let at = 0;
  const worker = async () => {
    while (at < files.length) {
      const mine = at++;
      try {
        const { path } = await upload(files[mine]);
        sent[mine] = { path, name: files[mine].name };
      } catch { /* counted below */ }
    }
  };
  await Promise.all([worker(), worker(), worker()]);
  if (signal.aborted) return;
  const good = sent.filter(Boolean);
  const failed = files.length - good.length;
  const key = failed ? "files_failed" : "files_sent";
  notice(say(key, { what: counted("picture_one", "picture_many", failed || good.length) }), failed ? 6000 : 2500);
  if (good.length) trigger("dropfiles", { box, rev, files: good });
}

// ---------------------------------------------------------------- controls

undoButton.addEventListener("click", undo);
redoButton.addEventListener("click", redo);
clearButton.addEventListener("click", () => {
  clearSelection();
  if (view.length) focusCard(current, false);
});
moveButton.addEventListener("click", () => {
  const area = moveButton.getBoundingClientRect();
  openMenu(area.left, area.top - 6, moveButton);
});
addButton.addEventListener("click", () => {
  const ids = pointer !== "mouse" && selected.size ? inOrder(selected) : null;
  const box = ids && newBox();
  if (box) move(ids, box.id, [...boxes, box]);
  else if (!ids) addBox();
});
chips.addEventListener("click", (event) => {
  const chip = event.target.closest(".bm-chip");
  if (!chip || chip.getAttribute("aria-disabled") === "true") return;
  filter = chip.dataset.filter === filter ? "all" : chip.dataset.filter;
  restart();
});
search.addEventListener("input", () => {
  query = search.value;
  fetchNames();
  restart();
});
size.addEventListener("input", () => {
  if (measure()) drawTray();
  memory.size = Number(size.value);
});

// Another filter or word: from the top, with nothing selected that cannot be seen.
function restart() {
  memory.filter = filter;
  selected.clear();
  current = 0;
  view = [];
  scrollTray(0);
  drawAll();
}

let scrolling = 0;
scroll.addEventListener("scroll", () => {
  cancelAnimationFrame(scrolling);
  scrolling = requestAnimationFrame(() => {
    top = scroll.scrollTop;
    drawRows();
  });
}, { signal, passive: true });

let lastWidth = 0;
const watcher = new ResizeObserver(() => {
  if (!root.isConnected) return watcher.disconnect();
  root.classList.toggle("bm-wide", root.clientWidth >= WIDE);
  tall = scroll.clientHeight;
  if (scroll.clientWidth === lastWidth) return drawRows();
  lastWidth = scroll.clientWidth;
  if (measure()) drawTray();
});
watcher.observe(root);
watcher.observe(scroll);
signal.addEventListener("abort", () => watcher.disconnect());

// ---------------------------------------------------------------- props

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

let namesOf = null; // the address they were fetched from

async function fetchNames() {
  const about = pictures?.about;
  if (!about || namesOf === about) return;
  namesOf = about;
  try {
    const answer = await fetch(about);
    if (!answer.ok) throw new Error(answer.status);
    const found = await answer.json();
    if (signal.aborted || pictures?.about !== about) return;
    names = found.names;
    lowerNames = names.map((name) => String(name).toLowerCase());
    if (!drag) drawAll();
  } catch {
    namesOf = null; // the pictures keep their numbers; the next search tries again
  }
}

// Class folders come one after the other; with pictures.mixed the tray walks through them in wide steps instead,
// so that the first view shows some of each. Any step without a common divisor reaches every picture once.
function strideOf(n) {
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  let step = Math.max(1, Math.round(n * 0.618));
  while (divisor(step, n) > 1) step += 1;
  return step;
}

function takePictures() {
  const next = given("pictures") ?? null;
  if (next?.key !== pictures?.key) {
    names = lowerNames = namesOf = null;
    guesses = null;
    selected.clear();
    forgetDrawn();
    freshPictures = mounted; // boxes that come with them count, whatever their rev
    if (mounted && pictures) {
      emptied = true; // what the boxes held were numbers of other pictures
      boxes = boxes.map((box) => ({ ...box, items: [] }));
    }
    if (memory.key !== undefined && memory.key !== next?.key) {
      Object.assign(memory, { past: [], future: [], boxes: null });
    }
    scrollTray(0);
    current = 0;
    query = search.value = "";
  }
  pictures = next;
  stride = pictures?.mixed ? strideOf(pictures.n) : 1;
  root.style.setProperty("--columns", pictures?.columns ?? 1);
  setTimeout(() => signal.aborted || fetchNames(), 400); // after the first pictures
}

function forgetDrawn() {
  rows.forEach((row) => row.remove());
  rows.clear();
  boxNodes.forEach((parts) => {
    parts.thumbs.forEach((thumb) => thumb.remove());
    parts.thumbs.clear();
  });
}

function takeExtras() {
  if (mounted) forgetDrawn(); // a box may already show the number of a picture that comes only now
  extras = new Map((given("extras") ?? []).map((extra) => [extra.id, extra]));
}

let mounted = false;
let freshPictures = false;
let emptied = false;

function takeBoxes() {
  const next = given("boxes") ?? { rev: 0, boxes: [] };
  if (!mounted && memory.boxes && memory.rev >= next.rev) {
    ({ boxes, rev } = memory); // a remount: the page is ahead of what Python last sent
    return;
  }
  const tidy = next.boxes.map(({ id, name, items }) => ({ id: String(id), name: String(name), items: [...items] }));
  if (!mounted) {
    boxes = tidy;
    rev = next.rev;
    return;
  }
  if (next.rev <= rev && !next.force && !freshPictures) return; // an echo
  if (memory.key === pictures?.key) {
    memory.past.push(boxes);
    if (memory.past.length > MAX_STEPS) memory.past.shift();
    memory.future = [];
    landed = new Set(tidy.flatMap((box) => box.items).filter((id) => !(where[id] >= 0)).slice(0, 60));
  }
  boxes = tidy;
  emptied = false;
  if (next.rev > rev || (freshPictures && next.rev === rev)) {
    rev = next.rev;
    return;
  }
  rev += 1; // Python did not know of the newest change: tell it the number that counts now
  emit();
}

function takeAnswers() {
  const next = given("answers");
  if (!next?.label) { // Gradio delivers no None: {} takes the guesses away
    guesses = null;
    if (["unsure", "none"].includes(filter) || boxIndex(filter) >= 0) filter = "all";
    return;
  }
  if (guesses && next.rev < guesses.rev) return; // the newest wins
  const label = new Int8Array(bytes(next.label).buffer);
  const notes = new Map(next.box_ids.map((id, index) => [id, next.box_notes?.[index] ?? ""]));
  guesses = { rev: next.rev, label, sure: bytes(next.sure), boxIds: next.box_ids, order: [], notes };
  root.dataset.answered = next.rev;
}

function takeWords() {
  const tables = given("words") ?? DEFAULT_WORDS;
  words = tables;
  if (typeof tables.en === "object") {
    const wish = navigator.languages.find((tag) => tables[tag] || Object.keys(tables).some((key) => alike(key, tag)));
    words = { ...tables.en, ...(tables[wish] ?? tables[Object.keys(tables).find((key) => alike(key, wish))]) };
  }
  drawWords();
}

const alike = (one, other) => one.split("-")[0] === other?.split("-")[0];

const TAKE = { words: takeWords, pictures: takePictures, extras: takeExtras, boxes: takeBoxes, answers: takeAnswers };
const waiting = new Set();

// What came from Python is taken in this order, in one go, and never while a picture is held.
function apply() {
  for (const name of Object.keys(TAKE)) if (waiting.has(name)) TAKE[name]();
  waiting.clear();
  if (emptied) { // and no boxes came with the new pictures
    rev += 1;
    emit();
  }
  freshPictures = emptied = false;
  indexBoxes();
  remember();
  drawAll();
}

for (const name of Object.keys(TAKE)) {
  watch(name, () => {
    if (signal.aborted || !root.isConnected) return;
    waiting.add(name);
    queueMicrotask(() => waiting.size && !drag && apply());
  });
  waiting.add(name);
}
root.classList.toggle("bm-wide", root.clientWidth >= WIDE);
apply();
mounted = true;
if (measure()) drawTray();
// Updates sent before the board was drawn replaced one another; now Python can send all of its state again.
trigger("ready");
