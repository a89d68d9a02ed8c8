// A list of any length whose cards exist only near the screen: rows come in pages, places are counted, not laid out.

import { el } from "../dom.js";

const PAGE = 60;
const MOST_ROWS = 500; // that the server gives at once
const MOST_PAGES = 30; // that are kept; others are asked for again
const MOST_A_FRAME = 4; // cards that are made in one frame, so that scrolling stays smooth
const AHEAD = 700; // pixels beyond the screen in which cards are made
const HIGHEST = 15e6; // pixels: browsers draw nothing beyond some twenty million

/**
 * `load(offset, limit)` answers with { total, rows }, or undefined where a later question took its place; `key(row)`
 * tells rows apart; `fill(item, row, index)` makes a card, whose first button or link is what the keyboard goes to.
 *
 * `narrowest()` is the least width of a card, `height(width)` its height, both in pixels; `top()` is how much of the
 * screen's top is covered. `loaded(total)` is called after each answer; `moved(count)` where rows came in that would
 * move what is looked at (count is 0 where they cannot be counted); `failed(error)` where there is no answer.
 */
export function endless({ label, narrowest, height, top, load, key, fill, loaded, moved, failed }) {
  const node = el("ul", { class: "endless", role: "list", "aria-label": label });
  const live = new Map(); // position -> item
  let pages = new Map(); // number of a page -> rows, or null while they are asked for
  let total = 0;
  let current = 0; // position that the keyboard is at
  let wantsFocus = false;
  let generation = 0;
  let [columns, cardWidth, cardHeight, gap] = [1, 1, 1, 16];
  let planned = false;
  let settling = 0;

  const rowAt = (index) => pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  const room = () => Math.min(total, Math.floor(HIGHEST / (cardHeight + gap)) * columns);

  function measure() {
    const width = node.clientWidth;
    if (!width) return;
    gap = width < 600 ? 10 : 16;
    columns = Math.max(1, Math.floor((width + gap) / (narrowest() + gap)));
    cardWidth = (width - gap * (columns - 1)) / columns;
    cardHeight = Math.round(height(cardWidth));
    for (const [index, item] of live) put(item, index);
    stretch();
  }
  function stretch() {
    node.style.height = `${Math.max(0, Math.ceil(room() / columns) * (cardHeight + gap) - gap)}px`;
    plan();
  }
  function put(item, index) {
    const [row, column] = [Math.floor(index / columns), index % columns];
    item.style.width = `${cardWidth}px`;
    item.style.height = `${cardHeight}px`;
    item.style.transform = `translate(${column * (cardWidth + gap)}px, ${row * (cardHeight + gap)}px)`;
  }
  /** First and one past the last position within so many pixels of the screen. */
  function near(pixels) {
    const top = -node.getBoundingClientRect().top;
    const from = Math.floor((top - pixels) / (cardHeight + gap)) * columns;
    const to = Math.ceil((top + innerHeight + pixels) / (cardHeight + gap)) * columns;
    return [Math.max(0, from), Math.min(room(), Math.max(0, to))];
  }
  function plan() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      if (node.isConnected) draw();
    });
  }
  function draw() {
    const [keepFrom, keepTo] = near(AHEAD * 2);
    for (const [index, item] of live) {
      if ((index < keepFrom || index >= keepTo || index >= room()) && !item.contains(document.activeElement)) drop(index, item);
    }
    const [from, to] = near(AHEAD);
    let made = 0;
    let isMissing = false;
    for (let index = from; index < to && made < MOST_A_FRAME; index += 1) {
      let item = live.get(index);
      if (!item) {
        item = el("li", { class: "card pending", data: { index }, tabindex: -1 });
        put(item, index);
        live.set(index, item);
        // In the order of rows, which is that of the keyboard and of readers of the screen.
        let next = index + 1;
        while (next < keepTo && !live.has(next)) next += 1;
        node.insertBefore(item, live.get(next) ?? null);
      }
      if (item.classList.contains("pending")) {
        if (rowAt(index)) {
          show(item, index);
          made += 1;
        } else isMissing = true;
      }
    }
    if (made >= MOST_A_FRAME) plan();
    else if (isMissing) ask();
  }
  function show(item, index) {
    const row = rowAt(index);
    const had = item.contains(document.activeElement) && document.activeElement.tagName;
    item.classList.remove("pending");
    item.replaceChildren();
    item.told = JSON.stringify(row);
    item.setAttribute("aria-setsize", total);
    item.setAttribute("aria-posinset", index + 1);
    fill(item, row, index);
    for (const control of item.querySelectorAll("button, a, input")) control.tabIndex = index === current ? 0 : -1;
    if (had) item.querySelector(had)?.focus({ preventScroll: true });
    else if (wantsFocus && index === current && isFree()) focus();
  }
  function drop(index, item) {
    item.remove();
    live.delete(index);
  }
  /** Asks for the pages on the screen, once scrolling rests. */
  function ask() {
    clearTimeout(settling);
    settling = setTimeout(() => {
      const [from, to] = near(AHEAD);
      if (to <= from) return;
      for (let page = Math.floor(from / PAGE); page <= Math.floor((to - 1) / PAGE); page += 1) fetchPage(page);
    }, 60);
  }
  async function fetchPage(page) {
    if (pages.has(page)) return pages.get(page);
    const own = generation;
    pages.set(page, null);
    try {
      const answer = await load(page * PAGE, PAGE);
      if (own !== generation) return undefined;
      if (!answer) return void pages.delete(page);
      pages.set(page, answer.rows);
      const [from] = near(0);
      const far = [...pages.keys()].sort((a, b) => Math.abs(b * PAGE - from) - Math.abs(a * PAGE - from));
      for (const other of far.slice(0, Math.max(0, pages.size - MOST_PAGES))) pages.delete(other);
      plan();
      return answer.rows;
    } catch (error) {
      if (own === generation) {
        pages.delete(page);
        failed(error);
      }
      return undefined;
    }
  }
  function adopt(answers, newTotal) {
    generation += 1;
    pages = answers;
    total = newTotal;
    for (const [index, item] of live) {
      if (index >= room()) drop(index, item);
      else if (!rowAt(index)) item.classList.add("pending");
      else if (item.told !== JSON.stringify(rowAt(index))) show(item, index);
    }
    current = Math.max(0, Math.min(current, total - 1));
    stretch();
    loaded(total);
  }

  /** Other rows: from the top. */
  async function reload() {
    generation += 1;
    const own = generation;
    try {
      const answer = await load(0, PAGE);
      if (own !== generation || !answer) return;
      current = 0;
      wantsFocus ||= node.contains(document.activeElement);
      for (const [index, item] of live) drop(index, item);
      adopt(new Map([[0, answer.rows]]), answer.total);
    } catch (error) {
      if (own === generation) failed(error);
    }
  }
  /** The same rows as they are now, in place. Where others would move what is looked at, `moved` is told instead. */
  async function refresh(isForced = false) {
    const own = generation;
    const [from, to] = near(0);
    const numbers = new Set([Math.floor(from / PAGE), Math.floor(Math.max(0, to - 1) / PAGE)]);
    const answers = new Map();
    let newTotal = 0;
    try {
      for (const page of numbers) {
        const answer = await load(page * PAGE, PAGE);
        if (own !== generation || !answer) return;
        answers.set(page, answer.rows);
        newTotal = answer.total;
      }
    } catch (error) {
      return void failed(error);
    }
    const fresh = (index) => answers.get(Math.floor(index / PAGE))?.[index % PAGE];
    for (let index = from; index < to && !isForced; index += 1) {
      const held = rowAt(index);
      if (held && (!fresh(index) || key(fresh(index)) !== key(held))) return void moved(Math.max(0, newTotal - total));
    }
    adopt(answers, newTotal);
  }
  /** Whether the keyboard is nowhere else meanwhile. */
  const isFree = () => document.activeElement === document.body || node.contains(document.activeElement)
    || document.activeElement.id === "words";
  function focus() {
    const target = live.get(current)?.querySelector("button, a");
    wantsFocus = !target;
    target?.focus({ preventScroll: true });
  }
  /** Moves the keyboard to a position, which comes into view. */
  function goTo(index) {
    const before = live.get(current);
    for (const control of before?.querySelectorAll("button, a, input") ?? []) control.tabIndex = -1;
    current = Math.max(0, Math.min(index, room() - 1));
    const upper = node.getBoundingClientRect().top + scrollY + Math.floor(current / columns) * (cardHeight + gap);
    if (upper < scrollY + top()) scrollTo(0, upper - top() - gap);
    else if (upper + cardHeight > scrollY + innerHeight) scrollTo(0, upper + cardHeight + gap - innerHeight);
    wantsFocus = true;
    for (const control of live.get(current)?.querySelectorAll("button, a, input") ?? []) control.tabIndex = 0;
    if (live.get(current)?.querySelector("button, a")) focus();
    else plan();
  }
  node.addEventListener("keydown", (event) => {
    if (event.target.closest("input:not([type=checkbox])") || event.altKey || event.ctrlKey || event.metaKey) return;
    const screen = Math.max(1, Math.floor(innerHeight / (cardHeight + gap)));
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -total, End: total,
      PageDown: columns * screen, PageUp: -columns * screen }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const to = current + step;
    if (Math.abs(step) === columns && (to < 0 || to >= total)) return;
    goTo(to);
  });
  node.addEventListener("focusin", (event) => {
    const item = event.target.closest("li");
    if (!item || Number(item.dataset.index) === current) return;
    for (const control of live.get(current)?.querySelectorAll("button, a, input") ?? []) control.tabIndex = -1;
    current = Number(item.dataset.index);
    for (const control of item.querySelectorAll("button, a, input")) control.tabIndex = 0;
  });
  const ends = new AbortController();
  addEventListener("scroll", plan, { passive: true, signal: ends.signal });
  const sizes = new ResizeObserver(measure);
  sizes.observe(node);
  return {
    node, reload, refresh, goTo, measure, rowAt,
    get total() { return total; },
    get room() { return room(); },
    get current() { return current; },
    /** Rows of a range, asked for where they are not there. */
    async rows(from, to) {
      const found = [];
      while (from + found.length < to) {
        const at = from + found.length;
        const held = rowAt(at);
        const rows = held ? [held] : (await load(at, Math.min(MOST_ROWS, to - at)))?.rows ?? [];
        if (!rows.length) break;
        found.push(...rows);
      }
      return found;
    },
    /** Draws the cards of rows anew that `isOf(row)` is true for. */
    redraw(isOf) {
      for (const [index, item] of live) if (rowAt(index) && isOf(rowAt(index))) show(item, index);
    },
    close() {
      ends.abort();
      sizes.disconnect();
    },
  };
}
