// The Sort menu: the columns that pictures can be sorted by, and the headings of a sorted list.

import { $, el } from "./dom.js";
import { isLocal, pathOf } from "./picture.js";

const ENDS = {
  own_numbers: ["highest first", "lowest first"],
  own_days: ["newest first", "oldest first"],
  own_times: ["newest first", "oldest first"],
};
const TAKEN = "taken"; // the column of the time at which a photograph was taken

// The columns with numbers and times. `info` is the answer of /api/info.
function sortable(info) {
  const there = new Set(info.summary.columns.map(({ name }) => name));
  const ranges = info.fields.filters.filter(({ kind, column }) => kind === "range" && there.has(column));
  const own = info.fields.own.filter(({ kind }) => kind in ENDS);
  return [
    ...own.map(({ column, kind }) => ({ column, label: column, kind })),
    ...ranges.map(({ column, label }) => ({ column, label, kind: "own_numbers" })),
  ];
}

export class Sorting {
  constructor(change) {
    this.columns = [];
    $("sort").addEventListener("change", () => change({ sort: $("sort").value }, "step"));
  }

  offer(info) {
    this.columns = sortable(info);
    this.usual = this.columns.some(({ column, kind }) => column === TAKEN && kind !== "own_numbers") ? `-${TAKEN}` : "id";
    const options = this.columns.flatMap(({ column, label, kind }) =>
      ENDS[kind].map((end, i) => el("option", { value: i ? column : `-${column}` }, `${label}, ${end}`)));
    $("sort").replaceChildren(el("option", { value: "" }), ...options);
  }

  // A sort that this table has, from a link or the menu; "" otherwise.
  known(sort) {
    return this.find(sort) ? sort : "";
  }

  show(sort, isAsking) {
    const first = $("sort").options[0];
    if (first) first.textContent = isAsking ? "best match" : this.usual === "id" ? "as loaded" : "newest first";
    $("sort").value = sort;
  }

  // Whether the first of all pictures says that none has a date. From then on they come as loaded.
  isUndated(hits, sort) {
    if (sort || this.usual === "id" || (hits[0]?.[TAKEN] ?? null) !== null) return false;
    this.usual = "id";
    return true;
  }

  // The order of all pictures, if no other is chosen.
  listed(sort) {
    return sort || this.usual;
  }

  // How a sort is said in a sentence: "aesthetic, highest first".
  words(sort) {
    const found = this.find(sort);
    return found ? `${found.label}, ${ENDS[found.kind][found.column === sort ? 1 : 0]}` : "";
  }

  find(sort) {
    return this.columns.find(({ column }) => column === sort || `-${column}` === sort);
  }

  column(sort) {
    return this.find(sort)?.column;
  }

  // The value that a picture is sorted by, to show on its tile; null if there is none.
  note(hit, sort) {
    const found = this.find(sort);
    const value = found && hit[found.column];
    if (value === undefined || value === null) return null;
    const text = found.kind === "own_numbers" ? String(Number(Number(value).toPrecision(4))) : String(value).slice(0, 10);
    return { name: found.label, title: `${found.label}: ${value}`, text };
  }

  // The heading of the group that a picture of a list belongs to: its month, its folder, or none.
  heading(hit, sort) {
    if (sort === "id") return folderOf(hit);
    const found = this.find(sort);
    if (!found || found.kind === "own_numbers") return null;
    const value = hit[found.column];
    const month = /^(-?\d+)-(\d\d)/.exec(value ?? "");
    if (!month) return "No date";
    const day = new Date(Date.UTC(Number(month[1]), Number(month[2]) - 1));
    return day.toLocaleString("en", { month: "long", year: "numeric", timeZone: "UTC" });
  }
}

// The last two folders of a local file; null for a picture of the web.
function folderOf(hit) {
  if (!isLocal(hit)) return null;
  return pathOf(hit).split("/").slice(0, -1).filter(Boolean).slice(-2).join(" / ") || null;
}
