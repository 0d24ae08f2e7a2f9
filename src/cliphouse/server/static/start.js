// What the service is asked for first: the description of the table and, if the address asks for
// nothing else, the first of all pictures. The browser does so while it still loads the scripts,
// because the page's header Link names the same address (see page.py).

import { getJson, inTable } from "./api.js";

const isPlain = [...new URLSearchParams(location.search).keys()].every((name) => name === "table" || name === "item");
let isFirst = true;
let listed = null; // the first pictures, until they are taken

// The answer of /api/info; `usual` is the order of all pictures, if it is known.
export async function readInfo(table) {
  const isStart = isFirst && isPlain;
  isFirst = false;
  if (!isStart) return getJson(inTable("/api/info", table));
  const { info, list } = await getJson(inTable("/api/start", table));
  listed = { ...list, table: info.summary.table === info.tables[0] ? undefined : info.summary.table };
  return { ...info, usual: list.sort };
}

// The first pictures, if they are those of this table, sort and filter and were not taken before.
export function takeListed(table, sort, filter) {
  const mine = listed;
  listed = null;
  const isAsked = mine && mine.table === table && mine.sort === sort && JSON.stringify(mine.filter) === JSON.stringify(filter ?? {});
  return isAsked ? mine : null;
}
