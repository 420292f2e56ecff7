/* A person's marks, where `data review` serves the page: shown, and sent to it. */

const marks = new Map(Object.entries(meta.marks ?? {}).map(([row, mark]) => [Number(row), mark]));

const MARK_BUTTONS = [
  ["Defect", "defect", "d"],
  ["Low value", "low value", "l"],
  ["Fine", "fine", "f"],
];
let sending = false;
let editing = false;

function markBar() {
  const mark = marks.get(points.row[state.open])?.mark;
  const bar = make("div", { class: "marks", role: "group", "aria-label": "Mark this row" });
  const add = (text, act, key, pressed) => {
    const attributes = { "data-key": `mark-${key}`, title: `Key ${key}`, disabled: sending };
    if (pressed !== null) attributes["aria-pressed"] = String(pressed);
    bar.append(button(text, act, attributes));
  };
  for (const [text, value, key] of MARK_BUTTONS) add(text, () => sendMark(value), key, mark === value);
  add("Edit …", startEdit, "e", mark === "edit");
  if (mark) add("Unmark", () => sendMark(null), "u", null);
  bar.append(make("p", { class: "quiet" }, "Keys: d, l, f, e, u; n opens the next suspicious row."));
  return bar;
}

/** Send a mark of the open row; only when it is kept does the page show it. Give whether it was. */
async function sendMark(mark, edit) {
  if (sending || state.open < 0 || (mark === null && !marks.has(points.row[state.open]))) return false;
  const row = points.row[state.open];
  sending = true;
  const failure = await postMark({ row, mark, ...(edit && { edit }) });
  sending = false;
  if (failure) {
    say(`The mark of row ${row} was not kept: ${failure}`);
  } else {
    if (mark === null) marks.delete(row);
    else marks.set(row, { mark, ...(edit && { edit }) });
    if (points.row[state.open] === row) editing = false;
    say(`Row ${row}: ${{ null: "mark taken back", edit: "edited" }[mark] ?? mark}`);
    summarise();
    if (byId("colour").value === "mark") chooseColour();
    if (state.unmarkedOnly) applyFilters();
  }
  renderRow();
  return !failure;
}

/** Post a mark; give what went wrong, or null. */
async function postMark(body) {
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("marks", { method: "POST", headers, body: JSON.stringify(body) });
    if (answer.ok) return null;
    const told = await answer.json().catch(() => ({}));
    return told.error ?? `the server answered ${answer.status}`;
  } catch {
    return "the server does not answer; is `data review` still running?";
  }
}

function startEdit() {
  if (state.open < 0 || !texts) return;
  editing = true;
  const kept = marks.get(points.row[state.open])?.edit ?? {};
  const fields = FIELDS.map((field) => {
    const box = make("textarea", { name: field, rows: field === "output" ? 10 : 4, spellcheck: "true", dir: "auto" });
    box.value = kept[field] ?? texts[field][state.open];
    return make("label", {}, field[0].toUpperCase() + field.slice(1), box);
  });
  const actions = make(
    "p",
    { class: "actions" },
    make("button", { class: "main" }, "Save the edit"),
    button("Cancel", cancelEdit),
  );
  const form = make("form", { id: "edit" }, make("h2", {}, `Edit row ${points.row[state.open]}`), ...fields, actions);
  form.addEventListener("submit", saveEdit);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) saveEdit(event);
  });
  byId("row").replaceChildren(form);
  showTab("row");
  form.elements[0].focus();
}

/** Give the texts of the form that differ from the file's; a text area's line ends are all \n. */
function editedTexts() {
  const form = byId("edit");
  if (!form) return {};
  const plain = (text) => text.replace(/\r\n?/g, "\n");
  const changed = FIELDS.filter((field) => form.elements[field].value !== plain(texts[field][state.open]));
  return Object.fromEntries(changed.map((field) => [field, form.elements[field].value]));
}

function hasUnsavedEdit() {
  if (!editing) return false;
  const kept = marks.get(points.row[state.open])?.edit ?? {};
  return JSON.stringify(editedTexts()) !== JSON.stringify(kept);
}

async function saveEdit(event) {
  event.preventDefault();
  const edit = editedTexts();
  if (!Object.keys(edit).length) {
    say("Nothing differs from the file; cancel, or mark the row otherwise");
  } else if (await sendMark("edit", edit)) focusKey(byId("row"), "mark-e");
}

function cancelEdit() {
  editing = false;
  renderRow();
  focusKey(byId("row"), "mark-e");
}

const passed = new Set();

/** Open the unmarked shown row of the highest suspicion that this button has not opened yet. */
function openNextSuspicious() {
  let next = -1;
  const suspicion = (point) => points.suspicion[point] * 4 + points.worst[point];
  for (let i = 0; i < points.count; i++) {
    const open = !marks.has(points.row[i]) && !passed.has(i) && isShown(i);
    if (open && (next < 0 || suspicion(i) > suspicion(next))) next = i;
  }
  if (next >= 0) {
    if (!hasUnsavedEdit()) passed.add(next);
    openPoint(next);
  } else if (passed.size) {
    passed.clear();
    say("All unmarked rows were shown once; it begins again");
  } else say("No unmarked row is left here");
}

function setUpMarks() {
  if (!meta.served) return;
  byId("unmarked").hidden = byId("next-suspicious").hidden = false;
  byId("next-suspicious").addEventListener("click", openNextSuspicious);
  byId("unmarked-only").addEventListener("change", (event) => {
    state.unmarkedOnly = event.target.checked;
    applyFilters();
  });
  addEventListener("beforeunload", (event) => {
    if (hasUnsavedEdit()) event.preventDefault();
  });
}
