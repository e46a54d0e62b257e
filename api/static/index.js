// The list of searches, kept fresh by looking every few seconds while somebody can see it.

import { Gone, refreshParts } from "./live.js";

const EVERY_MS = 3000;

async function look() {
  const lookAgain = (error) => error instanceof Gone && location.reload(); // else the server is away for a while
  if (!document.hidden) await refreshParts().catch(lookAgain);
  setTimeout(look, EVERY_MS);
}

setTimeout(look, EVERY_MS);
