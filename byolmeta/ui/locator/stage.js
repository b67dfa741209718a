// ---------------------------------------------------------------- the picture on the stage: looked at, and drawn on

const canvas = make("canvas", "bm-loc-canvas", { tabindex: 0, role: "application", "aria-label": word("stage") });
const ask = make("div", "bm-loc-ask", { role: "dialog", "aria-label": word("ask"), hidden: "" });
const empty = make("p", "bm-loc-empty");
const stage = make("div", "bm-loc-stage", {}, canvas, ask, empty, toast);

const image = new Image();
let ready = ""; // url of the picture that is drawn
let look = { zoom: 1, x: 0.5, y: 0.5 }; // how much larger than whole, and the place in the middle
let stroke = null; // what is being drawn: {kind, points} in shares
let pick = null; // id of the mark that is chosen
let cross = null; // by keys: the place, and where a box began
let hands = new Map(); // pointers that are down: id -> [x, y]
let grip = null; // two fingers, or the middle button: how it began

const shown = () => (given("shown")?.row === undefined ? null : given("shown"));
// Whether the picture that was chosen is the one that is seen: between the two nothing can be pointed at.
const there = () => Boolean(shown()) && ready === shown().url && shown().row === memory.row;
const radius = () => 0.018 / Math.sqrt(look.zoom);

// Where the picture lies on the canvas, in CSS pixels.
function rect() {
  const one = shown(), wide = canvas.clientWidth, high = canvas.clientHeight;
  if (!one) return { x: 0, y: 0, w: 1, h: 1 };
  const scale = Math.min(wide / one.w, high / one.h) * look.zoom;
  const w = one.w * scale, h = one.h * scale;
  const slide = (part, whole, place) => (part <= whole ? (whole - part) / 2 : Math.min(0, Math.max(whole - part, whole / 2 - place * part)));
  return { x: slide(w, wide, look.x), y: slide(h, high, look.y), w, h };
}

// A place of the window as shares of the picture, inside of it.
function spot(event) {
  const r = rect(), edge = canvas.getBoundingClientRect();
  const clip = (v) => Math.min(1, Math.max(0, v));
  return [clip((event.clientX - edge.left - r.x) / r.w), clip((event.clientY - edge.top - r.y) / r.h)];
}

function paint() {
  const one = shown(), ratio = devicePixelRatio || 1;
  empty.hidden = Boolean(one);
  empty.textContent = word(pictures()?.n ? "stage_empty" : "no_pictures");
  const [wide, high] = [canvas.clientWidth, canvas.clientHeight];
  if (!wide) return;
  if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(high * ratio)) {
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(high * ratio);
  }
  const brush = canvas.getContext("2d");
  brush.setTransform(ratio, 0, 0, ratio, 0, 0);
  brush.clearRect(0, 0, wide, high);
  if (!one) return;
  if (one.url !== ready) {
    if (image.dataset.url !== one.url) {
      image.dataset.url = one.url;
      image.src = one.url;
    }
    return;
  }
  const r = rect();
  brush.imageSmoothingEnabled = r.w < 4 * one.w;
  brush.drawImage(image, r.x, r.y, r.w, r.h);
  const answer = foundOn(one.row);
  if (answer && memory.see !== "marks") drawFound(brush, answer, r, later);
  for (const mark of marksOn(one.row)) {
    const shade = mark.no ? "#111111" : hue(mark.cls), chosen = mark.id === pick;
    if (mark.kind === "box") {
      drawBox(brush, mark.at, r, mark.no ? "#f3f4f6" : shade, {
        thick: chosen ? 4 : 2.5, crossed: mark.no, label: mark.no ? word("not_this") : chosen ? classes[place(mark.cls)]?.name ?? "" : "",
      });
    } else if (mark.kind === "stroke") drawStroke(brush, mark, r, shade);
  }
  if (stroke) drawUnfinished(brush, r);
  if (cross && document.activeElement === canvas) drawCross(brush, r);
}

function drawUnfinished(brush, r) {
  const shade = memory.not ? "#111111" : hue(current()?.id);
  if (stroke.kind === "box") drawBox(brush, span(stroke.points[0], stroke.points.at(-1)), r, shade, { crossed: memory.not });
  else drawStroke(brush, { points: stroke.points, radius: radius(), no: memory.not }, r, shade);
}

function drawCross(brush, r) {
  const [x, y] = [across(cross.at[0], r), down(cross.at[1], r)];
  brush.save();
  for (const [style, width] of [["#000", 3], ["#fff", 1.2]]) {
    brush.strokeStyle = style;
    brush.lineWidth = width;
    brush.beginPath();
    brush.moveTo(x - 14, y);
    brush.lineTo(x + 14, y);
    brush.moveTo(x, y - 14);
    brush.lineTo(x, y + 14);
    brush.stroke();
  }
  brush.restore();
}

const span = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];

