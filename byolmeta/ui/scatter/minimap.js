// A small view of everything in the corner, while one is close.

const mini = find(".mini");
const miniPen = mini.getContext("2d");
const MINI = 116; // pixels across
let miniDots = null; // {key, image}: the dots as they were drawn last

// Whether something of the map lies outside the view.
function closeUp() {
  return map && !compact() && !narrow() && camera.scale > home().scale * 1.2;
}

const miniScale = () => (MINI / 2 - 5) / Math.max(...map.half);

function drawMini() {
  mini.hidden = !closeUp();
  if (mini.hidden) return;
  const pixels = Math.round(MINI * ratio);
  if (mini.width !== pixels) mini.width = mini.height = pixels;
  miniPen.setTransform(1, 0, 0, 1, 0, 0);
  miniPen.clearRect(0, 0, pixels, pixels);
  miniPen.putImageData(dotsOfMini(pixels), 0, 0);
  miniPen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const scale = miniScale();
  const wide = width / camera.scale * scale, high = height / camera.scale * scale;
  const left = MINI / 2 + camera.x * scale - wide / 2, top = MINI / 2 - camera.y * scale - high / 2;
  miniPen.fillStyle = miniPen.strokeStyle = accent;
  miniPen.lineWidth = 1.5;
  miniPen.globalAlpha = 0.14;
  miniPen.fillRect(left, top, wide, high);
  miniPen.globalAlpha = 1;
  miniPen.strokeRect(left, top, wide, high);
}

// Made anew only when points, colours or marks are others.
function dotsOfMini(pixels) {
  const mix = mixNow();
  const old = miniDots;
  if (old && old.map === map && old.to === map.to && old.mix === mix && old.codes === codes && old.marks === marks
    && old.palette === palette && old.image.width === pixels) return old.image;
  const image = new ImageData(pixels, pixels);
  const dots = new Uint32Array(image.data.buffer);
  const scale = miniScale() * ratio, dot = Math.max(1, Math.round((map.n > 3000 ? 1 : 2) * ratio));
  const faded = pales();
  for (const point of map.order) {
    const code = codes[point];
    const pale = palette[4 * code + 3] < 128 || (faded && !marks[point]);
    const colour = palette[4 * code] | palette[4 * code + 1] << 8 | palette[4 * code + 2] << 16
      | (pale ? 0x40 : 0xff) << 24;
    const x = Math.round(pixels / 2 + whereX(point, mix) * scale);
    const y = Math.round(pixels / 2 - whereY(point, mix) * scale);
    for (let right = 0; right < dot; right++) for (let down = 0; down < dot; down++) {
      dots[(y + down) * pixels + x + right] = colour;
    }
  }
  miniDots = { map, to: map.to, mix, codes, marks, palette, image };
  return image;
}

function lookByMini(event, jump) {
  const box = mini.getBoundingClientRect();
  const x = (event.clientX - box.left - MINI / 2) / miniScale(), y = (MINI / 2 + box.top - event.clientY) / miniScale();
  look({ x, y, scale: goal.scale }, { jump });
}

on(mini, "pointerdown", (event) => {
  if (event.button) return;
  mini.setPointerCapture(event.pointerId);
  lookByMini(event, false);
});
on(mini, "pointermove", (event) => { if (mini.hasPointerCapture(event.pointerId)) lookByMini(event, true); });
