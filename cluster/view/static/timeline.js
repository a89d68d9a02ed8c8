// The timeline of a file: lanes over its seconds. A click, or the arrow keys, seek.

import { el, foreign, isolated, svg } from "./dom.js";
import { clock } from "./times.js";

// More shots than these are stripes in one path: each as an element of its own takes a frame or two to lay out.
const MOST_SPANS = 150;
// Spans narrower than this share of the file have no room for a word.
const LEAST_NAMED = 0.008;

/** `seek(seconds)` is called for a place that is chosen. The element's `show(seconds)` moves the playhead. */
export function timeline(file, seek) {
  const length = Math.max(file.seconds, ...file.shots.map((shot) => shot.end), 0.001);
  const percent = (seconds) => `${(Math.min(seconds, length) / length) * 100}%`;
  const head = el("div", { class: "playhead" });
  const tracks = el("div", { class: "tracks", tabindex: 0, role: "slider", "aria-label": "Place in the file",
    "aria-valuemin": 0, "aria-valuemax": length, "aria-valuenow": 0 });
  const names = el("div", { class: "names" });
  const node = el("div", { class: "timeline" }, names, tracks);
  let now = 0;
  const add = (kind, name, content) => {
    names.append(el("span", { class: `name ${kind}`, title: name && isolated(`${name} (${kind})`) }, foreign(name)));
    tracks.append(content);
  };

  const ruler = el("div", { class: "lane ruler" });
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600].find((s) => length / s <= 10) ?? 7200;
  for (let at = 0; at < length * 0.97; at += step) {
    ruler.append(el("span", { class: "mark", css: { left: percent(at) } }, clock(at)));
  }
  add("ruler", "", ruler);
  if (file.shots.length) {
    const lane = el("div", { class: "lane shot" });
    if (file.shots.length > MOST_SPANS) {
      const part = (seconds) => ((seconds / length) * 1000).toFixed(2);
      const stripes = (odd) => svg("path", { class: odd ? "odd" : "even", d: file.shots
        .filter((_, index) => index % 2 === Number(odd))
        .map((shot) => `M${part(shot.start)} 0H${part(shot.end)}V1H${part(shot.start)}Z`).join("") });
      lane.append(svg("svg", { viewBox: "0 0 1000 1", preserveAspectRatio: "none" }, stripes(false), stripes(true)));
    } else {
      file.shots.forEach((shot, index) => {
        lane.append(span(shot.start, shot.end, `shot ${index + 1}`, String(index + 1)));
      });
    }
    add("shot", "shots", lane);
  }
  for (const lane of file.lanes) add(lane.kind, lane.name, drawn(lane));
  tracks.append(head);

  function span(start, end, says, shown) {
    return el("span", { class: "span", title: isolated(says), css: { left: percent(start),
      width: `max(2px, calc(${percent(Math.max(0, end - start))} - 1px))` } },
    shown && (end - start) / length > LEAST_NAMED ? foreign(shown) : null);
  }

  function drawn(lane) {
    const row = el("div", { class: `lane ${lane.kind}` });
    if (lane.curve) {
      const wide = lane.curve.length;
      const points = lane.curve.map((value, index) => `L${index} ${1 - value}L${index + 1} ${1 - value}`).join("");
      row.append(svg("svg", { viewBox: `0 0 ${wide} 1`, preserveAspectRatio: "none" },
        svg("path", { d: `M0 1${points}L${wide} 1Z` })));
    } else if (lane.ticks) {
      const path = lane.ticks.map((at) => `M${(at / length) * 1000} 0V1`).join("");
      row.append(svg("svg", { viewBox: "0 0 1000 1", preserveAspectRatio: "none" }, svg("path", { d: path })));
    } else {
      const says = lane.kind === "text" || lane.kind === "highlight" || lane.name === "music, speech";
      for (const [start, end, text] of lane.spans) {
        row.append(span(start, end, `${text || lane.name} ${clock(start)}`, says && text));
      }
    }
    return row;
  }

  const at = (event) => {
    const edges = tracks.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - edges.left) / edges.width)) * length;
  };
  tracks.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    seek(at(event));
    const drag = (moved) => seek(at(moved));
    tracks.setPointerCapture(event.pointerId);
    tracks.addEventListener("pointermove", drag);
    tracks.addEventListener("pointerup", () => tracks.removeEventListener("pointermove", drag), { once: true });
  });
  tracks.addEventListener("keydown", (event) => {
    const far = event.shiftKey ? 10 : 1;
    const to = { ArrowRight: now + far, ArrowLeft: now - far, Home: 0, End: length }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    seek(Math.min(length, Math.max(0, to)));
  });
  node.show = (seconds) => {
    now = seconds;
    head.style.left = percent(seconds);
    tracks.setAttribute("aria-valuenow", seconds.toFixed(2));
    tracks.setAttribute("aria-valuetext", clock(seconds));
  };
  node.show(0);
  return node;
}
