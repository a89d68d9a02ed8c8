// The page of shots: a section for each file, with player, facts, timeline and grid.

import { el, foreign, isolated, whenNear } from "./dom.js";
import { player } from "./player.js";
import { matchingShots } from "./search.js";
import { noShots, shotGrid } from "./shots.js";
import { clock } from "./times.js";
import { timeline } from "./timeline.js";

/** Sections of the files that are chosen and have something of what is searched for. */
export function filesView(page) {
  const node = el("div", { class: "files" });
  const observer = whenNear(1200, (section) => section.fill());
  for (const file of page.files()) {
    const chosen = matchingShots(file, page.query);
    if (page.query && !chosen.length && !file.uri.toLowerCase().includes(page.query)) continue;
    const section = el("section", { class: "file", "aria-label": isolated(file.name), data: { file: file.id } });
    section.style.minHeight = `${520 + Math.ceil(chosen.length / 4) * 290}px`;
    section.fill = () => {
      if (section.firstChild) return;
      section.style.minHeight = "";
      section.append(...parts(page, file, chosen, section));
    };
    node.append(section);
    observer.observe(section);
  }
  if (!node.firstChild) node.append(el("p", { class: "empty" }, "No shot has that in its words, text or labels."));
  return node;
}

/**
 * What stands in a section of a file. `page` is as for `shotGrid`; the section gets `seek(seconds)`, which moves player
 * and timeline; `chosen` are positions in file.shots.
 */
export function parts(page, file, chosen, section) {
  const line = timeline(file, (seconds) => screen.seek(seconds));
  const screen = player(page.data, file, (seconds) => line.show(seconds));
  section.seek = (seconds) => screen.seek(seconds);
  const facts = el("dl", { class: "facts" });
  for (const [name, value] of file.facts) facts.append(el("div", {}, el("dt", {}, name), el("dd", {}, foreign(value))));
  const highlights = file.lanes.find((lane) => lane.kind === "highlight");
  const best = highlights && el("div", { class: "best" }, el("h3", {}, "Highlights"),
    ...highlights.spans.slice(0, 5).map(([start, end, why]) => el("button", { type: "button",
      onclick: () => screen.play(start, end) }, el("b", {}, `${clock(start)}–${clock(end)}`), ` ${why}`)));
  return [
    el("header", {},
      el("h2", {}, foreign(file.name)),
      el("span", { class: "length" }, clock(file.seconds)),
      file.status === "ok" ? null : el("span", { class: "chip bad" }, file.status),
      el("p", { class: "path" }, foreign(file.uri),
        file.copies.length ? ` and ${file.copies.length} more of the same bytes` : "")),
    el("div", { class: "stage" }, screen, el("div", { class: "side" }, facts, best)),
    line,
    chosen.length ? shotGrid(page, file, chosen, screen) : noShots(file),
  ];
}
