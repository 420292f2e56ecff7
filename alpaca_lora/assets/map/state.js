/* What the reader has chosen, and the tabs of the panel. */

const state = {
  open: -1, // the point whose row is open
  query: null, // {words, pattern} of the search
  hits: null, // 1 for each point that the search found; null without a search
  selected: new Uint8Array(points.count), // 1 for each point of the selection
  selection: [], // the same points, in their order
  unmarkedOnly: false,
};

/** Whether a point stands out: the others are faded, and the lasso passes over them. */
function isShown(point) {
  return (!state.hits || state.hits[point] === 1) && (!state.unmarkedOnly || !marks.has(points.row[point]));
}

const TABS = ["clusters", "found", "selection", "row"];
let currentTab = "clusters";

function showTab(name) {
  currentTab = name;
  for (const tab of TABS) {
    const chosen = tab === name;
    byId(tab).hidden = !chosen;
    byId(`tab-${tab}`).setAttribute("aria-selected", String(chosen));
    byId(`tab-${tab}`).tabIndex = chosen ? 0 : -1;
  }
  fold(false);
}

/** Hide the panel, or show it, so that the map has all the room. */
function fold(folded) {
  document.body.classList.toggle("folded", folded);
  byId("fold").setAttribute("aria-expanded", String(!folded));
  byId("fold").textContent = folded ? "Show details" : "Hide";
}

function setUpTabs() {
  for (const tab of TABS) byId(`tab-${tab}`).addEventListener("click", () => showTab(tab));
  byId("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    showTab(TABS[(TABS.indexOf(currentTab) + step + TABS.length) % TABS.length]);
    byId(`tab-${currentTab}`).focus();
    event.stopPropagation();
  });
  byId("fold").addEventListener("click", () => fold(!document.body.classList.contains("folded")));
  showTab("clusters");
}

/** Give a section new content; what had the keyboard keeps it, found again by its data-key. */
function refill(section, ...children) {
  const key = section.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  section.replaceChildren(...children);
  if (key) focusKey(section, key);
}

function focusKey(section, key) {
  const element = section.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (element) element.focus();
}

const LISTED = 100; // rows that a list shows; the map shows all

/** List rows, each a button that opens it. */
function rowList(list) {
  const items = list.slice(0, LISTED).map((point) => {
    const name = `Row ${points.row[point]}`;
    const open = button("", () => openPoint(point), { class: "item", "data-key": `row-${points.row[point]}` });
    open.append(glyph(SEVERITIES[points.worst[point]]), make("b", {}, name), snippet(point));
    open.setAttribute("aria-label", `${name}, ${SEVERITIES[points.worst[point]].name}: ${open.lastChild.textContent}`);
    return make("li", {}, open);
  });
  const parts = [make("ul", { class: "rows" }, ...items)];
  if (list.length > LISTED) {
    parts.push(make("p", { class: "quiet" }, `The first ${LISTED} of ${written(list.length)}; the map shows all.`));
  }
  return parts;
}

/** Give a row's text around what was searched for, or the beginning of its instruction. */
function snippet(point) {
  const line = make("span", { class: "snippet", dir: "auto" });
  if (!texts) return line;
  const pattern = state.query?.pattern;
  const all = textsOf(point);
  const text = (pattern && all.find((one) => new RegExp(pattern).test(one))) || texts.instruction[point];
  const at = pattern ? Math.max(text.search(new RegExp(pattern)), 0) : 0;
  const words = WORDS.segment(text);
  let start = at > 40 ? Math.max(words.containing(at - 30).index, at - 60) : 0;
  if (start) start += /^[\s,.;:!?)]*/.exec(text.slice(start, at))[0].length;
  const end = words.containing(start + 140)?.index ?? text.length;
  line.append(start ? "… " : "", ...withMatches(text.slice(start, end)), end < text.length ? " …" : "");
  return line;
}

const WORDS = new Intl.Segmenter(undefined, { granularity: "word" });

/** Give a text in parts, what was searched for within marks. */
function withMatches(text) {
  const pattern = state.query?.pattern;
  if (!pattern) return [text];
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    parts.push(text.slice(end, match.index), make("mark", {}, match[0]));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}

/** Give all texts of a row: its last turn, then its system message and earlier turns. */
function textsOf(point) {
  const earlier = (texts.before[point] ?? []).map(([, text]) => text);
  return [texts.instruction[point], texts.input[point], texts.output[point], ...earlier];
}
