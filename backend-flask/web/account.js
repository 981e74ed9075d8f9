// The current user's account: what Cruddur knows, a copy of all data, and the deletion.

import {act} from "./activity.js";
import {loadModule, read, request, ROOT} from "./api.js";
import {announce, button, el, link, showDialog} from "./dom.js";
import * as session from "./session.js";
import {TEXT} from "./strings.js";

export async function render(view) {
  view.heading = TEXT.account;
  const {data: account} = await read("api/account", {signal: view.signal});
  view.element.append(el("h1", {}, TEXT.account), facts(account), exportPart(account), deletionPart(account));
}

function facts(account) {
  const row = (term, ...value) => [el("dt", {}, term), el("dd", {}, ...value)];
  return el(
    "section",
    {class: "card"},
    el(
      "dl",
      {class: "facts"},
      row(TEXT.name, el("bdi", {}, account.display_name)),
      row(TEXT.handle, link(`@${account.handle}`, {}, `@${account.handle}`)),
      row(TEXT.email, el("bdi", {}, account.email ?? TEXT.noEmail)),
      row(TEXT.memberSince, new Date(account.created_at).toLocaleDateString("en", {dateStyle: "long"})),
    ),
  );
}

function exportPart({handle}) {
  const download = async () => {
    const data = await act("GET", "api/account/export");
    if (!data) return;
    const file = URL.createObjectURL(new Blob([JSON.stringify(data, null, 2)], {type: "application/json"}));
    el("a", {href: file, download: `cruddur-${handle}.json`}).click();
    // The browser may read the file after this click.
    setTimeout(() => URL.revokeObjectURL(file), 60_000);
    announce(TEXT.downloaded);
  };
  return el(
    "section",
    {class: "card settings", "aria-label": TEXT.copyTitle},
    el("h2", {}, TEXT.copyTitle),
    el("p", {}, TEXT.copyText),
    el("div", {class: "actions"}, button(TEXT.download, download)),
  );
}

function deletionPart({handle}) {
  return el(
    "section",
    {class: "card settings", "aria-label": TEXT.deletionTitle},
    el("h2", {}, TEXT.deletionTitle),
    el("ul", {}, TEXT.deletionTexts.map((text) => el("li", {}, text))),
    el("div", {class: "actions"}, button(TEXT.deleteAccount, () => deleteAccount(handle), {class: "danger"})),
  );
}

async function deleteAccount(handle) {
  const typed = el("input", {name: "handle", autocomplete: "off", autocapitalize: "none", spellcheck: "false"});
  let isTooOld = false;
  const write = async () => {
    session.setLeaving(true);
    try {
      await request("DELETE", "api/account", {body: {handle: typed.value.trim()}});
    } catch (error) {
      session.setLeaving(false);
      isTooOld = error.codes?.includes("reauthentication_required");
      if (!isTooOld) throw error;
    }
  };
  const {showForm} = await loadModule("users");
  const fields = [el("p", {}, TEXT.deletionQuestion), el("label", {}, TEXT.typeHandle(handle), typed)];
  if ((await showForm(TEXT.deleteAccount, fields, TEXT.deleteForEver, write, "danger")) !== "yes") return;
  if (isTooOld) return session.signInAgain(ROOT);
  await showDialog(TEXT.deletionTitle, el("p", {}, TEXT.accountDeleted));
  await session.signOut(ROOT);
}
