// A file's player: the video where the browser plays it, and stills elsewhere.

import { el } from "./dom.js";
import { isUnsafe, soundPicture, still } from "./pictures.js";
import { clock } from "./times.js";

/** Its `seek(seconds, until)` goes to a place and tells `moved(seconds)`; `play(seconds, until)` plays from there. */
export function player(data, file, moved) {
  const screen = el("div", { class: "screen" });
  const close = el("button", { class: "undock", type: "button", "aria-label": "Close the small player",
    onclick: () => dock(false) }, "×");
  const node = el("div", { class: "player" }, screen);
  let video = null;
  let stop = Infinity;
  let wanted = null;
  let tries = 0;
  // Players count from the container's clock, tables from the first frame or sample.
  const offset = Math.max(0, file.offset);
  const fragment = (start, end) => `#t=${start + offset}${end ? `,${end + offset}` : ""}`;
  let isUsed = false;
  let isSeen = true;

  const dock = (isSmall = isUsed && !isSeen) => {
    node.classList.toggle("docked", isSmall);
    if (isSmall) screen.append(close);
    else close.remove();
  };
  const showStill = (seconds) => {
    const shots = file.shots;
    const index = shots.findIndex((shot) => seconds >= shot.start && seconds < shot.end);
    const shot = shots[index < 0 ? file.poster : index];
    const shown = shot
      ? still(data, shot.still, `${file.name}, ${clock(shot.at)}`, [file.width, file.height], [], shot.unsafe, "button")
      : soundPicture(file);
    screen.replaceChildren(shown, ...(node.classList.contains("docked") ? [close] : []));
  };
  // The first instant of a frame may round to the one before it.
  const target = () => offset + Math.max(0, wanted + 0.001);
  const arrive = () => {
    if (wanted !== null) video.currentTime = target();
  };
  // Chromium jumps to the start of a file that begins late after it told that it can seek: once more then.
  const arrived = () => {
    if (wanted === null || video.seeking) return;
    const isThere = Math.abs(video.currentTime - target()) < 0.02 || tries > 2;
    tries += 1;
    if (isThere) wanted = null;
    else arrive();
  };
  if (file.url) {
    const stands = file.shots[file.poster];
    const poster = stands && !isUnsafe(stands.unsafe) ? data.picture(stands.still) : null;
    const first = file.shots[0];
    const range = first ? fragment(first.start, first.end) : "";
    video = el("video", { preload: "none", controls: true, playsinline: true, src: file.url + range,
      "aria-label": "Player", poster: poster && !poster.part ? poster.url : null });
    video.addEventListener("loadedmetadata", arrive);
    video.addEventListener("loadeddata", arrived);
    video.addEventListener("seeked", arrived);
    video.addEventListener("timeupdate", () => {
      const now = video.currentTime - offset;
      if (wanted === null) moved(Math.max(0, now));
      if (now >= stop) {
        stop = Infinity;
        video.pause();
      }
    });
    video.addEventListener("error", () => {
      video = null;
      node.append(el("p", { class: "hint" }, "The file is not there, or this browser does not play it: stills instead."));
      showStill(wanted ?? 0);
    });
    screen.append(video);
  } else {
    showStill(0);
    node.append(el("p", { class: "hint" }, "Browsers do not play this file: stills instead."));
  }

  node.seek = (seconds, until) => {
    isUsed = true;
    dock();
    stop = Infinity;
    moved(seconds);
    if (!video) return showStill(seconds);
    [wanted, tries] = [seconds, 0];
    if (video.readyState > 0) return arrive();
    if (video.preload === "none") {
      video.preload = "metadata";
      video.src = file.url + fragment(seconds, until);
      video.load();
    }
  };
  node.play = (seconds, until) => {
    node.seek(seconds, until);
    stop = until ?? Infinity;
    video?.play().catch(() => {}); // an error of the file is told by its own event
  };
  new IntersectionObserver((entries) => {
    isSeen = entries.at(-1).isIntersecting;
    dock();
  }).observe(node);
  return node;
}
