/* What a point's colour and shape may stand for. Colours are those of Okabe and Ito, which colour-blind people can tell
   apart; shapes, sizes and lightness say the same again. Each colour is a pair: on light ground, on dark ground. */

const GREY = ["#b4bcc6", "#57606c"];
const FADED = ["#e3e6ea", "#262b32"];
const STRONG_GREY = ["#5f6a77", "#b4bec9"]; // in place of grey while other points are faded
const ORANGE = ["#e69f00", "#f0b030"];
const SKY = ["#56b4e9", "#7cc8f5"];
const GREEN = ["#009e73", "#2ec79b"];
const BLUE = ["#0072b2", "#3f9fe0"];
const VERMILLION = ["#d55e00", "#ff7f2e"];
const PURPLE = ["#b45a94", "#e08fc0"];
const OLIVE = ["#8a7d00", "#f0e442"];

const CATEGORIES = [BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, OLIVE];
const SHAPES = ["disc", "square", "diamond", "cross", "plus", "ring", "disc"];
const COOL = [
  ["#c3d0e2", "#33445e"],
  ["#8fb0d8", "#3f69a3"],
  ["#4f86c6", "#5a94d6"],
  ["#1f5aa6", "#8fc0f0"],
  ["#0b2f6b", "#dcebff"],
];
const WARM = [
  ["#d3cec8", "#454039"],
  ["#edc18a", "#7d4f24"],
  ["#e0903f", "#bd6c22"],
  ["#b9560c", "#ef9f52"],
  ["#6f2a00", "#ffe2bd"],
];

const SEVERITIES = [
  { name: "nothing found", colour: GREY, shape: "disc" },
  { name: "worth knowing (tag)", colour: SKY, shape: "square" },
  { name: "can be tidied (normalise)", colour: BLUE, shape: "diamond", grow: 1 },
  { name: "defect", colour: VERMILLION, shape: "cross", grow: 2 },
];
const SEVERITY_LEVEL = { tag: 1, normalise: 2, defect: 3 };

const MARKS = [
  { name: "unmarked", colour: GREY, shape: "disc" },
  { name: "fine", mark: "fine", colour: GREEN, shape: "square", grow: 1 },
  { name: "low value", mark: "low value", colour: ORANGE, shape: "diamond", grow: 1 },
  { name: "edited", mark: "edit", colour: PURPLE, shape: "plus", grow: 2 },
  { name: "defect", mark: "defect", colour: VERMILLION, shape: "cross", grow: 2 },
];

/* A scheme gives {classes: [{name, colour, shape, grow}], classOf: class of each point, note}. Later classes are drawn
   above earlier ones, and stand before them in the legend unless it is said to be in order. */
const SCHEMES = {
  flaw: () => ({ classes: SEVERITIES, classOf: points.worst, note: "The worst flaw that a rule found in a row." }),
  cluster: byCluster,
  length: byLength,
  source: bySource,
  suspicion: bySuspicion,
  mark: byMark,
};

/** Give the scheme of a choice: a name of SCHEMES, or "rule 3" for one rule. */
function schemeOf(choice) {
  return choice.startsWith("rule ") ? byRule(Number(choice.slice(5))) : SCHEMES[choice]();
}

function byRule(number) {
  const rule = meta.rules[number];
  const found = pointsOfRule(number);
  const severity = SEVERITIES[SEVERITY_LEVEL[rule.severity]];
  const classes = [
    { ...SEVERITIES[0], name: "other rows" },
    { ...severity, name: rule.id, grow: 2 },
  ];
  return { classes, classOf: Uint8Array.from(points.row, (_, i) => Number(found.has(i))), note: rule.description };
}

function byCluster() {
  const colours = clusterColours();
  return {
    classes: CATEGORIES.map((colour, i) => ({ name: "", colour, shape: SHAPES[i] })),
    classOf: Uint8Array.from(points.cluster, (cluster) => colours[cluster]),
    note: "Neighbouring clusters differ in colour; their words stand on the map and in the list of clusters.",
    unlisted: true,
  };
}

/** Give each cluster, the largest first, the colour whose nearest bearer is farthest away. */
function clusterColours() {
  const colours = new Array(meta.clusters.length).fill(-1);
  const order = meta.clusters.map((_, i) => i).sort((a, b) => meta.clusters[b].rows - meta.clusters[a].rows || a - b);
  for (const one of order) {
    const room = new Array(CATEGORIES.length).fill(Infinity);
    meta.clusters.forEach((other, i) => {
      const { x, y } = meta.clusters[one];
      if (colours[i] >= 0) room[colours[i]] = Math.min(room[colours[i]], Math.hypot(other.x - x, other.y - y));
    });
    colours[one] = room.indexOf(Math.max(...room));
  }
  return colours;
}

