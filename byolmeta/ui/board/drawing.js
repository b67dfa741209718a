// ---------------------------------------------------------------- drawing: cards

function cssUrl(address) {
  const url = new URL(address, location.href);
  if (url.origin !== location.origin && !["blob:", "data:"].includes(url.protocol)) return "none";
  return `url("${url.href.replace(/["\\\n]/g, encodeURIComponent)}")`;
}

// Shows picture `id` on a node: a piece of a sprite sheet, or a picture of its own.
function paint(node, id) {
  const extra = extras.get(id);
  node.dataset.id = id;
  node.classList.toggle("bm-whole", Boolean(extra));
  if (extra) {
    node.style.backgroundImage = cssUrl(extra.url);
    return;
  }
  if (!pictures) return;
  const place = id % pictures.per_sheet;
  const sheet = pictures.sheets[Math.floor(id / pictures.per_sheet)];
  node.style.backgroundImage = sheet ? cssUrl(sheet) : "none";
  node.style.setProperty("--col", place % pictures.columns);
  node.style.setProperty("--row", Math.floor(place / pictures.columns));
}

// Writes an attribute or a text only where it differs: a page of cards is marked again after each answer.
function put(node, name, value) {
  const text = String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

function write(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

const idOf = (node) => Number(node.dataset.id);

function hue(node, index) {
  if (node.hue === colour(index)) return;
  node.hue = colour(index);
  node.style.setProperty("--hue", colour(index));
  node.style.setProperty("--on-hue", colour(index) === LIGHT_ON ? "#fff" : "#111");
}

// What a card says beside its picture: the guess, the selection, its place.
function mark(node, id, index) {
  const guess = guessOf(id);
  const sure = guess ? guess.sure : 0;
  put(node, "data-sure", sure);
  node.classList.toggle("bm-flipped", Boolean(played?.flipped.has(id)));
  if (sure) hue(node, guess.box);
  write(node.firstChild, sure === 1 ? "?" : sure ? guess.box + 1 : "");
  put(node.firstChild, "title", can("why") ? `${say("why")} (W)` : "");
  const name = nameOf(id);
  const key = guess && ["guess_none", "guess_unsure", "guess_fair", "guess_sure"][sure];
  const spoken = key ? say(key, { name: boxes[guess.box]?.name }) : "";
  put(node, "title", spoken ? `${name}\n${spoken}` : name);
  put(node, "aria-label", spoken ? `${name}, ${spoken}` : name);
  put(node, "aria-selected", selected.has(id));
  put(node, "aria-colindex", (index % columns) + 1);
  put(node, "tabindex", index === current ? 0 : -1);
}

// ---------------------------------------------------------------- drawing: the tray, a list of visible rows

const rows = new Map(); // row number -> node
let top = 0; // of what is visible, in px: remembered, because asking the page for it costs a layout
let tall = 0;

function scrollTray(to) {
  scroll.scrollTop = to;
  top = scroll.scrollTop;
}

// One pass over all pictures: what the tray holds, in order, and the figures on the filters.
function computeView() {
  const before = view[current];
  counts = { all: 0, box: boxes.map(() => 0), unsure: 0, none: 0, changed: 0 };
  const wanted = boxIndex(filter);
  const found = [[], [], [], []]; // by sureness
  const needle = query.trim().toLowerCase();
  for (let place = 0; place < where.length; place += 1) {
    const id = place < (pictures?.n ?? 0) ? (place * stride) % pictures.n : place;
    if (where[id] >= 0) continue;
    const guess = guessOf(id);
    const sure = guess ? guess.sure : 0;
    counts.all += 1;
    if (sure > 1) counts.box[guess.box] += 1; // so that boxes, unsure and none add up to all
    if (sure === 1) counts.unsure += 1;
    if (guess && !sure) counts.none += 1;
    const flipped = played?.flipped.has(id);
    if (flipped) counts.changed += 1;
    const shown =
      filter === "all" || (filter === "unsure" && sure === 1) || (filter === "none" && guess && !sure) ||
      (filter === "changed" && flipped) || (wanted >= 0 && sure > 1 && guess.box === wanted);
    if (!shown || (needle && !matches(id, needle))) continue;
    found[wanted >= 0 ? 3 - sure : 0].push(id);
  }
  view = found[0].concat(found[1], found[2], found[3]);
  const again = before === undefined ? -1 : view.indexOf(before);
  current = again >= 0 ? again : Math.max(0, Math.min(current, view.length - 1));
}

function matches(id, needle) {
  const name = extras.has(id) ? extras.get(id).name.toLowerCase() : lowerNames?.[id];
  return (name ?? nameOf(id).toLowerCase()).includes(needle);
}

function measure() {
  const width = scroll.clientWidth - 2 * GAP;
  if (width <= 0) return false; // in a tab that is not open
  const focused = focusInTray();
  const first = Math.floor(top / rowHeight()) * columns;
  const wished = Number(size.value);
  columns = Math.max(2, Math.floor((width + GAP) / (wished + GAP)));
  cell = Math.floor((width - GAP * (columns - 1)) / columns);
  root.style.setProperty("--cell", `${cell}px`);
  rows.forEach((row) => row.remove());
  rows.clear();
  space.style.height = `${Math.ceil(view.length / columns) * rowHeight() + GAP}px`;
  scrollTray(Math.floor(first / columns) * rowHeight());
  tall = scroll.clientHeight;
  if (focused && view.length) focusCard(current, false);
  return true;
}

const focusInTray = () => document.activeElement !== scroll && scroll.contains(document.activeElement);

const rowHeight = () => cell + GAP;

function drawTray() {
  const focused = focusInTray();
  const last = Math.ceil(view.length / columns) - 1;
  const height = (last + 1) * rowHeight() + GAP;
  space.style.height = `${height}px`;
  top = Math.max(0, Math.min(top, height - tall));
  scroll.setAttribute("aria-rowcount", last + 1);
  scroll.setAttribute("aria-colcount", columns);
  drawRows();
  if (focused && view.length) focusCard(current, false);
  trayCount.textContent = number(view.length);
  trayEmpty.hidden = view.length > 0;
  trayEmpty.textContent = say(!total() ? "tray_none" : counts.all ? "tray_no_match" : "tray_done");
}

function drawRows() {
  const height = rowHeight();
  const last = Math.ceil(view.length / columns) - 1;
  const from = Math.max(0, Math.floor(top / height) - 2);
  const to = Math.min(last, Math.ceil((top + tall) / height) + 1);
  // The row of the card that Tab reaches stays, and so does the row that a finger still holds.
  const stay = new Set([Math.floor(current / columns)]);
  if (drag?.row !== undefined) stay.add(drag.row);
  for (let at = from; at <= to; at += 1) stay.add(at);
  for (const [at, row] of rows) {
    if (stay.has(at) && at <= last) continue;
    row.remove();
    rows.delete(at);
  }
  for (const at of stay) if (at <= last) drawRow(at);
}

function drawRow(at) {
  let row = rows.get(at);
  if (!row) {
    row = make("div", "bm-row", { role: "row", "aria-rowindex": at + 1 });
    row.style.top = `${at * rowHeight() + GAP}px`;
    rows.set(at, row);
    space.append(row);
  }
  const ids = view.slice(at * columns, (at + 1) * columns);
  while (row.children.length > ids.length) row.lastChild.remove();
  ids.forEach((id, column) => {
    let card = row.children[column];
    if (!card) {
      card = make("div", "bm-card bm-pic", { role: "gridcell" }, make("span", "bm-tag", { "aria-hidden": "true" }));
      row.append(card);
    }
    if (card.dataset.id !== String(id)) {
      card.flash?.cancel();
      paint(card, id);
    }
    mark(card, id, at * columns + column);
    if (landed.has(id)) land(card, id);
  });
}

// The nodes that show these pictures.
function nodesOf(ids) {
  const cards = [...rows.values()].flatMap((row) => [...row.children]).filter((card) => ids.has(idOf(card)));
  const thumbs = [...ids].map((id) => boxNodes.get(boxes[where[id]]?.id)?.thumbs.get(id));
  return [...cards, ...thumbs.filter(Boolean)];
}

function cardAt(index) {
  return rows.get(Math.floor(index / columns))?.children[index % columns];
}

function focusCard(index, reveal = true) {
  current = Math.max(0, Math.min(index, view.length - 1));
  if (reveal) {
    const start = Math.floor(current / columns) * rowHeight();
    const least = start + rowHeight() + GAP - tall;
    if (top > start) scrollTray(start);
    if (top < least) scrollTray(least);
  }
  drawRows();
  cardAt(current)?.focus({ preventScroll: true });
}

// A small sign that a picture has arrived.
function land(node, id) {
  landed.delete(id);
  if (calm.matches) return;
  node.animate(
    [{ transform: "scale(0.7)", opacity: 0.3 }, { transform: "scale(1.06)", opacity: 1, offset: 0.7 }, { transform: "none" }],
    { duration: 260, easing: "ease-out" },
  );
}

// ---------------------------------------------------------------- drawing: the boxes

const boxNodes = new Map(); // box id -> {node, badge, name, count, more, remove, items, empty, note, rest, thumbs, drawn}

function makeBox(id) {
  const badge = make("span", "bm-badge", { "aria-hidden": "true" });
  const name = make("input", "bm-name", { type: "text", maxlength: 80, autocomplete: "off", spellcheck: "false" });
  const count = make("span", "bm-box-count");
  const more = button("bm-icon bm-menu-button", icon("more"));
  const remove = button("bm-icon bm-remove", icon("close"));
  const items = make("div", "bm-items", { role: "listbox", "aria-multiselectable": "true" });
  const empty = make("div", "bm-box-empty", {}, make("span"), make("small"));
  const note = make("p", "bm-note");
  const head = make("header", "bm-box-head", {}, badge, name, count, more, remove);
  const node = make("div", "bm-box", { role: "group", "data-box": id }, head, items, empty, note);
  name.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter") name.blur();
    if (event.key === "Escape") {
      name.value = boxes[boxIndex(id)].name;
      name.blur();
      event.stopPropagation();
    }
  });
  name.addEventListener("focus", () => name.select());
  name.addEventListener("blur", () => renameBox(id, name.value));
  more.setAttribute("aria-haspopup", "menu");
  more.addEventListener("click", () => openBoxMenu(id, more));
  remove.addEventListener("click", () => deleteBox(id));
  return { node, badge, name, count, more, remove, items, empty, note, thumbs: new Map(), most: MAX_THUMBS };
}

