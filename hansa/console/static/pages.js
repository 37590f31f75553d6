// What the pages do beyond links and forms: they stay up to date, and a form may answer in place.
// Everything works without this file; then a page is as it was when it was loaded.
"use strict";

const parser = new DOMParser();

async function pageAt(address, options) {
  const answer = await fetch(address, { credentials: "same-origin", ...options });
  if (new URL(answer.url).pathname.endsWith("/login")) location.reload();
  return parser.parseFromString(await answer.text(), "text/html");
}

function isBusy(part) {
  const chosen = getSelection();
  const selecting = chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode);
  return selecting || part.contains(document.activeElement) || part.querySelector("details[open]");
}

// ---- live: parts marked data-live are taken anew when the server says that something changed

const live = [...document.querySelectorAll("[data-live][id]")];
let refreshing = false;
let missed = false;

async function refresh() {
  if (document.hidden || refreshing) {
    missed = document.hidden;
    return;
  }
  refreshing = true;
  missed = false;
  try {
    const page = await pageAt(location.href);
    for (const { id } of live) {
      const old = document.getElementById(id);
      const fresh = page.getElementById(id);
      if (old && fresh && old.innerHTML !== fresh.innerHTML && !isBusy(old)) old.replaceWith(fresh);
    }
  } catch {
    // The server is away; the stream connects again when it is back.
  } finally {
    refreshing = false;
  }
}

if (live.length) {
  const stream = new EventSource("/hansa/live");
  stream.addEventListener("changed", refresh);
  document.addEventListener("visibilitychange", () => missed && refresh());
  addEventListener("pagehide", () => stream.close());
}

// ---- forms marked data-ask ask first

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.ask;
  if (question && !confirm(question)) event.preventDefault();
});

// ---- forms marked data-answer show what the server answers in the part of that name

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const name = form.dataset.answer;
  if (!name) return;
  event.preventDefault();
  const button = event.submitter;
  if (button) button.disabled = true;
  try {
    const body = new URLSearchParams(new FormData(form, button));
    const page = await pageAt(form.action, { method: "POST", body });
    const fresh = page.getElementById(name);
    if (fresh) document.getElementById(name).replaceWith(fresh);
  } catch {
    // Not sent again by itself: it may have had its effect.
    document.getElementById(name).textContent = "There was no answer: the server is away.";
  } finally {
    if (button) button.disabled = false;
  }
});
