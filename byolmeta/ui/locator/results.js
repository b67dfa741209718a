// ---------------------------------------------------------------- what was found, best first, and the strip to choose from

const slider = make("input", "bm-loc-sure", { type: "range", min: 0.02, max: 0.98, step: 0.02, "aria-label": word("sure") });
const sureText = make("output", "bm-loc-sure-text");
const grid = make("ul", "bm-loc-grid", { "aria-label": word("found") });
const line = make("p", "bm-loc-line");
const near = make("p", "bm-loc-near", { hidden: "" }); // the same beside the stage, where the list is far below
const bar = make("div", "bm-loc-bar", { hidden: "" }, make("i"));
const stopButton = press("bm-loc-words", "stop", "close", () => trigger("stop", {}));
const moreButton = press("bm-loc-words", "more", "plus", () => trigger("more", {}));
const allButton = press("bm-loc-words", "show_all", null, () => { memory.all = true; drawGrid(); });
const strip = make("ul", "bm-loc-strip", { "aria-label": word("strip") });
const search = make("input", "bm-loc-search", { type: "search", placeholder: word("search"), "aria-label": word("search") });

const cards = new Map(); // row -> {node, canvas, image, key}

// How sure the surest box of a picture is.
const best = (one) => Math.max(0, ...one.boxes.map((box) => box[4]));

const surest = (one) => one.boxes.reduce((a, b) => (a && a[4] >= b[4] ? a : b), null);

function ordered() {
  return (found().rows ?? []).filter((one) => best(one) >= memory.sure).sort((a, b) => best(b) - best(a));
}

function drawGrid() {
  const answer = found(), rows = ordered(), most = memory.all ? rows.length : CARDS;
  put(slider, "value", memory.sure);
  slider.style.setProperty("--part", `${((memory.sure - 0.02) / 0.96) * 100}%`);
  put(sureText, "textContent", percent(memory.sure));
  const seen = new Set(rows.slice(0, most).map((one) => one.row));
  for (const [row, card] of cards) if (!seen.has(row)) { card.node.remove(); cards.delete(row); }
  rows.slice(0, most).forEach((one, number) => {
    const card = cards.get(one.row) ?? newCard(one.row);
    const key = `${one.url} ${one.masks} ${one.boxes.join()} ${memory.sure} ${classes.map((each) => each.colour + each.name)}`;
    if (card.key !== key) {
      card.key = key;
      card.one = one;
      card.node.firstChild.setAttribute("aria-label", word("card", { name: nameOf(one.row), sure: percent(best(one)) }));
      card.node.firstChild.title = nameOf(one.row);
      card.canvas.style.aspectRatio = `${one.w} / ${one.h}`;
      card.canvas.classList.toggle("bm-loc-tall", one.h > one.w);
      if (card.visible) drawCard(card);
    }
    card.node.classList.toggle("bm-loc-open", one.row === memory.row);
    if (grid.children[number] !== card.node) grid.insertBefore(card.node, grid.children[number] ?? null);
  });
  rove(grid);
  allButton.hidden = rows.length <= most;
  drawLine(answer, rows.length);
}

const stoppedAt = ({ done, total }) =>
  total ? word("stopped_at", { done: done.toLocaleString(), total: total.toLocaleString() }) : word("stopped");

function drawLine(answer, shownRows) {
  const looked = (answer.rows ?? []).length, waiting = marks.some((mark) => !mark.no) && answer.rev !== rev;
  const looking = answer.state === "looking" || answer.state === "writing";
  bar.hidden = !looking;
  bar.firstChild.style.width = `${(100 * (answer.done ?? 0)) / Math.max(1, answer.total ?? 1)}%`;
  stopButton.hidden = answer.state !== "looking";
  moreButton.hidden = looking || !(answer.left > 0);
  let text = "";
  if (waiting && answer.state !== "writing") text = word("starting");
  else if (answer.note && (looking || !looked)) text = answer.note;
  else if (looking && !looked) text = word("learning", { done: answer.done ?? 0, total: answer.total ?? 0 });
  else if (looking) text = word("looking", { done: answer.done, total: answer.total });
  else if (!looked) text = word("hint_start");
  else if (!shownRows) text = word("nothing", { n: looked.toLocaleString(), sure: percent(memory.sure) });
  else text = word("found_line", { n: shownRows.toLocaleString(), of: looked.toLocaleString(), sure: percent(memory.sure) })
    + (answer.left > 0 ? " " + word("left", { n: answer.left.toLocaleString() }) : "")
    + (answer.state === "stopped" ? ` ${stoppedAt(answer)}` : "") + (answer.note ? ` ${answer.note}` : "");
  put(line, "textContent", text);
  if (looking || waiting || !looked) line.removeAttribute("data-aloud");
  else line.dataset.aloud = answer.rev;
  put(near, "textContent", text);
  near.hidden = !looking && !waiting;
}

const put = (node, name, value) => { if (String(node[name]) !== String(value)) node[name] = value; };

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const card = cards.get(Number(target.dataset.row));
    if (!card) continue;
    card.visible = isIntersecting;
    if (isIntersecting) drawCard(card);
  }
}, { rootMargin: "200px" });

function newCard(row) {
  const button = make("button", "", { type: "button" }), paper = make("canvas");
  button.append(paper);
  button.addEventListener("click", () => {
    open(row);
    if (stage.getBoundingClientRect().top < 0) stage.scrollIntoView({ behavior: calm.matches ? "auto" : "smooth", block: "nearest" });
  });
  const card = { node: make("li", "", { "data-row": row }, button), canvas: paper, image: new Image(), key: "", visible: false };
  card.image.addEventListener("load", () => drawCard(card));
  cards.set(row, card);
  watcher.observe(card.node);
  return card;
}

