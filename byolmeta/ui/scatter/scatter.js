// The map of pictures. Gradio runs this as a function body with element, trigger, props and watch, after FIRST
// (the first props), DEFAULT_WORDS and painters.js (the drawing). See __init__.py for props and events.

const MOVE_MS = 600; // from one layout to the next
const FADE_MS = 160; // a picture appearing or leaving
const MOST_PICTURES = 400; // up to here every picture in view is drawn, beyond one for each patch
const MOST_SENT = 20000; // picture ids in one event
const LONG_PRESS_MS = 450;
const GREY = 255;
// Okabe and Ito, with a violet where theirs has black; the next rounds are lighter, then darker.
const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#e3d32b", "#7f5bab"];
const NAMES_OF_PROPS = ["pictures", "points", "colours", "boxes", "words", "compact"];
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
  theme.disconnect();
  sheets?.close();
  painter?.dispose();
};
runs[place] = { element: root, stop };

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
let map = null; // {told: its descriptor, n, ids, index, from, to, started, order, ranks, near, k, grid}
let codes = new Uint8Array(0); // group of each point, 255 = none
let groups = []; // {name, colour, count}
let isolated = new Set(); // groups; empty = all
let hinted = -1; // group under the pointer in the legend
let flags = new Uint8Array(0); // 1 = selected
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
let ink = [0, 0, 0], ground = [1, 1, 1], accent = "#0072b2", paper = "#fff", body = "#222";

const compact = () => Boolean(prop("compact"));
const idOf = (point) => (map.ids ? map.ids[point] : point);
const pointOf = (id) => (map.index ? map.index.get(id) ?? -1 : id < map.n ? id : -1);
const nameOf = (id) => about?.names?.[id] ?? word("picture", { n: (id + 1).toLocaleString() });
const folderOf = (id) => {
  const label = about?.labels?.[id] ?? -1;
  return label >= 0 ? about.class_names?.[label] ?? "" : "";
};
const active = (point) => isolated.size === 0 || isolated.has(codes[point]);

const ease = (t) => (t < 0.5 ? 4 * t * t * t : 1 - (2 - 2 * t) ** 3 / 2);
const progress = () => (map.started ? clamp((performance.now() - map.started) / MOVE_MS, 0, 1) : 1);
const mixNow = () => ease(progress());
const whereX = (point, mix) => map.from[2 * point] + (map.to[2 * point] - map.from[2 * point]) * mix;
const whereY = (point, mix) => map.from[2 * point + 1] + (map.to[2 * point + 1] - map.from[2 * point + 1]) * mix;
const screenX = (x) => (x - camera.x) * camera.scale + width / 2;
const screenY = (y) => height / 2 - (y - camera.y) * camera.scale;
const worldX = (x) => (x - width / 2) / camera.scale + camera.x;
const worldY = (y) => (height / 2 - y) / camera.scale + camera.y;

// ---- colours

function shade(colour, round) {
  if (!round) return colour;
  const towards = round % 2 ? 255 : 0, amount = round % 2 ? 0.45 : 0.35;
  const parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return "#" + parts.map((part) => Math.round(part + (towards - part) * amount).toString(16).padStart(2, "0"))
    .join("");
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
  recolour();
}

