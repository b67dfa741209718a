// From the props to the map, and the start of it all.

// ---- from the props

let aboutKey = null;
let loading = null; // AbortController of the positions on their way
let arriving = false; // positions are on their way
let colouredBy = null;

function update() {
  words = { ...DEFAULT_WORDS, ...(prop("words") || {}) };
  root.classList.toggle("small", compact());
  overlay.tabIndex = compact() ? -1 : 0; // a small one is only looked at
  overlay.setAttribute("role", compact() ? "img" : "application");
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
  takeLit();
  takeSelection();
  takeLanded();
  takeScene();
  takeLarge();
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
    lit = null;
    drawLit();
  }
  arriving = false;
  dropScene();
  dialog.close();
  map = laid = null;
  points = null;
  past = [];
  future = [];
  away = [];
  guests = [];
  guestsTold = "";
  drawGuestChip();
  offered = null;
  hint("");
  hoveredGuest = pinnedGuest = -1;
  haystack = null;
  Object.assign(search, { points: [], at: -1 });
  shown.clear();
  inView = [];
  hovered = pinned = focused = -1;
  trail = null;
  flags = marks = new Uint8Array(0);
  chosen = 0;
  isolated.clear();
  painter?.forget();
  group();
  showCard();
  drawBar();
  drawList();
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
    haystack = null;
    group();
    if (search.text) seek();
    showCard();
    drawList();
  } catch (problem) {
    if (!signal.aborted) console.warn("The names of the pictures could not be read.", String(problem));
  }
}

async function bytes(url, ended) {
  const answer = await fetch(absolute(url), { signal: ended, cache: "no-cache" });
  if (!answer.ok) throw new Error(answer.status);
  return answer.arrayBuffer();
}

async function readPoints(wanted) {
  loading?.abort(); // newest wins
  const mine = (loading = new AbortController());
  const ended = AbortSignal.any([signal, mine.signal]);
  arriving = true;
  try {
    const [places, ids] = await Promise.all([wanted.url, wanted.ids].map((url) => url && bytes(url, ended)));
    if (mine !== loading) return;
    arriving = false;
    laidAt = performance.now();
    lay(wanted, new Float32Array(places), ids ? new Uint32Array(ids) : null);
    showEmpty();
    if (wanted.neighbours) {
      const near = await bytes(wanted.neighbours, ended);
      if (mine !== loading) return;
      laid.near = new Uint32Array(near);
      laid.k = wanted.k || 3;
      showCard();
      drawList();
      request();
    }
  } catch (problem) {
    if (ended.aborted) return;
    arriving = false;
    loading = null;
    if (!map) showEmpty(true);
    else console.warn("The new positions could not be read.", String(problem));
  }
}

// The layout that the prop `points` tells of; shown at once unless a film is on.
function lay(wanted, places, ids) {
  const n = Math.min(wanted.n ?? Infinity, places.length >> 1, ids ? ids.length : Infinity);
  const same = laid && laid.n === n && sameIds(laid.ids, ids);
  const known = same ? laid : { ids, ...arranged(n, ids), near: null, k: 3 };
  laid = { ...known, told: wanted, n, ...scaled(places.subarray(0, 2 * n)) };
  if (scene?.kind === "film") group();
  else if (scene) leaveScene();
  else showLaid();
  checkLit();
  takeSelection();
  takeLanded();
  takeScene();
}

const arranged = (n, ids) => ({ order: ranked(n, ids),
  index: ids && new Map(Array.from(ids, (id, point) => [id, point])) });

// Positions (x, y, x, y, ...) brought to -1..1, with what that took.
function scaled(places) {
  const to = new Float32Array(places.length);
  const least = [Infinity, Infinity], most = [-Infinity, -Infinity];
  for (let at = 0; at < to.length; at++) {
    const value = Number.isFinite(places[at]) ? places[at] : 0;
    to[at] = value;
    if (value < least[at & 1]) least[at & 1] = value;
    if (value > most[at & 1]) most[at & 1] = value;
  }
  const centre = [0, 1].map((side) => (least[side] + most[side]) / 2);
  const reach = Math.max(...[0, 1].map((side) => (most[side] - least[side]) / 2)) || 1;
  for (let at = 0; at < to.length; at++) to[at] = (to[at] - centre[at & 1]) / reach;
  return { places: to, half: [0, 1].map((side) => Math.max((most[side] - least[side]) / 2 / reach, 0.2)), centre,
    reach };
}

