// The filter form and the other search options: modality, mode, near-duplicates, table.

import { $, el, grouped } from "./dom.js";
import { HIDE, known, namesOf, offeredBy } from "./fields.js";
import { FOLDER } from "./folders.js";
import { offerModes } from "./modes.js";

const WAIT = 250;

export class Filters {
  constructor(change) {
    this.change = change;
    this.filters = [];
    const form = $("filters");
    form.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => change({ filters: this.read() }, "typing"), WAIT);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      change({ filters: {} }, "step");
    });
    for (const radio of document.getElementsByName("modality")) {
      radio.addEventListener("change", () => change({ modality: radio.value }, "step"));
    }
    $("mode").addEventListener("change", () => change({ mode: $("mode").value }, "step"));
    $("dedup").addEventListener("change", () => change({ dedup: Number($("dedup").value) || null }, "step"));
    $("table").addEventListener("change", () => change({ table: $("table").value, item: null }, "step"));
    closeWithEscape();
  }

  // Offer what fits this table. `info` is the answer of /api/info.
  offer(info) {
    const { columns, modalities } = info.summary;
    this.columns = new Set(columns.map((column) => column.name));
    this.filters = offeredBy(info);
    this.isMade = false;
    for (const radio of document.getElementsByName("modality")) {
      radio.disabled = !modalities.includes(radio.value);
    }
    offerModes(info.fields.modes);
    $("table-field").hidden = info.tables.length < 2;
    $("table").replaceChildren(...info.tables.map((name, i) => el("option", { value: i ? name : "" }, name)));
  }

  // Make the controls, when the menu is first opened: the first pictures need not wait for them.
  make() {
    if (this.isMade) return;
    this.isMade = true;
    $("filters").replaceChildren(...this.filters.map((filter) => {
      const control = CONTROLS[filter.kind](filter);
      control.hidden = !this.columns.has(filter.column) || filter.empty;
      return control;
    }), $("filters").querySelector("[type=reset]"));
  }

  // Fill the menus with the values counted in `statistics`, the answer of /api/stats.
  offerValues(statistics, chosen) {
    for (const filter of this.filters.filter(({ kind }) => kind === "one_of")) {
      const [name] = namesOf(filter);
      fillMenu(name, statistics[name], chosen[name]);
    }
  }

  // Fill the menus of the table's own columns with the values in `facets`, from /api/facets.
  offerOwnValues(facets, chosen) {
    for (const { column, fields: [name] } of this.filters.filter(({ kind }) => kind === "own_values")) {
      const facet = facets.find((one) => one.column === column);
      if (facet) fillMenu(name, facet.values, chosen[name]);
    }
  }

  // Fill the menu of folders with those in `groups`, from /api/groups, and the folders around them.
  offerFolders(groups, chosen) {
    const counts = new Map();
    for (const { value, rows } of groups) {
      const parts = value ? value.split("/") : [];
      for (let depth = 1; depth <= parts.length; depth += 1) {
        const path = parts.slice(0, depth).join("/");
        counts.set(path, (counts.get(path) ?? 0) + rows);
      }
    }
    const paths = [...counts.keys()].toSorted();
    const name = (path) => `${"\u2003".repeat(path.split("/").length - 1)}${path.split("/").at(-1)} (${grouped(counts.get(path))})`;
    if (chosen[FOLDER] && !counts.has(chosen[FOLDER])) paths.push(chosen[FOLDER]);
    const options = paths.map((path) => el("option", { value: path }, counts.has(path) ? name(path) : path));
    const menu = $("filters").elements[FOLDER];
    menu.replaceChildren(el("option", { value: "" }, "any"), ...options);
    menu.value = chosen[FOLDER] ?? "";
  }

  read() {
    const fields = [...$("filters").elements].filter((field) => field.name && field.validity.valid);
    return known(Object.fromEntries(fields.map((field) => [field.name, field.value])), this.filters);
  }

  show(state) {
    if ($("filters-menu").open) this.make();
    for (const filter of this.isMade ? this.filters : []) {
      for (const name of namesOf(filter)) showValue($("filters").elements[name], filter.kind, state.filters[name]);
    }
    for (const radio of document.getElementsByName("modality")) radio.checked = radio.value === state.modality;
    $("mode").value = state.mode;
    showThreshold(state.dedup);
    $("table").value = state.table;
    const set = Object.keys(known(state.filters, this.filters)).length;
    $("filters-count").hidden = set === 0;
    $("filters-count").textContent = set;
  }
}

// `counted` are values with their rows, the most frequent first.
function fillMenu(name, counted, chosen) {
  const options = counted.filter(({ value }) => value).map(({ value, rows }) => el("option", { value }, `${value} (${grouped(rows)})`));
  if (chosen && !counted.some(({ value }) => value === chosen)) options.push(el("option", { value: chosen }, chosen));
  $("filters").elements[name].replaceChildren(el("option", { value: "" }, "any"), ...options);
  $("filters").elements[name].value = chosen ?? "";
}

function showValue(field, kind, value) {
  const shown = String(value ?? (kind === "hide" ? HIDE : ""));
  if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === shown)) {
    field.append(el("option", { value: shown }, shown));
  }
  const isBeingTyped = field === document.activeElement && field.tagName === "INPUT";
  if (!isBeingTyped && field.value !== shown) field.value = shown;
}

const text = ({ label, fields, max_length: maxlength }, placeholder) =>
  el("label", {}, `${label} `, el("input", { name: fields[0], type: "text", maxlength, placeholder }));

const select = (filter, options) =>
  el("label", {}, `${filter.label} `, el("select", { name: namesOf(filter)[0] }, options.map(([value, name]) => el("option", { value }, name))));

const pair = (type) => ({ label, fields, low: min, high: max, step = "any" }) => el("fieldset", { class: "pair" },
  el("legend", {}, label),
  fields.map((name, i) => el("label", {}, i ? "to " : "from ", el("input", { name, type, min, max, step: type === "number" && step }))));

const CONTROLS = {
  contains: (filter) => text(filter),
  host: (filter) => text(filter, "example.org"),
  one_of: (filter) => select(filter, [["", "any"]]),
  hide: (filter) => select(filter, [
    [HIDE, "hide"],
    ["strict", `hide, ${filter.unwanted.slice(1).join(" and ").toLowerCase()} too`],
    ["show", "show"],
  ]),
  range: pair("number"),
  own_folder: (filter) => select(filter, [["", "any"]]),
  own_contains: (filter) => text(filter),
  own_values: (filter) => select(filter, [["", "any"]]),
  own_flag: (filter) => select(filter, [["", "any"], ["yes", "yes"], ["no", "no"]]),
  own_numbers: pair("number"),
  own_days: pair("date"),
  own_times: pair("date"),
};

function showThreshold(dedup) {
  const value = String(dedup ?? "");
  const isOffered = [...$("dedup").options].some((option) => option.value === value);
  if (!isOffered) $("dedup").append(el("option", { value }, `fold at ${value}`));
  $("dedup").value = value;
}

// Escape or a click outside closes a menu, so at most one is open.
function closeWithEscape() {
  const menus = [...document.querySelectorAll("details.menu")];
  for (const menu of menus) {
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      menu.querySelector("summary").focus();
      event.stopPropagation();
    });
  }
  document.addEventListener("click", (event) => {
    for (const menu of menus) if (!menu.contains(event.target)) menu.open = false;
  });
}
