// ---------------------------------------------------------------- menus: of pictures, and of a box

let menu = null;

// A menu at a place of the window; `fill` adds its items.
function showMenu(label, opener, x, y, fill) {
  closeMenu();
  menu = make("div", "bm-menu", { role: "menu", "aria-label": label });
  menu.opener = opener;
  fill();
  menu.addEventListener("keydown", menuKeys);
  root.append(menu);
  if (menu.showPopover) {
    menu.popover = "manual";
    menu.showPopover();
  }
  const area = menu.getBoundingClientRect();
  const above = y + area.height + 8 > window.innerHeight ? y - area.height : y;
  menu.style.left = `${Math.max(8, Math.min(x, window.innerWidth - area.width - 8))}px`;
  menu.style.top = `${Math.max(8, Math.min(above, window.innerHeight - area.height - 8))}px`;
  menu.querySelector("button").focus();
}

function addItem(parent, name, children, act, attributes = {}) {
  const item = button(name, ...children);
  for (const [key, value] of Object.entries({ role: "menuitem", tabindex: -1, ...attributes })) put(item, key, value);
  item.addEventListener("click", () => {
    closeMenu(true);
    act();
  });
  parent.append(item);
}

// `sign`: what stands before the text, drawn like the number of a box.
function addLine(sign, text, act, attributes) {
  const badge = make("i", "bm-badge bm-open", {}, sign);
  addItem(menu, "bm-menu-item", [badge, make("span", "", {}, text)], act, attributes);
  return badge;
}

function openMenu(x, y, opener) {
  const ids = inOrder(selected);
  if (!ids.length) return closeMenu();
  showMenu(say("move_to"), opener, x, y, () => {
    boxes.forEach((box, index) => {
      if (ids.every((id) => where[id] === index)) return; // they are in there
      const key = index < 9 ? { "data-key": index + 1 } : {};
      const badge = addLine(String(index + 1), box.name, () => move(ids, box.id), key);
      badge.classList.remove("bm-open");
      hue(badge, index);
    });
    if (boxes.length < MAX_BOXES) addLine(icon("plus"), say("box_new"), () => moveToNew(ids));
    if (ids.some((id) => where[id] >= 0)) addLine(icon("undo"), say("move_out"), () => move(ids, null));
    const examples = ids.every((id) => where[id] >= 0);
    if (examples && can("mute")) {
      const counts = ids.some((id) => !muted.has(id));
      addLine(icon(counts ? "mute" : "check"), say(counts ? "mute" : "unmute"), () => mute(ids));
    }
    if (ids.length === 1 && !examples && can("why") && answerOf(ids[0])) {
      addLine(icon("why"), say("why"), () => trigger("why", { id: ids[0] }));
    }
  });
}

function moveToNew(ids) {
  const box = newBox();
  if (!box) return;
  move(ids, box.id, [...boxes, box]);
  boxNodes.get(box.id)?.name.focus();
}

const COLOUR_NAMES = [
  "colour_blue", "colour_orange", "colour_green", "colour_pink", "colour_sky", "colour_red", "colour_yellow", "colour_grey",
];

function openBoxMenu(id, opener) {
  const index = boxIndex(id);
  const { name, off } = boxes[index];
  const area = opener.getBoundingClientRect();
  showMenu(say("box_menu", { name }), opener, area.left, area.bottom + 4, () => {
    if (can("off")) {
      const sentence = say(off ? "say_used" : "say_off", { name });
      const role = { role: "menuitemcheckbox", "aria-checked": !off };
      addItem(menu, "bm-menu-item bm-switch", [make("i"), make("span", "", {}, say("box_use"))],
        () => setBox(id, { off: !off }, sentence), role);
    }
    if (can("colour")) addPalette(id, index);
    if (boxes.length > 2) addLine(icon("close"), say("box_remove"), () => deleteBox(id));
  });
}

function addPalette(id, index) {
  const palette = make("div", "bm-palette", { role: "group", "aria-label": say("colours") });
  menu.append(palette);
  COLOURS.forEach((value, at) => {
    const chosen = colour(index) === value;
    const spoken = say(COLOUR_NAMES[at]);
    const sentence = say("say_coloured", { name: boxes[index].name, colour: spoken });
    addItem(palette, "bm-swatch", [], () => chosen || setBox(id, { colour: at }, sentence), {
      role: "menuitemradio", "aria-checked": chosen, "aria-label": spoken, title: spoken,
      style: `--hue: ${value}; --on-hue: ${value === LIGHT_ON ? "#fff" : "#111"}`,
    });
  });
}

// Up and down walk from line to line, and a palette is one line; left and right walk through all.
function menuKeys(event) {
  const all = [...menu.querySelectorAll("button")];
  const active = document.activeElement;
  const inPalette = active.classList.contains("bm-swatch");
  const stops = (item) => item === active || !item.matches(inPalette ? ".bm-swatch" : '.bm-swatch[aria-checked="false"]');
  const items = ["ArrowDown", "ArrowUp"].includes(event.key) ? all.filter(stops) : all;
  const at = items.indexOf(active);
  const next = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
  if (next !== undefined) items.at(next % items.length).focus();
  else if (/^[1-9]$/.test(event.key)) menu.querySelector(`[data-key="${event.key}"]`)?.click();
  else if (event.key === "Escape" || event.key === "Tab") closeMenu(true);
  else if (event.key !== "Enter" && event.key !== " ") return;
  else return event.stopPropagation();
  event.preventDefault();
  event.stopPropagation();
}

function closeMenu(back = false) {
  if (!menu) return;
  const { opener } = menu;
  menu.remove();
  menu = null;
  if (back && opener?.isConnected) opener.focus({ preventScroll: true });
}

document.addEventListener("pointerdown", (event) => menu && !menu.contains(event.target) && closeMenu(), { signal });
window.addEventListener("blur", () => closeMenu(), { signal });
