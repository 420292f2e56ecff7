/* The open row: its flaws, its texts, and the way to the next one. */

const FIELDS = ["instruction", "input", "output"];
let cameFrom = "clusters";

function openPoint(point) {
  if (hasUnsavedEdit()) {
    say("Save the edit or cancel it first");
    return;
  }
  const inLists = byId("panel").contains(document.activeElement) && currentTab !== "row";
  if (currentTab !== "row") cameFrom = currentTab;
  state.open = point;
  editing = false;
  byId("tab-row").textContent = `Row ${points.row[point]}`;
  history.replaceState(null, "", `#row=${points.row[point]}`);
  renderRow();
  showTab("row");
  if (inLists) byId("row").focus();
  byId("row").scrollTop = 0;
  bringIntoView(point);
  requestDraw();
}

function closeRow() {
  const key = `row-${points.row[state.open]}`;
  state.open = -1;
  editing = false;
  byId("tab-row").textContent = "Row";
  history.replaceState(null, "", "#");
  const hadKeyboard = byId("row").contains(document.activeElement);
  renderRow();
  showTab(cameFrom);
  if (hadKeyboard) focusKey(byId(cameFrom), key);
  requestDraw();
}

/** Give the points that previous and next go through, and what to call them; null: all. */
function walked() {
  if (state.selected[state.open]) return { list: state.selection, name: "selected" };
  const filtered = state.hits !== null || state.unmarkedOnly;
  if (filtered && isShown(state.open)) return { list: pointsWhere(isShown), name: "found" };
  return null;
}

function step(by) {
  if (state.open < 0) {
    if (points.count) openPoint(by > 0 ? 0 : points.count - 1);
    return;
  }
  const list = walked()?.list;
  const next = list ? list[list.indexOf(state.open) + by] : state.open + by;
  if (next === undefined || next < 0 || next >= points.count)
    say(by > 0 ? "This is the last row" : "This is the first row");
  else openPoint(next);
}

function renderRow() {
  const section = byId("row");
  if (state.open < 0) {
    const help = "Click a point of the map, or a row in a list, to read it here with its flaws.";
    refill(section, make("h2", {}, "No row is open"), make("p", { class: "quiet" }, help));
    return;
  }
  if (editing) return; // a form that is being filled stays as it is
  const parts = [rowHead(), rowFacts()];
  if (meta.served) parts.push(markBar());
  if (texts) parts.push(rowFlaws(), ...rowTexts());
  else parts.push(make("p", { class: "quiet" }, "The texts are still being read …"));
  refill(section, ...parts);
}

function rowHead() {
  const walk = walked();
  const place = walk
    ? `${written(walk.list.indexOf(state.open) + 1)} of ${written(walk.list.length)} ${walk.name}`
    : "";
  const named = (text, act, key, label, title) =>
    button(text, act, { "data-key": key, "aria-label": label, title: `${label} (${title})` });
  return make(
    "div",
    { class: "head" },
    make("h2", {}, `Row ${points.row[state.open]}`),
    make("span", { class: "quiet" }, place),
    named("‹", () => step(-1), "previous", "Previous row", "k"),
    named("›", () => step(1), "next", "Next row", "j"),
    named("×", closeRow, "close", "Close the row", "Escape"),
  );
}

function rowFacts() {
  const point = state.open;
  const facts = make("dl", { class: "facts" });
  const add = (name, value) => facts.append(make("dt", {}, name), make("dd", {}, value));
  const cluster = points.cluster[point];
  if (meta.clusters.length) {
    add(
      "Cluster",
      button(clusterName(cluster), () => openCluster(cluster), { class: "link", "data-key": "cluster" }),
    );
  }
  add("Length", counted(points.length[point], meta.length_unit.replace(/s$/, "")));
  if (meta.sources.length) add("Source", meta.sources[points.source[point]]);
  if (meta.has_suspicion) add("Suspicion", `${Math.round(points.suspicion[point] / 2.55)} %`);
  return facts;
}

function rowFlaws() {
  const found = (findingsOf.get(state.open) ?? []).map((number) => texts.findings[number]);
  if (!found.length) return make("p", { class: "quiet" }, "No rule found a flaw.");
  const worstFirst = (a, b) => a[1] - b[1]; // the rules stand with defects first
  const items = found.sort(worstFirst).map(([, rule, field, reason]) => {
    const { id, severity, description } = meta.rules[rule];
    const title = make(
      "span",
      {},
      make("b", {}, severity),
      " ",
      make("code", { title: description }, id),
      ` in ${fieldName(state.open, field)}`,
    );
    if (fieldName(state.open, field) !== field) title.append(" ", make("small", { class: "quiet" }, field));
    return make(
      "li",
      {},
      glyph(SEVERITIES[SEVERITY_LEVEL[severity]]),
      make("div", {}, title, make("p", { dir: "auto" }, reason)),
    );
  });
  return make("ul", { class: "flaws", "aria-label": "Flaws" }, ...items);
}

/** Say which text of a conversation a path such as messages.4.content means; elsewhere the path is the name. */
function fieldName(point, path) {
  const [key, number, part] = path.split(".");
  if (number === undefined) return path;
  const before = texts.before[point] ?? [];
  const system = Number(before[0]?.[0] === "system");
  let place = Number(number) - system; // questions and answers in turn
  if (key === "history") place = 2 * Number(number) + Number(part);
  if (key === "completion") place = before.length - system + 1;
  return `${place % 2 ? "answer" : "question"} ${Math.floor(place / 2) + 1}`;
}

function rowTexts() {
  const point = state.open;
  const edit = marks.get(points.row[point])?.edit ?? {};
  const parts = (texts.before[point] ?? []).map(([who, text]) => textBlock(who, text, false));
  for (const field of FIELDS) {
    const text = edit[field] ?? texts[field][point];
    if (text !== "" || field !== "input") parts.push(textBlock(field, text, field in edit));
  }
  return parts;
}

function textBlock(name, text, edited) {
  const title = name[0].toUpperCase() + name.slice(1) + (edited ? " (edited)" : "");
  const body = make("div", { class: "text", dir: "auto" }, ...(text ? withMatches(text) : []));
  if (!text) body.append(make("i", { class: "quiet" }, "empty"));
  return make("section", { class: `turn ${name}` }, make("h3", {}, title), body);
}

/** Open the row that the address names, if it names one. */
function openFromAddress() {
  const named = /^#row=(\d+)$/.exec(location.hash);
  if (!named) return;
  const point = pointOfRow(Number(named[1]));
  if (point >= 0) {
    if (point !== state.open) openPoint(point);
  } else if (Number(named[1]) >= meta.rows) say(`${meta.file} has no row ${named[1]}`);
  else say(`Row ${named[1]} could not be read, so it has no point`);
}
