// A Plotly chart that is updated in place: Plotly.react keeps zoom and lets lines grow, where a remount would not.
const box = element.querySelector(".bm-chart");
const note = element.querySelector(".bm-chart-note");
let drawn = false;

function colour(name, fallback) {
  return getComputedStyle(document.body).getPropertyValue(name).trim() || fallback;
}

function plotly() {
  // One copy for all charts of the page, fetched when the first one has something to show.
  if (window.Plotly) return Promise.resolve();
  window.bmPlotly ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = FIXED.source;
    script.onload = done;
    script.onerror = () => { window.bmPlotly = null; failed(); };
    document.head.append(script);
  });
  return window.bmPlotly;
}

function themed(layout) {
  const ink = colour("--body-text-color", "#222"), line = colour("--border-color-primary", "#ddd");
  const axis = (own) => ({ gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true, ...own });
  return {
    ...layout, autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: ink },
    hoverlabel: { bgcolor: colour("--block-background-fill", "#fff"), font: { color: ink } },
    xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis), uirevision: "kept",
  };
}

async function draw() {
  const figure = props.figure;
  note.hidden = !!figure;
  box.hidden = !figure;
  note.textContent = FIXED.empty;
  box.setAttribute("aria-label", FIXED.label);
  if (!figure) return;
  try {
    await plotly();
  } catch {
    note.hidden = false;
    note.textContent = "The chart could not be loaded.";
    return;
  }
  if (!box.isConnected || figure !== props.figure || !box.clientWidth) return;
  await window.Plotly.react(box, figure.data, themed(figure.layout), { displayModeBar: false, responsive: false });
  drawn = true;
}

watch(["figure"], draw);
const sized = new ResizeObserver(() => {
  if (!box.isConnected) return sized.disconnect();
  if (!box.clientWidth || !props.figure) return;
  if (drawn) window.Plotly.Plots.resize(box); else draw();
});
sized.observe(element);
new MutationObserver(() => drawn && props.figure && draw()).observe(document.body, { attributeFilter: ["class"] });
draw();
