// Questions to the server. Its answers are JSON; what it refuses is an error in its own words.

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** Answers of `api/PATH`; parameters that are null, undefined or "" are left out. */
export function get(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  return answer(fetch(`api/${path}${query.size ? `?${query}` : ""}`, { signal }));
}

export function post(path, body, signal = undefined) {
  return answer(fetch(`api/${path}`, { method: "POST", signal, headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body) }));
}

async function answer(asked) {
  let given;
  try {
    given = await asked;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "framemill view has ended, or does not answer: start it again.");
  }
  const text = await given.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = { error: text || given.statusText };
  }
  if (!given.ok) throw new Refused(given.status, value.error ?? text);
  return value;
}

/** Runs `load(signal)`; a later call ends the one before it, whose answer then comes to nobody. */
export function latest() {
  let running = null;
  return async (load) => {
    running?.abort();
    const own = new AbortController();
    running = own;
    try {
      const value = await load(own.signal);
      return own.signal.aborted ? undefined : value;
    } catch (error) {
      if (own.signal.aborted) return undefined;
      throw error;
    }
  };
}
