// ---------------------------------------------------------------- selection

function select(ids, last = null) {
  selected = new Set(ids);
  if (last !== null) anchor = last;
  drawSelection();
}

// The pictures around `id` in the order that people see: of the tray, or of its box.
const neighboursOf = (id) => (where[id] < 0 ? view : boxes[where[id]].items);

function selectRange(id) {
  const list = neighboursOf(id);
  const from = anchor === null ? -1 : list.indexOf(anchor);
  const to = list.indexOf(id);
  if (from < 0) return select([id], id);
  select(list.slice(Math.min(from, to), Math.max(from, to) + 1));
}

function toggle(id) {
  const next = new Set(selected);
  if (!next.delete(id)) next.add(id);
  select(next, id);
}

function clearSelection() {
  if (!selected.size) return false;
  select([]);
  announce(say("say_cleared"));
  return true;
}

// In the order that people see, so that a box fills in that order.
function inOrder(ids) {
  if (ids.size < 2) return [...ids];
  const fromBoxes = boxes.flatMap((box) => box.items.filter((id) => ids.has(id)));
  const fromTray = view.filter((id) => ids.has(id));
  const seen = new Set([...fromTray, ...fromBoxes]);
  return [...seen, ...[...ids].filter((id) => !seen.has(id))];
}

// ---------------------------------------------------------------- pointer: mouse, pen and touch in one path

const onCard = (node) => node.closest?.(".bm-card, .bm-thumb");

root.addEventListener("pointerdown", (event) => {
  pointer = event.pointerType || "mouse";
  if (event.button !== 0 || press || drag) return;
  const node = onCard(event.target);
  if (!node) return;
  const touch = pointer !== "mouse";
  const asks = Boolean(event.target.closest(".bm-tag")) && can("why");
  press = { node, id: idOf(node), x: event.clientX, y: event.clientY, pointer: event.pointerId, touch, asks };
  // A finger that moves at once scrolls; one that rests takes the picture up.
  if (touch) press.timer = setTimeout(() => press && startDrag(press.x, press.y), LONG_PRESS);
}, { signal });

document.addEventListener("pointermove", (event) => {
  const held = drag ?? press;
  if (!held || held.pointer !== event.pointerId) return;
  if (drag) return moveDrag(event.clientX, event.clientY);
  const way = Math.hypot(event.clientX - press.x, event.clientY - press.y);
  if (!press.touch && way > 4) startDrag(event.clientX, event.clientY);
  if (press?.touch && way > 9) endPress();
}, { signal });

document.addEventListener("pointerup", (event) => {
  const held = drag ?? press;
  if (!held || held.pointer !== event.pointerId) return;
  if (drag) return drop(event.clientX, event.clientY);
  const { id, touch, asks } = press;
  endPress();
  const picking = touch ? selected.size > 0 : event.shiftKey || event.ctrlKey || event.metaKey;
  if (asks && !picking && answerOf(id)) trigger("why", { id });
  else pick(id, touch, event);
}, { signal });

document.addEventListener("pointercancel", (event) => {
  const held = drag ?? press;
  if (!held || held.pointer !== event.pointerId) return;
  endPress();
  if (drag) cancelDrag();
}, { signal });

// Not passive: while a picture is held, the page must not scroll under the finger.
root.addEventListener("touchmove", (event) => drag && event.preventDefault(), { signal, passive: false });

// With a selection, a tap on a box moves it there; the name must not take the focus then.
root.addEventListener("mousedown", (event) => {
  if (pointer !== "mouse" && selected.size && event.target.closest(".bm-name")) event.preventDefault();
}, { signal });

function endPress() {
  clearTimeout(press?.timer);
  press = null;
}

function pick(id, touch, event) {
  if (touch) {
    const box = where[id] < 0 ? null : boxes[where[id]];
    if (box && selected.size && [...selected].some((other) => !box.items.includes(other))) {
      return move(inOrder(selected), box.id);
    }
    return toggle(id);
  }
  if (event.shiftKey) return selectRange(id);
  if (event.ctrlKey || event.metaKey) return toggle(id);
  select([id], id);
}

function startDrag(x, y) {
  const { node, id, pointer: held, touch } = press;
  endPress();
  if (!node.isConnected) return;
  if (!selected.has(id)) select([id], id);
  const ids = inOrder(selected);
  const row = node.closest(".bm-row");
  drag = { id, ids, node, pointer: held, x, y, row: row ? Number(row.getAttribute("aria-rowindex")) - 1 : undefined };
  drag.ghost = makeGhost(ids, id, node);
  root.classList.add("bm-dragging");
  for (const each of nodesOf(selected)) each.classList.add("bm-lifted");
  try { root.setPointerCapture(held); } catch { /* the pointer is gone already: pointercancel follows */ }
  if (touch) navigator.vibrate?.(10);
  drag.frame = requestAnimationFrame(follow);
  moveDrag(x, y);
}

function makeGhost(ids, id, node) {
  const ghost = make("div", "bm-ghost", { "aria-hidden": "true" });
  const box = node.getBoundingClientRect();
  const side = Math.max(56, Math.min(box.width, 84));
  ghost.style.setProperty("--cell", `${side}px`);
  const behind = ids.filter((other) => other !== id).slice(0, 2);
  [...behind.reverse(), id].forEach((each) => {
    const sheet = make("div", "bm-pic");
    paint(sheet, each);
    ghost.append(sheet);
  });
  if (ids.length > 1) ghost.append(make("b", "", {}, number(ids.length)));
  root.append(ghost);
  if (ghost.showPopover) { // above everything, whatever the page around does
    ghost.popover = "manual";
    ghost.showPopover();
  }
  return ghost;
}

