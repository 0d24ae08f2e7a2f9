// The page's controller: one state, rendered after every change and kept in the address bar.

import { fromAddress, toAddress } from "./address.js";
import { getJson, inTable } from "./api.js";
import { readFacets } from "./facets.js";
import { Detail } from "./detail.js";
import { $ } from "./dom.js";
import { known, offeredBy } from "./fields.js";
import { isMode } from "./modes.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { Query } from "./query.js";
import { Results } from "./results.js";
import { fresh, isAsking, isPrivate, toBody } from "./state.js";
import { showCount, showEngine, clearStatus, showProblem } from "./status.js";
import { offerExport } from "./export.js";
import { follow } from "./tile.js";
import { isKept } from "./uploads.js";
import { Welcome } from "./welcome.js";

let state = fresh();
let info = null;
let awaited = null; // a table whose description is on its way, and the promise of it
let shownBody = null; // the request body of the displayed search, as text
let isTyping = false; // whether the newest history entry is still being typed
const rows = new Map(); // the rows of the query, by id
const statistics = new Map(); // by table

const results = new Results({
  began: () => $("grid").setAttribute("aria-busy", "true"),
  found(answer, isFirst, milliseconds) {
    $("grid").removeAttribute("aria-busy");
    showProblem("");
    if (isFirst) grid.replace(answer.hits, state.table);
    else grid.append(answer.hits, state.table);
    if (isFirst) showEngine(answer.search, milliseconds);
    showStatus();
    // An observer reports changes only. Observe again, in case the page is still too short.
    watcher.unobserve($("more"));
    watcher.observe($("more"));
    detail.showPlace();
  },
  failed(message, isFirst) {
    $("grid").removeAttribute("aria-busy");
    if (isFirst) {
      results.hits = [];
      grid.clear();
      clearStatus();
    }
    showStatus();
    $("count").textContent = isFirst ? "" : $("count").textContent;
    showProblem(message);
  },
});

const act = {
  href: (hit) => toAddress({ ...state, item: hit.id }),
  open: (hit) => change({ item: hit.id }, "step", hit),
  findSimilar: (hit) => change({ ...asking([]), parts: [rowPart(hit, 1)] }, "step"),
  add: (hit) => change(asking([...state.parts, rowPart(hit, 1)]), "step"),
  subtract: (hit) => change(asking([...state.parts, rowPart(hit, -1)]), "step"),
  place: (id) => ({ at: results.hits.findIndex((hit) => hit.id === id), count: results.hits.length, hasMore: results.cursor !== null }),
  async step(id, by) {
    const at = results.hits.findIndex((hit) => hit.id === id);
    if (at < 0) return;
    if (at + by >= results.hits.length) await results.more();
    const hit = results.hits[at + by];
    if (hit) change({ item: hit.id }, "replace", hit);
  },
  close() {
    const { item } = state;
    if (item === null) return;
    if (history.state?.depth) history.go(-history.state.depth);
    else change({ item: null }, "replace");
    grid.focus(item);
  },
};

const grid = new Grid($("grid"), act, () => showStatus());
const welcome = new Welcome(act);
const detail = new Detail(act);
const query = new Query(change);
const filters = new Filters(change);
const watcher = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) results.more();
}, { rootMargin: "300px" });

function asking(parts) {
  const words = parts.length ? state.words : "";
  return { parts, words, item: null, view: "search" };
}

function rowPart(hit, weight) {
  rows.set(hit.id, hit);
  return { kind: "row", value: hit.id, weight };
}

// Apply a change. A step adds a history entry; typing keeps replacing one entry.
function change(patch, kind, hit) {
  const opened = state.item === null ? 0 : history.state?.depth;
  state = { ...state, ...patch };
  if ("words" in patch) state.view = "search";
  const address = toAddress(state);
  const isNew = address !== location.pathname + location.search || isPrivate(state);
  if (kind === "replace" || (kind === "typing" && isTyping)) {
    history.replaceState({ state, depth: opened }, "", address);
  } else if (isNew) {
    // `depth`: the number of entries between an open row and its search; undefined for a shared link.
    history.pushState({ state, depth: state.item === null ? 0 : opened === undefined ? undefined : opened + 1 }, "", address);
  }
  isTyping = kind === "typing";
  show(hit);
}

function showStatus() {
  const isShown = isAsking(state);
  if (isShown) showCount(results.hits.length - grid.hiddenCount, grid.hiddenCount, results.cursor !== null);
  $("more").hidden = !isShown || results.cursor === null;
}

