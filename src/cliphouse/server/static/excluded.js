// Pictures that somebody has hidden, until they are shown again or the tab closes.

export const excluded = new Set(); // ids
let name = "";

// Those of another table.
export function excludedOf(table) {
  name = `cliphouse hidden ${table}`;
  excluded.clear();
  for (const id of JSON.parse(sessionStorage.getItem(name) ?? "[]")) excluded.add(id);
}

// Keep them for when the tab loads the page again.
export const keepExcluded = () => sessionStorage.setItem(name, JSON.stringify([...excluded]));
