// Search by words, and the activities of a hashtag.

import {activityList} from "./activity.js";
import {goTo} from "./app.js";
import {el} from "./dom.js";
import {TEXT} from "./strings.js";

export const render = (view, [path, tag]) => (path === "search" ? renderSearch(view) : renderTag(view, tag));

async function renderSearch(view) {
  view.heading = TEXT.search;
  const term = view.url.searchParams.get("term") ?? "";
  const input = el("input", {type: "search", name: "term", value: term, "aria-label": TEXT.searchTerm});
  const submit = (event) => {
    event.preventDefault();
    if (input.value.trim()) goTo(`search?${new URLSearchParams({term: input.value})}`);
  };
  const form = el("form", {role: "search", class: "row", submit}, input, el("button", {class: "primary"}, TEXT.search));
  const results = el("div", {}, term ? "" : el("p", {class: "empty"}, TEXT.searchHint));
  view.element.append(el("h1", {}, TEXT.search), form, results);
  if (!term) return input.focus();
  const path = `api/activities/search?${new URLSearchParams({term})}`;
  const list = activityList({path, view, label: TEXT.search, empty: TEXT.noResults});
  await list.load();
  results.append(list.element);
}

async function renderTag(view, tag) {
  view.heading = TEXT.tagged(tag);
  const path = `api/activities/tagged/${encodeURIComponent(tag)}`;
  const list = activityList({path, view, label: TEXT.tagged(tag), empty: TEXT.noTagged});
  view.element.append(el("h1", {}, el("bdi", {}, TEXT.tagged(tag))), list.element);
  await list.load();
}
