// The welcome view: example pictures of the table, shown until the first search.

import { $ } from "./dom.js";
import { Grid } from "./grid.js";

export class Welcome {
  constructor(act) {
    this.grid = new Grid($("examples"), act);
    this.shown = null;
  }

  show(stats, table) {
    $("welcome").hidden = false;
    if (!stats || this.shown === stats) return;
    this.shown = stats;
    this.grid.replace(stats.examples.map((example) => ({ ...example, score: null, folded: 0 })), table);
  }

  hide() {
    $("welcome").hidden = true;
  }
}
