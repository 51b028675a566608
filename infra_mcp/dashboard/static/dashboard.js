// Times that go on, and keys. Every page works without this; it sends nothing and loads nothing.
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
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const act = keys[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
})();
