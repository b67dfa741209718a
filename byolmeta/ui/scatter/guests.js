// New pictures that Python lets land on the map: bigger, with a ring and lines to their nearest pictures.

const GUEST = 60; // pixels across
const MOST_WITH_LINES = 6; // beyond, only the one under the pointer has its lines

let guests = []; // {sent, url, name, near, x, y, image}; x, y on the map
let guestsTold = "";
let guestsGone = new Set(); // those that the visitor took off the map, as Python sent them
let hoveredGuest = -1, pinnedGuest = -1;

// They have a place on the present map only.
const landed = () => (map?.kind === "plain" ? guests : []);
const guestNow = () => landed()[hoveredGuest >= 0 ? hoveredGuest : hovered >= 0 ? -1 : pinnedGuest] ?? null;

function takeLanded() {
  if (!laid) return;
  const sent = Array.isArray(props.landed) ? props.landed : [];
  const told = JSON.stringify(sent);
  const asked = sent.filter((one) => !guestsGone.has(JSON.stringify(one)));
  const news = told !== guestsTold;
  const images = new Map(guests.map(({ url, image }) => [url, image]));
  guestsTold = told;
  guests = asked.map((one) => ({ sent: JSON.stringify(one), url: one.url, near: one.near || [],
    name: String(one.name ?? ""), x: (one.x - laid.centre[0]) / laid.reach, y: (one.y - laid.centre[1]) / laid.reach,
    image: images.get(one.url) ?? pictureAt(one.url) }));
  drawGuestChip();
  if (!news) return;
  hoveredGuest = -1;
  pin(-1);
  if (guests.length) turnSpread(false); // they have no cell
  if (!guests.length || map?.kind !== "plain") return;
  flyToGuests();
  pinGuest(guests.length - 1); // what it is and what it is like, at once
  const beside = (near) => near.slice(0, 3).map(nameOf).join(", ");
  say(guests.map(({ name, near }) => word("landed", { name, near: beside(near) })).join(" "));
}

function pictureAt(url) {
  const image = new Image();
  image.src = absolute(url);
  image.decode().then(request, () => console.warn("A new picture could not be shown."));
  return image;
}

// So that they and their nearest pictures are in view, and the rest still tells where one is.
function flyToGuests() {
  const near = guests.flatMap((one) => one.near.map(pointOf)).filter((point) => point >= 0);
  lookAt([...guests.map(({ x }) => x), ...near.map(restX)], [...guests.map(({ y }) => y), ...near.map(restY)], 5);
}

function pickGuest(x, y) {
  return landed().findLastIndex((one) =>
    Math.max(Math.abs(screenX(one.x) - x), Math.abs(screenY(one.y) - y)) < GUEST / 2);
}

function hoverGuest(number) {
  if (number === hoveredGuest) return;
  hoveredGuest = number;
  showCard();
  request();
}

function hoverAt(x, y) {
  const number = pickGuest(x, y);
  hoverGuest(number);
  hover(number >= 0 ? -1 : pick(x, y));
}

// Takes them off the map, for good unless Python sends others.
function dropGuests(ones) {
  for (const one of ones) guestsGone.add(one.sent);
  guests = guests.filter((one) => !ones.includes(one));
  hoveredGuest = -1;
  pin(-1);
  drawGuestChip();
  say(amount("new", guests.length));
  overlay.focus({ preventScroll: true });
}

function drawGuestChip() {
  const chip = find(".new-here");
  chip.hidden = !landed().length || compact();
  chip.querySelector("span").textContent = amount("new", guests.length);
  chip.title = word("new_close");
}

on(find(".new-here"), "click", () => dropGuests(guests));
on(find(".card .gone"), "click", () => dropGuests([guestNow()]));

function pinGuest(number) {
  pin(-1);
  hovered = -1;
  pinnedGuest = number;
  say(guests[number].name);
  showCard();
  request();
}

function drawGuests() {
  const met = guestNow();
  for (const one of landed()) if (one !== met) drawGuest(one, guests.length <= MOST_WITH_LINES);
  if (met) drawGuest(met, true);
}

function drawGuest({ x, y, near, image }, lines) {
  if (lines) drawLines(screenX(x), screenY(y), near);
  const side = Math.min(image.naturalWidth, image.naturalHeight);
  const part = [(image.naturalWidth - side) / 2, (image.naturalHeight - side) / 2, side, side];
  drawTile(screenX(x), screenY(y), GUEST, 4, side ? image : null, part);
}

// A whole picture as the background of a square.
function paintWhole(target, url, side) {
  target.style.backgroundImage = cssUrl(absolute(url));
  target.style.backgroundSize = "cover";
  target.style.backgroundPosition = "center";
  target.style.width = target.style.height = `${side}px`;
}
