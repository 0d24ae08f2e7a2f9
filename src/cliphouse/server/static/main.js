// The page's controller: one state, rendered after every change and kept in the address bar.

import { fromAddress, toAddress } from "./address.js";
import { getJson, inTable } from "./api.js";
import { $, grouped } from "./dom.js";
import { excluded, excludedOf, keepExcluded } from "./excluded.js";
import { known, offeredBy } from "./fields.js";
import { FOLDER, boxFilter, showWithin } from "./folders.js";
import { Kinds } from "./kinds.js";
import { isMode } from "./modes.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { Query } from "./query.js";
import { Listing, Results, SORTED } from "./results.js";
import { Scrubber } from "./scrubber.js";
import { Selection } from "./selection.js";
import { Shown } from "./shown.js";
import { Sorting } from "./sorting.js";
import { readInfo } from "./start.js";
import { fresh, isAsking, isNaming, isPrivate, toBody, toListing } from "./state.js";
import { showCount, showEngine, clearStatus, showProblem } from "./status.js";
import { offerExport } from "./export.js";
import { MEMBERS, STACK, follow } from "./tile.js";
import { isKept } from "./uploads.js";
import { Views, columnsOf } from "./views.js";

const NEAR = 0.02; // degrees, some two kilometres

let state = fresh();
let info = null;
let awaited = null; // a table whose description is on its way, and the promise of it
let shownBody = null; // the request body of the displayed search, as text
let isTyping = false; // whether the newest history entry is still being typed
const rows = new Map(); // the rows of the query, by id

const results = new Results(listener(() => results));
const listing = new Listing(listener(() => listing)); // all pictures, shown if nothing is searched for
const naming = new Listing(listener(() => naming)); // those whose names or captions have the words
let shownSource = listing;

const sourceOf = (one) => (isAsking(one) ? results : isNaming(one) ? naming : listing);

// What is shown: the search, the words in names and captions, or all pictures.
const current = () => sourceOf(state);

function listener(source) {
  return {
    began: () => $("grid").setAttribute("aria-busy", "true"),
    found(answer, isFirst, milliseconds) {
      if (current() !== source()) return;
      $("grid").removeAttribute("aria-busy");
      showProblem("");
      if (isFirst && source() === listing && !listing.body.start && Object.keys(state.filters).length === 0 && sorting.isUndated(answer.hits, state.sort)) {
        sorting.show(state.sort, false);
        showPictures();
        return;
      }
      if (isFirst) grid.replace(answer.hits, state.table);
      else grid.append(answer.hits);
      if (isFirst && answer.search) showEngine(answer.search, milliseconds);
      if (isFirst) countKinds(answer);
      showStatus();
      scrubber.follow();
      watchEnd();
      detail?.showPlace();
    },
    failed(message, isFirst) {
      if (current() !== source()) return;
      $("grid").removeAttribute("aria-busy");
      if (isFirst) {
        source().hits = [];
        shownBody = null; // it is tried again
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
  unfold: (hit) => (hit[MEMBERS] ? shown.fold(hit) : shown.unfold(hit, state.dedup)),
  isSelected: (id) => selection.has(id),
  isSelecting: () => selection.isSelecting,
  select: (hit, isRange) => selection.toggle(hit, state.table, isRange),
  selectThese(hits) {
    selection.add(hits, state.table);
    act.close();
  },
  showBox: (box) => change({ ...asking([]), words: "", filters: { ...state.filters, ...boxFilter(box) } }, "step"),
  near(latitude, longitude) {
    const [south, north, west, east] = [[latitude, -1], [latitude, 1], [longitude, -1], [longitude, 1]].map(([value, side]) => Number((value + side * NEAR).toFixed(5)));
    act.showBox({ south, west, north, east });
  },
  extend: (from, to) => selection.extend(from, to, state.table),
  selectAll: (hits) => selection.add(hits, state.table),
  folder: (path) => change({ ...asking([]), words: "", filters: { ...state.filters, [FOLDER]: path } }, "step"),
  folderHref: (path) => toAddress({ ...fresh(), table: state.table, filters: { ...state.filters, [FOLDER]: path } }),
  leave: (names) => change({ filters: without(state.filters, names) }, "step"),
  close() {
    const { item } = state;
    if (item === null) return;
    if (history.state?.depth) history.go(-history.state.depth);
    else change({ item: null }, "replace");
    if (state.view === "search") grid.focus(item);
  },
};

const grid = new Grid($("grid"), act, () => showStatus());
const selection = new Selection({
  shownHits: () => grid.shown().map(({ hit }) => hit),
  refresh: () => grid.markSelected(),
  focusGrid: () => grid.focusStop(),
  searchBy: (hits) => change({ ...asking([]), parts: hits.map((hit) => rowPart(hit, 1)) }, "step"),
  partCount: () => (isAsking(state) ? state.parts.length + (state.words.trim() ? 1 : 0) : 0),
  subtract: (hits) => change(asking([...state.parts, ...hits.map((hit) => rowPart(hit, -1))]), "step"),
  exclude: (hits) => shown.exclude(hits),
});
let detail = null; // the view of one picture, whose code is loaded once the first ones are shown
const query = new Query(change);
const filters = new Filters(change);
const sorting = new Sorting(change);
const kinds = new Kinds(change);
const shown = new Shown({
  grid, results, current,
  sources: [results, listing, naming],
  changed() {
    showStatus();
    watchEnd();
  },
});
const views = new Views({
  get state() { return state; },
  get info() { return info; },
  filters,
  act,
  showBox: act.showBox,
});
const scrubber = new Scrubber({
  stops: (groups) => sorting.stops(groups, sorting.listed(state.sort)),
  shownStop(stops) {
    const cell = grid.firstShown();
    return cell ? stops.findIndex(({ value }) => value === sorting.valueOf(cell.hit, sorting.listed(state.sort))) : -1;
  },
  jump(stop, place) {
    const cell = grid.cells.find(({ hit }) => sorting.valueOf(hit, sorting.listed(state.sort)) === stop.value);
    if (cell) grid.scrollTo(cell);
    else change({ at: place === 0 ? "" : stop.at }, "replace");
  },
});
const watcher = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) current().more();
}, { rootMargin: "900px" });

