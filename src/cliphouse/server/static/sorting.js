// The Sort menu: the columns that pictures can be sorted by, and the headings of a sorted list.

import { $, el } from "./dom.js";
import { FOLDER } from "./folders.js";
import { isLocal, pathOf } from "./picture.js";

const ENDS = {
  own_numbers: ["highest first", "lowest first"],
  own_days: ["newest first", "oldest first"],
  own_times: ["newest first", "oldest first"],
};
const UNDATED = "none";
const TAKEN = "taken"; // the column of the time at which a photograph was taken

// The columns with numbers and times. `info` is the answer of /api/info.
function sortable(info) {
  const there = new Set(info.summary.columns.map(({ name }) => name));
  const ranges = info.fields.filters.filter(({ kind, column, empty }) => kind === "range" && there.has(column) && !empty);
  const own = info.fields.own.filter(({ kind }) => kind in ENDS);
  return [
    ...own.filter(({ empty }) => !empty),
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
    this.hasFolders = info.fields.own.some(({ fields }) => fields.includes(FOLDER));
    this.usual = info.usual ?? (this.columns.some(({ column, kind }) => column === TAKEN && kind !== "own_numbers") ? `-${TAKEN}` : "id");
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
    if (sort || this.usual === "id" || !hits.length || (hits[0][TAKEN] ?? null) !== null) return false;
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
    return found ? `${found.label[0].toLowerCase()}${found.label.slice(1)}, ${ENDS[found.kind][found.column === sort ? 1 : 0]}` : "";
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
    return this.isDated(sort) ? monthOf(hit[this.column(sort)]) : null;
  }

  isDated(sort) {
    const found = this.find(sort);
    return found !== undefined && found.kind !== "own_numbers";
  }

  // The column by which a list in this order falls into groups; null if it does not.
  groups(sort) {
    if (sort === "id") return this.hasFolders ? "folder" : null;
    return this.isDated(sort) ? this.column(sort) : null;
  }

  // The groups of a list in this order, as stops of the strip beside it. `at` is where the list begins
  // if somebody goes to it, `value` what its pictures have.
  stops(groups, sort) {
    if (sort === "id") {
      const placed = groups.toSorted((one, other) => one.first - other.first);
      return placed.map(({ value, rows, first }) => ({ value, rows, at: String(first), label: value?.split("/").join(" / ") || "Top folder", mark: value?.split("/").at(-1) }));
    }
    const dated = groups.filter(({ value }) => value !== null);
    const ordered = sort.startsWith("-") ? dated.toReversed() : dated;
    const stops = ordered.map(({ value, rows }) => ({ value, rows, at: value, label: monthOf(value), mark: value.split("-").slice(0, -1).join("-") }));
    const rest = groups.find(({ value }) => value === null);
    return rest ? [...stops, { value: null, rows: rest.rows, at: UNDATED, label: monthOf(null), mark: "–" }] : stops;
  }

  // What a picture has that the `value` of a stop says.
  valueOf(hit, sort) {
    return sort === "id" ? hit.folder ?? null : MONTH.exec(hit[this.column(sort)] ?? "")?.[0] ?? null;
  }

  // The place in the order that `at` says, as /api/rows takes it; null for the beginning.
  start(at, sort) {
    const isMonth = MONTH.test(at);
    if (!at || (at === UNDATED || isMonth) !== this.isDated(sort) || (sort === "id") !== /^-?\d+$/.test(at)) return null;
    if (sort === "id") return { value: Number(at) };
    if (at === UNDATED) return { value: null };
    if (!sort.startsWith("-")) return { value: `${at}-01` };
    const [year, month] = at.split("-").map(Number);
    const last = `${at}-${new Date(Date.UTC(year, month, 0)).getUTCDate()}`;
    return { value: this.find(sort).kind === "own_days" ? last : `${last} 23:59:59.999999999` };
  }
}

const MONTH = /^\d{4,6}-\d\d(?!\d)/;

function monthOf(value) {
  const [year, month] = MONTH.exec(value ?? "")?.[0].split("-").map(Number) ?? [];
  if (!month) return "No date";
  const day = new Date(Date.UTC(year, month - 1));
  return day.toLocaleString("en", { month: "long", year: "numeric", timeZone: "UTC" });
}

// The folder within that which was synced, or else the last two folders of a local file; null for a
// picture of the web.
function folderOf(hit) {
  if (hit.folder) return hit.folder.split("/").join(" / ");
  if (!isLocal(hit)) return null;
  return pathOf(hit).split("/").slice(0, -1).filter(Boolean).slice(-2).join(" / ") || null;
}
