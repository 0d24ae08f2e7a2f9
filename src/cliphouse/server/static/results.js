// The search that runs: the newest only, page by page, without repeats.

import { post, postJson } from "./api.js";

const FIRST = 30;
const NEXT = 60;

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

  // Begin anew; what an older search still finds is dropped.
  start(body) {
    this.controller?.abort();
    this.body = body;
    this.cursor = null;
    this.isLoading = false;
    return this.load(FIRST);
  }

  // The next page; nothing where there is none or it is on its way.
  more() {
    return this.cursor === null || this.isLoading ? Promise.resolve() : this.load(NEXT);
  }

  async load(k) {
    const isFirst = this.cursor === null;
    const controller = (this.controller = new AbortController());
    const started = performance.now();
    const body = { ...this.body, k, count: true, ...(isFirst ? {} : { cursor: this.cursor }) };
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
    // A page can overlap the one before where the table has changed in between.
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
