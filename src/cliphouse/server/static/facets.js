// Counts by value of the columns of a table's own, from /api/facets. They are counted once.

import { postJson } from "./api.js";

const AT_ONCE = 20; // columns of a request
const VALUES = 100;
const MENUS = ["own_values"];
const CHARTS = ["own_flag", "own_numbers", "own_days", "own_times"];
const counted = new Map(); // by table and kinds

// The facets of the columns whose filters are menus. `info` is the answer of /api/info.
export const readMenus = (info, table) => read(info, table, MENUS);

// The folders with their rows, if the table has any.
export async function readFolders(info, table) {
  if (!info.fields.own.some(({ kind }) => kind === "own_folder")) return null;
  return (await postJson("/api/groups", { column: "folder", ...(table && { table }) })).groups;
}

// The facets of the columns that have charts, in the order of their filters.
export async function readCharts(info, table) {
  const facets = (await Promise.all([readMenus(info, table), read(info, table, CHARTS)])).flat();
  const order = info.fields.own.map(({ column }) => column);
  return facets.sort((one, other) => order.indexOf(one.column) - order.indexOf(other.column));
}

function read(info, table, kinds) {
  const key = `${kinds} ${table}`;
  if (!counted.has(key)) {
    const columns = info.fields.own.filter(({ kind }) => kinds.includes(kind)).map(({ column }) => column);
    const answer = count(columns, table);
    answer.catch(() => counted.delete(key)); // the next try asks again
    counted.set(key, answer);
  }
  return counted.get(key);
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
