// The state of the page as one plain object, and the request body made from it.

import { toFilter } from "./fields.js";
import { uploaded } from "./uploads.js";

export function fresh() {
  return {
    view: "search",
    table: "",
    words: "",
    by: "meaning", // or "words": what names and captions contain
    parts: [], // { kind: "words" | "row" | "url" | "upload", value, weight }
    modality: "image",
    mode: "auto",
    dedup: 0.99,
    sort: "", // a column, with a minus before it for the largest value first; see sorting.js
    at: "", // where all pictures begin: a month, "none" for those without a date, or an id
    filters: {}, // values by name: see fields.js
    item: null,
  };
}

export const isNaming = (state) => state.by === "words" && state.words.trim() !== "" && state.parts.length === 0;
export const isAsking = (state) => !isNaming(state) && (state.words.trim() !== "" || state.parts.length > 0);
export const isPrivate = (state) => state.parts.some((part) => part.kind === "upload");

// The body of /api/search for a table with `columns` and a service that offers `filters`.
export function toBody(state, filters, columns) {
  const body = { modality: state.modality, mode: state.mode, operands: state.parts.map(operand) };
  if (state.table) body.table = state.table;
  if (state.words.trim()) body.operands.unshift({ words: state.words });
  if (state.dedup !== null) body.dedup = state.dedup;
  if (state.sort) body.sort = state.sort;
  return withFilter(withColumns(body, columns), state, filters, columns);
}

// What /api/rows is asked for all pictures in the order of `sort`, from `start` on, or for those whose
// names or captions have the words.
export function toListing(state, filters, columns, sort, start) {
  const body = { sort };
  if (state.table) body.table = state.table;
  if (state.words.trim()) body.mention = state.words;
  else if (start) body.start = start;
  return withFilter(withColumns(body, columns), state, filters, columns);
}

// The names of the columns that it may ask for. They are no part of what is sent.
const withColumns = (body, columns) => Object.defineProperty(body, "columns", { value: columns });

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
