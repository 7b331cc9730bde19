// Requests to the server, and the one stream of events that is open while something of this page is computed.

const page = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
const waiting = new Map(); // job -> what is told about it
let stream = null;

/** Ask the server. Raise an error with the server's sentence if it refuses. */
export async function ask(method, path, body, kind = "application/json") {
  let answer;
  try {
    answer = await fetch(path, { method, body, headers: { "x-page": page, ...(body === undefined ? {} : { "content-type": kind }) } });
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  if (answer.status === 204) return null;
  const json = answer.headers.get("content-type")?.startsWith("application/json");
  if (!answer.ok) throw new Error(json ? (await answer.json()).why : await answer.text());
  return json ? answer.json() : answer.blob();
}

export const post = (path, document) => ask("POST", path, JSON.stringify(document));

function listen() {
  if (stream) return;
  stream = new EventSource(`/api/events/${page}`);
  stream.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    const entry = waiting.get(event.job) ?? waiting.set(event.job, { past: [] }).get(event.job);
    entry.tell ? entry.tell(event) : entry.past.push(event);
  };
  stream.addEventListener("idle", quiet);
  stream.onerror = () => { if (stream?.readyState === EventSource.CLOSED) lost(); };
}

// The server has told all: a job that is asked for meanwhile opens another stream.
function quiet() {
  stream?.close();
  stream = null;
  if ([...waiting.values()].some((entry) => entry.tell)) listen();
  else waiting.clear();
}

function lost() {
  stream = null;
  for (const entry of [...waiting.values()]) entry.tell?.({ state: "failed", why: "The server does not answer. Is it still running?" });
  waiting.clear();
}

/**
 * The last event of what a request answered: at once, or after a job whose events `tell` gets.
 * `job` has its number, for `stop`.
 */
export function follow(answer, tell = () => {}) {
  if (!answer.job) return Promise.resolve({ state: "done", ...answer });
  return new Promise((resolve, reject) => {
    const entry = waiting.get(answer.job) ?? { past: [] };
    waiting.set(answer.job, entry);
    entry.tell = (event) => {
      if (event.state === "waiting" || event.state === "running") return tell(event);
      waiting.delete(answer.job);
      if (event.state === "done") resolve(event);
      else reject(Object.assign(new Error(event.why ?? "Stopped."), { stopped: event.state === "stopped" }));
    };
    entry.past.splice(0).forEach(entry.tell);
    if (waiting.has(answer.job)) listen();
  });
}

export const stop = (job) => ask("DELETE", `/api/jobs/${job}`).catch(() => {});

/** Offer a file to save. */
export function save(name, blob) {
  const link = Object.assign(document.createElement("a"), { download: name, href: URL.createObjectURL(blob) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
