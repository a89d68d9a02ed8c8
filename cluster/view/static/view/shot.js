// One shot, large: its video with boxes, what is known of it, its tags, and others like it.

import { el, foreign, isolated } from "../dom.js";
import { still } from "../pictures.js";
import { player } from "../player.js";
import { clock, timecode } from "../times.js";
import { get } from "./ask.js";
import { pictures } from "./card.js";
import { overlay } from "./overlay.js";
import { shotKey } from "./state.js";
import { tagEditor } from "./tags.js";

const MOST_LIKE = 24;

/**
 * A dialog that shows one row after the other: `show(row, index)`, with the row's position in the grid or -1;
 * `close()`. `around(step)` asks the page for the row before or after.
 */
export function shotDialog(app) {
  const content = el("div", { class: "content", tabindex: -1 });
  const node = el("dialog", { class: "shotview", "aria-labelledby": "shot-title",
    oncancel: (event) => { event.preventDefault(); app.leaveShot(); },
    onclick: (event) => { if (event.target === node) app.leaveShot(); } }, content);
  let boxes = null;
  let held = null;
  let tags = null;
  let screen = null;

  function show(row, index) {
    const isSame = held && shotKey(held.source, held.index) === shotKey(row.source, row.index);
    held = row;
    if (isSame && node.open) return tags.show(row.tags ?? []);
    boxes?.close();
    const { width, height } = row;
    const file = { id: row.source, url: row.url, name: row.name, offset: row.offset ?? 0, width, height, poster: 0,
      shots: [row], lanes: [] };
    screen = player(pictures, file, (seconds) => boxes?.show(row.url ? seconds : row.at));
    if (row.width) screen.querySelector(".screen").style.setProperty("--shape", `${row.width} / ${row.height}`);
    boxes = overlay(screen.querySelector(".screen"), file);
    tags = tagEditor(app, () => [held]);
    tags.show(row.tags ?? []);
    const like = el("section", { class: "like" });
    content.replaceChildren(
      el("header", {},
        el("h2", { id: "shot-title" }, `Shot ${row.index + 1} of `, foreign(row.name)),
        el("div", { class: "steps" },
          el("button", { type: "button", class: "quiet", disabled: index <= 0, onclick: () => app.step(-1) }, "‹ before"),
          el("button", { type: "button", class: "quiet", disabled: index < 0, onclick: () => app.step(1) }, "next ›"),
          el("button", { type: "button", class: "quiet close", "aria-label": "Close", onclick: app.leaveShot }, "×"))),
      el("div", { class: "stage" },
        el("div", { class: "seen" }, screen,
          el("div", { class: "under" },
            row.url ? el("button", { type: "button", class: "soft", onclick: () => screen.play(row.start, row.end) },
              "Play the shot") : null,
            boxes.node)),
        el("div", { class: "known" }, facts(row), people(row), labels(row), texts(row),
          el("section", {}, el("h3", {}, "Tags"), tags.node),
          el("p", { class: "links" },
            el("a", { href: app.address({ page: "file", file: row.source, at: String(row.start) }) },
              "The whole file, with its timeline"),
            el("button", { type: "button", class: "soft", onclick: () => similar(row, like) }, "More like this")))),
      like);
    if (!node.open) node.showModal();
    content.scrollTop = 0;
    screen.seek(row.start, row.end);
    boxes.show(row.url ? row.start : row.at); // a still is of the best frame, a video begins with the first
    content.focus();
  }

  function facts(row) {
    const rows = [
      ["from", timecode(row.first, row.fps, row.timecode)], ["to", timecode(row.last, row.fps, row.timecode)],
      ["lasts", `${(row.end - row.start).toFixed(2)} s`], ["frames", `${row.first}–${Math.max(row.first, row.last - 1)}`],
      ["begins with", row.transition], ["size", row.width ? `${row.width} x ${row.height}` : null],
      ["rate", row.fps ? `${Number(row.fps.toFixed(3))} fps` : null], ["sharpness", figure(row.sharpness)],
      ["motion", figure(row.motion)], ["unsafe", figure(row.unsafe)], ["loudness", row.loudness === null ? null : `${row.loudness.toFixed(1)} dBFS`],
    ];
    return el("dl", { class: "facts" }, ...rows.filter((one) => one[1]).map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }
  const figure = (value) => (value === null || value === undefined ? null : String(Number(value.toPrecision(3))));

  function section(title, ...children) {
    return children.length ? el("section", {}, el("h3", {}, title), el("p", { class: "chipline" }, ...children)) : null;
  }
  const chip = (facet, value, shown, kind) => el("a", { class: `chip ${kind}`, title: "Show all shots like this",
    href: app.only({ facets: { [facet]: [value] } }) }, foreign(shown));
  const people = (row) => section("People", ...(row.people ?? []).map(([id, name]) =>
    chip("person", String(id), name || `person ${id}`, "person")));
  const labels = (row) => section("Seen", ...(row.labels ?? []).map(([name, count, score]) =>
    chip("label", name, `${name}${count > 1 ? ` ×${count}` : ""}${score ? ` ${score}` : ""}`, count ? "object" : "")));
  function texts(row) {
    const parts = [];
    if (row.caption) parts.push(el("section", {}, el("h3", {}, "Caption"), el("p", { class: "quote" }, foreign(row.caption))));
    if (row.words) parts.push(el("section", {}, el("h3", {}, "Said"), el("p", { class: "quote" }, foreign(row.words))));
    if (row.text?.length) {
      const lines = row.text.map((line) => el("li", {}, foreign(line)));
      parts.push(el("section", {}, el("h3", {}, "Written"), el("ul", { class: "quote text" }, ...lines)));
    }
    return parts.length ? el("div", {}, ...parts) : null;
  }

  async function similar(row, place) {
    place.replaceChildren(el("h3", {}, "More like this"), el("p", { class: "hint" }, "Looking …"));
    place.scrollIntoView({ block: "nearest" });
    try {
      const { rows } = await get("similar", { source: row.source, frame: row.frame, limit: MOST_LIKE });
      if (held !== row) return;
      place.replaceChildren(el("h3", {}, "More like this"), rows.length
        ? el("ul", { class: "strip" }, ...rows.map((other) => el("li", {}, el("button", { type: "button", class: "place",
          onclick: () => app.open(other, -1) },
        still(pictures, other.still, `Shot ${other.index + 1} of ${other.name}`, [other.width, other.height], [],
          other.unsafe),
        el("span", { class: "caption" }, el("b", { title: isolated(other.name) }, foreign(other.name)),
          `${clock(other.start)} · ${other.score.toFixed(2)}`)))))
        : el("p", { class: "hint" }, "There is no other shot with a vector."));
    } catch (error) {
      if (held === row) place.replaceChildren(el("h3", {}, "More like this"), el("p", { class: "hint" }, foreign(error.message)));
    }
    place.scrollIntoView({ block: "nearest" });
  }

  node.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea, select") || event.altKey || event.ctrlKey || event.metaKey) return;
    const video = node.querySelector("video");
    const frame = 1 / (held.fps || 25);
    const act = { ArrowLeft: () => app.step(-1), ArrowRight: () => app.step(1), t: () => tags.focus(),
      ",": () => video && screen.seek(Math.max(0, video.currentTime - Math.max(0, held.offset ?? 0) - frame)),
      ".": () => video && screen.seek(video.currentTime - Math.max(0, held.offset ?? 0) + frame),
      p: () => video && (video.paused ? screen.play(held.start, held.end) : video.pause()) }[event.key];
    // A video that has the keyboard seeks by itself.
    if (!act || (event.target === video && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    act();
  });
  return {
    node, show,
    get row() { return held; },
    close() {
      boxes?.close();
      [boxes, held] = [null, null];
      if (node.open) node.close();
      content.replaceChildren();
    },
  };
}
