// ---------------------------------------------------------------- changes

function remember() {
  Object.assign(memory, { rev, boxes, filter, key: pictures?.key });
  root.dataset.rev = rev;
  (memory.states ??= {})[rev] = JSON.stringify(boxes); // see keepUnsent
  for (const old of Object.keys(memory.states)) if (old < memory.known) delete memory.states[old];
}

function emit() {
  trigger("change", { rev, boxes, page: memory.page, known: memory.known, key: pictures?.key ?? null });
  tell("boxes", { rev, boxes });
  keepUnsent();
}

// A change that does not arrive, because the connection is lost or the app ended, is kept with the states that Python
// may have instead. Gradio then loads the page anew, and there it is sent again, unless Python has yet another state.
const UNSENT = `byolmeta-unsent-${home}`;

function keepUnsent() {
  try {
    const { page, states } = memory;
    sessionStorage.setItem(UNSENT, JSON.stringify({ page, key: pictures?.key, rev, boxes, states }));
  } catch {
    // full, or not allowed: then only what arrives counts
  }
}

function catchUp() {
  const next = given("boxes");
  memory.late ??= JSON.parse(sessionStorage.getItem(UNSENT) ?? "{}"); // once: what this page sends comes to the same place
  const late = memory.late;
  if (!next || !late.key || late.page === memory.page || late.key !== pictures?.key) return;
  memory.late = {};
  if (next.rev >= late.rev || late.states[next.rev] !== JSON.stringify(next.boxes.map(tidyBox))) return;
  memory.past.push(boxes);
  boxes = late.boxes.map(tidyBox);
  rev = late.rev;
  memory.known = next.rev;
  emit();
  announce(say("say_caught_up"));
}

function show() {
  indexBoxes();
  remember();
  drawAll();
}

function change(next, sentence) {
  memory.past.push(boxes);
  if (memory.past.length > MAX_STEPS) memory.past.shift();
  memory.future = [];
  rev += 1;
  boxes = next;
  emit(); // first: it is on its way while the page is drawn
  show();
  announce(sentence);
}

function step(from, to, sentence, nothing) {
  if (!from.length) return announce(say(nothing));
  to.push(boxes);
  rev += 1;
  landed.clear();
  boxes = from.pop();
  emit();
  show();
  announce(say(sentence));
}

const undo = () => step(memory.past, memory.future, "say_undone", "say_nothing_to_undo");
const redo = () => step(memory.future, memory.past, "say_redone", "say_nothing_to_redo");

function announce(text) {
  live.textContent = live.textContent === text ? `${text}\u00a0` : text; // the same words twice are read twice
}

function indexBoxes() {
  where = new Int8Array(total()).fill(-1);
  boxes.forEach((box, index) => box.items.forEach((id) => (where[id] = index)));
  muted = new Set(boxes.flatMap((box) => box.muted ?? []));
  if (guesses) guesses.order = guesses.boxIds.map(boxIndex);
  if (played) played.order = played.boxIds.map(boxIndex);
  const box = boxes[boxIndex(filter)];
  if (!["all", "unsure", "none", "changed"].includes(filter) && (!box || box.off)) filter = "all";
  if (filter === "changed" && !played) filter = "all";
}

// A box that says of itself only what differs from the usual, and does not mute what it does not hold.
function tidyBox({ id, name, items, off, colour, muted }) {
  const box = { id: String(id), name: String(name), items: [...items] };
  if (off === true) box.off = true;
  if (COLOURS[colour]) box.colour = colour;
  const held = new Set(box.items);
  const quiet = [...new Set(muted ?? [])].filter((item) => held.has(item));
  if (quiet.length) box.muted = quiet;
  return box;
}