let waits = 0;
function later() {
  waits ||= requestAnimationFrame(() => {
    waits = 0;
    if (root.isConnected) paint();
  });
}

image.addEventListener("load", () => {
  ready = image.dataset.url;
  later();
});
image.addEventListener("error", () => { image.dataset.url = ""; });

function open(row) {
  if (row === null || row === undefined || row === memory.row) return;
  memory.row = row;
  look = { zoom: 1, x: 0.5, y: 0.5 };
  [stroke, pick, cross] = [null, null, null];
  closeAsk();
  trigger("open", { row });
  drawStrip();
}

// ---------------------------------------------------------------- what lies where

const inside = (at, [x, y]) => x >= at[0] && x <= at[2] && y >= at[1] && y <= at[3];
const area = (at) => (at[2] - at[0]) * (at[3] - at[1]);

// The own mark at a place: the smallest box, or a stroke that passes there.
function markAt(at) {
  const own = marksOn(memory.row), r = rect();
  const near = (mark) => mark.points.some(([x, y]) =>
    Math.hypot((x - at[0]) * r.w, (y - at[1]) * r.h) <= Math.max(8, mark.radius * Math.max(r.w, r.h)));
  return own.filter((mark) => (mark.kind === "box" ? inside(mark.at, at) : mark.kind === "stroke" && near(mark)))
    .sort((a, b) => (a.kind === "stroke" ? 0 : area(a.at)) - (b.kind === "stroke" ? 0 : area(b.at)))[0];
}

const answerAt = (at) => (foundOn(memory.row)?.boxes ?? []).filter((box) => box[4] >= memory.sure && foundClass(box[5]) && inside(box, at))
  .sort((a, b) => area(a) - area(b))[0];

// A click: on an own mark, choose it; on something found, ask; elsewhere, paint a point or say what to do.
function clicked(at) {
  const mine = markAt(at), answer = answerAt(at);
  if (mine && memory.tool === "box") {
    pick = mine.id;
    return question(at, [["remove_mark", "close", () => { remove(mine.id); }]], mine.no ? word("not_this") : classes[place(mine.cls)]?.name ?? "");
  }
  if (answer && memory.tool === "box") {
    const kind = foundClass(answer[5]), box = answer.slice(0, 4);
    const put = (no) => {
      memory.cls = kind.id;
      add({ kind: "box", at: box, ...(no ? { no: true } : {}) }, no ? "say_not_this" : "say_here");
    };
    return question(at, [["yes_this", "yes", () => put(false)], ["no_this", "not", () => put(true)]], `${kind.name} ${percent(answer[4])}`);
  }
  if (memory.tool === "brush") return add({ kind: "stroke", points: [at], radius: radius(), ...(memory.not ? { no: true } : {}) }, memory.not ? "say_not_there" : "say_painted");
  hint("say_drag");
}

function question(at, acts, title) {
  const r = rect();
  ask.replaceChildren(make("b", "", {}, title), ...acts.map(([key, sign, act]) => press("bm-loc-words", key, sign, () => {
    closeAsk();
    act();
    canvas.focus();
  })), press("bm-loc-icon", "close", "close", () => { closeAsk(); canvas.focus(); }));
  ask.hidden = false;
  ask.style.left = `${Math.min(Math.max(4, across(at[0], r) + 8), Math.max(4, stage.clientWidth - ask.offsetWidth - 4))}px`;
  ask.style.top = `${Math.min(Math.max(4, down(at[1], r) + 8), Math.max(4, stage.clientHeight - ask.offsetHeight - 4))}px`;
  ask.querySelector("button").focus();
  later();
}

function closeAsk() {
  ask.hidden = true;
  pick = null;
}

// ---------------------------------------------------------------- by hand

function began(event) {
  if (!there()) return;
  closeAsk();
  cross = null;
  hands.set(event.pointerId, [event.clientX, event.clientY]);
  try { canvas.setPointerCapture(event.pointerId); } catch { /* it is up already */ }
  if (hands.size === 2 || event.button === 1) {
    stroke = null;
    grip = { hands: new Map(hands), look: { ...look } };
  } else if (hands.size === 1 && event.button === 0) {
    stroke = { kind: memory.tool, points: [spot(event)], from: [event.clientX, event.clientY], moved: false };
  }
  if (event.button === 1) event.preventDefault();
  later();
}

function moved(event) {
  if (!hands.has(event.pointerId)) return;
  hands.set(event.pointerId, [event.clientX, event.clientY]);
  if (grip) return slid();
  if (!stroke) return;
  stroke.moved ||= Math.hypot(event.clientX - stroke.from[0], event.clientY - stroke.from[1]) > SLIP;
  const all = stroke.kind === "brush" ? event.getCoalescedEvents?.() ?? [] : [];
  for (const each of all.length ? all : [event]) {
    const at = spot(each), last = stroke.points.at(-1), r = rect();
    if (stroke.kind === "box") stroke.points[1] = at;
    else if (Math.hypot((at[0] - last[0]) * r.w, (at[1] - last[1]) * r.h) > 3 && stroke.points.length < 500) stroke.points.push(at);
  }
  later();
}

