// The map itself: what is shown, its colours, the frame that draws it, the camera, the painters. One body of code
// in several files, which __init__.py joins in the order of its FILES: this one after the painters, scatter.js last.
// Gradio runs it with element, trigger, props and watch, after FIRST (the first props) and DEFAULT_WORDS.

const MOVE_MS = 600; // from one layout to the next
const FADE_MS = 160; // a picture appearing or leaving
const MOST_PICTURES = 400; // up to here every picture in view is drawn, beyond one for each patch
const MOST_SENT = 20000; // picture ids in one event
const LONG_PRESS_MS = 450;
const LOW = 510; // pixels of height: with less, the tools in one column would reach the bar of a selection
const GREY = 255;
const DARK = 0.2; // luminance of a ground up to which it counts as dark
const LEAST_CONTRAST = 2.6; // of a group's colour with a dark ground
// Okabe and Ito, with a violet where theirs has black; the next rounds are lighter, then darker.
const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#e3d32b", "#7f5bab"];
const NAMES_OF_PROPS = ["pictures", "points", "colours", "boxes", "tools", "lit", "landed", "selection", "film",
  "compare", "large", "words", "compact"];
// Gradio does not deliver None in an update, so {} says "none" too.
const given = (value, needed) => (value?.[needed] ? value : null);
const prop = (name) => (props[name] === undefined ? FIRST[name] : props[name]);

const root = element.querySelector(".scatter");
const find = (selector) => root.querySelector(selector);
const stage = find(".stage");
const overlay = find(".overlay");
const card = find(".card");
const pen = overlay.getContext("2d");

element.parentElement.style.padding = 0; // in line with the blocks above and below

// Gradio may run this again on the same component: let go of what the last run put on the window.
const place = element.parentElement?.closest("[id]")?.id || "map";
const runs = (window.__byolmetaScatter ??= {});
if (runs[place] && !runs[place].element.isConnected) runs[place].stop();
const ending = new AbortController();
const signal = ending.signal;
const stop = () => {
  ending.abort();
  sizes.disconnect();
  lengths.disconnect();
  theme.disconnect();
  sheets?.close();
  painter?.dispose();
};
runs[place] = { element: root, stop };
const on = (target, kind, act, options = {}) => target.addEventListener(kind, act, { signal, ...options });

const clamp = (value, least, most) => Math.min(most, Math.max(least, value));
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const absolute = (url) => new URL(url, document.baseURI).href;
const say = (text) => { find(".live").textContent = text; };

let words = { ...DEFAULT_WORDS };
const word = (name, values = {}) => {
  let text = String(words[name] ?? name);
  for (const [key, value] of Object.entries(values)) text = text.split(`{${key}}`).join(value);
  return text;
};
const amount = (name, n) => (n === 1 ? word(`${name}_one`) : word(`${name}_many`, { n: n.toLocaleString() }));

// ---- what is shown

let painter = null;
let sheets = null;
let about = null; // names, labels, class_names
let points = null; // the newest descriptor, maybe still on its way
let laid = null; // the layout of `points`: {told, n, ids, index, order, places, half, centre, reach, near, k}
// What is drawn: {kind, told, n, ids, index, order, half, from, to, started, held, twin, cell, grid}. kind: "plain"
// (the layout above), "spread" (each picture in a cell of its own), "film", "compare" or "sides". held: a part 0..1
// of the way from `from` to `to` that is kept; null
// while the clock moves it. twin: how many pictures, where each is there twice (point p and point p + twin).
let map = null;
let codes = new Uint8Array(0); // group of each point, 255 = none
let groups = []; // {name, colour, count}
let isolated = new Set(); // groups; empty = all
let hinted = -1; // group under the pointer in the legend
let flags = new Uint8Array(0); // 1 = selected
let marks = new Uint8Array(0); // what the painter hears: 1 = selected, 2 = lit
let chosen = 0; // how many
let width = 0, height = 0, ratio = 1;
let camera = { x: 0, y: 0, scale: 1 };
let goal = { x: 0, y: 0, scale: 1 };
let atHome = true;
let tool = "pan";
let hovered = -1, pinned = -1, focused = -1; // points
let trail = null; // the lasso or box being drawn, in page pixels
let shown = new Map(); // point -> alpha of its picture
let inView = []; // points whose picture should be seen, uppermost first
let viewed = 0; // points in view
let size = 36, goalSize = 36; // of a picture
let seen = true; // false: what should be seen must be chosen again
let palette = new Uint8Array(256 * 4); // colour and emphasis of each group, as the painter has it
let ink = [0, 0, 0], ground = [1, 1, 1], accent = "#0072b2", paper = "#fff", body = "#222";

