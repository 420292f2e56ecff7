/* What Python wrote into the page: the columns of the points at once, the texts when they are decoded. */

const byId = (id) => document.getElementById(id);
const meta = JSON.parse(byId("meta").textContent);
const points = readPoints(bytesOf("points"), meta.points);

/** Filled by decodeTexts; null until then. */
let texts = null;

/** For each point the numbers of its findings in texts.findings; points without any are not there. */
const findingsOf = new Map();

function bytesOf(id) {
  const element = byId(id);
  const written = atob(element.textContent.trim());
  element.remove(); // the page keeps no second copy of some megabytes
  const bytes = new Uint8Array(written.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = written.charCodeAt(i);
  return bytes;
}

/** Cut the columns out of their bytes; copies, since a column may start at an odd place. */
function readPoints(bytes, count) {
  let at = 0;
  const column = (Type) => {
    const end = at + count * Type.BYTES_PER_ELEMENT;
    const values = new Type(bytes.buffer.slice(at, end));
    at = end;
    return values;
  };
  return {
    count,
    row: column(Uint32Array),
    x: Float32Array.from(column(Uint16Array)),
    y: Float32Array.from(column(Uint16Array)),
    cluster: column(Uint16Array),
    length: column(Uint32Array),
    source: column(Uint8Array),
    worst: column(Uint8Array),
    suspicion: column(Uint8Array),
  };
}

async function decodeTexts() {
  const stream = new Blob([bytesOf("texts")]).stream().pipeThrough(new DecompressionStream("gzip"));
  const decoded = JSON.parse(await new Response(stream).text());
  decoded.findings.forEach(([point], number) => {
    if (findingsOf.has(point)) findingsOf.get(point).push(number);
    else findingsOf.set(point, [number]);
  });
  texts = decoded;
}

/** Give the point of a row of the file, or -1: the points stand in the order of the rows. */
function pointOfRow(row) {
  let low = 0;
  let high = points.count - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (points.row[middle] === row) return middle;
    if (points.row[middle] < row) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** Give the points for which `holds`, in their order. */
function pointsWhere(holds) {
  const found = [];
  for (let i = 0; i < points.count; i++) if (holds(i)) found.push(i);
  return found;
}

/** Give the points that a rule has found something in, each once. */
function pointsOfRule(rule) {
  return new Set(texts.findings.filter((finding) => finding[1] === rule).map((finding) => finding[0]));
}

const clusterName = (number) => meta.clusters[number].words.join(", ");

const numberFormat = new Intl.NumberFormat("en");
const written = (number) => numberFormat.format(number);
const counted = (number, noun) => `${written(number)} ${noun}${number === 1 ? "" : "s"}`;

function percent(part, whole) {
  const share = whole ? (100 * part) / whole : 0;
  return `${share >= 9.95 || share === 0 ? Math.round(share) : share.toFixed(1)} %`;
}

/** Make an element. Text goes in as text: the rows of a file are not to be trusted. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const button = (text, act, attributes = {}) => make("button", { type: "button", onclick: act, ...attributes }, text);

let messageEnds = 0;

/** Say something for some seconds, to eyes and to screen readers. */
function say(text) {
  byId("message").textContent = text;
  clearTimeout(messageEnds);
  messageEnds = setTimeout(() => (byId("message").textContent = ""), 6000);
}
