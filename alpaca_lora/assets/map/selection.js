/* The selection: how many rows, which flaws, their numbers as a file or on the clipboard. */

/** Select points, given in their order; the name says how they were chosen. */
function select(chosen, name, show = true) {
  state.selection = chosen;
  state.selected.fill(0);
  for (const point of chosen) state.selected[point] = 1;
  byId("tab-selection").textContent = chosen.length ? `Selection ${written(chosen.length)}` : "Selection";
  renderSelection(name);
  recolour();
  if (state.open >= 0) renderRow();
  if (show) showTab("selection");
}

function clearSelection() {
  select([], "", false);
  renderClusters();
}

let selectionName = "";

function renderSelection(name = selectionName) {
  selectionName = name;
  const section = byId("selection");
  const { selection } = state;
  if (!selection.length) {
    const help =
      "Draw around rows with the lasso (the button on the map, or hold Shift and drag), " +
      "choose an entry of the legend, or a cluster, or select what a search found.";
    refill(section, make("h2", {}, "No row is selected"), make("p", { class: "quiet" }, help));
    return;
  }
  const actions = make(
    "p",
    { class: "actions" },
    button("Export row numbers", exportSelection, { id: "export", "data-key": "export" }),
    button("Copy", copySelection, { id: "copy", "data-key": "copy", "aria-label": "Copy the row numbers" }),
    button("Show on the map", () => flyToPoints(selection), { "data-key": "show" }),
    button("Clear", clearSelection, { id: "clear", "data-key": "clear", "aria-label": "Clear the selection" }),
  );
  const title = make("h2", {}, `${counted(selection.length, "row")} selected`);
  refill(section, title, make("p", { class: "quiet" }, name), actions, flawTable(selection), ...rowList(selection));
}

/** Count the flaws of the selection, beside their share in all rows. */
function flawTable(selection) {
  if (!texts) return make("p", { class: "quiet" }, "The flaws are still being read …");
  const rows = meta.rules.map(() => new Set());
  for (const point of selection) {
    for (const number of findingsOf.get(point) ?? []) rows[texts.findings[number][1]].add(point);
  }
  const found = meta.rules.map((_, i) => i).filter((i) => rows[i].size);
  if (!found.length) return make("p", { class: "quiet" }, "No rule found anything in these rows.");
  const lines = found.map((i) => {
    const rule = meta.rules[i];
    const name = make("td", { title: rule.description }, glyph(SEVERITIES[SEVERITY_LEVEL[rule.severity]]), rule.id);
    const here = percent(rows[i].size, selection.length);
    const numbers = [written(rows[i].size), here, percent(rule.rows, points.count)];
    return make("tr", {}, name, ...numbers.map((number) => make("td", {}, number)));
  });
  const head = make(
    "tr",
    {},
    ...["Flaw", "Rows", "Here", "In all"].map((title) => make("th", { scope: "col" }, title)),
  );
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines));
}

const selectedRows = () => state.selection.map((point) => points.row[point]);

function exportSelection() {
  const file = new Blob([`${JSON.stringify(selectedRows())}\n`], { type: "application/json" });
  const link = make("a", { href: URL.createObjectURL(file), download: `${meta.file}.selection.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say(`${counted(state.selection.length, "row number")} exported to ${link.download}`);
}

async function copySelection() {
  const copied = await copyText(JSON.stringify(selectedRows()));
  say(copied ? `${counted(state.selection.length, "row number")} copied` : "The browser does not let this page copy");
}

/** Copy, also where the browser keeps the clipboard from pages that lie on the disk. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = make("textarea", { class: "unseen" });
    box.value = text;
    const had = document.activeElement;
    document.body.append(box);
    box.select();
    const copied = document.execCommand("copy");
    box.remove();
    had?.focus();
    return copied;
  }
}
