// Charts as SVG. Screen readers get the numbers as text.

import { el, grouped, svg } from "./dom.js";
import { describe } from "./modes.js";

const WIDTH = 360;
const HEIGHT = 150;
const LEFT = 8;
const BOTTOM = 22;

// A histogram. Each of `bins` has low, high and rows.
export function histogram(title, bins, format) {
  const most = Math.max(1, ...bins.map((bin) => bin.rows));
  const step = (WIDTH - 2 * LEFT) / Math.max(1, bins.length);
  const room = HEIGHT - BOTTOM - 8;
  const bars = bins.map((bin, i) => {
    const height = (bin.rows / most) * room;
    const label = `${format(bin.low)} to ${format(bin.high)}: ${grouped(bin.rows)} rows`;
    return svg("rect", { class: "bar-mark", x: LEFT + i * step + 0.5, y: HEIGHT - BOTTOM - height, width: Math.max(1, step - 1), height },
      svg("title", {}, label));
  });
  const tallest = bins.reduce((best, bin) => (bin.rows > best.rows ? bin : best), bins[0]);
  const label = `${title}: from ${format(bins[0].low)} to ${format(bins.at(-1).high)}, most rows between ${format(tallest.low)} and ${format(tallest.high)}`;
  return figure(title, frame(label, WIDTH, HEIGHT, [
    ...bars,
    axis(HEIGHT - BOTTOM),
    text(LEFT, HEIGHT - 6, format(bins[0].low)),
    text(WIDTH / 2, HEIGHT - 6, format((bins[0].low + bins.at(-1).high) / 2), "middle"),
    text(WIDTH - LEFT, HEIGHT - 6, format(bins.at(-1).high), "end"),
  ]));
}

// A bar chart of values. Each of `shares` has value and rows.
export function bars(title, shares, total) {
  const line = 24;
  const most = Math.max(1, ...shares.map((share) => share.rows));
  const height = shares.length * line + 4;
  const marks = shares.flatMap((share, i) => {
    const name = share.value || "(empty)";
    const percent = `${((100 * share.rows) / Math.max(1, total)).toFixed(1)}%`;
    return [
      svg("rect", { class: "bar-mark faint", x: 0, y: i * line + 2, width: Math.max(1, (share.rows / most) * WIDTH), height: line - 4, rx: 3 },
        svg("title", {}, `${name}: ${grouped(share.rows)} rows`)),
      text(6, i * line + 17, name.length > 34 ? `${name.slice(0, 33)}…` : name),
      text(WIDTH - 6, i * line + 17, `${grouped(share.rows)}  ${percent}`, "end"),
    ];
  });
  const label = `${title}: ${shares.slice(0, 5).map((share) => `${share.value || "empty"} ${grouped(share.rows)}`).join(", ")}`;
  return figure(title, frame(label, WIDTH, height, marks));
}

// Recall against time: a point for each measured mode and width, a line through the widths of a mode.
export function recallPlot(measured) {
  const height = 240;
  const left = 44;
  const times = measured.map((entry) => Math.log10(Math.max(entry.milliseconds, 0.01)));
  const [least, most] = [Math.min(...times) - 0.1, Math.max(...times) + 0.1];
  const lowest = Math.min(0.9, Math.floor(Math.min(...measured.map((entry) => entry.recall)) * 10) / 10);
  const x = (entry) => left + ((Math.log10(Math.max(entry.milliseconds, 0.01)) - least) / (most - least)) * (WIDTH - left - 12);
  const y = (recall) => 10 + ((1 - recall) / (1 - lowest)) * (height - 44);
  const lines = Object.values(Object.groupBy(measured, (entry) => `${entry.mode} ${entry.query} ${entry.k} ${entry.modality} ${entry.metric}`)).flatMap((entries) => {
    const sorted = entries.toSorted((one, other) => one.width - other.width);
    const shape = `curve ${sorted[0].query}`;
    return [
      svg("polyline", { class: `${shape} line`, points: sorted.map((entry) => `${x(entry)},${y(entry.recall)}`).join(" ") }),
      ...sorted.map((entry) => svg("circle", { class: `${shape} point`, cx: x(entry), cy: y(entry.recall), r: 4 },
        svg("title", {}, `${modeOf(entry)}, ${entry.query} queries, k ${entry.k}: recall ${entry.recall.toFixed(3)} in ${entry.milliseconds.toFixed(1)} ms`))),
    ];
  });
  const grid = [1, (1 + lowest) / 2, lowest].flatMap((recall) => [
    svg("line", { class: "rule", x1: left, x2: WIDTH, y1: y(recall), y2: y(recall) }),
    text(left - 6, y(recall) + 4, recall.toFixed(2), "end"),
  ]);
  const ends = [least, most].map((power, i) => text(i ? WIDTH : left, height - 16, `${(10 ** power).toPrecision(2)} ms`, i ? "end" : "start"));
  const label = "Recall against milliseconds for each measured mode; the table has the figures";
  return figure("Recall against time", frame(label, WIDTH, height, [...grid, ...lines, ...ends]),
    el("p", { class: "key" }, el("span", { class: "dot text" }), "text queries ", el("span", { class: "dot image" }), "image queries"));
}

export const modeOf = (entry) => describe(entry.mode, entry.width);

function figure(title, ...content) {
  return el("figure", {}, el("figcaption", {}, title), ...content);
}

function frame(label, width, height, marks) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, marks);
}

const axis = (y) => svg("line", { class: "rule", x1: LEFT, x2: WIDTH - LEFT, y1: y, y2: y });

const text = (x, y, words, anchor = "start") => svg("text", { x, y, "text-anchor": anchor }, words);
