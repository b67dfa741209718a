// How the pictures are shown: how large, as dots only, or spread out so that none covers another.

const SIZES = [28, 96]; // pixels across
const MOST_SPREAD = 3000; // pictures: more would be too small to see, and too slow to draw one by one
const KEPT_AS = "byolmeta-map"; // where the browser keeps what is chosen here

let wished = readWish(); // {size: pixels or null for what fits, dots: no pictures}
let spread = false;

const viewPanel = find(".view");
const sizeSlider = viewPanel.querySelector("input[type=range]");
const [dotsBox, spreadBox] = viewPanel.querySelectorAll("input[type=checkbox]");

function readWish() {
  try {
    const { size, dots } = JSON.parse(localStorage.getItem(KEPT_AS)) ?? {};
    return { size: Number.isFinite(size) ? clamp(size, ...SIZES) : null, dots: dots === true };
  } catch { return { size: null, dots: false }; } // a browser that keeps nothing
}

function wish(change) {
  wished = { ...wished, ...change };
  try { localStorage.setItem(KEPT_AS, JSON.stringify(wished)); } catch { /* then for this visit only */ }
  drawView();
  seen = false;
  request();
}

function drawView() {
  const may = laid && laid.n <= MOST_SPREAD && !scene;
  viewPanel.querySelector(".size span").textContent = word("size");
  viewPanel.querySelector(".dots span").textContent = word("dots_only");
  viewPanel.querySelector(".spread span").textContent = laid && laid.n > MOST_SPREAD
    ? word("spread_most", { n: MOST_SPREAD.toLocaleString() }) : word("spread");
  const fits = viewPanel.querySelector("button");
  fits.textContent = word("size_fits");
  fits.setAttribute("aria-pressed", wished.size === null);
  sizeSlider.value = wished.size ?? Math.round(goalSize);
  dotsBox.checked = wished.dots;
  spreadBox.checked = spread;
  spreadBox.disabled = !may;
}

function openView(open) {
  viewPanel.hidden = !open;
  find("[data-act=view]").setAttribute("aria-expanded", open);
  if (open) { drawView(); sizeSlider.focus(); }
}

// Pixels across a picture, by what is wished, by what fits, and by how near one is.
function sizeOf(few) {
  const most = sheets ? Math.min(84, sheets.pictures.tile) : 84;
  if (map.cell) return clamp(0.94 * map.cell * goal.scale, 4, wished.size ?? SIZES[1]);
  if (wished.size !== null && !compact()) return wished.size;
  const fits = few ? clamp(0.92 * Math.sqrt(width * height / Math.max(1, viewed)), 26, most) : narrow() ? 30 : 38;
  return Math.min(fits, compact() ? 32 : 48 * Math.sqrt(Math.max(1, goal.scale / home().scale)));
}

// ---- spread out

// The layout with a cell of its own for each picture. The map is halved again and again, across its longer side: the
// pictures of the left half go to the left half of the cells. So neighbours stay near, and gaps close.
function spreadOut(layout) {
  const { n, places } = layout;
  const shape = Math.max(0.5, width - toolRoom()) / Math.max(0.5, height);
  const columns = Math.max(1, Math.round(Math.sqrt(n * shape))), rows = Math.ceil(n / columns);
  const cell = 2 / Math.max(columns, rows);
  const spots = new Float32Array(2 * n);
  const divide = (points, left, top, wide, high) => {
    if (!points.length) return;
    if (wide * high === 1) {
      const [point] = points;
      spots[2 * point] = (left + 0.5 - columns / 2) * cell;
      spots[2 * point + 1] = (rows / 2 - top - 0.5) * cell;
      return;
    }
    const side = wide >= high ? 0 : 1;
    points.sort((one, other) => (side ? -1 : 1) * (places[2 * one + side] - places[2 * other + side]));
    const half = (side ? high : wide) >> 1;
    const cells = half * (side ? wide : high), rest = wide * high - cells;
    const part = clamp(Math.round(points.length * cells / (wide * high)), points.length - rest, cells);
    divide(points.slice(0, part), left, top, side ? wide : half, side ? half : high);
    divide(points.slice(part), left + (side ? 0 : half), top + (side ? half : 0), side ? wide : wide - half,
      side ? high - half : high);
  };
  divide(Array.from({ length: n }, (_, point) => point), 0, 0, columns, rows);
  return { ...layout, kind: "spread", told: { ...layout.told, stage: "spread" }, places: spots, cell,
    half: [columns * cell / 2, rows * cell / 2] };
}

// The present map, as it is or spread out.
function showLaid() {
  if (laid.n > MOST_SPREAD) spread = false;
  show(spread ? spreadOut(laid) : { kind: "plain", ...laid });
  drawView();
}

function turnSpread(on) {
  if (on === spread || !laid || scene) return;
  spread = on;
  atHome = true;
  showLaid();
}

on(find("[data-act=view]"), "click", () => openView(viewPanel.hidden));
on(sizeSlider, "input", () => wish({ size: Number(sizeSlider.value) }));
on(viewPanel.querySelector("button"), "click", () => wish({ size: null }));
on(dotsBox, "change", () => wish({ dots: dotsBox.checked }));
on(spreadBox, "change", () => turnSpread(spreadBox.checked));
on(viewPanel, "keydown", (event) => {
  if (event.key !== "Escape") return;
  openView(false);
  find("[data-act=view]").focus();
  event.stopPropagation();
});
on(stage, "pointerdown", (event) => { if (event.target === overlay) openView(false); });
