// What is beside a picture: the one before and the one after it in its folder, and its duplicates.

import { postJson } from "./api.js";

const NAME = "file_name";
const ALIKE = 0.97; // from this cosine similarity two pictures are taken for copies, as by cliphouse duplicates
const MOST = 100;
const SHOWN = ["url", "caption", NAME];
const SAME_NAME = 200; // rows of one name that are looked through: a video has one for each frame

// The pictures of the same folder before and after a row, by the names of their files; null if there
// is none, and both if the table has no folders.
export async function inFolder(row, table, signal) {
  if (typeof row.folder !== "string" || typeof row[NAME] !== "string") return { before: null, after: null };
  const body = { sort: NAME, start: { value: row[NAME] }, filter: { folder: { in: [row.folder] } }, fields: SHOWN, ...(table && { table }) };
  const [ahead, behind] = await Promise.all([{ k: SAME_NAME }, { k: 1, before: true }].map((more) => postJson("/api/rows", { ...body, ...more }, signal)));
  const at = ahead.rows.findIndex(({ id }) => id === row.id);
  if (at < 0) return { before: null, after: null };
  return { before: ahead.rows[at - 1] ?? behind.rows[0] ?? null, after: ahead.rows[at + 1] ?? null };
}

// The rows whose files have the same bytes, and those of `near`, the nearest by picture, that are all
// but the same: each with `note`, which says how alike it is.
export async function duplicates(row, near, table, signal) {
  const same = row.file_hash ? await sameBytes(row, table, signal) : [];
  const ids = new Set(same.map(({ id }) => id));
  const alike = near.filter(({ id, score }) => score >= ALIKE && !ids.has(id));
  return [
    ...same.map((hit) => ({ ...hit, note: "same file" })),
    ...alike.map((hit) => ({ ...hit, note: `${hit.score.toFixed(3)} alike` })),
  ];
}

async function sameBytes(row, table, signal) {
  const isFrame = (row.frame_time ?? null) !== null; // all frames of a video have its hash
  const fields = ["url", "caption", ...(isFrame ? ["frame_time"] : [])];
  const body = { filter: { file_hash: { in: [row.file_hash] } }, fields, k: isFrame ? 10 * MOST : MOST, ...(table && { table }) };
  const { rows } = await postJson("/api/rows", body, signal);
  const copies = rows.filter((one) => one.id !== row.id && (!isFrame || one.frame_time === row.frame_time));
  return copies.map((one) => ({ url: "", caption: "", ...one, score: null, folded: 0 }));
}