function drawBoxes() {
  for (const [id, parts] of boxNodes) {
    if (boxIndex(id) >= 0) continue;
    boxNodes.delete(id); // first: taking out a name that has the focus blurs it, and that looks the box up
    parts.node.remove();
  }
  boxes.forEach((box, index) => {
    if (!boxNodes.has(box.id)) boxNodes.set(box.id, makeBox(box.id));
    const node = boxNodes.get(box.id).node;
    if (boxList.children[index] !== node) boxList.insertBefore(node, boxList.children[index]);
    drawBox(box, index);
  });
  addButton.hidden = boxes.length >= MAX_BOXES;
  addButton.lastChild.textContent = say("box_new");
}

function drawBox(box, index) {
  const parts = boxNodes.get(box.id);
  const count = box.items.length;
  const quiet = box.muted?.length ?? 0;
  let spoken = count ? counted("example_one", "example_many", count) : say("example_none");
  if (quiet) spoken += `, ${say("example_muted", { count: number(quiet) })}`;
  if (box.off) spoken += `, ${say("box_off")}`;
  hue(parts.node, index);
  parts.node.classList.toggle("bm-off", Boolean(box.off));
  write(parts.badge, index + 1);
  if (document.activeElement !== parts.name || !root.contains(parts.name)) parts.name.value = box.name;
  put(parts.name, "aria-label", say("box_name", { number: index + 1 }));
  put(parts.name, "title", box.name);
  write(parts.count, quiet ? `${number(count - quiet)}/${number(count)}` : count ? number(count) : "");
  put(parts.count, "title", spoken);
  put(parts.node, "aria-label", say("box_label", { number: index + 1, name: box.name, count: spoken }));
  parts.more.hidden = !can("off") && !can("colour") && boxes.length <= 2;
  put(parts.more, "aria-label", say("box_menu", { name: box.name }));
  put(parts.more, "title", say("box_menu", { name: box.name }));
  parts.remove.hidden = boxes.length <= 2;
  put(parts.remove, "aria-label", say("box_delete", { name: box.name }));
  put(parts.remove, "title", say("box_delete", { name: box.name }));
  put(parts.items, "aria-label", say("box_items", { name: box.name }));
  parts.items.hidden = count === 0;
  parts.empty.hidden = count > 0;
  write(parts.empty.firstChild, say("box_empty"));
  const fingers = matchMedia("(pointer: coarse)").matches;
  const how = fingers ? say("box_empty_touch") : index < 9 ? say("box_empty_keys", { number: index + 1 }) : "";
  write(parts.empty.lastChild, how);
  write(parts.note, box.off ? say("box_off") : guesses?.notes.get(box.id) ?? "");
  parts.note.hidden = !parts.note.textContent;
  drawThumbs(box, parts);
}

