/* Where the map stands on the screen, and which point lies under a finger. */

const SIDE = 65536; // the picture's width and height in the units of the points
const DEEPEST = 400; // times the whole map
const LEGEND = 290; // pixels that the legend takes, with some room
const TOOLS = 66; // and the buttons at the right

/** A point at (x, y) stands at (x * scale + left, y * scale + top) in CSS pixels of the stage. */
const view = { scale: 1, left: 0, top: 0, width: 0, height: 0, whole: 1 };

const screenX = (x) => x * view.scale + view.left;
const screenY = (y) => y * view.scale + view.top;
const mapX = (x) => (x - view.left) / view.scale;
const mapY = (y) => (y - view.top) / view.scale;

/** Give the place of the whole map on the stage: in the middle, or to the right of it to clear the legend; where there
    is no room for that, left of the buttons. */
function wholeMap() {
  const margin = Math.min(40, view.width / 16);
  const side = Math.max(Math.min(view.width, view.height) - 2 * margin, 50);
  const room = view.width - side;
  const middle = room / 2;
  const left =
    view.width > 700
      ? Math.max(middle, Math.min(LEGEND, room - margin))
      : Math.max(Math.min(middle, room - TOOLS), margin);
  return { scale: side / SIDE, left, top: (view.height - side) / 2 };
}

/** Take the stage's size; the whole map stays whole, and of a part the middle stays in the middle. */
function measureStage(width, height) {
  const before = wholeMap();
  const whole = view.width === 0 || Object.keys(before).every((key) => before[key] === view[key]);
  const zoom = view.scale / view.whole;
  const [x, y] = [mapX(view.width / 2), mapY(view.height / 2)];
  Object.assign(view, { width, height });
  const after = wholeMap();
  view.whole = after.scale;
  Object.assign(view, whole ? after : centred(x, y, zoom * after.scale));
}

function centred(x, y, scale) {
  return { scale, left: view.width / 2 - x * scale, top: view.height / 2 - y * scale };
}

function moveBy(dx, dy) {
  stopFlight();
  view.left += dx;
  view.top += dy;
  keepInSight();
  requestDraw();
}

/** Zoom; what lies at (x, y) of the stage stays there. */
function zoomAt(x, y, factor) {
  stopFlight();
  const scale = Math.min(Math.max(view.scale * factor, view.whole / 2), view.whole * DEEPEST);
  view.left = x - mapX(x) * scale;
  view.top = y - mapY(y) * scale;
  view.scale = scale;
  keepInSight();
  requestDraw();
}

/** Nobody can push the map off the stage. */
function keepInSight() {
  const side = SIDE * view.scale;
  const edge = 60;
  view.left = Math.min(Math.max(view.left, edge - side), view.width - edge);
  view.top = Math.min(Math.max(view.top, edge - side), view.height - edge);
}

let flight = 0;

function stopFlight() {
  cancelAnimationFrame(flight);
  flight = 0;
}

/** Move to a place, in a short flight unless the reader wants no motion. */
function flyTo(place) {
  stopFlight();
  const from = { scale: view.scale, x: mapX(view.width / 2), y: mapY(view.height / 2) };
  const to = {
    scale: place.scale,
    x: (view.width / 2 - place.left) / place.scale,
    y: (view.height / 2 - place.top) / place.scale,
  };
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const start = performance.now();
  const step = (now) => {
    const passed = still ? 1 : Math.min(Math.max(now - start, 0) / 350, 1);
    const t = passed * passed * (3 - 2 * passed);
    const scale = from.scale * (to.scale / from.scale) ** t;
    Object.assign(view, centred(from.x + (to.x - from.x) * t, from.y + (to.y - from.y) * t, scale));
    flight = passed < 1 ? requestAnimationFrame(step) : 0;
    requestDraw();
  };
  step(start);
}

