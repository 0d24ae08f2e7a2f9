// The dataset view: facts about the table, statistics of its rows, and measured recall.

import { bars, histogram, modeOf, recallPlot } from "./charts.js";
import { $, el, grouped } from "./dom.js";

const BARS = 20;
const UNITS = ["B", "kB", "MB", "GB", "TB"];

// `info` and `stats` are the answers of /api/info and /api/stats, `facets` those of /api/facets.
export function showDataset(info, stats, facets) {
  const { summary } = info;
  $("dataset").replaceChildren(el("div", {},
    el("h2", {}, `Table ${summary.table}`),
    facts(info),
    stats.counted < stats.rows && el("p", { class: "note" }, `The charts are based on a sample of ${grouped(stats.counted)} rows from the whole table.`),
    el("div", { class: "figures" }, figures(stats, info.fields.statistics), ownFigures(facets, info)),
    recall(summary.measured),
    columns(summary)));
}

function facts({ version, summary }) {
  const loaded = summary.last_load ? new Date(summary.last_load).toLocaleString() : "—";
  const entries = {
    rows: grouped(summary.rows),
    shards: grouped(summary.shards),
    "on disk": bytes(summary.disk_bytes),
    model: summary.model ?? "unknown",
    vectors: `${grouped(summary.dim)} dimensions, ${summary.precision}`,
    embeddings: summary.modalities.join(" and "),
    index: summary.indexes.map((index) => `${index.name}, ${bytes(index.memory_bytes)}`).join("; ") || "none",
    "last load": loaded,
    cliphouse: version,
  };
  return el("dl", { class: "facts" }, Object.entries(entries).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

const CHARTS = {
  histogram: (title, bins) => histogram(title, bins, (value) => value.toFixed(2)),
  pixels: (title, bins) => histogram(title, bins, (value) => `${grouped(Math.round(value))} px`),
  values: bars,
  sites: bars,
};

function figures(stats, fields) {
  const drawn = fields.filter(({ name }) => stats[name].some(({ value }) => value !== ""));
  return drawn.map(({ name, kind, title }) => CHARTS[kind](title, stats[name], stats.counted));
}

// A chart for each column of the table's own.
function ownFigures(facets, { fields, summary }) {
  const kinds = new Map(fields.own.map(({ column, kind }) => [column, kind]));
  return facets.filter(({ values, bins }) => values.length || bins.length).map(({ column, values, bins, nulls }) => {
    const title = nulls ? `${column} (${grouped(nulls)} rows without)` : column;
    if (bins.length) return histogram(title, bins, kinds.get(column) === "own_numbers" ? short : day);
    const shares = values.slice(0, BARS).map(({ value, rows }) => ({ value: String(value), rows }));
    return bars(title, shares, summary.rows);
  });
}

const short = (number) => String(Number(number.toPrecision(4)));
const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

function recall(measured) {
  if (!measured.length) {
    return el("p", { class: "note" }, "Recall has not been measured. Run cliphouse recall --save to measure it.");
  }
  const sorted = measured.toSorted((a, b) => a.k - b.k || a.query.localeCompare(b.query) || a.mode.localeCompare(b.mode) || a.width - b.width);
  const rows = sorted.map((entry) => [entry.modality, entry.query, modeOf(entry), entry.k, entry.recall.toFixed(3), entry.milliseconds.toFixed(1), entry.p95.toFixed(1), grouped(entry.queries)]);
  return el("section", { "aria-labelledby": "recall-title" },
    el("h3", { id: "recall-title" }, "Measured recall"),
    el("div", { class: "beside" }, recallPlot(measured),
      table("Measured recall", ["embeddings", "query", "mode", "k", "recall", "ms", "p95 ms", "queries"], rows)));
}

function columns(summary) {
  const rows = summary.columns.map((column) => [column.name, column.type, bytes(column.disk_bytes)]);
  return el("section", { "aria-labelledby": "columns-title" },
    el("h3", { id: "columns-title" }, "Columns"), table("Columns", ["name", "type", "on disk"], rows));
}

function table(label, headings, rows) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    el("table", {},
      el("thead", {}, el("tr", {}, headings.map((heading) => el("th", { scope: "col" }, heading)))),
      el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, String(cell))))))));
}

function bytes(count) {
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}
