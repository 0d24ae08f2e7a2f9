// A tile of the grid: a picture that links to its details, its caption, and its buttons.

import { el } from "./dom.js";
import { picture, thumbnailSize } from "./picture.js";

// `act` has href(hit), open(hit), findSimilar(hit), add(hit) and subtract(hit); `broken` is called if
// the picture does not load, `shaped` with its real shape as soon as it is loaded.
export function tile(hit, table, height, act, broken, shaped) {
  const image = picture(hit, table, thumbnailSize(height));
  image.addEventListener("error", broken, { once: true });
  image.addEventListener("load", () => {
    image.classList.add("shown");
    shaped(image.naturalWidth / image.naturalHeight);
  }, { once: true });
  const name = hit.caption || "no caption";
  const link = el("a", { class: "open", href: act.href(hit), tabindex: -1, onclick: follow(() => act.open(hit)) },
    el("span", { class: "frame" }, image),
    el("span", { class: "caption" },
      el("span", { class: "words", title: hit.caption }, name),
      hit.score !== null && el("span", { class: "match", title: "score: cosine similarity to the query" },
        el("span", { class: "hidden" }, ", score "), hit.score.toFixed(3))));
  return el("li", { class: "tile", "data-id": hit.id },
    link,
    hit.folded > 0 && el("span", { class: "folded", title: `${hit.folded} near-duplicates are folded into this result` },
      `+${hit.folded}`, el("span", { class: "hidden" }, " near-duplicates")),
    el("span", { class: "acts" },
      button("≈", `More like this: ${name}`, "More like this", () => act.findSimilar(hit)),
      button("+", `Add to the search: ${name}`, "Add to the search", () => act.add(hit)),
      button("−", `Subtract from the search: ${name}`, "Subtract from the search", () => act.subtract(hit))));
}

// Handles a plain click on this page. The link still opens in a new tab.
export function follow(action) {
  return (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button) return;
    event.preventDefault();
    action();
  };
}

const button = (sign, label, title, onclick) =>
  el("button", { type: "button", class: "act", "aria-label": label, title, tabindex: -1, onclick }, sign);