/** Fly to where most of some points lie: outliers, a twentieth at each side, may stay outside. */
function flyToPoints(chosen) {
  if (!chosen.length) return;
  const span = (column) => {
    const sorted = Float32Array.from(chosen, (i) => column[i]).sort();
    const cut = Math.floor(sorted.length / 20);
    return [sorted[cut], sorted[sorted.length - 1 - cut]];
  };
  const [left, right] = span(points.x);
  const [top, bottom] = span(points.y);
  const room = 0.6 * Math.min(view.width / Math.max(right - left, 1), view.height / Math.max(bottom - top, 1));
  flyTo(centred((left + right) / 2, (top + bottom) / 2, Math.min(Math.max(room, view.whole), view.whole * 12)));
}

/** Bring a point into view where it is not. */
function bringIntoView(point) {
  const [x, y] = [screenX(points.x[point]), screenY(points.y[point])];
  const edge = 30;
  if (x > edge && y > edge && x < view.width - edge && y < view.height - edge) return;
  flyTo(centred(points.x[point], points.y[point], view.scale));
}

/* A grid over the map: the points of cell c are inCell[cellStarts[c]] up to inCell[cellStarts[c + 1]]. */
const CELLS = 128;
const cellOf = (at) => Math.min(Math.max(Math.floor((at * CELLS) / SIDE), 0), CELLS - 1);
const { cellStarts, inCell } = sortIntoCells();

function sortIntoCells() {
  const starts = new Uint32Array(CELLS * CELLS + 1);
  const cells = new Uint16Array(points.count);
  for (let i = 0; i < points.count; i++) {
    cells[i] = cellOf(points.y[i]) * CELLS + cellOf(points.x[i]);
    starts[cells[i] + 1]++;
  }
  for (let c = 0; c < CELLS * CELLS; c++) starts[c + 1] += starts[c];
  const next = starts.slice();
  const sorted = new Uint32Array(points.count);
  for (let i = 0; i < points.count; i++) sorted[next[cells[i]]++] = i;
  return { cellStarts: starts, inCell: sorted };
}

/** Call `visit` for every point in the cells that a rectangle of the map touches. */
function visitPoints(left, top, right, bottom, visit) {
  for (let cy = cellOf(top); cy <= cellOf(bottom); cy++) {
    for (let cx = cellOf(left); cx <= cellOf(right); cx++) {
      const cell = cy * CELLS + cx;
      for (let at = cellStarts[cell]; at < cellStarts[cell + 1]; at++) visit(inCell[at]);
    }
  }
}

/** Give the point nearest to a place of the stage, at most `reach` pixels away, or -1; faded points come last. */
function pointAt(x, y, reach) {
  const [cx, cy, radius] = [mapX(x), mapY(y), reach / view.scale];
  let nearest = -1;
  let best = Infinity;
  visitPoints(cx - radius, cy - radius, cx + radius, cy + radius, (i) => {
    const distance = (points.x[i] - cx) ** 2 + (points.y[i] - cy) ** 2;
    const order = distance + (isShown(i) ? 0 : radius * radius);
    if (distance <= radius * radius && order < best) [nearest, best] = [i, order];
  });
  return nearest;
}

/** Give the shown points inside a polygon of the map, [[x, y], ...], by the even-odd rule, in their order. */
function pointsInside(polygon) {
  const xs = polygon.map((corner) => corner[0]);
  const ys = polygon.map((corner) => corner[1]);
  const inside = [];
  visitPoints(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys), (i) => {
    if (isShown(i) && contains(xs, ys, points.x[i], points.y[i])) inside.push(i);
  });
  return inside.sort((a, b) => a - b);
}

function contains(xs, ys, x, y) {
  let within = false;
  for (let i = 0, j = xs.length - 1; i < xs.length; j = i++) {
    const crosses = ys[i] > y !== ys[j] > y && x < ((xs[j] - xs[i]) * (y - ys[i])) / (ys[j] - ys[i]) + xs[i];
    if (crosses) within = !within;
  }
  return within;
}
