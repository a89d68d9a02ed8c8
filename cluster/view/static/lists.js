// The pages of words, text on screen, people and duplicates. A click on any of them goes to its place in the file.

import { el, foreign, isolated, plural } from "./dom.js";
import { still } from "./pictures.js";
import { holds, marked } from "./search.js";
import { clock } from "./times.js";

const MOST_LINES = 500; // of one file at once

function place(page, file, seconds, ...shown) {
  return el("button", { class: "place", type: "button", onclick: () => page.go(file, seconds) }, ...shown);
}

function missing(page, table, what, how) {
  const has = page.document.tables.includes(table);
  return el("p", { class: "empty" }, page.query && has ? "Nothing like that here." : has ? `No ${what} found.`
    : `No ${what} here yet: `, !has && el("code", {}, how));
}

/** Everything in `name` ("words" or "texts") of each file, line by line. */
function lines(page, name, row) {
  const node = el("div", { class: "list" });
  for (const file of page.files()) {
    const found = file[name].filter((line) => holds(line[2], page.query));
    if (!found.length) continue;
    const rows = found.slice(0, MOST_LINES).map((line) => row(file, line));
    const more = found.length - rows.length;
    node.append(el("section", { class: "block" }, el("h2", {}, foreign(file.name)), el("div", {}, ...rows),
      more ? el("p", { class: "hint" }, `${plural(more, "more line")}: search for what you need.`) : null));
  }
  return node;
}

export function transcriptView(page) {
  const node = lines(page, "words", (file, [start, , text, origin, timed]) => {
    const said = timed.length && !page.query
      ? timed.flatMap(([at, word]) => [place(page, file, at, foreign(word.trim())), " "])
      : [place(page, file, start, marked(text, page.query))];
    return el("p", { class: `line ${origin}` }, el("span", { class: "at" }, clock(start)),
      el("span", { class: "said" }, ...said, origin === "subtitles" ? el("span", { class: "chip" }, "subtitle") : null));
  });
  return node.firstChild ? node : missing(page, "transcript", "words", "framemill extract SOURCES -o OUT --ops transcript");
}

export function textView(page) {
  const node = lines(page, "texts", (file, [start, end, text]) => el("p", { class: "line" },
    el("span", { class: "at" }, clock(start)),
    el("span", { class: "said" }, place(page, file, start, marked(text, page.query))),
    end > start ? el("span", { class: "until" }, `${(end - start).toFixed(1)} s`) : null));
  return node.firstChild ? node : missing(page, "text", "text on screen", "framemill extract SOURCES -o OUT --ops text,text_spans");
}

export function peopleView(page) {
  const node = el("div", { class: "people" });
  for (const person of page.document.people) {
    if (!holds(`person ${person.id}`, page.query)) continue;
    const faces = person.sightings.map(({ file, at, still: number }) => {
      const held = page.document.files[file];
      return place(page, held, at, still(page.data, number, `Person ${person.id}`, [1, 1]),
        el("span", { class: "caption" }, el("b", { title: isolated(held.name) }, foreign(held.name)), clock(at)));
    });
    node.append(el("section", { class: "block" }, el("h2", {}, marked(`Person ${person.id}`, page.query)),
      el("p", { class: "hint" }, `${plural(person.faces, "face")} in ${plural(person.files, "file")}`),
      el("div", { class: "faces" }, ...faces)));
  }
  return node.firstChild ? node : missing(page, "people", "people", "framemill people OUT");
}

export function twinsView(page) {
  const node = el("div", { class: "twins" });
  for (const group of page.document.twins) {
    const items = group.items.map((item) => [page.document.files[item.file], item]);
    if (page.query && !items.some(([file]) => holds(file.uri, page.query))) continue;
    node.append(el("section", { class: "block" },
      el("h2", {}, group.kind === "video" ? "The same video" : "The same picture", ` ×${group.size}`),
      el("div", { class: "pair" }, ...items.map(([file, { at, still: number, unsafe }]) => place(page, file, at,
        still(page.data, number, file.name, [file.width, file.height], [], unsafe),
        el("span", { class: "caption" }, el("b", { title: isolated(file.name) }, foreign(file.name)),
          clock(group.kind === "video" ? file.seconds : at)))))));
  }
  return node.firstChild ? node : missing(page, "duplicates", "duplicates", "framemill duplicates OUT");
}
