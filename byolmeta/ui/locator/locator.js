// ---------------------------------------------------------------- classes, tools, and the whole

const chips = make("div", "bm-loc-classes", { role: "radiogroup", "aria-label": word("classes") });
const undoButton = press("bm-loc-icon", "undo", "undo", undo);
const redoButton = press("bm-loc-icon", "redo", "redo", redo);
const tools = {
  box: press("bm-loc-words", "tool_box", "box", () => use("box")),
  brush: press("bm-loc-words", "tool_brush", "brush", () => use("brush")),
};
const notButton = press("bm-loc-words bm-loc-not", "tool_not", "not", () => {
  memory.not = !memory.not;
  draw();
});
const zoom = make("span", "bm-loc-zoom", {}, press("bm-loc-icon", "zoom_out", "minus", () => zoomBy(1 / 1.4)),
  press("bm-loc-icon", "zoom_in", "plus", () => zoomBy(1.4)), press("bm-loc-icon", "zoom_fit", "fit", () => {
    look = { zoom: 1, x: 0.5, y: 0.5 };
    later();
  }));
const hasButton = press("bm-loc-words", "tag_has", "yes", () => tag(false));
const notHere = press("bm-loc-words", "tag_not", "not", () => tag(true));
const tagsButton = press("bm-loc-words", "from_teach", null, () => trigger("tags", {}));
const cleanButton = press("bm-loc-words", "clear_picture", "close", () => {
  change({ marks: marks.filter((mark) => mark.row !== memory.row) }, "say_cleared");
});
const slide = make("label", "bm-loc-row bm-loc-slide", {}, make("span", "", {}, word("sure")), slider, sureText);
const keeps = make("div", "bm-loc-keeps", { role: "group", "aria-label": word("keep") }, make("span", "", {}, word("keep")),
  ...["coco", "yolo", "masks", "csv", "overlays"].map((kind) => press("bm-loc-words", `keep_${kind}`, null, () => trigger("keep", { kind, sure: memory.sure }))));

root.replaceChildren(
  make("div", "bm-loc-draw", {},
    make("div", "bm-loc-row", {}, chips),
    make("div", "bm-loc-row", { role: "toolbar", "aria-label": word("tools") }, tools.box, tools.brush, notButton, make("span", "bm-loc-grow"),
      zoom, undoButton, redoButton),
    stage, near,
    make("div", "bm-loc-row bm-loc-tags", {}, hasButton, notHere, make("span", "bm-loc-grow"), cleanButton),
    make("div", "bm-loc-row", {}, search, tagsButton), strip),
  make("div", "bm-loc-answers", {},
    make("h3", "", {}, word("found")),
    slide, line, bar, make("div", "bm-loc-row", {}, stopButton, moreButton), grid, allButton, keeps),
  live);
root.setAttribute("aria-label", word("title"));

function use(tool) {
  memory.tool = tool;
  draw();
}

function tag(no) {
  const name = current()?.name, own = ownTag();
  if (own && Boolean(own.no) === no) return remove(own.id);
  add({ kind: "tag", ...(no ? { no: true } : {}) }, no ? "say_tag_not" : "say_tag_has", { name });
}

const ownTag = () => marksOn(memory.row).find((mark) => mark.kind === "tag" && mark.cls === current()?.id);

// ---------------------------------------------------------------- classes

let drawnClasses = "";

function drawClasses() {
  const editing = document.activeElement;
  if (chips.contains(editing) && editing.tagName === "INPUT") return; // a name that is being written stays
  const held = chips.contains(editing) ? editing.dataset.id : null;
  const chosen = current()?.id;
  const key = JSON.stringify([classes, chosen, marks.map((mark) => mark.cls + Boolean(mark.no))]);
  if (key === drawnClasses) return;
  drawnClasses = key;
  chips.replaceChildren(...classes.map((kind) => chip(kind, kind.id === chosen)), ...(classes.length < MAX_CLASSES ? [newClass] : []));
  if (held) chips.querySelector(`[data-id="${held}"]`)?.focus();
}

const newClass = press("bm-loc-words bm-loc-new", "class_new", "plus", () => {
  const id = fresh("c", classes), used = new Set(classes.map((kind) => kind.colour));
  const colour = COLOURS.findIndex((_, number) => !used.has(number));
  memory.cls = id;
  change({ classes: [...classes, { id, name: word("class_name", { n: classes.length + 1 }), colour: Math.max(0, colour) }] });
  rename(id);
});

