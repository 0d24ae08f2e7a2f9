// The form of filters, and the other ways to search: modality, mode, near-duplicates, table.

import { $, el } from "./dom.js";
import { FILTERS, filtersSet, fresh } from "./state.js";

const WAIT = 250;

export class Filters {
  constructor(change) {
    this.change = change;
    const form = $("filters");
    form.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => change({ filters: this.read() }, "typing"), WAIT);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      change({ filters: fresh().filters }, "step");
    });
    for (const radio of document.getElementsByName("modality")) {
      radio.addEventListener("change", () => change({ modality: radio.value }, "step"));
    }
    $("mode").addEventListener("change", () => change({ mode: $("mode").value }, "step"));
    $("dedup").addEventListener("change", () => change({ dedup: Number($("dedup").value) || null }, "step"));
    $("table").addEventListener("change", () => change({ table: $("table").value, item: null }, "step"));
    closeWithEscape();
  }

  // What this table can be asked: `info` is /api/info's answer.
  offer(info) {
    const { columns, modalities } = info.summary;
    const names = new Set(columns.map((column) => column.name));
    for (const field of $("filters").elements) {
      const needed = { caption_contains: "caption", url_host: "url", nsfw: "NSFW", license: "license" }[field.name]
        ?? field.name.split("_")[1];
      if (field.name) field.closest("label").hidden = !names.has(needed);
    }
    for (const radio of document.getElementsByName("modality")) {
      radio.disabled = !modalities.includes(radio.value);
    }
    $("table-field").hidden = info.tables.length < 2;
    $("table").replaceChildren(...info.tables.map((name, i) => el("option", { value: i ? name : "" }, name)));
  }

  offerLicenses(shares, chosen) {
    const values = shares.map((share) => share.value).filter(Boolean);
    if (chosen && !values.includes(chosen)) values.push(chosen);
    const options = values.map((value) => el("option", { value }, value));
    $("filters").elements.license.replaceChildren(el("option", { value: "" }, "any"), ...options);
    $("filters").elements.license.value = chosen;
  }

  read() {
    const values = {};
    for (const [name, kind] of Object.entries(FILTERS)) {
      const field = $("filters").elements[name];
      const isNumber = kind === "number" && field.value !== "" && field.validity.valid;
      values[name] = kind === "text" ? field.value : isNumber ? Number(field.value) : "";
    }
    return values;
  }

  show(state) {
    for (const name of Object.keys(FILTERS)) {
      const field = $("filters").elements[name];
      const isBeingTyped = field === document.activeElement && field.tagName === "INPUT";
      if (name === "license" && state.filters.license && ![...field.options].some((o) => o.value === state.filters.license)) {
        field.append(el("option", { value: state.filters.license }, state.filters.license));
      }
      if (!isBeingTyped && field.value !== String(state.filters[name])) field.value = state.filters[name];
    }
    for (const radio of document.getElementsByName("modality")) radio.checked = radio.value === state.modality;
    $("mode").value = state.mode;
    showThreshold(state.dedup);
    $("table").value = state.table;
    const set = filtersSet(state);
    $("filters-count").hidden = set === 0;
    $("filters-count").textContent = set;
  }
}

function showThreshold(dedup) {
  const value = String(dedup ?? "");
  const isOffered = [...$("dedup").options].some((option) => option.value === value);
  if (!isOffered) $("dedup").append(el("option", { value }, `fold from ${value}`));
  $("dedup").value = value;
}

// Menus close with Escape and with a click elsewhere, and only one is open.
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