// An observer reports changes only. Observe again, in case the page is still too short.
function watchEnd() {
  watcher.unobserve($("more"));
  watcher.observe($("more"));
}

function asking(parts) {
  const words = parts.length ? state.words : "";
  return { parts, words, item: null, view: "search" };
}

const without = (values, names) => Object.fromEntries(Object.entries(values).filter(([name]) => !names.includes(name)));

function rowPart(hit, weight) {
  rows.set(hit.id, hit);
  return { kind: "row", value: hit.id, weight };
}

// Apply a change. A step adds a history entry; typing keeps replacing one entry.
function change(patch, kind, hit) {
  const opened = state.item === null ? 0 : history.state?.depth;
  state = { ...state, ...patch };
  if ("words" in patch || "parts" in patch) state.view = "search";
  if (!state.words.trim() || state.parts.length) state.by = "meaning";
  if (["sort", "table", "filters"].some((name) => name in patch)) state.at = "";
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
  const order = !isAsking(state) ? sorted && `, sorted by ${sorted}` : state.sort ? `: ${current().isPart ? "those that are alike" : hits.length < SORTED ? "all that were found" : `the ${SORTED} nearest`}, sorted by ${sorted}` : "";
  const all = current() === listing && cursor !== null && hidesNone() ? info.summary.rows - excluded.size : null;
  showCount(all ?? hits.length - grid.hiddenCount, grid.hiddenCount, all === null && cursor !== null, order);
  $("more").hidden = cursor === null;
  $("earlier").hidden = !current().hasEarlier;
  $("restore").hidden = excluded.size === 0;
  $("restore").textContent = `Show ${grouped(excluded.size)} hidden`;
}

// Whether the list is that of all rows of the table.
function hidesNone() {
  return Object.keys(state.filters).length === 0 && info.fields.filters.every(({ kind, empty }) => kind !== "hide" || empty);
}

function restore() {
  excluded.clear();
  keepExcluded();
  shownBody = null;
  listing.text = null;
  show();
}

// Say in how many names and captions the words are, once a search has answered.
function countKinds(answer) {
  if (isNaming(state)) kinds.tell(state.words, `${answer.hits.length}${answer.cursor ? "+" : ""}`);
  else if (isAsking(state) && !state.parts.length) kinds.count(toListing(state, offeredBy(info), columnsOf(info), "id"), info.summary.rows);
}

