// Which picture is under the pointer, and which are selected.

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