function drawCard(card) {
  const { one, canvas: paper, image: photo } = card;
  if (!one) return;
  if (photo.dataset.url !== one.url) {
    photo.dataset.url = one.url;
    photo.src = one.url;
  }
  const wide = paper.clientWidth || 150, ratio = devicePixelRatio || 1, high = Math.round((wide * one.h) / one.w);
  paper.width = wide * ratio;
  paper.height = high * ratio;
  const brush = paper.getContext("2d");
  brush.scale(ratio, ratio);
  if (photo.complete && photo.naturalWidth) brush.drawImage(photo, 0, 0, wide, high);
  drawFound(brush, one, { x: 0, y: 0, w: wide, h: high }, () => card.visible && drawCard(card), false);
  drawLabel(brush, percent(best(one)), 0, 0, COLOURS[foundClass(surest(one)?.[5])?.colour ?? 7], { x: 0, y: 0, w: wide, h: high });
}

slider.addEventListener("input", () => {
  memory.byHand = true;
  memory.sure = Number(slider.value);
  drawGrid();
  later();
});

// Until somebody moves the slider it stands where the computer expects the best balance.
function takeSure() {
  if (!memory.byHand && found().sure) memory.sure = found().sure;
}

// ---------------------------------------------------------------- the strip

function choices() {
  const all = given("order") ?? [], query = search.value.trim().toLowerCase();
  const marked = [...new Set(marks.map((mark) => mark.row))];
  if (!query) return [...new Set([...marked, ...all])];
  const hits = [];
  for (let row = 0; names && row < names.length && hits.length < 400; row += 1) if (names[row].toLowerCase().includes(query)) hits.push(row);
  return hits;
}

let wide = TILES;
let drawnStrip = "";

// Anew only where it changes: a button that is replaced under a finger loses the click.
function drawStrip() {
  const rows = choices(), sheet = pictures();
  const has = new Map(marks.map((mark) => [mark.row, mark.no ? "#6b7280" : hue(mark.cls)]));
  const key = JSON.stringify([rows.slice(0, wide), rows.length, [...has], memory.row, sheet?.key, Boolean(names)]);
  if (key === drawnStrip) return;
  drawnStrip = key;
  const nodes = rows.slice(0, wide).map((row) => {
    const button = make("button", "", { type: "button", title: nameOf(row), "aria-label": nameOf(row), "data-row": row });
    if (row === memory.row) button.setAttribute("aria-current", "true");
    if (has.has(row)) {
      button.append(make("i"));
      button.lastChild.style.background = has.get(row);
    }
    if (sheet?.sheets) paintTile(button, row, sheet);
    return make("li", "", {}, button);
  });
  const kept = strip.scrollLeft, focused = strip.contains(document.activeElement) ? document.activeElement.dataset.row : null;
  strip.replaceChildren(...nodes);
  if (rows.length > wide) strip.append(make("li", "", {}, press("bm-loc-words", "strip_more", null, () => { wide += 200; drawStrip(); })));
  if (!rows.length) strip.append(make("li", "bm-loc-none", {}, word(search.value ? "no_match" : "no_pictures")));
  strip.scrollLeft = kept;
  rove(strip);
  if (focused !== null) strip.querySelector(`[data-row="${focused}"]`)?.focus();
}

function paintTile(node, row, { per_sheet, columns, n, sheets }) {
  const sheet = Math.floor(row / per_sheet), at = row % per_sheet;
  const rows = Math.ceil(Math.min(per_sheet, n - sheet * per_sheet) / columns);
  const part = (number, of) => `${of > 1 ? (100 * number) / (of - 1) : 0}%`;
  node.style.backgroundImage = `url("${sheets[sheet]}")`;
  node.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
  node.style.backgroundPosition = `${part(at % columns, columns)} ${part(Math.floor(at / columns), rows)}`;
}

strip.addEventListener("click", (event) => {
  const button = event.target.closest("[data-row]");
  if (button) open(Number(button.dataset.row));
});

// ---------------------------------------------------------------- pictures by keys: Tab stops once in a list, arrows walk in it

const stops = (list) => [...list.querySelectorAll("button:not(.bm-loc-words)")];
const rowOf = (stop) => stop.closest("[data-row]").dataset.row;

// The one that Tab reaches: where one was last, else the picture on the stage, else the first.
function rove(list) {
  const all = stops(list), find = (row) => all.find((stop) => rowOf(stop) === row);
  const kept = find(list.dataset.stop) ?? find(String(memory.row)) ?? all[0];
  for (const stop of all) stop.tabIndex = stop === kept ? 0 : -1;
}

for (const list of [strip, grid]) {
  list.addEventListener("focusin", ({ target }) => {
    if (!stops(list).includes(target)) return;
    list.dataset.stop = rowOf(target);
    rove(list);
  });
  list.addEventListener("keydown", (event) => {
    const all = stops(list), at = all.indexOf(document.activeElement);
    if (at < 0) return;
    const top = (stop) => stop.getBoundingClientRect().top;
    const across = all.filter((stop) => top(stop) === top(all[0])).length;
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - across, ArrowDown: at + across, Home: 0, End: all.length - 1 };
    if (!(event.key in next)) return;
    all[next[event.key]]?.focus();
    event.preventDefault();
  });
}
search.addEventListener("input", () => { wide = TILES; drawStrip(); });