async function show(hit) {
  const isDataset = state.view === "dataset";
  $("dataset").hidden = !isDataset;
  $("search-view").hidden = isDataset;
  $("controls").hidden = isDataset;
  mark($("to-dataset"), isDataset);
  mark($("to-search"), !isDataset);
  $("to-search").href = toAddress({ ...state, view: "search", item: null });
  $("to-dataset").href = toAddress({ ...fresh(), table: state.table, view: "dataset" });
  $("private").hidden = !isPrivate(state);
  query.show(state, rows, state.table);
  filters.show(state);
  document.title = titleOf(state);
  $("title").textContent = isDataset ? "The dataset" : "Search pictures";
  try {
    await prepare();
  } catch (error) {
    showProblem(error.message);
    return;
  }
  filters.show(state);
  if (isDataset) await showDataset();
  else showSearch();
  showItem(hit);
}

const mark = (link, isCurrent) => (isCurrent ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current"));

function titleOf({ view, words, parts }) {
  if (view === "dataset") return "Dataset – cliphouse";
  const named = words.trim() || (parts.length ? "More like this" : "");
  return named ? `${named} – cliphouse` : "cliphouse";
}

function showSearch() {
  if (!isAsking(state)) {
    results.reset();
    shownBody = null;
    grid.clear();
    clearStatus();
    showStatus();
    readStatistics().then((stats) => { if (!isAsking(state)) welcome.show(stats, state.table); }, (error) => showProblem(error.message));
    return;
  }
  welcome.hide();
  const body = toBody(state, offeredBy(info), new Set(info.summary.columns.map((column) => column.name)));
  const text = JSON.stringify(body);
  if (text === shownBody) return;
  shownBody = text;
  window.scrollTo(0, 0);
  results.start(body);
}

async function showDataset() {
  try {
    const [stats, facets, drawing] = await Promise.all([readStatistics(), readFacets(info, state.table), import("./dataset.js")]);
    drawing.showDataset(info, stats, facets);
  } catch (error) {
    showProblem(error.message);
  }
}

function showItem(hit) {
  if (state.item === null) detail.hide();
  else detail.show(state.item, hit ?? results.hits.find((one) => one.id === state.item), { table: state.table, modalities: info.summary.modalities });
}

async function readStatistics() {
  const { table } = state;
  if (!statistics.has(table)) {
    statistics.set(table, await getJson(inTable("/api/stats", table)));
  }
  filters.offerValues(statistics.get(table), state.filters);
  return statistics.get(table);
}

async function readValues() {
  const [, facets] = await Promise.all([readStatistics(), readFacets(info, state.table)]);
  filters.offerOwnValues(facets, state.filters);
}

// Load the table's description. It is asked for once, however many changes wait for it: the filters
// are made anew when it arrives, and what is typed there later would be lost at the next.
async function describe() {
  const { table } = state;
  if (info !== null && (table || info.tables[0]) === info.summary.table) return;
  if (awaited?.table !== table) awaited = { table, answer: getJson(inTable("/api/info", table)) };
  const mine = awaited;
  try {
    const answer = await mine.answer;
    if (awaited === mine) {
      rows.clear();
      info = answer;
      filters.offer(info);
    }
  } finally {
    if (awaited === mine) awaited = null;
  }
  if (state.table !== table) await describe();
}

// Load what rendering needs: the table's description and the rows in the chips.
async function prepare() {
  await describe();
  const mode = isMode(state.mode) ? state.mode : "auto";
  state = { ...state, mode, filters: known(state.filters, offeredBy(info)) };
  const unknown = state.parts.filter((part) => part.kind === "row" && !rows.has(part.value));
  await Promise.allSettled(unknown.map(async ({ value }) => {
    rows.set(value, { caption: "", url: "", ...(await getJson(inTable(`/api/items/${value}`, state.table))) });
  }));
}

// Show a search from the address bar or the history. Uploaded pictures do not survive a reload.
function enter(entered) {
  state = { ...entered, parts: entered.parts.filter((part) => part.kind !== "upload" || isKept(part.value)) };
  isTyping = false;
  return show();
}

function listen() {
  addEventListener("popstate", (event) => enter(event.state?.state ?? fromAddress(location.search)));
  $("home").addEventListener("click", follow(() => change({ ...fresh(), table: state.table }, "step")));
  $("to-search").addEventListener("click", follow(() => change({ view: "search" }, "step")));
  $("to-dataset").addEventListener("click", follow(() => change({ view: "dataset", item: null }, "step")));
  $("more").addEventListener("click", () => results.more());
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input, textarea, select") || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    $("words").focus();
  });
  offerExport(results, () => state);
  // The menus' values need statistics, so count them only when somebody opens the filters.
  $("filters-menu").addEventListener("toggle", () => {
    if ($("filters-menu").open) readValues().catch((error) => showProblem(error.message));
  });
}

listen();
enter(history.state?.state ?? fromAddress(location.search));
