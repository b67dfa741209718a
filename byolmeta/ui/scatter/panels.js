// What lies over and beside the map: the card of a picture, words, legend, bar. Names arrive as text only.

// ---- the card of a picture

// An address as CSS has it; none where it is empty.
const cssUrl = (address) => (address ? `url("${address.replace(/["\\\n]/g, encodeURIComponent)}")` : "none");

function paintTile(target, id, side) {
  const { tile, columns } = sheets.pictures;
  const [x, y] = sheets.corner(id);
  const zoom = side / tile;
  target.style.backgroundImage = cssUrl(sheets.pictures.sheets[sheets.sheetOf(id)] && sheets.url(sheets.sheetOf(id)));
  // the last sheet may have fewer rows, so only the width is given
  target.style.backgroundSize = `${columns * tile * zoom}px auto`;
  target.style.backgroundPosition = `${-x * zoom}px ${-y * zoom}px`;
  target.style.width = target.style.height = `${side}px`;
}

let carded = "";

// What the card tells: of a new picture, or of the picture under the pointer; null when there is none.
function subject() {
  const side = compact() ? 72 : narrow() ? 96 : low() ? 112 : 148;
  const met = guestNow();
  if (met) {
    return { key: `new ${met.url}`, id: "", fresh: true, name: met.name, near: met.near.slice(0, 3), folder: "",
      entry: { name: word("new_picture"), colour: accent, code: GREY }, pinned: guests[pinnedGuest] === met,
      paint: (picture) => paintWhole(picture, met.url, side) };
  }
  const point = current();
  if (point < 0) return null;
  const id = idOf(point);
  return { key: id, id, name: nameOf(id), near: compact() ? [] : neighbours(point), folder: folderOf(id),
    entry: groups.find((one) => one.code === codes[point]), pinned: point === pinned,
    paint: sheets && ((picture) => paintTile(picture, id, side)) };
}

function showCard() {
  const facts = subject();
  card.hidden = !facts;
  if (!facts) { carded = ""; return; }
  const { id, near, entry, folder } = facts;
  const shape = [facts.key, facts.name, near, entry?.name, entry?.colour, folder, narrow(), low(), compact(),
    Boolean(sheets)].join("|");
  card.classList.toggle("pinned", facts.pinned);
  card.querySelector(".gone").hidden = !facts.fresh;
  card.querySelector(".enlarge").hidden = Boolean(facts.fresh) || compact();
  if (shape !== carded) {
    carded = shape;
    const picture = card.querySelector(".picture");
    picture.hidden = !facts.paint;
    if (facts.paint) facts.paint(picture);
    card.dataset.id = id;
    card.querySelector(".name").textContent = facts.name;
    const line = card.querySelector(".group");
    line.hidden = !entry;
    if (entry) {
      markSwatch(line.querySelector("i"), entry);
      line.querySelector("span").textContent = entry.name;
    }
    const where = card.querySelector(".folder");
    where.hidden = !folder || folder === entry?.name;
    where.textContent = folder;
    const alike = card.querySelector(".alike");
    alike.hidden = !near.length || !sheets;
    alike.querySelector("span").textContent = word("nearest");
    const buttons = !sheets ? [] : near.map((other) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.id = other;
      button.setAttribute("aria-label", nameOf(other));
      button.title = nameOf(other);
      paintTile(button, other, narrow() ? 40 : 45);
      return button;
    });
    alike.querySelector(".row").replaceChildren(...buttons);
  }
  placeCard();
}

function placeCard() {
  if (card.hidden) return;
  const met = guestNow(), point = current(), mix = mixNow();
  const x = screenX(met ? met.x : whereX(point, mix)), y = screenY(met ? met.y : whereY(point, mix));
  card.classList.toggle("away", x < 0 || y < 0 || x > width || y > height); // with its picture
  card.style.transform = "";
  if (narrow() && !compact()) {
    // docked at the end of the stage that the picture is not on
    card.classList.toggle("top", y > height / 2);
    return;
  }
  card.classList.remove("top");
  const gap = Math.max(44, size * 1.3) / 2 + 14;
  const { offsetWidth: wide, offsetHeight: high } = card;
  const end = width - toolRoom() - 8, bar = find(".bar");
  const floor = height - (bar.hidden ? 8 : bar.offsetHeight + 20);
  const left = x + gap + wide < end ? x + gap : x - gap - wide;
  card.style.transform = `translate(${Math.round(clamp(left, 8, Math.max(8, end - wide)))}px,`
    + ` ${Math.round(clamp(y - high / 2, 8, Math.max(8, floor - high)))}px)`;
}

