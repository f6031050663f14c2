"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);

  // What a browser cannot show of a name or an answer: control characters and halves of surrogate pairs.
  const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/gu;

  // Everything measured becomes text here and nowhere markup.
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else made.setAttribute(key, value);
    }
    made.append(...children.map((child) => (child instanceof Node ? child : String(child).replace(UNSEEN, "\ufffd"))));
    return made;
  }

  const figure = (value) => {
    const text = String(value ?? "").replaceAll(",", "");
    const found = text.match(/^\s*<?([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/i);
    return found ? Number(found[1]) : null;
  };

  // Figures by size, then words by alphabet; a cell without a value stays last either way.
  function compare(a, b, sign) {
    const empty = (value) => value === "" || value === "-" || value == null;
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    const x = figure(a), y = figure(b);
    if (x !== null && y !== null) return sign * (x - y);
    if ((x === null) !== (y === null)) return x === null ? 1 : -1;
    return sign * String(a).localeCompare(String(b));
  }

  function sortableTable(caption, header, rows, labels, makeRow) {
    const body = element("tbody");
    const show = (sorted) => body.replaceChildren(...sorted.map(makeRow));
    const heads = header.map((text, column) => {
      const head = element("th", { scope: "col" });
      head.className = column < labels ? "label" : "";
      head.append(element("button", { type: "button", onclick: () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
        show([...rows].sort((a, b) => compare(a.cells[column], b.cells[column], sign)));
      } }, text));
      return head;
    });
    show(rows);
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body);
    // A heading above, not a caption: that one would be as wide as the table and scroll away with it.
    const heading = caption ? [element("h4", { class: "caption" }, caption)] : [];
    return element("div", {}, ...heading, element("div", { class: "scroll" }, table));
  }

  const cellOf = (text, isLabel) => element("td", isLabel ? { class: "label" } : {}, text ?? "");

  function showTables() {
    const section = byId("tables");
    let group = "";
    for (const table of data.tables) {
      if (table.group !== group) section.append(element("h3", {}, table.group));
      group = table.group;
      const rows = table.rows.map((cells) => ({ cells }));
      section.append(sortableTable(table.title, table.header, rows, table.num_labels, (row) =>
        element("tr", {}, ...row.cells.map((text, i) => cellOf(text, i < table.num_labels)))));
      section.append(...table.notes.map((note) => element("p", { class: "note" }, note)));
    }
    if (!data.tables.length) section.append(element("p", {}, "There is nothing to show."));
    if (data.remarks.length) {
      section.append(element("h3", {}, "Not in these tables"));
      section.append(element("ul", {}, ...data.remarks.map((text) => element("li", {}, text))));
    }
  }

  function showPlots() {
    const images = data.plots.map((plot) => element("img", { src: plot.source, alt: plot.name }));
    byId("plots").append(element("div", { class: "plots" }, ...images));
    if (!data.plots.length) byId("plots").append(element("p", {}, "There is nothing to plot."));
  }

  const asText = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));

  function details(run) {
    const pairs = [...Object.entries(run.settings), ...Object.entries(run.details)];
    return element("dl", {}, ...pairs.flatMap(([name, value]) =>
      [element("dt", {}, name), element("dd", {}, asText(value))]));
  }

  function showRuns() {
    const labels = ["run", "benchmark", "system", "rule"];
    const header = [...labels, "steps", "percent", "n", "unreadable", "nfe", "seconds_per_sample", "metric", "status"];
    const rows = data.runs.map((run) => ({ run, cells: header.map((name) => (name === "run" ? run.name : run[name])) }));
    const round = (value) => (typeof value === "number" && !Number.isInteger(value) ? value.toFixed(2) : value ?? "");
    byId("runs").append(sortableTable("", header, rows, labels.length, ({ run, cells }) => {
      const open = element("button", { type: "button", "aria-expanded": "false" }, run.name);
      const row = element("tr", { class: "run", onclick: () => {
        const isOpen = row.nextSibling?.classList?.contains("details");
        open.setAttribute("aria-expanded", String(!isOpen));
        if (isOpen) row.nextSibling.remove();
        else row.after(element("tr", { class: "details" },
          element("td", { class: "label", colspan: header.length }, details(run))));
      } }, element("td", { class: "label" }, open), ...cells.slice(1).map((value, i) => cellOf(round(value), i + 1 < labels.length)));
      return row;
    }));
  }

  // Runs with answers, by benchmark: [place in data.runs].
  const tasks = new Map();
  data.answers.forEach((answers, place) => {
    if (answers === null) return;
    const task = data.runs[place].benchmark;
    tasks.set(task, [...(tasks.get(task) ?? []), place]);
  });

  const options = (select, values) =>
    select.replaceChildren(...values.map(([value, text]) => element("option", { value }, text)));

  // Runs by what tells them apart: system and steps, then whatever else is not the same in all of them.
  function labels(places) {
    const facts = (run) => ({ rule: run.rule, checkpoint: run.details.checkpoint, circuit: run.details.circuit,
      ...run.details.task_arguments, ...run.settings });
    const differs = (name, among) => new Set(among.map((place) => asText(facts(data.runs[place])[name]))).size > 1;
    const named = places.map((place) => {
      const { system, rule, steps } = data.runs[place];
      return [system, ...(differs("rule", places) ? [rule] : []), typeof steps === "number" ? `${steps} steps` : steps]
        .filter(Boolean).join(", ");
    });
    return places.map((place, i) => {
      const twins = places.filter((_, j) => named[j] === named[i]);
      const own = facts(data.runs[place]);
      const rest = Object.keys(own).filter((name) => differs(name, twins)).map((name) => `${name}=${asText(own[name])}`);
      const name = twins.length > 1 && !rest.length ? [data.runs[place].name] : rest;
      const { percent } = data.runs[place];
      return [named[i], ...name].join(", ") + (percent === null ? "" : `: ${percent.toFixed(1)} %`);
    });
  }

  function chooseTask() {
    const places = tasks.get(byId("task").value) ?? [];
    const shown = labels(places);
    const order = places.map((place, i) => [place, shown[i]]);
    options(byId("run-a"), order);
    options(byId("run-b"), order);
    const alike = (a, b) => Object.keys(data.answers[a] ?? {}).some((place) => place in (data.answers[b] ?? {}));
    // The base and the CoDD run of one rule and number of steps, over the same prompts, that are farthest apart; else
    // the first two.
    const pairs = places.flatMap((a) => places.filter((b) => data.runs[a].system === "base" &&
      data.runs[b].system !== "base" && data.runs[b].rule === data.runs[a].rule &&
      data.runs[b].steps === data.runs[a].steps && alike(a, b)).map((b) => [a, b]));
    const gap = ([a, b]) => Math.abs(data.runs[b].percent - data.runs[a].percent);
    const [a, b] = pairs.sort((x, y) => gap(y) - gap(x))[0] ?? [places[0], places[1] ?? places[0]];
    byId("run-a").value = a;
    byId("run-b").value = b;
    showList();
  }

  const FILTERS = {
    all: () => true,
    differ: (a, b) => a !== b,
    a: (a, b) => a === 1 && b !== 1,
    b: (a, b) => b === 1 && a !== 1,
    wrong: (a, b) => a !== 1 && b !== 1,
  };

  const ROWS = 500;

  function showList() {
    const a = data.answers[byId("run-a").value] ?? {}, b = data.answers[byId("run-b").value] ?? {};
    const shared = Object.keys(a).filter((place) => place in b);
    const wanted = byId("search").value.toLowerCase();
    const matches = (place) => !wanted || [data.documents[place].prompt, a[place][1], b[place][1]]
      .some((text) => text.toLowerCase().includes(wanted));
    const keep = FILTERS[byId("filter").value];
    const found = shared.filter((place) => keep(a[place][0], b[place][0]) && matches(place))
      .sort((x, y) => data.documents[x].id - data.documents[y].id);
    const left = data.left_out ? `; up to ${data.left_out} documents of a run are in its samples file only` : "";
    byId("count").textContent = `${found.length} of ${shared.length} documents that both runs answered${left}`;
    const makeRow = (place) => {
      const scores = [a, b].map((run) => mark(run[place][0]));
      const button = element("button", { type: "button", onclick: () => {
        byId("list").querySelector("[aria-current]")?.removeAttribute("aria-current");
        button.setAttribute("aria-current", "true");
        showItem(place);
      } }, `${data.documents[place].id}  A `, scores[0], "  B ", scores[1]);
      return element("li", {}, button);
    };
    // A browser takes seconds for ten thousand buttons, so that there are some, and more of them when asked for.
    const showMore = (start) => {
      byId("list").append(...found.slice(start, start + ROWS).map(makeRow));
      const rest = found.length - start - ROWS;
      if (rest <= 0) return;
      const more = element("button", { type: "button", class: "more", onclick: () => {
        more.parentNode.remove();
        showMore(start + ROWS);
      } }, `${rest} more`);
      byId("list").append(element("li", {}, more));
    };
    byId("list").replaceChildren();
    showMore(0);
    byId("item").replaceChildren();
    byId("list").querySelector("button")?.click();
  }

  const mark = (score) => element("span", { class: score === 1 ? "right" : "wrong" }, score === 1 ? "✓" : "✗");
  const verdict = (score) => (score === 1 ? "right" : score === 0 ? "wrong" : `scores ${score}`);

  function showItem(place) {
    const side = (letter) => {
      const [score, answer, extracted] = data.answers[byId(`run-${letter}`).value][place];
      return element("div", {},
        element("h3", {}, `${letter.toUpperCase()}: `,
          element("span", { class: score === 1 ? "right" : "wrong" }, verdict(score))),
        element("pre", {}, answer), element("p", { class: "note" }, "what was scored"), element("pre", {}, extracted));
    };
    const { id, prompt, target } = data.documents[place];
    byId("item").replaceChildren(
      element("h3", {}, `Document ${id}`), element("pre", { id: "prompt" }, prompt),
      element("p", { class: "note" }, "target"), element("pre", {}, target),
      element("div", { class: "answers" }, side("a"), side("b")));
  }

  function showItems() {
    if (!tasks.size) {
      byId("items").replaceChildren(element("h2", {}, "Answers"), element("p", {}, "No run has a samples file."));
      return;
    }
    options(byId("task"), [...tasks.keys()].map((task) => [task, task]));
    byId("choice").addEventListener("submit", (event) => event.preventDefault());
    byId("task").addEventListener("change", chooseTask);
    for (const id of ["run-a", "run-b", "filter"]) byId(id).addEventListener("change", showList);
    byId("search").addEventListener("input", showList);
    chooseTask();
  }

  document.title = data.title;
  byId("title").textContent = data.title;
  showTables();
  showPlots();
  showRuns();
  showItems();
})();
