// What moves on the report: chosen columns, values in charts, searched samples, replays, orders.
// Text from models is only ever set as text.  A sample is parsed when it is first opened.
(() => {
  const { make } = page;
  const find = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(find(id).textContent);

  // Beyond 15 digits the page has no exact number.
  const counted = (count) => (count < 1e15 ? `${count}` : `about ${count.toExponential(1)}`);
  const answers = (count, still = "") =>
    count === 1 ? `1 right answer${still} fits` : `${counted(count)} right answers${still} fit`;

  const option = (value, text) => make("option", { value }, text);

  // --- the address: a place on the page, and the columns where they were chosen --------------

  const results = [...document.querySelectorAll("table.results")];
  const heads = results.length ? [...results[0].tHead.rows[0].cells] : [];
  const columns = heads.flatMap((head, place) => (head.dataset.key
    ? [{ key: head.dataset.key, heading: head.textContent, place: place + 1, ...head.dataset }] : []));
  const choice = columns.filter((each) => !("fixed" in each));
  const usual = new Set(choice.filter((each) => !("optional" in each)).map((each) => each.key));
  let shownColumns = new Set(usual);

  const place = () => location.hash.slice(1).split("&")[0];
  const move = (to) => {
    const same = shownColumns.size === usual.size && [...usual].every((key) => shownColumns.has(key));
    const chosen = same ? "" : `&columns=${[...shownColumns].join(",")}`;
    history.replaceState(null, "", to || chosen ? `#${to}${chosen}` : location.pathname + location.search);
  };

  // --- tables -------------------------------------------------------------------------------

  const sheet = make("style");
  document.head.append(sheet);
  const hideColumns = () => {
    const hidden = choice.filter((each) => !shownColumns.has(each.key));
    sheet.textContent = hidden.map((each) =>
      `table.results tr > :nth-child(${each.place}) { display: none; }`).join("\n");
  };
  const followColumns = () => {
    const wanted = /&columns=([^&]*)/.exec(location.hash);
    if (!wanted) return;
    shownColumns = new Set(wanted[1].split(",").filter((key) => choice.some((each) => each.key === key)));
    hideColumns();
  };
  const choose = (key, ticked) => {
    shownColumns[ticked ? "add" : "delete"](key);
    hideColumns();
    move(place());
  };

  document.querySelectorAll("main table").forEach((table) => {
    if (table.classList.contains("sortable")) page.sortable(table);
    else table.querySelectorAll("th[data-told]").forEach((head) => { head.tabIndex = 0; });
    const tools = make("div", { class: "tools" },
      page.saver(() => page.save(table.dataset.name || "table", page.contents(table))));
    if (table.classList.contains("results")) {
      tools.prepend(page.chooser(() => choice, () => shownColumns, choose));
    }
    table.parentElement.before(tools);
  });
  hideColumns();
  followColumns();

  // --- values in charts ---------------------------------------------------------------------

  const MARKS = find("-marks") ? read("-marks") : [];
  const NEAR = 24;  // pixels

  document.querySelectorAll(".plot[data-marks]").forEach((plot) => {
    const marks = MARKS[Number(plot.dataset.marks)];
    if (!marks.length) return;
    const ring = make("span", { class: "ring", hidden: "" });
    plot.append(ring);
    plot.tabIndex = 0;
    let now = -1;
    const show = (which) => {
      now = which;
      const [x, y, told] = marks[which];
      ring.style.left = `${100 * x}%`;
      ring.style.top = `${100 * y}%`;
      ring.hidden = false;
      page.tell(plot, told, ring.getBoundingClientRect());
    };
    const leave = () => { ring.hidden = true; page.hush(); };
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const away = marks.map(([x, y]) => Math.hypot(box.left + x * box.width - event.clientX, box.top + y * box.height - event.clientY));
      const best = away.indexOf(Math.min(...away));
      if (away[best] > NEAR) leave();
      else if (best !== now || ring.hidden) show(best);
    });
    plot.addEventListener("pointerleave", leave);
    plot.addEventListener("focus", () => { if (plot.matches(":focus-visible")) show(Math.max(0, now)); });
    plot.addEventListener("blur", leave);
    plot.addEventListener("keydown", (event) => {
      const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: marks.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(Math.max(0, Math.min(marks.length - 1, to)));
    });
  });

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
          const cell = make("td", { title: `position ${position + 1}: ${told}`, "data-value": percent ?? "" });
          if (percent !== null) shade(cell, percent / 100);
          row.append(cell);
        });
        body.append(row);
      }
      const table = make("table", {}, body);
      place.append(table);
      place.before(make("div", { class: "tools" },
        page.saver(() => page.save(`order-${details.dataset.order}`, page.contents(table)))));
    });
  });

  // --- replays ------------------------------------------------------------------------------

  const panel = find("-replay");
  if (!panel || !find("-index")) {
    if (place()) find(place())?.scrollIntoView();
    window.addEventListener("hashchange", () => { followColumns(); move(place()); });
    return;
  }
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
      positions.forEach((place, which) => { cells[place] = { token: ids[which], step: number, which }; });
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
  const percent = (share) => `${Math.round(100 * share)} %`;
  // Of both sides, so that one key explains them.
  const mostBits = () => Math.max(...sides.flatMap((side) => decodeOf(side)?.steps.map((each) => each[2] ?? 0) ?? []), 1e-9);
  // The probability of a token that a step wrote; null where it is not known.
  const chance = (each, which) => (Array.isArray(each[4]) ? each[4][which] : each[4] === 1 && each[1][which] !== -1 ? 1 : null);
  const least = (each) => {
    const known = each[1].map((_, which) => chance(each, which)).filter((share) => share !== null);
    return known.length ? Math.min(...known) : null;
  };

  const written = (decode, number, tokens, withChance = false) => {
    const [, ids] = decode.steps[number];
    const words = ids.flatMap((token, which) => {
      if (token < 0) return [];
      const share = withChance ? chance(decode.steps[number], which) : null;
      return [shown(token, tokens) + (share === null || share === 1 ? "" : ` (${percent(share)})`)];
    });
    const ends = ids.filter((token) => token === -2).length;
    const again = ids.filter((token) => token === -1).length;
    const parts = [words.join(" ")];
    if (ends) parts.push(`${ends > 1 ? `${ends} \u00d7 ` : ""}\u220e`);
    if (again) parts.push(`${again} opened again`);
    return parts.filter(Boolean).join("  +  ") || "nothing";
  };

  const drawCanvas = (decode, tokens, place) => {
    const now = Math.min(step, decode.steps.length);
    const colour = pick("colour").value;
    const most = mostBits();
    const differing = new Map(decode.right ? decode.right[1] : []);
    const cells = canvasAt(decode, now).map((cell, position) => {
      const box = make("span", { class: "token" }, shown(cell.token, tokens));
      if (cell.token === -1) box.classList.add("open");
      if (cell.token === -2) box.classList.add("ends");
      if (cell.step === null) {
        box.title = cell.token === -1 ? `position ${position + 1}: open` : "given";
      } else {
        const cost = decode.steps[cell.step][2];
        const share = chance(decode.steps[cell.step], cell.which);
        box.title = `position ${position + 1}, step ${cell.step + 1}` +
          (cost === null ? "" : `, ${bits(cost)} unknown to it`) +
          (share === null ? "" : `, probability ${percent(share)}`);
        if (cell.token !== -1 && colour !== "step") {
          box.classList.add("costly");
          shade(box, colour === "bits" ? (cost ?? 0) / most : 1 - (share ?? 1));
        } else if (cell.token !== -1) {
          shade(box, cell.step / Math.max(1, decode.steps.length - 1));
        }
        if (cell.step === now - 1) box.classList.add("now");
      }
      const wanted = differing.get(position);
      if (wanted !== undefined && cell.token !== -1 && cell.token !== wanted) {
        box.classList.add("off");
        box.title += `; the right answer has ${shown(wanted, tokens)} here`;
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
    const said = [`Step ${now} of ${of} wrote ${written(decode, now - 1, tokens, true)}.`];
    if (cost !== null) said.push(`It could not know ${bits(cost)}.`);
    if (left !== null) said.push(left ? `${answers(left, " still")}.` : "No right answer fits any more.");
    return said.join(" ");
  };

  const drawLog = (decode, tokens, list) => {
    const most = mostBits();
    list.replaceChildren(...decode.steps.map((each, number) => {
      const [, , cost, left] = each;
      const share = least(each);
      const meter = make("span", { class: "meter" });
      meter.style.setProperty("--share", `${(100 * (cost ?? 0)) / most}%`);
      const button = make("button", { type: "button" },
        make("span", { class: "number" }, String(number + 1)),
        make("span", { class: "words" }, written(decode, number, tokens)),
        meter,
        make("span", { class: "chance", title: "The least probability of its tokens" }, share === null ? "\u2013" : percent(share)),
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

  const KEYED = {
    step: () => ["written early", "late"],
    bits: () => ["a step that could know all it wrote", `${bits(mostBits())} that it could not`],
    chance: () => ["sure: probability 100 %", "0 %"],
  };
  const drawKey = () => {
    const colour = pick("colour").value;
    const [from, to] = KEYED[colour]();
    find("-key-from").textContent = from;
    find("-key-to").textContent = to;
    const key = panel.querySelector(".key");
    key.classList.toggle("cost", colour !== "step");
    key.setAttribute("aria-label", colour === "step" ? "from yellow to blue" : "from no colour to orange");
  };

  const drawStep = () => {
    drawKey();
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

  const drawPrompt = () => {
    const { question, examples } = sample(chunk);
    find("-question").textContent = question ?? "What was asked cannot be drawn again.";
    const whole = find("-prompt");
    whole.hidden = !examples.length;
    const turns = examples.filter(([role]) => role === "user").length;
    whole.querySelector("summary").textContent = `The whole prompt: ${turns} worked example${turns === 1 ? "" : "s"} before the question`;
    whole.querySelector(".turns").replaceChildren(...[...examples, ["user", question]].map(([role, content]) =>
      make("div", { class: `turn ${role}` }, make("b", {}, role), make("p", {}, content ?? ""))));
  };

  const rightAnswer = ([text, differences]) => {
    const count = differences.length;
    const told = count ? `The nearest right answer, ${count} token${count === 1 ? "" : "s"} away: ` : "A right answer: ";
    return [make("span", { class: "quiet" }, told), text || "an empty reply"];
  };

  const draw = () => {
    const { tokens } = sample(chunk);
    drawPrompt();
    for (const side of sides) {
      const decode = decodeOf(side);
      side.element.hidden = !decode;
      if (!decode) continue;
      side.part("name").textContent = label(decode);
      const mark = side.part("verdict");
      mark.textContent = verdict(decode);
      mark.classList.toggle("wrong", decode.problem !== null);
      side.part("reply").textContent = decode.text || "an empty reply";
      side.part("right").replaceChildren(...(decode.right ? rightAnswer(decode.right) : []));
      const told = decode.told ?? "";
      side.part("told").textContent = told && `${told[0].toUpperCase()}${told.slice(1)}.`;
      side.part("ignored").textContent = decode.bits === null ? "" : `The decode ${decode.bits}.`;
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
    markSoon();
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

  // Beside a wrong decode stands one that is right: of the same model rather than of another, and
  // of an oracle rather than of a decoder that had to find out.
  const companion = (number, left) => {
    const { decodes } = sample(number);
    const own = decodes[left];
    if (own.problem === null) return "";
    const rank = (each) => 2 * (each.model !== own.model) + !each.oracle;
    const right = decodes.filter((each) => each.problem === null).sort((a, b) => rank(a) - rank(b));
    return right.length ? decodes.indexOf(right[0]) : "";
  };

  // What is not said is chosen: a wrong decode opens at the step that lost it.
  const open = (number, left, right = companion(number, left), at = null) => {
    stop();
    fill(number);
    leftOf.value = String(left);
    rightOf.value = String(right);
    const { lost } = sample(number).decodes[left];
    step = Math.min(at ?? (lost === null ? 0 : lost + 1), steps());
    draw();
  };

  // The same decoders where the sample has them, else its first failure.
  const change = (number) => {
    const [left, right] = sides.map((side) => decodeOf(side));
    const decodes = sample(number).decodes;
    const same = (old) => decodes.findIndex((each) => old && label(each) === label(old));
    const first = decodes.findIndex((each) => each.problem !== null);
    const beside = same(right);
    const chosen = same(left) >= 0 ? same(left) : Math.max(first, 0);
    open(number, chosen, !right ? "" : beside >= 0 ? beside : undefined);
    mark();
  };

  const address = () => `replay/${chunk}/${leftOf.value}/${rightOf.value || "-"}@${step}`;
  let marking = null;
  const mark = () => {
    clearTimeout(marking);
    move(address());
  };
  // Browsers refuse an address that changes many times a second.
  const markSoon = () => {
    clearTimeout(marking);
    marking = setTimeout(mark, 250);
  };

  const follow = () => {
    clearTimeout(marking);
    const found = /^replay\/(\d+)\/(\d+)(?:\/(\d+|-))?(?:@(\d+))?$/.exec(place());
    if (!found) return false;
    const [number, left] = [Number(found[1]), Number(found[2])];
    const right = found[3] === "-" ? "" : found[3] && Number(found[3]);
    const decodes = number < INDEX.samples.length ? sample(number).decodes : [];
    if (left >= decodes.length || (right ?? "") >= decodes.length) return false;
    open(number, left, right, found[4] === undefined ? null : Number(found[4]));
    mark();
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

  const words = gallery.querySelector("[name=words]");

  const filters = FILTERS.map(([name, column, labels]) => {
    const select = gallery.querySelector(`[name=${name}]`);
    const present = new Set(INDEX.failures.map((failure) => failure[column]));
    const others = name === "problem" ? [option("right", "right answers"), option("every", "every decode")] : [];
    select.append(option("", name === "problem" ? "all failures" : "all"), ...[...present].sort((a, b) => a - b).map((number) =>
      option(String(number), INDEX[labels][number])), ...others);
    select.addEventListener("change", () => { most = PAGE; list(); });
    return { select, column };
  });
  words.addEventListener("input", () => { most = PAGE; list(); });

  // As failures are listed; the kind of a right answer is null.
  let every = null;
  const everyDecode = () => {
    every ??= INDEX.samples.flatMap(([task], number) => sample(number).decodes.map((each, which) =>
      [number, which, task, each.model, each.decoder, each.problem === null ? null : INDEX.problems.indexOf(each.problem)]));
    return every;
  };
  const where = ([number, which]) => {
    const [task, index] = INDEX.samples[number];
    return `${INDEX.tasks[task]}, sample ${index}, ${label(sample(number).decodes[which])}`;
  };
  const searched = (entry) => {
    const { question, decodes } = sample(entry[0]);
    const { text, right, problem } = decodes[entry[1]];
    return [question, text, right && right[0], problem ?? "right", where(entry)].join("\n").toLowerCase();
  };

  const list = () => {
    const [{ select: kind }] = filters;
    const all = ["right", "every"].includes(kind.value) ? everyDecode() : INDEX.failures;
    // "sample 3" is one thing to look for, and not sample 30.
    const typed = (words.value.toLowerCase().match(/sample\s+\d+|\S+/g) ?? [])
      .map((word) => word.replace(/^sample\s+(\d+)$/, "sample $1,"));
    const kept = all.filter((entry) => filters.every(({ select, column }) =>
      ["", "every"].includes(select.value) || (select.value === "right" ? entry[5] === null : entry[column] === Number(select.value))) &&
      (!typed.length || typed.every((word) => searched(entry).includes(word))));
    const things = kind.value === "right" ? "decodes are right" : kind.value === "every" ? "decodes" : "failures";
    find("-failure-count").textContent = `${kept.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} ${things}`;
    find("-failure-list").replaceChildren(...kept.slice(0, most).map((entry) => {
      const [number, which, , , , problem] = entry;
      const decode = sample(number).decodes[which];
      const reply = make("div", {}, make("a", { href: `#replay/${number}/${which}` }, decode.text || "an empty reply"));
      if (decode.right) reply.append(make("div", { class: "quiet" }, `right: ${decode.right[0]}`));
      return make("li", {}, make("span", { class: "kind" }, problem === null ? "right" : INDEX.problems[problem]),
        reply, make("span", { class: "where" }, where(entry)));
    }));
    find("-failure-more").hidden = kept.length <= most;
  };
  find("-failure-more").addEventListener("click", () => { most += PAGE; list(); });
  list();

  document.querySelectorAll(".needs-script").forEach((element) => { element.hidden = false; });
  window.addEventListener("hashchange", () => {
    followColumns();
    // A link within the page says nothing of columns; what was chosen stays.
    if (!follow()) move(place());
  });
  // A link to where the page is already changes nothing that the browser would tell of.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#replay/']");
    if (link && link.getAttribute("href") === location.hash) follow();
  });
  if (!follow()) {
    const first = document.querySelector("a[href^='#replay/']");
    const [number, left] = first ? first.getAttribute("href").split("/").slice(1).map(Number) : [0, 0];
    open(number, left);
    if (place()) find(place())?.scrollIntoView();
  }
})();
