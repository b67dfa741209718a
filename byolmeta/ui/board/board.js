// ---------------------------------------------------------------- files from the desktop

const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
const isPicture = (file) =>
  /^image\/(jpeg|png|webp|bmp|gif|tiff)$/.test(file.type) || /\.(jpe?g|png|webp|bmp|gif|tiff?)$/i.test(file.name);

root.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  const target = targetAt(event.clientX, event.clientY);
  root.classList.add("bm-files");
  highlight(target === "new" ? undefined : target);
  frame.classList.toggle("bm-over", target === null);
  frame.dataset.drop = say("files_drop");
}, { signal });

root.addEventListener("dragleave", (event) => {
  if (event.relatedTarget && root.contains(event.relatedTarget)) return;
  endFiles();
}, { signal });

root.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  event.stopPropagation();
  endFiles();
  dropped = { rev: rev + 1, at: performance.now() };
  const box = event.target.closest?.(".bm-box")?.dataset.box ?? null;
  sendFiles([...event.dataTransfer.files], box);
}, { signal });

function endFiles() {
  root.classList.remove("bm-files");
  highlight(undefined);
  frame.dataset.drop = say("tray_drop");
}

async function sendFiles(all, box) {
  const files = all.filter(isPicture);
  if (!files.length) return notice(say("files_not_pictures"));
  notice(say("files_sending", { what: counted("picture_one", "picture_many", files.length) }), 60000);
  const sent = new Array(files.length).fill(null);
  let at = 0;
  const worker = async () => {
    while (at < files.length) {
      const mine = at++;
      try {
        const { path } = await upload(files[mine]);
        sent[mine] = { path, name: files[mine].name };
      } catch { /* counted below */ }
    }
  };
  await Promise.all([worker(), worker(), worker()]);
  if (signal.aborted) return;
  const good = sent.filter(Boolean);
  const failed = files.length - good.length;
  const key = failed ? "files_failed" : "files_sent";
  notice(say(key, { what: counted("picture_one", "picture_many", failed || good.length) }), failed ? 6000 : 2500);
  if (good.length) trigger("dropfiles", { box, rev, files: good });
}

// ---------------------------------------------------------------- controls

undoButton.addEventListener("click", undo);
redoButton.addEventListener("click", redo);
clearButton.addEventListener("click", () => {
  clearSelection();
  if (view.length) focusCard(current, false);
});
moveButton.addEventListener("click", () => {
  const area = moveButton.getBoundingClientRect();
  openMenu(area.left, area.top - 6, moveButton);
});
addButton.addEventListener("click", () => {
  const ids = pointer !== "mouse" && selected.size ? inOrder(selected) : null;
  const box = ids && newBox();
  if (box) move(ids, box.id, [...boxes, box]);
  else if (!ids) addBox();
});
chips.addEventListener("click", (event) => {
  const chip = event.target.closest(".bm-chip");
  if (!chip || chip.getAttribute("aria-disabled") === "true") return;
  filter = chip.dataset.filter === filter ? "all" : chip.dataset.filter;
  restart();
});
search.addEventListener("input", () => {
  query = search.value;
  fetchNames();
  restart();
});
size.addEventListener("input", () => {
  if (measure()) drawTray();
  memory.size = Number(size.value);
});

// Another filter or word: from the top, with nothing selected that cannot be seen.
function restart() {
  memory.filter = filter;
  selected.clear();
  current = 0;
  view = [];
  scrollTray(0);
  drawAll();
}

let scrolling = 0;
scroll.addEventListener("scroll", () => {
  cancelAnimationFrame(scrolling);
  scrolling = requestAnimationFrame(() => {
    top = scroll.scrollTop;
    drawRows();
  });
}, { signal, passive: true });

let lastWidth = 0;
const watcher = new ResizeObserver(() => {
  if (!root.isConnected) return watcher.disconnect();
  root.classList.toggle("bm-wide", root.clientWidth >= WIDE);
  tall = scroll.clientHeight;
  if (scroll.clientWidth === lastWidth) return drawRows();
  lastWidth = scroll.clientWidth;
  if (measure()) drawTray();
});
watcher.observe(root);
watcher.observe(scroll);
signal.addEventListener("abort", () => watcher.disconnect());