const compact = () => Boolean(prop("compact"));
const idOf = (point) => (map.ids ? map.ids[point] : point);
const pointIn = (layout, id) => (layout.index ? layout.index.get(id) ?? -1 : id < layout.n ? id : -1);
const pointOf = (id) => pointIn(map, id);
const partner = (point) => (!map.twin ? -1 : point < map.twin ? point + map.twin : point - map.twin);
// Its row in `points`; -1 for a picture of the film that has none.
function rowOf(point) {
  if (map.kind === "plain") return point;
  if (map.kind === "film") return laid ? pointIn(laid, idOf(point)) : -1;
  return map.twin ? point % map.twin : point;
}
const nameOf = (id) => about?.names?.[id] ?? word("picture", { n: (id + 1).toLocaleString() });
const folderOf = (id) => {
  const label = about?.labels?.[id] ?? -1;
  return label >= 0 ? about.class_names?.[label] ?? "" : "";
};
const active = (point) => isolated.size === 0 || isolated.has(codes[point]);

const ease = (t) => (t < 0.5 ? 4 * t * t * t : 1 - (2 - 2 * t) ** 3 / 2);
const progress = () => (map.started ? clamp((performance.now() - map.started) / MOVE_MS, 0, 1) : 1);
const mixNow = () => map.held ?? ease(progress());
const whereX = (point, mix) => map.from[2 * point] + (map.to[2 * point] - map.from[2 * point]) * mix;
const whereY = (point, mix) => map.from[2 * point + 1] + (map.to[2 * point + 1] - map.from[2 * point + 1]) * mix;
// Where a point is, or is on its way to.
const restX = (point) => whereX(point, map.held ?? 1);
const restY = (point) => whereY(point, map.held ?? 1);
const screenX = (x) => (x - camera.x) * camera.scale + width / 2;
const screenY = (y) => height / 2 - (y - camera.y) * camera.scale;
const worldX = (x) => (x - width / 2) / camera.scale + camera.x;
const worldY = (y) => (height / 2 - y) / camera.scale + camera.y;

// ---- colours

function shade(colour, round) {
  if (!round) return colour;
  return round % 2 ? tint(colour, 255, 0.45) : tint(colour, 0, 0.35);
}

// Part of the way to white (255) or black (0).
function tint(colour, towards, amount) {
  const parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return "#" + parts.map((part) => Math.round(part + (towards - part) * amount).toString(16).padStart(2, "0"))
    .join("");
}

