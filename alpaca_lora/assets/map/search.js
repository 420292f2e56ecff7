/* Search: every word must occur somewhere in a row, in whatever case; "words in quotes" are one; #12 is row 12. */

let haystacks = null;

function readQuery(text) {
  const words = [...text.matchAll(/"([^"]+)"?|(\S+)/g)].map((match) => (match[1] ?? match[2]).toLowerCase());
  if (!words.length) return null;
  const row = /^#(\d+)$/.exec(text.trim());
  if (row) return { words, row: Number(row[1]), pattern: null };
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"));
  return { words, row: null, pattern: new RegExp(escaped.join("|"), "giu") };
}

function findHits(query) {
  const hits = new Uint8Array(points.count);
  if (query.row !== null) {
    const point = pointOfRow(query.row);
    if (point >= 0) hits[point] = 1;
    return hits;
  }
  haystacks ??= Array.from(points.row, (_, point) => textsOf(point).join("\n").toLowerCase());
  for (let i = 0; i < points.count; i++) hits[i] = Number(query.words.every((word) => haystacks[i].includes(word)));
  return hits;
}

function search() {
  state.query = readQuery(byId("search").value);
  state.hits = state.query && findHits(state.query);
  applyFilters();
  if (state.query) showTab("found");
  if (state.open >= 0) renderRow();
}

/** Follow a change of the search or of "unmarked only". */
function applyFilters() {
  const filtered = state.hits !== null || state.unmarkedOnly;
  const shown = filtered ? pointsWhere(isShown) : [];
  byId("count").textContent = filtered ? counted(shown.length, "row") : "";
  byId("tab-found").textContent = filtered ? `Found ${written(shown.length)}` : "Found";
  renderFound(filtered, shown);
  recolour();
}

function renderFound(filtered, shown) {
  const section = byId("found");
  if (!filtered) {
    const help =
      "Type words into the search box: rows in which all of them occur stand out on the map. " +
      "Put a phrase in quotes; #12 finds row 12.";
    refill(section, make("h2", {}, "Nothing is searched for"), make("p", { class: "quiet" }, help));
    return;
  }
  const asked = state.query ? byId("search").value.trim() : "unmarked";
  const actions = make(
    "p",
    { class: "actions" },
    button("Select all", () => select(shown, `found: ${asked}`), { "data-key": "select-found" }),
    button("Show on the map", () => flyToPoints(shown), { "data-key": "show-found" }),
    button("End the search", endSearch, { "data-key": "end-search" }),
  );
  const title = make("h2", {}, `${counted(shown.length, "row")} found`);
  refill(section, title, ...(shown.length ? [actions, ...rowList(shown)] : [actions]));
}

function endSearch() {
  byId("search").value = "";
  byId("unmarked-only").checked = state.unmarkedOnly = false;
  search();
  byId("search").focus();
}

let searchSoon = 0;

function setUpSearch() {
  byId("search").addEventListener("input", () => {
    clearTimeout(searchSoon);
    searchSoon = setTimeout(search, 150);
  });
  byId("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(searchSoon);
    search();
    const first = state.hits ? pointsWhere(isShown)[0] : undefined;
    if (first !== undefined) openPoint(first);
  });
  renderFound(false, []);
}
