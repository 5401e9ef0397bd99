// The board: a table that is sorted and filtered, its curves, and an address for what is shown.
// Text from entries is only ever set as text.
(() => {
  const find = (id) => document.getElementById(id);
  const SEASONS = [...document.querySelectorAll("script.season")].map((each) => JSON.parse(each.textContent));
  if (!SEASONS.length) return;

  const { make } = page;
  const draw = (tag, attributes = {}, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // Words of a submitter, which no reader takes for the board's own: in a box, or in quotes.
  const theirs = (text, letters = "") => [
    make("q", { class: "theirs" }, make("bdi", {}, text)),
    ...(letters ? [" ", make("small", { class: "claim" }, letters)] : []),
  ];
  const quoted = (text) => JSON.stringify(text);
  // A setting breaks between its fields, and not within a word.
  const breakable = (setting) => setting.split(/(?<=[:,;(])/).flatMap((part) => [make("wbr"), part]).slice(1);

  // --- figures ------------------------------------------------------------------------------

  const TOLERANCE = 1e-9;
  const SPEED = 0;
  const MARK = 1;
  const [SPEED_ENDS, MARK_ENDS, ANSWER, SAMPLES, SETTING, CALLS, PUBLIC_SPEED] = [2, 3, 4, 5, 6, 7, 8];

  // Sorted by speed; of settings of equal speed the most accurate stands.
  const merged = (points, speed = SPEED) => {
    const sorted = points.filter((point) => point[speed] !== null && point[MARK] !== null)
      .map((point) => [point[speed], point[MARK]])
      .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const kept = [];
    for (const point of sorted) {
      const last = kept[kept.length - 1];
      if (last && Math.abs(last[0] - point[0]) <= TOLERANCE * Math.max(last[0], point[0])) {
        last[1] = Math.max(last[1], point[1]);
      } else kept.push(point);
    }
    return kept;
  };

  // The greatest speed of the settings that reach an accuracy; null if none does.
  const speedAt = (points, accuracy) => {
    const speeds = merged(points).filter((point) => point[1] >= accuracy - TOLERANCE).map((point) => point[0]);
    return speeds.length ? Math.max(...speeds) : null;
  };

  // The same by the public board's rule: of adaptive strategies the curve between settings counts
  // too, and what is never reached is 0.
  const publicSpeedAt = (points, accuracy, adaptive) => {
    const curve = merged(points, PUBLIC_SPEED);
    const speeds = curve.filter((point) => point[1] >= accuracy - TOLERANCE).map((point) => point[0]);
    if (adaptive) {
      curve.slice(1).forEach((after, place) => {
        const before = curve[place];
        if (before[1] >= accuracy && accuracy > after[1]) {
          speeds.push(before[0] + (before[1] - accuracy) / (before[1] - after[1]) * (after[0] - before[0]));
        }
      });
    }
    return Math.max(0, ...speeds);
  };

  const ABSENT = "\u2013";
  const number = (value, digits = 2) => (value === null ? ABSENT : value.toFixed(digits));
  const percent = (share) => (share === null ? ABSENT : (100 * share).toFixed(1));
  const range = (ends, say = number) => (ends === null ? "" : `${say(ends[0])}${ABSENT}${say(ends[1])}`);

  // --- what is asked for --------------------------------------------------------------------

  const DEFAULTS = {
    season: SEASONS[0].name, scope: SEASONS[0].scopes[0].label, at: 80, section: "", division: "",
    level: "", model: "", text: "", sort: "speed", down: true, columns: "", show: null,
  };
  let state = { ...DEFAULTS };
  const season = () => SEASONS.find((each) => each.name === state.season) ?? SEASONS[0];
  const scope = () => Math.max(0, season().scopes.findIndex((each) => each.label === state.scope));
  const figures = (row, where = scope()) => row.figures[where];

  // Said in place of an interval, which would begin at no speed at all.
  const doubt = (held, at) => (held && held[0] === null && held[4] !== null
    ? `reaches ${at}\u00a0% in ${Math.round(100 * held[4])}\u00a0% of resamples` : "");
  const reading = (row) => {
    const own = figures(row);
    const at = own?.at[state.at - season().percents[0]] ?? null;
    return {
      speed: own ? speedAt(own.points, state.at / 100) : null,
      published: own?.area ? publicSpeedAt(own.points, state.at / 100, own.adaptive) : null,
      ends: at && at[0], efficiency: at && at[1], efficiencyEnds: at && at[2], rank: at && at[3],
      doubt: doubt(at, state.at),
      best: own ? own.points[own.best] : null,
      area: own?.area ?? null,
    };
  };
  const headline = (row, at) => {
    const own = figures(row);
    const held = own?.at[at - season().percents[0]];
    return {
      speed: own ? speedAt(own.points, at / 100) : null,
      ends: held ? held[0] : null,
      doubt: doubt(held, at),
      published: own?.area ? publicSpeedAt(own.points, at / 100, own.adaptive) : null,
    };
  };

  const address = () => {
    const parts = new URLSearchParams();
    for (const [name, value] of Object.entries(state)) {
      if (name === "show" ? value !== null : String(value) !== String(DEFAULTS[name])) {
        (name === "show" ? [...value] : [value]).forEach((each) => parts.append(name, String(each)));
      }
    }
    history.replaceState(null, "", parts.size ? `#${parts}` : location.pathname + location.search);
  };
  const follow = () => {
    const parts = new URLSearchParams(location.hash.slice(1));
    state = { ...DEFAULTS };
    for (const name of Object.keys(DEFAULTS)) {
      if (!parts.has(name)) continue;
      if (name === "show") state.show = new Set(parts.getAll(name));
      else if (name === "at") {
        const [low, high] = SEASONS[0].percents;
        state.at = Math.min(high, Math.max(low, Math.round(Number(parts.get(name)) || DEFAULTS.at)));
      } else if (name === "down") state.down = parts.get(name) === "true";
      else state[name] = parts.get(name);
    }
    state.season = season().name;
    state.scope = season().scopes[scope()].label;
    if (!COLUMNS.some((column) => column.key === state.sort)) state.sort = DEFAULTS.sort;
  };

  // --- the table ----------------------------------------------------------------------------

  const two = (main, ends, doubted = "") => {
    const said = [main];
    if (doubted) said.push(make("small", { class: "doubt" }, doubted));
    else if (ends) said.push(make("small", { class: "range" }, ends));
    return said;
  };
  const HEADLINE = SEASONS[0].headline;
  const LEVELS = SEASONS[0].levels;
  const COLUMNS = [
    { key: "strategy", head: "strategy", of: (row) => row.strategy, text: true },
    { key: "level", head: "level", of: (row) => LEVELS.indexOf(row.level), class: "level", text: true,
      cell: (row) => [make("span", { class: `badge level${LEVELS.indexOf(row.level)}` }, row.level),
        ...(row.checked ? [make("small", {}, row.checked)] : [])] },
    { key: "rank", group: "at", head: "rank", of: (row, now) => now.rank,
      cell: (row, now) => [now.rank === null ? ABSENT : String(now.rank)], class: "rank", up: true },
    { key: "speed", group: "at", head: "canvas tokens per step", of: (row, now) => now.speed,
      cell: (row, now) => two(number(now.speed), range(now.ends), now.doubt), class: "main" },
    { key: "plot", group: "at", head: "95 % interval", of: (row, now) => now.speed, cell: (row, now) => [plot(now)], text: true },
    { key: "published", group: "at", head: "PBx, public board's rule", of: (row, now) => now.published, cell: (row, now) => [number(now.published)] },
    { key: "efficiency", group: "at", head: "oracle efficiency", of: (row, now) => now.efficiency,
      cell: (row, now) => two(number(now.efficiency), range(now.efficiencyEnds)) },
    ...HEADLINE.flatMap((at) => [
      { key: `at${at}`, group: `${at}`, head: "tokens per step", of: (row) => headline(row, at).speed,
        cell: (row) => { const held = headline(row, at); return two(number(held.speed), range(held.ends), held.doubt); } },
      { key: `published${at}`, group: `${at}`, head: `PB${at}, public rule`, of: (row) => headline(row, at).published,
        cell: (row) => [number(headline(row, at).published)] },
    ]),
    { key: "area", head: "area %", of: (row, now) => now.area && now.area[0],
      cell: (row, now) => two(percent(now.area && now.area[0]), range(now.area && now.area[1], percent)) },
    { key: "accuracy", group: "best", head: "accuracy %", of: (row, now) => now.best && now.best[MARK],
      cell: (row, now) => two(percent(now.best && now.best[MARK]), range(now.best && now.best[MARK_ENDS], percent)) },
    { key: "canvas", group: "best", head: "canvas tokens per step", of: (row, now) => now.best && now.best[SPEED],
      cell: (row, now) => two(number(now.best && now.best[SPEED]), range(now.best && now.best[SPEED_ENDS])) },
    { key: "calls", group: "best", head: "model calls", of: (row, now) => now.best && now.best[CALLS],
      cell: (row, now) => [number(now.best && now.best[CALLS], 1)] },
    { key: "answer", group: "best", head: "answer tokens per step", of: (row, now) => now.best && now.best[ANSWER],
      cell: (row, now) => [number(now.best && now.best[ANSWER])] },
    { key: "samples", head: "samples", of: (row, now) => now.best && now.best[SAMPLES],
      cell: (row, now) => [now.best ? String(now.best[SAMPLES]) : ABSENT] },
    { key: "entry", head: "entry", of: (row) => row.title, text: true },
  ];
  const EXPLAINED = {
    strategy: "Decoding strategy with a model. Tick a row to draw its curve.",
    level: "How far the entry was checked; what each level means, and what a cheat could still do, stands below.",
    rank: "Place within its section; rows that cannot be told apart share one. How rows are ranked stands below.",
    speed: "Canvas tokens per model call of the fastest setting with at least so many right answers, with its 95 % interval.",
    plot: "The same on a logarithmic scale from 1: the speed as a dot, its 95 % interval as a bar.",
    published: "Strategies with a fixed number of tokens at their settings only, adaptive ones on the curve; 0 where it is never reached. Ranks nobody.",
    efficiency: "Speed over that of an oracle at the same accuracy; the cell says which.",
    area: "Area under accuracy over log2(tokens per step), as a share of the greatest possible.",
    accuracy: "Share of right answers of the strategy's most accurate setting, with its 95 % interval.",
    canvas: "Canvas tokens per model call of the most accurate setting.",
    calls: "Model calls of a decode by the most accurate setting, mean over samples.",
    answer: "Tokens before the first end-of-text, per model call, of the most accurate setting.",
    samples: "Distinct samples of the test part behind the figures.",
    entry: "What its submitter calls it, its division, and how many runs they say to have made.",
  };
  // The headline columns of fixed accuracies mean what those of the dial mean.
  const explained = (column) => EXPLAINED[column.key] ?? EXPLAINED[column.key.startsWith("at") ? "speed" : "published"];
  const FIXED = new Set(["strategy", "level", "rank", "speed", "accuracy", "canvas", "calls", "entry"]);
  const choice = () => COLUMNS.filter((column) => !FIXED.has(column.key))
    .map(({ key, group, head }) => ({ key, heading: [head, groupName(group)].filter(Boolean).join(", ") }));
  const chosen = () => new Set(state.columns ? state.columns.split(",") : choice().map((column) => column.key));
  const visible = () => {
    const keys = chosen();
    return COLUMNS.filter((column) => FIXED.has(column.key) || keys.has(column.key));
  };
  const choose = (key, ticked) => {
    const keys = chosen();
    keys[ticked ? "add" : "delete"](key);
    const kept = choice().map((column) => column.key).filter((each) => keys.has(each));
    // Nothing said is everything shown.
    state.columns = kept.length === choice().length ? "" : kept.join(",") || "none";
    redraw();
  };

  const groupName = (group) => ({
    at: `at ${state.at} % right answers`, best: "most accurate setting",
  }[group] ?? (group ? `at ${group} %` : ""));

  let reach = 2;  // of every axis of speed, in tokens per step
  const plot = (now) => {
    if (now.speed === null) return "";
    const place = (speed) => 4 + 168 * Math.min(1, Math.log2(Math.max(1, speed)) / Math.log2(reach));
    const told = `${number(now.speed)} tokens per step` + (now.doubt && `; ${now.doubt}`);
    const picture = draw("svg", { viewBox: "0 0 176 24", role: "img", "aria-label": told },
      draw("line", { x1: 4, x2: 172, y1: 12, y2: 12, stroke: "var(--line)" }));
    if (now.ends) {
      const [low, high] = now.ends.map(place);
      picture.append(draw("line", { x1: low, x2: high, y1: 12, y2: 12, stroke: "var(--link)", "stroke-width": 6, "stroke-opacity": 0.35 }));
    }
    picture.append(draw("circle", { cx: place(now.speed), cy: 12, r: 4.5, fill: "var(--link)" }));
    return picture;
  };

  const kept = () => season().rows.filter((row) => {
    const words = `${row.strategy} ${row.model} ${row.title} ${row.submitter} ${row.id}`.toLowerCase();
    return (state.section === "" || season().sections[row.section].title === state.section) &&
      (state.division === "" || row.division === state.division) &&
      LEVELS.indexOf(row.level) >= LEVELS.indexOf(state.level) &&
      (state.model === "" || row.model === state.model) &&
      state.text.toLowerCase().split(/\s+/).every((word) => words.includes(word));
  });

  // What is absent stands last, whichever way the rows are sorted.
  const sorted = (rows) => {
    const column = COLUMNS.find((each) => each.key === state.sort);
    const way = state.down ? -1 : 1;
    const value = new Map(rows.map((row) => [row, column.of(row, reading(row))]));
    return [...rows].sort((one, other) => {
      const [a, b] = [value.get(one), value.get(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      return way * (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    });
  };

  const sortBy = (column) => {
    state.down = state.sort === column.key ? !state.down : !column.text && !column.up;
    state.sort = column.key;
    redraw();
    find("-table").querySelector(`[data-key="${column.key}"] button`).focus();
  };

  const heading = () => {
    const groups = make("tr");
    let last = null;
    for (const column of visible()) {
      if (last && last.group === column.group && column.group) last.cell.colSpan += 1;
      else {
        last = { group: column.group, cell: make("th", column.group ? { scope: "colgroup", colspan: 1 } : {}, groupName(column.group)) };
        groups.append(last.cell);
      }
    }
    const heads = make("tr");
    for (const column of visible()) {
      const button = make("button", { type: "button" }, column.head);
      button.addEventListener("click", () => sortBy(column));
      const head = make("th", {
        scope: "col", "data-key": column.key, "data-told": explained(column), "data-value": [column.head, groupName(column.group)].filter(Boolean).join(", "),
      }, button);
      if (column.text) head.classList.add("text");
      if (state.sort === column.key) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      heads.append(head);
    }
    return make("thead", {}, groups, heads);
  };

  const line = (row, shown) => {
    const now = reading(row);
    const slot = shown.indexOf(row);
    const tick = make("input", { type: "checkbox", "aria-label": `Draw the curve of ${row.strategy}, ${quoted(row.model)}` });
    tick.checked = slot >= 0;
    tick.disabled = !drawable(row);
    tick.addEventListener("change", () => {
      state.show = new Set(shown.map((each) => each.id));
      state.show[tick.checked ? "add" : "delete"](row.id);
      redraw();
      [...find("-table").querySelectorAll("tr")].find((each) => each.dataset.id === row.id)?.querySelector("input").focus();
    });
    const name = make("span", {}, ...breakable(row.strategy), make("small", {}, ...theirs(row.model, row.letters[1])));
    if (row.missing) name.append(make("small", { class: "missing" }, `unranked: ${row.missing}`));
    const label = make("label", { class: "show" }, tick, name);
    if (slot >= 0) label.append(swatch(slot));
    const tr = make("tr", {}, make("th", { scope: "row", "data-value": `${row.strategy}, ${row.model}` }, label));
    tr.dataset.id = row.id;
    for (const column of visible().filter((each) => each.cell)) {
      tr.append(make("td", { class: column.class ?? "", "data-key": column.key }, ...column.cell(row, now)));
    }
    if (now.efficiency !== null) {
      tr.querySelector("[data-key=efficiency]")?.append(make("small", {}, row.against));
    }
    const [title, ...letters] = theirs(row.title, row.letters[0]);
    tr.append(make("td", { class: "entry" }, make("a", { href: row.page }, title), ...letters,
      make("small", {}, `${row.division}; runs made: ${row.runs ?? "not said"}`)));
    return tr;
  };

  const drawTable = (rows, shown) => {
    const bodies = season().sections.flatMap((section, place) => {
      const own = sorted(rows.filter((row) => row.section === place));
      if (!own.length) return [];
      const head = make("th", { scope: "rowgroup", colspan: visible().length }, make("span", {}, section.title));
      return [make("tbody", {}, make("tr", { class: "section" }, head), ...own.map((row) => line(row, shown)))];
    });
    find("-table").replaceChildren(heading(), ...bodies);
    const all = season().rows.length;
    const where = season().scopes[scope()];
    const over = where.kind === "all" ? `${where.tasks} tasks`
      : where.kind === "category" ? `the ${where.tasks} task${where.tasks > 1 ? "s" : ""} of ${where.label}` : where.label;
    find("-count").textContent = `${rows.length} of ${all} rows; ${over}, ${season().samples} samples of each.`;
  };

  // --- curves -------------------------------------------------------------------------------

  const COLOURS = 6;
  const MARKS = [
    "M-4.5,0a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0", "M-4,-4h8v8h-8z", "M0,-5.5l5,9h-10z", "M0,-5.5l5.5,5.5l-5.5,5.5l-5.5,-5.5z",
    "M0,5.5l5,-9h-10z", "M-1.7,-5h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z", "M-5,-3l2,-2l3,3l3,-3l2,2l-3,3l3,3l-2,2l-3,-3l-3,3l-2,-2l3,-3z",
  ];
  // Behind the named colours the hues are spread by the golden angle: no two rows share one.
  const colour = (slot) => (slot < COLOURS ? `var(--c${slot})` : `oklch(var(--shade) 0.14 ${((slot * 137.508) % 360).toFixed(1)})`);
  const symbol = (slot) => draw("path", { d: MARKS[slot % MARKS.length], style: `fill: ${colour(slot)}` });
  const swatch = (slot) => draw("svg", { viewBox: "-9 -9 18 18", class: "swatch", "aria-hidden": "true" },
    draw("line", { x1: -9, x2: 9, y1: 0, y2: 0, style: `stroke: ${colour(slot)}`, "stroke-width": 2 }), symbol(slot));

  const drawable = (row) => Boolean(figures(row)?.area);
  const shownRows = (rows) => {
    if (state.show !== null) return season().rows.filter((row) => state.show.has(row.id) && drawable(row));
    const able = rows.filter((row) => drawable(row) && season().sections[row.section].kind !== "oracle");
    const first = able.length ? Math.min(...able.map((row) => row.section)) : 0;
    return able.filter((row) => row.section === first)
      .sort((a, b) => (reading(b).speed ?? 0) - (reading(a).speed ?? 0) ||
        reading(b).area[0] - reading(a).area[0]).slice(0, 5);
  };

  const lineOf = (speeds, x, y) => {
    // From the fastest to the most accurate: what is not reached ends the line.
    const known = speeds.map((speed, place) => [speed, place / 100]).filter(([speed, share]) => speed !== null && share >= 0.5);
    return known.map(([speed, share]) => `${x(speed).toFixed(1)},${y(share).toFixed(1)}`).join(" ");
  };

  const beside = (shown, where) => {
    const numbers = [...new Set(shown.map((row) => row.oracle).filter((each) => each !== null))];
    const lines = numbers.map((each) => ({ kind: "oracle", title: season().oracles[each].title, speeds: season().oracles[each].scopes[where] }));
    const unlike = lines.filter((each, place) => lines.findIndex((other) => other.title === each.title) === place);
    const { bound } = season();
    return bound ? [...unlike, { kind: "bound", title: bound.title, speeds: bound.scopes[where] }] : unlike;
  };

  const speak = (row, point) => `${row.strategy}, ${quoted(row.model)}: ${point[SETTING]}: ${percent(point[MARK])} % right` +
    (point[MARK_ENDS] ? ` (${range(point[MARK_ENDS], percent)})` : "") +
    `, ${number(point[SPEED])} canvas tokens per step` + (point[SPEED_ENDS] ? ` (${range(point[SPEED_ENDS])})` : "") +
    `, ${number(point[ANSWER])} answer tokens per step, ${point[SAMPLES]} samples`;

  const figure = (picture, rows, shown, where, size, whole) => {
    const { width, height, left, bottom } = size;
    const x = (speed) => left + (width - left - 12) * (Math.log2(speed) - least) / (Math.log2(reach) - least);
    const y = (share) => 10 + (height - bottom - 10) * (1 - share);
    const speeds = rows.flatMap((row) => figures(row, where)?.points.map((point) => point[SPEED]) ?? []).filter((speed) => speed !== null);
    const least = Math.min(0, Math.floor(Math.log2(Math.min(1, ...speeds))));
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const parts = [];
    for (const share of whole ? [0, 0.2, 0.4, 0.6, 0.8, 1] : [0, 0.5, 1]) {
      parts.push(draw("line", { class: "grid", x1: left, x2: width - 12, y1: y(share), y2: y(share) }),
        draw("text", { x: left - 8, y: y(share) + 4, "text-anchor": "end" }, `${100 * share}`));
    }
    for (let power = least; power <= Math.log2(reach) + 0.01; power += 1) {
      parts.push(draw("line", { class: "grid", x1: x(2 ** power), x2: x(2 ** power), y1: y(0), y2: y(0) + 4 }),
        draw("text", { x: x(2 ** power), y: y(0) + 18, "text-anchor": "middle" }, `${2 ** power}`));
    }
    parts.push(draw("line", { class: "level", x1: left, x2: width - 12, y1: y(state.at / 100), y2: y(state.at / 100) }));
    if (whole) {
      parts.push(draw("text", { x: width - 14, y: y(state.at / 100) - 5, "text-anchor": "end" }, `${state.at} %`),
        draw("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, "canvas tokens per step (log scale): more is faster"),
        draw("text", { x: 12, y: (height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(height - bottom) / 2})` }, "right answers, %"));
    }
    const curve = (row) => merged(figures(row, where).points).map(([speed, share]) => `${x(speed).toFixed(1)},${y(share).toFixed(1)}`).join(" ");
    if (whole) {
      for (const row of rows.filter((each) => !shown.includes(each) && drawable(each))) {
        parts.push(draw("polyline", { class: "context", points: curve(row) }));
        for (const [speed, share] of merged(figures(row, where).points)) parts.push(draw("circle", { class: "context", cx: x(speed), cy: y(share), r: 2.5 }));
      }
    }
    beside(shown, where).forEach((each) => parts.push(draw("polyline", { class: each.kind, points: lineOf(each.speeds, x, y) })));
    shown.forEach((row, slot) => {
      if (!figures(row, where)) return;
      parts.push(draw("polyline", { points: curve(row), fill: "none", style: `stroke: ${colour(slot)}`, "stroke-width": 2 }));
      for (const point of figures(row, where).points) {
        const [px, py] = [x(point[SPEED]), y(point[MARK])];
        if (!whole) {
          parts.push(draw("g", { transform: `translate(${px} ${py}) scale(0.6)` }, symbol(slot)));
          continue;
        }
        const mark = draw("g", { class: "point", tabindex: -1, role: "img", "aria-label": speak(row, point) });
        const whisker = (a, b, c, d) => draw("line", { x1: a, y1: b, x2: c, y2: d, style: `stroke: ${colour(slot)}`, "stroke-opacity": 0.55 });
        if (point[MARK_ENDS]) mark.append(whisker(px, y(point[MARK_ENDS][0]), px, y(point[MARK_ENDS][1])));
        if (point[SPEED_ENDS]) mark.append(whisker(x(point[SPEED_ENDS][0]), py, x(point[SPEED_ENDS][1]), py));
        mark.append(draw("g", { transform: `translate(${px} ${py})` }, draw("circle", { class: "halo", r: 11 }), symbol(slot)));
        const tell = () => { find("-readout").textContent = `${speak(row, point)}.`; };
        mark.addEventListener("pointerenter", tell);
        mark.addEventListener("focus", tell);
        parts.push(mark);
      }
    });
    picture.replaceChildren(...parts);
  };

  const drawCurves = (rows, shown) => {
    const where = scope();
    const label = season().scopes[where].label;
    find("-curves-head").textContent = `Accuracy against speed: ${label}`;
    const chart = find("-chart");
    chart.setAttribute("aria-label", `Accuracy against canvas tokens per step, ${label}`);
    figure(chart, rows, shown, where, { width: 760, height: 380, left: 56, bottom: 44 }, true);
    chart.querySelector(".point")?.setAttribute("tabindex", 0);
    find("-readout").textContent = "Point at a mark, or walk there with the arrow keys, to read it.";
    const legend = shown.map((row, slot) => make("li", {}, swatch(slot), make("span", {}, `${row.strategy}, `, ...theirs(row.model, row.letters[1]))));
    for (const each of beside(shown, where)) {
      legend.push(make("li", {}, draw("svg", { viewBox: "-14 -9 28 18", width: 28, height: 18, "aria-hidden": "true" },
        draw("line", { class: each.kind, x1: -14, x2: 14, y1: 0, y2: 0 })), each.title));
    }
    if (!season().bound) legend.push(make("li", { class: "quiet" }, "no bound is drawn: that of this season is not known"));
    if (rows.some((row) => !shown.includes(row) && drawable(row))) {
      legend.push(make("li", {}, draw("svg", { viewBox: "-14 -9 28 18", width: 28, height: 18, "aria-hidden": "true" },
        draw("line", { class: "context", x1: -14, x2: 14, y1: 0, y2: 0 })), "other rows of the table"));
    }
    find("-legend").replaceChildren(...legend);
    find("-small").replaceChildren(...season().scopes.flatMap((each, place) => {
      if (each.kind !== "task") return [];
      const picture = draw("svg", { class: "chart", role: "img", "aria-label": `Accuracy against canvas tokens per step, ${each.label}` });
      figure(picture, rows, shown, place, { width: 280, height: 170, left: 34, bottom: 24 }, false);
      const button = make("button", { type: "button", title: "Show this task alone" }, each.label);
      button.addEventListener("click", () => { state.scope = each.label; redraw(); pick("scope").focus(); });
      return [make("div", {}, make("h3", {}, button), picture)];
    }));
  };

  find("-chart").addEventListener("keydown", (event) => {
    const marks = [...find("-chart").querySelectorAll(".point")];
    const place = marks.indexOf(document.activeElement);
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: marks.length - 1 }[event.key];
    if (place < 0 || next === undefined) return;
    event.preventDefault();
    const mark = marks[Math.max(0, Math.min(marks.length - 1, next))];
    marks.forEach((each) => each.setAttribute("tabindex", each === mark ? 0 : -1));
    mark.focus();
  });

  // --- all of it ----------------------------------------------------------------------------

  const pick = (name) => find("-board").querySelector(`[name=${name}]`);
  const fill = (name, values, all) => {
    const options = [...(all ? [make("option", { value: "" }, all)] : []),
      ...values.map(([value, text]) => make("option", { value }, text))];
    pick(name).replaceChildren(...options);
    pick(name).value = state[name];
    if (pick(name).selectedIndex < 0) {
      state[name] = DEFAULTS[name];
      pick(name).value = state[name];
    }
  };
  const same = (values) => [...new Set(values)].sort().map((value) => [value, value]);
  const KINDS = { all: "", category: "family ", task: "task " };

  const redraw = () => {
    const { rows, scopes, sections } = season();
    fill("season", SEASONS.map((each) => [each.name, each.title]));
    fill("scope", scopes.map((each) => [each.label, `${KINDS[each.kind]}${each.label}`]));
    fill("section", sections.map((each) => [each.title, each.title]), "all");
    for (const name of ["division", "model"]) fill(name, same(rows.map((row) => row[name])), "all");
    fill("level", LEVELS.slice(1).map((level, place) => [level, place < LEVELS.length - 2 ? `${level} or higher` : level]), "all");
    pick("text").value = state.text;
    find("-at").value = String(state.at);
    find("-at-told").textContent = `${state.at} %`;
    const speeds = rows.flatMap((row) => row.figures.flatMap((own) => own?.points.map((point) => point[SPEED_ENDS]?.[1] ?? point[SPEED]) ?? []));
    reach = 2 ** Math.max(1, Math.ceil(Math.log2(Math.max(2, ...speeds.filter((speed) => speed !== null)))));
    const found = kept();
    const shown = shownRows(found);
    drawTable(found, shown);
    drawCurves(found, shown);
    address();
  };

  for (const name of ["season", "scope", "section", "division", "level", "model"]) {
    pick(name).addEventListener("change", () => {
      state[name] = pick(name).value;
      if (name === "season") state.scope = season().scopes[0].label;
      redraw();
    });
  }
  pick("text").addEventListener("input", () => { state.text = pick("text").value; redraw(); });
  find("-at").addEventListener("input", () => { state.at = Number(find("-at").value); redraw(); });
  window.addEventListener("hashchange", () => {
    // An address of a part of the page asks for nothing of the table.
    if (!location.hash.startsWith("#-")) { follow(); redraw(); }
  });
  find("-table").parentElement.before(make("div", { class: "tools" }, page.chooser(choice, chosen, choose),
    page.saver(() => page.save("board", page.contents(find("-table"))))));
  document.querySelectorAll(".needs-script").forEach((element) => { element.hidden = false; });
  const part = location.hash.startsWith("#-") ? location.hash : "";
  if (!part) follow();
  redraw();
  if (part) find(part.slice(1))?.scrollIntoView();
})();