function hover(point) {
  if (point === hovered) return;
  hovered = point;
  overlay.style.cursor = point >= 0 && tool === "pan" ? "pointer" : "";
  showCard();
  request();
}

function pin(point) {
  pinned = point;
  focused = pinnedGuest = -1;
  showCard();
  request();
}

// ---- words, legend, bar

function drawWords() {
  find(".caution").textContent = word(map?.kind === "spread" ? "caution_spread" : "caution");
  overlay.setAttribute("aria-label", map
    ? `${word("map_label")}, ${amount("picture", map.twin || map.n)}` : word("map_label"));
  const help = find(".help");
  help.id = `${place}-scatter-help`;
  help.textContent = word("map_help");
  if (!compact()) overlay.setAttribute("aria-describedby", help.id);
  const label = (selector, name) => {
    for (const button of root.querySelectorAll(selector)) {
      button.title = word(name);
      button.setAttribute("aria-label", word(name));
    }
  };
  for (const name of ["pan", "lasso", "box"]) label(`.tools [data-tool=${name}]`, name);
  label("[data-zoom=in]", "zoom_in");
  label("[data-zoom=out]", "zoom_out");
  label("[data-zoom=reset]", "reset");
  label(".bar .clear", "clear");
  label("[data-act=search]", "search");
  label("[data-act=list]", "as_list");
  label("[data-act=view]", "view");
  label(".card .enlarge", "enlarge");
  label(".large .close", "large_close");
  label(".large .before", "large_before");
  label(".large .after", "large_after");
  label("[data-act=undo]", "undo");
  label(".search .before", "match_before");
  label(".search .after", "match_after");
  label(".search .close", "search_close");
  label(".card .gone", "new_gone");
  label(".player .leave", "film_close");
  drawSpeed();
  label(".compare .leave", "compare_close");
  label(".list .close", "list_close");
  label(".list .before", "page_before");
  label(".list .after", "page_after");
  markFull();
  for (const name of ["similar", "save", "aside"]) find(`.bar .${name}`).textContent = word(name);
  for (const kind of ["csv", "zip"]) find(`.saving [data-kind=${kind}]`).textContent = word(`save_${kind}`);
  find(".search input").placeholder = word("search_for");
  find(".search input").setAttribute("aria-label", word("search_for"));
  find(".compare .swap").textContent = word("side_by_side");
  for (const [part, name] of [[player, "stage_film"], [comparison, "stage_compare"], [list, "as_list"],
    [viewPanel, "view"]]) {
    part.setAttribute("aria-label", word(name));
  }
  find(".legend .head span").textContent = word("legend");
  find(".legend .head button").textContent = word("show_all");
  find(".bar .put").textContent = word("put_into");
  find(".retry").textContent = word("retry");
  const badge = find(".badge");
  badge.hidden = !map;
  if (map) {
    badge.dataset.stage = map.told.stage || "";
    find(".badge .count").textContent = amount("picture", map.twin || map.n);
    const known = { pca: "stage_pca", umap: "stage_umap", learning: "stage_learning", film: "stage_film",
      compare: "stage_compare", spread: "stage_spread" }[map.told.stage];
    find(".badge .stage-name").textContent = [known && word(known), map.told.note].filter(Boolean).join(" · ");
  }
  find(".tools").hidden = !map || compact();
  showEmpty();
}

function showEmpty(failed = false) {
  const empty = find(".empty");
  empty.hidden = Boolean(map);
  if (map) return;
  empty.classList.toggle("failed", failed);
  empty.querySelector("p").textContent =
    word(failed ? "load_failed" : given(props.pictures, "sheets") || points ? "waiting" : "no_pictures");
  find(".retry").hidden = !failed;
}

// Pale squares that breathe, where the pictures will be.
function drawGhosts() {
  const ghosts = [];
  for (let at = 0; at < 26; at++) {
    const ghost = document.createElement("i");
    const angle = at * 2.4, far = Math.sqrt((at + 0.5) / 26);
    ghost.style.left = `${50 + 38 * far * Math.cos(angle)}%`;
    ghost.style.top = `${50 + 40 * far * Math.sin(angle)}%`;
    if (!calm.matches) {
      ghost.animate([{ opacity: 0.25 }, { opacity: 0.8 }, { opacity: 0.25 }],
        { duration: 2600, delay: -at * 310, iterations: Infinity, easing: "ease-in-out" });
    }
    ghosts.push(ghost);
  }
  find(".ghosts").replaceChildren(...ghosts);
}

function markSwatch(swatch, entry) {
  swatch.style.backgroundColor = entry.colour;
  swatch.dataset.shape = entry.code === GREY ? 0 : shapeOf(entry.code);
}

