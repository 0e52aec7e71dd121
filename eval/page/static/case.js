"use strict";
/* One case as elements. Whatever a model wrote goes into the page as text, never as HTML. */

const CASE = (() => {
  const WORD = { 1: "right", 0: "wrong", "-": "not judged" };
  const SIGN = { 1: "✓", 0: "✗", "-": "–" };
  const CLASS = { 1: "right", 0: "wrong", "-": "none" };
  /** A box in a text: x0, y0, x1, y1 in percent of the first picture. */
  const BOX = /\[\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*\]/g;
  const MOST_BOXES = 50;
  const VERDICTS = ["supported", "partial", "unsupported", "contradicted", "repeated"];

  /** An element with attributes and children: elements, or texts. */
  function el(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== ""));
    return made;
  }

  /** The sign of a verdict on an answer, with its word for those who cannot see it. */
  function sign(right, rule) {
    const words = `${rule}: ${WORD[right]}`;
    return el("span", { class: `sign ${CLASS[right]}`, title: words, role: "img", "aria-label": words }, SIGN[right]);
  }

  function number(value) {
    return value === null || value === undefined ? "–" : Math.abs(value) < 10 ? value.toFixed(3) : value.toFixed(1);
  }

  /** The reference's texts, in which the words behind a verdict can be shown. */
  function reference(detail) {
    const panels = [];
    const parts = [["Reference reasoning", detail.reasoning], ["Report", detail.report]];
    const elements = parts.filter(([, text]) => text).flatMap(([title, text]) => {
      const words = el("p", { class: "words" }, text);
      panels.push({ words, text });
      return [el("h3", {}, title), words];
    });
    function show(against) {
      const needles = against.split(" | ").map((part) => part.trim().toLowerCase()).filter(Boolean);
      for (const { words, text } of panels) words.replaceChildren(...cut(text, needles));
    }
    return { elements, show };
  }

  /** A text with the first place of each needle in it marked. */
  function cut(text, needles) {
    const low = text.toLowerCase();
    const spans = needles.map((needle) => [low.indexOf(needle), needle.length]).filter(([start]) => start >= 0);
    const found = [];
    let at = 0;
    for (const [start, length] of spans.sort((a, b) => a[0] - b[0])) {
      if (start < at) continue;
      found.push(text.slice(at, start), el("span", { class: "hit" }, text.slice(start, start + length)));
      at = start + length;
    }
    return [...found, text.slice(at)].filter((part) => part !== "");
  }

  function marks(segments, against, why) {
    let pinned = "";
    return segments.map(([text, verdict, words]) => {
      if (!verdict) return text;
      const said = words ? `${verdict}; the other side says: ${words}` : `${verdict}; the other side says nothing of it`;
      const pin = () => {
        pinned = words;
        against.show(words);
        why.replaceChildren(el("b", {}, text.trim()), `: ${said}`);
      };
      return el("mark", {
        class: VERDICTS.includes(verdict) ? verdict : "repeated",
        title: said,
        tabindex: 0,
        role: "button",
        "aria-label": `${text.trim()}: ${said}`,
        onmouseenter: () => against.show(words),
        onmouseleave: () => against.show(pinned),
        onclick: pin,
        onkeydown: (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          pin();
        },
      }, text);
    });
  }

  function reading(label, told, right, against) {
    const why = el("p", { class: "why soft", "aria-live": "polite" });
    const shown = Object.values(right).find((one) => one !== "-") ?? "-";
    const signs = Object.entries(right).map(([rule, one]) => el("span", { class: "judged" }, `${rule} `, sign(one, rule), ` ${WORD[one]}`));
    const scores = Object.entries(told.scores).map(([name, value]) => `${name.replaceAll("_", " ")} ${number(value)}`);
    return el("section", { class: `reading ${CLASS[shown]}`, "aria-label": `Reading of ${label}` },
      el("h3", {}, label),
      el("p", {}, ...signs),
      el("p", {}, el("b", {}, "Answer: "), told.read || "none that can be read"),
      told.note ? el("p", { class: "soft" }, told.note) : null,
      el("div", { class: "words" }, ...marks(told.text, against, why)),
      told.text.some((segment) => segment[1]) ? why : null,
      told.missed.length ? el("p", { class: "missed" }, el("b", {}, "○ Missed: "), told.missed.join("; ")) : null,
      told.raw !== null ? el("details", {}, el("summary", {}, "As it was written"), el("pre", {}, told.raw)) : null,
      ...told.more.map(([name, text]) => el("details", {}, el("summary", {}, name), el("pre", {}, text))),
      el("p", { class: "soft" }, el("small", {}, scores.join(" · "))));
  }

  /** The boxes of some texts as elements over the picture, each once. */
  function boxes(texts, kind) {
    const found = texts.flatMap((text) => [...text.matchAll(BOX)].map((match) => match.slice(1).map(Number)));
    const fit = found.filter(([x0, y0, x1, y1]) => x0 < x1 && y0 < y1 && x1 <= 100 && y1 <= 100);
    const each = [...new Map(fit.map((box) => [box.join(), box])).values()].slice(0, MOST_BOXES);
    return each.map(([x0, y0, x1, y1]) => el("span", {
      class: `box ${kind}`,
      style: `left:${x0}%;top:${y0}%;width:${x1 - x0}%;height:${y1 - y0}%`,
      title: `${kind}: ${[x0, y0, x1, y1].join(", ")}`,
    }));
  }

  function films(detail) {
    const told = detail.readings.filter(Boolean).map((one) => one.text.map(([text]) => text).join(""));
    const over = [...boxes([detail.answer, detail.reasoning], "reference"), ...boxes(told, "reading")];
    const framed = (image, at) => (at || !over.length ? image : el("div", { class: "film" }, image, ...over));
    return el("div", { class: "films" },
      ...detail.images.map((name, at) => framed(el("img", {
        src: `pictures/${name}`,
        alt: `Picture ${at + 1} of ${detail.images.length}`,
        tabindex: 0,
        onload: (event) => event.target.classList.toggle("small", event.target.naturalWidth < 260),
        onclick: (event) => event.target.classList.toggle("whole"),
        onkeydown: (event) => event.key === "Enter" && event.target.classList.toggle("whole"),
      }), at)),
      over.length ? el("p", { class: "soft" }, el("span", { class: "key reference" }, "reference"), " ",
        el("span", { class: "key reading" }, "as read")) : null,
      ...detail.unseen.map((name) => el("p", { class: "soft" }, `${name} cannot be shown`)),
      detail.images.length + detail.unseen.length ? null : el("p", { class: "soft" }, "No picture"));
  }

  /** All of a case. `head`: {title, link, moves, siblings}; `right`: label -> rule -> sign. */
  function render(detail, labels, right, head) {
    const against = reference(detail);
    const chips = [
      ...Object.entries(detail.about).map(([name, value]) => `${name}: ${value}`),
      ...Object.entries(detail.labels).filter(([, status]) => status !== "absent").map(([name, status]) => `${name}: ${status}`),
    ];
    return [
      el("h3", {}, head.title, " ", el("a", { href: head.link, title: "Link to this case", "aria-label": "Link to this case" }, "#")),
      head.moves,
      head.siblings,
      el("p", { class: "chips" }, ...chips.map((text) => el("span", {}, text))),
      el("div", { class: "asked" },
        films(detail),
        el("div", {},
          el("h3", {}, "Question"),
          el("p", { class: "words" }, detail.question),
          detail.options.length ? el("ul", {}, ...detail.options.map((text) => el("li", {}, text))) : null,
          el("h3", {}, "Reference answer"),
          el("p", { class: "words" }, detail.answer || "–"),
          ...against.elements)),
      el("div", { class: "readings" },
        ...labels.flatMap((label, at) => (detail.readings[at] ? [reading(label, detail.readings[at], right[label], against)] : []))),
    ].filter(Boolean);
  }

  /** What each colour means. */
  function legend() {
    return VERDICTS.flatMap((verdict) => [el("mark", { class: verdict }, verdict), " "]);
  }

  return { el, sign, number, render, legend, WORD };
})();
