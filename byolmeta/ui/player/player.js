// The player in the browser. Gradio runs this as a function body with element, trigger, props and watch, after CSS,
// WORDS and CHART. __init__.py says what the props are. Names of boxes are text, never HTML.

const FIRST_MS = 1500; // for all steps, when new answers come
const STEP_MS = 250; // for one step, played by hand
const SLOW_MS = 1000; // for one step in slow motion
const PATIENCE = 5000; // ms that the first playing waits for the curve to be drawn
const SPEEDS = [1, 2, 4, 0.5];
const MOST = 12; // changed pictures that are shown
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// ---------------------------------------------------------------- what is kept over a remount

const home = element.parentElement?.closest("[id]")?.id || "player";
const memory = ((window.byolmetaPlayers ??= {})[home] ??= { props: {}, speed: 0, slow: false, held: false });
memory.stop?.();

// ---------------------------------------------------------------- the page

const PATHS = { play: "M7 5l12 7-12 7z", pause: "M8 5v14 M16 5v14", back: "M15 6l-6 6 6 6", forward: "M9 6l6 6-6 6" };

const labelled = (key) => ({ type: "button", title: word(key), "aria-label": word(key) });

if (!document.getElementById("bm-player-style")) {
  document.head.append(make("style", "", { id: "bm-player-style" }, CSS));
}
element.parentElement.style.padding = 0; // in line with the blocks above and below

const root = element.querySelector(".bm-player");
const playButton = make("button", "bm-play", { type: "button" });
const backButton = make("button", "bm-back", labelled("back"), icon("back"));
const forwardButton = make("button", "bm-forward", labelled("forward"), icon("forward"));
const when = make("input", "bm-play-when", { type: "range", min: 1, step: 1, "aria-label": word("step") });
const speedButton = make("button", "bm-speed", { type: "button", title: word("speed") });
const slowButton = make("button", "bm-slow", { ...labelled("slow_about"), role: "switch" }, word("slow"));
const line = make("p", "bm-play-at");
const flips = make("ul", "bm-flips", { "aria-label": word("flipped") });
const live = make("p", "bm-play-say", { role: "status", "aria-live": "polite" });
root.replaceChildren(
  make("div", "bm-play-row", {}, playButton, backButton, when, forwardButton, speedButton, slowButton), line, flips, live);
root.setAttribute("role", "group");
root.setAttribute("aria-label", word("title"));

// ---------------------------------------------------------------- state

let moves = null; // {seq, of, labels: Int8Array of each step, flipped: ids of each, box_ids, right}, steps from 1 on
let at = 0; // step, with the part of the way to the next; of: the end
let playing = null; // "first", by itself when new answers come; "hand"; or null
let last = 0; // ms of the last frame
let since = 0; // ms when the first playing was asked for
let told = 0; // the step that the page shows; 0: the final answers
let over = 0; // timer: the last step has been looked at
let waiting = false; // new answers came, their moves not yet

const chart = () => document.getElementById(CHART)?.querySelector(".chart")?.__chart;
const seen = () => root.getClientRects().length > 0;
const stepNow = () => Math.min(moves.of, Math.max(1, Math.floor(at)));
const ended = () => at >= moves.of;

function decoded(sent) {
  const labels = [null, Int8Array.from(atob(sent.first), (letter) => letter.charCodeAt(0))];
  const flipped = [null, []];
  for (const [ids, boxes] of sent.changes) {
    const next = labels.at(-1).slice();
    ids.forEach((id, place) => { next[id] = boxes[place]; });
    labels.push(next);
    flipped.push(ids);
  }
  return { ...sent, labels, flipped };
}

// ---------------------------------------------------------------- what the page is told

function tell(step) {
  if (told === step) return;
  told = step;
  clearTimeout(over);
  const { of, labels, box_ids, flipped } = moves;
  const detail = { step, of, rev: given("rev"), labels: labels[step], box_ids, flipped: flipped[step] };
  window.dispatchEvent(new CustomEvent("byolmeta-step", { detail }));
  live.textContent = word("say", { step, what: changed(step) });
}

