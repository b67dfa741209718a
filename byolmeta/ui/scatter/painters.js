// Draws dots and pictures. Two painters with one face: WebGL2, and canvas 2-D where no graphics card is.
//
//   resize(width, height, ratio)      CSS pixels and device pixels per CSS pixel
//   layout(order, codes, from, to)    order: point numbers, first drawn first; positions: x, y in -1..1
//   move(from, to)                    other positions of the same points
//   recolour(codes), select(flags, any), palette(bytes)     bytes: 256 x rgba, alpha = emphasis
//                                     flags: 0 plain, 1 selected, 2 lit; any: the plain ones are pale
//   draw(frame)                       {camera, mix, dot, pictures: [{point, id, x, y, size, alpha, pale}], dimmed}
//   forget()                          other pictures: drop what was cached of the old ones
//   dispose()

const SHAPES = 4; // circle, square, diamond, triangle: a second cue beside the colour
const shapeOf = (code) => (code + (code >> 3)) % SHAPES;

const rimOf = (dot) => Math.min(1, Math.max(0.25, (dot - 2) / 3)); // pixels around a dot that set it off

// ---- sprite sheets: loaded when wanted, four at a time, the last wanted first

class Sheets {
  constructor(pictures, arrived) {
    this.pictures = pictures;
    this.arrived = arrived;
    this.images = new Map(); // sheet number -> ready image, oldest use first
    this.wanted = [];
    this.busy = new Set();
    this.failed = new Set();
    this.loading = 0;
    this.closed = false;
  }

  sheetOf(id) { return Math.floor(id / this.pictures.per_sheet); }

  // Where picture `id` lies on its sheet, in sheet pixels.
  corner(id) {
    const { tile, columns, per_sheet } = this.pictures;
    const place = id % per_sheet;
    return [(place % columns) * tile, Math.floor(place / columns) * tile];
  }

  url(sheet) { return new URL(this.pictures.sheets[sheet], document.baseURI).href; }

  // The ready image of a sheet, or null; then it is asked for.
  get(sheet) {
    const image = this.images.get(sheet);
    if (image) {
      this.images.delete(sheet);
      this.images.set(sheet, image);
      return image;
    }
    if (!this.pictures.sheets[sheet] || this.failed.has(sheet)) return null;
    if (!this.wanted.includes(sheet)) this.wanted.push(sheet);
    this.next();
    return null;
  }

  next() {
    const sheet = this.wanted.findLast((number) => !this.busy.has(number));
    if (sheet === undefined || this.loading >= 4 || this.closed) return;
    this.busy.add(sheet);
    this.loading += 1;
    const image = new Image();
    const done = (ready) => {
      this.loading -= 1;
      this.busy.delete(sheet);
      this.wanted = this.wanted.filter((number) => number !== sheet);
      if (this.closed) return;
      if (ready) this.images.set(sheet, image);
      else this.failed.add(sheet);
      if (this.images.size > 48) this.images.delete(this.images.keys().next().value);
      this.arrived();
      this.next();
    };
    image.src = this.url(sheet);
    image.decode().then(() => done(true), () => done(false));
    this.next();
  }

  close() { this.closed = true; }
}

// ---- WebGL2

const DOT_VERTEX = `#version 300 es
in vec2 a_from; in vec2 a_to; in float a_code; in float a_flag;
uniform vec4 u_camera; uniform float u_mix, u_size, u_any, u_bright, u_ratio; // u_ratio: width of the rim
uniform sampler2D u_palette;
out vec4 v_colour; out float v_size; flat out int v_shape; flat out float v_ring;
void main() {
  vec4 colour = texelFetch(u_palette, ivec2(int(a_code), 0), 0);
  bool bright = colour.a > .5 && (u_any < .5 || a_flag > .5);
  v_ring = a_flag == 1. ? 1. : 0.;
  v_colour = vec4(colour.rgb, colour.a * (u_any > .5 && a_flag < .5 ? .3 : 1.));
  v_shape = (int(a_code) + (int(a_code) >> 3)) % 4;
  if (a_code > 254.) v_shape = 0;
  v_size = u_size * (a_flag > .5 ? 1.35 : bright ? 1. : .8) + 2. * u_ratio;
  gl_PointSize = v_size;
  vec2 place = (mix(a_from, a_to, u_mix) - u_camera.xy) * u_camera.zw;
  gl_Position = bright == (u_bright > .5) ? vec4(place, 0., 1.) : vec4(9., 9., 9., 1.);
}`;

