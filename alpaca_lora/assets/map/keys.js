/* Keys of the whole page. Letters do nothing while somebody types. */

const PAN = 60;
const MAP_KEYS = {
  ArrowLeft: () => moveBy(PAN, 0),
  ArrowRight: () => moveBy(-PAN, 0),
  ArrowUp: () => moveBy(0, PAN),
  ArrowDown: () => moveBy(0, -PAN),
};
const KEYS = {
  "+": () => byId("zoom-in").click(),
  "=": () => byId("zoom-in").click(),
  "-": () => byId("zoom-out").click(),
  0: () => byId("fit").click(),
  j: () => step(1),
  k: () => step(-1),
  "/": () => byId("search").focus(),
};
const REVIEW_KEYS = {
  d: () => sendMark("defect"),
  l: () => sendMark("low value"),
  f: () => sendMark("fine"),
  u: () => sendMark(null),
  e: startEdit,
  n: openNextSuspicious,
};

function keyed(event) {
  if (event.key === "Escape") {
    escape();
    return;
  }
  const typing = event.target.matches("textarea, select, input:not([type=checkbox])");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const act =
    (document.activeElement === stage && MAP_KEYS[event.key]) ||
    KEYS[event.key] ||
    (meta.served && REVIEW_KEYS[event.key]);
  if (!act || editing) return;
  event.preventDefault();
  act();
}

/** Undo the innermost thing that is going on. */
function escape() {
  if (picture.polygon) cancelLasso();
  else if (lassoOn) switchLasso(false);
  else if (editing) cancelEdit();
  else if (state.open >= 0) closeRow();
  else if (state.selection.length) clearSelection();
  else if (state.hits) endSearch();
}
