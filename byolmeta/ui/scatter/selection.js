// Which picture is under the pointer, which are selected, and what is done with them.

// ---- which picture is there

// Cells of the map with the points in them, so that only a few points are looked at. mix: of the positions.
function makeGrid(mix) {
  const { n } = map;
  const side = Math.max(1, Math.ceil(Math.sqrt(n / 2)));
  const cell = (value) => clamp(Math.floor((value + 1) / 2 * side), 0, side - 1);
  const starts = new Uint32Array(side * side + 1);
  const cells = new Uint32Array(n);
  for (let point = 0; point < n; point++) {
    cells[point] = cell(whereX(point, mix)) + side * cell(whereY(point, mix));
    starts[cells[point] + 1] += 1;
  }
  for (let at = 0; at < side * side; at++) starts[at + 1] += starts[at];
  const next = starts.slice();
  const list = new Uint32Array(n);
  for (let point = 0; point < n; point++) list[next[cells[point]]++] = point;
  map.grid = { mix, side, cell, starts, list };
}

// Before a pointer comes, when nothing moves any more.
function prepareGrid() {
  setTimeout(() => { if (map && !frameAsked && map.grid?.mix !== mixNow()) makeGrid(mixNow()); });
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
  if (map.grid?.mix !== mix) makeGrid(mix);
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

const MOST_UNDONE = 50; // selections that are remembered
let past = []; // earlier selections, as picture ids
let future = []; // those that were taken back
let away = []; // ids of selected pictures that the film does not have

const pales = () => chosen > 1 || lightening;

// how: "new" replaces, "add" and "remove" change what is there
function select(list, how = "new") {
  if (!map) return;
  remember();
  if (how === "new") { flags.fill(0); away = []; }
  for (const point of list) {
    flags[point] = how === "remove" ? 0 : 1;
    if (map.twin) flags[partner(point)] = flags[point];
  }
  tell();
}

// After the flags have changed: counts, draws and tells.
function tell() {
  count();
  mark();
  drawBar();
  say(chosen ? amount("selected", chosen) : "");
  trigger("select", chosenIds());
}

function count() {
  const all = flags.reduce((sum, flag) => sum + flag, 0);
  chosen = map.twin ? all / 2 : all;
}

function chosenIds() {
  const indices = allChosen(MOST_SENT);
  return { indices: [...indices], count: chosen, truncated: chosen > indices.length, key: map.told.key ?? null };
}

function allChosen(most = Infinity) {
  const indices = new Uint32Array(Math.min(chosen, most));
  for (let point = 0, at = 0; at < indices.length; point++) if (flags[point]) indices[at++] = idOf(point);
  return indices;
}

// ---- undo

function remember() {
  past.push(allChosen());
  if (past.length > MOST_UNDONE) past.shift();
  future = [];
}

function turnBack(from, onto) {
  if (!map || !from.length) return false;
  onto.push(allChosen());
  flagIds(from.pop());
  tell();
  return true;
}

const undo = () => turnBack(past, future);
const redo = () => turnBack(future, past);

function flagIds(ids) {
  flags.fill(0);
  away = [];
  for (const id of ids) {
    const point = pointOf(id);
    if (point < 0) continue;
    flags[point] = 1;
    if (map.twin) flags[partner(point)] = 1;
  }
}

let selectionTaken = null; // the last selection that Python set

function takeSelection() {
  const asked = given(props.selection, "ids");
  if (!map || !asked || asked.seq === selectionTaken) return;
  selectionTaken = asked.seq;
  remember();
  flagIds(asked.ids);
  count();
  mark();
  drawBar();
  say(amount("selected", chosen));
}

// ---- what is done with a selection

function put(box, chip) {
  const sent = chosenIds();
  const told = { ...sent, box: box ? box.id : null };
  trigger("assign", told);
  const text = word("moved", { n: amount("picture", sent.count), box: box ? box.name : word("new_box") });
  flyTo(chip);
  finish(text, { what: "assign", ...told });
}

function setAside() {
  const sent = chosenIds();
  trigger("aside", sent);
  finish(word("was_set_aside", { n: amount("picture", sent.count) }), { what: "aside", ...sent });
}

function finish(text, offer) {
  pin(-1);
  select([]);
  say(text);
  hint(text, offer);
  overlay.focus({ preventScroll: true });
}

// Takes back what the line over the map offers; the pictures are selected again, also those that come back to the map.
function takeBack() {
  const told = offered;
  offered = null;
  hint("");
  turnBack(past, future);
  away = told.indices.filter((id) => pointOf(id) < 0);
  trigger("undone", told);
  overlay.focus({ preventScroll: true });
}

on(find(".hint button"), "click", takeBack);

const MOST_FLYING = 12; // thumbnails
const FLIGHT_MS = 400;

// A few of the selected pictures fly to the button that took them; a copy of it stays until they are there.
function flyTo(button) {
  if (calm.matches || !sheets) return;
  const area = stage.getBoundingClientRect(), end = button.getBoundingClientRect();
  const flight = document.createElement("div");
  flight.className = "flight";
  flight.inert = true;
  const landing = button.cloneNode(true);
  landing.style.left = `${end.left - area.left}px`;
  landing.style.top = `${end.top - area.top}px`;
  const pictures = flyers().map((point, at) => {
    const picture = document.createElement("i");
    paintTile(picture, idOf(point), 40);
    const [x, y] = [screenX(restX(point)) - 20, screenY(restY(point)) - 20];
    const [toX, toY] = [end.left + end.width / 2 - area.left - 20, end.top + end.height / 2 - area.top - 20];
    picture.animate([{ transform: `translate(${x}px, ${y}px)` },
      { transform: `translate(${toX}px, ${toY}px) scale(.35)`, opacity: 0.5 }],
    { duration: FLIGHT_MS - 100 + 8 * at, easing: "cubic-bezier(.5, 0, .3, 1)", fill: "both" });
    return picture;
  });
  flight.append(landing, ...pictures);
  stage.append(flight);
  setTimeout(() => flight.remove(), FLIGHT_MS + 50);
}

function flyers() {
  const inside = [];
  for (let point = 0; point < (map.twin || map.n) && inside.length < MOST_FLYING; point++) {
    const x = screenX(restX(point)), y = screenY(restY(point));
    if (flags[point] && x > 0 && y > 0 && x < width && y < height) inside.push(point);
  }
  return inside;
}

on(find(".bar .similar"), "click", () => trigger("similar", chosenIds()));
on(find(".bar .aside"), "click", setAside);
on(find(".bar .save"), "click", () => openSaving(find(".bar .saving").hidden));
on(find(".bar .saving"), "click", (event) => {
  const kind = event.target.closest("button")?.dataset.kind;
  if (!kind) return;
  openSaving(false);
  find(".bar .save").focus();
  trigger("export", { ...chosenIds(), kind });
});
on(find(".bar"), "keydown", (event) => {
  if (event.key !== "Escape" || find(".bar .saving").hidden) return;
  openSaving(false);
  find(".bar .save").focus();
  event.stopPropagation();
});

function openSaving(open) {
  find(".bar .saving").hidden = !open;
  find(".bar .save").setAttribute("aria-expanded", open);
  if (open) find(".bar .saving button").focus();
}

function finishTrail(how) {
  const corners = trail;
  hint("");
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
