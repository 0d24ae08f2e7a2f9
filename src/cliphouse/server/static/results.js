// Runs the newest search, or lists all pictures, page by page, and drops repeated rows.

import { post, postJson } from "./api.js";
import { excluded } from "./excluded.js";
import { takeListed } from "./start.js";

const FIRST = 30;
const NEXT = 60;
const FOLDED = 200;
const WEAK = "Less alike, perhaps by chance";
const SHOWN = ["url", "caption", "width", "height", "folder", "file_name", "frame_time"]; // what tiles and headings need
export const SORTED = 200; // so many of the nearest are sorted by a column

export class Results {
  // `listener` has began(), found(answer, isFirst, milliseconds) and failed(message).
  constructor(listener) {
    this.listener = listener;
    this.reset();
  }

  reset() {
    this.controller?.abort();
    this.controller = null;
    this.hits = [];
    this.seen = new Set();
    this.cursor = null;
    this.weakBelow = null;
    this.isPart = false; // whether less alike hits of a sorted search are left out
    this.body = null;
    this.isLoading = false;
  }

  // Start a search and cancel the previous one.
  start(body) {
    this.controller?.abort();
    this.body = body;
    this.cursor = null;
    this.isLoading = false;
    return this.load(FIRST);
  }

  // Whether there is anything before the first hit.
  get hasEarlier() {
    return false;
  }

  // Give up what is loading, and keep what is loaded.
  pause() {
    this.controller?.abort();
    this.isLoading = false;
  }

  // Load the next page, unless there is none or it is already loading.
  more() {
    return this.cursor === null || this.isLoading ? Promise.resolve() : this.load(NEXT);
  }

  // The columns to ask for, as far as the table has them.
  get fields() {
    return SHOWN.filter((name) => this.body.columns.has(name));
  }

  // A page of the search. Each page would be sorted by itself, so a sorted search has only one.
  async page(k, cursor, signal) {
    const { sort } = this.body;
    const body = { ...this.body, k: sort ? SORTED : k, fields: this.fields.join(), count: true, weak: !cursor, ...(cursor && { cursor }) };
    const answer = await postJson("/api/search", body, signal);
    if (!sort) return answer;
    const least = answer.search.weak_below;
    const strong = least === null ? answer.hits : answer.hits.filter(({ score }) => score >= least);
    this.isPart = strong.length > 0 && strong.length < answer.hits.length;
    return { ...answer, hits: this.isPart ? strong : answer.hits, cursor: null };
  }

  async load(k) {
    const isFirst = this.cursor === null;
    const controller = (this.controller = new AbortController());
    const started = performance.now();
    this.isLoading = true;
    this.listener.began(isFirst);
    try {
      const answer = await this.page(k, this.cursor, controller.signal);
      if (controller !== this.controller) return;
      this.take(answer, isFirst, performance.now() - started);
    } catch (error) {
      if (controller !== this.controller || error.name === "AbortError") return;
      this.isLoading = false;
      this.cursor = null;
      this.listener.failed(error.message, isFirst);
    }
  }

  take(answer, isFirst, milliseconds) {
    if (isFirst) {
      this.hits = [];
      this.seen = new Set();
    }
    // If the table changed in between, a page can overlap the previous one.
    const hits = this.unseen(answer.hits);
    this.hits.push(...hits);
    if (isFirst) this.weakBelow = answer.search?.weak_below ?? null;
    this.cursor = answer.cursor;
    this.isLoading = false;
    this.listener.found({ ...answer, hits }, isFirst, milliseconds);
  }

  // Those of `hits` that are not shown yet and that nobody has hidden.
  unseen(hits) {
    const fresh = hits.filter(({ id }) => !this.seen.has(id) && !excluded.has(id));
    for (const { id } of fresh) this.seen.add(id);
    return fresh;
  }

  // The near-duplicates of a hit that are folded into it, nearest first, without what is shown.
  async folded(hit, threshold) {
    const { operands, dedup, sort, ...rest } = this.body;
    const body = { ...rest, operands: [{ id: hit.id }], min_score: threshold, k: FOLDED, fields: this.fields.join() };
    const { hits } = await postJson("/api/search", body);
    return hits.filter(({ id }) => !this.seen.has(id) && !excluded.has(id));
  }

  // The heading of the hits that are no better than unrelated pictures; null for the others.
  label(hit) {
    return this.weakBelow !== null && hit.score < this.weakBelow ? WEAK : null;
  }

  // Put hits behind another one.
  insert(id, hits) {
    for (const hit of hits) this.seen.add(hit.id);
    this.hits.splice(this.hits.findIndex((hit) => hit.id === id) + 1, 0, ...hits);
  }

  remove(ids) {
    for (const id of ids) this.seen.delete(id);
    this.hits = this.hits.filter(({ id }) => !ids.has(id));
  }

  async file(format, k) {
    return (await post(`/api/search/download?format=${format}`, { ...this.body, k })).blob();
  }

  code(k) {
    return postJson("/api/search/code", { ...this.body, k });
  }
}

// All pictures of a table that meet the filter, in the order of a column.
export class Listing extends Results {
  reset() {
    super.reset();
    this.back = null; // the cursor of what comes before the first; undefined at the first one
  }

  get hasEarlier() {
    return this.back !== null;
  }

  start(body) {
    this.back = body.start ? undefined : null;
    return super.start(body);
  }

  get fields() {
    const { sort, columns } = this.body;
    return [...new Set([...super.fields, sort.replace(/^-/, "")])].filter((name) => columns.has(name));
  }

  async page(k, cursor, signal) {
    const { sort, table, filter, start, mention } = this.body;
    const ready = !cursor && !start && !mention && takeListed(table, sort, filter);
    const answer = ready || (await this.rows({ k: 2 * k, ...(cursor && { cursor }) }, signal));
    return { hits: answer.rows.map(asHit), cursor: answer.cursor, search: null };
  }

  // The pictures before the first, in their order, or null if there are none or they are on their way.
  async earlier() {
    if (this.back === null || this.isLoading) return null;
    this.isLoading = true;
    const { body } = this;
    try {
      const answer = await this.rows({ before: true, k: 2 * NEXT, ...(this.back && { cursor: this.back }) });
      if (body !== this.body) return null;
      this.back = answer.cursor;
      const hits = this.unseen(answer.rows.map(asHit).toReversed());
      this.hits.unshift(...hits);
      return hits;
    } finally {
      if (body === this.body) this.isLoading = false;
    }
  }

  async file(format, k) {
    return (await post(`/api/rows/download?format=${format}`, { ...this.body, k })).blob();
  }

  rows(more, signal) {
    return postJson("/api/rows", { ...this.body, fields: this.fields, ...more }, signal);
  }
}

const asHit = (row) => ({ url: "", caption: "", ...row, score: null, folded: 0 });
