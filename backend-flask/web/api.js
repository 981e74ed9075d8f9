// Requests to the API of docs/contract.md, and the server's clock.

import {el} from "./dom.js";
import * as session from "./session.js";
import {describe, TEXT} from "./strings.js";

// The page's <base>: all paths are relative to it.
export const ROOT = document.baseURI;
const OFFLINE = 0;
const LAST_PAUSE = 30;

// A request that failed. The status is 0 when no response came.
export class ApiError extends Error {
  constructor(status, codes, retryAfter) {
    super(codes.join(", ") || "no response");
    Object.assign(this, {status, codes, retryAfter});
  }

  // Whether the same request may succeed later.
  get isTemporary() {
    return [OFFLINE, 429, 502, 503, 504].includes(this.status);
  }

  get text() {
    if (this.status === OFFLINE) return navigator.onLine ? TEXT.noResponse : TEXT.notSent;
    if (this.status === 429) return TEXT.tooMany(this.retryAfter ?? 1);
    return describe(this.codes);
  }
}

// `Date` has whole seconds. Each response bounds the server's clock from both sides, and the bounds narrow.
let bounds = [-Infinity, Infinity];

function learnClock(date, sent, received) {
  const second = Date.parse(date ?? "");
  if (Number.isNaN(second)) return;
  const [low, high] = [second - received, second + 1000 - sent];
  bounds = [Math.max(bounds[0], low), Math.min(bounds[1], high)];
  // One of the clocks was set meanwhile.
  if (bounds[0] > bounds[1]) bounds = [low, high];
}

// Return the server's time in milliseconds, as far as it is known.
export const now = () => Date.now() + (Number.isFinite(bounds[0]) ? (bounds[0] + bounds[1]) / 2 : 0);

// What this client has seen, by the header Cruddur-Seen: a standby of the database may answer with nothing older.
let seen = null;
const SEEN = /^([0-9a-f]{8})-(\d{1,19})$/;

function learnSeen(value) {
  const [, history, number] = SEEN.exec(value) ?? [];
  const [, lastHistory, lastNumber] = SEEN.exec(seen) ?? [];
  // Responses may overtake each other.
  if (history && (history !== lastHistory || BigInt(number) > BigInt(lastNumber))) seen = value;
}

// Send a request, and return `{data, next, etag, isModified}`. Throws ApiError.
export async function request(method, path, options = {}) {
  const token = options.isAnonymous ? null : await session.accessToken();
  try {
    return await send(method, path, token, options);
  } catch (error) {
    const isRefused = error.status === 401 && !error.codes.includes("reauthentication_required");
    const other = isRefused && token && (await session.replaceToken(token));
    if (!other) throw error;
    return send(method, path, other, options).catch((failure) => {
      if (failure.status === 401) session.end();
      throw failure;
    });
  }
}

async function send(method, path, token, {body, key, etag, signal}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  if (etag) headers["If-None-Match"] = etag;
  if (seen) headers["Cruddur-Seen"] = seen;
  const url = new URL(path, ROOT);
  // A browser that goes back would take a response from its cache, however old.
  const cache = etag ? "default" : "no-cache";
  const sent = Date.now();
  let response, text;
  try {
    response = await fetch(url, {method, headers, body: body && JSON.stringify(body), signal, cache, credentials: "omit"});
    learnClock(response.headers.get("Date"), sent, Date.now());
    learnSeen(response.headers.get("Cruddur-Seen"));
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(OFFLINE, []);
  }
  if (response.status === 304) return {isModified: false};
  const data = parse(text);
  if (!response.ok) {
    throw new ApiError(response.status, Array.isArray(data) ? data : [], Number(response.headers.get("Retry-After")) || null);
  }
  const next = /<([^>]*)>; rel="next"/.exec(response.headers.get("Link") ?? "")?.[1];
  return {data, next: next && new URL(next, url).href, etag: response.headers.get("ETag"), isModified: true};
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// Read, however long the service is away. Throws ApiError, and an AbortError with `signal`.
export const read = (path, options = {}) => whenAvailable(() => request("GET", path, options), options.signal);

// Modules by name, after their first successful load.
const modules = new Map();

// Load a module of the page, however long the service is away. A browser keeps the failure of an address for ever, and a
// fragment makes another address. So a module that is loaded here imports only modules that app.js imports too.
export async function loadModule(name, signal) {
  const load = (attempt) =>
    import(`./${name}.js${attempt ? `#${attempt}` : ""}`).catch((error) => {
      throw error instanceof TypeError ? new ApiError(OFFLINE, []) : error;
    });
  if (!modules.has(name)) modules.set(name, await whenAvailable(load, signal));
  return modules.get(name);
}

// Wait for a request that the page can do without. Returns null after a failure.
export function optional(promise) {
  return promise.catch((error) => {
    if (!(error instanceof ApiError) && error.name !== "AbortError") throw error;
    return null;
  });
}

// Run until no temporary failure is in the way. A banner says that the page waits.
async function whenAvailable(run, signal) {
  for (let attempt = 0; ; attempt++) {
    try {
      const result = await run(attempt);
      showBanner("");
      return result;
    } catch (error) {
      // A refusal is a response too.
      if (error instanceof ApiError && !error.isTemporary) showBanner("");
      if (!error.isTemporary) throw error;
      const seconds = error.retryAfter ?? Math.min(2 ** attempt, LAST_PAUSE);
      showBanner(bannerText(error, seconds));
      await pause(seconds, signal);
    }
  }
}

function bannerText(error, seconds) {
  if (error.status === 429) return TEXT.tooMany(seconds);
  return navigator.onLine ? TEXT.unavailable(seconds) : TEXT.offline;
}

export const banner = el("p", {class: "banner", role: "status", hidden: true});

export function showBanner(text) {
  banner.hidden = !text;
  if (banner.textContent !== text) banner.textContent = text;
}

// Wait for some seconds, at most until the browser is online again.
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const end = (settle) => {
      clearTimeout(timer);
      removeEventListener("online", done);
      signal?.removeEventListener("abort", abort);
      settle();
    };
    const done = () => end(resolve);
    const abort = () => end(() => reject(signal.reason));
    const timer = setTimeout(done, seconds * 1000);
    addEventListener("online", done);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
  });
}

export const likePath = ({uuid}) => `api/activities/${uuid}/like`;
export const repostPath = ({uuid}) => `api/activities/${uuid}/repost`;
export const threadPath = ({handle, uuid}) => `@${handle}/status/${uuid}`;
