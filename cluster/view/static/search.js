// Literal search: what is typed is found as it stands, in any case of letters.

import { el } from "./dom.js";

/** Whether `text` holds the query; everything holds an empty one. Queries are in lower case. */
export function holds(text, query) {
  return !query || text.toLowerCase().includes(query);
}

/** `text` in an element of its own direction, with what was searched for marked. */
export function marked(text, query) {
  const node = el("bdi");
  const lower = text.toLowerCase();
  // Lower case may have another length than the text (a dotted capital I): then nothing can be marked in it.
  if (!query || lower.length !== text.length) {
    node.append(text);
    return node;
  }
  let at = 0;
  for (let found = lower.indexOf(query); found >= 0; found = lower.indexOf(query, at)) {
    node.append(text.slice(at, found), el("mark", {}, text.slice(found, found + query.length)));
    at = found + query.length;
  }
  node.append(text.slice(at));
  return node;
}

/** What is written and said during a shot, as { text, words }. */
export function during(file, shot) {
  const meets = (row) => row[0] < shot.end && (row[1] > shot.start || row[0] >= shot.start);
  const words = [];
  for (const [start, end, text, , timed] of file.words) {
    if (!meets([start, end])) continue;
    if (!timed.length) words.push(text);
    else words.push(...timed.filter(([at]) => at >= shot.start && at < shot.end).map(([, word]) => word.trim()));
  }
  // Texts have the times of the first and the last frame that show them.
  const shown = file.texts.filter(([first, last]) => first < shot.end && last >= shot.start);
  const texts = [...new Set(shown.map((row) => row[2]))];
  return { text: texts.join(" · "), words: words.join(" ") };
}

/** Positions of the shots of a file in which a query is found: in words, text, labels or the file's path. */
export function matchingShots(file, query) {
  const all = file.shots.map((_, index) => index);
  if (!query || holds(file.uri, query)) return all;
  return all.filter((index) => {
    const shot = file.shots[index];
    shot.sought ??= [...Object.values(during(file, shot)), ...shot.labels.map((label) => label[0])]
      .join("\n").toLowerCase();
    return shot.sought.includes(query);
  });
}