function untell() {
  clearTimeout(over);
  if (!told) return;
  told = 0;
  live.textContent = "";
  window.dispatchEvent(new CustomEvent("byolmeta-step", { detail: null }));
}

function changed(step) {
  const n = moves.flipped[step].length;
  if (step === 1) return word("first");
  return n > 1 ? word("changed_many", { n: n.toLocaleString() }) : word(n ? "changed_one" : "changed_none");
}

// ---------------------------------------------------------------- time goes on

const speed = () => SPEEDS[memory.speed];

function run(kind) {
  clearTimeout(over);
  playing = kind;
  last = since = performance.now();
  draw();
  requestAnimationFrame(frame);
}

function frame(now) {
  if (!playing) return;
  if (!root.isConnected) return stop();
  const first = playing === "first";
  const passed = Math.max(0, now - last);
  last = now;
  const slow = memory.slow && !first;
  if (!(first && !chart()?.drawn() && now - since < PATIENCE)) {
    const next = at + passed / (first ? FIRST_MS / moves.of : (slow ? SLOW_MS : STEP_MS) / speed());
    at = slow ? Math.min(next, Math.floor(at) + 1) : next; // on a busy machine, too, slow motion leaves out no step
  }
  // In slow motion the last step is looked at as long as the others.
  if (at >= moves.of + (slow ? 1 : 0)) return end();
  if (slow) tell(stepNow());
  drawMoment();
  requestAnimationFrame(frame);
}

function end() {
  playing = null;
  at = moves.of;
  untell();
  draw();
}

function play() {
  if (!usable()) return;
  if (playing) return pause();
  memory.held = false;
  if (ended()) at = memory.slow ? 1 : 0;
  if (!memory.slow) untell();
  run("hand");
}

function pause() {
  memory.held = true;
  playing = null;
  goTo(stepNow());
}

// To a step, by hand.
function goTo(step) {
  if (!usable()) return;
  memory.held = true;
  playing = null;
  at = Math.min(moves.of, Math.max(1, step));
  tell(at);
  if (ended()) over = setTimeout(end, SLOW_MS / speed());
  draw();
}

function turnSlow() {
  if (!usable()) return;
  memory.slow = !memory.slow;
  if (memory.slow) {
    memory.held = false;
    at = ended() || playing === "first" ? 1 : stepNow();
    return run("hand");
  }
  if (playing) untell();
  draw();
}

const usable = () => Boolean(moves) && !waiting && moves.of > 1;

// ---------------------------------------------------------------- drawing

function draw() {
  root.hidden = !moves;
  root.classList.toggle("bm-waiting", waiting);
  if (!moves) return;
  const off = !usable();
  const does = playing ? "pause" : "play";
  if (playButton.dataset.does !== does) playButton.replaceChildren(icon(does));
  playButton.dataset.does = does;
  playButton.title = word(does);
  playButton.setAttribute("aria-label", word(does));
  for (const button of [playButton, backButton, forwardButton, slowButton]) button.setAttribute("aria-disabled", off);
  when.disabled = moves.of < 2;
  when.max = moves.of;
  slowButton.setAttribute("aria-checked", memory.slow);
  speedButton.textContent = word("times", { n: speed() });
  speedButton.setAttribute("aria-label", `${word("speed")}: ${word("times", { n: speed() })}`);
  drawMoment();
}

function drawMoment() {
  const step = stepNow(), smooth = playing && !memory.slow && !calm.matches;
  chart()?.until(!playing && !told ? null : smooth || playing === "first" ? at : told === moves.of ? null : step);
  const shown = playing && at < 1 ? 0 : step;
  put(when, "value", Math.max(1, shown));
  when.style.setProperty("--part", `${(100 * (Math.max(1, shown) - 1)) / Math.max(1, moves.of - 1)}%`);
  const text = said(shown);
  when.setAttribute("aria-valuetext", text);
  put(line, "textContent", told && moves.of > 1 ? `${text} · ${changed(told)}` : text);
  drawFlips();
}

