// Lays out pictures in lines that fill the width and keep the shape of each picture.

const NARROWEST = 0.5;
const WIDEST = 2.8;

// The size and the line of each picture, given its shape (width / height): greedy lines near
// `target` pixels high, stretched to fill `width`; the last line is not stretched.
export function justify(shapes, width, target, gap) {
  const sizes = [];
  let line = [];
  let sum = 0;
  let count = 0;
  const place = (height) => {
    for (const shape of line) sizes.push({ width: Math.floor(shape * height * 100) / 100, height, line: count });
    count += 1;
    line = [];
    sum = 0;
  };
  for (const shape of shapes) {
    const kept = Math.min(WIDEST, Math.max(NARROWEST, shape || 1));
    const room = (pictures) => width - gap * (pictures - 1);
    const without = room(line.length) / sum;
    const withIt = room(line.length + 1) / (sum + kept);
    // End the line at the picture that brings its height nearest to the target.
    if (line.length && withIt < target && Math.abs(without - target) < Math.abs(withIt - target)) place(without);
    line.push(kept);
    sum += kept;
    if (room(line.length) / sum <= target) place(room(line.length) / sum);
  }
  if (line.length) place(Math.min(target, (width - gap * (line.length - 1)) / sum));
  return sizes;
}

// The lines of a grid: pictures by `group`, each group below its heading, if it has one. A cell has
// shape, isBroken and group, and gets line, x and size. A line has top, height and cells, or label.
export function layOutLines(cells, { width, target, gap, rowGap, below, heading }) {
  const lines = [];
  let top = 0;
  const add = (line) => {
    lines.push({ ...line, top });
    if (line.height) top += line.height + rowGap;
  };
  for (const { label, members } of groupsOf(cells)) {
    if (label) add({ label, height: heading, cells: [] });
    const shown = members.filter((cell) => !cell.isBroken);
    const sizes = justify(shown.map((cell) => cell.shape), width, target, gap);
    let line = null;
    let at = 0;
    let place = -1;
    for (const cell of members) {
      if (!cell.isBroken) {
        cell.size = sizes[at];
        at += 1;
        if (line === null || cell.size.line !== place) {
          if (line) add(line);
          line = { label: null, height: cell.size.height + below, cells: [], end: 0 };
          place = cell.size.line;
        }
        cell.x = line.end;
        line.end += cell.size.width + gap;
      } else {
        line ??= { label: null, height: 0, cells: [], end: 0 };
      }
      line.cells.push(cell);
    }
    if (line) add(line);
  }
  lines.forEach((line, i) => { for (const cell of line.cells) cell.line = i; });
  return { lines, height: Math.max(0, top - rowGap) };
}

function groupsOf(cells) {
  const groups = [];
  for (const cell of cells) {
    if (groups.at(-1)?.label !== cell.group) groups.push({ label: cell.group, members: [] });
    groups.at(-1).members.push(cell);
  }
  return groups;
}
