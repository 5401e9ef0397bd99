// What moves on the page: sorted tables, filtered failures, replays, orders of writing.
// Text from models is only ever set as text.  A sample is parsed when it is first opened.
"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(find(id).textContent);

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  const answers = (count, still = "") =>
    count === 1 ? `1 right answer${still} fits` : `${count} right answers${still} fit`;

  const option = (value, text) => make("option", { value }, text);

  // --- tables -------------------------------------------------------------------------------

  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", title: "Sort by this column" });
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

  // What was not measured stands last, whichever way the column is sorted.
  const compare = (a, b, up) => {
    const [first, second] = [a.textContent.trim(), b.textContent.trim()];
    const [absent, also] = [first === "\u2013", second === "\u2013"];
    if (absent || also) return absent - also;
    const [x, y] = [parseFloat(first), parseFloat(second)];
    const order = Number.isNaN(x) || Number.isNaN(y)
      ? first.localeCompare(second, "en", { numeric: true }) : x - y;
    return up ? order : -order;
  };

  document.querySelectorAll("table.sortable").forEach(sortable);

  // --- orders of writing --------------------------------------------------------------------

  const ORDERS = find("-orders") ? read("-orders") : [];

  const shade = (element, share) => {
    element.classList.add("shaded");
    element.style.setProperty("--share", `${Math.round(100 * share)}%`);
  };

  document.querySelectorAll("details[data-order]").forEach((details) => {
    details.addEventListener("toggle", () => {
      const place = details.querySelector(".heat");
      if (place.firstChild) return;
      const body = make("tbody");
      for (const [decoder, shares] of ORDERS[Number(details.dataset.order)]) {
        const row = make("tr", {}, make("th", { scope: "row" }, decoder));
        shares.forEach((percent, position) => {
          const told = percent === null ? "never written" : `${percent} % of the steps`;
          const cell = make("td", { title: `position ${position + 1}: ${told}` });
          if (percent !== null) shade(cell, percent / 100);
          row.append(cell);
        });
        body.append(row);
      }
      place.append(make("table", {}, body));
    });
  });

  // --- replays ------------------------------------------------------------------------------

  const panel = find("-replay");
  if (!panel || !find("-index")) return;
  const INDEX = read("-index");
  const opened = new Map();
  const sample = (number) => {
    if (!opened.has(number)) opened.set(number, read(`-sample-${number}`));
    return opened.get(number);
  };

  const pick = (name) => panel.querySelector(`[name=${name}]`);
  const [taskOf, sampleOf, leftOf, rightOf] = ["task", "sample", "left", "right"].map(pick);
  const slider = pick("step");
  const play = pick("play");
  let chunk = 0;
  let step = 0;
  let timer = null;

  const label = (decode) => {
    const again = decode.repeat ? `, repeat ${decode.repeat}` : "";
    const told = decode.oracle ? " (oracle)" : "";
    return `${INDEX.models[decode.model]} \u00b7 ${INDEX.decoders[decode.decoder]}${told}${again}`;
  };
  const verdict = (decode) => (decode.problem === null ? "right" : `wrong: ${decode.problem}`);

  // The canvas behind some steps: token, and the step in which it was written.
  const canvasAt = (decode, steps) => {
    const cells = Array.from({ length: decode.length }, (_, place) => ({
      token: decode.given ? decode.given[place] : -1, step: null,
    }));
    decode.steps.slice(0, steps).forEach(([positions, ids], number) => {
      positions.forEach((place, which) => { cells[place] = { token: ids[which], step: number }; });
    });
    return cells;
  };

  const shown = (token, tokens) => {
    if (token === -1) return "";
    if (token === -2) return "\u220e";
    const text = tokens[token];
    return text.trim() || text.replace(/\n/g, "\u21b5").replace(/ /g, "\u2423") || "\u2423";
  };

  const bits = (value) => (value === null ? "" : `${value.toFixed(2)} bits`);
  const mostBits = (decode) => Math.max(...decode.steps.map((each) => each[2] ?? 0), 1e-9);

  const written = (decode, number, tokens) => {
    const [, ids] = decode.steps[number];
    const words = ids.filter((token) => token >= 0).map((token) => shown(token, tokens));
    const ends = ids.filter((token) => token === -2).length;
    const again = ids.filter((token) => token === -1).length;
    const parts = [words.join(" ")];
    if (ends) parts.push(`${ends > 1 ? `${ends} \u00d7 ` : ""}\u220e`);
    if (again) parts.push(`${again} opened again`);
    return parts.filter(Boolean).join("  +  ") || "nothing";
  };

  const drawCanvas = (decode, tokens, place) => {
    const now = Math.min(step, decode.steps.length);
    const byBits = pick("colour").value === "bits";
    const most = mostBits(decode);
    const cells = canvasAt(decode, now).map((cell, position) => {
      const box = make("span", { class: "token" }, shown(cell.token, tokens));
      if (cell.token === -1) box.classList.add("open");
      if (cell.token === -2) box.classList.add("ends");
      if (cell.step === null) {
        box.title = cell.token === -1 ? `position ${position + 1}: open` : "given";
      } else {
        const cost = decode.steps[cell.step][2];
        box.title = `position ${position + 1}, step ${cell.step + 1}` +
          (cost === null ? "" : `, ${bits(cost)} unknown to it`);
        if (cell.token !== -1 && byBits) {
          box.classList.add("costly");
          shade(box, (cost ?? 0) / most);
        } else if (cell.token !== -1) {
          shade(box, cell.step / Math.max(1, decode.steps.length - 1));
        }
        if (cell.step === now - 1) box.classList.add("now");
      }
      return box;
    });
    place.replaceChildren(...cells);
  };

  const status = (decode, tokens) => {
    const now = Math.min(step, decode.steps.length);
    const of = decode.steps.length;
    if (!now) {
      const open = decode.given ? decode.given.filter((t) => t === -1).length : decode.length;
      const fits = decode.answers === null ? "" : `; ${answers(decode.answers)}`;
      return `Before step 1 of ${of}: ${open} positions are open${fits}.`;
    }
    const [, , cost, left] = decode.steps[now - 1];
    const said = [`Step ${now} of ${of} wrote ${written(decode, now - 1, tokens)}.`];
    if (cost !== null) said.push(`It could not know ${bits(cost)}.`);
    if (left !== null) said.push(left ? `${answers(left, " still")}.` : "No right answer fits any more.");
    return said.join(" ");
  };

  const drawLog = (decode, tokens, list) => {
    const most = mostBits(decode);
    list.replaceChildren(...decode.steps.map(([, , cost, left], number) => {
      const meter = make("span", { class: "meter" });
      meter.style.setProperty("--share", `${(100 * (cost ?? 0)) / most}%`);
      const button = make("button", { type: "button" },
        make("span", { class: "number" }, String(number + 1)),
        make("span", { class: "words" }, written(decode, number, tokens)),
        meter,
        make("span", { class: "bits" }, cost === null ? "\u2013" : bits(cost)),
        make("span", { class: "left" }, left === null ? "\u2013" : `${left} left`));
      button.addEventListener("click", () => go(number + 1));
      const line = make("li", {}, button);
      if (decode.lost === number) line.classList.add("lost");
      return line;
    }));
  };

  const sides = [...panel.querySelectorAll(".side")].map((element, which) => ({
    element,
    select: [leftOf, rightOf][which],
    part: (name) => element.querySelector(`.${name}`),
  }));
  const decodeOf = (side) => (side.select.value === "" ? null : sample(chunk).decodes[Number(side.select.value)]);
  const steps = () => Math.max(...sides.map((side) => decodeOf(side)?.steps.length ?? 0), 0);

  const drawStep = () => {
    slider.value = String(step);
    find("-step-count").textContent = `${step} / ${steps()}`;
    for (const side of sides) {
      const decode = decodeOf(side);
      if (!decode) continue;
      const tokens = sample(chunk).tokens;
      drawCanvas(decode, tokens, side.part("canvas"));
      side.part("status").textContent = status(decode, tokens);
      const list = side.part("log");
      [...list.children].forEach((line, number) => {
        line.classList.toggle("now", number === Math.min(step, decode.steps.length) - 1);
      });
      const line = list.querySelector(".now");
      if (line) list.scrollTop = line.offsetTop - list.offsetTop - list.clientHeight / 2;
      else list.scrollTop = 0;
    }
  };

  const draw = () => {
    const { question, tokens } = sample(chunk);
    find("-question").textContent = question ?? "What was asked cannot be drawn again.";
    for (const side of sides) {
      const decode = decodeOf(side);
      side.element.hidden = !decode;
      if (!decode) continue;
      side.part("name").textContent = label(decode);
      const mark = side.part("verdict");
      mark.textContent = verdict(decode);
      mark.classList.toggle("wrong", decode.problem !== null);
      side.part("reply").textContent = decode.text || "an empty reply";
      const told = decode.told ?? "";
      side.part("told").textContent = told && `${told[0].toUpperCase()}${told.slice(1)}.`;
      const missing = decode.missing === null ? "" : `No bits here: ${INDEX.missing[decode.missing]}.`;
      side.part("missing").textContent = missing;
      drawLog(decode, tokens, side.part("log"));
    }
    slider.max = String(steps());
    drawStep();
  };

  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "\u25b6 Play";
    play.setAttribute("aria-pressed", "false");
  };
  const go = (to) => {
    step = Math.max(0, Math.min(steps(), to));
    if (step === steps()) stop();
    drawStep();
  };
  const start = () => {
    if (step === steps()) go(0);
    play.textContent = "\u23f8 Pause";
    play.setAttribute("aria-pressed", "true");
    clearInterval(timer);
    timer = setInterval(() => go(step + 1), 1000 / Number(pick("speed").value));
  };
  const toggle = () => (timer === null ? start() : stop());

  const samplesOf = (task) => INDEX.samples
    .map(([own, index], number) => ({ own, index, number }))
    .filter((each) => each.own === task)
    .sort((a, b) => a.index - b.index);

  const fill = (number) => {
    chunk = number;
    const [task, index] = INDEX.samples[number];
    taskOf.value = String(task);
    sampleOf.replaceChildren(...samplesOf(task).map((each) =>
      option(String(each.number), `sample ${each.index}`)));
    sampleOf.value = String(number);
    const decodes = sample(number).decodes;
    const options = () => decodes.map((decode, which) =>
      option(String(which), `${label(decode)} \u2013 ${verdict(decode)}`));
    leftOf.replaceChildren(...options());
    rightOf.replaceChildren(option("", "nothing beside it"), ...options());
    return index;
  };

  const open = (number, left, right = "") => {
    stop();
    fill(number);
    leftOf.value = String(left);
    rightOf.value = String(right);
    step = 0;
    draw();
  };

  // The same decoders where the sample has them, else its first failure.
  const change = (number) => {
    const [left, right] = sides.map((side) => decodeOf(side));
    const decodes = sample(number).decodes;
    const same = (old) => decodes.findIndex((each) => old && label(each) === label(old));
    const first = decodes.findIndex((each) => each.problem !== null);
    const beside = same(right);
    open(number, same(left) >= 0 ? same(left) : Math.max(first, 0), beside >= 0 ? beside : "");
    mark();
  };

  const address = () => {
    const right = rightOf.value === "" ? "" : `/${rightOf.value}`;
    return `#replay/${chunk}/${leftOf.value}${right}`;
  };
  const mark = () => history.replaceState(null, "", address());

  const follow = () => {
    const found = /^#replay\/(\d+)\/(\d+)(?:\/(\d+))?$/.exec(location.hash);
    if (!found) return false;
    const [number, left, right] = found.slice(1).map((text) => (text === undefined ? "" : Number(text)));
    const decodes = number < INDEX.samples.length ? sample(number).decodes : [];
    if (left >= decodes.length || (right !== "" && right >= decodes.length)) return false;
    open(number, left, right);
    panel.scrollIntoView();
    panel.focus({ preventScroll: true });
    return true;
  };

  taskOf.append(...INDEX.tasks.flatMap((task, number) =>
    (samplesOf(number).length ? [option(String(number), task)] : [])));
  taskOf.addEventListener("change", () => change(samplesOf(Number(taskOf.value))[0].number));
  sampleOf.addEventListener("change", () => change(Number(sampleOf.value)));
  for (const select of [leftOf, rightOf]) {
    select.addEventListener("change", () => { stop(); step = Math.min(step, steps()); draw(); mark(); });
  }
  slider.addEventListener("input", () => { stop(); go(Number(slider.value)); });
  play.addEventListener("click", toggle);
  pick("first").addEventListener("click", () => { stop(); go(0); });
  pick("back").addEventListener("click", () => { stop(); go(step - 1); });
  pick("forward").addEventListener("click", () => { stop(); go(step + 1); });
  pick("last").addEventListener("click", () => { stop(); go(steps()); });
  pick("speed").addEventListener("change", () => { if (timer !== null) start(); });
  pick("colour").addEventListener("change", drawStep);

  const KEYS = {
    ArrowLeft: () => { stop(); go(step - 1); },
    ArrowRight: () => { stop(); go(step + 1); },
    Home: () => { stop(); go(0); },
    End: () => { stop(); go(steps()); },
    " ": toggle,
  };
  panel.addEventListener("keydown", (event) => {
    // Buttons, lists and the slider have their own use of these keys.
    const own = event.target.closest("select, input") || (event.key === " " && event.target.closest("button, a"));
    if (own || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    event.preventDefault();
    KEYS[event.key]();
  });

  // --- failures -----------------------------------------------------------------------------

  const gallery = find("-failures");
  const PAGE = 30;
  let most = PAGE;
  const FILTERS = [["problem", 5, "problems"], ["task", 2, "tasks"], ["model", 3, "models"], ["decoder", 4, "decoders"]];

  const filters = FILTERS.map(([name, column, labels]) => {
    const select = gallery.querySelector(`[name=${name}]`);
    const present = new Set(INDEX.failures.map((failure) => failure[column]));
    select.append(option("", "all"), ...[...present].sort((a, b) => a - b).map((number) =>
      option(String(number), INDEX[labels][number])));
    select.addEventListener("change", () => { most = PAGE; list(); });
    return { select, column };
  });

  const list = () => {
    const kept = INDEX.failures.filter((failure) => filters.every(({ select, column }) =>
      select.value === "" || failure[column] === Number(select.value)));
    find("-failure-count").textContent = `${kept.length.toLocaleString("en")} of ${INDEX.failures.length.toLocaleString("en")} failures`;
    find("-failure-list").replaceChildren(...kept.slice(0, most).map(([number, which, , , , problem]) => {
      const decode = sample(number).decodes[which];
      const link = make("a", { href: `#replay/${number}/${which}` }, decode.text || "an empty reply");
      const [task, index] = INDEX.samples[number];
      const where = `${INDEX.tasks[task]}, sample ${index}, ${label(decode)}`;
      return make("li", {}, make("span", { class: "kind" }, INDEX.problems[problem]), link, make("span", { class: "where" }, where));
    }));
    find("-failure-more").hidden = kept.length <= most;
  };
  find("-failure-more").addEventListener("click", () => { most += PAGE; list(); });
  list();

  document.querySelectorAll(".needs-script").forEach((element) => { element.hidden = false; });
  window.addEventListener("hashchange", follow);
  // A link to where the page is already changes nothing that the browser would tell of.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#replay/']");
    if (link && link.getAttribute("href") === location.hash) follow();
  });
  if (!follow()) {
    const first = document.querySelector("a[href^='#replay/']");
    const [number, left] = first ? first.getAttribute("href").split("/").slice(1).map(Number) : [0, 0];
    open(number, left);
  }
})();
