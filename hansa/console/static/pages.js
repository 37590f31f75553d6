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

// ---- forms marked data-instant show what they lead to in the part of that name, as one types

const WAIT_MS = 90;

function instantly(form) {
  const shown = form.dataset.instant;
  const part = form.dataset.part || shown;
  const isHere = new URL(form.action).pathname === location.pathname;
  let timer = 0;
  let asking = null;

  async function ask() {
    asking?.abort();
    asking = new AbortController();
    const address = new URL(form.action);
    address.search = new URLSearchParams(new FormData(form));
    try {
      const page = await pageAt(address, { signal: asking.signal });
      const fresh = page.getElementById(part);
      if (fresh) document.getElementById(shown).replaceChildren(...fresh.childNodes);
      if (isHere) history.replaceState(null, "", address);
    } catch {
      // Asked again meanwhile, or the server is away; what is shown stays.
    }
  }

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  });
  form.addEventListener("submit", () => clearTimeout(timer));
}

document.querySelectorAll("form[data-instant]").forEach(instantly);

// ---- what is found in all pages: a key leads there, arrows through it, Escape away

const finder = document.querySelector("[data-key]");
const finds = document.getElementById("finds");

document.addEventListener("keydown", (event) => {
  if (!finder || event.ctrlKey || event.metaKey || event.altKey) return;
  const at = document.activeElement;
  if (event.key === finder.dataset.key && !at.matches("input, textarea, select")) {
    event.preventDefault();
    finder.select();
    return;
  }
  if (at !== finder && !finds.contains(at)) return;
  const stops = [finder, ...finds.querySelectorAll("a")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    stops[(stops.indexOf(at) + step + stops.length) % stops.length].focus();
  } else if (event.key === "Escape") {
    finds.replaceChildren();
    finder.value = "";
    finder.blur();
    at.blur();
  }
});
