// A picture large, in a dialog: its thumbnail at once, and the picture itself when Python sends it.

const dialog = find(".large");
const enlarged = dialog.querySelector("img");

let walked = []; // picture ids one came by
let walkedTo = -1; // place in it of the one that is shown
let largeTold = "";

const largeId = () => (dialog.open ? walked[walkedTo] : -1);

function openLarge(point) {
  if (point < 0 || compact()) return;
  walked = [idOf(point)];
  walkedTo = 0;
  if (!dialog.open) dialog.showModal();
  drawLarge();
}

function drawLarge() {
  const id = largeId(), point = pointOf(id);
  const entry = groups.find((one) => one.code === codes[point]);
  const side = Math.min(innerWidth - 64, innerHeight - 220, 560);
  const tile = dialog.querySelector(".tile");
  enlarged.hidden = true;
  enlarged.removeAttribute("src");
  tile.hidden = !sheets;
  if (sheets) paintTile(tile, id, side);
  tellLarge(nameOf(id), [entry?.name, folderOf(id)]);
  // not `disabled`, which would take the focus out of the dialog
  dialog.querySelector(".before").setAttribute("aria-disabled", walkedTo === 0);
  dialog.querySelector(".after").setAttribute("aria-disabled", nextLarge() < 0);
  trigger("enlarge", { id, key: map.told.key ?? null });
}

// Name, and lines about the picture.
function tellLarge(name, facts) {
  dialog.setAttribute("aria-label", name);
  dialog.querySelector(".name").textContent = name;
  const lines = [...new Set(facts.filter(Boolean))].map((fact) => cell("li", String(fact)));
  dialog.querySelector(".facts").replaceChildren(...lines);
}

function takeLarge() {
  const asked = given(props.large, "url");
  const identity = JSON.stringify(asked);
  if (identity === largeTold) return;
  largeTold = identity;
  if (!asked || asked.id !== largeId()) return;
  tellLarge(asked.name ?? nameOf(asked.id), asked.facts || []);
  enlarged.src = absolute(asked.url);
  enlarged.decode().then(() => {
    if (largeTold !== identity || asked.id !== largeId()) return;
    enlarged.hidden = false;
    dialog.querySelector(".tile").hidden = true;
  }, () => console.warn("The large picture could not be shown."));
}

// The picture most alike to the one that is shown, among those where one has not been; else the nearest on the map.
function nextLarge() {
  const point = pointOf(largeId()), been = new Set(walked);
  const alike = neighbours(point).find((id) => !been.has(id) && pointOf(id) >= 0);
  if (alike !== undefined) return alike;
  let best = -1, least = Infinity;
  for (let other = 0; other < (map.twin || map.n); other++) {
    const far = Math.hypot(restX(other) - restX(point), restY(other) - restY(point));
    if (far < least && active(other) && !been.has(idOf(other))) { best = other; least = far; }
  }
  return best < 0 ? -1 : idOf(best);
}

// On to the next, or back to where one came from; the map goes along.
function walkLarge(step) {
  if (walkedTo + step < 0) return;
  if (walkedTo + step === walked.length) {
    const next = nextLarge();
    if (next < 0) return;
    walked.push(next);
  }
  walkedTo += step;
  focus(pointOf(largeId()));
  drawLarge();
}

on(dialog, "click", (event) => {
  if (event.target === dialog || event.target.closest(".close")) dialog.close();
  else if (event.target.closest(".before")) walkLarge(-1);
  else if (event.target.closest(".after")) walkLarge(1);
});
on(dialog, "keydown", (event) => {
  event.stopPropagation(); // the map's keys rest meanwhile
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) walkLarge(step);
});
on(dialog, "close", () => overlay.focus({ preventScroll: true }));
on(card.querySelector(".picture"), "dblclick", () => openLarge(current()));
on(card.querySelector(".enlarge"), "click", () => openLarge(current()));