// Brightness as the eye sees it, 0..1 (WCAG); parts: red, green and blue in 0..1.
function luminance(parts) {
  const [red, green, blue] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// A colour that can be told from a dark ground: lightened as far as that takes.
function visible(colour) {
  const behind = luminance(ground);
  if (behind > DARK) return colour;
  const light = (hex) => luminance([1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255));
  let lighter = colour;
  while ((light(lighter) + 0.05) / (behind + 0.05) < LEAST_CONTRAST) lighter = tint(lighter, 255, 0.2);
  return lighter;
}

const paletteColour = (code) => shade(PALETTE[code % 8], Math.floor(code / 8) % 3);

function readTheme() {
  const style = getComputedStyle(root);
  const read = (name, other) => style.getPropertyValue(name).trim() || other;
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parts = (colour) => {
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((part) => part / 255);
  };
  accent = read("--color-accent", "#0072b2");
  paper = read("--background-fill-primary", "#fff");
  body = read("--body-text-color", "#222");
  ink = parts(body);
  ground = parts(paper);
  group();
}

// The groups and each point's group: from the prop, else from the folders.
function group() {
  const colouring = given(props.colours, "codes");
  const n = map ? map.n : 0;
  codes = new Uint8Array(n).fill(GREY);
  let names = [], colours = [], examples = [];
  if (props.colours?.none) {
    // all grey, on purpose
  } else if (colouring) {
    const bytes = atob(colouring.codes);
    for (let at = 0; at < n; at++) {
      const id = idOf(at);
      if (id < bytes.length) codes[at] = bytes.charCodeAt(id);
    }
    names = colouring.names || [];
    colours = colouring.colours || [];
    examples = colouring.pictures || [];
    codesOfStep(colouring);
  } else if (about?.labels) {
    names = about.class_names || [];
    for (let at = 0; at < n; at++) {
      const label = about.labels[idOf(at)] ?? -1;
      if (label >= 0 && label < GREY) codes[at] = label;
    }
  }
  const counts = new Uint32Array(256);
  for (const code of map?.twin ? codes.subarray(0, map.twin) : codes) counts[code] += 1;
  groups = names.slice(0, GREY).map((name, code) => ({ code, name: String(name), count: counts[code],
    example: examples[code] ?? -1,
    colour: visible(/^#[0-9a-f]{6}$/i.test(colours[code] || "") ? colours[code] : paletteColour(code)) }));
  groups = groups.filter((entry) => entry.count);
  if (counts[GREY] && groups.length) {
    groups.push({ code: GREY, name: word("no_group"), count: counts[GREY], example: -1, colour: "#9a9a9a" });
  }
  isolated = new Set([...isolated].filter((code) => counts[code]));
  hinted = -1;
  painter?.recolour(codes);
  drawLegend();
  recolour();
  if (map) showCard(); // it tells the group
}

function recolour() {
  if (!painter) return;
  const bytes = new Uint8Array(256 * 4).fill(150);
  for (let code = 0; code < 256; code++) {
    const colour = groups.find((entry) => entry.code === code)?.colour;
    if (colour) for (let part = 0; part < 3; part++) {
      bytes[4 * code + part] = parseInt(colour.slice(1 + 2 * part, 3 + 2 * part), 16);
    }
    const out = isolated.size && !isolated.has(code);
    if (out) bytes.fill(150, 4 * code, 4 * code + 3);
    bytes[4 * code + 3] = out ? 60 : hinted >= 0 && hinted !== code ? 70 : 255;
  }
  palette = bytes;
  painter.palette(bytes);
  seen = false;
  request();
}

const colourOf = (point) => groups.find((entry) => entry.code === codes[point])?.colour ?? "#9a9a9a";

// ---- the drawing itself: only when something changed

let frameAsked = false;
let lastFrame = 0;
let laidAt = 0, firstDraw = 0; // when positions were there, and how many ms later they were drawn

function request() {
  if (frameAsked || signal.aborted) return;
  frameAsked = true;
  requestAnimationFrame(frame);
}

function frame(now) {
  frameAsked = false;
  if (signal.aborted) return;
  if (!root.isConnected) return stop();
  if (!width || !height || !painter) return;
  const passed = lastFrame && now - lastFrame < 200 ? now - lastFrame : 16;
  let moving = moveCamera(passed);
  if (map) {
    if (map.held === null && map.started && progress() < 1) moving = true;
    else if (runScene(passed)) moving = true;
    if (!seen) choosePictures();
    if (fade(passed)) moving = true;
    if (ringing() && !calm.matches) moving = true;
    const mix = mixNow();
    const pictures = [];
    for (let at = inView.length - 1; at >= 0; at--) addPicture(pictures, inView[at], mix);
    for (const [point, alpha] of shown) if (alpha < 0) addPicture(pictures, point, mix);
    painter.draw({ camera, mix, dot: dotSize(), pictures, ground, ink, dimmed: isolated.size > 0 || hinted >= 0 });
  } else {
    painter.draw({ camera, mix: 1, dot: 4, pictures: [], ground, ink, dimmed: false });
  }
  drawOverlay();
  if (moving) placeCard();
  if (map && laidAt) firstDraw = performance.now() - laidAt;
  laidAt = 0;
  lastFrame = moving ? now : 0;
  if (moving) request();
  else if (map) prepareGrid();
}

function addPicture(list, point, mix) {
  const alpha = Math.abs(shown.get(point) ?? 0);
  if (!alpha) return;
  const pale = (pales() && !marks[point]) || (hinted >= 0 && codes[point] !== hinted);
  list.push({ point, id: idOf(point), x: whereX(point, mix), y: whereY(point, mix),
    size: size * (0.7 + 0.3 * alpha), alpha, pale });
}

const dotSize = () => clamp(130 / Math.sqrt(viewed + 1) + 2.2, 3, 9);

// Alpha of a picture climbs to 1 while it is wanted; a leaving one is kept as a negative number.
function fade(passed) {
  const step = calm.matches ? 1 : passed / FADE_MS;
  let moving = false;
  const wanted = new Set(inView);
  const ready = painter.prepare(inView.map(idOf), sheets, map.n);
  for (const point of inView) {
    const alpha = Math.abs(shown.get(point) ?? 0);
    if (alpha >= 1 || !painter.has(idOf(point))) continue;
    shown.set(point, Math.min(1, alpha + step));
    moving = true;
  }
  for (const [point, alpha] of shown) {
    if (wanted.has(point)) continue;
    const left = Math.abs(alpha) - step;
    if (left > 0) shown.set(point, -left);
    else shown.delete(point);
    moving = true;
  }
  if (Math.abs(goalSize - size) > 0.3) {
    size += (goalSize - size) * (calm.matches ? 1 : 1 - Math.exp(-passed / 90));
    moving = true;
  } else size = goalSize;
  return moving || !ready;
}

// All pictures in view when there are few; else, for each patch of the map, the one that ranks first there.
// Ranks and patches do not depend on the view, so nothing flickers while one moves around.
function choosePictures() {
  seen = true;
  const edge = 60;
  const { order, n } = map;
  const mix = map.held ?? 1;
  const left = worldX(-edge), right = worldX(width + edge), top = worldY(-edge), bottom = worldY(height + edge);
  const inside = [];
  for (let at = n - 1; at >= 0; at--) {
    const point = order[at];
    const x = whereX(point, mix), y = whereY(point, mix);
    if (x > left && x < right && y > bottom && y < top && active(point)) inside.push(point);
  }
  viewed = inside.length;
  const few = viewed <= (map.cell ? MOST_SPREAD : MOST_PICTURES);
  goalSize = sizeOf(few);
  inView = [];
  if (!sheets || (wished.dots && !compact())) return;
  if (few) { inView = inside; return; }
  const patch = 2 ** Math.ceil(Math.log2(goalSize * 1.02 / camera.scale));
  // Far out, only some sheets are read: enough pictures, without loading them all.
  const every = viewed > 1500 ? Math.ceil(sheets.pictures.sheets.length / 24) : 1;
  const end = endOfScene();
  const taken = new Set();
  const take = (point) => {
    const spot = Math.floor(end[2 * point] / patch) * 2 ** 14 + Math.floor(end[2 * point + 1] / patch);
    if (taken.has(spot)) return;
    taken.add(spot);
    inView.push(point);
  };
  if (lightening) for (const point of inside) if (marks[point]) take(point); // what is lit stands for its patch
  for (const point of inside) if (sheets.sheetOf(idOf(point)) % every === 0) take(point);
}

// Lasso, new pictures, the picture under the pointer, and lines to its nearest pictures.
function drawOverlay() {
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const point = current();
  if (map?.kind === "sides") drawSides();
  if (map && step) drawRings();
  if (map) drawGuests();
  if (map && point >= 0) {
    if (map.twin) drawNeighbours(partner(point));
    drawNeighbours(point);
  }
  if (trail) drawTrail();
  drawMini();
}

function current() {
  if (!map || guestNow()) return -1;
  return hovered >= 0 ? hovered : focused >= 0 ? focused : pinned;
}

function drawNeighbours(point) {
  const mix = mixNow();
  const x = screenX(whereX(point, mix)), y = screenY(whereY(point, mix));
  drawLines(x, y, neighbours(point), map.twin && point >= map.twin);
  drawPicture(idOf(point), x, y, Math.max(44, size * 1.3), 3);
}

// Thin lines from a spot to pictures, which get a rim. inSecond: to those of the second half of a map with twins.
function drawLines(x, y, ids, inSecond = false) {
  const mix = mixNow();
  const ends = ids.map(pointOf).filter((point) => point >= 0).map((point) => inSecond ? partner(point) : point)
    .map((point) => [idOf(point), screenX(whereX(point, mix)), screenY(whereY(point, mix))]);
  pen.lineCap = "round";
  for (const [, toX, toY] of ends) {
    for (const [colour, line, alpha] of [[paper, 3.5, 0.7], [accent, 1.5, 0.95]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = line;
      pen.globalAlpha = alpha;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(toX, toY);
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
  for (const [id, toX, toY] of ends) drawPicture(id, toX, toY, Math.max(28, size), 2);
}

function drawPicture(id, x, y, side, border) {
  const image = sheets?.get(sheets.sheetOf(id)) ?? null;
  const tile = sheets?.pictures.tile;
  drawTile(x, y, side, border, image, image && [...sheets.corner(id), tile, tile]);
}

// A picture with a rim; without an image a dot. part: left, top, width and height within the image.
function drawTile(x, y, side, border, image, part) {
  pen.save();
  pen.shadowColor = "rgba(0, 0, 0, .35)";
  pen.shadowBlur = 8;
  pen.shadowOffsetY = 1;
  pen.fillStyle = accent;
  pen.beginPath();
  if (!image) pen.arc(x, y, 7, 0, 7);
  else pen.roundRect(x - side / 2 - border, y - side / 2 - border, side + 2 * border, side + 2 * border, 7);
  pen.fill();
  pen.shadowColor = "transparent";
  if (image) {
    pen.beginPath();
    pen.roundRect(x - side / 2, y - side / 2, side, side, 5);
    pen.clip();
    pen.drawImage(image, ...part, x - side / 2, y - side / 2, side, side);
  }
  pen.restore();
}

function drawTrail() {
  pen.beginPath();
  trail.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.closePath();
  pen.fillStyle = accent;
  pen.globalAlpha = 0.12;
  pen.fill();
  pen.globalAlpha = 1;
  pen.lineJoin = "round";
  pen.lineWidth = 4;
  pen.strokeStyle = paper;
  pen.stroke();
  pen.lineWidth = 2;
  pen.strokeStyle = accent;
  pen.stroke();
}

// ---- where one looks

// Pixels on the right that the tools take; where it is narrow they are above, where it is low in two columns.
const toolRoom = () => (compact() || narrow() ? 0 : low() ? 88 : 52);

// Everything in view, none of it under the tools.
function home() {
  const pad = compact() ? 20 : 34;
  const right = toolRoom(), top = narrow() && !compact() ? 38 : 0;
  const [wide, high] = map ? map.half : [1, 1];
  const scale = Math.max(8, Math.min(((width - right) / 2 - pad) / wide, ((height - top) / 2 - pad) / high));
  return { x: right / 2 / scale, y: top / 2 / scale, scale };
}

// Moves towards the goal. The centre follows the inverse of the scale, so the spot under the pointer stays.
function moveCamera(passed) {
  const near = Math.abs(Math.log(goal.scale / camera.scale)) < 0.002
    && Math.hypot(goal.x - camera.x, goal.y - camera.y) * goal.scale < 0.4;
  if (camera.x === goal.x && camera.y === goal.y && camera.scale === goal.scale) return false;
  seen = false;
  if (near || calm.matches) { camera = { ...goal }; return false; }
  const step = 1 - Math.exp(-passed / 65);
  const scale = camera.scale * (goal.scale / camera.scale) ** step;
  const sameScale = Math.abs(goal.scale / camera.scale - 1) < 0.001;
  const part = sameScale ? step : (1 / camera.scale - 1 / scale) / (1 / camera.scale - 1 / goal.scale);
  camera = { x: camera.x + (goal.x - camera.x) * part, y: camera.y + (goal.y - camera.y) * part, scale };
  return true;
}

function look(next, { jump = false, isHome = false } = {}) {
  const least = home().scale * 0.7, most = home().scale * clamp(4 * Math.sqrt((map?.n ?? 1) / 10), 12, 400);
  goal = { x: clamp(next.x, -1.1, 1.1), y: clamp(next.y, -1.1, 1.1), scale: clamp(next.scale, least, most) };
  if (jump) camera = { ...goal };
  atHome = isHome;
  seen = false;
  request();
}

function zoomAt(x, y, factor, jump = false) {
  const base = jump ? camera : goal;
  const least = home().scale * 0.7, most = home().scale * clamp(4 * Math.sqrt((map?.n ?? 1) / 10), 12, 400);
  const scale = clamp(base.scale * factor, least, most);
  const dx = x - width / 2, dy = height / 2 - y;
  const shift = 1 / base.scale - 1 / scale;
  look({ x: base.x + dx * shift, y: base.y + dy * shift, scale }, { jump });
}

// So that these places are in view with room around them; `closest`: times as near as when everything is in view.
function lookAt(xs, ys, closest) {
  const least = [xs, ys].map((all) => Math.min(...all)), most = [xs, ys].map((all) => Math.max(...all));
  const fits = Math.min(...[width, height].map((room, side) => 0.5 * room / (most[side] - least[side] + 1e-6)));
  look({ x: (least[0] + most[0]) / 2, y: (least[1] + most[1]) / 2,
    scale: clamp(fits, home().scale, home().scale * closest) });
}

const goHome = (jump = false) => look(home(), { jump, isHome: true });

function measure() {
  const box = stage.getBoundingClientRect();
  const nextRatio = Math.min(2, window.devicePixelRatio || 1);
  if (!box.width || !box.height) return;
  if (!room) fit();
  root.classList.toggle("narrow", root.getBoundingClientRect().width < 640);
  const innerWidth = stage.clientWidth, innerHeight = stage.clientHeight;
  if (innerWidth === width && innerHeight === height && nextRatio === ratio && painter) return;
  const first = !width;
  [width, height, ratio] = [innerWidth, innerHeight, nextRatio];
  root.classList.toggle("tight", width < 820);
  root.classList.toggle("low", height < LOW && !narrow());
  overlay.width = Math.round(width * ratio);
  overlay.height = Math.round(height * ratio);
  markMore();
  if (!painter) startPainter();
  painter.resize(width, height, ratio);
  seen = false;
  if (first || atHome) goHome(true);
  request();
}

const narrow = () => root.classList.contains("narrow");
const low = () => root.classList.contains("low");

// ---- painters

// ?nogl and ?gl in the address choose the painter, for tests and for people with odd drivers.
function wantsFlat() {
  const asked = new URLSearchParams(location.search);
  return asked.has("nogl") || (!asked.has("gl") && softwareOnly());
}

function startPainter(flat = wantsFlat()) {
  const old = find(".ground");
  let canvas = old;
  if (painter) {
    // a canvas keeps its first kind of context, so the other painter needs another canvas
    canvas = old.cloneNode();
    old.replaceWith(canvas);
  }
  try {
    painter = flat ? new FlatPainter(canvas) : new GlPainter(canvas, onLost, onRestored);
  } catch (problem) {
    console.info(`The map draws without WebGL: ${problem.message}`);
    const fresh = canvas.cloneNode();
    canvas.replaceWith(fresh);
    painter = new FlatPainter(fresh);
  }
  root.dataset.painter = painter instanceof GlPainter ? "webgl2" : "canvas";
  if (width) painter.resize(width, height, ratio);
  fillPainter();
}

function fillPainter() {
  if (!painter) return;
  painter.forget();
  if (map) painter.layout(map.order, codes, map.from, map.to);
  painter.select(marks, pales());
  recolour();
}

let lostTimer = 0;

function onLost() {
  root.dataset.painter = "lost";
  lostTimer = setTimeout(() => { if (!signal.aborted) startPainter(true); }, 2500);
}

function onRestored() {
  clearTimeout(lostTimer);
  if (signal.aborted) return;
  root.dataset.painter = "webgl2";
  painter.resize(width, height, ratio);
  fillPainter();
}
