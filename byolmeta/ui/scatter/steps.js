// An adaptation played step by step beside the map (ui/player): where the map is coloured by the task, its colours are
// those of the step, and pictures that have just changed their box get a ring for a moment.

const RING_MS = 900;
const MOST_RINGS = 2000;

let step = null; // detail of the event that came last
let rung = 0; // ms when its rings began

on(window, "byolmeta-step", ({ detail }) => {
  const coloured = props.colours?.boxes?.length > 0;
  step = detail;
  rung = stage.getClientRects().length && !compact() ? performance.now() : -Infinity; // a hidden map draws no frames for it
  if (map && coloured) group();
  request();
});

// The colour codes of the points after the step; pictures that it says nothing about keep theirs.
function codesOfStep(colouring) {
  if (!step || !colouring.boxes?.length) return;
  const places = step.box_ids.map((id) => colouring.boxes.indexOf(id));
  for (let point = 0; point < codes.length; point++) {
    const place = places[step.labels[idOf(point)]];
    if (place !== undefined) codes[point] = place < 0 ? GREY : place;
  }
}

// How strongly the rings are seen, 0..1; without motion they stay until the next step.
const ringing = () => (!step?.flipped.length || rung < 0 ? 0 : calm.matches ? 1
  : clamp(1 - (performance.now() - rung) / RING_MS, 0, 1));

const ringed = () => {
  const points = step ? step.flipped.slice(0, MOST_RINGS).map(pointOf).filter((point) => point >= 0) : [];
  return map.twin ? points.flatMap((point) => [point, partner(point)]) : points;
};

function drawRings() {
  const mix = mixNow(), strength = ringing();
  if (!strength) return;
  for (const [colour, line, alpha] of [[paper, 5, 0.8], [body, 2.5, 1]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = line;
    pen.globalAlpha = alpha * Math.min(1, 2 * strength);
    for (const point of ringed()) {
      const x = screenX(whereX(point, mix)), y = screenY(whereY(point, mix));
      const reach = (shown.has(point) ? size / 2 : dotSize()) + 2;
      if (x < -reach || y < -reach || x > width + reach || y > height + reach) continue;
      pen.beginPath();
      if (shown.has(point)) pen.roundRect(x - reach, y - reach, 2 * reach, 2 * reach, 7);
      else pen.arc(x, y, reach, 0, 7);
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
}