async function show(hit) {
  const { view } = state;
  const isDataset = view === "dataset";
  document.body.dataset.view = view;
  $("dataset").hidden = !isDataset;
  for (const name of ["map", "duplicates"]) $(name).hidden = view !== name;
  $("search-view").hidden = view !== "search";
  $("controls").hidden = isDataset;
  for (const name of ["search", "map", "duplicates", "dataset"]) mark($(`to-${name}`), view === name);
  $("to-search").href = toAddress({ ...state, view: "search", item: null });
  for (const name of ["map", "duplicates"]) $(`to-${name}`).href = toAddress({ ...state, view: name, item: null });
  $("to-dataset").href = toAddress({ ...fresh(), table: state.table, view: "dataset" });
  $("private").hidden = !isPrivate(state);
  query.show(state, rows, state.table);
  filters.show(state);
  kinds.show(state);
  document.title = titleOf(state);
  $("title").textContent = { dataset: "The dataset", map: "Map", duplicates: "Duplicates" }[view] ?? "Search pictures";
  if (view !== "search") showProblem("");
  try {
    await prepare();
  } catch (error) {
    showProblem(error.message);
    return;
  }
  filters.show(state);
  sorting.show(state.sort, isAsking(state));
  showWithin(state.filters, act);
  if (isDataset) await views.showDataset();
  else if (view === "map") await views.showMap();
  else if (view === "duplicates") await views.showDuplicates();
  else showPictures();
  if (view !== "search" || current() !== listing) scrubber.hide();
  showItem(hit);
}

const mark = (link, isCurrent) => (isCurrent ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current"));

function titleOf({ view, words, parts }) {
  if (view !== "search") return `${view[0].toUpperCase()}${view.slice(1)} – cliphouse`;
  const named = words.trim() || (parts.length ? "More like this" : "");
  return named ? `${named} – cliphouse` : "cliphouse";
}

function showPictures() {
  const source = current();
  const sort = sorting.listed(state.sort);
  const [offered, columns] = [offeredBy(info), columnsOf(info)];
  const body = source === results ? toBody(state, offered, columns) : toListing(state, offered, columns, sort, sorting.start(state.at, sort));
  if (source === listing) scrubber.show(sorting.groups(sort), body, info.summary.rows);
  const text = JSON.stringify(body);
  if (source === shownSource && text === shownBody) return;
  if (shownBody !== null && shownSource === listing) listing.left = { top: scrollY, content: grid.content };
  if (shownSource !== source) shownSource[shownSource === listing ? "pause" : "reset"]();
  shownSource = source;
  shownBody = text;
  $("welcome").hidden = source !== listing;
  $("grid").setAttribute("aria-label", source === listing ? "All pictures" : "Results");
  if (source !== results) clearStatus();
  if (source === listing) {
    if (text === listing.text && listing.hits.length) return showAgain();
    listing.text = text;
  }
  window.scrollTo(0, 0);
  source.start(body);
  return undefined;
}

// Show all pictures where they were left for a search.
function showAgain() {
  grid.restore(listing.left.content, state.table);
  showStatus();
  window.scrollTo(0, listing.left.top);
}

async function loadDetail() {
  const { Detail } = await import("./detail.js");
  detail ??= new Detail(act);
}

async function showItem(hit) {
  if (state.item !== null) await loadDetail();
  if (state.item === null) detail?.hide();
  else detail.show(state.item, [hit, ...current().hits].find((one) => one?.id === state.item), { table: state.table, modalities: info.summary.modalities });
}

// Load the table's description. It is asked for once, however many changes wait for it: the filters
// are made anew when it arrives, and what is typed there later would be lost at the next.
async function describe() {
  const { table } = state;
  if (info !== null && (table || info.tables[0]) === info.summary.table) return;
  if (awaited?.table !== table) awaited = { table, answer: readInfo(table) };
  const mine = awaited;
  try {
    const answer = await mine.answer;
    if (awaited === mine) {
      rows.clear();
      info = answer;
      filters.offer(info);
      showFilters();
      sorting.offer(info);
      selection.clear();
      excludedOf(info.summary.table);
      $("to-map").hidden = !info.places;
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

// The menus' values need statistics, so count them only when somebody opens the filters.
function showFilters() {
  if (!$("filters-menu").open || info === null) return;
  filters.show(state);
  views.readValues().catch((error) => showProblem(error.message));
}

function listen() {
  addEventListener("popstate", (event) => enter(event.state?.state ?? fromAddress(location.search)));
  $("home").addEventListener("click", follow(() => change({ ...fresh(), table: state.table }, "step")));
  $("to-search").addEventListener("click", follow(() => change({ view: "search" }, "step")));
  for (const view of ["map", "duplicates", "dataset"]) $(`to-${view}`).addEventListener("click", follow(() => change({ view, item: null }, "step")));
  $("more").addEventListener("click", () => current().more());
  $("earlier").addEventListener("click", () => shown.showEarlier());
  $("restore").addEventListener("click", restore);
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input, textarea, select") || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    $("words").focus({ preventScroll: true });
  });
  offerExport(current, () => state);
  $("filters-menu").addEventListener("toggle", showFilters);
}

history.scrollRestoration = "manual"; // the grid is made anew, and knows its places itself
listen();
enter(history.state?.state ?? fromAddress(location.search));
setTimeout(loadDetail, 500);