function byLength() {
  const sorted = points.length.slice().sort();
  const ends = [0.2, 0.4, 0.6, 0.8, 1].map((share) => sorted[Math.max(Math.ceil(share * points.count) - 1, 0)] ?? 0);
  const distinct = [...new Set(ends)];
  const classes = distinct.map((end, i) => ({
    name: `${i ? `${written(distinct[i - 1] + 1)} to ` : "up to "}${written(end)}`,
    colour: COOL[distinct.length === 1 ? 2 : Math.round((i * 4) / (distinct.length - 1))],
    shape: "disc",
  }));
  const classOf = Uint8Array.from(points.length, (length) => distinct.findIndex((end) => length <= end));
  return { classes, classOf, note: `A row's length in ${meta.length_unit}.` };
}

function bySource() {
  const rows = new Array(meta.sources.length).fill(0);
  for (const source of points.source) rows[source]++;
  const order = rows.map((_, i) => i).sort((a, b) => rows[b] - rows[a] || a - b);
  const named = order.slice(0, CATEGORIES.length);
  const classes = named.map((source, i) => ({ name: meta.sources[source], colour: CATEGORIES[i], shape: SHAPES[i] }));
  if (named.length < order.length) classes.push({ name: "other sources", colour: GREY, shape: "disc" });
  const classOf = Uint8Array.from(points.source, (source) => {
    const place = named.indexOf(source);
    return place < 0 ? named.length : place;
  });
  return { classes, classOf, note: "Where a row says it comes from.", inOrder: true };
}

function bySuspicion() {
  const ends = [10, 25, 50, 75, 100];
  const classes = ends.map((end, i) => ({
    name: `${i ? ends[i - 1] : 0} to ${end} %`,
    colour: WARM[i],
    shape: "disc",
    grow: i > 2 ? 1 : 0,
  }));
  const classOf = Uint8Array.from(points.suspicion, (value) => ends.findIndex((end) => value * 100 <= end * 255));
  const note = "How much a row is like those that people marked as defects: an order for reading, not a verdict.";
  return { classes, classOf, note };
}

function byMark() {
  const classOf = Uint8Array.from(points.row, (row) => {
    const mark = marks.get(row)?.mark;
    return mark ? MARKS.findIndex((one) => one.mark === mark) : 0;
  });
  return { classes: MARKS, classOf, note: "Your marks." };
}

/** Whether the reader's system asks for dark pages: the second colour of each pair. */
const dark = matchMedia("(prefers-color-scheme: dark)");
const shade = (pair) => pair[dark.matches ? 1 : 0];

/** Give a colour as one number of an ImageData, whose bytes are red, green, blue, alpha. */
function pixel(pair) {
  const rgb = parseInt(shade(pair).slice(1), 16);
  return (0xff000000 | ((rgb & 0xff) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
}

/** Whether the pixel (x, y), counted from the middle, belongs to a shape of this diameter. */
function covers(shape, x, y, diameter) {
  const radius = diameter / 2;
  const arm = Math.max(diameter / 6, 0.5);
  const [ax, ay] = [Math.abs(x), Math.abs(y)];
  if (diameter <= 3 || shape === "square") return true;
  if (shape === "diamond") return ax + ay <= radius;
  if (shape === "plus") return ax <= arm || ay <= arm;
  if (shape === "cross") return Math.abs(ax - ay) <= arm * 1.3;
  const distance = Math.hypot(x, y);
  return distance <= radius && (shape !== "ring" || distance > radius - Math.max(diameter / 5, 1));
}

/** Give a shape's pixels as [dx, dy] from its middle. */
function shapePixels(shape, diameter) {
  const found = [];
  const shift = (diameter - 1) / 2;
  for (let y = 0; y < diameter; y++) {
    for (let x = 0; x < diameter; x++) {
      if (covers(shape, x - shift, y - shift, diameter)) found.push([x - Math.floor(shift), y - Math.floor(shift)]);
    }
  }
  return found;
}

/** Draw the sign of a class, as it stands on the map, for the legend and lists. */
function glyph(oneClass) {
  const side = 12;
  const canvas = make("canvas", { width: 2 * side, height: 2 * side, class: "glyph", "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  context.fillStyle = shade(oneClass.colour);
  const middle = side - 1;
  for (const [dx, dy] of shapePixels(oneClass.shape, oneClass.shape === "disc" ? 14 : 18)) {
    context.fillRect(middle + dx, middle + dy, 1, 1);
  }
  return canvas;
}
