// How words are searched for: by their meaning, or letter by letter in names and captions.

import { postJson } from "./api.js";
import { $ } from "./dom.js";

const COUNTED = 100; // pictures at most
const LARGEST = 2_000_000; // rows of a table, all of whose names and captions are read as somebody types

export class Kinds {
  constructor(change) {
    this.words = null; // those that are counted
    $("by-meaning").addEventListener("click", () => change({ by: "meaning" }, "step"));
    $("by-words").addEventListener("click", () => change({ by: "words" }, "step"));
  }

  show({ words, parts, by }) {
    $("kinds").hidden = !words.trim() || parts.length > 0;
    $("by-meaning").setAttribute("aria-pressed", by === "meaning");
    $("by-words").setAttribute("aria-pressed", by === "words");
    if (this.words !== words) this.tell(words, "");
  }

  // Say how many pictures have the words in their names or captions. `body` is what lists them.
  async count(body, rows) {
    const { mention } = body;
    if (rows > LARGEST || this.words !== mention || $("mentions").textContent) return;
    this.controller?.abort();
    this.controller = new AbortController();
    try {
      const { rows: found, cursor } = await postJson("/api/rows", { ...body, sort: "id", fields: ["url"], k: COUNTED }, this.controller.signal);
      if (this.words === mention) this.tell(mention, `${found.length}${cursor ? "+" : ""}`);
    } catch {
      // The number is a help, and nobody misses it.
    }
  }

  tell(words, count) {
    this.words = words;
    $("mentions").textContent = count;
    $("mentions").hidden = !count;
  }
}
