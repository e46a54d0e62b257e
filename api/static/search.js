// A search's page: events arrive by one stream; the plot is patched, the other parts are fetched anew, at most about once a
// second.

import { wireActions } from "./actions.js";
import { FrontPlot } from "./front.js";
import { Gone, refreshParts, throttled } from "./live.js";
import { follow } from "./stream.js";

const LOOK_MS = 15000; // that the last worker went away is no event
const { search, lastEvent } = document.getElementById("content").dataset;
const link = document.getElementById("link");

const refreshNow = () =>
  refreshParts().catch((error) => {
    if (error instanceof Gone) location.reload(); // it was deleted, or the key was revoked; the server says so
  });
const refreshSoon = throttled(refreshNow);
const refresh = () => document.hidden || refreshSoon();
const plot = new FrontPlot(document.getElementById("plot"), `/api/v1/searches/${search}/plot`, (error) => {
  const problem = document.getElementById("plot-problem");
  problem.hidden = error === null;
  problem.textContent = error && `The plot cannot be drawn now (${error.message}); trying again.`;
});

function onEvent(event) {
  if (event.kind === "trial_completed") plot.add(event);
  refresh();
}

function onLink(state, wasLost) {
  link.textContent = state;
  link.className = `link ${state}`;
  if (wasLost || state === "reconnecting") refresh(); // the server may have ended the stream because of the key
}

// Filter and pages of the trials without loading the page: the address is the state.
function show(url) {
  history.replaceState(null, "", url);
  refreshNow();
}

document.getElementById("filter").addEventListener("change", ({ currentTarget }) => {
  show(`?${new URLSearchParams(new FormData(currentTarget))}`);
});
document.getElementById("trials").addEventListener("click", (click) => {
  const page = click.target.closest(".pager a");
  if (!page || click.metaKey || click.ctrlKey || click.shiftKey) return;
  click.preventDefault();
  show(page.href);
});

wireActions(search, refresh);
follow(search, Number(lastEvent), { onEvent, onLink });
setInterval(refresh, LOOK_MS);
document.addEventListener("visibilitychange", refresh);
