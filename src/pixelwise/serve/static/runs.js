"use strict";

// Training runs and reports: the list, a run's curves and pictures as it goes on, and a report in a frame.

const EVERY = 2000; // milliseconds between looks
const PANELS = [
  ["loss", "loss", "val_loss"],
  ["pixel accuracy", "train_pixel_accuracy", "val_pixel_accuracy"],
  ["mean IoU", "train_miou", "val_miou"],
];
const seen = { run: null, opened: 0, first: null, timer: 0 };

const place = () => {
  const [, kind, name] = location.hash.match(/^#(runs|run|report)(?:=(.*))?$/) || [];
  try {
    return { kind: kind || "photo", name: decodeURIComponent(name || "") };
  } catch { // no address of ours
    return { kind: "photo", name: "" };
  }
};

const told = async path => (await reach(path)).json();

// Shows what the address names, and looks again as long as it is shown.
async function go() {
  clearTimeout(seen.timer);
  const { kind, name } = place(), gone = () => place().kind !== kind || place().name !== name;
  $("photo").hidden = kind !== "photo";
  $("runs").hidden = kind === "photo";
  for (const [id, which] of [["list", "runs"], ["run", "run"], ["report", "report"]]) $(id).hidden = kind !== which;
  if (seen.run !== name) $("run").hidden = true; // until it is known
  for (const link of document.querySelectorAll("nav a")) {
    if ((link.hash === "#photo") === (kind === "photo")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (kind === "photo") return;
  if (kind === "report") return report(name);
  try {
    const found = await told(kind === "runs" ? "v1/runs" : `v1/run?${new URLSearchParams({ name })}`);
    if (gone()) return;
    (kind === "runs" ? list : run)(found);
    $("told").textContent = "";
    $("told").className = "soft";
  } catch (error) {
    if (gone()) return;
    $("told").textContent = error.message;
    $("told").className = "error";
  }
  clearTimeout(seen.timer); // of another look at the same, begun while this one waited for its answer
  seen.timer = setTimeout(go, EVERY);
}

const element = (kind, text, properties = {}) => Object.assign(document.createElement(kind), { textContent: text }, properties);
const reached = ({ step, steps }) => (steps ? `${step} of ${steps}` : `${step}`); // a damaged recipe has none
const when = seconds => new Date(1000 * seconds).toLocaleString();

function list({ runs, reports }) {
  $("no-runs").hidden = runs.length > 0;
  $("no-reports").hidden = reports.length > 0;
  $("run-list").tBodies[0].replaceChildren(...runs.map(each => {
    const row = document.createElement("tr"), name = document.createElement("td");
    name.append(element("a", each.name, { href: `#run=${encodeURIComponent(each.name)}` }));
    const best = each.val_miou === null ? "" : each.val_miou.toFixed(3);
    row.append(
      name,
      element("td", each.state),
      element("td", reached(each), { className: "number" }),
      element("td", best, { className: "number" }),
      element("td", when(each.changed), { className: "soft" }),
    );
    return row;
  }));
  $("report-list").replaceChildren(...reports.map(each => {
    const item = document.createElement("li");
    item.append(
      element("a", each.title, { href: `#report=${encodeURIComponent(each.address)}` }),
      element("span", ` ${each.path}, ${when(each.changed)}`, { className: "soft" }),
    );
    return item;
  }));
}

function run(found) {
  if (seen.run !== found.name) Object.assign(seen, { run: found.name, opened: found.step, first: null });
  if (found.step !== seen.opened) seen.first ||= [performance.now(), found.step];
  $("run-name").textContent = found.name;
  const best = found.val_miou === null ? "" : `; best mean IoU on the validation photos ${found.val_miou.toFixed(3)}`;
  const state = [found.architecture, found.state, `step ${reached(found)}`].filter(Boolean).join(", ");
  $("run-state").textContent = `${state}${best}${left(found)}`;
  $("run-progress").hidden = !found.steps;
  if (found.steps) $("run-progress").value = found.step / found.steps;
  $("run-report").hidden = !found.report;
  $("run-report").href = `#report=${encodeURIComponent(found.report)}`;
  $("run-model").hidden = found.state !== "finished";
  $("curves").replaceChildren(...PANELS.map(panel => curve(panel, { ...found, steps: found.steps || found.step })));
  pictures(found.pictures);
  $("run").hidden = false;
}

// By the pace since the page saw it write for the first time.
function left(found) {
  if (found.state !== "training" || !found.steps || !seen.first || found.step === seen.first[1]) return "";
  const [start, step] = seen.first, steps = found.step - step;
  const minutes = (found.steps - found.step) * (performance.now() - start) / steps / 60_000;
  return `; about ${minutes < 1 ? "a minute" : `${Math.ceil(minutes)} min`} of training left`;
}

function pictures(found) {
  $("pictures").hidden = !found.length;
  if (!found.length) return;
  const slider = $("picture-step"), latest = slider.value === slider.max;
  slider.max = found.length - 1;
  if (latest) slider.value = slider.max; // who looks at an earlier one goes on doing so
  const draw = () => {
    const { step, address } = found[slider.value];
    $("picture-at").textContent = `${step} steps`;
    if (!$("picture").src.endsWith(address)) $("picture").src = address;
  };
  slider.oninput = draw;
  draw();
}

// A field of the log over the steps, of training and of validation.
function curve([title, train, val], { entries, steps }) {
  const [width, height, start, end, top, bottom] = [360, 230, 44, 350, 26, 200];
  const points = field => entries.filter(each => Number.isFinite(each[field])).map(each => [each.step, each[field]]);
  const lines = [["train", points(train)], ["val", points(val)]];
  const values = lines.flatMap(([, line]) => line.map(point => point[1]));
  const most = title === "loss" ? Math.max(...values, 1e-6) : 1;
  const x = step => start + (end - start) * step / Math.max(1, steps), y = value => bottom - (bottom - top) * value / most;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} over the steps` });
  for (const [share, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    svg.append(
      drawn("line", { class: "grid", x1: start, x2: end, y1: y(share * most), y2: y(share * most) }),
      drawn("text", { x: start - 6, y: y(share * most) + 4, "text-anchor": "end" }, (share * most).toPrecision(2)),
      drawn("text", { x: x(share * steps), y: bottom + 18, "text-anchor": anchor }, Math.round(share * steps)),
    );
  }
  const last = lines[1][1].at(-1) || lines[0][1].at(-1);
  const figures = last ? `${title}: ${last[1].toFixed(3)} at step ${last[0]}` : `${title}: not measured yet`;
  svg.append(
    drawn("text", { x: start, y: 14 }, figures),
    drawn("text", { class: "train", x: end - 66, y: bottom + 18, "text-anchor": "end" }, "training"),
    drawn("text", { class: "val", x: start + 66, y: bottom + 18 }, "validation"),
  );
  for (const [kind, line] of lines) {
    svg.append(drawn("path", { class: kind, d: line.map(([step, value], i) => `${i ? "L" : "M"}${x(step)} ${y(value)}`).join("") }));
    if (line.length > 30) continue;
    for (const [step, value] of kind === "val" ? line : []) {
      const point = drawn("circle", { cx: x(step), cy: y(value), r: 3 });
      point.append(drawn("title", {}, `step ${step}: ${value.toFixed(3)}`));
      svg.append(point);
    }
  }
  const made = document.createElement("figure");
  made.append(svg);
  return made;
}

function drawn(kind, attributes, text = "") {
  const made = document.createElementNS("http:/" + "/www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

function report(address) {
  $("told").textContent = "";
  if (!address.startsWith("files/")) return; // an address from elsewhere
  if (!$("frame").src.endsWith(address)) $("frame").src = address;
  $("report-alone").href = address;
}

$("run-model").addEventListener("click", () => {
  const model = seen.run;
  for (const box of document.querySelectorAll("#models input")) box.checked = false;
  location.hash = "#photo";
  add(model);
});
addEventListener("hashchange", go);
addEventListener("ready", async () => {
  const { directory } = await told("v1/runs").catch(() => ({})); // what is wrong is said in the tab
  $("tabs").hidden = directory === null;
  go();
});
