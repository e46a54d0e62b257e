// The list of searches, kept fresh by looking every few seconds while somebody can see it.

import { refreshParts } from "./live.js";

const EVERY_MS = 3000;

async function look() {
  if (!document.hidden) await refreshParts().catch(() => {}); // the server may be away for a while; look again later
  setTimeout(look, EVERY_MS);
}

setTimeout(look, EVERY_MS);
