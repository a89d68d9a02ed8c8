// A shot's card in the grid.

import { el, foreign, isolated } from "../dom.js";
import { still } from "../pictures.js";
import { holds, marked } from "../search.js";
import { tagChips } from "../shots.js";
import { timecode } from "../times.js";
import { shotKey } from "./state.js";

/** Addresses are the pictures of the viewer. */
export const pictures = { picture: (address) => (address ? { url: address } : null) };

/** What is ticked of a row: as the report has it, with one object for each file. */
export function tickOf(app, row) {
  if (!app.files.has(row.source)) {
    const { source: id, uri, name, fps, varies, timecode: begins, reel } = row;
    app.files.set(id, { id, uri, name, fps, varies, timecode: begins, reel });
  }
  return { file: app.files.get(row.source), shot: row, number: row.index + 1, text: (row.text ?? []).join(" · "),
    words: row.words ?? "" };
}

/** Fills a card. `query` is what is marked in its texts, in lower case; `ticked(index, isTicked, withShift)` is called. */
export function fillCard(app, item, row, index, query, ticked) {
  const key = shotKey(row.source, row.index);
  const number = row.index + 1;
  const start = timecode(row.first, row.fps, row.timecode);
  const tick = el("input", { type: "checkbox", "aria-keyshortcuts": "Space",
    "aria-label": isolated(`Tick shot ${number} of ${row.name}`),
    onclick: (event) => ticked(index, tick.checked, event.shiftKey) });
  tick.checked = app.ticked.has(key);
  item.dataset.shot = key;
  // One of them has room: the one that was searched for, else what is said.
  const says = [["words", row.words ?? ""], ["caption", row.caption ?? ""], ["text", (row.text ?? []).join(" · ")]]
    .filter(([, content]) => content);
  const [kind, content] = says.find((one) => query && holds(one[1], query)) ?? says[0] ?? [];
  item.append(
    el("button", { class: "show", type: "button", "aria-label": isolated(`Shot ${number} of ${row.name}, ${start}`),
      onclick: () => app.open(row, index) },
    still(pictures, row.still, `Shot ${number} of ${row.name}`, [row.width, row.height], row.boxes ?? [], row.unsafe),
    el("span", { class: "badge number" }, String(number)),
    el("span", { class: "badge length" }, `${(row.end - row.start).toFixed(1)} s`)),
    el("label", { class: "tick" }, tick),
    el("div", { class: "about" },
      el("p", { class: "of" }, el("b", { title: isolated(row.name) }, foreign(row.name)), el("span", {}, start)),
      el("p", { class: "labels" },
        ...tagChips(row),
        ...(row.people ?? []).map(([id, name]) => el("span", { class: "chip person" }, foreign(name || `person ${id}`))),
        ...(row.labels ?? []).map(([name, count]) => el("span", { class: count ? "chip object" : "chip" },
          marked(name, query), count > 1 ? ` ×${count}` : ""))),
      content ? el("p", { class: `says ${kind}`, title: isolated(content) }, marked(around(content, query), query)) : null));
}

/** A text from a little before what was searched for, so that it is seen in one line. */
function around(text, query) {
  const at = query ? text.toLowerCase().indexOf(query) : -1;
  return at > 24 ? `…${text.slice(at - 16)}` : text;
}
