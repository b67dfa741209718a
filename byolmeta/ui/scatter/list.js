// The map as a table, a hundred pictures a page: for screen readers, and for whoever would rather read.

const PAGE = 100; // rows

let listed = false; // whether the table is open
let page = 0;

const list = find(".list");

// Points of the pictures that the table tells of: those found, else all that are not hidden by the legend.
function listPoints() {
  const points = [];
  const found = search.text ? new Set(search.points) : null;
  for (let point = 0; map && point < (map.twin || map.n); point++) {
    if (active(point) && (!found || found.has(point))) points.push(point);
  }
  return points;
}

function drawList() {
  list.hidden = !listed || !map || compact();
  if (list.hidden) return;
  const points = listPoints();
  const pages = Math.max(1, Math.ceil(points.length / PAGE));
  page = clamp(page, 0, pages - 1);
  const first = page * PAGE, last = Math.min(points.length, first + PAGE);
  const range = points.length ? `${(first + 1).toLocaleString()}–${last.toLocaleString()}` : "0";
  list.querySelector(".range").textContent = word("list_range", { range, n: points.length.toLocaleString() });
  list.querySelector(".before").disabled = page === 0;
  list.querySelector(".after").disabled = page === pages - 1;
  list.querySelector("caption").textContent = word("map_label");
  const head = ["list_name", "list_group", "nearest"].map((name) => cell("th", word(name)));
  for (const one of head) one.scope = "col";
  list.querySelector("thead tr").replaceChildren(...head);
  list.querySelector("tbody").replaceChildren(...points.slice(first, last).map(row));
}

function cell(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

function row(point) {
  const id = idOf(point);
  const line = document.createElement("tr");
  line.dataset.id = id;
  if (point === pinned) line.setAttribute("aria-current", "true");
  const name = document.createElement("th");
  name.scope = "row";
  const button = cell("button", nameOf(id));
  button.type = "button";
  if (sheets) paintTile(name.appendChild(document.createElement("i")), id, 30);
  name.append(button);
  const entry = groups.find((one) => one.code === codes[point]);
  const where = [...new Set([entry?.name, folderOf(id)])].filter(Boolean).join(" · ");
  line.append(name, cell("td", where), cell("td", neighbours(point).map(nameOf).join(", ")));
  return line;
}

function openList(open) {
  listed = open;
  find("[data-act=list]").setAttribute("aria-pressed", open);
  drawList();
  if (!open) { find("[data-act=list]").focus(); return; }
  list.focus({ preventScroll: true });
  list.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
}

function turnPage(step) {
  page += step;
  drawList();
  list.querySelector(".rows").scrollTop = 0;
  say(list.querySelector(".range").textContent);
}

on(list.querySelector(".before"), "click", () => turnPage(-1));
on(list.querySelector(".after"), "click", () => turnPage(1));
on(list.querySelector(".close"), "click", () => openList(false));
on(list.querySelector("tbody"), "click", (event) => {
  const line = event.target.closest("tr");
  const point = line ? pointOf(Number(line.dataset.id)) : -1;
  if (point < 0) return;
  list.querySelector("[aria-current]")?.removeAttribute("aria-current");
  line.setAttribute("aria-current", "true");
  focus(point);
});
