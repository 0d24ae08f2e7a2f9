// The video that a row is a frame of, played in the place of its still picture.

import { ask, hasKey, inTable } from "./api.js";
import { clock, el } from "./dom.js";
import { isLocal } from "./picture.js";

// Whether the row is a frame of a video that the service can send.
export const isFrame = (row) => typeof row.frame_time === "number" && isLocal(row);

// A player that stands at the row's time. `ready` is called once the browser knows that it can play
// it; `failed` if it cannot.
export async function player(row, table, ready, failed) {
  const path = inTable(`/api/image/${row.id}/file`, table);
  const video = el("video", {
    controls: true, playsinline: true, preload: "metadata", "aria-label": `Video, from ${clock(row.frame_time)}`, "data-control": "video",
  });
  video.addEventListener("loadedmetadata", () => (video.videoWidth ? ready(video) : failed()), { once: true });
  video.addEventListener("error", () => failed(), { once: true });
  try {
    video.src = `${hasKey() ? await whole(path, video) : path}#t=${row.frame_time}`;
  } catch {
    failed();
  }
}

// Stop it, and what is loading of it.
export function stop(video) {
  video.pause();
  video.removeAttribute("src");
  video.load();
}

// A <video> cannot send an API key, so with a key all of it is fetched first.
async function whole(path, video) {
  const address = URL.createObjectURL(await (await ask(path, {})).blob());
  video.addEventListener("emptied", () => URL.revokeObjectURL(address), { once: true });
  return address;
}
