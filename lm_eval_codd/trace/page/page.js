"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const numFrames = Math.max(1, ...data.decodes.map((decode) => decode.frames.length));
let shown = 0;
let inspected = null; // a position whose candidates are listed
let timer = null;

// What a browser cannot show of a token: control characters, halves of surrogate pairs, what turns a line's direction.
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/gu;

const visible = (text) => String(text).replace(UNSEEN, "\ufffd");

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = visible(text);
  if (className) made.className = className;
  return made;
}

function tokenText(id) {
  return data.texts[id] ?? "";
}

// [column, token, confidence, committed] and, where the backbone alone differs, its [token, confidence, committed].
function candidate([column, token, confidence, committed, aloneToken, aloneConfidence, aloneCommitted]) {
  const same = aloneToken === undefined;
  return {
    column, token, confidence, committed,
    alone: same ? { token, confidence, committed }
      : { token: aloneToken, confidence: aloneConfidence, committed: aloneCommitted },
  };
}

const changed = (one) => one.token !== one.alone.token;
const promoted = (one) => one.committed && !one.alone.committed;

// 0 to 1: logarithms become likelihoods, and the lead of a candidate may be above 1.
function strength(confidence) {
  if (confidence === null) return 0;
  return Math.min(1, data.is_log ? Math.exp(confidence) : confidence);
}

function canvasAfter(decode, index) {
  const canvas = new Array(decode.length).fill(data.mask);
  for (const frame of decode.frames.slice(0, index + 1)) {
    for (const [column, token] of frame.set) canvas[column] = token;
  }
  return canvas;
}

// Positions whose token a step masked again.
const takenBack = (frame) => frame.set.filter(([, token]) => token === data.mask).map(([column]) => column);

// How each position was decided, by column.
function decisions(decode, index) {
  const found = new Map();
  decode.frames.slice(0, index + 1).forEach((frame, place) => {
    for (const one of frame.candidates.map(candidate)) {
      if (one.committed) found.set(one.column, { ...one, place });
    }
    for (const column of takenBack(frame)) found.delete(column);
  });
  return found;
}

function drawCanvas(decode) {
  const canvas = canvasAfter(decode, shown);
  const before = canvasAfter(decode, shown - 1);
  const decided = decisions(decode, shown);
  const frame = decode.frames[shown];
  const open = new Map((frame ? frame.candidates.map(candidate) : []).map((one) => [one.column, one]));
  const back = new Set(frame ? takenBack(frame) : []);
  const ghosts = by("ghosts").checked;
  const box = element("div", undefined, "canvas");
  let ended = false;
  canvas.forEach((token, column) => {
    const masked = token === data.mask;
    const one = masked ? open.get(column) : decided.get(column);
    const wasTaken = back.has(column);
    const ghost = masked && ghosts && one && !wasTaken;
    // Of what was taken back, the token that stood there; the step itself wrote the mask.
    const text = wasTaken ? tokenText(before[column]) : !masked ? tokenText(token) : ghost ? tokenText(one.token) : "·";
    const cell = element("span", text.replaceAll("\n", "↵\n") || "∅", "token");
    cell.dataset.column = column;
    cell.classList.toggle("masked", masked);
    cell.classList.toggle("back", wasTaken);
    cell.classList.toggle("beyond", ended && !masked);
    if (one && (!masked || ghost)) {
      const now = !masked && one.place === shown;
      cell.classList.toggle("new", now);
      cell.classList.toggle("promoted", now && promoted(one));
      cell.classList.toggle("changed", changed(one));
      const share = Math.round(100 * strength(one.confidence));
      cell.style.borderBottomColor = `color-mix(in srgb, currentColor ${share}%, transparent)`;
    }
    cell.classList.toggle("here", column === inspected);
    box.append(cell);
    if (data.ends.includes(token)) ended = true;
  });
  return box;
}

function drawDecode(decode) {
  const side = element("section");
  const frame = decode.frames[shown];
  let state = "over";
  if (frame) {
    const some = frame.candidates.map(candidate);
    const back = takenBack(frame);
    const committed = some.filter((one) => one.committed && !back.includes(one.column));
    state = `step ${frame.number + 1}: ${committed.length} committed`;
    if (back.length) state += `, ${back.length} taken back`;
    if (frame.circuit) state += `, the circuit changed ${some.filter(changed).length} of ${some.length} candidates`;
    else if (decode.num_circuit) state += ", the circuit rests";
  }
  side.append(element("h2", decode.name), element("p", state, "note"), drawCanvas(decode));
  const sums = `${decode.num_tokens} tokens, NFE ${decode.num_forward}, ${decode.num_circuit} circuit evaluations`;
  side.append(element("p", sums, "note"));
  const answer = element("details");
  answer.append(element("summary", "Answer"), element("pre", decode.answer));
  answer.open = shown === numFrames - 1;
  side.append(answer);
  return side;
}