const DOT_FRAGMENT = `#version 300 es
precision highp float;
in vec4 v_colour; in float v_size; flat in int v_shape; flat in float v_ring;
uniform vec3 u_ground, u_ink; uniform float u_ratio;
out vec4 colour;
void main() {
  vec2 p = (gl_PointCoord - .5) * v_size;
  float half_size = .5 * v_size - u_ratio, d;
  if (v_shape == 0) d = length(p);
  else if (v_shape == 1) d = max(abs(p.x), abs(p.y)) * 1.12;
  else if (v_shape == 2) d = (abs(p.x) + abs(p.y)) * .82;
  else d = max(abs(p.x) * .9 - p.y * .5, p.y * 1.05) * 1.2 + .06 * half_size;
  float inside = clamp(half_size - d + .5, 0., 1.), all = clamp(half_size + u_ratio - d + .5, 0., 1.);
  vec3 rim = v_ring > .5 ? u_ink : u_ground;
  colour = vec4(mix(rim, v_colour.rgb, inside), 1.) * all * v_colour.a;
}`;

const TILE_VERTEX = `#version 300 es
in vec2 a_corner; in vec2 a_centre; in float a_size; in float a_alpha; in vec2 a_slot; in float a_code;
in float a_flag;
uniform vec4 u_camera; uniform vec2 u_pixel; uniform sampler2D u_palette;
out vec2 v_at; out vec4 v_colour; flat out float v_size; flat out vec2 v_slot; flat out float v_flag;
void main() {
  vec4 colour = texelFetch(u_palette, ivec2(int(a_code), 0), 0);
  v_colour = vec4(colour.rgb, a_alpha);
  v_at = a_corner * a_size; v_size = a_size; v_slot = a_slot; v_flag = a_flag;
  vec2 place = (a_centre - u_camera.xy) * u_camera.zw;
  gl_Position = vec4(place + vec2(a_corner.x - .5, .5 - a_corner.y) * a_size * u_pixel, 0., 1.);
}`;

const TILE_FRAGMENT = `#version 300 es
precision highp float;
in vec2 v_at; in vec4 v_colour; flat in float v_size; flat in vec2 v_slot; flat in float v_flag;
uniform sampler2D u_atlas; uniform float u_slot, u_inset, u_ratio; uniform vec3 u_ground, u_ink;
out vec4 colour;
void main() {
  float border = (v_size > 30. * u_ratio ? 2. : 1.5) * u_ratio + (v_flag == 1. ? u_ratio : 0.), radius = 4.5 * u_ratio;
  vec2 q = abs(v_at - .5 * v_size) - (.5 * v_size - radius);
  float d = length(max(q, 0.)) + min(max(q.x, q.y), 0.) - radius;
  vec2 uv = clamp((v_at - border) / (v_size - 2. * border), 0., 1.);
  vec3 picture = texture(u_atlas, v_slot + u_inset + uv * (u_slot - 2. * u_inset)).rgb;
  vec3 frame = v_flag == 1. && d > -1.2 * u_ratio ? u_ink : v_colour.rgb;
  float cover = clamp(.5 - d, 0., 1.), edge = clamp(d + border + .5, 0., 1.);
  vec3 all = mix(mix(picture, frame, edge), u_ground, v_flag == 2. ? .74 : 0.);
  colour = vec4(all, 1.) * cover * v_colour.a;
}`;

// True when WebGL would be worked out by the processor: then the other painter is faster.
function softwareOnly() {
  if (window.__byolmetaSoftware === undefined) {
    const gl = document.createElement("canvas").getContext("webgl2");
    const info = gl?.getExtension("WEBGL_debug_renderer_info");
    const name = gl ? String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER)) : "software";
    window.__byolmetaSoftware = /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
    gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
  return window.__byolmetaSoftware;
}

