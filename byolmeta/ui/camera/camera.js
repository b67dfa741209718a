// The camera in the browser. Gradio runs this as a function body with element, trigger, props and watch, after CSS
// and WORDS. __init__.py says what the props are. Names of boxes are text, never HTML.

const GAP = 170; // ms from one frame to the next, at least
const PATIENCE = 10_000; // ms until a frame that was not answered is given up
const EVERY = 500; // ms between two frames that are recorded
const MOST = 30; // frames that are recorded while a button is held
const QUIET = 2000; // ms between two sentences for screen readers
const LIGHT_ON = "#0072B2"; // the one colour of boxes that needs white figures on it

// ---------------------------------------------------------------- what is kept over a remount

const home = element.parentElement?.closest("[id]")?.id || "camera";
const memory = ((window.byolmetaCameras ??= {})[home] ??= { props: {} });
memory.stop?.abort(); // the mount before: its listeners and its camera
memory.stop = new AbortController();
const signal = memory.stop.signal;

// ---------------------------------------------------------------- the page

const PATHS = {
  camera: "M4 8h3.2L9 5.5h6L16.8 8H20a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1z M12 10a3.4 3.4 0 1 0 0 6.8 3.4 3.4 0 0 0 0-6.8z",
  turn: "M4 9a8.5 8.5 0 0 1 15-2l1 1.5 M20 4v4.5h-4.5 M20 15a8.5 8.5 0 0 1-15 2l-1-1.5 M4 20v-4.5h4.5",
  close: "M6 6l12 12 M18 6 6 18",
};

function button(name, key, sign) {
  return make("button", name, { type: "button" }, icon(sign), make("span", "", {}, word(key)));
}

if (!document.getElementById("bm-camera-style")) {
  document.head.append(make("style", "", { id: "bm-camera-style" }, CSS));
}
element.parentElement.style.padding = 0; // in line with the blocks above and below

const root = element.querySelector(".bm-camera");
const onButton = button("bm-cam-on", "on", "camera");
const offButton = button("bm-cam-off", "off", "close");
const switchButton = button("bm-cam-switch", "switch", "turn");
const note = make("p", "bm-cam-note", {}, word("about"));
const start = make("div", "bm-cam-start", {}, onButton, note);
const video = make("video", "", { playsinline: "", "aria-label": word("picture") });
video.muted = video.autoplay = true;
const stage = make("div", "bm-cam-stage", {},
  make("div", "bm-cam-view", {}, video), make("div", "bm-cam-tools", {}, switchButton, offButton));
const list = make("ul", "bm-cam-boxes", { "aria-label": word("guesses") });
const hint = make("p", "bm-cam-hint");
const live = make("div", "bm-cam-live", { hidden: "" }, stage, make("div", "bm-cam-side", {}, list, hint));
const status = make("p", "bm-cam-say", { role: "status", "aria-live": "polite" });
root.replaceChildren(start, live, status);

// ---------------------------------------------------------------- sentences

let sayings = 0; // timer of the next sentence
let said = -QUIET; // when the last one was said
let guessed = ""; // the last guess that was said

function say(text) {
  clearTimeout(sayings);
  sayings = setTimeout(() => {
    said = performance.now();
    status.textContent = text;
  }, Math.max(0, said + QUIET - performance.now()));
}

function tell(text, wrong = false) {
  note.textContent = text;
  note.classList.toggle("bm-wrong", wrong);
  if (wrong) say(text);
}

function advise(text, wrong = false) {
  hint.textContent = text;
  hint.classList.toggle("bm-wrong", wrong);
}

// ---------------------------------------------------------------- the boxes

let rows = new Map(); // id of a box -> its parts
let noneRow = null;

function row(name, colour, badge) {
  const fill = make("i");
  const share = make("span", "bm-cam-share");
  const label = make("span", "bm-cam-name", {}, name);
  const node = make("li", "bm-cam-box", {}, make("b", "bm-cam-badge", { "aria-hidden": "true" }, badge), label, share,
    make("div", "bm-cam-bar", { "aria-hidden": "true" }, fill));
  if (colour) {
    node.style.setProperty("--hue", colour);
    node.style.setProperty("--on-hue", colour === LIGHT_ON ? "#fff" : "#111");
  }
  return { node, fill, share, label, name };
}

function holdButton(parts, id) {
  const text = make("span");
  const node = make("button", "bm-cam-hold", { type: "button" }, text);
  const down = (event) => {
    event.preventDefault(); // else the key or the finger also clicks
    if (!event.repeat) hold(id);
  };
  const isKey = (event) => event.key === " " || event.key === "Enter";
  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    node.focus({ preventScroll: true });
    node.setPointerCapture(event.pointerId);
    down(event);
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) node.addEventListener(name, release);
  node.addEventListener("keydown", (event) => isKey(event) && down(event));
  node.addEventListener("keyup", (event) => {
    if (!isKey(event)) return;
    event.preventDefault();
    release();
  });
  node.addEventListener("click", (event) => {
    if (event.detail) return; // a screen reader presses without a pointer or a key: that is one picture
    hold(id);
    release();
  });
  node.addEventListener("contextmenu", (event) => event.preventDefault());
  Object.assign(parts, { hold: node, holdText: text });
  parts.node.append(node);
  rest(parts);
}

