// Pause, resume, cancel, share: one POST each; what the server refuses is shown as it says it.

export function wireActions(searchId, done) {
  const problem = document.getElementById("problem");

  document.getElementById("actions").addEventListener("click", async ({ target }) => {
    const verb = target.closest("button")?.dataset.verb;
    if (!verb) return;
    if (verb === "cancel" && !confirm("Cancel this search? Its finished trials stay; it cannot run again.")) return;
    problem.hidden = true;
    try {
      await post(`/api/v1/searches/${searchId}/${verb}`);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
    done();
  });
}

async function post(url) {
  const response = await fetch(url, { method: "POST" }).catch(() => null);
  if (response === null) throw new Error("The server cannot be reached; try again.");
  if (response.ok) return;
  const body = await response.json().catch(() => ({}));
  throw new Error(body.error ?? `The server answered ${response.status}.`);
}