function chip(kind, chosen) {
  const n = marks.filter((mark) => mark.cls === kind.id && !mark.no).length;
  const button = make("button", "", { type: "button", role: "radio", "aria-checked": chosen, "data-id": kind.id, title: word("class_rename") },
    make("i"), make("b", "", {}, kind.name), make("small", "", {}, String(n)));
  button.style.setProperty("--hue", hue(kind.id));
  button.addEventListener("click", () => {
    if (chosen) return rename(kind.id);
    memory.cls = kind.id;
    draw();
  });
  const whole = make("span", "bm-loc-chip", {}, button);
  if (chosen && classes.length > 1) {
    const gone = press("bm-loc-icon", "class_delete", "close", () => {
      const own = marks.filter((mark) => mark.cls !== kind.id);
      change({ classes: classes.filter((each) => each.id !== kind.id), marks: own }, "say_class_gone", { name: kind.name });
    });
    gone.title = word("class_delete", { name: kind.name });
    gone.setAttribute("aria-label", gone.title);
    whole.append(gone);
  }
  return whole;
}

function rename(id) {
  const kind = classes[place(id)], old = chips.querySelector(`[data-id="${id}"]`);
  if (!kind || !old) return;
  const field = make("input", "", { type: "text", maxlength: 80, "aria-label": word("class_rename") });
  field.value = kind.name;
  let over = false;
  const finish = (keep) => {
    if (over) return;
    over = true;
    const name = field.value.trim();
    field.remove();
    drawnClasses = "";
    if (keep && name && name !== kind.name) change({ classes: classes.map((each) => (each.id === id ? { ...each, name } : each)) });
    else draw();
  };
  field.addEventListener("blur", () => finish(true));
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" || event.key === "Escape") {
      event.preventDefault(); // else the button that comes in its place is pressed
      finish(event.key === "Enter");
      chips.querySelector(`[data-id="${id}"]`)?.focus();
    }
  });
  old.replaceWith(field);
  field.focus();
  field.select();
}

// ---------------------------------------------------------------- drawing

function draw() {
  if (!root.isConnected) return;
  const usable = memory.row !== null && shown()?.row === memory.row;
  drawClasses();
  for (const [name, node] of Object.entries(tools)) node.setAttribute("aria-pressed", memory.tool === name);
  notButton.setAttribute("aria-pressed", Boolean(memory.not));
  canvas.classList.toggle("bm-loc-no", Boolean(memory.not));
  const own = ownTag();
  hasButton.setAttribute("aria-pressed", Boolean(own && !own.no));
  notHere.setAttribute("aria-pressed", Boolean(own?.no));
  hasButton.lastChild.textContent = word("tag_has", { name: current()?.name ?? "" });
  notHere.lastChild.textContent = word("tag_not", { name: current()?.name ?? "" });
  for (const node of [hasButton, notHere]) node.disabled = !usable;
  cleanButton.hidden = !marksOn(memory.row).length;
  undoButton.setAttribute("aria-disabled", !memory.past.length);
  redoButton.setAttribute("aria-disabled", !memory.future.length);
  keeps.hidden = slide.hidden = !(found().rows ?? []).length;
  drawStrip();
  drawGrid();
  later();
}

root.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase(), typing = event.target.tagName === "INPUT" && event.target.type !== "range";
  if (typing) return;
  if ((event.ctrlKey || event.metaKey) && (key === "z" || key === "y")) {
    (key === "y" || event.shiftKey ? redo : undo)();
  } else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (key === "b") use("box");
  else if (key === "p") use("brush");
  else if (key === "n") notButton.click();
  else if (/^[1-8]$/.test(key) && classes[key - 1]) {
    memory.cls = classes[key - 1].id;
    draw();
  } else return;
  event.preventDefault();
  event.stopPropagation();
}, { signal });

async function fetchNames() {
  const about = pictures()?.about, key = pictures()?.key;
  names = null;
  if (!about) return;
  try {
    const content = await (await fetch(about)).json();
    if (pictures()?.key !== key) return;
    names = content.names;
    drawStrip();
  } catch { /* numbers stand for names */ }
}

function takePictures() {
  if (memory.key === pictures()?.key) return;
  memory.key = pictures()?.key;
  memory.row = null;
  memory.all = memory.byHand = false;
  search.value = "";
  cards.clear();
  grid.replaceChildren();
  fetchNames();
}

function take() {
  if (!root.isConnected) return;
  takePictures();
  takeMarks();
  const one = shown();
  takeSure();
  if (one && memory.row === null) memory.row = one.row;
  draw();
}

if (memory.state) ({ classes, marks } = memory.state);
rev = Math.max(0, memory.rev);
memory.key = undefined;
take();
fetchNames();
watch(["pictures", "marked", "order", "shown", "found"], take);
root.__locator = { state: () => ({ rev, classes, marks, row: memory.row, sure: memory.sure, drawn: there(), rect: rect(),
  answers: foundOn(memory.row)?.boxes ?? [] }) };
// Updates sent before the script was here are lost; now Python can send them again.
trigger("ready");
