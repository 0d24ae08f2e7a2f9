// A search in the address bar: what people share, and what the back button goes through.

import { FILTERS, fresh } from "./state.js";

const SIMPLE = { q: "words", modality: "modality", mode: "mode", table: "table", view: "view" };

export function toAddress(state) {
  const usual = fresh();
  const query = new URLSearchParams();
  for (const [short, name] of Object.entries(SIMPLE)) {
    if (state[name] !== usual[name]) query.set(short, state[name]);
  }
  for (const part of state.parts) {
    if (part.kind !== "upload") query.append("part", `${part.weight}:${part.kind}:${part.value}`);
  }
  for (const name of Object.keys(FILTERS)) {
    if (state.filters[name] !== usual.filters[name]) query.set(name, state.filters[name]);
  }
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
  if (!["auto", "exact", "hnsw", "codes"].includes(state.mode)) state.mode = "auto";
  if (state.view !== "dataset") state.view = "search";
  state.parts = query.getAll("part").map(readPart).filter(Boolean);
  for (const [name, kind] of Object.entries(FILTERS)) {
    if (query.has(name)) state.filters[name] = readValue(query.get(name), kind);
  }
  if (!["hide", "strict", "show"].includes(state.filters.nsfw)) state.filters.nsfw = "hide";
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

function readValue(text, kind) {
  if (kind === "text") return text;
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : "";
}