// The groups and each point's group: from the prop, else from the folders.
function group() {
  const colouring = given(props.colours, "codes");
  const n = map ? map.n : 0;
  codes = new Uint8Array(n).fill(GREY);
  let names = [], colours = [];
  if (colouring) {
    const bytes = atob(colouring.codes);
    for (let at = 0; at < Math.min(n, bytes.length); at++) codes[at] = bytes.charCodeAt(at);
    names = colouring.names || [];
    colours = colouring.colours || [];
  } else if (about?.labels) {
    names = about.class_names || [];
    for (let at = 0; at < n; at++) {
      const label = about.labels[idOf(at)] ?? -1;
      if (label >= 0 && label < GREY) codes[at] = label;
    }
  }
  const counts = new Uint32Array(256);
  for (const code of codes) counts[code] += 1;
  groups = names.slice(0, GREY).map((name, code) => ({ code, name: String(name), count: counts[code],
    colour: /^#[0-9a-f]{6}$/i.test(colours[code] || "") ? colours[code] : paletteColour(code) }));
  groups = groups.filter((entry) => entry.count);
  if (counts[GREY] && groups.length) {
    groups.push({ code: GREY, name: word("no_group"), count: counts[GREY], colour: "#9a9a9a" });
  }
  isolated = new Set([...isolated].filter((code) => counts[code]));
  hinted = -1;
  painter?.recolour(codes);
  drawLegend();
  recolour();
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
  painter.palette(bytes);
  seen = false;
  request();
}

const colourOf = (point) => groups.find((entry) => entry.code === codes[point])?.colour ?? "#9a9a9a";

// ---- the drawing itself: only when something changed

let frameAsked = false;
let lastFrame = 0;

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
    if (map.started && progress() < 1) moving = true;
    if (!seen) choosePictures();
    if (fade(passed)) moving = true;
    const mix = mixNow();
    const pictures = [];
    for (let at = inView.length - 1; at >= 0; at--) addPicture(pictures, inView[at], mix);
    for (const [point, alpha] of shown) if (alpha < 0) addPicture(pictures, point, mix);
    painter.draw({ camera, mix, dot: dotSize(), pictures, ground, ink, dimmed: isolated.size > 0 || hinted >= 0 });
  } else {
    painter.draw({ camera, mix: 1, dot: 4, pictures: [], ground, ink, dimmed: false });
  }
  drawOverlay();
  lastFrame = moving ? now : 0;
  if (moving) request();
}

function addPicture(list, point, mix) {
  const alpha = Math.abs(shown.get(point) ?? 0);
  if (!alpha) return;
  const pale = (chosen > 1 && !flags[point]) || (hinted >= 0 && codes[point] !== hinted);
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
  const { to, order, n } = map;
  const left = worldX(-edge), right = worldX(width + edge), top = worldY(-edge), bottom = worldY(height + edge);
  const inside = [];
  for (let at = n - 1; at >= 0; at--) {
    const point = order[at];
    const x = to[2 * point], y = to[2 * point + 1];
    if (x > left && x < right && y > bottom && y < top && active(point)) inside.push(point);
  }
  viewed = inside.length;
  const few = viewed <= MOST_PICTURES;
  const room = Math.sqrt(width * height / Math.max(1, viewed));
  goalSize = few ? clamp(0.92 * room, 26, sheets ? Math.min(84, sheets.pictures.tile) : 84) : narrow() ? 30 : 38;
  goalSize = Math.min(goalSize, compact() ? 32 : 48 * Math.sqrt(Math.max(1, goal.scale / home().scale)));
  inView = [];
  if (!sheets) return;
  if (few) { inView = inside; return; }
  const patch = 2 ** Math.ceil(Math.log2(goalSize * 1.02 / camera.scale));
  const x0 = Math.floor(left / patch), y0 = Math.floor(bottom / patch);
  const across = Math.ceil(right / patch) - x0 + 1;
  const taken = new Uint8Array(across * (Math.ceil(top / patch) - y0 + 1));
  // Far out, only some sheets are read: enough pictures, without loading them all.
  const every = viewed > 1500 ? Math.ceil(sheets.pictures.sheets.length / 24) : 1;
  for (const point of inside) {
    const spot = Math.floor(to[2 * point] / patch) - x0
      + across * (Math.floor(to[2 * point + 1] / patch) - y0);
    if (taken[spot] || sheets.sheetOf(idOf(point)) % every) continue;
    taken[spot] = 1;
    inView.push(point);
  }
}

// Lasso, the picture under the pointer, and lines to its nearest pictures.
function drawOverlay() {
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const point = current();
  if (map && point >= 0) drawNeighbours(point);
  if (trail) drawTrail();
}

function current() {
  if (!map) return -1;
  return hovered >= 0 ? hovered : focused >= 0 ? focused : pinned;
}

function drawNeighbours(point) {
  const mix = mixNow();
  const x = screenX(whereX(point, mix)), y = screenY(whereY(point, mix));
  const near = neighbours(point).map(pointOf).filter((other) => other >= 0);
  pen.lineCap = "round";
  for (const other of near) {
    const toX = screenX(whereX(other, mix)), toY = screenY(whereY(other, mix));
    for (const [colour, line] of [[paper, 4], [accent, 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = line;
      pen.globalAlpha = colour === paper ? 0.7 : 0.9;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(toX, toY);
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
  const side = Math.max(28, size);
  for (const other of near) {
    drawTile(other, screenX(whereX(other, mix)), screenY(whereY(other, mix)), side, accent, 2);
  }
  drawTile(point, x, y, Math.max(44, size * 1.3), accent, 3);
}

function drawTile(point, x, y, side, frameColour, border) {
  const id = idOf(point);
  const image = sheets?.get(sheets.sheetOf(id));
  pen.save();
  pen.shadowColor = "rgba(0, 0, 0, .35)";
  pen.shadowBlur = 8;
  pen.shadowOffsetY = 1;
  pen.fillStyle = frameColour;
  pen.beginPath();
  if (!image) pen.arc(x, y, 7, 0, 7);
  else pen.roundRect(x - side / 2 - border, y - side / 2 - border, side + 2 * border, side + 2 * border, 7);
  pen.fill();
  pen.shadowColor = "transparent";
  if (image) {
    pen.beginPath();
    pen.roundRect(x - side / 2, y - side / 2, side, side, 5);
    pen.clip();
    const tile = sheets.pictures.tile;
    pen.drawImage(image, ...sheets.corner(id), tile, tile, x - side / 2, y - side / 2, side, side);
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

function home() {
  const pad = compact() ? 20 : 34;
  const [wide, high] = map ? map.half : [1, 1];
  return { x: 0, y: 0, scale: Math.max(8, Math.min((width / 2 - pad) / wide, (height / 2 - pad) / high)) };
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

const goHome = (jump = false) => look(home(), { jump, isHome: true });

function measure() {
  const box = stage.getBoundingClientRect();
  const nextRatio = Math.min(2, window.devicePixelRatio || 1);
  if (!box.width || !box.height) return;
  root.classList.toggle("narrow", root.getBoundingClientRect().width < 640);
  const innerWidth = stage.clientWidth, innerHeight = stage.clientHeight;
  if (innerWidth === width && innerHeight === height && nextRatio === ratio && painter) return;
  const first = !width;
  [width, height, ratio] = [innerWidth, innerHeight, nextRatio];
  overlay.width = Math.round(width * ratio);
  overlay.height = Math.round(height * ratio);
  if (!painter) startPainter();
  painter.resize(width, height, ratio);
  seen = false;
  if (first || atHome) goHome(true);
  request();
}

const narrow = () => root.classList.contains("narrow");

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
  painter.select(flags, chosen > 1);
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

// ---- from the props

let aboutKey = null;
let loading = null; // AbortController of the positions on their way
let colouredBy = null;

function update() {
  words = { ...DEFAULT_WORDS, ...(prop("words") || {}) };
  root.classList.toggle("small", compact());
  const pictures = given(props.pictures, "sheets");
  const asked = given(props.points, "url");
  const identity = JSON.stringify(pictures ?? asked?.key ?? null);
  if (identity !== aboutKey) {
    aboutKey = identity;
    reset();
    if (pictures) {
      sheets = new Sheets(pictures, () => request());
      readAbout(pictures);
    }
  }
  const wanted = asked && (!pictures || asked.key === pictures.key) ? asked : null;
  if (!wanted && points) reset(true);
  if (wanted && (wanted.seq !== points?.seq || wanted.url !== points?.url)) readPoints(wanted);
  points = wanted;
  const colouring = JSON.stringify(props.colours ?? null);
  if (colouring !== colouredBy) {
    colouredBy = colouring;
    isolated.clear();
    if (map) group();
  }
  drawWords();
  drawBar();
  request();
}

function reset(keepPictures = false) {
  loading?.abort();
  loading = null;
  if (!keepPictures) {
    sheets?.close();
    sheets = null;
    about = null;
  }
  map = null;
  points = null;
  shown.clear();
  inView = [];
  hovered = pinned = focused = -1;
  trail = null;
  flags = new Uint8Array(0);
  chosen = 0;
  isolated.clear();
  painter?.forget();
  group();
  showCard();
  drawBar();
  atHome = true;
}

async function readAbout(pictures) {
  if (!pictures.about) return;
  try {
    const answer = await fetch(absolute(pictures.about), { signal });
    if (!answer.ok) throw new Error(answer.status);
    const read = await answer.json();
    if (JSON.stringify(pictures) !== JSON.stringify(props.pictures)) return;
    about = read;
    group();
    showCard();
  } catch (problem) {
    if (!signal.aborted) console.warn("The names of the pictures could not be read.", String(problem));
  }
}

async function readPoints(wanted) {
  loading?.abort(); // newest wins
  const mine = (loading = new AbortController());
  signal.addEventListener("abort", () => mine.abort());
  const bytes = async (url) => {
    const answer = await fetch(absolute(url), { signal: mine.signal, cache: "no-cache" });
    if (!answer.ok) throw new Error(answer.status);
    return answer.arrayBuffer();
  };
  try {
    const [places, ids] = await Promise.all([bytes(wanted.url), wanted.ids ? bytes(wanted.ids) : null]);
    if (mine !== loading) return;
    arrange(wanted, new Float32Array(places), ids && new Uint32Array(ids));
    showEmpty();
    if (!wanted.neighbours) return;
    const near = await bytes(wanted.neighbours);
    if (mine !== loading) return;
    map.near = new Uint32Array(near);
    map.k = wanted.k || 3;
    showCard();
    request();
  } catch (problem) {
    if (mine.signal.aborted) return;
    loading = null;
    if (!map) showEmpty(true);
    else console.warn("The new positions could not be read.", String(problem));
  }
}

// Takes new positions in: scaled to -1..1, moved to from where each picture is now.
function arrange(wanted, places, ids) {
  const n = Math.min(wanted.n ?? Infinity, places.length >> 1, ids ? ids.length : Infinity);
  const to = new Float32Array(2 * n);
  const least = [Infinity, Infinity], most = [-Infinity, -Infinity];
  for (let at = 0; at < 2 * n; at++) {
    const value = Number.isFinite(places[at]) ? places[at] : 0;
    to[at] = value;
    if (value < least[at & 1]) least[at & 1] = value;
    if (value > most[at & 1]) most[at & 1] = value;
  }
  const half = [0, 1].map((side) => (most[side] - least[side]) / 2);
  const reach = Math.max(...half) || 1;
  for (let at = 0; at < 2 * n; at++) to[at] = (to[at] - (least[at & 1] + most[at & 1]) / 2) / reach;

  const old = map;
  const mix = old ? mixNow() : 1;
  const same = old && old.n === n && sameIds(old.ids, ids);
  const from = new Float32Array(to);
  const oldPoint = (point) => (same ? point : pointOf(ids ? ids[point] : point));
  const oldFlags = flags, oldChosen = chosen;
  flags = new Uint8Array(n);
  chosen = 0;
  if (old) {
    const kept = (point) => (point < 0 ? -1 : same ? point : fresh.get(old.ids ? old.ids[point] : point) ?? -1);
    const fresh = same ? null : new Map(Array.from({ length: n }, (_, point) => [ids ? ids[point] : point, point]));
    for (let point = 0; point < n; point++) {
      const before = oldPoint(point);
      if (before < 0 || before >= old.n) continue;
      from[2 * point] = whereX(before, mix);
      from[2 * point + 1] = whereY(before, mix);
      if (oldChosen && oldFlags[before]) { flags[point] = 1; chosen += 1; }
    }
    [hovered, pinned, focused] = [hovered, pinned, focused].map(kept);
    if (!same) shown = new Map([...shown].map(([point, alpha]) => [kept(point), alpha]).filter(([point]) => point >= 0));
  }
  const order = same ? old.order : ranked(n, ids);
  const index = same ? old.index : ids && new Map(Array.from(ids, (id, point) => [id, point]));
  map = { told: wanted, n, ids, index, from, to, order, near: null, k: 3, grid: null,
    half: half.map((side) => Math.max(side / reach, 0.2)), started: old && !calm.matches ? performance.now() : 0 };
  if (same) { map.near = old.near; map.k = old.k; }
  if (painter) painter.layout(order, codes.length === n ? codes : new Uint8Array(n).fill(GREY), from, to);
  painter?.select(flags, chosen > 1);
  if (!same || codes.length !== n) group();
  if (atHome) goHome(!old);
  seen = false;
  showCard();
  drawBar();
  drawWords();
  request();
}

const sameIds = (one, other) => one === other || (!one && !other)
  || Boolean(one && other && one.length === other.length && one.every((id, at) => id === other[at]));

// Points by a fixed random rank of their picture, the first last: it is drawn uppermost.
function ranked(n, ids) {
  const rank = (point) => {
    let value = Math.imul((ids ? ids[point] : point) + 1, 0x9e3779b1);
    value = Math.imul(value ^ (value >>> 15), 0x85ebca6b);
    return (value ^ (value >>> 13)) >>> 0;
  };
  const keys = new Float64Array(n);
  for (let point = 0; point < n; point++) keys[point] = rank(point) * 2 ** 20 + point;
  keys.sort();
  return Uint32Array.from(keys, (key) => key % 2 ** 20);
}

const neighbours = (point) => (map.near && point >= 0
  ? [...map.near.subarray(point * map.k, point * map.k + map.k)].filter((id) => id !== idOf(point)).slice(0, 3)
  : []);

// ---- which picture is there

// Cells of the map with the points in them, so that only a few points are looked at.
function makeGrid() {
  const { n, to } = map;
  const side = Math.max(1, Math.ceil(Math.sqrt(n / 2)));
  const cell = (value) => clamp(Math.floor((value + 1) / 2 * side), 0, side - 1);
  const starts = new Uint32Array(side * side + 1);
  const cells = new Uint32Array(n);
  for (let point = 0; point < n; point++) {
    cells[point] = cell(to[2 * point]) + side * cell(to[2 * point + 1]);
    starts[cells[point] + 1] += 1;
  }
  for (let at = 0; at < side * side; at++) starts[at + 1] += starts[at];
  const next = starts.slice();
  const list = new Uint32Array(n);
  for (let point = 0; point < n; point++) list[next[cells[point]]++] = point;
  map.grid = { side, cell, starts, list };
}

// A centre right under the pointer wins, then the uppermost picture there, then the nearest dot within reach.
function pick(x, y, reach = 12) {
  if (!map) return -1;
  const mix = mixNow();
  const distance = (point) => Math.hypot(screenX(whereX(point, mix)) - x, screenY(whereY(point, mix)) - y);
  let best = -1, least = 5;
  const over = [];
  for (const point of inView) {
    if ((shown.get(point) ?? 0) < 0.3 || !active(point)) continue;
    const dx = Math.abs(screenX(whereX(point, mix)) - x), dy = Math.abs(screenY(whereY(point, mix)) - y);
    if (dx > size / 2 || dy > size / 2) continue;
    over.push(point);
    if (distance(point) < least) { best = point; least = distance(point); }
  }
  if (best >= 0 || over.length) return best >= 0 ? best : over[0];
  if (!map.grid) makeGrid();
  const { side, cell, starts, list } = map.grid;
  const around = reach / camera.scale;
  least = reach;
  const [x0, x1] = [cell(worldX(x) - around), cell(worldX(x) + around)];
  const [y0, y1] = [cell(worldY(y) - around), cell(worldY(y) + around)];
  for (let row = y0; row <= y1; row++) {
    for (let at = starts[row * side + x0]; at < starts[row * side + x1 + 1]; at++) {
      const point = list[at];
      if (active(point) && distance(point) < least) { best = point; least = distance(point); }
    }
  }
  return best;
}

function inPolygon(x, y, corners) {
  let inside = false;
  for (let at = 0, before = corners.length - 1; at < corners.length; before = at++) {
    const [ax, ay] = corners[at], [bx, by] = corners[before];
    if (ay > y !== by > y && x < (bx - ax) * (y - ay) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

// ---- selection

// how: "new" replaces, "add" and "remove" change what is there
function select(list, how = "new") {
  if (!map) return;
  if (how === "new") flags.fill(0);
  for (const point of list) flags[point] = how === "remove" ? 0 : 1;
  chosen = flags.reduce((sum, flag) => sum + flag, 0);
  painter?.select(flags, chosen > 1);
  drawBar();
  say(chosen ? amount("selected", chosen) : "");
  trigger("select", chosenIds());
  request();
}

function chosenIds() {
  const indices = [];
  for (let point = 0; point < map.n && indices.length < MOST_SENT; point++) {
    if (flags[point]) indices.push(idOf(point));
  }
  return { indices, count: chosen, truncated: chosen > indices.length, key: map.told.key ?? null };
}

function put(box) {
  const sent = chosenIds();
  trigger("assign", { ...sent, box: box ? box.id : null });
  const text = word("moved", { n: amount("picture", sent.count), box: box ? box.name : word("new_box") });
  pinned = -1;
  showCard();
  select([]);
  say(text);
  hint(text);
}

function finishTrail(how) {
  const corners = trail;
  trail = null;
  if (map && corners.length > 2) {
    const mix = mixNow();
    const xs = corners.map(([x]) => x), ys = corners.map(([, y]) => y);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const inside = [];
    for (let point = 0; point < map.n; point++) {
      const x = screenX(whereX(point, mix)), y = screenY(whereY(point, mix));
      if (x < left || x > right || y < top || y > bottom || !active(point)) continue;
      if (inPolygon(x, y, corners)) inside.push(point);
    }
    select(inside, how);
  }
  request();
}

// ---- the card of a picture

function paintTile(target, id, side) {
  const { tile, columns, per_sheet } = sheets.pictures;
  const [x, y] = sheets.corner(id);
  const zoom = side / tile;
  const rows = Math.ceil(per_sheet / columns);
  const address = sheets.pictures.sheets[sheets.sheetOf(id)] ? sheets.url(sheets.sheetOf(id)) : "";
  target.style.backgroundImage = address ? `url("${address.replace(/["\\\n]/g, encodeURIComponent)}")` : "none";
  // the last sheet may have fewer rows, so only the width is given
  target.style.backgroundSize = `${columns * tile * zoom}px auto`;
  target.style.backgroundPosition = `${-x * zoom}px ${-y * zoom}px`;
  target.style.width = target.style.height = `${side}px`;
  return rows;
}

let carded = "";

function showCard() {
  const point = current();
  card.hidden = point < 0;
  if (point < 0) { carded = ""; return; }
  const id = idOf(point);
  const near = compact() ? [] : neighbours(point);
  const entry = groups.find((one) => one.code === codes[point]);
  const folder = folderOf(id);
  const shape = [id, near, entry?.name, entry?.colour, folder, narrow(), compact(), Boolean(sheets)].join("|");
  card.classList.toggle("pinned", point === pinned);
  if (shape !== carded) {
    carded = shape;
    const picture = card.querySelector(".picture");
    picture.hidden = !sheets;
    if (sheets) paintTile(picture, id, compact() ? 72 : narrow() ? 96 : 148);
    card.dataset.id = id;
    card.querySelector(".name").textContent = nameOf(id);
    const line = card.querySelector(".group");
    line.hidden = !entry;
    if (entry) {
      markSwatch(line.querySelector("i"), entry);
      line.querySelector("span").textContent = entry.name;
    }
    const where = card.querySelector(".folder");
    where.hidden = !folder || folder === entry?.name;
    where.textContent = folder;
    const alike = card.querySelector(".alike");
    alike.hidden = !near.length || !sheets;
    alike.querySelector("span").textContent = word("nearest");
    const buttons = !sheets ? [] : near.map((other) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.id = other;
      button.setAttribute("aria-label", nameOf(other));
      button.title = nameOf(other);
      paintTile(button, other, narrow() ? 40 : 45);
      return button;
    });
    alike.querySelector(".row").replaceChildren(...buttons);
  }
  placeCard(point);
}

function placeCard(point) {
  if (card.hidden) return;
  card.style.transform = "";
  if (narrow() && !compact()) {
    // docked at the end of the stage that the picture is not on
    card.classList.toggle("top", screenY(whereY(point, mixNow())) > height / 2);
    return;
  }
  card.classList.remove("top");
  const mix = mixNow();
  const x = screenX(whereX(point, mix)), y = screenY(whereY(point, mix));
  const gap = Math.max(44, size * 1.3) / 2 + 14;
  const { offsetWidth: wide, offsetHeight: high } = card;
  const left = x + gap + wide < width - 8 ? x + gap : x - gap - wide;
  card.style.transform = `translate(${Math.round(clamp(left, 8, Math.max(8, width - wide - 8)))}px,`
    + ` ${Math.round(clamp(y - high / 2, 8, Math.max(8, height - high - 8)))}px)`;
}

function hover(point) {
  if (point === hovered) return;
  hovered = point;
  overlay.style.cursor = point >= 0 && tool === "pan" ? "pointer" : "";
  showCard();
  request();
}

function pin(point) {
  pinned = point;
  focused = -1;
  showCard();
  request();
}

// ---- words, legend, bar

function drawWords() {
  find(".caution").textContent = word("caution");
  overlay.setAttribute("aria-label", map
    ? `${word("map_label")}, ${amount("picture", map.n)}` : word("map_label"));
  const help = find(".help");
  help.id = `${place}-scatter-help`;
  help.textContent = word("map_help");
  overlay.setAttribute("aria-describedby", help.id);
  const label = (selector, name) => {
    const button = find(selector);
    button.title = word(name);
    button.setAttribute("aria-label", word(name));
  };
  for (const name of ["pan", "lasso", "box"]) label(`[data-tool=${name}]`, name);
  label("[data-zoom=in]", "zoom_in");
  label("[data-zoom=out]", "zoom_out");
  label("[data-zoom=reset]", "reset");
  label(".bar .clear", "clear");
  find(".legend .head span").textContent = word("legend");
  find(".legend .head button").textContent = word("show_all");
  find(".bar .put").textContent = word("put_into");
  find(".retry").textContent = word("retry");
  const badge = find(".badge");
  badge.hidden = !map;
  if (map) {
    badge.dataset.stage = map.told.stage || "";
    find(".badge .count").textContent = amount("picture", map.n);
    const known = { pca: "stage_pca", umap: "stage_umap", learning: "stage_learning" }[map.told.stage];
    find(".badge .stage-name").textContent = [known && word(known), map.told.note].filter(Boolean).join(" · ");
  }
  find(".tools").hidden = !map || compact();
  showEmpty();
}

function showEmpty(failed = false) {
  const empty = find(".empty");
  empty.hidden = Boolean(map);
  if (map) return;
  empty.classList.toggle("failed", failed);
  empty.querySelector("p").textContent =
    word(failed ? "load_failed" : given(props.pictures, "sheets") || points ? "waiting" : "no_pictures");
  find(".retry").hidden = !failed;
}

// Pale squares that breathe, where the pictures will be.
function drawGhosts() {
  const ghosts = [];
  for (let at = 0; at < 26; at++) {
    const ghost = document.createElement("i");
    const angle = at * 2.4, far = Math.sqrt((at + 0.5) / 26);
    ghost.style.left = `${50 + 38 * far * Math.cos(angle)}%`;
    ghost.style.top = `${50 + 40 * far * Math.sin(angle)}%`;
    if (!calm.matches) {
      ghost.animate([{ opacity: 0.25 }, { opacity: 0.8 }, { opacity: 0.25 }],
        { duration: 2600, delay: -at * 310, iterations: Infinity, easing: "ease-in-out" });
    }
    ghosts.push(ghost);
  }
  find(".ghosts").replaceChildren(...ghosts);
}

function markSwatch(swatch, entry) {
  swatch.style.backgroundColor = entry.colour;
  swatch.dataset.shape = entry.code === GREY ? 0 : shapeOf(entry.code);
}

function drawLegend() {
  const legend = find(".legend");
  legend.hidden = !groups.length || compact();
  find(".legend .groups").replaceChildren(...groups.map((entry) => {
    const row = document.createElement("button");
    row.type = "button";
    row.dataset.code = entry.code;
    const swatch = document.createElement("i");
    markSwatch(swatch, entry);
    const name = document.createElement("span");
    name.className = "group-name";
    name.textContent = entry.name;
    name.title = entry.name;
    const count = document.createElement("span");
    count.className = "group-count";
    count.textContent = entry.count.toLocaleString();
    row.append(swatch, name, count);
    return row;
  }));
  markLegend();
}

function markLegend() {
  find(".legend .head button").hidden = !isolated.size;
  for (const row of find(".legend .groups").children) {
    const on = isolated.has(Number(row.dataset.code));
    row.setAttribute("aria-pressed", on);
    row.classList.toggle("off", isolated.size > 0 && !on);
  }
}

function isolate(code, more) {
  if (code === null) isolated.clear();
  else if (more) isolated.has(code) ? isolated.delete(code) : isolated.add(code);
  else isolated = isolated.size === 1 && isolated.has(code) ? new Set() : new Set([code]);
  if (pinned >= 0 && !active(pinned)) pinned = -1;
  hovered = focused = -1;
  showCard();
  markLegend();
  recolour();
}

function drawBar() {
  const bar = find(".bar");
  bar.hidden = !chosen || compact();
  root.classList.toggle("choosing", !bar.hidden);
  if (bar.hidden) return;
  bar.querySelector(".count").textContent = amount("selected", chosen);
  const boxes = prop("boxes");
  find(".bar .put").hidden = find(".bar .boxes").hidden = !boxes;
  const chips = (boxes || []).map((box) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.dataset.box = box.id;
    const swatch = document.createElement("i");
    if (/^#[0-9a-f]{6}$/i.test(box.colour || "")) swatch.style.backgroundColor = box.colour;
    const name = document.createElement("span");
    name.textContent = box.name;
    chip.append(swatch, name);
    chip.addEventListener("click", () => put(box));
    return chip;
  });
  const fresh = document.createElement("button");
  fresh.type = "button";
  fresh.className = "new";
  fresh.textContent = `+ ${word("new_box")}`;
  fresh.addEventListener("click", () => put(null));
  find(".bar .boxes").replaceChildren(...chips, fresh);
}

let hintTimer = 0;

function hint(text) {
  const line = find(".hint");
  line.textContent = text;
  line.hidden = !text;
  clearTimeout(hintTimer);
  if (text) hintTimer = setTimeout(() => { line.hidden = true; }, 2600);
}

function useTool(name) {
  tool = name;
  overlay.dataset.tool = name;
  overlay.style.cursor = "";
  for (const button of root.querySelectorAll("[data-tool]")) {
    if (button !== overlay) button.setAttribute("aria-pressed", button.dataset.tool === name);
  }
  hint(name === "pan" ? "" : word(`${name}_hint`));
}

// ---- pointer, wheel, keys

const on = (target, kind, act, options = {}) => target.addEventListener(kind, act, { signal, ...options });
const pointers = new Map(); // those that are down: id -> [x, y]
let drag = null; // {kind: "pan" | "lasso" | "box" | "pinch", ...}
let pressTimer = 0;

const at = (event) => {
  const box = overlay.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const howOf = (event) => (event.altKey ? "remove" : event.shiftKey ? "add" : "new");

on(overlay, "pointerdown", (event) => {
  if (event.button || !map || compact()) return;
  const spot = at(event);
  pointers.set(event.pointerId, spot);
  overlay.setPointerCapture(event.pointerId);
  overlay.focus({ preventScroll: true });
  overlay.classList.remove("by-keys");
  clearTimeout(pressTimer);
  if (pointers.size === 2) { startPinch(); return; }
  if (pointers.size > 2) return;
  const kind = tool !== "pan" ? tool : event.shiftKey || event.altKey ? "lasso" : "pan";
  drag = { kind, start: spot, last: spot, moved: false, how: howOf(event), touch: event.pointerType === "touch" };
  if (drag.touch && kind === "pan") {
    pressTimer = setTimeout(() => {
      if (!drag || drag.moved || drag.kind !== "pan") return;
      drag.kind = "lasso";
      drag.how = "add";
      navigator.vibrate?.(12);
      hint(word("lasso_hint"));
    }, LONG_PRESS_MS);
  }
});

on(overlay, "pointermove", (event) => {
  const spot = at(event);
  if (!pointers.has(event.pointerId)) {
    if (event.pointerType !== "touch") hover(pick(...spot));
    return;
  }
  pointers.set(event.pointerId, spot);
  if (drag?.kind === "pinch") { pinch(); return; }
  if (!drag) return;
  if (!drag.moved && Math.hypot(spot[0] - drag.start[0], spot[1] - drag.start[1]) < (drag.touch ? 9 : 4)) return;
  if (!drag.moved) {
    drag.moved = true;
    clearTimeout(pressTimer);
    hover(-1);
    if (drag.kind === "pan") overlay.style.cursor = "grabbing";
    if (drag.kind === "lasso") trail = [drag.start];
  }
  if (drag.kind === "pan") {
    look({ x: camera.x - (spot[0] - drag.last[0]) / camera.scale, y: camera.y + (spot[1] - drag.last[1]) / camera.scale,
      scale: camera.scale }, { jump: true });
    showCard();
  } else if (drag.kind === "lasso") {
    trail.push(spot);
  } else if (drag.kind === "box") {
    const [x, y] = drag.start;
    trail = [[x, y], [spot[0], y], spot, [x, spot[1]]];
  }
  drag.last = spot;
  request();
});

on(overlay, "pointerup", (event) => {
  if (!pointers.delete(event.pointerId)) return;
  clearTimeout(pressTimer);
  const done = drag;
  if (done?.kind === "pinch") {
    drag = pointers.size ? { kind: "pinch" } : null;
    if (pointers.size === 1) {
      const [spot] = pointers.values();
      drag = { kind: "pan", start: spot, last: spot, moved: true, touch: true };
    }
    return;
  }
  drag = null;
  overlay.style.cursor = "";
  if (!done) return;
  if (trail) finishTrail(done.how);
  else if (!done.moved) click(event, done);
});

on(overlay, "pointercancel", (event) => {
  pointers.delete(event.pointerId);
  clearTimeout(pressTimer);
  drag = null;
  trail = null;
  request();
});

on(overlay, "pointerleave", () => { if (!drag) hover(-1); });

function click(event, done) {
  const point = pick(...done.start, done.touch ? 22 : 12);
  hovered = done.touch ? -1 : point;
  if (point < 0) {
    pin(-1);
    if (chosen && done.how === "new") select([]);
    return;
  }
  pin(done.how === "remove" ? -1 : point);
  select([point], done.how === "add" && flags[point] ? "remove" : done.how);
  describe(point);
}

function startPinch() {
  trail = null;
  hover(-1);
  const [[ax, ay], [bx, by]] = pointers.values();
  drag = { kind: "pinch", far: Math.hypot(ax - bx, ay - by), x: (ax + bx) / 2, y: (ay + by) / 2 };
}

function pinch() {
  if (pointers.size < 2) return;
  const [[ax, ay], [bx, by]] = pointers.values();
  const far = Math.hypot(ax - bx, ay - by), x = (ax + bx) / 2, y = (ay + by) / 2;
  look({ x: camera.x - (x - drag.x) / camera.scale, y: camera.y + (y - drag.y) / camera.scale, scale: camera.scale },
    { jump: true });
  zoomAt(x, y, far / Math.max(1, drag.far), true);
  Object.assign(drag, { far, x, y });
  showCard();
}

// A page that is being scrolled goes on scrolling when the map comes under the pointer.
let foreignWheel = 0;
on(window, "wheel", (event) => { if (event.target !== overlay) foreignWheel = event.timeStamp; }, { passive: true });
on(overlay, "wheel", (event) => {
  if (!map || compact()) return;
  if (event.timeStamp - foreignWheel < 250 && !event.ctrlKey) { foreignWheel = event.timeStamp; return; }
  const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 200 : 1;
  const factor = Math.exp(-clamp(event.deltaY * lines, -240, 240) * (event.ctrlKey ? 0.008 : 0.0022));
  if (factor < 1 && goal.scale <= home().scale * 0.701 && !event.ctrlKey) return;
  event.preventDefault();
  zoomAt(...at(event), factor);
  hover(-1);
}, { passive: false });

on(overlay, "dblclick", (event) => {
  if (!map || compact()) return;
  const point = pick(...at(event));
  if (point >= 0) look({ x: map.to[2 * point], y: map.to[2 * point + 1], scale: goal.scale * 2.2 });
  else goHome();
});

const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

on(overlay, "focus", () => overlay.classList.toggle("by-keys", overlay.matches(":focus-visible")));
on(overlay, "keydown", (event) => {
  overlay.classList.add("by-keys");
  if (!map || compact() || event.ctrlKey || event.metaKey) return;
  const key = event.key;
  if (key === "+" || key === "=") zoomAt(width / 2, height / 2, 1.5);
  else if (key === "-" || key === "_") zoomAt(width / 2, height / 2, 1 / 1.5);
  else if (key === "0") goHome();
  else if (arrows[key]) walk(...arrows[key]);
  else if (key === "Enter" || key === " ") enter(event);
  else if (key === "Escape") { if (!letGo()) return; } else return;
  event.preventDefault();
  event.stopPropagation();
});

function enter(event) {
  if (focused < 0 && pinned >= 0) focused = pinned;
  if (focused < 0) return focus(nearestTo(width / 2, height / 2));
  select([focused], flags[focused] ? "remove" : "add");
}

function letGo() {
  if (trail || drag) { trail = null; drag = null; } else if (focused >= 0 || pinned >= 0) {
    focused = pinned = -1;
    showCard();
  } else if (chosen) select([]);
  else if (tool !== "pan") useTool("pan");
  else if (isolated.size) isolate(null);
  else return false;
  request();
  return true;
}

function nearestTo(x, y) {
  let best = -1, least = Infinity;
  for (let point = 0; point < map.n; point++) {
    const far = Math.hypot(screenX(map.to[2 * point]) - x, screenY(map.to[2 * point + 1]) - y);
    if (far < least && active(point)) { best = point; least = far; }
  }
  return best;
}

// Arrows: the nearest picture in that direction, or the whole map when none has the focus.
function walk(dx, dy) {
  if (focused < 0) {
    look({ x: goal.x + dx * 80 / goal.scale, y: goal.y - dy * 80 / goal.scale, scale: goal.scale });
    return;
  }
  const x = map.to[2 * focused], y = map.to[2 * focused + 1];
  let best = -1, least = Infinity;
  for (let point = 0; point < map.n; point++) {
    if (point === focused || !active(point)) continue;
    const along = (map.to[2 * point] - x) * dx - (map.to[2 * point + 1] - y) * dy;
    const aside = Math.abs((map.to[2 * point] - x) * dy) + Math.abs((map.to[2 * point + 1] - y) * dx);
    if (along > 0 && aside <= 2 * along && along + 2 * aside < least) { best = point; least = along + 2 * aside; }
  }
  if (best >= 0) focus(best);
}

function focus(point) {
  if (point < 0) return;
  hovered = -1;
  focused = pinned = point;
  const x = (map.to[2 * point] - goal.x) * goal.scale, y = (map.to[2 * point + 1] - goal.y) * goal.scale;
  if (Math.abs(x) > width / 2 - 40 || Math.abs(y) > height / 2 - 40) {
    look({ x: map.to[2 * point], y: map.to[2 * point + 1], scale: goal.scale });
  }
  describe(point);
  showCard();
  request();
}

function describe(point) {
  const entry = groups.find((one) => one.code === codes[point]);
  const picked = chosen ? amount("selected", chosen) : "";
  say([nameOf(idOf(point)), entry?.name, picked].filter(Boolean).join(", "));
}

on(find(".tools"), "click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.tool) useTool(tool === button.dataset.tool ? "pan" : button.dataset.tool);
  else if (button.dataset.zoom === "reset") goHome();
  else zoomAt(width / 2, height / 2, button.dataset.zoom === "in" ? 1.6 : 1 / 1.6);
});
on(find(".bar .clear"), "click", () => { pin(-1); select([]); overlay.focus({ preventScroll: true }); });
on(find(".legend .head button"), "click", () => isolate(null));
on(find(".legend .groups"), "click", (event) => {
  const row = event.target.closest("button");
  if (row) isolate(Number(row.dataset.code), event.shiftKey || event.ctrlKey || event.metaKey);
});
const hintGroup = (code) => { if (code !== hinted) { hinted = code; recolour(); } };
on(find(".legend .groups"), "pointerover", (event) => {
  const row = event.target.closest("button");
  if (event.pointerType === "touch" || !row) return;
  const code = Number(row.dataset.code);
  hintGroup(isolated.size && !isolated.has(code) ? -1 : code);
});
on(find(".legend .groups"), "pointerleave", () => hintGroup(-1));
on(card, "click", (event) => {
  const other = event.target.closest("button");
  if (!other) return;
  const point = pointOf(Number(other.dataset.id));
  if (point >= 0) focus(point);
});
on(find(".retry"), "click", () => {
  showEmpty();
  if (points) readPoints(points);
});

// ---- start

const sizes = new ResizeObserver(measure);
sizes.observe(stage);
const theme = new MutationObserver(readTheme);
theme.observe(document.body, { attributes: true, attributeFilter: ["class"] });
on(window, "resize", measure);

drawGhosts();
useTool("pan");
find(".hint").hidden = true;
update();
measure();
readTheme();
watch(NAMES_OF_PROPS, update);

root.__scatter = element.__scatter = {
  hovered: () => (current() >= 0 ? idOf(current()) : null),
  project: (id) => {
    const point = map ? pointOf(id) : -1;
    if (point < 0) return null;
    const box = overlay.getBoundingClientRect();
    const mix = mixNow();
    return { x: box.left + screenX(whereX(point, mix)), y: box.top + screenY(whereY(point, mix)) };
  },
  selected: () => (map ? chosenIds().indices : []),
  stage: () => (map ? map.told.stage ?? null : null),
  n: () => (map ? map.n : 0),
  shown: () => [...shown.keys()].filter((point) => shown.get(point) > 0.5).map(idOf),
  moving: () => frameAsked,
  pick: (x, y) => { const start = performance.now(); pick(x, y); return performance.now() - start; },
  draw: () => {
    const start = performance.now();
    seen = false;
    frame(start);
    return performance.now() - start;
  },
  lose: () => painter.gl?.getExtension("WEBGL_lose_context"),
};
// Updates sent before the map was drawn replaced one another; now Python can send all of its state again.
trigger("ready");
