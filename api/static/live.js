// Fetches the page again and swaps the parts marked `data-live` that changed. Rows that were not there before are
// marked `fresh`; the focus stays on the element of the same id, or in the same part where that is gone.

export class Gone extends Error {} // also when the reader is signed out: loading the page anew tells which

const shown = new WeakMap(); // part: its HTML as the server sent it
let shownUrl = location.href;

export async function refreshParts() {
  const url = location.href;
  const response = await fetch(url);
  const isSignedOut = response.redirected && new URL(response.url).pathname === "/login";
  if (response.status === 404 || isSignedOut) throw new Gone(location.pathname);
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (url !== location.href) return; // the reader went on to another page meanwhile
  for (const part of document.querySelectorAll("[data-live]")) {
    const news = page.getElementById(part.id);
    if (news && news.innerHTML !== (shown.get(part) ?? part.innerHTML)) swap(part, news, url === shownUrl);
  }
  shownUrl = url;
}

function swap(part, news, isSamePage) {
  const known = new Set([...part.querySelectorAll("[data-key]")].map((row) => row.dataset.key));
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = part.querySelector(".scroll")?.scrollLeft ?? 0;
  shown.set(part, news.innerHTML);
  part.replaceChildren(...news.childNodes);
  for (const row of part.querySelectorAll("[data-key]")) {
    if (known.size && isSamePage && !known.has(row.dataset.key)) row.classList.add("fresh");
  }
  if (scrolled) part.querySelector(".scroll")?.scrollTo({ left: scrolled });
  if (focused) (document.getElementById(focused) ?? part.querySelector("button, a"))?.focus({ preventScroll: true });
}

// Calls `work` soon after a request, and then at most once in `gap` milliseconds however many requests come.
export function throttled(work, gap = 700, delay = 100) {
  let timer = null;
  let last = -Infinity;
  let running = false;
  let again = false;
  const run = async () => {
    timer = null;
    running = true;
    try {
      await work();
    } finally {
      running = false;
      last = performance.now();
      if (again) request();
    }
  };
  function request() {
    if (running) again = true;
    else if (timer === null) {
      again = false;
      timer = setTimeout(run, Math.max(delay, last + gap - performance.now()));
    }
  }
  return request;
}
