// Dialogs: lists of users, and forms: a mute, a report.

import {PagedList} from "./activity.js";
import {ApiError, optional, request} from "./api.js";
import {announce, button, el, labelledSelect, showDialog, userLink} from "./dom.js";
import {TEXT} from "./strings.js";

// Show the users of a list, page by page.
export async function showUsers(title, path, view) {
  const list = new PagedList({path, view, label: title, item: userLink, empty: TEXT.noUsers});
  // A link leads to another page, without this dialog.
  list.element.addEventListener("click", (event) => event.target.closest("a") && event.target.closest("dialog").close(""));
  const closed = showDialog(title, list.element);
  const loaded = await optional(list.load());
  if (!loaded) list.element.append(el("p", {class: "error", role: "alert"}, TEXT.failed));
  await closed;
}

// Show a dialog with fields. `write` sends them; its failure shows below the fields, which keep their texts. Returns "yes"
// after a success.
export async function showForm(title, fields, action, write, style = "primary") {
  const error = el("p", {class: "error", role: "alert"});
  let sending = null;
  const send = async ({currentTarget}) => {
    // A disabled button would lose the focus.
    currentTarget.ariaDisabled = "true";
    error.textContent = "";
    try {
      await write();
      currentTarget.closest("dialog").close("yes");
      return "yes";
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      error.textContent = failure.text;
      return "";
    } finally {
      currentTarget.ariaDisabled = null;
      sending = null;
    }
  };
  const click = (event) => (sending ??= send(event));
  const submit = button(action, click, {class: style});
  const enter = (event) => {
    event.preventDefault();
    submit.click();
  };
  const closed = await showDialog(title, el("form", {class: "form", submit: enter}, fields, error), [submit]);
  // Escape does not take back a request that is under way.
  return sending ?? closed;
}

// Mute a user for a time. `write` receives the body of the request.
export function muteForm(write) {
  const select = labelledSelect(TEXT.muteFor, {"": TEXT.untilUnmuted, ...TEXT.ttls}, "");
  return showForm(TEXT.mute, [select], TEXT.mute, () => write({ttl: select.control.value || null}));
}

// Report an activity or a user: `{activity_uuid}` or `{handle}`.
export async function report(subject) {
  const category = labelledSelect(TEXT.category, TEXT.categories, "spam");
  const comment = el("textarea", {rows: "3"});
  const write = async () => {
    const body = {...subject, category: category.control.value, ...(comment.value && {comment: comment.value})};
    await request("POST", "api/reports", {body});
  };
  const fields = [category, el("label", {}, TEXT.comment, comment)];
  if ((await showForm(TEXT.reportTitle, fields, TEXT.report, write, "danger")) !== "yes") return;
  announce(TEXT.reported);
  await showDialog(TEXT.report, el("p", {}, TEXT.reported));
}
