// The form for a new activity, a reply or a message. Its draft survives a reload and a new sign-in.

import {ApiError, request} from "./api.js";
import {announce, el, labelledSelect} from "./dom.js";
import * as session from "./session.js";
import {TEXT} from "./strings.js";

const DEFAULT_TTL = "7-days";
const STAYS = "";
// A lost response: the same request again, after these seconds each.
const PAUSES = [1, 3];
let number = 0;

// Return a form that posts to `path`. `sent` receives the response. `extra` has further members of the body. With
// `canStay` the first choice is no ttl.
export function composer({view, draft, title, path, limit, action, sent, done, hasTTL = false, canStay = false, extra = {}}) {
  const store = draftStore(draft);
  store.load();
  const id = `compose-${++number}`;
  const text = el("textarea", {id, name: "message", rows: "3", dir: "auto", "aria-describedby": `${id}-count`});
  const count = el("span", {id: `${id}-count`, class: "count"});
  const choices = canStay ? {[STAYS]: TEXT.stays, ...TEXT.ttls} : TEXT.ttls;
  const ttl = hasTTL && labelledSelect(TEXT.ttl, choices, store.value.ttl ?? (canStay ? STAYS : DEFAULT_TTL));
  const submit = el("button", {class: "primary"}, action);
  const error = el("p", {class: "error", role: "alert"});
  const body = () => ({message: text.value, ...(ttl && ttl.control.value !== STAYS && {ttl: ttl.control.value}), ...extra});

  const update = () => {
    const left = limit - [...text.value].length;
    count.textContent = TEXT.charactersLeft(left);
    count.classList.toggle("error", left < 0);
    store.save({message: text.value, ttl: ttl && ttl.control.value});
  };

  const send = async (event) => {
    event.preventDefault();
    // A second click finds the first one's request under way.
    if (form.inert) return;
    form.inert = true;
    submit.textContent = TEXT.sending;
    error.textContent = "";
    try {
      const data = await post(path, body(), store.keyFor(JSON.stringify(body())), error);
      store.clear();
      text.value = "";
      update();
      announce(done);
      sent(data);
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      error.textContent = failure.text;
      // An earlier request of this attempt may have created a resource that is gone by now.
      if (failure.status === 404) store.endAttempt();
    } finally {
      form.inert = false;
      submit.textContent = action;
      // Unless the user has gone on to something else.
      if (document.activeElement === document.body || form.contains(document.activeElement)) text.focus({preventScroll: true});
    }
  };

  const form = el(
    "form",
    {class: "compose", submit: send, input: update, change: update},
    el("label", {for: id}, title),
    text,
    el("div", {class: "row"}, count, ttl, submit),
    error,
  );
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  const restore = () => {
    text.value = store.load().message ?? "";
    update();
  };
  // Another entry of the browser's history may have changed the draft, or sent it.
  view.addEventListener("show", restore);
  restore();
  return form;
}

// Send with one key, again if the response was lost: the service makes one resource for one key. Throws ApiError.
async function post(path, body, key, error) {
  for (const seconds of [...PAUSES, null]) {
    try {
      return (await request("POST", path, {body, key})).data;
    } catch (failure) {
      if (seconds === null || failure.status !== 0 || !navigator.onLine) throw failure;
      error.textContent = TEXT.lost;
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    }
  }
}

// A draft in sessionStorage, with the key of the attempt to send it. Another text, a success, or a resource that is gone
// ends the attempt.
function draftStore(draft) {
  const item = session.draftKey(draft);
  const store = {
    value: {},
    load() {
      store.value = JSON.parse(sessionStorage.getItem(item)) ?? {};
      return store.value;
    },
    save(value) {
      store.value = {...store.value, ...value};
      sessionStorage.setItem(item, JSON.stringify(store.value));
    },
    clear() {
      store.value = {ttl: store.value.ttl};
      store.save({});
    },
    endAttempt() {
      const {message, ttl} = store.value;
      store.value = {};
      store.save({message, ttl});
    },
    keyFor(body) {
      if (store.value.body !== body) store.save({body, key: session.randomText()});
      return store.value.key;
    },
  };
  return store;
}