// The examples of one box. The newest are at the end, and in a very full box the oldest hide behind "more".
function drawThumbs(box, parts) {
  const drawn = [box, names, words, parts.most];
  if (parts.drawn?.every((each, at) => each === drawn[at])) return; // boxes are replaced, never edited in place
  parts.drawn = drawn;
  const first = Math.max(0, box.items.length - parts.most);
  const shown = box.items.slice(first);
  const keep = new Set(shown);
  for (const [id, thumb] of parts.thumbs) {
    if (keep.has(id)) continue;
    thumb.remove();
    parts.thumbs.delete(id);
  }
  parts.rest?.remove();
  parts.rest = null;
  let arrived = false;
  shown.forEach((id, place) => {
    let thumb = parts.thumbs.get(id);
    if (!thumb) {
      thumb = make("div", "bm-thumb bm-pic", { role: "option" });
      paint(thumb, id);
      parts.thumbs.set(id, thumb);
    }
    if (parts.items.children[place] !== thumb) parts.items.insertBefore(thumb, parts.items.children[place] ?? null);
    const name = muted.has(id) ? `${nameOf(id)}, ${say("muted")}` : nameOf(id);
    put(thumb, "title", name);
    put(thumb, "aria-label", name);
    thumb.classList.toggle("bm-muted", muted.has(id));
    put(thumb, "aria-selected", selected.has(id));
    put(thumb, "aria-posinset", first + place + 1);
    put(thumb, "aria-setsize", box.items.length);
    if (landed.has(id)) {
      land(thumb, id);
      arrived = true;
    }
    if (thumb !== document.activeElement) put(thumb, "tabindex", place === 0 ? 0 : -1);
  });
  if (first > 0) {
    parts.rest = button("bm-more", say("box_more", { count: number(first) }));
    parts.rest.addEventListener("click", () => {
      parts.most += 400;
      drawThumbs(box, parts);
    });
    parts.items.append(parts.rest);
  }
  if (arrived) {
    requestAnimationFrame(() => parts.items.scrollTo(parts.items.scrollWidth, parts.items.scrollHeight));
  }
}

