// Stills: a picture in its own shape, with boxes drawn in the pixels of the frame.

import { el, isolated, svg } from "./dom.js";

/** What stands for a file without a picture: how loud it is, from its beginning to its end. */
export function soundPicture(file) {
  const curve = file.lanes.find((lane) => lane.curve)?.curve ?? [];
  const bars = Math.min(60, curve.length);
  const path = Array.from({ length: bars }, (_, index) => {
    const part = curve.slice(Math.floor((index * curve.length) / bars), Math.floor(((index + 1) * curve.length) / bars));
    const high = Math.max(0.02, ...part) * 0.8;
    return `M${index + 0.5} ${0.5 - high / 2}v${high}`;
  });
  return el("span", { class: "still sound" },
    svg("svg", { viewBox: `0 0 ${Math.max(1, bars)} 1`, preserveAspectRatio: "none" }, svg("path", { d: path.join("") })),
    el("span", { class: "badge" }, "sound"));
}

// Scores of `moderation` from here on have their stills blurred: halfway between what its authors call likely safe, up
// to 0.2, and likely not, from 0.8.
const UNSAFE_FROM = 0.5;
// What was looked at in spite of that, by number or address, so that a card that is made anew shows it.
const revealed = new Set();

/** Whether what has this score of `moderation`, null where nobody looked, is shown only to who asks for it. */
export const isUnsafe = (score) => score !== null && score !== undefined && score >= UNSAFE_FROM;

/** Blurs a still until it is clicked; a button where `tag` says so, which may not stand within another. */
function veil(frame, number, tag) {
  frame.classList.add("unsafe");
  const cover = el(tag, { class: "sensitive", type: tag === "button" ? "button" : null, onclick: (event) => {
    event.preventDefault();
    event.stopPropagation();
    revealed.add(number);
    frame.classList.remove("unsafe");
    cover.remove();
  } }, el("span", {}, "Sensitive: click to show"));
  frame.append(cover);
}

/**
 * A still; `shape` is [width, height] of the frame, `boxes` as in the document, `unsafe` its score of `moderation`.
 * Without a picture, an empty frame.
 */
export function still(data, number, alt, shape, boxes = [], unsafe = null, tag = "span") {
  const [width, height] = shape[0] && shape[1] ? shape : [16, 9];
  const found = data.picture(number);
  const frame = el("span", { class: "still" });
  const picture = el("span", { class: "picture", css: { "aspect-ratio": `${width} / ${height}` } });
  picture.classList.add(width / height > 16 / 9 ? "wide" : "tall");
  frame.append(picture);
  if (!found) {
    picture.append(el("span", { class: "no-still" }, "no picture"));
  } else if (found.part) {
    const { x, y, width: w, height: h, sheetWidth, sheetHeight } = found.part;
    const share = (at, whole, part) => (whole > part ? `${(at / (whole - part)) * 100}%` : "0%");
    picture.append(el("span", { class: "sprite", role: "img", "aria-label": isolated(alt), css: {
      "background-image": `url("${found.url}")`,
      "background-size": `${(sheetWidth / w) * 100}% ${(sheetHeight / h) * 100}%`,
      "background-position": `${share(x, sheetWidth, w)} ${share(y, sheetHeight, h)}`,
    } }));
  } else {
    picture.append(el("img", { src: found.url, alt: isolated(alt), decoding: "async" }));
  }
  if (boxes.length && shape[0]) {
    const over = svg("svg", { class: "boxes", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" });
    for (const [kind, name, x0, y0, x1, y1] of boxes) {
      const size = { x: x0, y: y0, width: Math.max(0, x1 - x0), height: Math.max(0, y1 - y0) };
      over.append(svg("rect", { class: `box ${kind}`, ...size }, svg("title", {}, isolated(name))));
    }
    picture.append(over);
  }
  if (found && isUnsafe(unsafe) && !revealed.has(number)) veil(frame, number, tag);
  return frame;
}
