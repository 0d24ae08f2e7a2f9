// Changes of what is shown without a new request: stacks of near-duplicates that open, pictures that
// are hidden, and what comes before the first one.

import { grouped, toast } from "./dom.js";
import { excluded, keepExcluded } from "./excluded.js";
import { MEMBERS, STACK } from "./tile.js";

export class Shown {
  // `page` has the grid, results (the search), sources (all that can be shown), current(), which of
  // them is, and changed(), which is called after each change.
  constructor(page) {
    this.page = page;
  }

  // Show the near-duplicates of a hit beside it, from the similarity `threshold` on.
  async unfold(hit, threshold) {
    const { results, grid, current, changed } = this.page;
    try {
      const found = await results.folded(hit, threshold);
      if (current() !== results || !results.hits.includes(hit)) return;
      if (!found.length) toast("They are not in the table any more");
      const members = found.map((one) => ({ ...one, folded: 0, [STACK]: hit.id }));
      hit[MEMBERS] = new Set(members.map(({ id }) => id));
      results.insert(hit.id, members);
      grid.insert(hit.id, members);
      grid.refresh(hit.id);
      changed();
    } catch (error) {
      toast(error.message);
    }
  }

  fold(hit) {
    const { results, grid, changed } = this.page;
    results.remove(hit[MEMBERS]);
    grid.remove(hit[MEMBERS]);
    hit[MEMBERS] = undefined;
    grid.refresh(hit.id);
    changed();
  }

  // Hide pictures until they are shown again or the tab closes.
  exclude(hits) {
    const ids = new Set(hits.map(({ id }) => id));
    for (const id of ids) excluded.add(id);
    keepExcluded();
    toast(`${grouped(ids.size)} hidden until you show them again or close this tab`);
    for (const source of this.page.sources) {
      source.remove(ids);
      if (source.left) source.left.content.cells = source.left.content.cells.filter(({ hit }) => !ids.has(hit.id));
    }
    this.page.grid.remove(ids);
    this.page.changed();
  }

  // Load what comes before the first picture, which stays where it is.
  async showEarlier() {
    const { grid, current, changed } = this.page;
    const source = current();
    try {
      const hits = await source.earlier();
      if (hits && current() === source) grid.prepend(hits);
    } catch (error) {
      toast(error.message);
    }
    changed();
  }
}
