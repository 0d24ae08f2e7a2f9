// Loads a row's picture: from this service if it is a local file, else from its url.

import { ask, hasKey, inTable } from "./api.js";
import { el, saveFile, toast, webAddress } from "./dom.js";

// An <img> of the row. It fires "error" if there is no picture to show.
export function picture(row, table, size, lazy = true) {
  const image = el("img", {
    alt: "", decoding: "async", loading: lazy && "lazy", referrerpolicy: "no-referrer",
  });
  const source = sourceOf(row, table, size);
  if (source === null) queueMicrotask(() => image.dispatchEvent(new Event("error")));
  else if (source.startsWith("/") && hasKey()) fetchInto(image, source);
  else image.src = source;
  return image;
}

export function sourceOf(row, table, size) {
  if (isLocal(row)) {
    return inTable(`/api/image/${row.id}${size ? `?size=${size}` : ""}`, table);
  }
  return webAddress(row.url);
}

// Whether the picture is a file of the service's machine.
export const isLocal = ({ url }) => ["/", "file://", "root:"].some((start) => url.startsWith(start));

// The path of a local file; another address as it is.
export function pathOf({ url }) {
  if (!url.startsWith("file://")) return url;
  try {
    return decodeURIComponent(new URL(url).pathname);
  } catch {
    return url;
  }
}

// What a picture is called: its caption, or the name of its file.
export const nameOf = ({ caption, file_name: file }) => caption || file || "no caption";

// Hand the file to the browser's downloads.
export async function saveOriginal(row, table) {
  try {
    const answer = await ask(inTable(`/api/image/${row.id}/file`, table), {});
    saveFile(await answer.blob(), pathOf(row).split("/").at(-1) || `${row.id}`);
  } catch (error) {
    toast(error.message);
  }
}

// An <img> cannot send an API key, so with a key this fetches the bytes.
async function fetchInto(image, source) {
  try {
    const blob = await (await ask(source, {})).blob();
    const address = URL.createObjectURL(blob);
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    image.src = address;
  } catch {
    image.dispatchEvent(new Event("error"));
  }
}

export const thumbnailSize = (height) => (height * (window.devicePixelRatio || 1) > 280 ? 512 : 256);