// ---------------------------------------------------------------- props

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

let namesOf = null; // the address they were fetched from

async function fetchNames() {
  const about = pictures?.about;
  if (!about || namesOf === about) return;
  namesOf = about;
  try {
    const answer = await fetch(about);
    if (!answer.ok) throw new Error(answer.status);
    const found = await answer.json();
    if (signal.aborted || pictures?.about !== about) return;
    names = found.names;
    lowerNames = names.map((name) => String(name).toLowerCase());
    if (!drag) drawAll();
  } catch {
    namesOf = null; // the pictures keep their numbers; the next search tries again
  }
}

// Class folders come one after the other; with pictures.mixed the tray walks through them in wide steps instead,
// so that the first view shows some of each. Any step without a common divisor reaches every picture once.
function strideOf(n) {
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  let step = Math.max(1, Math.round(n * 0.618));
  while (divisor(step, n) > 1) step += 1;
  return step;
}

function takePictures() {
  const next = given("pictures") ?? null;
  if (next?.key !== pictures?.key) {
    names = lowerNames = namesOf = null;
    guesses = played = null;
    selected.clear();
    forgetDrawn();
    freshPictures = mounted; // boxes that come with them count, whatever their rev
    if (mounted && pictures) {
      emptied = true; // what the boxes held were numbers of other pictures
      boxes = boxes.map((box) => tidyBox({ ...box, items: [] }));
    }
    if (memory.key !== undefined && memory.key !== next?.key) {
      Object.assign(memory, { past: [], future: [], boxes: null });
    }
    scrollTray(0);
    current = 0;
    query = search.value = "";
  }
  pictures = next;
  stride = pictures?.mixed ? strideOf(pictures.n) : 1;
  root.style.setProperty("--columns", pictures?.columns ?? 1);
  setTimeout(() => signal.aborted || fetchNames(), 400); // after the first pictures
}

function forgetDrawn() {
  rows.forEach((row) => row.remove());
  rows.clear();
  boxNodes.forEach((parts) => {
    parts.thumbs.forEach((thumb) => thumb.remove());
    parts.thumbs.clear();
    parts.drawn = null;
  });
}

function takeExtras() {
  if (mounted) forgetDrawn(); // a box may already show the number of a picture that comes only now
  extras = new Map((given("extras") ?? []).map((extra) => [extra.id, extra]));
}

let mounted = false;
let freshPictures = false;
let emptied = false;

function takeBoxes() {
  const next = given("boxes") ?? { rev: 0, boxes: [] };
  if (!mounted && memory.boxes && memory.rev >= next.rev) {
    ({ boxes, rev } = memory); // a remount: the page is ahead of what Python last sent
    return;
  }
  const tidy = next.boxes.map(tidyBox);
  if (!mounted) {
    boxes = tidy;
    memory.known = rev = next.rev;
    return;
  }
  if (next.rev <= rev && !next.force && !freshPictures) return; // an echo
  if (memory.key === pictures?.key) {
    memory.past.push(boxes);
    if (memory.past.length > MAX_STEPS) memory.past.shift();
    memory.future = [];
    landed = new Set(tidy.flatMap((box) => box.items).filter((id) => !(where[id] >= 0)).slice(0, 60));
  }
  boxes = tidy;
  emptied = false;
  memory.known = next.rev;
  if (next.rev > rev || (freshPictures && next.rev === rev)) {
    rev = next.rev;
    return;
  }
  rev += 1; // Python did not know of the newest change: tell it the number that counts now
  emit();
}

function takeAnswers() {
  const next = given("answers");
  if (!next?.label) { // Gradio delivers no None: {} takes the guesses away
    guesses = null;
    if (["unsure", "none"].includes(filter) || boxIndex(filter) >= 0) filter = "all";
    return;
  }
  if (guesses && next.rev < guesses.rev) return; // the newest wins
  const label = new Int8Array(bytes(next.label).buffer);
  const notes = new Map(next.box_ids.map((id, index) => [id, next.box_notes?.[index] ?? ""]));
  guesses = { rev: next.rev, label, sure: bytes(next.sure), boxIds: next.box_ids, order: [], notes };
  root.dataset.answered = next.rev;
  memory.known = Math.max(memory.known, Math.min(next.rev, rev)); // Python has this window's change
}

