// A reader who comes by a link on another site has the cookie, but the browser did not send it (SameSite=Strict). From
// here it does, and whoever is signed in is led on.

const response = await fetch("/login", { redirect: "manual" }).catch(() => null);
if (response?.type === "opaqueredirect") location.replace(document.getElementById("content").dataset.next);
