/* The list of clusters, those with the most flaws first. */

let chosenCluster = -1;

const shareOfDefects = (cluster) => cluster.defects / cluster.rows;

/** Give the clusters' numbers, the worst first. */
function clusterOrder(by) {
  const keys = [shareOfDefects, (cluster) => cluster.suspicion ?? 0];
  if (by === "suspicion") keys.reverse();
  const before = (a, b) => {
    for (const key of keys) {
      const difference = key(meta.clusters[b]) - key(meta.clusters[a]);
      if (difference) return difference;
    }
    return a - b;
  };
  return meta.clusters.map((_, i) => i).sort(before);
}

function renderClusters() {
  const order = clusterOrder(byId("cluster-order").value);
  const most = Math.max(...meta.clusters.map(shareOfDefects), 0);
  refill(byId("cluster-list"), ...order.map((number) => clusterItem(number, most)));
}

function clusterItem(number, most) {
  const cluster = meta.clusters[number];
  const facts = [counted(cluster.rows, "row"), `${written(cluster.defects)} with a defect`];
  if (cluster.suspicion !== null) facts.push(`suspicion ${Math.round(100 * cluster.suspicion)} %`);
  const bar = make("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", `${most ? (100 * shareOfDefects(cluster)) / most : 0}%`);
  const item = button("", () => openCluster(number), { class: "item", "data-key": `cluster-${number}` });
  const line = make("span", { class: "line" }, make("b", { dir: "auto" }, clusterName(number)));
  line.append(make("span", { class: "share" }, percent(cluster.defects, cluster.rows)));
  item.append(line, bar, make("span", { class: "quiet" }, facts.join(" · ")));
  item.setAttribute("aria-current", String(number === chosenCluster && state.selection.length > 0));
  item.dataset.cluster = number;
  return make("li", {}, item);
}

/** Fly to a cluster and select its rows; the list stays, so that one can go through it. */
function openCluster(number) {
  chosenCluster = number;
  const members = pointsWhere((point) => points.cluster[point] === number);
  select(members, `cluster: ${clusterName(number)}`, false);
  renderClusters();
  flyToPoints(members);
}

function setUpClusters() {
  const none = meta.clusters.some((cluster) => cluster.defects) ? "" : "No row of this file has a defect. ";
  byId("clusters-note").textContent = `${none}Choose a cluster to go there and to select its rows.`;
  byId("cluster-order-choice").hidden = !meta.has_suspicion;
  byId("cluster-order").addEventListener("change", renderClusters);
  renderClusters();
  const of = meta.of === "both" ? "instructions and outputs" : meta.of;
  const made = `Laid out from ${of} with ${meta.embedder}, seed ${meta.seed}.`;
  const keys = ["Drag to move, scroll or pinch to zoom. Keys: + and − zoom, 0 shows all, / searches,"];
  keys.push("j and k go to the next and the previous row, Escape closes.");
  if (meta.served)
    keys.push("d, l, f and e mark the open row, u takes the mark back, n opens the next suspicious row.");
  const file = `${meta.file}, ${counted(meta.rows, "row")}, SHA-256 ${meta.sha256}`;
  byId("about").append(
    make("p", {}, "Each point is a row. Rows that use similar words lie near each other; the directions mean nothing."),
    make("p", {}, keys.join(" ")),
    make("p", {}, made),
    make("p", { class: "hash" }, file),
  );
}
