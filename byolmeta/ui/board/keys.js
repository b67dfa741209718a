// ---------------------------------------------------------------- keys

root.addEventListener("focusin", (event) => {
  const card = event.target.closest?.(".bm-card");
  if (card) {
    const at = Number(card.parentElement.getAttribute("aria-rowindex")) - 1;
    const index = at * columns + Number(card.getAttribute("aria-colindex")) - 1;
    if (index !== current) {
      if (cardAt(current)) cardAt(current).tabIndex = -1;
      current = index;
      card.tabIndex = 0;
    }
  }
  const thumb = event.target.closest?.(".bm-thumb");
  if (!thumb) return;
  for (const each of thumb.parentElement.querySelectorAll(".bm-thumb")) each.tabIndex = each === thumb ? 0 : -1;
}, { signal });

function walk(event, at, length, across, page) {
  const steps = {
    ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, PageDown: page * across, PageUp: -page * across,
  };
  if (event.key === "Home") return 0;
  if (event.key === "End") return length - 1;
  if (!(event.key in steps)) return null;
  const next = at + steps[event.key];
  if (next >= 0 && next < length) return next;
  if (event.key.startsWith("Page")) return next < 0 ? 0 : length - 1;
  return event.key === "ArrowDown" && Math.floor(at / across) < Math.floor((length - 1) / across) ? length - 1 : at;
}

root.addEventListener("keydown", (event) => {
  const node = onCard(event.target);
  if (!node || menu || event.altKey) return;
  const id = idOf(node);
  const card = node.classList.contains("bm-card");
  const command = event.ctrlKey || event.metaKey;
  let done = true;
  if (command && event.key.toLowerCase() === "a") {
    select(neighboursOf(id), id);
    announce(say("say_selected", { count: number(selected.size) }));
  } else if (command && event.key !== "Home" && event.key !== "End") {
    done = false;
  } else if (event.key === " " || event.key === "Enter") {
    if (event.shiftKey) selectRange(id);
    else toggle(id);
    announce(say("say_selected", { count: number(selected.size) }));
  } else if (/^[1-9]$/.test(event.key)) {
    const box = boxes[Number(event.key) - 1];
    if (box) move(selected.size ? inOrder(selected) : [id], box.id);
    else announce(say("say_no_box", { number: event.key }));
  } else if (["0", "Backspace", "Delete"].includes(event.key)) {
    move(selected.size ? inOrder(selected) : [id], null);
  } else if (event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) {
    if (!selected.has(id)) select([id], id);
    const area = node.getBoundingClientRect();
    openMenu(area.left + 12, area.bottom - 8, node);
  } else {
    done = card ? walkTray(event, id) : walkBox(event, node);
  }
  if (done) event.preventDefault();
}, { signal });

function walkTray(event, id) {
  const page = Math.max(1, Math.floor(tall / rowHeight()) - 1);
  const next = walk(event, current, view.length, columns, page);
  if (next === null) return false;
  if (event.shiftKey && anchor === null) anchor = id;
  focusCard(next);
  if (event.shiftKey) selectRange(view[next]);
  return true;
}

function walkBox(event, node) {
  const thumbs = [...node.parentElement.querySelectorAll(".bm-thumb")];
  const across = Math.max(1, thumbs.filter((thumb) => thumb.offsetTop === thumbs[0].offsetTop).length);
  const next = walk(event, thumbs.indexOf(node), thumbs.length, across, 2);
  if (next === null) return false;
  thumbs[next].focus();
  if (event.shiftKey) selectRange(idOf(thumbs[next]));
  return true;
}

document.addEventListener("keydown", (event) => {
  if (!root.isConnected) return;
  if (event.key === "Escape") {
    if (drag) return cancelDrag();
    if (!menu && root.contains(event.target)) clearSelection();
    return;
  }
  const here = root.contains(event.target) || event.target === document.body;
  const typing = event.target.matches?.("input:not([type=range]), textarea, [contenteditable]");
  if (!here || typing || !(event.ctrlKey || event.metaKey) || event.altKey || drag) return;
  if (root.offsetParent === null) return; // in a tab that is not open
  const key = event.key.toLowerCase();
  if (key === "z" && !event.shiftKey) undo();
  else if (key === "y" || key === "z") redo();
  else return;
  event.preventDefault();
}, { signal });

// ---------------------------------------------------------------- the menu of boxes

let menu = null;

function openMenu(x, y, opener) {
  closeMenu();
  const ids = inOrder(selected);
  if (!ids.length) return;
  menu = make("div", "bm-menu", { role: "menu", "aria-label": say("move_to") });
  menu.opener = opener;
  const add = (badge, text, index, act) => {
    const item = button("bm-menu-item", badge, make("span", "", {}, text));
    item.setAttribute("role", "menuitem");
    item.tabIndex = -1;
    if (index !== null) hue(badge, index);
    item.addEventListener("click", () => {
      closeMenu(true);
      act();
    });
    menu.append(item);
  };
  boxes.forEach((box, index) => {
    if (ids.every((id) => where[id] === index)) return; // they are in there
    add(make("i", "bm-badge", {}, String(index + 1)), box.name, index, () => move(ids, box.id));
  });
  if (boxes.length < MAX_BOXES) {
    add(make("i", "bm-badge bm-open", {}, icon("plus")), say("box_new"), null, () => {
      const box = newBox();
      if (!box) return;
      move(ids, box.id, [...boxes, box]);
      boxNodes.get(box.id)?.name.focus();
    });
  }
  if (ids.some((id) => where[id] >= 0)) {
    add(make("i", "bm-badge bm-open", {}, icon("undo")), say("move_out"), null, () => move(ids, null));
  }
  menu.addEventListener("keydown", menuKeys);
  root.append(menu);
  if (menu.showPopover) {
    menu.popover = "manual";
    menu.showPopover();
  }
  const area = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(x, window.innerWidth - area.width - 8))}px`;
  menu.style.top = `${Math.max(8, y + area.height + 8 > window.innerHeight ? y - area.height : y)}px`;
  menu.firstChild.focus();
}

function menuKeys(event) {
  const items = [...menu.children];
  const at = items.indexOf(document.activeElement);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (next !== undefined) items.at(next % items.length).focus();
  else if (/^[1-9]$/.test(event.key) && boxes[Number(event.key) - 1]) items[Number(event.key) - 1].click();
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
