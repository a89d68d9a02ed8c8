// The grid of a file's shots. Cards are made when they come near the screen.

import { el, foreign, isolated, whenNear } from "./dom.js";
import { still } from "./pictures.js";
import { during, marked } from "./search.js";
import { clock, timecode } from "./times.js";

const GROUP = 8; // cards that are made when the first of them comes near
const LOT = 12 * GROUP; // places of cards that are laid out in one frame

/**
 * A list of cards, one for each of `chosen` (positions in file.shots). `page` has data, query, ticked (a Map), and
 * `changed()`, to be called when a tick changes; `player` is the file's.
 */
export function shotGrid(page, file, chosen, player) {
  const grid = el("ol", { class: "grid" });
  const observer = whenNear(600, (item) => {
    if (!item.firstChild) item.append(...card(page, file, Number(item.dataset.shot), player));
  });
  const items = chosen.map((index) => el("li", { class: "card", data: { shot: index } }));
  const height = `${Math.ceil(items.length / 4) * 326}px`;
  grid.style.setProperty("contain-intrinsic-height", `auto ${height}`);
  let placed = 0;
  const place = () => {
    const lot = items.slice(placed, placed + LOT);
    grid.append(...lot);
    for (let at = 0; at < lot.length; at += GROUP) {
      lot[at].group = lot.slice(at, at + GROUP);
      observer.observe(lot[at]);
    }
    placed += LOT;
    if (placed < items.length) requestAnimationFrame(place);
    else grid.style.minHeight = "";
  };
  if (items.length > LOT) {
    grid.style.minHeight = height;
    requestAnimationFrame(place);
  } else place();
  grid.addEventListener("keydown", (event) => {
    const item = event.target.closest("li");
    const cards = [...grid.children];
    const top = cards[0].offsetTop;
    const columns = Math.max(1, cards.filter((other) => other.offsetTop === top).length);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    const next = step && cards[cards.indexOf(item) + step];
    if (!next) return;
    event.preventDefault();
    if (!next.firstChild) next.append(...card(page, file, Number(next.dataset.shot), player));
    next.querySelector("button").focus();
  });
  return grid;
}

function card(page, file, index, player) {
  const shot = file.shots[index];
  const number = index + 1;
  const key = `${file.id}.${index}`;
  const says = during(file, shot);
  const start = timecode(shot.first, file.fps, file.timecode);
  const end = timecode(shot.last, file.fps, file.timecode);
  const show = el("button", { class: "show", type: "button",
    "aria-label": isolated(`Shot ${number} of ${file.name}, ${start} to ${end}`),
    onclick: () => player.seek(shot.start, shot.end), ondblclick: () => player.play(shot.start, shot.end) },
  still(page.data, shot.still, `Shot ${number}`, [file.width, file.height], shot.boxes, shot.unsafe),
  el("span", { class: "badge number" }, String(number)),
  el("span", { class: "badge length" }, `${(shot.end - shot.start).toFixed(1)} s`));
  const tick = el("input", { type: "checkbox", "aria-label": `Tick shot ${number}`, onchange: () => {
    if (tick.checked) page.ticked.set(key, { file, shot, number, ...says });
    else page.ticked.delete(key);
    page.changed();
  } });
  tick.checked = page.ticked.has(key);
  const labels = el("p", { class: "labels" }, ...tagChips(shot));
  for (const [name, count, score] of shot.labels) {
    labels.append(el("span", { class: count ? "chip object" : "chip", title: score ? `score ${score}` : null },
      marked(name, page.query), count > 1 ? ` ×${count}` : ""));
  }
  return [
    show,
    el("label", { class: "tick" }, tick),
    el("div", { class: "about" },
      el("p", { class: "codes" }, el("span", {}, start), el("span", { class: "arrow" }, "→"), el("span", {}, end)),
      el("p", { class: "frames" }, `frames ${shot.first}–${Math.max(shot.first, shot.last - 1)}`,
        el("span", { class: `transition ${shot.transition}` }, shot.transition)),
      labels,
      says.text ? el("p", { class: "says text", title: isolated(says.text) }, marked(says.text, page.query)) : null,
      says.words ? el("p", { class: "says words", title: isolated(says.words) }, marked(says.words, page.query)) : null),
  ];
}

/** What people said of a shot; a report does not tell it. */
export const tagChips = (shot) => (shot.tags ?? []).map((tag) => el("span", { class: "chip tag" }, foreign(tag)));

/** A bare line for where a file has no shots. */
export function noShots(file) {
  return el("p", { class: "hint" }, file.width ? `One picture stream of ${clock(file.seconds)}, but no frame of it was kept.`
    : "Sound only: its timeline is above, its words are under Transcript.");
}
