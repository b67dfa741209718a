// Other layouts than the present one: the film of a study, and the comparison of two encoders.

const FRAME_MS = 350; // from one frame of the film to the next, at least
const FILM_MS = 4000; // a whole film, at least
const SPEEDS = [1, 2, 0.5];
const SLIDE_MS = 900; // from one end of a comparison to the other

// {kind: "film", told, frames, places (all frames), n, at: 0..frames - 1, playing, ...} or
// {kind: "compare", told, first, second: positions, half, near, k, at: 0..1, playing: null or where it slides to}.
let scene = null;
let sceneTold = { film: "", compare: "" }; // what was asked for last; a scene that was left is not opened again by it
let speed = SPEEDS[0]; // of the film
let opening = null; // AbortController of the scene on its way

const player = find(".player"), comparison = find(".compare");
const when = player.querySelector("input"), slider = comparison.querySelector("input");

function takeScene() {
  for (const kind of ["compare", "film"]) {
    const asked = given(props[kind], "url");
    if (kind === "compare" && asked && (!laid || arriving)) continue; // it is with the present map
    const identity = asked ? JSON.stringify([asked.url, asked.seq]) : "";
    if (identity === sceneTold[kind]) continue;
    sceneTold[kind] = identity;
    const fits = asked && !compact() && (!given(props.pictures, "sheets") || asked.key === props.pictures.key);
    if (fits) openScene(kind, asked);
    else if (opening?.kind === kind) opening.abort();
    else if (scene?.kind === kind) leaveScene();
  }
}

async function openScene(kind, asked) {
  opening?.abort(); // newest wins
  const mine = (opening = Object.assign(new AbortController(), { kind }));
  try {
    const read = kind === "film" ? readFilm : readComparison;
    const next = await read(asked, AbortSignal.any([signal, mine.signal]));
    if (mine !== opening) return;
    opening = null;
    scene = next;
    pin(-1);
    atHome = true;
    if (scene.kind === "film") show({ ...scene, places: frameOf(0), told: { key: asked.key, stage: "film" } });
    else showEnd();
    drawScene();
    say(word(`stage_${kind}`));
  } catch (problem) {
    if (signal.aborted || mine.signal.aborted) return;
    console.warn("The other layout could not be read.", String(problem));
    hint(word("load_failed"));
  }
}

async function readFilm(asked, ended) {
  const [places, ids] = await Promise.all([asked.url, asked.ids].map((url) => url && bytes(url, ended)));
  const named = ids ? new Uint32Array(ids) : null;
  const all = new Float32Array(places);
  const n = named ? Math.min(asked.n, named.length) : asked.n;
  const frames = Math.min(asked.frames, Math.floor(all.length / (2 * asked.n)));
  if (!(n && frames)) throw new Error("no frames");
  return { kind: "film", told: asked, n, frames, ids: named, ...arranged(n, named), ...scaled(all), at: 0,
    playing: frames > 1 && !calm.matches };
}

async function readComparison(asked, ended) {
  const [places, near] = await Promise.all([asked.url, asked.neighbours].map((url) => url && bytes(url, ended)));
  const second = new Float32Array(places);
  if (second.length !== 2 * laid.n) throw new Error(`${second.length / 2} positions for ${laid.n} pictures`);
  const ends = [laid.places, second].map(sameRadius);
  const reach = Math.max(...ends.map((end) => end.reduce((most, value) => Math.max(most, Math.abs(value)), 0))) || 1;
  const half = [0.2, 0.2];
  for (const end of ends) {
    for (let at = 0; at < end.length; at++) half[at & 1] = Math.max(half[at & 1], Math.abs(end[at] /= reach));
  }
  return { kind: "compare", told: asked, first: ends[0], second: ends[1], half, near: near && new Uint32Array(near),
    k: asked.k || 3, at: 0, playing: null };
}

// Positions around their mean, with a root mean square distance of 1 from it.
function sameRadius(places) {
  const mean = [0, 0];
  const sound = Float32Array.from(places, (value) => (Number.isFinite(value) ? value : 0));
  sound.forEach((value, at) => { mean[at & 1] += 2 * value / sound.length; });
  const moved = sound.map((value, at) => value - mean[at & 1]);
  const radius = Math.sqrt(moved.reduce((sum, value) => sum + value * value, 0) / (moved.length / 2)) || 1;
  return moved.map((value) => value / radius);
}

const frameOf = (number) => scene.places.subarray(2 * scene.told.n * number, 2 * scene.told.n * number + 2 * scene.n);

// The positions by which one picture for each patch is chosen: those of the film's end, so that none flickers.
function endOfScene() {
  if (map.kind === "film") return frameOf(scene.frames - 1);
  return map.held !== null && map.held < 0.5 ? map.from : map.to;
}

