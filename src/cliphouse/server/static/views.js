// The views beside the pictures, the dataset, the map and the duplicates, whose code is loaded when they are first
// shown; and the counts that charts and the menus of filters share.

import { getJson, inTable } from "./api.js";
import { readCharts, readFolders, readMenus } from "./facets.js";
import { offeredBy } from "./fields.js";
import { boxFilter } from "./folders.js";
import { toListing } from "./state.js";
import { showProblem } from "./status.js";

export class Views {
  // `page` has the state, the info of its table, its filters, `act` for what is done with pictures, and
  // showBox(box), which shows the pictures of a part of the world.
  constructor(page) {
    this.page = page;
    this.statistics = new Map(); // by table
  }

  async showMap() {
    const { state, info } = this.page;
    try {
      const { showMap } = await import("./map.js");
      const { filter, table } = toListing({ ...state, words: "" }, offeredBy(info), columnsOf(info), "id");
      await showMap({ filter, table }, { open: (box) => this.page.showBox(box) });
    } catch (error) {
      showProblem(error.message);
    }
  }

  async showDuplicates() {
    const { state, info, act } = this.page;
    try {
      const { showDuplicates } = await import("./duplicates.js");
      const { filter, table } = toListing({ ...state, words: "" }, offeredBy(info), columnsOf(info), "id");
      await showDuplicates({ filter, table }, act);
    } catch (error) {
      showProblem(error.message);
    }
  }

  async showDataset() {
    const { state: { table }, info } = this.page;
    try {
      const [stats, facets, drawing] = await Promise.all([this.readStatistics(), readCharts(info, table), import("./dataset.js")]);
      drawing.showDataset(info, stats, facets);
    } catch (error) {
      showProblem(error.message);
    }
  }

  async readStatistics() {
    const { state: { table } } = this.page;
    if (!this.statistics.has(table)) this.statistics.set(table, await getJson(inTable("/api/stats", table)));
    return this.statistics.get(table);
  }

  // Fill the menus of the filters.
  async readValues() {
    const { state: { table, filters: chosen }, info, filters } = this.page;
    const [statistics, facets, folders] = await Promise.all([this.readStatistics(), readMenus(info, table), readFolders(info, table)]);
    filters.offerValues(statistics, chosen);
    filters.offerOwnValues(facets, chosen);
    if (folders) filters.offerFolders(folders, chosen);
  }
}

export const columnsOf = (info) => new Set(info.summary.columns.map(({ name }) => name));