function targetAt(x, y) {
  const node = document.elementFromPoint(x, y);
  if (!node || !root.contains(node)) return undefined;
  const box = node.closest(".bm-box");
  if (box) return box.dataset.box;
  if (node.closest(".bm-add")) return "new";
  return node.closest(".bm-tray") ? null : undefined;
}

function moveDrag(x, y) {
  Object.assign(drag, { x, y, moved: true });
  drag.ghost.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
}

function highlight(target) {
  for (const [id, parts] of boxNodes) parts.node.classList.toggle("bm-over", id === target);
  addButton.classList.toggle("bm-over", target === "new");
  const leaves = target === null && drag?.ids.some((id) => where[id] >= 0);
  frame.classList.toggle("bm-over", Boolean(leaves));
}

// In each frame: near an edge of the tray, of the boxes or of the window, what lies behind comes nearer; and what is
// under the hand lights up.
function follow() {
  if (!drag) return;
  const { x, y } = drag;
  const pull = (at, low, high) => {
    const edge = Math.min(48, (high - low) / 4);
    if (at < low + edge) return -Math.min(1, (low + edge - at) / edge);
    return at > high - edge ? Math.min(1, (at - high + edge) / edge) : 0;
  };
  let inside = false;
  const page = window.scrollY;
  for (const node of [scroll, boxList]) {
    const area = node.getBoundingClientRect();
    if (x < area.left || x > area.right || y < area.top || y > area.bottom) continue;
    const down = node.scrollHeight > node.clientHeight ? pull(y, area.top, area.bottom) : 0;
    const right = node.scrollWidth > node.clientWidth ? pull(x, area.left, area.right) : 0;
    const before = node.scrollTop + node.scrollLeft;
    node.scrollTop += Math.round(down * 14);
    node.scrollLeft += Math.round(right * 14);
    inside ||= node.scrollTop + node.scrollLeft !== before;
  }
  if (!inside) window.scrollBy(0, Math.round(pull(y, 0, window.innerHeight) * 12));
  if (drag.moved || inside || window.scrollY !== page) highlight(targetAt(x, y)); // to look costs some milliseconds
  drag.moved = false;
  drag.frame = requestAnimationFrame(follow);
}

function endDrag() {
  cancelAnimationFrame(drag.frame);
  const ended = drag;
  drag = null;
  root.classList.remove("bm-dragging");
  root.querySelectorAll(".bm-lifted").forEach((node) => node.classList.remove("bm-lifted"));
  highlight(undefined);
  if (waiting.size) apply();
  return ended;
}

function drop(x, y) {
  const at = performance.now();
  const target = targetAt(x, y); // before anything changes, and would have to be laid out again
  const { ids, ghost, id } = endDrag();
  let moved = false;
  if (target === "new") {
    const box = newBox();
    if (box) moved = move(ids, box.id, [...boxes, box]);
  } else if (target !== undefined) {
    moved = (target !== null || ids.some((each) => where[each] >= 0)) && move(ids, target);
  }
  if (moved) dropped = { rev, at };
  const goal = root.querySelector(`.bm-thumb[data-id="${id}"], .bm-card[data-id="${id}"]`);
  requestAnimationFrame(() => settle(ghost, goal, moved)); // to ask where it is costs a layout, and a message is to leave
}

function cancelDrag() {
  const { ghost, node } = endDrag();
  announce(say("say_cancelled"));
  settle(ghost, node, false);
}

// The ghost flies to where its picture now lies, and goes.
function settle(ghost, goal, moved) {
  const area = goal?.isConnected ? goal.getBoundingClientRect() : null;
  if (calm.matches || !area) return ghost.remove();
  const to = `translate(${area.x + area.width / 2}px, ${area.y + area.height / 2}px) translate(-50%, -50%)`;
  const fade = ghost.animate(
    [{}, { transform: `${to} scale(${moved ? 0.6 : 0.9})`, opacity: moved ? 0 : 0.4 }],
    { duration: moved ? 150 : 190, easing: "ease-out" },
  );
  fade.onfinish = fade.oncancel = () => ghost.remove();
}

root.addEventListener("click", (event) => {
  const node = onCard(event.target);
  if (node) {
    if (event.detail === 0 && event.pointerType !== "touch") toggle(idOf(node)); // a screen reader's click
    return;
  }
  const box = event.target.closest(".bm-box");
  if (box && pointer !== "mouse" && selected.size && !event.target.closest("button")) {
    return move(inOrder(selected), box.dataset.box);
  }
  if (pointer !== "mouse" && selected.size && event.target.closest(".bm-add")) return; // handled by the button
  if (!event.target.closest("button, input, label")) clearSelection();
}, { signal });

root.addEventListener("contextmenu", (event) => {
  const node = onCard(event.target);
  if (!node) return;
  event.preventDefault();
  if (drag || (pointer !== "mouse" && event.pointerType !== "mouse" && press)) return; // a long press
  endPress();
  if (!selected.has(idOf(node))) select([idOf(node)], idOf(node));
  const area = node.getBoundingClientRect();
  const byKey = event.clientX === 0 || event.button !== 2;
  openMenu(byKey ? area.left + 12 : event.clientX, byKey ? area.bottom - 8 : event.clientY, node);
}, { signal });
