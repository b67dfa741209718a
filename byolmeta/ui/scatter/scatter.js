// From the props to the map, and the start of it all.

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
  const ended = AbortSignal.any([signal, mine.signal]);
  const bytes = async (url) => {
    const answer = await fetch(absolute(url), { signal: ended, cache: "no-cache" });
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
    if (ended.aborted) return;
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
    if (!same) {
      shown = new Map([...shown].map(([point, alpha]) => [kept(point), alpha]).filter(([point]) => point >= 0));
    }
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
