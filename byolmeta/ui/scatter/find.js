// Pictures that light up while the others fade: found by name, or asked for by Python.

let lightening = false; // whether some light up now
let lit = null; // what Python asked for: {ids, name, there: how many of them the map has; null until it is there}
let litTold = "";
let search = { text: "", points: [], at: -1 };
let haystack = null; // the folded name and folder of every picture id, made for the first search

const LIT = 2; // as a mark

// Letters as one types them: without accents and without capitals.
const folded = (text) => String(text).normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

function mark() {
  if (!map) return;
  lightening = Boolean(search.text || lit);
  marks = Uint8Array.from(flags);
  const raise = (point) => { if (point >= 0 && !marks[point]) marks[point] = LIT; };
  if (search.text) search.points.forEach(raise);
  else if (lit) lit.ids.map(pointOf).forEach((point) => { raise(point); raise(point < 0 ? -1 : partner(point)); });
  painter?.select(marks, pales());
  seen = false;
  request();
}

// Points that are found or lit.
const allMarked = () => (search.text ? search.points : lit ? lit.ids.map(pointOf).filter((point) => point >= 0) : []);

// ---- from Python

function takeLit() {
  const asked = given(props.lit, "ids");
  const identity = JSON.stringify(asked);
  if (identity === litTold) return;
  litTold = identity;
  lit = asked && { ids: asked.ids, name: String(asked.name ?? ""), there: null };
  if (lit && map && width) stage.scrollIntoView({ block: "center", behavior: calm.matches ? "auto" : "smooth" });
  drawLit();
  mark();
  if (lit) say(`${lit.name}: ${amount("picture", lit.ids.length)}`);
  checkLit();
}

// Brings what lights up into view; ends it when a picture of it has left the map, as set aside, or none is there.
function checkLit() {
  if (!lit || !laid) return;
  const there = lit.ids.filter((id) => pointIn(laid, id) >= 0).length;
  if (!there || there < lit.there) { dim(); return; }
  const fresh = lit.there === null;
  lit.there = there;
  const points = lit.ids.map(pointOf).filter((point) => point >= 0);
  if (fresh && points.length) {
    lookAt(points.map(restX), points.map(restY), clamp(Math.sqrt(map.n / 150), 1.3, 6));
  }
}

function drawLit() {
  const chip = find(".lit");
  chip.hidden = !lit || compact();
  if (!lit) return;
  chip.querySelector("span").textContent = lit.name;
  chip.setAttribute("aria-label", word("lit_close", { name: lit.name }));
  chip.title = word("lit_close", { name: lit.name });
}

function dim() {
  lit = null;
  drawLit();
  mark();
}

on(find(".lit"), "click", () => { dim(); overlay.focus({ preventScroll: true }); });

// ---- by name

const field = find(".search input");

function seek() {
  haystack ??= Array.from(about?.names ?? [], (name, id) => folded(`${folderOf(id)}/${name}`));
  const text = folded(search.text.trim());
  const chosenBefore = search.points[search.at];
  const matches = (point) => active(point) && (haystack[idOf(point)] ?? folded(nameOf(idOf(point)))).includes(text);
  search.points = [];
  for (let point = 0; map && text && point < map.n; point++) if (matches(point)) search.points.push(point);
  search.at = search.points.indexOf(chosenBefore);
  const found = text ? amountFound() : "";
  find(".search .found").textContent = found;
  mark();
  drawList();
  return found;
}

const amountFound = () => {
  const n = map.twin ? search.points.length / 2 : search.points.length;
  return n ? amount("found", n) : word("found_none");
};

function goToMatch(step) {
  const { points } = search;
  if (!points.length) return;
  search.at = search.at < 0 ? (step > 0 ? 0 : points.length - 1) : (search.at + step + points.length) % points.length;
  const point = points[search.at];
  focus(point);
  const near = home().scale * clamp(Math.sqrt(map.n / 60), 1.5, 12);
  look({ x: restX(point), y: restY(point), scale: Math.max(goal.scale, near) });
  find(".search .found").textContent = `${search.at + 1} / ${points.length.toLocaleString()}`;
}

function openSearch(open) {
  find(".search").hidden = !open;
  root.classList.toggle("searching", open);
  find("[data-act=search]").setAttribute("aria-expanded", open);
  if (open) { field.focus(); field.select(); return; }
  if (search.text) {
    search = { text: "", points: [], at: -1 };
    field.value = "";
    say(seek());
  }
}

function closeSearch() {
  openSearch(false);
  find("[data-act=search]").focus();
}

on(field, "input", () => {
  search = { text: field.value.trim(), points: [], at: -1 };
  say(seek());
});
on(find(".search"), "keydown", (event) => {
  if (event.key === "Enter" && event.target === field) {
    event.preventDefault();
    goToMatch(event.shiftKey ? -1 : 1);
  } else if (event.key === "Escape") closeSearch();
  else return;
  event.stopPropagation();
});
on(find(".search .before"), "click", () => goToMatch(-1));
on(find(".search .after"), "click", () => goToMatch(1));
on(find(".search .close"), "click", closeSearch);
