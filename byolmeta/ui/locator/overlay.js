// ---------------------------------------------------------------- what is drawn over a picture

// Shares of a width and a height as pixels, in the rectangle that the picture has on a canvas.
const across = (x, r) => r.x + x * r.w;
const down = (y, r) => r.y + y * r.h;

// A frame with a dark rim, dashed for what was found and full for what a person drew; a corner says how sure.
function drawBox(brush, at, r, shade, { dashed = false, label = "", crossed = false, thick = 2.5 } = {}) {
  const [left, top, right, bottom] = [across(at[0], r), down(at[1], r), across(at[2], r), down(at[3], r)];
  brush.save();
  brush.lineJoin = "round";
  for (const [style, width] of [["rgba(0,0,0,.75)", thick + 2], [shade, thick]]) {
    brush.strokeStyle = style;
    brush.lineWidth = width;
    brush.setLineDash(dashed ? [7, 4] : []);
    brush.strokeRect(left, top, right - left, bottom - top);
    if (crossed) {
      brush.beginPath();
      brush.moveTo(left, top);
      brush.lineTo(right, bottom);
      brush.stroke();
    }
  }
  if (label) drawLabel(brush, label, left, top, shade, r);
  brush.restore();
}

function drawLabel(brush, text, left, top, shade, r) {
  brush.font = "600 12px system-ui, sans-serif";
  const wide = brush.measureText(text).width + 8;
  const x = Math.min(Math.max(r.x, left), r.x + r.w - wide), y = Math.max(r.y, top - 17);
  brush.setLineDash([]);
  brush.fillStyle = shade;
  brush.fillRect(x, y, wide, 17);
  brush.fillStyle = on(shade);
  brush.textBaseline = "middle";
  brush.fillText(text, x + 4, y + 9);
}

function drawStroke(brush, mark, r, shade) {
  const radius = Math.max(2, mark.radius * Math.max(r.w, r.h));
  brush.save();
  brush.lineCap = brush.lineJoin = "round";
  const line = () => {
    brush.beginPath();
    mark.points.forEach(([x, y], i) => brush[i ? "lineTo" : "moveTo"](across(x, r), down(y, r)));
    if (mark.points.length === 1) brush.lineTo(across(mark.points[0][0], r) + 0.01, down(mark.points[0][1], r));
    brush.stroke();
  };
  brush.globalAlpha = 0.5;
  brush.strokeStyle = shade;
  brush.lineWidth = 2 * radius;
  line();
  brush.globalAlpha = 1;
  brush.strokeStyle = mark.no ? "#000" : "#fff";
  brush.lineWidth = 1.5;
  brush.setLineDash(mark.no ? [2, 4] : []);
  line();
  brush.restore();
}

// ---------------------------------------------------------------- masks

const fetched = new Map(); // url -> Uint8Array, or who waits for one

function bytesOf(url, then) {
  const known = fetched.get(url);
  if (known instanceof Uint8Array) return known;
  if (known) known.push(then); // the stage and a card may wait for the same
  else {
    const waiting = [then];
    fetched.set(url, waiting);
    fetch(url).then((answer) => answer.arrayBuffer()).then((buffer) => {
      fetched.set(url, new Uint8Array(buffer));
      for (const old of [...fetched.keys()].slice(0, Math.max(0, fetched.size - 300))) fetched.delete(old);
      waiting.forEach((each) => each());
    }).catch(() => fetched.delete(url));
  }
  return null;
}

const MARGIN = 0.15; // of a found box's sides, as in search.py
const MARKS = [(x, y) => (x + y) % 8 < 2, (x, y) => (x - y + 8000) % 8 < 2, (x, y) => x % 7 < 2, (x, y) => y % 7 < 2]; // a pattern of its own for each class

