// The Export menu: downloads the results, and copies the search as code or as a link.

import { $, copyText, saveFile, toast } from "./dom.js";
import { isAsking, isPrivate } from "./state.js";

const LABELS = { command: "Command", python: "Python", sql: "SQL" };

export function offerExport(results, current) {
  const run = (work) => async (event) => {
    if (!isAsking(current())) return toast("Search for something first");
    const button = event.currentTarget;
    button.disabled = true;
    try {
      await work(button.dataset);
    } catch (error) {
      toast(error.message);
    } finally {
      button.disabled = false;
      button.focus();
    }
    return undefined;
  };
  for (const button of $("export").querySelectorAll("[data-format]")) {
    button.addEventListener("click", run(({ format }) => download(results, format)));
  }
  for (const button of $("export").querySelectorAll("[data-code]")) {
    button.addEventListener("click", run(({ code }) => (code === "link" ? copyLink(current()) : copyCode(results, code))));
  }
}

const count = () => Math.min(10_000, Math.max(1, Math.round(Number($("export-count").value)) || 100));

async function download(results, format) {
  saveFile(await results.file(format, count()), `cliphouse.${format}`);
}

async function copyCode(results, kind) {
  const code = await results.code(count());
  if (code[kind] === null) return toast("A command line would read these words as a file or a row. Copy the Python instead");
  const notes = code.notes.length ? `; ${code.notes.join(", ")}` : "";
  return copyText(code[kind], LABELS[kind] + notes);
}

function copyLink(state) {
  const without = isPrivate(state) ? "Link (without your picture)" : "Link";
  return copyText(location.href, without);
}
