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
    sort: "", // a column, with a minus before it for the largest value first; see sorting.js
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
  if (state.sort) body.sort = state.sort;
  return withFilter(body, state, filters, columns);
}

// What /api/rows is asked for all pictures in the order of `sort`; `columns` says which it may name.
export function toListing(state, filters, columns, sort) {
  const body = { sort };
  if (state.table) body.table = state.table;
  Object.defineProperty(body, "columns", { value: columns }); // no part of what is sent
  return withFilter(body, state, filters, columns);
}

function withFilter(body, state, filters, columns) {
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