function rest(parts) {
  parts.hold.classList.remove("bm-on");
  parts.holdText.textContent = word("hold");
  parts.hold.setAttribute("aria-label", word("hold_for", { name: parts.name }));
}

function drawBoxes() {
  const boxes = given("boxes") ?? [];
  const before = rows;
  const focused = [...before].find(([, parts]) => parts.hold === document.activeElement)?.[0];
  rows = new Map();
  for (const [index, box] of boxes.entries()) {
    const old = before.get(box.id);
    if (old && old.name === box.name && old.at === index) { // as it was: it may be held now
      rows.set(box.id, old);
      continue;
    }
    const parts = row(box.name, box.colour, String(index + 1));
    holdButton(parts, box.id);
    rows.set(box.id, Object.assign(parts, { at: index }));
  }
  if (held && rows.get(held.id) !== held.parts) release();
  noneRow ??= row(word("none"), "", "?");
  noneRow.node.classList.add("bm-none");
  list.replaceChildren(...[...rows.values()].map((parts) => parts.node), noneRow.node);
  if (focused) rows.get(focused)?.hold.focus({ preventScroll: true });
}

// ---------------------------------------------------------------- guesses

function level(parts, share) {
  const known = share !== undefined;
  parts.fill.style.transform = `scaleX(${known ? share : 0})`;
  parts.share.textContent = known ? word("share", { n: Math.round(100 * share) }) : "";
  parts.node.classList.remove("bm-best");
}

function showGuess(answer) {
  const known = new Map((answer.boxes ?? []).map((id, index) => [id, answer.scores[index]]));
  for (const [id, parts] of rows) {
    level(parts, known.get(id));
    if (known.size && !known.has(id)) parts.share.textContent = word("no_examples");
  }
  level(noneRow, known.size ? answer.other : undefined);
  list.classList.toggle("bm-doubt", Boolean(answer.none));
  if (!known.size) return advise(answer.problem ?? word("few"), Boolean(answer.problem));
  advise("");
  const best = answer.none ? noneRow : rows.get([...known].reduce((a, b) => (b[1] > a[1] ? b : a))[0]);
  if (!best) return;
  best.node.classList.add("bm-best");
  if (guessed === best.name || held) return;
  guessed = best.name;
  say(answer.none ? best.name : word("say_guess", { name: best.name, share: best.share.textContent }));
}

// ---------------------------------------------------------------- frames: one under way at a time

let stream = null;
let waiting = []; // recorded frames that still have to go: {id, parts, data}
let under = null; // the frame under way: {seq, timer, parts?}
let sent = -GAP; // when the last frame went
let next = 0; // timer of the next one
let seq = memory.seq ?? 0;
const canvas = document.createElement("canvas");
const paper = canvas.getContext("2d", { alpha: false });

// The middle square of the picture, not mirrored, as the base64 text of a JPEG file.
function shot() {
  const { videoWidth: width, videoHeight: height } = video;
  if (!width || video.readyState < 2) return null;
  const side = Math.min(width, height), size = given("side") ?? 128;
  canvas.width = canvas.height = size;
  paper.imageSmoothingQuality = "high";
  paper.drawImage(video, (width - side) / 2, (height - side) / 2, side, side, 0, 0, size, size);
  return canvas.toDataURL("image/jpeg", 0.92).split(",")[1];
}

function pump() {
  clearTimeout(next);
  if (under || signal.aborted) return;
  const kept = waiting.shift();
  if (kept) return send("record", { box: kept.id, data: kept.data }, kept.parts);
  if (!stream) return;
  const rest = sent + GAP - performance.now();
  const data = rest > 0 ? null : shot();
  if (!data) {
    next = setTimeout(pump, Math.max(rest, 20));
    return;
  }
  sent = performance.now();
  send("frame", { data });
}

function send(event, data, parts) {
  seq = memory.seq = seq + 1;
  const timer = setTimeout(() => {
    advise(word("slow"), true);
    answered(seq);
  }, PATIENCE);
  under = { seq, timer, parts };
  trigger(event, { ...data, seq });
}

// Whether this is the answer that was waited for; then the next frame may go.
function answered(number) {
  if (under?.seq !== number) return false;
  clearTimeout(under.timer);
  under = null;
  queueMicrotask(pump);
  return true;
}

function takeAnswers() {
  const answer = given("answers");
  if (!answer || !answered(answer.seq) || !stream) return;
  if (answer.busy) advise(word("waiting"));
  else showGuess(answer);
}

function takeRecorded() {
  const answer = given("recorded"), parts = under?.parts;
  if (!answer || !answered(answer.seq) || !answer.problem) return;
  waiting = waiting.filter((each) => each.parts !== parts);
  release();
  advise(answer.problem, true);
  say(answer.problem);
}

