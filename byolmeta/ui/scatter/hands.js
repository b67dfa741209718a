// Mouse, pen, touch, wheel and keys.

// ---- pointer, wheel, keys

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
    if (event.pointerType !== "touch") hoverAt(...spot);
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

on(overlay, "pointerleave", () => { if (!drag) { hoverGuest(-1); hover(-1); } });

function click(event, done) {
  const met = pickGuest(...done.start);
  if (met >= 0) { pinGuest(met); return; }
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
  if (point >= 0) look({ x: restX(point), y: restY(point), scale: goal.scale * 2.2 });
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
  else if (key === "v" || key === "V") openLarge(current());
  else if (key === "Enter" || key === " ") enter(event);
  else if (pinnedGuest >= 0 && ["Escape", "Delete", "Backspace"].includes(key)) dropGuests([guests[pinnedGuest]]);
  else if (key === "Escape") { if (!letGo()) return; } else return;
  event.preventDefault();
  event.stopPropagation();
});

on(root, "keydown", (event) => {
  if (!map || compact() || event.target.matches("input[type=search]")) return;
  const control = event.ctrlKey || event.metaKey;
  if (event.key === "/" && !control) openSearch(true);
  else if (control && event.key.toLowerCase() === "z") {
    if (offered && !event.shiftKey) takeBack();
    else if (!(event.shiftKey ? redo() : undo())) return;
  } else return;
  event.preventDefault();
  event.stopPropagation();
});

function enter(event) {
  if (focused < 0 && pinned >= 0) focused = pinned;
  if (focused < 0) return focus(nearestTo(width / 2, height / 2));
  select([focused], flags[focused] ? "remove" : "add");
}

function letGo() {
  if (trail || drag) { trail = null; drag = null; } else if (focused >= 0 || pinned >= 0 || pinnedGuest >= 0) {
    pin(-1);
  } else if (chosen) select([]);
  else if (lit) dim();
  else if (tool !== "pan") useTool("pan");
  else if (isolated.size) isolate(null);
  else return false;
  request();
  return true;
}

function nearestTo(x, y) {
  let best = -1, least = Infinity;
  for (let point = 0; point < map.n; point++) {
    const far = Math.hypot(screenX(restX(point)) - x, screenY(restY(point)) - y);
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
  const x = restX(focused), y = restY(focused);
  let best = -1, least = Infinity;
  for (let point = 0; point < map.n; point++) {
    if (point === focused || !active(point)) continue;
    const right = restX(point) - x, up = restY(point) - y;
    const along = right * dx - up * dy;
    const aside = Math.abs(right * dy) + Math.abs(up * dx);
    if (along > 0 && aside <= 2 * along && along + 2 * aside < least) { best = point; least = along + 2 * aside; }
  }
  if (best >= 0) focus(best);
}

function focus(point) {
  if (point < 0) return;
  hovered = hoveredGuest = pinnedGuest = -1;
  focused = pinned = point;
  const x = (restX(point) - goal.x) * goal.scale, y = (restY(point) - goal.y) * goal.scale;
  if (Math.abs(x) > width / 2 - 40 || Math.abs(y) > height / 2 - 40) {
    look({ x: restX(point), y: restY(point), scale: goal.scale });
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
  if (button.dataset.act === "search") openSearch(find(".search").hidden);
  else if (button.dataset.act === "list") openList(!listed);
  else if (button.dataset.act === "undo") undo();
  else if (button.dataset.act) return; // they listen themselves
  else if (button.dataset.tool) useTool(tool === button.dataset.tool ? "pan" : button.dataset.tool);
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
  const other = event.target.closest(".row button");
  if (!other) return;
  const point = pointOf(Number(other.dataset.id));
  if (point >= 0) focus(point);
});
on(find(".retry"), "click", () => {
  showEmpty();
  if (points) readPoints(points);
});
