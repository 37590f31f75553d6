// Finds while somebody types. Everything works without it: it only saves loading the page.
"use strict";

const WAIT_MS = 120; // as long as a quick typist takes for a letter
const field = document.getElementById("q");
const region = document.getElementById("found");

// Who has come by a search was counted; the address to be kept or sent on is the product's own.
if (!region && new URLSearchParams(location.search).has("from")) {
  history.replaceState(null, "", location.pathname);
}

document.addEventListener("keydown", (event) => {
  const free = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (event.key === "/" && free && field && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    field.focus();
    field.select();
  }
});

if (region && field) {
  const form = field.form;
  let waiting = 0;
  let running = null;

  /** Return the address of the list for what is typed, with what is chosen. */
  const typed = () => {
    const asked = new URLSearchParams(location.search);
    for (const name of ["page", "exact", "q"]) asked.delete(name);
    const words = field.value.trim();
    const rest = asked.toString();
    const query = [words && "q=" + encodeURIComponent(words), rest].filter(Boolean).join("&");
    return new URL(form.action).pathname + (query && "?" + query);
  };

  /** Put a part of the page in place of what is there; what was open, and had the focus, has it. */
  const place = (text) => {
    const focus = region.contains(document.activeElement) ? document.activeElement.id : "";
    const open = [...region.querySelectorAll("details[open]")].map((one) => one.id);
    const refining = region.querySelector("#refine")?.checked;
    region.innerHTML = text;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    const refine = region.querySelector("#refine");
    if (refine && refining) refine.checked = true;
    if (focus) (document.getElementById(focus) || region.querySelector("h1"))?.focus({ preventScroll: true });
    const { told, q } = document.getElementById("heading").dataset;
    document.getElementById("told").textContent = told;
    document.title = (q ? q + " · " : "") + region.dataset.name;
  };

  /** Show a list: `keep` says what becomes of the address: "push", "replace" or "stay". */
  const show = async (address, keep) => {
    clearTimeout(waiting);
    running?.abort();
    const own = (running = new AbortController());
    if (keep === "push") history.pushState(null, "", address);
    if (keep === "replace") history.replaceState(null, "", address);
    region.setAttribute("aria-busy", "true");
    try {
      const query = new URL(address, location.href).search;
      const answer = await fetch(region.dataset.from + query, { signal: own.signal });
      if (!answer.ok) throw new Error(answer.status);
      place(await answer.text());
    } catch (error) {
      if (error.name === "AbortError") return;
      location.assign(address); // the page itself says what is wrong
      return;
    }
    if (running === own) region.removeAttribute("aria-busy");
  };

  const look = () => {
    const address = typed();
    if (address !== location.pathname + location.search) show(address, "replace");
  };

  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(look, WAIT_MS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    show(typed(), "replace");
    if (matchMedia("(pointer: coarse)").matches) field.blur(); // the keyboard goes, what was found is seen
  });
  region.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey && event.button === 0;
    if (!link || !plain || link.pathname !== new URL(form.action).pathname) return;
    event.preventDefault();
    field.value = new URL(link.href).searchParams.get("q") || "";
    const far = link.closest(".pages");
    show(link.pathname + link.search, "push").then(() => far && scrollTo(0, 0));
  });
  addEventListener("popstate", () => {
    field.value = new URLSearchParams(location.search).get("q") || "";
    show(location.pathname + location.search, "stay");
  });
}