// ---------------------------------------------------------------- recording

let held = null; // {id, parts, timer, count}

function hold(id) {
  if (!stream || held) return;
  const parts = rows.get(id);
  clearTimeout(parts.resting);
  held = { id, parts, count: 0 };
  parts.hold.classList.add("bm-on");
  held.timer = setInterval(keep, EVERY);
  keep();
}

function keep() {
  const data = shot();
  if (!data) return;
  held.count += 1;
  held.parts.holdText.textContent = word("holding", { n: held.count });
  waiting.push({ id: held.id, parts: held.parts, data });
  if (held.count >= MOST) {
    clearInterval(held.timer);
    advise(word("full", { n: MOST }));
  }
  pump();
}

function release() {
  if (!held) return;
  const { parts, timer, count } = held;
  clearInterval(timer);
  held = null;
  parts.hold.classList.remove("bm-on");
  parts.holdText.textContent = word("recorded", { n: count });
  if (count) say(word("say_recorded", { n: count, name: parts.name }));
  parts.resting = setTimeout(() => rest(parts), 2500);
}

// ---------------------------------------------------------------- on and off

let on = false; // from the first picture until it is turned off, also while another camera starts
let turn = 0; // number of the newest wish; an answer to an older one is not wanted any more
let wish = { facingMode: { ideal: "user" } };
let others = []; // ids of the cameras of this machine

function reason(problem) {
  if (!navigator.mediaDevices?.getUserMedia) return window.isSecureContext ? "unsupported" : "insecure";
  const known = {
    NotAllowedError: "refused", SecurityError: "refused", NotFoundError: "missing", OverconstrainedError: "missing",
    NotReadableError: "busy", AbortError: "busy",
  };
  return known[problem?.name] ?? "failed";
}

async function open() {
  const mine = ++turn;
  close();
  onButton.disabled = true;
  tell(word("asking"));
  try {
    const video = { ...wish, width: { ideal: 640 }, height: { ideal: 480 } };
    const found = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    if (mine !== turn || signal.aborted || !visible()) return found.getTracks().forEach((track) => track.stop());
    await show(found);
  } catch (problem) {
    if (mine === turn) off(reason(problem), true);
    return;
  } finally {
    if (mine === turn) onButton.disabled = false;
  }
}

async function show(found) {
  stream = found;
  const [track] = found.getVideoTracks();
  track.addEventListener("ended", () => stream === found && off("lost", true));
  video.srcObject = found;
  await video.play();
  video.classList.toggle("bm-mirror", track.getSettings().facingMode !== "environment");
  const devices = await navigator.mediaDevices.enumerateDevices();
  if (stream !== found) return;
  others = devices.filter((device) => device.kind === "videoinput").map((device) => device.deviceId);
  switchButton.hidden = others.length < 2;
  start.hidden = true;
  live.hidden = false;
  guessed = "";
  advise(word("waiting"));
  pump();
  if (on) return;
  on = true;
  say(word("say_on"));
  offButton.focus({ preventScroll: true });
  trigger("started", {});
}

// Ends the tracks: the camera's light goes out.
function close() {
  release();
  stream?.getTracks().forEach((track) => track.stop());
  stream = video.srcObject = null;
  clearTimeout(next);
}

function off(why = "", wrong = false) {
  turn += 1;
  const inside = live.contains(document.activeElement);
  close();
  showGuess({});
  advise("");
  onButton.disabled = false;
  live.hidden = true;
  start.hidden = false;
  tell(word(why || "about"), wrong);
  if (!wrong) say(word("say_off"));
  if (inside) onButton.focus({ preventScroll: true });
  if (on) trigger("stopped", {});
  on = false;
}

function another() {
  const now = stream?.getVideoTracks()[0]?.getSettings() ?? {};
  if (now.facingMode) {
    wish = { facingMode: { ideal: now.facingMode === "environment" ? "user" : "environment" } };
  } else {
    wish = { deviceId: { exact: others[(others.indexOf(now.deviceId) + 1) % others.length] } };
  }
  open();
}

const visible = () => root.isConnected && !document.hidden && root.getClientRects().length > 0;
const leave = () => stream && !visible() && off("left");

onButton.addEventListener("click", open);
offButton.addEventListener("click", () => off());
switchButton.addEventListener("click", another);
document.addEventListener("visibilitychange", leave, { signal });
window.addEventListener("pagehide", () => stream && off("left"), { signal });
const watcher = new ResizeObserver(leave); // another step is shown, or this one is taken away
watcher.observe(root);
signal.addEventListener("abort", () => {
  watcher.disconnect();
  close();
});

const TAKE = { boxes: drawBoxes, answers: takeAnswers, recorded: takeRecorded };
for (const [name, take] of Object.entries(TAKE)) watch(name, () => signal.aborted || !root.isConnected || take());
drawBoxes();
trigger("ready", {}); // now Python can send the boxes
