/* Mouse, fingers and keys on the map. */

const fingers = new Map(); // of each pointer that is down: {x, y} on the stage
let gesture = null; // {kind: "pan" | "lasso" | "pinch", moved, ...}
let lassoOn = false;

function placeOf(event) {
  const box = stage.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

const onMap = (event) => event.target === stage || event.target.tagName === "CANVAS";

function pressed(event) {
  if (!onMap(event) || (event.pointerType === "mouse" && event.button !== 0)) return;
  stage.setPointerCapture(event.pointerId);
  const place = placeOf(event);
  fingers.set(event.pointerId, place);
  hideTip();
  if (fingers.size === 2) {
    picture.polygon = null;
    gesture = { kind: "pinch", moved: true };
  } else if (fingers.size === 1) {
    gesture = { kind: lassoOn || event.shiftKey ? "lasso" : "pan", start: place, moved: false };
    if (gesture.kind === "lasso") picture.polygon = [[mapX(place.x), mapY(place.y)]];
  }
}

function moved(event) {
  const before = fingers.get(event.pointerId);
  if (!before || !gesture) {
    if (onMap(event) && event.pointerType === "mouse") hover(placeOf(event));
    return;
  }
  const place = placeOf(event);
  if (!gesture.moved && Math.hypot(place.x - gesture.start.x, place.y - gesture.start.y) < 4) return;
  gesture.moved = true;
  if (gesture.kind === "pan") moveBy(place.x - before.x, place.y - before.y);
  else if (gesture.kind === "pinch") pinch(event.pointerId, before, place);
  else if (gesture.kind === "lasso") {
    picture.polygon.push([mapX(place.x), mapY(place.y)]);
    requestDraw();
  }
  fingers.set(event.pointerId, place);
}

/** Move and zoom so that what lies under two fingers stays under them. */
function pinch(id, before, place) {
  const other = [...fingers].find(([one]) => one !== id)?.[1];
  if (!other) return;
  const spread = (a) => Math.max(Math.hypot(a.x - other.x, a.y - other.y), 10);
  const middle = { x: (place.x + other.x) / 2, y: (place.y + other.y) / 2 };
  moveBy((place.x - before.x) / 2, (place.y - before.y) / 2);
  zoomAt(middle.x, middle.y, spread(place) / spread(before));
}

function released(event) {
  if (!fingers.delete(event.pointerId) || !gesture) return;
  if (fingers.size) {
    gesture = { kind: "pinch", moved: true }; // a finger that stays after a pinch does nothing until it is lifted
    return;
  }
  const { kind, moved: wasMoved } = gesture;
  gesture = null;
  if (event.type === "pointercancel") cancelLasso();
  else if (!wasMoved) {
    picture.polygon = null;
    click(placeOf(event), event.pointerType === "mouse" ? 8 : 18);
  } else if (kind === "lasso" && picture.polygon) endLasso();
}

function click(place, reach) {
  const point = pointAt(place.x, place.y, reach);
  if (point >= 0) openPoint(point);
}

function endLasso() {
  const inside = pointsInside(picture.polygon);
  picture.polygon = null;
  chosenCluster = -1;
  switchLasso(false);
  if (inside.length) {
    select(inside, "chosen with the lasso");
    say(`${counted(inside.length, "row")} selected`);
    renderClusters();
  } else say("No row lies inside");
  requestDraw();
}

function cancelLasso() {
  picture.polygon = null;
  gesture = null;
  requestDraw();
}

function switchLasso(on) {
  lassoOn = on;
  byId("lasso").setAttribute("aria-pressed", String(on));
  stage.classList.toggle("lassoing", on);
  if (on) say("Draw around the rows to select");
}

function wheeled(event) {
  if (!onMap(event)) return;
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 16 : 1;
  const place = placeOf(event);
  const speed = event.ctrlKey ? 0.01 : 0.0016; // a pinch on a touch pad comes as a wheel with Ctrl, in small steps
  zoomAt(place.x, place.y, Math.exp(-Math.min(Math.max(event.deltaY * lines, -300), 300) * speed));
}

function hover(place) {
  const point = pointAt(place.x, place.y, 8);
  if (point < 0) {
    hideTip();
    return;
  }
  const tip = byId("tip");
  if (picture.ringed !== point) {
    const begins = texts ? texts.instruction[point].slice(0, 160) : "";
    tip.replaceChildren(make("b", {}, `Row ${points.row[point]}`), make("span", { dir: "auto" }, begins));
    picture.ringed = point;
    requestDraw();
  }
  tip.hidden = false;
  const left = Math.min(place.x + 14, view.width - tip.offsetWidth - 8);
  const below = place.y + 18 + tip.offsetHeight < view.height;
  tip.style.left = `${Math.max(left, 8)}px`;
  tip.style.top = `${below ? place.y + 18 : place.y - tip.offsetHeight - 12}px`;
}

function hideTip() {
  byId("tip").hidden = true;
  if (picture.ringed < 0) return;
  picture.ringed = -1;
  requestDraw();
}

function setUpGestures() {
  stage.addEventListener("pointerdown", pressed);
  stage.addEventListener("pointermove", moved);
  stage.addEventListener("pointerup", released);
  stage.addEventListener("pointercancel", released);
  stage.addEventListener("pointerleave", hideTip);
  stage.addEventListener("wheel", wheeled, { passive: false });
  const zoomMiddle = (factor) => zoomAt(view.width / 2, view.height / 2, factor);
  byId("zoom-in").addEventListener("click", () => zoomMiddle(1.6));
  byId("zoom-out").addEventListener("click", () => zoomMiddle(1 / 1.6));
  byId("fit").addEventListener("click", () => flyTo(wholeMap()));
  byId("lasso").addEventListener("click", () => switchLasso(!lassoOn));
}
