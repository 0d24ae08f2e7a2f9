// The status line: the number of results, which screen readers announce, and the engine's figures.

import { $, grouped } from "./dom.js";
import { describe } from "./modes.js";

// `order` says how they are sorted, if not by how near they are.
export function showCount(shown, hidden, hasMore, order = "") {
  const pictures = shown === 1 ? "1 picture" : `${grouped(shown)} pictures`;
  const rest = hidden ? `, ${grouped(hidden)} hidden that will not load` : "";
  const text = shown === 0 && hidden === 0 ? "Nothing found" : `${pictures}${hasMore ? " and more" : ""}${rest}${order}`;
  if ($("count").textContent !== text) $("count").textContent = text;
}

export function showEngine(search, milliseconds) {
  const recall = search.recall === null ? "recall not measured" : `recall@k ${search.recall.toFixed(3)}`;
  const steps = [
    describe(search.mode, search.width),
    recall,
    search.rows_read !== null && `${grouped(search.rows_read)} rows read`,
    `${search.encode_ms.toFixed(0)} ms query + ${search.search_ms.toFixed(0)} ms search, ${milliseconds.toFixed(0)} ms in total`,
  ];
  $("engine").textContent = steps.filter(Boolean).join(" · ");
  $("figures").hidden = false;
  $("engine").title = [search.reason, search.filtered].filter(Boolean).join("; filter: ");
}

export function showProblem(message) {
  $("problem").hidden = !message;
  $("problem").textContent = message;
}

export function clearStatus() {
  $("count").textContent = "";
  $("engine").textContent = "";
  $("figures").hidden = true;
  showProblem("");
}

// On a phone the engine's figures are behind a button.
$("figures").addEventListener("click", () => {
  $("figures").setAttribute("aria-expanded", document.querySelector(".status").classList.toggle("told"));
});
