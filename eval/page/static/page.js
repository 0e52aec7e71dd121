"use strict";
/* The list of cases: filters, order, keys, links. `data/index.js` calls PAGE.index, the files of cases PAGE.chunk. */

const PAGE = (() => {
  const { el, sign, number } = CASE;
  const ROW = 58; // pixels, as .row in page.css
  const $ = (id) => document.getElementById(id);
  const chunks = new Map(); // number -> {promise, resolve, cases}
  let data, total, order = [], at = -1, fields = {}, families = new Map(), query = 0;

  function index(found) {
    data = found;
    total = data.columns.index.length;
    for (let n = 0; n < total; n++) {
      const key = family(n);
      if (key !== null) families.set(key, [...(families.get(key) ?? []), n]);
    }
    buildFilters();
    $("legend").append(...CASE.legend());
    $("list").addEventListener("scroll", drawRows, { passive: true });
    addEventListener("resize", drawRows);
    addEventListener("hashchange", () => goToHash());
    document.addEventListener("keydown", keys);
    filter().then(async () => {
      if (!(await goToHash())) await choose(0, false);
      document.documentElement.dataset.ready = performance.now().toFixed(0); // milliseconds, for tests
    });
  }

  /** What stays together over steps or turns: the prompt of rollouts, a conversation; null for what stands alone. */
  function family(n) {
    if (data.kind === "rollouts") return `${data.columns.id[n]}\n${data.columns.question[n]}`;
    return data.columns.talk[n] < 0 ? null : data.columns.talk[n];
  }

  // Files of cases

  function load(number) {
    if (!chunks.has(number)) {
      const entry = {};
      entry.promise = new Promise((resolve, reject) => {
        entry.resolve = resolve;
        const script = el("script", { src: `data/${number}.js` });
        script.onerror = () => reject(new Error(`data/${number}.js is missing; write the page again`));
        document.head.append(script);
      });
      chunks.set(number, entry);
    }
    return chunks.get(number).promise;
  }

  function chunk(number, cases) {
    chunks.get(number).resolve(cases);
  }

  async function detail(n) {
    return (await load(Math.floor(n / data.chunk)))[n % data.chunk];
  }

  /** The text of all cases of a file in lower case, kept for the next search. */
  async function texts(number) {
    const cases = await load(number);
    const entry = chunks.get(number);
    entry.texts ??= cases.map((one, offset) => {
      const n = number * data.chunk + offset;
      const read = one.readings.filter(Boolean).flatMap((r) => [r.raw ?? "", r.text.map((s) => s[0]).join(""), r.read ?? "", r.note]);
      return [data.columns.id[n], one.question, ...one.options, one.answer, one.reasoning, one.report, ...read].join("\n").toLowerCase();
    });
    return entry.texts;
  }

  // Filters

  function select(name, title, values) {
    const options = values.map(([value, text]) => el("option", { value }, text));
    fields[name] = el("select", { name, onchange: filter }, ...options);
    return el("label", {}, title, fields[name]);
  }

  function input(name, title, attributes) {
    fields[name] = el("input", { name, ...attributes });
    const check = attributes.type === "checkbox";
    return el("label", { class: check ? "check" : null }, ...(check ? [fields[name], title] : [title, fields[name]]));
  }

  function numbered(values) {
    return values.map((value, n) => [String(n), value]);
  }

  function buildFilters() {
    const rollouts = data.kind === "rollouts";
    const metrics = data.metrics.map((name) => [name, name.replaceAll("_", " ")]);
    const orders = [["", "as they come"], ["id", "id"], ["spread", "models farthest apart"]];
    for (const [name, text] of metrics) orders.push([`up ${name}`, `${text}, lowest first`], [`down ${name}`, `${text}, highest first`]);
    let timer;
    const later = () => { clearTimeout(timer); timer = setTimeout(filter, 200); };
    const controls = [
      input("search", "Search all texts (/)", { type: "search", oninput: later }),
      rollouts && data.tables.length > 1 ? stepSlider() : null,
      select("table", rollouts ? "Step" : "Table", [["", "all"], ...numbered(data.tables)]),
      select("right", "Answer", [["", "any"], ["1", "right"], ["0", "wrong"], ["-", "not judged"]]),
      data.rules.length > 1 ? select("rule", "by rule", data.rules.map((rule) => [rule, rule])) : null,
      data.labels.length > 1
        ? select("label", rollouts ? "of sample" : "of model", [["", "any"], ["all", "every one"], ...data.labels.map((label, n) => [`=${n}`, label])])
        : null,
      data.classes.length ? select("class", "Class", [["", "any"], ...numbered(data.classes)]) : null,
      ...Object.entries(data.about).map(([name, { values }]) => select(`about ${name}`, name, [["", "any"], ...numbered(values)])),
      metrics.length ? select("metric", "Score", metrics) : null,
      input("low", "at least", { type: "number", step: "any", oninput: later }),
      input("high", "at most", { type: "number", step: "any", oninput: later }),
      data.labels.length > 1 ? input("differ", rollouts ? "samples differ" : "models differ", { type: "checkbox", onchange: filter }) : null,
      data.rules.length > 1 ? input("rules", "rules differ", { type: "checkbox", onchange: filter }) : null,
      select("sort", "Order", orders),
      el("button", { type: "button", onclick: () => reset() }, "Reset"),
      el("button", { type: "button", onclick: () => $("help").showModal() }, "Keys (?)"),
    ];
    $("filters").append(...controls.filter(Boolean));
    $("filters").addEventListener("submit", (event) => event.preventDefault());
  }

  function stepSlider() {
    const shown = el("output", {}, "all");
    const slider = el("input", {
      type: "range", min: -1, max: data.tables.length - 1, value: -1, "aria-label": "Step, all at the left end",
      oninput: () => { fields.table.value = slider.value < 0 ? "" : slider.value; filter(); },
    });
    fields.slide = () => {
      slider.value = fields.table.value === "" ? -1 : fields.table.value;
      const words = slider.value < 0 ? "all steps" : data.tables[slider.value];
      shown.textContent = words;
      slider.setAttribute("aria-valuetext", words);
    };
    return el("label", { class: "step" }, el("span", {}, "Watch: ", shown), slider);
  }

  function reset() {
    $("filters").reset();
    return filter();
  }

  function value(name) {
    return fields[name]?.value ?? "";
  }

  /** Whether a case passes all filters but the search. */
  function passes(n, rule, labels) {
    const { columns } = data;
    if (value("table") !== "" && columns.table[n] !== Number(value("table"))) return false;
    if (value("class") !== "" && !columns.classes[n].includes(Number(value("class")))) return false;
    for (const [name, { of }] of Object.entries(data.about)) {
      const wanted = value(`about ${name}`);
      if (wanted !== "" && of[n] !== Number(wanted)) return false;
    }
    const there = labels.filter((label) => data.right[rule][label][n] !== " ");
    const every = value("label") === "all" ? "every" : "some";
    if (value("right") && !there[every]((label) => data.right[rule][label][n] === value("right"))) return false;
    if (value("low") !== "" || value("high") !== "") {
      const low = value("low") === "" ? -Infinity : Number(value("low"));
      const high = value("high") === "" ? Infinity : Number(value("high"));
      const scores = data.scores[value("metric")];
      if (!there[every]((label) => scores[label][n] !== null && low <= scores[label][n] && scores[label][n] <= high)) return false;
    }
    if (fields.differ?.checked && new Set(signs(n, rule)).size < 2) return false;
    if (fields.rules?.checked && !there.some((label) => new Set(data.rules.map((one) => data.right[one][label][n])).size > 1)) return false;
    return true;
  }

  function signs(n, rule) {
    return data.labels.map((label) => data.right[rule][label][n]).filter((one) => one !== " ");
  }

  async function filter() {
    const mine = ++query;
    const rule = value("rule") || data.rules[0];
    const labels = value("label").startsWith("=") ? [data.labels[Number(value("label").slice(1))]] : data.labels;
    const before = order[at];
    let found = [];
    for (let n = 0; n < total; n++) if (passes(n, rule, labels)) found.push(n);
    const words = value("search").toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) {
      const kept = [];
      for (const n of found) {
        const number = Math.floor(n / data.chunk);
        if (!chunks.get(number)?.texts) {
          $("count").textContent = `searching, ${n.toLocaleString("en")} of ${total.toLocaleString("en")} …`;
          await texts(number);
          if (mine !== query) return;
        }
        const text = chunks.get(number).texts[n % data.chunk];
        if (words.every((word) => text.includes(word))) kept.push(n);
      }
      found = kept;
    }
    order = sorted(found, rule, labels);
    fields.slide?.();
    $("count").textContent = `${order.length.toLocaleString("en")} of ${total.toLocaleString("en")} cases`;
    at = order.indexOf(before);
    if (at < 0) $("list").scrollTop = 0;
    drawRows();
    if (at < 0 && before !== undefined && order.length) await choose(0, false);
    if (mine !== query) return;
    if (!order.length) $("case").replaceChildren(el("p", {}, "No case passes the filters."));
    $("count").dataset.filters = new URLSearchParams(new FormData($("filters"))); // what the list shows, for tests
  }

  function sorted(found, rule, labels) {
    const [way, metric] = value("sort").split(/ (.*)/);
    if (way === "id") {
      return found.sort((a, b) => data.columns.id[a].localeCompare(data.columns.id[b], "en", { numeric: true }) || a - b);
    }
    if (!way) return found;
    const name = way === "spread" ? value("metric") : metric;
    const key = new Map(found.map((n) => {
      const scores = (way === "spread" ? data.labels : labels).map((label) => data.scores[name]?.[label][n] ?? null).filter((one) => one !== null);
      if (!scores.length) return [n, Infinity];
      if (way === "spread") return [n, Math.min(...scores) - Math.max(...scores)];
      const mean = scores.reduce((a, b) => a + b) / scores.length;
      return [n, way === "up" ? mean : -mean];
    }));
    return found.sort((a, b) => (key.get(a) === key.get(b) ? a - b : key.get(a) - key.get(b)));
  }

  // The list: only the rows in sight are elements

  function drawRows() {
    const list = $("list");
    $("rows").style.height = `${order.length * ROW}px`;
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
    const last = Math.min(order.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 5);
    const rows = [];
    for (let place = first; place < last; place++) rows.push(row(place));
    $("rows").replaceChildren(...rows);
    if (at >= 0) list.setAttribute("aria-activedescendant", `row-${order[at]}`);
  }

  function row(place) {
    const n = order[place];
    const rule = value("rule") || data.rules[0];
    const shown = data.labels.filter((label) => data.right[rule][label][n] !== " ");
    const score = data.scores[value("metric")];
    const scores = score ? shown.map((label) => (score[label][n] === null ? "–" : score[label][n].toFixed(2))).join(" ") : "";
    return el("div", {
      id: `row-${n}`, class: "row", role: "option", style: `top:${place * ROW}px`,
      "aria-selected": String(place === at), "aria-posinset": place + 1, "aria-setsize": order.length,
      onclick: () => choose(place),
    },
    el("div", {}, ...shown.flatMap((label) => [sign(data.right[rule][label][n], label), " "]), data.columns.question[n]),
    el("div", { class: "soft" }, `${title(n)} · ${scores}`));
  }

  function title(n) {
    const place = data.kind === "rollouts" ? "" : ` ${data.columns.index[n]}`;
    return `${data.tables[data.columns.table[n]]}${place} · ${data.columns.id[n]}`;
  }

  // One case

  async function choose(place, link = true) {
    if (place < 0 || place >= order.length) return;
    at = place;
    const n = order[at];
    const list = $("list");
    if (at * ROW < list.scrollTop) list.scrollTop = at * ROW;
    else if ((at + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (at + 1) * ROW - list.clientHeight;
    drawRows();
    if (link) history.replaceState(null, "", hash(n));
    let told;
    try {
      told = await detail(n);
    } catch (error) {
      $("case").replaceChildren(el("p", {}, error.message));
      return;
    }
    if (order[at] !== n) return;
    const right = Object.fromEntries(data.labels.map((label) => [label, Object.fromEntries(data.rules.map((rule) => [rule, data.right[rule][label][n]]))]));
    const moves = el("p", { class: "moves" },
      el("button", { type: "button", onclick: () => choose(at - 1), disabled: at === 0 }, "← previous (k)"), " ",
      el("button", { type: "button", onclick: () => choose(at + 1), disabled: at === order.length - 1 }, "next (j) →"),
      ` ${(at + 1).toLocaleString("en")} of ${order.length.toLocaleString("en")}`);
    const labels = data.kind === "rollouts" ? data.labels.map((label) => `sample ${label}`) : data.labels;
    const named = data.kind === "rollouts" ? Object.fromEntries(data.labels.map((label) => [`sample ${label}`, right[label]])) : right;
    $("case").replaceChildren(...CASE.render(told, labels, named, { title: title(n), link: hash(n), moves, siblings: siblings(n) }));
  }

  /** Links to the same prompt at other steps, or to the other turns of the conversation. */
  function siblings(n) {
    const all = families.get(family(n)) ?? [];
    if (all.length < 2) return null;
    const rollouts = data.kind === "rollouts";
    const links = all.flatMap((other) => {
      const text = rollouts ? data.tables[data.columns.table[other]] : `turn ${all.indexOf(other) + 1}`;
      return [other === n ? el("b", { "aria-current": "true" }, text) : el("a", { href: hash(other) }, text), " "];
    });
    return el("p", {}, rollouts ? "The same prompt at: " : "The conversation: ", ...links);
  }

  function hash(n) {
    return `#case=${encodeURIComponent(data.tables[data.columns.table[n]])}/${data.columns.index[n]}`;
  }

  /** Shows the case that the address names; whether it names one. */
  async function goToHash() {
    const match = /^#case=(.*)\/(-?\d+)$/.exec(location.hash);
    if (!match) return false;
    let table;
    try {
      table = data.tables.indexOf(decodeURIComponent(match[1]));
    } catch {
      return false; // no address of ours
    }
    const n = data.columns.index.findIndex((one, place) => one === Number(match[2]) && data.columns.table[place] === table);
    if (n >= 0) await goTo(n);
    return n >= 0;
  }

  async function goTo(n) {
    if (!order.includes(n)) await reset();
    await choose(order.indexOf(n));
    $("cases").scrollIntoView();
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const move = { j: 1, k: -1 }[event.key] ?? (event.target === $("list") ? { ArrowDown: 1, ArrowUp: -1 }[event.key] : undefined);
    const jump = { g: 0, G: order.length - 1 }[event.key];
    const step = { n: 1, p: -1 }[event.key];
    if (move) choose(at + move);
    else if (jump !== undefined) choose(jump);
    else if (step && at >= 0) {
      const all = families.get(family(order[at])) ?? [];
      const other = all[all.indexOf(order[at]) + step];
      if (other !== undefined) goTo(other);
    } else if (event.key === "/") fields.search.focus();
    else if (event.key === "?") $("help").showModal();
    else if (event.key === "Escape") document.querySelectorAll(".whole").forEach((one) => one.classList.remove("whole"));
    else return;
    event.preventDefault();
  }

  return { index, chunk };
})();