const put = (node, name, value) => { if (String(node[name]) !== String(value)) node[name] = value; };

function said(step) {
  if (moves.of < 2) return word("at_once");
  if (!step) return word("before");
  const right = moves.right[step - 1];
  return word(right ? "at_right" : "at", { step, of: moves.of, right });
}

let drawnFlips = "";

function drawFlips() {
  const name = told || memory.slow ? `${moves.seq} ${told}` : "";
  if (name === drawnFlips) return;
  drawnFlips = name;
  flips.hidden = !name;
  const ids = told ? moves.flipped[told].slice(0, MOST) : [];
  flips.replaceChildren(...ids.map((id) => flip(id, moves.labels[told - 1][id], moves.labels[told][id])));
}

// A picture that changed its box, over the colour of the new one.
function flip(id, old, now) {
  const boxes = [old, now].map((place) => given("boxes")?.find((box) => box.id === moves.box_ids[place]));
  const text = word("from_to", { picture: word("picture", { n: (id + 1).toLocaleString() }), old: boxes[0]?.name ?? "",
    new: boxes[1]?.name ?? "" });
  const node = make("li", "", { title: text, "aria-label": text });
  node.dataset.id = id;
  node.style.setProperty("--hue", boxes[1]?.colour ?? "");
  const pictures = given("pictures"), extra = given("extras")?.find((each) => each.id === id);
  if (extra) {
    node.style.backgroundImage = `url("${extra.url}")`;
    node.style.backgroundSize = "cover";
  } else if (pictures?.sheets) {
    const { per_sheet, columns, n, sheets } = pictures;
    const sheet = Math.floor(id / per_sheet), spot = id % per_sheet;
    const rows = Math.ceil(Math.min(per_sheet, n - sheet * per_sheet) / columns);
    const part = (place, of) => `${of > 1 ? (100 * place) / (of - 1) : 0}%`;
    node.style.backgroundImage = `url("${sheets[sheet]}")`;
    node.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
    node.style.backgroundPosition = `${part(spot % columns, columns)} ${part(Math.floor(spot / columns), rows)}`;
  }
  return node;
}

// ---------------------------------------------------------------- by hand

playButton.addEventListener("click", play);
backButton.addEventListener("click", () => moves && goTo(stepNow() - 1));
forwardButton.addEventListener("click", () => moves && goTo(stepNow() + 1));
slowButton.addEventListener("click", turnSlow);
speedButton.addEventListener("click", () => {
  memory.speed = (memory.speed + 1) % SPEEDS.length;
  draw();
});
when.addEventListener("input", () => (usable() ? goTo(Number(when.value)) : draw()));
root.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
  if (step && moves) goTo(stepNow() + step);
  else if (event.key === " " && event.target === when) play();
  else return;
  event.preventDefault();
  event.stopPropagation();
});

// ---------------------------------------------------------------- props

function take() {
  if (!root.isConnected) return stop();
  const sent = given("moves") ?? {};
  if (sent.seq !== undefined && sent.seq === moves?.seq) {
    waiting = false; // the same once more
    return draw();
  }
  playing = null;
  untell();
  waiting = Boolean(sent.waiting);
  if (sent.first) moves = decoded(sent);
  else if (!waiting) moves = null;
  if (!moves) {
    chart()?.until(null);
    return draw();
  }
  at = moves.of;
  if (sent.first && moves.of > 1 && moves.right.length && seenSoon() && !memory.held && !calm.matches) {
    at = 0;
    run("first");
  } else draw();
}

// The player itself may come up only with these moves.
const seenSoon = () => { root.hidden = false; return seen(); };

function stop() {
  playing = null;
  untell();
}

memory.stop = stop;
take();
watch(["moves", "rev", "boxes", "pictures", "extras"], take);
root.__player = { when: () => ({ at, playing, told, of: moves?.of ?? 0, waiting, seq: moves?.seq ?? null }) };
// Updates sent before the player was here are lost; now Python can send its moves again.
trigger("ready");