// ---------------------------------------------------------------- drawing: filters, hints, selection

function drawChips() {
  const list = [
    ["all", null, say("filter_all"), counts.all],
    ...boxes.map((box, index) => [box.id, index, box.name, counts.box[index]]).filter(([, at]) => !boxes[at].off),
    ["unsure", null, say("filter_unsure"), counts.unsure],
    ["none", null, say("filter_none"), counts.none],
  ];
  if (played?.any) list.push(["changed", null, say("filter_changed"), counts.changed]);
  list.forEach(([id, index, text, count], place) => {
    let chip = chips.children[place];
    if (!chip) {
      chip = button("bm-chip", make("i"), make("span"), make("b"));
      chips.append(chip);
    }
    const [badge, label, figure] = chip.children;
    chip.dataset.filter = id;
    chip.setAttribute("aria-pressed", filter === id);
    badge.hidden = index === null && id !== "unsure";
    badge.className = id === "unsure" ? "bm-badge bm-open" : "bm-badge";
    write(badge, index === null ? "?" : index + 1);
    if (index !== null) hue(badge, index);
    write(label, text);
    const told = !played || !["unsure", "none"].includes(id); // a step has a guess for each picture
    const ready = ((guesses || played) && told) || id === "all"; // before that they show what will come
    write(figure, ready ? number(count) : "");
    put(chip, "aria-disabled", !ready);
    chip.title = index === null ? text : say("filter_box", { name: text });
  });
  while (chips.children.length > list.length) chips.lastChild.remove();
  chips.hidden = !total();
}

