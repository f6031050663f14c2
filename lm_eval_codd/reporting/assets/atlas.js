"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/gu;
  const SIGNS = { reproduced: "=", differs: "≠", "not comparable": "~", implausible: "!", "not run": "" };

  // Everything printed or measured becomes text here and nowhere markup.
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === false) continue;
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else made.setAttribute(key, value);
    }
    made.append(...children.map((child) => (child instanceof Node ? child : String(child).replace(UNSEEN, "\ufffd"))));
    return made;
  }

  const marks = new Map();
  const shown = new Set(data.verdicts);

  function mark(cell) {
    const made = element("button", {
      type: "button", class: cell.can_run ? "mark ready" : "mark", "data-verdict": cell.verdict,
      title: `${cell.id}: ${cell.figure}, ${cell.verdict}`,
      "aria-label": `${cell.id}: ${cell.figure}, ${cell.verdict}`, onclick: () => open(cell, true),
    }, SIGNS[cell.verdict]);
    marks.set(cell, made);
    return made;
  }

  // About twice as wide as high, and no wider than a column may be.
  function box(cells) {
    const made = element("div", { class: "marks" }, ...cells.map(mark));
    made.style.setProperty("--columns", Math.min(10, Math.ceil(Math.sqrt(2 * cells.length))));
    return made;
  }

  function showGrid() {
    const places = new Map();
    for (const cell of data.cells) {
      const place = `${cell.source} ${cell.benchmark}`;
      places.set(place, [...(places.get(place) ?? []), cell]);
    }
    const head = element("tr", {}, element("th", { scope: "col" }, "source"),
      ...data.benchmarks.map((name) => element("th", { scope: "col" }, name.replaceAll("_", " "))));
    const rows = data.sources.map((source) => element("tr", {}, element("th", { scope: "row" }, source.name),
      ...data.benchmarks.map((name) => element("td", {}, box(places.get(`${source.name} ${name}`) ?? [])))));
    byId("grid").append(element("thead", {}, head), element("tbody", {}, ...rows));
  }

  function showLegend() {
    for (const verdict of data.verdicts) {
      const count = data.cells.filter((cell) => cell.verdict === verdict).length;
      const box = element("input", { type: "checkbox", checked: "", onchange: () => {
        if (box.checked) shown.add(verdict);
        else shown.delete(verdict);
        for (const [cell, made] of marks) made.hidden = !shown.has(cell.verdict);
      } });
      byId("legend").append(element("label", {}, box,
        element("span", { class: verdict === "not run" ? "mark ready" : "mark", "data-verdict": verdict }, SIGNS[verdict]),
        `${verdict} (${count})`));
    }
    const dotted = element("span", { class: "mark", "data-verdict": "not run" });
    byId("legend").append(element("label", {}, dotted, "dotted: nothing here runs it"));
  }

  const list = (pairs) => element("dl", {}, ...Object.entries(pairs).flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, value)]));

  const table = (header, rows) => element("div", { class: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, ...header.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...rows)));

  const row = (cells, current = false) =>
    element("tr", { "aria-current": current && "true" }, ...cells.map((value) => element("td", {}, value)));

  function measured(cell) {
    const told = cell.readings.map((one) =>
      row([one.metric, one.text, (one.difference > 0 ? "+" : "") + one.difference.toFixed(2), one.seen]));
    return told.length ? [element("h3", {}, `Measured by ${cell.run}`),
      table(["figure", "value and interval", "difference", "seen from"], told)] : [];
  }

  function printed(cell) {
    const twins = data.cells.filter((other) => other.model === cell.model && other.benchmark === cell.benchmark);
    const rows = [...twins.map((other) => ({ value: other.value, made: row([
      other === cell ? other.id : element("button", { type: "button", class: "link", onclick: () => open(other, true) }, other.id),
      other.figure, other.source, other.facts.method ?? "", other.verdict], other === cell) })),
      ...cell.others.map((other) => ({ value: parseFloat(other.value), made: row([
        `${cell.id}, measured again`, other.value, other.by, other.differs, other.where]) }))];
    rows.sort((a, b) => (Number.isNaN(a.value) - Number.isNaN(b.value)) || b.value - a.value);
    const values = twins.map((other) => other.value);
    const title = `Printed for ${cell.model} on ${cell.benchmark}: ${values.length} figures, ` +
      `${Math.min(...values)} to ${Math.max(...values)}`;
    return [element("h3", {}, title), table(["cell", "figure", "by", "how", "verdict or place"], rows.map(({ made }) => made))];
  }

  function answers(cell) {
    if (!cell.answers.length) return [];
    return [element("h3", {}, `The first ${cell.answers.length} answers`), ...cell.answers.map(([id, score, prompt, text, read]) =>
      element("details", {}, element("summary", {}, element("span", { class: score ? "right" : "wrong" },
        score ? "right" : "wrong"), ` document ${id}: ${read}`.slice(0, 120)),
      element("h4", {}, "Prompt"), element("pre", {}, prompt), element("h4", {}, "Answer"), element("pre", {}, text)))];
  }

  function open(cell, scrolls) {
    for (const [other, made] of marks) made.setAttribute("aria-current", String(other === cell));
    const commands = cell.commands.length ? cell.commands.map((text) => element("pre", {}, text))
      : [element("p", {}, "Nothing here runs it.")];
    byId("cell").replaceChildren(
      element("h2", {}, `${cell.id}: ${cell.figure}`),
      element("p", {}, element("span", { class: "verdict", "data-verdict": cell.verdict }, cell.verdict),
        cell.reasons.length ? `: ${cell.reasons.join("; ")}` : ""),
      ...measured(cell),
      element("div", { class: "columns" },
        element("div", {}, element("h3", {}, "What it is"), list({ source: cell.source, model: cell.model, ...cell.facts })),
        element("div", {}, element("h3", {}, "Settings as stated"),
          Object.keys(cell.settings).length ? list(cell.settings) : element("p", {}, "None."))),
      element("h3", {}, "Command"), ...commands, ...answers(cell), ...printed(cell));
    if (scrolls) byId("cell").scrollIntoView({ block: "start" });
  }

  function showSources() {
    for (const source of data.sources) {
      byId("sources").append(element("details", {}, element("summary", {}, `${source.name}: ${source.about.title}`),
        element("p", {}, source.conclusion), list(source.about)));
    }
  }

  byId("title").textContent = data.title;
  showLegend();
  showGrid();
  showSources();
  const measuredOnes = data.cells.filter((cell) => cell.readings.length);
  if (data.cells.length) open(measuredOnes[0] ?? data.cells.find((cell) => cell.can_run) ?? data.cells[0], false);
})();