// Where each class is surer than the others and than even chances, within its boxes: a tint, a pattern, and a full outline.
function drawMasks(brush, one, r, sure, then) {
  if (!one.masks || !classes.length) return;
  const bytes = bytesOf(one.masks, then);
  if (!bytes) return;
  const { mw, mh } = one, layers = Math.floor(bytes.length / (mw * mh));
  const w = Math.max(1, Math.round(r.w)), h = Math.max(1, Math.round(r.h));
  const planes = [];
  for (let layer = 0; layer < layers; layer += 1) planes.push(enlarged(bytes.subarray(layer * mw * mh, (layer + 1) * mw * mh), mw, mh, w, h));
  const best = new Int8Array(w * h).fill(-1), inside = planes.map((_, layer) => allowed(one, layer, sure, w, h));
  for (let i = 0; i < w * h; i += 1) {
    let top = 127.5;
    for (let layer = 0; layer < layers; layer += 1) {
      if (inside[layer][i] && planes[layer][i] > top) { top = planes[layer][i]; best[i] = layer; }
    }
  }
  const image = new ImageData(w, h), shades = planes.map((_, layer) => COLOURS[foundClass(layer)?.colour ?? 7]);
  for (let y = 0, i = 0; y < h; y += 1) {
    for (let x = 0; x < w; x += 1, i += 1) {
      const layer = best[i];
      if (layer < 0) continue;
      const shade = shades[layer];
      const rim = x === 0 || y === 0 || x === w - 1 || y === h - 1 || best[i - 1] !== layer || best[i + 1] !== layer
        || best[i - w] !== layer || best[i + w] !== layer;
      image.data[4 * i] = parseInt(shade.slice(1, 3), 16);
      image.data[4 * i + 1] = parseInt(shade.slice(3, 5), 16);
      image.data[4 * i + 2] = parseInt(shade.slice(5, 7), 16);
      image.data[4 * i + 3] = rim ? 255 : MARKS[layer % 4](x, y) ? 170 : 70;
    }
  }
  const sheet = new OffscreenCanvas(w, h);
  sheet.getContext("2d").putImageData(image, 0, 0);
  brush.drawImage(sheet, r.x, r.y, r.w, r.h);
}

// Where an outline may lie: in the boxes of its class that are shown, found ones widened as in search.py; drawn ones hold.
function allowed(one, layer, sure, w, h) {
  const inside = new Uint8Array(w * h);
  for (const [left, top, right, bottom, score, cls] of one.boxes) {
    if (cls !== layer || score < sure) continue;
    const part = score === 1 ? 0 : MARGIN, wide = part * (right - left), high = part * (bottom - top);
    const [x0, x1] = [Math.max(0, Math.round((left - wide) * w)), Math.min(w, Math.round((right + wide) * w))];
    const [y0, y1] = [Math.max(0, Math.round((top - high) * h)), Math.min(h, Math.round((bottom + high) * h))];
    for (let y = y0; y < y1; y += 1) inside.fill(1, y * w + x0, y * w + x1);
  }
  return inside;
}

// Bytes of a small grid at more points, bilinearly, as the browser resizes.
function enlarged(bytes, mw, mh, w, h) {
  const small = new ImageData(mw, mh);
  for (let i = 0; i < mw * mh; i += 1) {
    small.data[4 * i] = bytes[i];
    small.data[4 * i + 3] = 255;
  }
  const source = new OffscreenCanvas(mw, mh);
  source.getContext("2d").putImageData(small, 0, 0);
  const target = new OffscreenCanvas(w, h), brush = target.getContext("2d", { willReadFrequently: true });
  brush.imageSmoothingQuality = "high";
  brush.drawImage(source, 0, 0, w, h);
  const data = brush.getImageData(0, 0, w, h).data, found = new Uint8Array(w * h);
  for (let i = 0; i < w * h; i += 1) found[i] = data[4 * i];
  return found;
}

const percent = (score) => `${Math.round(100 * score)} %`;

// What was found on a picture and is sure enough: masks below, frames above. One that a person drew says what it is itself.
function drawFound(brush, one, r, then, labels = true) {
  drawMasks(brush, one, r, memory.sure, then);
  for (const [left, top, right, bottom, score, cls] of one.boxes) {
    if (score < memory.sure) continue;
    const kind = foundClass(cls);
    const name = classes.length > 1 && kind ? `${kind.name} ` : "";
    drawBox(brush, [left, top, right, bottom], r, COLOURS[kind?.colour ?? 7], {
      dashed: true, label: labels && score < 1 ? name + percent(score) : "", thick: labels ? 2.5 : 2,
    });
  }
}
