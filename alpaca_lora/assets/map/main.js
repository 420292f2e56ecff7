/* Begin: draw at once, then read the texts. */

function summarise() {
  const defects = points.worst.reduce((sum, worst) => sum + Number(worst === 3), 0);
  const facts = [counted(meta.rows, "row"), `${written(defects)} with a defect`];
  const unread = meta.rows - points.count;
  if (unread) facts.push(`${counted(unread, "row")} could not be read`);
  if (meta.served) facts.push(`${written(marks.size)} marked`);
  byId("summary").textContent = facts.join(" · ");
}

function fillColourChoice() {
  const choice = byId("colour");
  const add = (parent, value, text, attributes = {}) => parent.append(make("option", { value, ...attributes }, text));
  add(choice, "flaw", "worst flaw");
  if (meta.clusters.length) add(choice, "cluster", "cluster");
  add(choice, "length", "length");
  if (meta.sources.length) add(choice, "source", "source");
  if (meta.has_suspicion) add(choice, "suspicion", "suspicion");
  if (meta.served) add(choice, "mark", "your marks");
  const rules = make("optgroup", { label: "one flaw", id: "rules", disabled: true }); // until the texts are read
  meta.rules.forEach((rule, i) => add(rules, `rule ${i}`, `${rule.id} (${written(rule.rows)})`));
  if (meta.rules.length) choice.append(rules);
  choice.addEventListener("change", chooseColour);
}

function chooseColour() {
  scheme = schemeOf(byId("colour").value);
  recolour();
  renderLegend();
}

function renderLegend() {
  byId("legend-note").textContent = scheme.note;
  const rows = scheme.classes.map(() => 0);
  for (const one of scheme.classOf) rows[one]++;
  const items = scheme.unlisted ? [] : scheme.classes.map((oneClass, i) => legendItem(oneClass, i, rows[i]));
  refill(byId("legend-list"), ...(scheme.inOrder ? items : items.reverse()));
}

function legendItem(oneClass, number, rows) {
  const { classOf } = scheme;
  const choose = () =>
    select(
      pointsWhere((point) => classOf[point] === number),
      oneClass.name,
    );
  const item = button("", choose, { "data-key": `class-${number}`, title: "Select these rows", disabled: rows === 0 });
  item.append(glyph(oneClass), make("span", {}, oneClass.name), make("span", { class: "quiet" }, written(rows)));
  return make("li", {}, item);
}

/** Follow the reader's system from light to dark and back. */
function chooseTheme() {
  readTheme();
  chooseColour();
  applyFilters();
  renderSelection();
  renderRow();
}

async function readTexts() {
  try {
    await decodeTexts();
  } catch (error) {
    say(`The texts of this file could not be read, the map alone works: ${error.message}`);
    return;
  }
  byId("search").disabled = false;
  if (byId("rules")) byId("rules").disabled = false;
  renderSelection();
  if (state.open >= 0) renderRow();
  document.documentElement.dataset.texts = "1";
}

function begin() {
  byId("file").textContent = meta.file;
  summarise();
  fillColourChoice();
  setUpTabs();
  setUpClusters();
  setUpSearch();
  setUpMarks();
  setUpGestures();
  if (matchMedia("(max-width: 760px)").matches) byId("legend").open = false;
  chooseTheme();
  resize();
  new ResizeObserver(resize).observe(stage);
  byId("legend").addEventListener("toggle", requestDraw); // labels keep clear of it
  dark.addEventListener("change", chooseTheme);
  addEventListener("keydown", keyed);
  addEventListener("hashchange", openFromAddress);
  openFromAddress();
  // The texts stand below this script. Let the first picture reach the screen before they are decoded.
  const later = () => requestAnimationFrame(() => setTimeout(readTexts));
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", later);
  else later();
}

begin();
