/* The picture: points as pixels written into an image, which software drawing does in some milliseconds for 52,000 of
   them; above it a second canvas with labels, the lasso and rings. */

const stage = byId("stage");
const pictureContext = byId("points-picture").getContext("2d");
const labelContext = byId("labels-picture").getContext("2d");

/** How the points look now, filled by recolour: a look is a class of the scheme, or the last one, faded. */
let scheme = null;
let lookOf = new Uint8Array(points.count);
let drawOrder = new Uint32Array(points.count);
let pixels = new Uint32Array(0);
let focused = false; // whether some points are faded; then the others are drawn stronger
let sprites = { diameter: 0, looks: [] };
let theme = {};

/** The image is wider than the stage by a margin, so that shapes at its edge need no clipping. */
const MARGIN = 48;
let image = null;
let buffer = null;
let density = 1;

const picture = { polygon: null, ringed: -1 };

function resize() {
  const box = stage.getBoundingClientRect();
  if (box.width < 1 || box.height < 1) return;
  density = Math.min(devicePixelRatio || 1, 2);
  measureStage(box.width, box.height);
  for (const context of [pictureContext, labelContext]) {
    context.canvas.width = Math.round(box.width * density);
    context.canvas.height = Math.round(box.height * density);
  }
  image = new ImageData(pictureContext.canvas.width + 2 * MARGIN, pictureContext.canvas.height + 2 * MARGIN);
  buffer = new Uint32Array(image.data.buffer);
  sprites.diameter = 0;
  requestDraw();
}

/** Take the colours of the chosen scheme, fade what was not found or not selected, and draw later classes above. */
function recolour() {
  const faded = scheme.classes.length;
  const starts = new Uint32Array(faded + 2);
  const levelOf = (look) => (look === faded ? 0 : look + 1);
  const chosen = state.selection.length > 0;
  for (let i = 0; i < points.count; i++) {
    lookOf[i] = isShown(i) && (!chosen || state.selected[i]) ? scheme.classOf[i] : faded;
    starts[levelOf(lookOf[i]) + 1]++;
  }
  focused = starts[1] > 0;
  for (let level = 0; level <= faded; level++) starts[level + 1] += starts[level];
  for (let i = 0; i < points.count; i++) drawOrder[starts[levelOf(lookOf[i])]++] = i;
  const colourOf = ({ colour }) => pixel(focused && colour === GREY ? STRONG_GREY : colour);
  pixels = Uint32Array.from([...scheme.classes.map(colourOf), pixel(FADED)]);
  sprites.diameter = 0;
  requestDraw();
}

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  theme = { ink: style.getPropertyValue("--ink"), ground: style.getPropertyValue("--map"), font: style.fontFamily };
}

/** Give the points' diameter in pixels of the image: smaller where there are many, growing as one zooms in. */
function diameterNow() {
  const room = Math.sqrt((Math.min(view.width, view.height) ** 2 * 0.1) / Math.max(points.count, 1));
  const zoom = Math.max(view.scale / view.whole, 1);
  const least = 2 / density; // two pixels of the screen
  return Math.round(Math.min(Math.min(Math.max(room, least), 8) * zoom ** 0.4, 12) * density);
}

/** Turn each look's shape into distances within the image's numbers. */
function prepareSprites() {
  const diameter = diameterNow();
  if (sprites.diameter === diameter) return;
  const flat = (shape, size) => Int32Array.from(shapePixels(shape, size), ([dx, dy]) => dy * image.width + dx);
  const sizeOf = ({ grow = 0 }) => Math.round(diameter * (1 + grow / 4) + grow * density) + Number(focused);
  const looks = scheme.classes.map((one) => flat(one.shape, sizeOf(one)));
  sprites = { diameter, looks: [...looks, flat("disc", Math.max(diameter - 1, 2))] };
}

function drawPoints() {
  buffer.fill(0);
  prepareSprites();
  const scale = view.scale * density;
  const left = view.left * density + MARGIN;
  const top = view.top * density + MARGIN;
  const [width, height] = [image.width, image.height];
  const edge = MARGIN / 2; // no shape is wider than twice this
  const [right, bottom] = [width - edge, height - edge];
  const { x: xs, y: ys } = points;
  for (let at = 0; at < drawOrder.length; at++) {
    const i = drawOrder[at];
    const x = xs[i] * scale + left;
    const y = ys[i] * scale + top;
    if (x < edge || y < edge || x >= right || y >= bottom) continue;
    const base = (y | 0) * width + (x | 0);
    const shape = sprites.looks[lookOf[i]];
    const colour = pixels[lookOf[i]];
    for (let j = 0; j < shape.length; j++) buffer[base + shape[j]] = colour;
  }
  pictureContext.putImageData(image, -MARGIN, -MARGIN);
}