function takeWords() {
  const tables = given("words") ?? DEFAULT_WORDS;
  words = tables;
  if (typeof tables.en === "object") {
    const wish = navigator.languages.find((tag) => tables[tag] || Object.keys(tables).some((key) => alike(key, tag)));
    words = { ...tables.en, ...(tables[wish] ?? tables[Object.keys(tables).find((key) => alike(key, wish))]) };
  }
  drawWords();
}

const alike = (one, other) => one.split("-")[0] === other?.split("-")[0];

const TAKE = {
  words: takeWords, able: () => {}, pictures: takePictures, extras: takeExtras, boxes: takeBoxes, answers: takeAnswers,
};
const waiting = new Set(); // names of what is to be taken
const news = new Set(); // of these, what Python sent

// What came from Python is taken in this order, in one go, and never while a picture is held.
function apply() {
  if (waiting.has("pictures")) waiting.add("answers"); // new pictures take the guesses away; these may be theirs
  for (const name of Object.keys(TAKE)) if (waiting.has(name)) TAKE[name]();
  const answers = waiting.has("answers");
  waiting.clear();
  if (emptied) { // and no boxes came with the new pictures
    rev += 1;
    emit();
  }
  freshPictures = emptied = false;
  catchUp();
  indexBoxes();
  remember();
  drawAll();
  root.classList.toggle("bm-playing", Boolean(played));
  if (answers && guesses) noteAnswer(guesses.rev);
  for (const name of news) if (SHOWN_ALIKE.includes(name)) tell(name, props[name]);
  news.clear();
}

// ---------------------------------------------------------------- other windows of this browser

// What Python sent to one window, or a hand changed there, the others take as if Python had sent it to them.
const SHOWN_ALIKE = ["extras", "boxes", "answers"];
const channel = SHARED ? new BroadcastChannel(`byolmeta-${home}`) : null;

function tell(name, value) {
  const known = name === "boxes" ? { rev: value.rev, boxes: value.boxes } : value; // only here it is to be forced
  channel?.postMessage(JSON.stringify({ key: pictures?.key, name, value: known })); // what Python sent cannot be cloned
}

channel?.addEventListener("message", ({ data }) => {
  const { key, name, value } = JSON.parse(data);
  if (key !== pictures?.key || !root.isConnected) return;
  props[name] = value;
  take(name);
}, { signal });
signal.addEventListener("abort", () => channel?.close());

// ---------------------------------------------------------------- how long an answer takes: see tests/benchmarks/board.py

let dropped = null; // {rev, at}: the newest drop, and the rev it led to; ms since the page was opened
let answered = null; // {rev, at}: when the first answer to that rev, or to a newer one, was on the screen
root.__board = { lastDrop: () => dropped, lastAnswer: () => answered };

function noteAnswer(rev) {
  if (rev <= answered?.rev) return;
  const note = () => (answered = { rev, at: performance.now() });
  // After that frame, and before what else waits for its turn.
  const soon = () => (window.scheduler ? scheduler.postTask(note, { priority: "user-blocking" }) : setTimeout(note, 0));
  requestAnimationFrame(soon);
}

// ---------------------------------------------------------------- up and running

function take(name) {
  waiting.add(name);
  queueMicrotask(() => waiting.size && !drag && apply());
}

for (const name of Object.keys(TAKE)) {
  watch(name, () => {
    if (signal.aborted || !root.isConnected) return;
    news.add(name);
    take(name);
  });
  waiting.add(name);
}
root.classList.toggle("bm-wide", root.clientWidth >= WIDE);
apply();
mounted = true;
if (measure()) drawTray();
// Updates sent before the board was drawn replaced one another; now Python can send all of its state again.
trigger("ready");