// The layout whose neighbours count for a point: the nearer end of a comparison, else the present one.
function encoderOf(point) {
  const second = map.kind === "sides" ? point >= map.twin : map.kind === "compare" && scene.at >= 0.5;
  return second ? scene : laid;
}

// ---- time goes on

const frameMs = () => Math.max(FRAME_MS, FILM_MS / (scene.frames - 1)) / speed;

// Plays or slides on by so many milliseconds; true while there is more.
function runScene(passed) {
  if (scene?.kind === "film" && scene.playing) {
    goTo(scene.at + passed / frameMs());
    if (scene.at >= scene.frames - 1) { scene.playing = false; drawScene(); }
    return scene.playing;
  }
  if (scene?.kind === "compare" && scene.playing !== null) {
    const left = scene.playing - scene.at;
    goTo(scene.at + Math.sign(left) * Math.min(Math.abs(left), passed / SLIDE_MS));
    if (scene.at === scene.playing) scene.playing = null;
    return scene.playing !== null;
  }
  return false;
}

// A moment of the film, or a mix of the two layouts. In between, pictures are on their way.
function goTo(moment) {
  const most = scene.kind === "film" ? scene.frames - 1 : 1;
  const before = scene.at;
  scene.at = clamp(moment, 0, most);
  const first = Math.min(Math.floor(scene.at), Math.max(0, most - 1));
  const ends = scene.kind === "film" ? [first, Math.min(first + 1, most)].map(frameOf) : [scene.first, scene.second];
  if (map.held === null || (scene.kind === "film" && scene.pair !== first)) {
    [map.from, map.to] = ends;
    scene.pair = first;
    painter?.move(map.from, map.to);
  }
  map.held = scene.at - (scene.kind === "film" ? first : 0);
  map.started = 0;
  map.grid = null;
  seen = false;
  if (Math.round(before) !== Math.round(scene.at)) showCard();
  else placeCard();
  drawMoment();
  request();
}

// ---- the comparison's two ways to look

// The slider's layout at its present end, or both layouts next to each other (one above the other where it is narrow).
function showEnd() {
  const told = { ...laid.told, stage: "compare" };
  const { ids, n, index, order } = laid;
  atHome = true;
  if (!scene.sides) {
    scene.at = Math.round(scene.at);
    const places = scene.at ? scene.second : scene.first;
    show({ kind: "compare", told, n, ids, index, order, places, half: scene.half });
    return;
  }
  const own = ids ?? Uint32Array.from({ length: n }, (_, point) => point);
  const both = new Uint32Array(2 * n);
  both.set(own);
  both.set(own, n);
  const twice = order.length * 2;
  const ranks = Uint32Array.from({ length: twice }, (_, at) => order[at >> 1] + (at & 1 ? n : 0));
  const side = height > width ? 1 : 0;
  const apart = scene.half[side] + 0.08;
  const part = 1 / (apart + scene.half[side]);
  const places = new Float32Array(4 * n);
  for (let at = 0; at < 4 * n; at++) {
    const second = at >= 2 * n;
    const away = (at & 1) !== side ? 0 : second === (side === 0) ? apart : -apart; // the first left, or above
    places[at] = part * ((second ? scene.second[at - 2 * n] : scene.first[at]) + away);
  }
  const half = [0, 1].map((way) => (way === side ? 1 : part * scene.half[way]));
  show({ kind: "sides", told, n: 2 * n, ids: both, twin: n, order: ranks, places, half,
    index: new Map(Array.from(own, (id, point) => [id, point])) });
}

// The line between the two, and their names.
function drawSides() {
  const across = map.half[1] === 1 && map.half[0] < 1, names = scene.told.names || [];
  pen.strokeStyle = pen.fillStyle = body;
  pen.globalAlpha = 0.18;
  pen.lineWidth = 1;
  pen.beginPath();
  if (across) { pen.moveTo(0, screenY(0)); pen.lineTo(width, screenY(0)); }
  else { pen.moveTo(screenX(0), 0); pen.lineTo(screenX(0), height); }
  pen.stroke();
  pen.globalAlpha = 0.8;
  pen.font = `600 12.5px ${getComputedStyle(root).fontFamily}`;
  pen.textBaseline = "top";
  pen.textAlign = across ? "left" : "right";
  const [x, y] = across ? [12, screenY(0)] : [screenX(0), height - 26];
  pen.fillText(names[0] ?? "", x - (across ? 0 : 12), across ? y - 22 : y);
  pen.textAlign = "left";
  pen.fillText(names[1] ?? "", x + (across ? 0 : 12), across ? y + 10 : y);
  pen.globalAlpha = 1;
}

