// The page's controller: one state, rendered after every change and kept in the address bar.

import { fromAddress, toAddress } from "./address.js";
import { getJson, inTable } from "./api.js";
import { readCharts, readMenus } from "./facets.js";
import { Detail } from "./detail.js";
import { $, toast } from "./dom.js";
import { known, offeredBy } from "./fields.js";
import { isMode } from "./modes.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { Query } from "./query.js";
import { Listing, Results, SORTED } from "./results.js";
import { Selection } from "./selection.js";
import { Sorting } from "./sorting.js";
import { fresh, isAsking, isPrivate, toBody, toListing } from "./state.js";
import { showCount, showEngine, clearStatus, showProblem } from "./status.js";
import { offerExport } from "./export.js";
import { MEMBERS, STACK, follow } from "./tile.js";
import { isKept } from "./uploads.js";

let state = fresh();
let info = null;
let awaited = null; // a table whose description is on its way, and the promise of it
let shownBody = null; // the request body of the displayed search, as text
let isTyping = false; // whether the newest history entry is still being typed
const rows = new Map(); // the rows of the query, by id
const statistics = new Map(); // by table

const results = new Results(listener(() => results));
const listing = new Listing(listener(() => listing)); // all pictures, shown if nothing is searched for

// What is shown: the search, or all pictures.
const current = () => (isAsking(state) ? results : listing);

function listener(source) {
  return {
    began: () => $("grid").setAttribute("aria-busy", "true"),
    found(answer, isFirst, milliseconds) {
      if (current() !== source()) return;
      $("grid").removeAttribute("aria-busy");
      showProblem("");
      if (isFirst && source() === listing && sorting.isUndated(answer.hits, state.sort)) {
        sorting.show(state.sort, false);
        showPictures();
        return;
      }
      if (isFirst) grid.replace(answer.hits, state.table);
      else grid.append(answer.hits);
      if (isFirst && answer.search) showEngine(answer.search, milliseconds);
      showStatus();
      // An observer reports changes only. Observe again, in case the page is still too short.
      watcher.unobserve($("more"));
      watcher.observe($("more"));
      detail.showPlace();
    },
    failed(message, isFirst) {
      if (current() !== source()) return;
      $("grid").removeAttribute("aria-busy");
      if (isFirst) {
        source().hits = [];
        grid.clear();
        clearStatus();
      }
      showStatus();
      $("count").textContent = isFirst ? "" : $("count").textContent;
      showProblem(message);
    },
  };
}

const act = {
  href: (hit) => toAddress({ ...state, item: hit.id }),
  open: (hit) => change({ item: hit.id }, "step", hit),
  findSimilar: (hit) => change({ ...asking([]), parts: [rowPart(hit, 1)] }, "step"),
  add: (hit) => change(asking([...state.parts, rowPart(hit, 1)]), "step"),
  subtract: (hit) => change(asking([...state.parts, rowPart(hit, -1)]), "step"),
  place(id) {
    const { hits, cursor } = current();
    return { at: hits.findIndex((hit) => hit.id === id), count: hits.length, hasMore: cursor !== null };
  },
  async step(id, by) {
    const source = current();
    const at = source.hits.findIndex((hit) => hit.id === id);
    if (at < 0) return;
    if (at + by >= source.hits.length) await source.more();
    const hit = source.hits[at + by];
    if (hit) change({ item: hit.id }, "replace", hit);
  },
  label: (hit) => (isAsking(state) ? results.label(hit) : sorting.heading(hit, sorting.listed(state.sort))),
  note(hit) {
    if (hit[STACK] !== undefined) return { name: "similarity", title: "cosine similarity to the picture that it is folded into", text: `≈ ${hit.score.toFixed(3)}` };
    if (state.sort) return sorting.note(hit, state.sort);
    return hit.score === null ? null : { name: "score", title: "score: cosine similarity to the query", text: hit.score.toFixed(3) };
  },
  unfold: (hit) => (hit[MEMBERS] ? fold(hit) : unfold(hit)),
  isSelected: (id) => selection.has(id),
  isSelecting: () => selection.isSelecting,
  select: (hit, isRange) => selection.toggle(hit, state.table, isRange),
  extend: (from, to) => selection.extend(from, to, state.table),
  selectAll: (hits) => selection.add(hits, state.table),
  close() {
    const { item } = state;
    if (item === null) return;
    if (history.state?.depth) history.go(-history.state.depth);
    else change({ item: null }, "replace");
    grid.focus(item);
  },
};

