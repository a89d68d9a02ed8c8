// What is looked at, as the address has it after "#": page, filter, order, the shot that is open.

const FACET = "f.";
const TEXTS = ["where", "words", "file", "sort", "shot", "at", "sql"];

/** The state that an address tells: { page, facets: {name: [value]}, and each of TEXTS, "" where it is not set }. */
export function readState(hash) {
  const [page, query = ""] = hash.replace(/^#/, "").split("?", 2);
  const state = { page: page || "shots", facets: {} };
  for (const name of TEXTS) state[name] = "";
  for (const [name, value] of new URLSearchParams(query)) {
    if (name.startsWith(FACET)) (state.facets[name.slice(FACET.length)] ??= []).push(value);
    else if (TEXTS.includes(name)) state[name] = value;
  }
  return state;
}

export function writeState(state) {
  const query = new URLSearchParams();
  for (const [name, values] of Object.entries(state.facets)) for (const value of values) query.append(FACET + name, value);
  for (const name of TEXTS) if (state[name]) query.set(name, state[name]);
  return `#${state.page}${query.size ? `?${query}` : ""}`;
}

/** The filter of a state as the server takes it; "" for none. */
export function filterOf({ facets, where, words, file }) {
  const filter = {};
  const chosen = Object.entries(facets).filter(([, values]) => values.length);
  if (chosen.length) filter.facets = Object.fromEntries(chosen);
  if (where.trim()) filter.where = where;
  if (words.trim()) filter.words = words.trim();
  if (file) filter.file = file;
  return Object.keys(filter).length ? JSON.stringify(filter) : "";
}

/** A shot as the address has it: "SOURCE.INDEX"; and back. */
export const shotKey = (source, index) => `${source}.${index}`;
export function shotOf(key) {
  const at = key.lastIndexOf(".");
  return { source: key.slice(0, at), index: Number(key.slice(at + 1)) };
}

/** `facets` with one value put in, or taken out where it is there. */
export function toggled(facets, name, value) {
  const held = facets[name] ?? [];
  const values = held.includes(value) ? held.filter((one) => one !== value) : [...held, value];
  const { [name]: _, ...others } = facets;
  return values.length ? { ...others, [name]: values } : others;
}
