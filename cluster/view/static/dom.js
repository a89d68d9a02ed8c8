// Elements made without markup: whatever a file says of itself becomes a text node, never HTML.

/** An element. Children are nodes or texts; `on...` are listeners, `data` is its dataset, others attributes. */
export function el(tag, options = {}, ...children) {
  return fill(document.createElement(tag), options, children);
}

/** The same in SVG. */
export function svg(tag, options = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), options, children);
}

function fill(node, options, children) {
  for (const [name, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "css") for (const [key, held] of Object.entries(value)) node.style.setProperty(key, held);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Text of a file, in a direction of its own: an override in it turns nothing around it. */
export function foreign(text) {
  return el("bdi", {}, text);
}

/** The same for places that take no elements, such as titles and options. */
export function isolated(text) {
  return `\u2068${text}\u2069`;
}

export function plural(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

const MOST_A_FRAME = 4;

/**
 * Calls `show(node)` once a node comes near the screen, a few at a time so that scrolling stays smooth. A node with
 * a `group` stands for the nodes in it: watching thousands costs more than making some too early.
 */
export function whenNear(margin, show) {
  const waiting = new Set();
  let planned = false;
  const work = () => {
    const until = performance.now() + 4;
    let made = 0;
    // Making a node is the lesser part: style, layout and painting follow in the same frame.
    for (const node of waiting) {
      waiting.delete(node);
      if (node.isConnected) show(node);
      made += 1;
      if (made >= MOST_A_FRAME || performance.now() > until) break;
    }
    planned = waiting.size > 0;
    if (planned) requestAnimationFrame(work);
  };
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      observer.unobserve(entry.target);
      for (const node of entry.target.group ?? [entry.target]) waiting.add(node);
    }
    if (waiting.size && !planned) {
      planned = true;
      requestAnimationFrame(work);
    }
  }, { rootMargin: `${margin}px 0px` });
  return observer;
}
