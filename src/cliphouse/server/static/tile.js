// A tile of the grid: a picture that links to its details, its caption, and its buttons.

import { clock, el } from "./dom.js";
import { nameOf, picture, thumbnailSize } from "./picture.js";

// Of a hit: the ids of the near-duplicates that are shown beside it, and the id of the hit that it is
// shown beside. They are no names, which a column of the table might have.
export const MEMBERS = Symbol("members");
export const STACK = Symbol("stack");

// `act` has href(hit), open(hit), findSimilar(hit), add(hit), subtract(hit), unfold(hit),
// isSelecting(), select(hit, isRange) and note(hit), which is what a sort puts in place of the score;
// `broken` is called if the picture does not load, `shaped` with its real shape as soon as it is
// loaded.
export function tile(hit, table, height, act, broken, shaped) {
  const image = picture(hit, table, thumbnailSize(height));
  image.addEventListener("error", broken, { once: true });
  image.addEventListener("load", () => {
    image.classList.add("shown");
    shaped(image.naturalWidth / image.naturalHeight);
  }, { once: true });
  const name = nameOf(hit);
  const link = el("a", { class: "open", href: act.href(hit), tabindex: -1, onclick: clicked(hit, act), "data-control": "open" },
    el("span", { class: "frame" }, image),
    el("span", { class: "caption" },
      el("span", { class: "words", title: hit.caption }, name),
      figure(act.note(hit))));
  const classes = ["tile", hit[STACK] !== undefined && "stacked", hit[MEMBERS] && "unfolded"];
  return el("li", { class: classes.filter(Boolean).join(" "), "data-id": hit.id },
    link,
    el("button", {
      type: "button", class: "check", role: "checkbox", "aria-checked": "false", "aria-label": `Select: ${name}`, title: "Select", tabindex: -1, "data-control": "check",
      onclick: (event) => act.select(hit, event.shiftKey),
    }, el("span", { "aria-hidden": "true" }, "✓")),
    hit.folded > 0 && stack(hit, act),
    frame(hit),
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

function clicked(hit, act) {
  const open = follow(() => act.open(hit));
  return (event) => {
    const isOther = event.ctrlKey || event.metaKey || event.altKey || event.button;
    if (isOther || !(event.shiftKey || act.isSelecting())) return open(event);
    event.preventDefault();
    return act.select(hit, event.shiftKey);
  };
}

const figure = (note) => note && el("span", { class: "match", title: note.title },
  el("span", { class: "hidden" }, `, ${note.name} `), note.text);

// Where in its video a frame is.
function frame({ frame_time: seconds }) {
  const time = clock(seconds);
  return time && el("span", { class: "at-time" }, el("span", { class: "hidden" }, "frame at "), `▶ ${time}`);
}

function stack(hit, act) {
  const isOpen = Boolean(hit[MEMBERS]);
  const title = isOpen ? "Fold the near-duplicates again" : `Show ${hit.folded === 1 ? "its near-duplicate" : `${hit.folded} near-duplicates`} beside it`;
  return el("button", {
    type: "button", class: "folded", title, tabindex: -1, "aria-expanded": String(isOpen), "data-control": "folded", onclick: () => act.unfold(hit),
  }, isOpen ? "−" : `+${hit.folded}`, el("span", { class: "hidden" }, " near-duplicates"));
}

const button = (sign, label, title, onclick) =>
  el("button", { type: "button", class: "act", "aria-label": label, title, tabindex: -1, onclick }, sign);
