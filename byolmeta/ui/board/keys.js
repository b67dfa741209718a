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
  } else if (event.key.toLowerCase() === "w" && card && can("why")) {
    if (answerOf(id)) trigger("why", { id });
    else announce(say("say_no_guess"));
  } else if (event.key.toLowerCase() === "m" && can("mute")) {
    mute(selected.size ? inOrder(selected) : [id]);
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
