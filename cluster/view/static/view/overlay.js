// Boxes of the tables over a video, in step with the frame that it shows.

import { el, isolated, svg } from "../dom.js";
import { get } from "./ask.js";

const WINDOW = 30; // seconds that are asked for at once
const SLACK = 0.004; // seconds: times of frames are rounded
const FRESH = 0.2; // seconds after which the boxes of a sampled frame are drawn as older than the picture
const LETTERS = 13; // height of names, in pixels of the screen
const STORE = "framemill.boxes";
export const KINDS = { face: "faces", object: "objects", pose: "poses", text: "text" };

/**
 * Draws over `screen`, which holds a video or a still, of a file { id, width, height, offset }. `node` is the row of
 * switches, one for each kind; `show(seconds)` draws the boxes of a time; `close()` ends it.
 *
 * Between two sampled frames the boxes of the earlier stay, fainter: where things went meanwhile the tables do not say.
 */
export function overlay(screen, file) {
  const group = svg("g");
  const over = svg("svg", { class: "boxes", "aria-hidden": true }, group);
  const node = el("div", { class: "kinds", role: "group", "aria-label": "Boxes that are drawn" });
  const windows = new Map(); // number -> [[seconds, boxes]], or null while asked for
  const hidden = new Set(stored());
  const seen = new Set();
  let drawn = "";
  let letters = 12; // height of names, in pixels of the picture
  let now = 0;
  let isClosed = false;

  function stored() {
    try {
      return JSON.parse(localStorage.getItem(STORE) ?? "[]");
    } catch {
      return []; // what another program wrote there says nothing
    }
  }
  function switches() {
    node.replaceChildren(...Object.entries(KINDS).filter(([kind]) => seen.has(kind)).map(([kind, name]) => {
      const box = el("input", { type: "checkbox", onchange: () => {
        if (box.checked) hidden.delete(kind);
        else hidden.add(kind);
        localStorage.setItem(STORE, JSON.stringify([...hidden]));
        draw();
      } });
      box.checked = !hidden.has(kind);
      return el("label", { class: `kind ${kind}` }, box, name);
    }));
  }
  async function ask(number) {
    if (number < 0 || windows.has(number)) return;
    windows.set(number, null);
    try {
      const { frames } = await get(`boxes/${encodeURIComponent(file.id)}`, { start: number * WINDOW, end: (number + 1) * WINDOW });
      windows.set(number, frames);
      const before = seen.size;
      for (const [, boxes] of frames) for (const [kind] of boxes) seen.add(kind);
      if (seen.size !== before) switches();
      if (!isClosed) draw();
    } catch (error) {
      // Without boxes the video still plays; the row of switches says why they are not there.
      node.replaceChildren(el("span", { class: "error" }, error.message));
    }
  }
  /** The sampled frame that is shown, or the last before it: [seconds, boxes]. */
  function frameAt(seconds) {
    const number = Math.floor((seconds + SLACK) / WINDOW);
    for (const part of [number, number - 1]) {
      const frames = windows.get(part) ?? [];
      for (let index = frames.length - 1; index >= 0; index -= 1) if (frames[index][0] <= seconds + SLACK) return frames[index];
    }
    return null;
  }
  function draw() {
    const frame = frameAt(now);
    const isOld = frame !== null && now - frame[0] > FRESH;
    const state = `${frame?.[0]} ${isOld} ${[...hidden]}`;
    if (state === drawn) return;
    drawn = state;
    over.classList.toggle("old", isOld);
    over.dataset.seconds = frame?.[0] ?? "";
    group.replaceChildren(...(frame?.[1] ?? []).filter(([kind]) => !hidden.has(kind)).flatMap(shape));
  }
  function shape([kind, name, x0, y0, x1, y1, limbs]) {
    if (limbs) return limbs.map(([ax, ay, bx, by]) => svg("line", { class: `box ${kind}`, x1: ax, y1: ay, x2: bx, y2: by }));
    const size = { x: x0, y: y0, width: Math.max(0, x1 - x0), height: Math.max(0, y1 - y0) };
    return [svg("rect", { class: `box ${kind}`, ...size }, svg("title", {}, isolated(name))),
      kind === "text" ? null : svg("text", { class: `name ${kind}`, x: x0, y: Math.max(letters, y0 - letters / 3),
        "font-size": letters }, isolated(name))].filter(Boolean);
  }
  /** Boxes are in pixels of the picture as it is shown; of a video whose pixels are not square these are stretched. */
  function place() {
    const video = screen.querySelector("video");
    const [width, height] = video?.videoWidth ? [video.videoWidth, video.videoHeight] : [file.width, file.height];
    if (!width || !file.width) return;
    over.setAttribute("viewBox", `0 0 ${width} ${height}`);
    group.setAttribute("transform", `scale(${width / file.width} ${height / file.height})`);
    const picture = screen.querySelector(".picture");
    const holder = video ? screen : picture;
    if (holder && over.parentNode !== holder) holder.append(over);
    const edges = over.getBoundingClientRect();
    if (edges.width) letters = LETTERS / Math.min(edges.width / file.width, edges.height / file.height);
  }
  const show = (seconds) => {
    now = Math.max(0, seconds);
    const number = Math.floor((now + SLACK) / WINDOW);
    ask(number);
    // The one before holds the last sampled frame, where this one begins between two; the next is needed soon.
    if (now % WINDOW < 5) ask(number - 1);
    if (now % WINDOW > WINDOW - 5) ask(number + 1);
    place();
    draw();
  };
  const video = screen.querySelector("video");
  const offset = Math.max(0, file.offset);
  if (video?.requestVideoFrameCallback) {
    const step = (_, { mediaTime }) => {
      if (isClosed) return;
      show(mediaTime - offset);
      video.requestVideoFrameCallback(step);
    };
    video.requestVideoFrameCallback(step);
  } else if (video) {
    for (const moment of ["timeupdate", "seeked"]) video.addEventListener(moment, () => show(video.currentTime - offset));
  }
  video?.addEventListener("loadedmetadata", place);
  return { node, show, close: () => { isClosed = true; } };
}
