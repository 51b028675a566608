// Times that go on, news, and keys. Every page works without this.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  // -- relative times, as the server writes them
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const offset = Date.parse(document.body.dataset.now) - Date.now(); // the server's clock, not this machine's
  function told(seconds) {
    const [size, unit] = units.find((one) => Math.abs(seconds) >= one[0]) || units[3];
    const text = `${Math.trunc(Math.abs(seconds) / size)} ${unit}`;
    return seconds <= -1 ? `in ${text}` : seconds < 1 ? "now" : `${text} ago`;
  }
  function tick() {
    for (const one of document.querySelectorAll("time[data-ago]")) {
      const text = told((Date.now() + offset - Date.parse(one.dateTime)) / 1000);
      if (one.textContent !== text) one.textContent = text;
    }
  }
  setInterval(tick, 5000);

  // -- keys: j and k move, o opens, a and d go to the decision, / searches
  const home = document.body.dataset.home;
  let at = -1;
  function move(step) {
    const items = [...document.querySelectorAll("[data-item]")];
    if (!items.length) return;
    items[at]?.classList.remove("at");
    at = Math.min(Math.max(at + step, 0), items.length - 1);
    items[at].classList.add("at");
    items[at].scrollIntoView({ block: "nearest" });
    items[at].querySelector("a")?.focus({ preventScroll: true });
  }
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    o: () => document.querySelector(".at a")?.click(),
    a: () => document.querySelector("[data-key=a]")?.focus(),
    d: () => document.querySelector("[data-key=d]")?.focus(),
    "/": () => {
      const field = document.querySelector("[data-key=search]");
      if (field) field.focus();
      else location.assign(`${home}trail`);
    },
  };

  // -- news: the ledger's events, by number; a page that shows what goes on is fetched again
  const chain = document.querySelector(".chain");
  let due = 0;
  async function refresh() {
    due = 0;
    const main = document.querySelector("main");
    if (main.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return;
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const focused = main.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    main.replaceWith(fresh.querySelector("main"));
    document.querySelector("header nav").replaceWith(fresh.querySelector("header nav"));
    const item = document.querySelectorAll("[data-item]")[at];
    item?.classList.add("at");
    if (focused) document.querySelector(`main a[href=${JSON.stringify(focused)}]`)?.focus({ preventScroll: true });
  }
  function soon() {
    if (!due) due = setTimeout(() => refresh().catch(() => chain.classList.add("away")), 150);
  }
  function listen() {
    const source = new EventSource(`${home}events?after=${document.body.dataset.seq}`);
    source.onopen = () => chain.classList.remove("away");
    source.onerror = () => chain.classList.add("away");
    source.onmessage = (event) => {
      chain.textContent = `ledger at #${event.lastEventId}`;
      const about = JSON.parse(event.data).request;
      const { live, watch } = document.querySelector("main").dataset;
      if (watch && watch === about) document.querySelector(".news").hidden = false;
      // An empty name is a page about every request; what an open one does now is in no event.
      if (live !== undefined && (live === "" || live === about)) soon();
    };
    setInterval(() => document.visibilityState === "visible" && document.querySelector("main").dataset.live && soon(), 2000);
  }
  listen();

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const act = keys[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
})();