let noticeUntil = 0;

function drawHint() {
  if (performance.now() < noticeUntil) return;
  const filled = boxes.filter((box) => !box.off && box.items.length > (box.muted?.length ?? 0)).length;
  const ready = guesses && filled >= 2 && counts.all > 0;
  const start = matchMedia("(pointer: coarse)").matches ? "hint_start_touch" : "hint_start";
  const key = ready ? "hint_answers" : filled >= 2 ? "hint_waiting" : filled ? "hint_second" : start;
  hint.classList.remove("bm-notice");
  hint.lastChild.textContent = say(key);
  hint.hidden = !total() || (filled >= 2 && !counts.all);
}

// A message in the place of the hint, for a while.
function notice(text, wait = 5000) {
  noticeUntil = performance.now() + wait;
  hint.hidden = false;
  hint.classList.add("bm-notice");
  hint.lastChild.textContent = text;
  announce(text);
  setTimeout(() => signal.aborted || drawHint(), wait + 20);
}

function drawSelection() {
  picked.classList.toggle("bm-on", selected.size > 0);
  picked.inert = selected.size === 0;
  root.classList.toggle("bm-picking", selected.size > 0);
  if (selected.size) pickedCount.textContent = say("selected", { count: number(selected.size) });
  for (const node of root.querySelectorAll('.bm-pic[aria-selected="true"]')) {
    if (!selected.has(idOf(node))) put(node, "aria-selected", false);
  }
  for (const node of nodesOf(selected)) put(node, "aria-selected", true);
}

function drawButtons() {
  for (const [node, steps, key, keys] of [
    [undoButton, memory.past, "undo", "Ctrl+Z"], [redoButton, memory.future, "redo", "Ctrl+Shift+Z"],
  ]) {
    node.setAttribute("aria-disabled", steps.length === 0); // not disabled: the focus would be lost
    node.setAttribute("aria-label", say(key));
    node.title = `${say(key)} (${keys})`;
  }
}

function drawWords() {
  boxesTitle.textContent = say("boxes_title");
  boxList.setAttribute("aria-label", say("boxes_title"));
  trayTitle.textContent = say("tray_title");
  scroll.setAttribute("aria-label", say("tray_title"));
  tray.setAttribute("aria-label", say("tray_title"));
  side.setAttribute("aria-label", say("boxes_title"));
  search.placeholder = say("search");
  search.setAttribute("aria-label", say("search"));
  size.setAttribute("aria-label", say("size"));
  size.title = say("size");
  chips.setAttribute("aria-label", say("filters"));
  help.textContent = say("tray_help");
  moveButton.textContent = say("move_to");
  clearButton.textContent = say("clear");
  frame.dataset.drop = say("tray_drop");
}

function drawAll() {
  for (const id of selected) if (id >= total()) selected.delete(id);
  computeView();
  drawBoxes();
  drawChips();
  drawTray();
  drawHint();
  drawSelection();
  drawButtons();
  root.classList.toggle("bm-stale", Boolean(guesses) && guesses.rev < rev);
  root.classList.toggle("bm-asks", can("why") && Boolean(guesses));
  landed = new Set();
}