function drawDetail() {
  const detail = by("detail");
  detail.replaceChildren();
  if (inspected === null) {
    detail.append(element("p", "Point at a token to see its candidates. The arrow keys move a step.", "note"));
    return;
  }
  const table = element("table");
  table.append(element("caption", `Position ${inspected + 1} at step ${shown + 1}`));
  const head = element("tr");
  const confidence = data.is_log ? "log confidence" : "confidence";
  for (const name of ["decode", "candidate", confidence, "the backbone alone", confidence, ""]) {
    head.append(element("th", name));
  }
  table.append(head);
  for (const decode of data.decodes) {
    const row = element("tr");
    row.append(element("th", decode.name));
    const frame = decode.frames[shown];
    const one = frame && frame.candidates.map(candidate).find((some) => some.column === inspected);
    const earlier = decisions(decode, shown).get(inspected);
    if (one) {
      row.append(element("td", quoted(one.token)), number(one.confidence));
      row.append(element("td", quoted(one.alone.token)), number(one.alone.confidence));
      const back = takenBack(frame).includes(inspected);
      const stays = canvasAfter(decode, shown)[inspected] === data.mask ? "stays masked" : "stays";
      row.append(element("td", back ? "taken back" : one.committed ? "committed" : stays));
    } else if (earlier) {
      row.append(element("td", quoted(earlier.token)), number(earlier.confidence));
      row.append(element("td", quoted(earlier.alone.token)), number(earlier.alone.confidence));
      row.append(element("td", `committed at step ${decode.frames[earlier.place].number + 1}`));
    } else {
      const cell = element("td", "not looked at in this step");
      cell.colSpan = 5;
      row.append(cell);
    }
    table.append(row);
  }
  detail.append(table);
}

// As it is listed: the mask has a sign, as on the canvas.
function quoted(id) {
  return id === data.mask ? "·" : JSON.stringify(tokenText(id));
}

function number(value) {
  return element("td", value === null ? "-∞" : value.toFixed(3), "number");
}

function show(index) {
  shown = Math.min(Math.max(index, 0), numFrames - 1);
  by("slider").value = shown;
  by("place").textContent = `${shown + 1} of ${numFrames}`;
  by("decodes").replaceChildren(...data.decodes.map(drawDecode));
  drawDetail();
}

function inspect(column) {
  inspected = column;
  for (const cell of document.querySelectorAll(".canvas .token")) {
    cell.classList.toggle("here", Number(cell.dataset.column) === column);
  }
  drawDetail();
}

function pause() {
  clearInterval(timer);
  timer = null;
  by("play").textContent = "Play";
}

function play() {
  if (timer) return pause();
  if (shown === numFrames - 1) show(0);
  by("play").textContent = "Pause";
  timer = setInterval(() => (shown < numFrames - 1 ? show(shown + 1) : pause()), 300);
}

const approximate = data.approximations.length ? [`approximate: ${data.approximations.join(", ")}`] : [];
const own = data.extensions.length ? [`extension, without a reference: ${data.extensions.join(", ")}`] : [];
by("model").textContent = visible([data.model, data.alg, ...approximate, ...own].join(" · "));
by("settings").textContent = visible(Object.entries(data.settings).map((pair) => pair.join("=")).join(" · "));
by("prompt").textContent = visible(data.prompt);
by("slider").max = numFrames - 1;
by("slider").addEventListener("input", (event) => { pause(); show(Number(event.target.value)); });
by("back").addEventListener("click", () => { pause(); show(shown - 1); });
by("on").addEventListener("click", () => { pause(); show(shown + 1); });
by("play").addEventListener("click", play);
by("ghosts").addEventListener("change", () => show(shown));
by("decodes").addEventListener("pointerover", (event) => {
  if (event.target.dataset.column !== undefined) inspect(Number(event.target.dataset.column));
});
document.addEventListener("keydown", (event) => {
  if (event.target.type === "range") return; // it moves by itself
  if (event.key === "ArrowLeft") show(shown - 1);
  else if (event.key === "ArrowRight") show(shown + 1);
});
for (const item of document.querySelectorAll(".legend .circuit")) item.hidden = data.decodes.length < 2;
const anyBack = data.decodes.some((decode) => decode.frames.some((frame) => takenBack(frame).length));
document.querySelector(".legend .taken-back").hidden = !anyBack;
show(0);
