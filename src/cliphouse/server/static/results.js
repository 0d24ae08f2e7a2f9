// Runs the newest search, page by page, and drops repeated rows.

import { post, postJson } from "./api.js";

const FIRST = 30;
const NEXT = 60;
const SHOWN = "url,caption,width,height"; // the columns that a tile needs

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

  // Load the next page, unless there is none or it is already loading.
  more() {
    return this.cursor === null || this.isLoading ? Promise.resolve() : this.load(NEXT);
  }

  async load(k) {
    const isFirst = this.cursor === null;
    const controller = (this.controller = new AbortController());
    const started = performance.now();
    const body = { ...this.body, k, fields: SHOWN, count: true, ...(isFirst ? {} : { cursor: this.cursor }) };
    this.isLoading = true;
    this.listener.began(isFirst);
    try {
      const answer = await postJson("/api/search", body, controller.signal);
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
    const hits = answer.hits.filter(({ id }) => !this.seen.has(id));
    for (const { id } of hits) this.seen.add(id);
    this.hits.push(...hits);
    this.cursor = answer.cursor;
    this.isLoading = false;
    this.listener.found({ ...answer, hits }, isFirst, milliseconds);
  }

  async file(format, k) {
    return (await post(`/api/search/download?format=${format}`, { ...this.body, k })).blob();
  }

  code(k) {
    return postJson("/api/search/code", { ...this.body, k });
  }
}
