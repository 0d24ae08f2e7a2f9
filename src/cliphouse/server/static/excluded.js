// Pictures that somebody has hidden, until they are shown again, another table is, or the tab closes.

export const excluded = new Set(); // ids
