// Writes the page's state into the address bar and reads it back, for links and the back button.

import { fresh } from "./state.js";

const SIMPLE = { q: "words", modality: "modality", mode: "mode", table: "table", view: "view", sort: "sort", by: "by", at: "at" };
const VIEWS = ["search", "map", "duplicates", "dataset"];
const OTHERS = ["part", "dedup", "item"];

export function toAddress(state) {
  const usual = fresh();
  const query = new URLSearchParams();
  for (const [short, name] of Object.entries(SIMPLE)) {
    if (state[name] !== usual[name]) query.set(short, state[name]);
  }
  for (const part of state.parts) {
    if (part.kind !== "upload") query.append("part", `${part.weight}:${part.kind}:${part.value}`);
  }
  for (const [name, value] of Object.entries(state.filters)) query.set(name, value);
  if (state.dedup !== usual.dedup) query.set("dedup", state.dedup ?? "off");
  if (state.item !== null) query.set("item", state.item);
  const text = query.toString();
  return text ? `/?${text}` : "/";
}

export function fromAddress(search) {
  const query = new URLSearchParams(search);
  const state = fresh();
  for (const [short, name] of Object.entries(SIMPLE)) {
    if (query.has(short)) state[name] = query.get(short);
  }
  if (!["image", "text"].includes(state.modality)) state.modality = "image";
  if (!VIEWS.includes(state.view)) state.view = "search";
  if (state.by !== "words") state.by = "meaning";
  if (!/^(\d{4,6}-\d\d|none|-?\d+)$/.test(state.at)) state.at = "";
  state.parts = query.getAll("part").map(readPart).filter(Boolean);
  // Every other parameter may be a filter. main.js keeps those that the service offers.
  for (const [name, value] of query) {
    if (!(name in SIMPLE) && !OTHERS.includes(name)) state.filters[name] ??= value;
  }
  if (query.has("dedup")) {
    const threshold = Number(query.get("dedup"));
    state.dedup = threshold >= 0.5 && threshold <= 1 ? threshold : null;
  }
  if (/^-?\d+$/.test(query.get("item") ?? "")) state.item = Number(query.get("item"));
  return state;
}

function readPart(text) {
  const match = /^(-?\d+(?:\.\d+)?):(words|row|url):([^]+)$/.exec(text);
  if (!match) return null;
  const [, weight, kind, value] = match;
  if (Number(weight) === 0 || Math.abs(Number(weight)) > 100) return null;
  if (kind === "row" && !/^-?\d+$/.test(value)) return null;
  return { kind, weight: Number(weight), value: kind === "row" ? Number(value) : value };
}