class GlPainter {
  constructor(canvas, onLost, onRestored) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: false, depth: false });
    if (!this.gl) throw new Error("this browser has no WebGL2");
    this.lost = (event) => { event.preventDefault(); this.dead = true; onLost(); };
    this.restored = () => { this.dead = false; this.build(); onRestored(); };
    canvas.addEventListener("webglcontextlost", this.lost);
    canvas.addEventListener("webglcontextrestored", this.restored);
    this.build();
  }

  build() {
    const gl = this.gl;
    this.dots = this.program(DOT_VERTEX, DOT_FRAGMENT);
    this.tiles = this.program(TILE_VERTEX, TILE_FRAGMENT);
    this.buffers = {};
    for (const name of ["from", "to", "codes", "flags", "order", "corner", "tiles"]) {
      this.buffers[name] = gl.createBuffer();
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.corner);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]), gl.STATIC_DRAW);
    this.dotArray = gl.createVertexArray();
    this.tileArray = gl.createVertexArray();
    this.attributes();
    this.colours = this.texture(gl.NEAREST, gl.NEAREST);
    this.atlas = null;
    this.slots = new Map();
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.count = 0;
    this.tileBytes = new Float32Array(0);
  }

  program(vertex, fragment) {
    const gl = this.gl;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(gl.getProgramInfoLog(program));
    }
    return new Proxy({ program }, {
      // dots.u_mix is the place of that uniform
      get: (known, name) => (known[name] ??= gl.getUniformLocation(program, name)),
    });
  }

  texture(small, large) {
    const gl = this.gl;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, small);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, large);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    return texture;
  }

  attributes() {
    const gl = this.gl;
    const point = (program, name, buffer, size, type, stride, offset, each) => {
      const place = gl.getAttribLocation(program.program, name);
      if (place < 0) return;
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, size, type, false, stride, offset);
      gl.vertexAttribDivisor(place, each);
    };
    gl.bindVertexArray(this.dotArray);
    point(this.dots, "a_from", this.buffers.from, 2, gl.FLOAT, 0, 0, 0);
    point(this.dots, "a_to", this.buffers.to, 2, gl.FLOAT, 0, 0, 0);
    point(this.dots, "a_code", this.buffers.codes, 1, gl.UNSIGNED_BYTE, 0, 0, 0);
    point(this.dots, "a_flag", this.buffers.flags, 1, gl.UNSIGNED_BYTE, 0, 0, 0);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.order);
    gl.bindVertexArray(this.tileArray);
    point(this.tiles, "a_corner", this.buffers.corner, 2, gl.FLOAT, 0, 0, 0);
    let offset = 0;
    for (const [name, size] of [["a_centre", 2], ["a_size", 1], ["a_alpha", 1], ["a_slot", 2], ["a_code", 1],
      ["a_flag", 1]]) {
      point(this.tiles, name, this.buffers.tiles, size, gl.FLOAT, 32, offset, 1);
      offset += 4 * size;
    }
    gl.bindVertexArray(null);
  }

  fill(name, data) {
    const gl = this.gl;
    gl.bindVertexArray(null);
    const target = name === "order" ? gl.ELEMENT_ARRAY_BUFFER : gl.ARRAY_BUFFER;
    gl.bindBuffer(target, this.buffers[name]);
    gl.bufferData(target, data, gl.DYNAMIC_DRAW);
  }

  resize(width, height, ratio) {
    this.width = width;
    this.height = height;
    this.ratio = ratio;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
  }

  layout(order, codes, from, to) {
    this.count = order.length;
    this.fill("order", order);
    this.move(from, to);
    this.recolour(codes);
  }

  move(from, to) {
    this.fill("from", from);
    this.fill("to", to);
  }

  recolour(codes) { this.codes = codes; this.fill("codes", codes); }

  select(flags, any) { this.flags = flags; this.any = any; this.fill("flags", flags); }

  palette(bytes) {
    const gl = this.gl;
    gl.bindTexture(gl.TEXTURE_2D, this.colours);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
  }

  // A texture with room for some hundred pictures; the least recently drawn one makes way.
  makeAtlas(tile, number) {
    const gl = this.gl;
    const most = Math.min(gl.getParameter(gl.MAX_TEXTURE_SIZE), 4096);
    this.tile = tile;
    this.side = Math.min(most, number > Math.floor(2048 / tile) ** 2 ? 4096 : 2048);
    this.across = Math.floor(this.side / tile);
    this.atlas = this.texture(gl.LINEAR_MIPMAP_LINEAR, gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAX_LEVEL, 3);
    gl.texStorage2D(gl.TEXTURE_2D, 4, gl.RGBA8, this.side, this.side);
    this.slots = new Map(); // picture id -> slot, least recently drawn first
    this.free = Array.from({ length: this.across ** 2 }, (_, slot) => slot).reverse();
    this.scratch = document.createElement("canvas");
    this.scratch.width = this.scratch.height = tile;
    this.pen = this.scratch.getContext("2d", { willReadFrequently: true });
  }

  slotOf(id, sheets) {
    const known = this.slots.get(id);
    if (known !== undefined) {
      this.slots.delete(id);
      this.slots.set(id, known);
      return known;
    }
    if (this.budget <= 0) { this.behind = true; return -1; }
    const image = sheets.get(sheets.sheetOf(id));
    if (!image) return -1;
    const gl = this.gl;
    let slot = this.free.pop();
    if (slot === undefined) {
      const oldest = this.slots.keys().next().value;
      slot = this.slots.get(oldest);
      this.slots.delete(oldest);
    }
    const [x, y] = sheets.corner(id);
    this.pen.drawImage(image, x, y, this.tile, this.tile, 0, 0, this.tile, this.tile);
    const bytes = this.pen.getImageData(0, 0, this.tile, this.tile).data;
    const column = slot % this.across, row = Math.floor(slot / this.across);
    gl.bindTexture(gl.TEXTURE_2D, this.atlas);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, column * this.tile, row * this.tile, this.tile, this.tile, gl.RGBA,
      gl.UNSIGNED_BYTE, new Uint8Array(bytes.buffer));
    this.slots.set(id, slot);
    this.budget -= 1;
    this.stale = true;
    return slot;
  }

  // Asks for what a coming frame shows; true when all that has arrived is on the card.
  prepare(ids, sheets, total) {
    if (this.dead || !sheets) return true;
    if (!this.atlas) this.makeAtlas(sheets.pictures.tile, total);
    this.budget = 96;
    this.behind = false;
    for (const id of ids.slice(0, this.across ** 2)) this.slotOf(id, sheets);
    if (this.stale) {
      this.gl.bindTexture(this.gl.TEXTURE_2D, this.atlas);
      this.gl.generateMipmap(this.gl.TEXTURE_2D);
      this.stale = false;
    }
    return !this.behind;
  }

  has(id) { return this.slots.has(id); }

  draw({ camera, mix, dot, pictures, dimmed, ground, ink }) {
    if (this.dead) return;
    const gl = this.gl;
    const ratio = this.ratio;
    const view = [camera.x, camera.y, 2 * camera.scale / this.width, 2 * camera.scale / this.height];
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.colours);
    if (this.count) {
      gl.useProgram(this.dots.program);
      gl.uniform4fv(this.dots.u_camera, view);
      gl.uniform1f(this.dots.u_mix, mix);
      gl.uniform1f(this.dots.u_size, dot * ratio);
      gl.uniform1f(this.dots.u_ratio, ratio * rimOf(dot));
      gl.uniform1f(this.dots.u_any, this.any ? 1 : 0);
      gl.uniform1i(this.dots.u_palette, 0);
      gl.uniform3fv(this.dots.u_ground, ground);
      gl.uniform3fv(this.dots.u_ink, ink);
      gl.bindVertexArray(this.dotArray);
      for (const bright of dimmed || this.any ? [0, 1] : [1]) {
        gl.uniform1f(this.dots.u_bright, bright);
        gl.drawElements(gl.POINTS, this.count, gl.UNSIGNED_INT, 0);
      }
    }
    const shown = this.atlas ? pictures.filter((picture) => this.slots.has(picture.id)) : [];
    if (!shown.length) return;
    if (this.tileBytes.length < shown.length * 8) this.tileBytes = new Float32Array(shown.length * 16);
    const data = this.tileBytes;
    let at = 0;
    for (const { point, id, x, y, size, alpha, pale } of shown) {
      const slot = this.slots.get(id);
      data[at++] = x;
      data[at++] = y;
      data[at++] = size * ratio;
      data[at++] = alpha;
      data[at++] = (slot % this.across) * this.tile / this.side;
      data[at++] = Math.floor(slot / this.across) * this.tile / this.side;
      data[at++] = this.codes[point];
      data[at++] = pale ? 2 : this.flags[point] === 1 ? 1 : 0; // 1: chosen, 2: paled towards the ground
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.tiles);
    gl.bufferData(gl.ARRAY_BUFFER, data.subarray(0, at), gl.DYNAMIC_DRAW);
    gl.useProgram(this.tiles.program);
    gl.uniform4fv(this.tiles.u_camera, view);
    gl.uniform2f(this.tiles.u_pixel, 2 / this.canvas.width, 2 / this.canvas.height);
    gl.uniform1f(this.tiles.u_slot, this.tile / this.side);
    gl.uniform1f(this.tiles.u_inset, 0.75 / this.side);
    gl.uniform1f(this.tiles.u_ratio, ratio);
    gl.uniform3fv(this.tiles.u_ground, ground);
    gl.uniform3fv(this.tiles.u_ink, ink);
    gl.uniform1i(this.tiles.u_palette, 0);
    gl.uniform1i(this.tiles.u_atlas, 1);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, this.atlas);
    gl.bindVertexArray(this.tileArray);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, shown.length);
    gl.bindVertexArray(null);
    gl.activeTexture(gl.TEXTURE0);
  }

  forget() {
    if (this.atlas && !this.dead) this.gl.deleteTexture(this.atlas);
    this.atlas = null;
    this.slots = new Map();
    this.count = 0;
  }

  dispose() {
    this.canvas.removeEventListener("webglcontextlost", this.lost);
    this.canvas.removeEventListener("webglcontextrestored", this.restored);
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

// ---- canvas 2-D

// The same without a graphics card, where it is also the faster one: dots are stamped into the pixels.
class FlatPainter {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.order = new Uint32Array(0);
  }

  resize(width, height, ratio) {
    Object.assign(this, { width, height, ratio });
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    this.image = this.pen.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  layout(order, codes, from, to) { Object.assign(this, { order, codes, from, to }); }
  move(from, to) { Object.assign(this, { from, to }); }
  recolour(codes) { this.codes = codes; }
  select(flags, any) { Object.assign(this, { flags, any }); }
  palette(bytes) { this.bytes = bytes.slice(); }

  prepare(ids, sheets) {
    if (!sheets) return true;
    this.sheets = sheets;
    for (const id of ids) sheets.get(sheets.sheetOf(id));
    return true;
  }

  has(id) { return Boolean(this.sheets?.images.has(this.sheets.sheetOf(id))); }

  colour(code) { const at = 4 * code; return `rgb(${this.bytes.subarray(at, at + 3).join(" ")})`; }

  draw({ camera, mix, dot, pictures, dimmed, ground, ink }) {
    const { pen, width, height } = this;
    this.pixels.fill(0);
    const stamps = new Map();
    for (const bright of dimmed || this.any ? [false, true] : [true]) {
      this.drawDots(camera, mix, dot, bright, dimmed || this.any, stamps, ground, ink);
    }
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.putImageData(this.image, 0, 0);
    for (const picture of pictures) {
      if (!this.has(picture.id)) continue;
      const x = (picture.x - camera.x) * camera.scale + width / 2;
      const y = height / 2 - (picture.y - camera.y) * camera.scale;
      this.picture(picture, x, y, ground, ink);
    }
    pen.globalAlpha = 1;
  }

  drawDots(camera, mix, dot, bright, sorted, stamps, ground, ink) {
    const { order, codes, flags, from, to, bytes, any } = this;
    const scale = camera.scale * this.ratio;
    const left = this.canvas.width / 2 - camera.x * scale, top = this.canvas.height / 2 + camera.y * scale;
    const right = this.canvas.width, bottom = this.canvas.height;
    for (let at = 0; at < order.length; at++) {
      const point = order[at];
      const code = codes[point];
      const flag = flags[point];
      if (sorted && (bytes[4 * code + 3] > 127 && (!any || flag > 0)) !== bright) continue;
      const fromX = from[2 * point], fromY = from[2 * point + 1];
      const x = Math.round(left + (fromX + (to[2 * point] - fromX) * mix) * scale);
      const y = Math.round(top - (fromY + (to[2 * point + 1] - fromY) * mix) * scale);
      if (x < 0 || y < 0 || x >= right || y >= bottom) continue;
      const kind = code * 3 + flag;
      let stamp = stamps.get(kind);
      if (!stamp) {
        stamp = this.stamp(code, flag, dot * (flag ? 1.35 : bright ? 1 : 0.8), ground, ink);
        stamps.set(kind, stamp);
      }
      this.press(stamp, x, y, right, bottom);
    }
  }

  // One dot as pixels, four numbers each: offsets, colour (abgr without alpha) and opacity in 0..256.
  stamp(code, flag, dot, ground, ink) {
    const radius = dot * this.ratio / 2, edge = this.ratio * rimOf(dot), reach = Math.ceil(radius + edge);
    const rim = flag === 1 ? ink : ground;
    const strength = this.bytes[4 * code + 3] / 255 * (this.any && !flag ? 0.3 : 1);
    const shape = code === 255 ? 0 : shapeOf(code);
    const list = [];
    for (let y = -reach; y <= reach; y++) {
      for (let x = -reach; x <= reach; x++) {
        let far = Math.hypot(x, y);
        if (shape === 1) far = Math.max(Math.abs(x), Math.abs(y)) * 1.12;
        else if (shape === 2) far = (Math.abs(x) + Math.abs(y)) * 0.82;
        else if (shape === 3) far = Math.max(Math.abs(x) * 0.9 - y * 0.5, y * 1.05) * 1.2 + 0.06 * radius;
        const inside = Math.min(1, Math.max(0, radius - far + 0.5));
        const all = Math.min(1, Math.max(0, radius + edge - far + 0.5));
        if (all * strength < 0.04) continue;
        const [red, green, blue] = [0, 1, 2].map((part) =>
          Math.round(255 * rim[part] * (1 - inside) + this.bytes[4 * code + part] * inside));
        list.push(x, y, (blue << 16) | (green << 8) | red, Math.round(256 * all * strength));
      }
    }
    return Int32Array.from(list);
  }

  press(stamp, x, y, right, bottom) {
    const pixels = this.pixels;
    for (let part = 0; part < stamp.length; part += 4) {
      const px = x + stamp[part], py = y + stamp[part + 1], colour = stamp[part + 2], cover = stamp[part + 3];
      if (px < 0 || py < 0 || px >= right || py >= bottom) continue;
      const at = py * right + px;
      const under = pixels[at];
      if (cover > 250) pixels[at] = colour | 0xff000000;
      else if (!under) pixels[at] = colour | (Math.min(255, cover) << 24);
      else {
        const left = 256 - cover;
        const even = ((colour & 0xff00ff) * cover + (under & 0xff00ff) * left) >>> 8 & 0xff00ff;
        const odd = ((colour & 0xff00) * cover + (under & 0xff00) * left) >>> 8 & 0xff00;
        const alpha = under >>> 24;
        pixels[at] = even | odd | (alpha + ((255 - alpha) * cover >> 8)) << 24;
      }
    }
  }

  picture({ point, id, size, alpha, pale }, x, y, ground, ink) {
    const { pen, sheets } = this;
    const chosen = this.flags[point] === 1;
    const rgb = (colour) => `rgb(${colour.map((part) => Math.round(255 * part)).join(" ")})`;
    const border = (size > 30 ? 2 : 1.5) + (chosen ? 1 : 0);
    const tile = sheets.pictures.tile;
    const [left, top] = sheets.corner(id);
    const side = size - 2 * border;
    pen.globalAlpha = alpha;
    pen.fillStyle = this.colour(this.codes[point]);
    pen.beginPath();
    pen.roundRect(x - size / 2, y - size / 2, size, size, 4.5);
    pen.fill();
    pen.drawImage(sheets.images.get(sheets.sheetOf(id)), left, top, tile, tile, x - side / 2, y - side / 2, side,
      side);
    if (pale) {
      pen.globalAlpha = 0.74 * alpha;
      pen.fillStyle = rgb(ground);
      pen.fill();
    }
    if (!chosen) return;
    pen.lineWidth = 1.2;
    pen.strokeStyle = rgb(ink);
    pen.stroke();
  }

  forget() { this.order = new Uint32Array(0); this.sheets = null; }
  dispose() {}
}
