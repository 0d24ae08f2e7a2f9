// What is searched for and how: one plain object, and the body of a request made of it.

import { uploaded } from "./uploads.js";

// The fields of the filter form, and what their values are; empty where they say nothing.
export const FILTERS = {
  caption_contains: "text",
  url_host: "text",
  license: "text",
  nsfw: "text",
  min_similarity: "number",
  max_similarity: "number",
  min_width: "number",
  max_width: "number",
  min_height: "number",
  max_height: "number",
};
const NEEDS = { caption_contains: "caption", url_host: "url", license: "license", nsfw: "NSFW",
  min_similarity: "similarity", max_similarity: "similarity", min_width: "width", max_width: "width",
  min_height: "height", max_height: "height" };

export function fresh() {
  const filters = Object.fromEntries(Object.keys(FILTERS).map((name) => [name, ""]));
  return {
    view: "search",
    table: "",
    words: "",
    parts: [], // { kind: "words" | "row" | "url" | "upload", value, weight }
    modality: "image",
    mode: "auto",
    dedup: 0.99,
    filters: { ...filters, nsfw: "hide" },
    item: null,
  };
}

export const isAsking = (state) => state.words.trim() !== "" || state.parts.length > 0;
export const isPrivate = (state) => state.parts.some((part) => part.kind === "upload");

// How many filters are set, beside the usual one.
export function filtersSet(state) {
  const usual = fresh().filters;
  return Object.keys(FILTERS).filter((name) => state.filters[name] !== usual[name]).length;
}

// The body of /api/search. A filter whose column the table lacks is left out only where it is the
// usual one; others the service refuses, saying why.
export function toBody(state, columns) {
  const body = { modality: state.modality, mode: state.mode, operands: state.parts.map(operand) };
  if (state.table) body.table = state.table;
  if (state.words.trim()) body.operands.unshift({ words: state.words });
  if (state.dedup !== null) body.dedup = state.dedup;
  const filter = toFilter(state.filters, columns);
  if (Object.keys(filter).length) body.filter = filter;
  return body;
}

function operand(part) {
  const { weight } = part;
  if (part.kind === "words") return { words: part.value, weight };
  if (part.kind === "row") return { id: part.value, weight };
  if (part.kind === "url") return { picture_url: part.value, weight };
  return { picture: uploaded(part.value).base64, weight };
}

function toFilter(values, columns) {
  const filter = {};
  for (const [name, value] of Object.entries(values)) {
    if (value === "" || name === "nsfw" || name === "license") continue;
    filter[name] = value;
  }
  if (values.license) filter.license_in = [values.license];
  if (values.nsfw !== "show" && columns.has(NEEDS.nsfw)) {
    filter.nsfw_not_in = values.nsfw === "strict" ? ["NSFW", "UNSURE"] : ["NSFW"];
  }
  return filter;
}