function drawLegend() {
  const legend = find(".legend");
  legend.hidden = !groups.length || compact();
  find(".legend .groups").replaceChildren(...groups.map((entry) => {
    const row = document.createElement("button");
    row.type = "button";
    row.dataset.code = entry.code;
    const swatch = document.createElement("i");
    markSwatch(swatch, entry);
    const name = document.createElement("span");
    name.className = "group-name";
    name.textContent = entry.name;
    name.title = entry.name;
    const count = document.createElement("span");
    count.className = "group-count";
    count.textContent = entry.count.toLocaleString();
    const example = sheets && entry.example >= 0 ? [document.createElement("span")] : [];
    for (const picture of example) {
      picture.className = "example";
      paintTile(picture, entry.example, 26);
    }
    row.append(swatch, ...example, name, count);
    return row;
  }));
  markLegend();
  markMore();
}

// Whether entries of the legend lie beyond its end, which then fades.
function markMore() {
  const list = find(".legend .groups");
  list.classList.toggle("more", list.scrollHeight - list.clientHeight - list.scrollTop > 4
    || list.scrollWidth - list.clientWidth - list.scrollLeft > 4);
}

on(find(".legend .groups"), "scroll", markMore, { passive: true });

function markLegend() {
  find(".legend .head button").hidden = !isolated.size;
  for (const row of find(".legend .groups").children) {
    const on = isolated.has(Number(row.dataset.code));
    row.setAttribute("aria-pressed", on);
    row.classList.toggle("off", isolated.size > 0 && !on);
  }
}

function isolate(code, more) {
  if (code === null) isolated.clear();
  else if (more) isolated.has(code) ? isolated.delete(code) : isolated.add(code);
  else isolated = isolated.size === 1 && isolated.has(code) ? new Set() : new Set([code]);
  if (pinned >= 0 && !active(pinned)) pinned = -1;
  hovered = focused = -1;
  if (search.text) seek();
  showCard();
  drawList();
  markLegend();
  recolour();
}

function drawBar() {
  const bar = find(".bar");
  bar.hidden = !chosen || compact();
  root.classList.toggle("choosing", !bar.hidden);
  find("[data-act=undo]").disabled = !past.length;
  openSaving(false);
  if (bar.hidden) return;
  bar.querySelector(".count").textContent = amount("selected", chosen);
  const boxes = prop("boxes");
  const tools = prop("tools") || [];
  find(".bar .put").hidden = find(".bar .boxes").hidden = !boxes;
  for (const [name, part] of [["similar", ".similar"], ["export", ".keep"], ["aside", ".aside"]]) {
    find(`.bar ${part}`).hidden = !tools.includes(name);
  }
  const chips = (boxes || []).map((box) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.dataset.box = box.id;
    const swatch = document.createElement("i");
    if (/^#[0-9a-f]{6}$/i.test(box.colour || "")) swatch.style.backgroundColor = box.colour;
    const name = document.createElement("span");
    name.textContent = box.name;
    chip.append(swatch, name);
    chip.addEventListener("click", () => put(box, chip));
    return chip;
  });
  const fresh = document.createElement("button");
  fresh.type = "button";
  fresh.className = "new";
  fresh.textContent = `+ ${word("new_box")}`;
  fresh.addEventListener("click", () => put(null, fresh));
  find(".bar .boxes").replaceChildren(...chips, fresh);
  stage.style.setProperty("--bar", `${bar.offsetHeight}px`);
  placeCard(); // above it
}

const HINT_MS = 2600, OFFER_MS = 8000; // a line, and one with "Undo" on it

let hintTimer = 0;
let offered = null; // what "Undo" in the line takes back: {what, indices, key, ...}

// A short line over the map. While it offers to take something back, other lines wait.
function hint(text, offer = null) {
  if (offered && !offer) return;
  const line = find(".hint");
  offered = offer;
  line.querySelector("span").textContent = text;
  line.querySelector("button").textContent = word("undo_act");
  line.querySelector("button").hidden = !offer;
  line.hidden = !text;
  clearTimeout(hintTimer);
  if (text) hintTimer = setTimeout(endHint, offer ? OFFER_MS : HINT_MS);
}

function endHint() {
  const line = find(".hint");
  if (offered && line.matches(":hover, :focus-within")) { hintTimer = setTimeout(endHint, HINT_MS); return; }
  offered = null;
  line.hidden = true;
}

function useTool(name) {
  tool = name;
  overlay.dataset.tool = name;
  overlay.style.cursor = "";
  for (const button of root.querySelectorAll(".tools [data-tool]")) {
    button.setAttribute("aria-pressed", button.dataset.tool === name);
  }
  hint(name === "pan" ? "" : word(`${name}_hint`));
}
