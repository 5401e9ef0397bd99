// What the tables and charts of every page share: explanations, columns to choose, CSV, addresses.
// Text from models and entries is only ever set as text.
"use strict";
const page = (() => {
  const ABSENT = "\u2013";

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // --- explanations: one box for whatever is pointed at or has the focus --------------------

  const tip = make("div", { role: "tooltip", id: "-tip", "aria-live": "polite", hidden: "" });
  document.body.append(tip);
  let owner = null;

  const hush = () => {
    owner?.removeAttribute("aria-describedby");
    owner = null;
    tip.hidden = true;
  };
  // Below what it explains, or above where the window ends.
  const put = (box) => {
    const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8));
    const below = box.bottom + tip.offsetHeight + 8 < window.innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${below ? box.bottom : Math.max(0, box.top - tip.offsetHeight)}px`;
  };
  const tell = (element, text, box) => {
    hush();
    owner = element;
    owner.setAttribute("aria-describedby", "-tip");
    tip.textContent = text;
    tip.hidden = false;
    put(box);
  };
  const explained = (target) => (target instanceof Element ? target.closest("[data-told]") : null);
  const explain = (event) => {
    const place = explained(event.target);
    if (place) tell(event.target.closest("button") ?? place, place.dataset.told, place.getBoundingClientRect());
  };
  const leave = (event) => {
    const to = event.relatedTarget;
    if (explained(event.target) && to !== tip && explained(to) !== explained(event.target)) hush();
  };
  document.addEventListener("pointerover", explain);
  document.addEventListener("pointerout", leave);
  document.addEventListener("focusin", explain);
  document.addEventListener("focusout", leave);
  // Whoever walks by keys scrolls what the focus is on into sight.
  document.addEventListener("scroll", () => {
    const place = explained(owner);
    if (place) put(place.getBoundingClientRect());
    else hush();
  }, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hush(); });

  // --- CSV ----------------------------------------------------------------------------------

  // A spreadsheet would compute a text that begins like a formula.
  const field = (value) => {
    const text = String(value ?? "");
    const safe = /^[=+@\t\r-]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
  };
  const save = (name, rows) => {
    const text = rows.map((row) => `${row.map(field).join(",")}\n`).join("");
    const link = make("a", { download: `${name}.csv`, href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  const saver = (write) => {
    const button = make("button", { type: "button", class: "more csv", "data-told": "Save this table as comma-separated values (CSV)" }, "CSV");
    button.addEventListener("click", write);
    return button;
  };

  // What a cell says itself, without what stands small below it.
  const words = (cell) => cell.dataset.value ?? [...cell.childNodes]
    .filter((node) => node.nodeName !== "SMALL").map((node) => node.textContent).join("").trim().replace(/\s+/g, " ");
  const contents = (table) => {
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]).filter((row) => !row.classList.contains("section"));
    const heads = table.tHead ? [...table.tHead.rows[table.tHead.rows.length - 1].cells]
      : [...(rows[0]?.cells ?? [])].map((cell, place) => make("th", {}, place ? `position ${place}` : "decoder"));
    const ends = (cell) => cell?.querySelector("small.range")?.textContent.split(/\u2013| to /) ?? ["", ""];
    const ranged = heads.map((_, place) => rows.some((row) => row.cells[place]?.querySelector("small.range")));
    const spread = (texts, extra) => texts.flatMap((text, place) => (ranged[place] ? [text, ...extra(place, text)] : [text]));
    return [
      spread(heads.map(words), (_, head) => [`${head} low`, `${head} high`]),
      ...rows.map((row) => spread(heads.map((_, place) => {
        const said = row.cells[place] ? words(row.cells[place]) : "";
        return said === ABSENT ? "" : said;
      }), (place) => ends(row.cells[place]))),
    ];
  };

  // --- columns to choose --------------------------------------------------------------------

  // A list of boxes to tick; ``columns`` are {key, heading}, ``shown`` tells which are ticked.
  const chooser = (columns, shown, change) => {
    const list = make("div", { class: "choices" });
    const details = make("details", { class: "columns" }, make("summary", {}, "Columns"), list);
    details.addEventListener("toggle", () => {
      list.replaceChildren(...columns().map(({ key, heading }) => {
        const box = make("input", { type: "checkbox", value: key });
        box.checked = shown().has(key);
        box.addEventListener("change", () => change(key, box.checked));
        return make("label", {}, box, heading);
      }));
    });
    return details;
  };

  // --- sorting ------------------------------------------------------------------------------

  // What was not measured stands last, whichever way the column is sorted.
  const compare = (a, b, up) => {
    const [first, second] = [words(a), words(b)];
    const [absent, also] = [first === ABSENT, second === ABSENT];
    if (absent || also) return absent - also;
    const [x, y] = [parseFloat(first), parseFloat(second)];
    const order = Number.isNaN(x) || Number.isNaN(y)
      ? first.localeCompare(second, "en", { numeric: true }) : x - y;
    return up ? order : -order;
  };
  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => compare(a.cells[column], b.cells[column], up));
        table.tBodies[0].append(...rows);
      });
    });
  };

  return { make, saver, save, contents, chooser, sortable, tell, hush };
})();