// ---- leaving

function dropScene() {
  opening?.abort();
  opening = scene = null;
  sceneTold = { film: "", compare: "" };
  drawScene();
}

function leaveScene() {
  if (!scene) return;
  scene = null;
  drawScene();
  atHome = true;
  if (laid) showLaid();
  else reset(true);
  takeLanded();
}

// ---- the player and the slider

function drawScene() {
  const film = scene?.kind === "film", pair = scene?.kind === "compare";
  player.hidden = !film;
  comparison.hidden = !pair;
  if (film) {
    when.max = scene.frames - 1;
    const play = player.querySelector(".play");
    const name = calm.matches ? "film_step" : scene.playing ? "film_pause" : "film_play";
    play.dataset.does = name;
    play.title = word(name);
    play.setAttribute("aria-label", word(name));
    when.setAttribute("aria-label", word("film_when"));
  }
  if (pair) {
    const { names = [], facts = [], middle = "" } = scene.told;
    [".first", ".second"].forEach((end, at) => {
      comparison.querySelector(`${end} button`).textContent = names[at] ?? "";
      comparison.querySelector(`${end} span`).textContent = facts[at] ?? "";
    });
    comparison.querySelector(".middle").textContent = middle;
    comparison.querySelector(".swap").setAttribute("aria-pressed", Boolean(scene.sides));
    slider.hidden = Boolean(scene.sides);
    slider.setAttribute("aria-label", word("compare_slider", { first: names[0] ?? "", second: names[1] ?? "" }));
  }
  if (scene) drawMoment();
  fit();
}

function drawMoment() {
  if (scene.kind === "film") {
    const label = String(scene.told.labels?.[Math.round(scene.at)] ?? Math.round(scene.at) + 1);
    setKnob(when, scene.at, scene.at / Math.max(1, scene.frames - 1));
    when.setAttribute("aria-valuetext", label);
    player.querySelector("output").textContent = label;
    return;
  }
  setKnob(slider, scene.at, scene.at);
  const part = Math.round(100 * scene.at), names = scene.told.names || [];
  slider.setAttribute("aria-valuetext", part === 0 || part === 100 ? String(names[part / 100] ?? "")
    : word("compare_part", { part, name: names[1] ?? "" }));
  comparison.querySelector(".first").classList.toggle("on", scene.at < 0.5 && !scene.sides);
  comparison.querySelector(".second").classList.toggle("on", scene.at >= 0.5 && !scene.sides);
}

// The knob of a slider, and how much of its line is coloured (0..1).
function setKnob(input, value, part) {
  if (Number(input.value) !== value) input.value = value;
  input.style.setProperty("--part", `${100 * part}%`);
}

function play() {
  if (calm.matches) { goTo(scene.at >= scene.frames - 1 ? 0 : Math.floor(scene.at) + 1); return; }
  if (!scene.playing && scene.at >= scene.frames - 1) goTo(0);
  scene.playing = !scene.playing;
  drawScene();
  request();
}

function turnSpeed() {
  speed = SPEEDS[(SPEEDS.indexOf(speed) + 1) % SPEEDS.length];
  drawSpeed();
}

function drawSpeed() {
  const button = player.querySelector(".speed");
  button.hidden = calm.matches;
  button.textContent = `${speed}×`;
  button.title = word("film_speed");
  button.setAttribute("aria-label", `${word("film_speed")}: ${speed}×`);
}

function closeScene() {
  const { kind } = scene;
  leaveScene();
  trigger("left", { kind });
  overlay.focus({ preventScroll: true });
}

on(player.querySelector(".play"), "click", play);
on(player.querySelector(".speed"), "click", turnSpeed);
on(player.querySelector(".leave"), "click", closeScene);
on(when, "input", () => {
  const moment = Number(when.value);
  scene.playing = false;
  drawScene();
  goTo(calm.matches ? Math.round(moment) : moment);
});
on(when, "keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity,
    End: Infinity };
  if (!(event.key in steps)) return;
  event.preventDefault();
  scene.playing = false;
  drawScene();
  goTo(Math.round(clamp(scene.at + steps[event.key], 0, scene.frames - 1)));
});
on(slider, "input", () => { scene.playing = null; goTo(Number(slider.value)); });
[".first", ".second"].forEach((end, at) => on(comparison.querySelector(`${end} button`), "click", () => {
  if (scene.sides) swap();
  if (calm.matches) goTo(at);
  else scene.playing = at;
  request();
}));
on(comparison.querySelector(".leave"), "click", closeScene);
on(comparison.querySelector(".swap"), "click", swap);

function swap() {
  scene.sides = !scene.sides;
  scene.playing = null;
  showEnd();
  drawScene();
}