function drawLabels() {
  const context = labelContext;
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, view.width, view.height);
  drawClusterNames(context);
  for (const point of [picture.ringed, state.open]) if (point >= 0) drawRing(context, point);
  if (picture.polygon) drawLasso(context);
}

/** Write the clusters' first words, large clusters first, where they overlap nothing: at the first place near the middle
    where they hide no point, or, in a crowd, above it. */
function drawClusterNames(context) {
  const taken = thingsOnStage();
  const size = view.width < 500 ? 11 : 13;
  context.font = `600 ${size}px ${theme.font}`;
  Object.assign(context, { textAlign: "center", textBaseline: "middle", lineJoin: "round", lineWidth: 4 });
  Object.assign(context, { strokeStyle: theme.ground, fillStyle: theme.ink });
  const order = meta.clusters.map((_, i) => i).sort((a, b) => meta.clusters[b].rows - meta.clusters[a].rows || a - b);
  for (const number of order) {
    const text = meta.clusters[number].words.slice(0, view.width < 500 ? 1 : 2).join(", ");
    const [x, y] = [screenX(meta.clusters[number].x), screenY(meta.clusters[number].y)];
    const half = context.measureText(text).width / 2 + 6;
    const boxes = [-1, 1, -2, 2].map((lines) => {
      const middle = y + lines * (size + 3);
      return [x - half, middle - size, x + half, middle + size];
    });
    const free = boxes.filter((box) => onStage(box) && !taken.some((other) => overlap(box, other)));
    const box = free.find(hidesNothing) ?? free[0];
    if (!box) continue;
    taken.push(box);
    context.strokeText(text, x, box[1] + size);
    context.fillText(text, x, box[1] + size);
  }
}

/** Give the boxes of what lies above the map: buttons, legend, messages, the button of the folded panel. */
function thingsOnStage() {
  const { left, top } = stage.getBoundingClientRect();
  return ["tools", "legend", "message", "panel"].map((id) => {
    const box = byId(id).getBoundingClientRect();
    return [box.left - left, box.top - top, box.right - left, box.bottom - top];
  });
}

const onStage = (box) => box[0] >= 0 && box[1] >= 0 && box[2] <= view.width && box[3] <= view.height;

/** Whether no point's middle lies within a box. */
function hidesNothing(box) {
  const [left, top, right, bottom] = [mapX(box[0]), mapY(box[1]), mapX(box[2]), mapY(box[3])];
  let nothing = true;
  visitPoints(left, top, right, bottom, (i) => {
    const [x, y] = [points.x[i], points.y[i]];
    if (x > left && x < right && y > top && y < bottom) nothing = false;
  });
  return nothing;
}

const overlap = (a, b) => a[0] < b[2] && a[2] > b[0] && a[1] < b[3] && a[3] > b[1];

function drawRing(context, point) {
  const radius = diameterNow() / density / 2 + 6;
  for (const [colour, width] of [
    [theme.ground, 5],
    [theme.ink, 2],
  ]) {
    Object.assign(context, { strokeStyle: colour, lineWidth: width });
    context.beginPath();
    context.arc(screenX(points.x[point]), screenY(points.y[point]), radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

function drawLasso(context) {
  context.beginPath();
  for (const [x, y] of picture.polygon) context.lineTo(screenX(x), screenY(y));
  context.closePath();
  Object.assign(context, { strokeStyle: theme.ink, lineWidth: 1.5, fillStyle: "rgba(0, 114, 178, 0.14)" });
  context.setLineDash([6, 4]);
  context.fill();
  context.stroke();
  context.setLineDash([]);
}

let waitingFrame = 0;

/** Draw once before the next frame, however often it is asked for. */
function requestDraw() {
  if (waitingFrame) return;
  waitingFrame = requestAnimationFrame(() => {
    waitingFrame = 0;
    if (!image || !scheme) return;
    drawPoints();
    drawLabels();
    document.documentElement.dataset.drawn = "1";
  });
}
