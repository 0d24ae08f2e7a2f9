// The filters that the service offers, and their values: what a person has set, by name. A filter
// that is not set has no value; the usual one of "hide" is to hide the worst.

export const HIDE = "hide";

// Under which names a filter's values are kept, in the state and in the address bar.
export function namesOf(filter) {
  return filter.kind === "one_of" || filter.kind === "hide" ? [filter.column.toLowerCase()] : filter.fields;
}

// What of `values`, which may come from anywhere, is a value of a filter that is offered.
export function known(values, filters) {
  const kept = {};
  for (const filter of filters) {
    for (const name of namesOf(filter)) {
      const value = read(values[name], filter.kind);
      if (value !== null) kept[name] = value;
    }
  }
  return kept;
}

function read(value, kind) {
  if (value === undefined || value === "") return null;
  if (kind === "range") return Number.isFinite(Number(value)) ? Number(value) : null;
  if (kind === "hide") return value === "strict" || value === "show" ? value : null;
  return value;
}

// The filter of a request's body. One whose column the table lacks is left out only if it is the
// usual one; others the service refuses, saying why.
export function toFilter(values, filters, columns) {
  const filter = {};
  for (const offered of filters) {
    const { kind, column, fields, unwanted } = offered;
    const value = values[namesOf(offered)[0]];
    if (kind === "hide") {
      if (value !== "show" && columns.has(column)) filter[fields[0]] = value === "strict" ? unwanted : unwanted.slice(0, 1);
    } else if (kind === "one_of") {
      if (value !== undefined) filter[fields[0]] = [value];
    } else {
      for (const name of fields) if (values[name] !== undefined) filter[name] = values[name];
    }
  }
  return filter;
}
