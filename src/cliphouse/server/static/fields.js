// The filters that the service offers, and the values that are set, by name. A filter that is not
// set has no value. The default of a "hide" filter hides the worst values. Filters on columns of the
// table's own have kinds that begin with "own".

export const HIDE = "hide";
const DAY = /^\d{4}-\d\d-\d\d$/;
const CHOICES = { hide: ["strict", "show"], own_flag: ["yes", "no"] };

// What an own filter asks of its column, by its kind; a value that is not set is undefined.
const bounds = (min, max) => ({ min, max });
const OWN = {
  own_folder: (under) => ({ under }),
  own_contains: (contains) => ({ contains }),
  own_values: (value) => [value],
  own_flag: (value) => [value === "yes"],
  own_numbers: bounds,
  own_days: bounds,
  own_times: (min, max) => bounds(min, max && `${max} 23:59:59.999999999`),
};

// All filters of a table. `info` is the answer of /api/info.
export const offeredBy = (info) => [...info.fields.filters, ...info.fields.own];

// The names of a filter's values in the state and in the address bar.
export function namesOf(filter) {
  return filter.kind === "one_of" || filter.kind === "hide" ? [filter.column.toLowerCase()] : filter.fields;
}

// The valid values of offered filters in `values`, which may come from a link.
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
  if (kind === "range" || kind === "own_numbers") return Number.isFinite(Number(value)) ? Number(value) : null;
  if (kind === "own_days" || kind === "own_times") return DAY.test(value) ? value : null;
  return CHOICES[kind]?.includes(value) === false ? null : value;
}

// The filter of a request body. If the table lacks a column, its default filter is left out. The
// service refuses any other filter on that column and says why.
export function toFilter(values, filters, columns) {
  const filter = Object.create(null); // a column may have any name
  for (const offered of filters) {
    const { kind, column, fields, unwanted } = offered;
    const value = values[namesOf(offered)[0]];
    if (kind === "hide") {
      if (value !== "show" && columns.has(column)) filter[fields[0]] = value === "strict" ? unwanted : unwanted.slice(0, 1);
    } else if (kind === "one_of") {
      if (value !== undefined) filter[fields[0]] = [value];
    } else if (kind in OWN) {
      const set = fields.map((name) => values[name]);
      if (set.some((one) => one !== undefined)) filter[column] = OWN[kind](...set);
    } else {
      for (const name of fields) if (values[name] !== undefined) filter[name] = values[name];
    }
  }
  return filter;
}
