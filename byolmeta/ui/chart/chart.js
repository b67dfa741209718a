// A Plotly chart in one place. Gradio runs this as a function body with element, props and watch, after
// FIRST: the first props. See __init__.py.

const NAMES_OF_PROPS = ["figure", "label", "empty", "height", "failed"];
const prop = (name) => props[name] || FIRST[name];
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#e3d32b", "#7f5bab"];

const root = element.querySelector(".chart");
const plot = root.querySelector(".plot");
const sentence = root.querySelector(".sentence");
element.parentElement.style.padding = 0; // in line with the blocks above and below

// One load for all charts of the page.
function loadPlotly(url) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  return (window.__byolmetaPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(url, document.baseURI).href;
    script.onload = () => (window.Plotly ? resolve(window.Plotly) : reject(new Error("no Plotly")));
    script.onerror = () => { window.__byolmetaPlotly = null; reject(new Error("not loaded")); };
    document.head.appendChild(script);
  }));
}

function tell(text) {
  sentence.textContent = text;
  sentence.hidden = !text;
  plot.style.visibility = text ? "hidden" : "";
}

// Okabe and Ito's blue is too dark for a dark page; cells of a matrix begin at its ground, and their numbers are light.
const LIGHTER = { "#0072B2": "#4BA3E3", "rgba(0,114,178,.14)": "rgba(75,163,227,.26)", "#f2f6fb": "#172334",
  "#f4f7fb": "#172334", "#d3e4f2": "#1d3a57", "#9dc4e3": "#28557f", "#4a90c4": "#3577ad", "#10243a": "#f2f6fb" };

const isDark = () => document.body.classList.contains("dark");
let lit = null; // whether the page was dark when the chart was drawn

// The figure in the colours of the page; what the figure says itself wins.
function dressed(figure) {
  const style = getComputedStyle(root);
  const read = (name, other) => style.getPropertyValue(name).trim() || other;
  const text = read("--body-text-color", "#333"), line = read("--border-color-primary", "#ddd");
  const paper = read("--background-fill-primary", "#fff");
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, tickcolor: line, automargin: true };
  const dark = lit = isDark();
  const shade = (key, value) => (dark && typeof value === "string" ? (LIGHTER[value] ?? value) : value);
  const { data = [], layout: own = {} } = JSON.parse(JSON.stringify(figure, shade));
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", colorway: COLOURS, hovermode: "x unified",
    margin: { l: 44, r: 12, t: own.title ? 40 : 12, b: 36 }, showlegend: data.length > 1,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, bgcolor: "rgba(0,0,0,0)" },
    uirevision: "keep", dragmode: false, ...own, autosize: true,
    font: { family: style.fontFamily, size: 12.5, color: text, ...own.font },
    hoverlabel: { bgcolor: paper, bordercolor: line, font: { color: text }, ...own.hoverlabel },
  };
  delete layout.width;
  delete layout.height;
  const titled = (part) => (typeof part?.title === "string" ? { ...part, title: { text: part.title } } : part);
  const axes = new Set(["xaxis", "yaxis", ...Object.keys(own).filter((name) => /^[xy]axis\d*$/.test(name))]);
  for (const name of axes) layout[name] = { ...axis, ...titled(own[name]) };
  for (const trace of data) if (trace.name != null) trace.name = String(trace.name).replace(/</g, "&lt;");
  return { data, layout: titled(layout) }; // a title is an object since plotly.js 3
}

let waiting = false; // a drawing was asked for
let busy = false; // one is under way
let drawn = false;
let failed = false;
const state = (root.__chart = element.__chart = { plot, updates: 0, until,
  drawn: () => drawn && !busy && !waiting }); // whether the newest figure is what one sees

// ---- a part of the figure: its growing lines up to a place on the x axis, everything for null

const SPACE = "http://www.w3.org/2000/svg";
const MARKER = 5; // pixels that a marker reaches beyond its place
const PARTS = [[":is(.fills, .lines)", 0], [".points", MARKER]]; // of a trace, with what they show beyond the place
let upTo = null;
let openings = null; // through which the parts of growing lines are seen

function until(x) {
  upTo = x;
  clip();
}

function clip() {
  root.classList.toggle("partial", upTo !== null);
  if (!drawn || (upTo === null && !openings)) return;
  openings ??= PARTS.map((_, place) => makeOpening(`${element.closest("[id]")?.id ?? ""}-part-${place}`));
  const end = upTo === null ? 0 : plot._fullLayout.xaxis.d2p(upTo);
  PARTS.forEach(([part, more], place) => {
    openings[place].setAttribute("width", Math.max(0, end) + more + MARKER);
    for (const node of plot.querySelectorAll(`.scatterlayer .trace > ${part}`)) {
      if (upTo === null || !node.parentNode.__data__?.[0]?.trace?.meta?.grows) node.removeAttribute("clip-path");
      else node.setAttribute("clip-path", `url(#${openings[place].parentNode.id})`);
    }
  });
}

function makeOpening(id) {
  const make = (name, values, ...children) => {
    const node = document.createElementNS(SPACE, name);
    for (const [key, value] of Object.entries(values)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const opening = make("rect", { x: -MARKER, y: -20, height: 4000 });
  const path = make("clipPath", { id, clipPathUnits: "userSpaceOnUse" }, opening);
  root.append(make("svg", { width: 0, height: 0, "aria-hidden": true }, path));
  return opening;
}

// Asked for often, drawn once a frame; the newest figure wins.
function request() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

async function draw() {
  if (busy || !root.isConnected) return;
  root.style.height = `${Number(prop("height")) || 300}px`;
  plot.setAttribute("aria-label", prop("label"));
  if (!props.figure?.data) { // Gradio does not deliver None in an update, so {} says "none" too
    if (drawn) window.Plotly.purge(plot);
    drawn = false;
    return tell(prop("empty"));
  }
  if (!root.clientWidth) return; // in a hidden tab: the ResizeObserver asks again
  busy = true;
  const figure = props.figure;
  try {
    const Plotly = await loadPlotly(FIRST.plotly || "missing");
    const { data, layout } = dressed(figure);
    tell("");
    await Plotly.react(plot, data, layout, { displayModeBar: false, responsive: false, doubleClick: "reset" });
    state.updates += 1;
    if (!drawn) {
      plot.on("plotly_click", ({ points: [point] }) => trigger("pick", { x: point.x, y: point.y }));
      plot.on("plotly_afterplot", clip);
    }
    drawn = true;
    clip();
  } catch (problem) {
    failed = true;
    console.warn("The chart could not be drawn.", String(problem));
    tell(prop("failed"));
  }
  busy = false;
  if (props.figure !== figure && !failed) request();
  failed = false;
}

let width = 0;
const sizes = new ResizeObserver(() => {
  if (!root.isConnected) return finish();
  if (!root.clientWidth) return;
  if (drawn && lit !== isDark()) return request(); // the page changed its colours while this was hidden
  if (!drawn) return request(); // its figure may have come while this was hidden
  if (root.clientWidth === width) return;
  width = root.clientWidth;
  window.Plotly.Plots.resize(plot).then(request); // once more: a legend of fewer rows is put right only then
});
sizes.observe(root);
const theme = new MutationObserver(() => (root.isConnected ? request() : finish()));
theme.observe(document.body, { attributes: true, attributeFilter: ["class"] });

function finish() {
  sizes.disconnect();
  theme.disconnect();
  if (drawn) window.Plotly.purge(plot);
}

request();
watch(NAMES_OF_PROPS, request);
// Updates sent before the chart was here are lost; now Python can send its figure again.
trigger("ready");