// Puts pictures into a box, or back into the tray where target is null. Says so, and keeps the focus near.
function move(ids, target, extraBoxes = boxes) {
  const goes = new Set(ids.filter((id) => (where[id] < 0 ? null : boxes[where[id]].id) !== target));
  if (!goes.size) {
    if (target === null) announce(say("say_not_in_box"));
    return false;
  }
  const next = extraBoxes.map((box) => {
    const stay = box.items.some((id) => goes.has(id)) ? box.items.filter((id) => !goes.has(id)) : box.items;
    const items = box.id === target ? [...stay, ...goes] : stay;
    return items === box.items ? box : tidyBox({ ...box, items });
  });
  const focus = focusPlan(goes);
  landed = goes.size <= 60 ? goes : new Set();
  selected.clear();
  anchor = null;
  const what = spokenOf([...goes]);
  const box = next.find((candidate) => candidate.id === target);
  let sentence = say("say_out", { what });
  if (box) {
    const count = counted("example_one", "example_many", box.items.length);
    sentence = say("say_moved", { what, name: box.name, count });
  }
  change(next, sentence);
  if (focus === "tray" && view.length) sentence += ` ${say("say_next", { name: nameOf(view[current]) })}`;
  announce(sentence);
  if (focus) restoreFocus(focus);
  return true;
}

const spokenOf = (ids) => (ids.length === 1 ? nameOf(ids[0]) : counted("picture_one", "picture_many", ids.length));

// Examples stay in their boxes and do not count any more; if none of them counts, they count again.
function mute(ids) {
  const mine = new Set(ids.filter((id) => where[id] >= 0));
  if (!mine.size) return announce(say("say_not_in_box"));
  const quiet = [...mine].some((id) => !muted.has(id));
  const next = boxes.map((box) => {
    const those = box.items.filter((id) => mine.has(id));
    const others = (box.muted ?? []).filter((id) => !mine.has(id));
    return those.length ? tidyBox({ ...box, muted: quiet ? [...others, ...those] : others }) : box;
  });
  change(next, say(quiet ? "say_muted" : "say_unmuted", { what: spokenOf([...mine]) }));
}

// Where the focus goes when these pictures leave: the next card of the tray, or the neighbour in the box.
function focusPlan(goes) {
  const active = document.activeElement;
  if (scroll.contains(active)) {
    const at = view.findIndex((id) => goes.has(id));
    if (at >= 0) current = at; // the cards behind move up into this place
    return "tray";
  }
  const thumb = active?.closest?.(".bm-thumb");
  if (!thumb || !root.contains(thumb)) return null;
  const items = thumb.parentElement;
  const neighbours = [...items.querySelectorAll(".bm-thumb")];
  const from = neighbours.indexOf(thumb);
  const order = [...neighbours.slice(from), ...neighbours.slice(0, from).reverse()];
  const next = order.find((node) => !goes.has(idOf(node)));
  return { box: items.closest(".bm-box").dataset.box, id: next ? idOf(next) : null };
}

function restoreFocus(plan) {
  if (plan === "tray") return view.length ? focusCard(current) : undoButton.focus();
  const node = boxNodes.get(plan.box);
  const thumb = plan.id === null ? null : node?.thumbs.get(plan.id);
  (thumb ?? node?.name)?.focus({ preventScroll: true });
}

function newBox() {
  if (boxes.length >= MAX_BOXES) {
    notice(say("box_full", { count: MAX_BOXES }));
    return null;
  }
  const taken = new Set(boxes.map((box) => box.name));
  let at = boxes.length + 1;
  while (taken.has(say("box_new_name", { number: at }))) at += 1;
  const id = `b${Date.now().toString(36)}${Math.floor(Math.random() * 1e6).toString(36)}`;
  return { id, name: say("box_new_name", { number: at }), items: [] };
}

function addBox() {
  const box = newBox();
  if (!box) return;
  change([...boxes, box], say("say_added", { name: box.name }));
  const name = boxNodes.get(box.id).name;
  name.focus();
  name.select();
}

function deleteBox(id) {
  const at = boxIndex(id);
  if (at < 0) return;
  change(boxes.filter((box) => box.id !== id), say("say_deleted", { name: boxes[at].name }));
  undoButton.focus({ preventScroll: true }); // not a name, where Ctrl+Z would be the text's
}

function setBox(id, what, sentence) {
  change(boxes.map((box) => (box.id === id ? tidyBox({ ...box, ...what }) : box)), sentence);
}

function renameBox(id, text) {
  const at = boxIndex(id);
  const name = text.replace(/\p{Cc}/gu, " ").trim().slice(0, 80);
  if (at < 0 || !name || name === boxes[at].name) return drawBoxes(); // puts the old name back
  setBox(id, { name }, say("say_renamed", { number: at + 1, name }));
}