const grid = new Grid($("grid"), act, () => showStatus());
const selection = new Selection({
  shownHits: () => grid.shown().map(({ hit }) => hit),
  refresh: () => grid.markSelected(),
  focusGrid: () => grid.focusStop(),
  searchBy: (hits) => change({ ...asking([]), parts: hits.map((hit) => rowPart(hit, 1)) }, "step"),
});
const detail = new Detail(act);
const query = new Query(change);
const filters = new Filters(change);
const sorting = new Sorting(change);
const watcher = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) current().more();
}, { rootMargin: "900px" });

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
  const { hits, cursor } = current();
  const sorted = sorting.words(sorting.listed(state.sort));
  const order = !isAsking(state) ? sorted && `, sorted by ${sorted}` : state.sort ? `: ${hits.length < SORTED ? "all that were found" : `the ${SORTED} nearest`}, sorted by ${sorted}` : "";
  showCount(hits.length - grid.hiddenCount, grid.hiddenCount, cursor !== null, order);
  $("more").hidden = cursor === null;
}

// Show the near-duplicates of a hit beside it.
async function unfold(hit) {
  try {
    const found = await results.folded(hit, state.dedup);
    if (current() !== results || !results.hits.includes(hit)) return;
    if (!found.length) toast("They are not in the table any more");
    const members = found.map((one) => ({ ...one, folded: 0, [STACK]: hit.id }));
    hit[MEMBERS] = new Set(members.map(({ id }) => id));
    results.insert(hit.id, members);
    grid.insert(hit.id, members);
    grid.refresh(hit.id);
    showStatus();
  } catch (error) {
    toast(error.message);
  }
}

function fold(hit) {
  results.remove(hit[MEMBERS]);
  grid.remove(hit[MEMBERS]);
  hit[MEMBERS] = undefined;
  grid.refresh(hit.id);
  showStatus();
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
  sorting.show(state.sort, isAsking(state));
  if (isDataset) await showDataset();
  else showPictures();
  showItem(hit);
}

const mark = (link, isCurrent) => (isCurrent ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current"));

function titleOf({ view, words, parts }) {
  if (view === "dataset") return "Dataset – cliphouse";
  const named = words.trim() || (parts.length ? "More like this" : "");
  return named ? `${named} – cliphouse` : "cliphouse";
}

function showPictures() {
  const columns = new Set(info.summary.columns.map((column) => column.name));
  const isSearch = isAsking(state);
  const offered = offeredBy(info);
  const body = isSearch ? toBody(state, offered, columns) : toListing(state, offered, columns, sorting.listed(state.sort));
  const text = (isSearch ? "search " : "list ") + JSON.stringify(body);
  if (text === shownBody) return;
  if (shownBody?.startsWith("list ")) listing.left = { top: scrollY, content: grid.content };
  shownBody = text;
  $("welcome").hidden = isSearch;
  $("grid").setAttribute("aria-label", isSearch ? "Results" : "All pictures");
  if (isSearch) {
    listing.pause();
    window.scrollTo(0, 0);
    results.start(body);
  } else {
    clearStatus();
    results.reset();
    if (text === listing.text && listing.hits.length) return showAgain();
    listing.text = text;
    window.scrollTo(0, 0);
    listing.start(body);
  }
  return undefined;
}

// Show all pictures where they were left for a search.
function showAgain() {
  grid.restore(listing.left.content, state.table);
  showStatus();
  window.scrollTo(0, listing.left.top);
}

async function showDataset() {
  try {
    const [stats, facets, drawing] = await Promise.all([readStatistics(), readCharts(info, state.table), import("./dataset.js")]);
    drawing.showDataset(info, stats, facets);
  } catch (error) {
    showProblem(error.message);
  }
}

function showItem(hit) {
  if (state.item === null) detail.hide();
  else detail.show(state.item, hit ?? current().hits.find((one) => one.id === state.item), { table: state.table, modalities: info.summary.modalities });
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
  const [, facets] = await Promise.all([readStatistics(), readMenus(info, state.table)]);
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
      sorting.offer(info);
      selection.clear();
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
  const table = state.table === info.tables[0] ? "" : state.table; // the first is the default
  state = { ...state, table, mode, sort: sorting.known(state.sort), filters: known(state.filters, offeredBy(info)) };
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
  $("more").addEventListener("click", () => current().more());
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input, textarea, select") || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    $("words").focus({ preventScroll: true });
  });
  offerExport(results, () => state);
  // The menus' values need statistics, so count them only when somebody opens the filters.
  $("filters-menu").addEventListener("toggle", () => {
    if ($("filters-menu").open) readValues().catch((error) => showProblem(error.message));
  });
}

history.scrollRestoration = "manual"; // the grid is made anew, and knows its places itself
listen();
enter(history.state?.state ?? fromAddress(location.search));
