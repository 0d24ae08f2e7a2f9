// Counts by value of the columns of a table's own, from /api/facets. They are counted once.

import { postJson } from "./api.js";

const AT_ONCE = 20; // columns of a request
const VALUES = 100;
const counted = new Map(); // by table

// The facets of the columns with own filters, but for those of any text. `info` is the answer of
// /api/info.
export function readFacets(info, table) {
  if (!counted.has(table)) {
    const columns = info.fields.own.filter(({ kind }) => kind !== "own_contains").map(({ column }) => column);
    const answer = count(columns, table);
    answer.catch(() => counted.delete(table)); // the next try asks again
    counted.set(table, answer);
  }
  return counted.get(table);
}

async function count(columns, table) {
  const facets = [];
  for (let start = 0; start < columns.length; start += AT_ONCE) {
    const body = { columns: columns.slice(start, start + AT_ONCE), values: VALUES };
    if (table) body.table = table;
    facets.push(...(await postJson("/api/facets", body)).facets);
  }
  return facets;
}