// Two fingers or the middle button: the picture goes with them, and grows with their distance.
function slid() {
  const before = [...grip.hands.values()], now = [...hands.values()];
  const middle = (list) => [0, 1].map((i) => list.reduce((sum, at) => sum + at[i], 0) / list.length);
  const apart = (list) => (list.length > 1 ? Math.hypot(list[0][0] - list[1][0], list[0][1] - list[1][1]) : 1);
  const [a, b] = [middle(before), middle(now)];
  look = { ...grip.look };
  zoomTo(grip.look.zoom * (apart(now) / Math.max(20, apart(before))), a);
  const r = rect();
  look.x -= (b[0] - a[0]) / r.w;
  look.y -= (b[1] - a[1]) / r.h;
  later();
}

function ended(event) {
  if (!hands.delete(event.pointerId)) return;
  if (grip) {
    if (!hands.size) grip = null;
    return;
  }
  const done = stroke;
  stroke = null;
  later();
  if (!done || event.type === "pointercancel") return;
  if (!done.moved) return clicked(done.points[0]);
  finish(done.kind, done.points);
}

function finish(kind, points) {
  const no = memory.not ? { no: true } : {};
  if (kind === "brush") return add({ kind: "stroke", points, radius: radius(), ...no }, memory.not ? "say_not_there" : "say_painted");
  const at = span(points[0], points.at(-1)), one = shown();
  if ((at[2] - at[0]) * one.w < 4 || (at[3] - at[1]) * one.h < 4) return hint("say_small");
  add({ kind: "box", at, ...no }, memory.not ? "say_not_this" : "say_boxed");
}

// So that the place under the pointer, in window coordinates, stays there.
function zoomTo(zoom, at) {
  const edge = canvas.getBoundingClientRect(), before = rect();
  const x = (at[0] - edge.left - before.x) / before.w, y = (at[1] - edge.top - before.y) / before.h;
  look.zoom = Math.min(30, Math.max(1, zoom));
  const one = shown(), scale = Math.min(canvas.clientWidth / one.w, canvas.clientHeight / one.h) * look.zoom;
  look.x = x + (canvas.clientWidth / 2 - (at[0] - edge.left)) / (one.w * scale);
  look.y = y + (canvas.clientHeight / 2 - (at[1] - edge.top)) / (one.h * scale);
  later();
}

function zoomBy(factor) {
  if (!shown()) return;
  const edge = canvas.getBoundingClientRect();
  zoomTo(look.zoom * factor, [edge.left + edge.width / 2, edge.top + edge.height / 2]);
}

canvas.addEventListener("pointerdown", began);
canvas.addEventListener("pointermove", moved);
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, ended);
canvas.addEventListener("wheel", (event) => {
  if (!shown() || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  zoomTo(look.zoom * Math.exp(-event.deltaY / 200), [event.clientX, event.clientY]);
}, { passive: false });

// By keys: arrows move a cross, Enter begins and ends a box or paints a point.
function keyed(event) {
  if (!there() || event.ctrlKey || event.metaKey || event.altKey) return;
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (way) {
    cross ??= { at: [0.5, 0.5] };
    const far = event.shiftKey ? 0.1 : 0.01;
    cross.at = [0, 1].map((i) => Math.min(1, Math.max(0, cross.at[i] + far * way[i])));
    if (stroke) stroke.points[1] = cross.at;
    later();
  } else if (event.key === "Enter" || event.key === " ") {
    cross ??= { at: [0.5, 0.5] };
    if (stroke) {
      const { kind, points } = stroke;
      stroke = null;
      finish(kind, points);
    } else if (memory.tool === "box" && !answerAt(cross.at) && !markAt(cross.at)) {
      stroke = { kind: "box", points: [cross.at, cross.at], moved: true };
      hint("say_corner");
    } else clicked(cross.at);
    later();
  } else if (event.key === "Escape" && (stroke || cross)) {
    [stroke, cross] = [null, null];
    later();
  } else if (event.key === "Delete" || event.key === "Backspace") {
    const mine = (cross && markAt(cross.at)) ?? marksOn(memory.row).filter((mark) => mark.kind !== "tag").at(-1);
    if (mine) remove(mine.id);
  } else if (event.key === "+" || event.key === "=") zoomBy(1.4);
  else if (event.key === "-") zoomBy(1 / 1.4);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

canvas.addEventListener("keydown", keyed);
canvas.addEventListener("focus", later);
canvas.addEventListener("blur", later);
ask.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  closeAsk();
  canvas.focus();
  later();
});
new ResizeObserver(later).observe(stage);
