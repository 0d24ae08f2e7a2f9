// The state of the page as one plain object, and the request body made from it.

import { toFilter } from "./fields.js";
import { uploaded } from "./uploads.js";

export function fresh() {
  return {
    view: "search",
    table: "",
    words: "",
    parts: [], // { kind: "words" | "row" | "url" | "upload", value, weight }
    modality: "image",
    mode: "auto",
    dedup: 0.99,
    filters: {}, // values by name: see fields.js
    item: null,
  };
}

export const isAsking = (state) => state.words.trim() !== "" || state.parts.length > 0;
export const isPrivate = (state) => state.parts.some((part) => part.kind === "upload");

// The body of /api/search for a table with `columns` and a service that offers `filters`.
export function toBody(state, filters, columns) {
  const body = { modality: state.modality, mode: state.mode, operands: state.parts.map(operand) };
  if (state.table) body.table = state.table;
  if (state.words.trim()) body.operands.unshift({ words: state.words });
  if (state.dedup !== null) body.dedup = state.dedup;
  const filter = toFilter(state.filters, filters, columns);
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