// Draws a layout from now on; every picture moves there from where it is now.
function show(next) {
  const { n, ids, places } = next;
  const twin = next.twin || 0;
  const old = map;
  const mix = old ? mixNow() : 1;
  const same = Boolean(old && old.n === n && !old.twin && !twin && sameIds(old.ids, ids));
  const from = new Float32Array(places);
  const kept = new Uint8Array(n);
  const selected = old ? allChosen() : [];
  for (let point = 0; old && point < n; point++) {
    const before = same ? point : pointIn(old, ids ? ids[point] : point);
    if (before < 0 || before >= old.n) continue;
    from[2 * point] = whereX(before, mix);
    from[2 * point + 1] = whereY(before, mix);
    kept[point] = flags[before];
  }
  const renamed = (point) => (point < 0 || same ? point : pointIn(next, idOf(point)));
  if (old && !same) {
    [hovered, pinned, focused] = [hovered, pinned, focused].map(renamed);
    shown = new Map([...shown].map(([point, alpha]) => [renamed(point), alpha]).filter(([point]) => point >= 0));
  }
  map = { kind: next.kind, told: next.told, n, ids, twin, index: next.index, order: next.order, half: next.half,
    from, to: places, held: null, grid: null, started: old && !calm.matches ? performance.now() : 0,
    cell: next.cell ?? 0 };
  flags = kept;
  for (const id of away) if (pointOf(id) >= 0) flags[pointOf(id)] = 1;
  away = next.kind === "film" ? [...away, ...selected].filter((id) => pointOf(id) < 0) : [];
  count();
  if (!same || codes.length !== n) group();
  painter?.layout(map.order, codes, from, places);
  if (search.text) seek();
  else mark();
  if (atHome) goHome(!old);
  seen = false;
  showCard();
  drawBar();
  drawWords();
  drawList();
  drawGuestChip();
  request();
}

const sameIds = (one, other) => one === other || (!one && !other)
  || Boolean(one && other && one.length === other.length && one.every((id, at) => id === other[at]));

// Points by a fixed random rank of their picture, the first last: it is drawn uppermost.
function ranked(n, ids) {
  const rank = (point) => {
    let value = Math.imul((ids ? ids[point] : point) + 1, 0x9e3779b1);
    value = Math.imul(value ^ (value >>> 15), 0x85ebca6b);
    return (value ^ (value >>> 13)) >>> 16;
  };
  // Counted into its place, as a general sort takes most of the time until the first draw.
  const starts = new Uint32Array(2 ** 16 + 1), ranks = new Uint16Array(n), order = new Uint32Array(n);
  for (let point = 0; point < n; point++) starts[(ranks[point] = rank(point)) + 1] += 1;
  for (let at = 0; at < 2 ** 16; at++) starts[at + 1] += starts[at];
  for (let point = 0; point < n; point++) order[starts[ranks[point]]++] = point;
  return order;
}

// Ids of the three pictures most alike to a point's, by the encoder of that side of a comparison.
function neighbours(point) {
  const row = map && point >= 0 ? rowOf(point) : -1;
  const { near, k } = (row >= 0 && encoderOf(point)) || {};
  return near ? [...near.subarray(row * k, row * k + k)].filter((id) => id !== idOf(point)).slice(0, 3) : [];
}

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
  coloured: (id) => colourOf(pointOf(id)),
  ringed: () => (map && ringing() ? ringed().map(idOf) : []),
  lit: () => (map && lightening ? [...new Set(allMarked().map(idOf))] : null),
  landed: () => guests.map(({ x, y, name }) => ({ name, x: screenX(x), y: screenY(y) })),
  spots: (id) => (map ? [pointOf(id), partner(pointOf(id))].filter((point) => point >= 0) : []).map((point) => {
    const box = overlay.getBoundingClientRect();
    return { x: box.left + screenX(whereX(point, mixNow())), y: box.top + screenY(whereY(point, mixNow())) };
  }),
  near: () => (map ? neighbours(current()) : []),
  kind: () => map?.kind ?? null,
  when: () => (scene ? { at: scene.at, playing: Boolean(scene.playing) } : null),
  lasts: () => (scene?.kind === "film" ? frameMs() * (scene.frames - 1) : null),
  size: () => size,
  view: () => ({ ...camera }),
  firstDraw: () => firstDraw,
  seq: () => laid?.told.seq ?? null,
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
