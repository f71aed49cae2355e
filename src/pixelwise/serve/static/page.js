"use strict";

// The page asks the server once a photo and model; opacity, sliders, switches and hovering work on what came back.

const LARGEST = 1600; // of the canvases, longer side in pixels
const READ = ["image/jpeg", "image/png", "image/gif", "image/bmp"]; // by browsers as by the server; WebP not if turned
const LIVE = 640; // of what is segmented as it moves
const $ = id => document.getElementById(id);
const state = {
  photo: null, file: null, answers: [], hidden: new Set(), live: null, prompted: false, names: [], turn: 0,
};

function say(text, error = false) {
  $("status").textContent = text;
  $("status").className = error ? "error" : "soft";
}

// The server's answer, if it is a good one; else what is wrong is thrown: a browser says no more than "Failed to fetch".
async function reach(path, { headers, ...how } = {}) {
  const answer = await fetch(path, { ...how, headers: { ...headers, ...credentials() } }).catch(() => null);
  if (answer?.ok) return answer;
  if (answer?.status === 401) $("entry").hidden = false; // also of a server that was started anew, with a token
  if (answer) throw Object.assign(new Error(await reason(answer)), { wait: answer.headers.get("Retry-After") });
  await how.body?.slice(0, 1).arrayBuffer().catch(() => { throw new Error("The file cannot be read; choose it again."); });
  throw new Error("The server does not answer; see whether it still runs.");
}

// A problem's sentence; a proxy in front of the server has none.
async function reason(answer) {
  const { detail } = await answer.json().catch(() => ({}));
  return detail || `The answer is ${answer.status} ${answer.statusText}.`;
}

async function start() {
  while (!(await fetch("health/ready").catch(() => ({}))).ok) {
    say("The models are being loaded.");
    await new Promise(done => setTimeout(done, 300));
  }
  let told;
  try {
    told = await (await reach("v1/models")).json();
  } catch (error) {
    return say(error.message, true);
  }
  $("entry").hidden = true;
  state.names = told.models.map(each => each.name);
  $("models").replaceChildren("model ", ...state.names.map((name, i) => choice(name, i === 0)));
  $("more").length = 1; // what stands above those that may be chosen
  $("more").append(...told.others.map(name => new Option(name)));
  $("more").hidden = !told.others.length;
  say("Waiting for a photo.");
  if (state.file) segment(); // chosen before there was a model
  dispatchEvent(new Event("ready"));
}

// A model that may be ticked, beside others to compare it with.
function choice(name, checked) {
  const box = Object.assign(document.createElement("input"), { type: "checkbox", value: name, checked });
  const label = document.createElement("label");
  box.addEventListener("change", again);
  label.append(box, " ", name, " ");
  return label;
}

function add(name) {
  const box = [...document.querySelectorAll("#models input")].find(each => each.value === name);
  if (box) box.checked = true;
  else $("models").append(choice(name, true));
  for (const option of $("more").options) if (option.value === name) option.hidden = true;
  again();
}

const credentials = () => ($("token").value ? { Authorization: `Bearer ${$("token").value}` } : {});
const chosen = () => [...document.querySelectorAll("#models input:checked")].map(box => box.value);

// `how` is model, size, flip and photo.
async function ask(turn, file, how, mask, accept) {
  const query = new URLSearchParams({ ...how, mask });
  if (mask === "ids") query.set("confidence", "true");
  const headers = { "Content-Type": "application/octet-stream", Accept: accept };
  try {
    return await reach(`v1/segment?${query}`, { method: "POST", body: file, headers });
  } catch (error) {
    if (!error.wait || turn !== state.turn) throw error;
    say(`${how.model}: ${error.message}`); // there is too much to do, or the model is on its way
    await new Promise(done => setTimeout(done, 1000 * error.wait));
    return ask(turn, file, how, mask, accept);
  }
}

function bitmapOf(base64) {
  const data = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  return createImageBitmap(new Blob([data]), { colorSpaceConversion: "none" });
}

// One byte a pixel of a grey PNG, at most LARGEST on its longer side, by nearest pixel.
async function bytesOf(base64, width, height) {
  const bitmap = await bitmapOf(base64);
  const context = surface(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, 0, 0, width, height);
  const rgba = context.getImageData(0, 0, width, height).data;
  return Uint8Array.from({ length: width * height }, (_, i) => rgba[4 * i]);
}

function surface(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

async function answerOf(turn, file, model, photo) {
  const begun = performance.now(), how = { model, size: $("size").value, flip: $("flip").checked, photo };
  const told = await (await ask(turn, file, how, "ids", "application/json")).json();
  const milliseconds = performance.now() - begun;
  const scale = Math.min(1, LARGEST / Math.max(told.width, told.height));
  const [width, height] = [told.width, told.height].map(side => Math.max(1, Math.round(side * scale)));
  const ids = await bytesOf(told.mask.ids, width, height);
  const sure = await bytesOf(told.confidence, width, height);
  return { model, how, told, milliseconds, width, height, ids, sure };
}

// What is live asks again by itself.
function again() {
  if (state.file && !state.live) segment();
}

// Whether it could be done, and nothing else was asked for in the meantime: another photo, size or model.
async function segment() {
  const turn = ++state.turn, file = state.file, models = chosen();
  if (!state.names.length) return false; // `start` goes on when they are there
  if (!models.length) return say("Choose a model.", true);
  if (!state.live) say("Segmenting …");
  try {
    const answers = [], read = READ.includes(file.type) && await createImageBitmap(file).catch(() => null);
    for (const model of models) answers.push(await answerOf(turn, file, model, !read && !answers.length));
    const photo = await photoOf(read, answers[0]);
    if (turn !== state.turn) return false;
    if (!state.live) state.hidden.clear();
    Object.assign(state, { photo, answers });
    show();
    const times = answers.map(each => `${each.model} ${each.milliseconds.toFixed(0)} ms`).join(", ");
    say([`${answers[0].told.width} × ${answers[0].told.height} pixels, ${times}`, ...answers[0].told.notes].join("; "));
    return true;
  } catch (error) {
    if (turn === state.turn) say(error.message, true);
    return false;
  }
}

// The photo as large as its answer: as the browser read it, or else as the server did.
async function photoOf(read, { told, width, height }) {
  const canvas = surface(width, height), context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(read || await bitmapOf(told.photo), 0, 0, width, height);
  return canvas;
}

const classOf = (answer, id) => answer.told.classes.find(each => each.id === id);

// The classes' colours, opaque, as a canvas; what is switched off is transparent, and so is the background where wanted.
function coloured(answer, { background }) {
  const canvas = surface(answer.width, answer.height), context = canvas.getContext("2d");
  const image = context.createImageData(answer.width, answer.height);
  const table = new Uint32Array(256), bytes = new Uint8Array(table.buffer);
  for (const { id, name, colour } of answer.told.classes) {
    const left = state.hidden.has(name) || (!background && name.toLowerCase() === "background");
    if (!left) bytes.set([...colour, 255], 4 * id);
  }
  const pixels = new Uint32Array(image.data.buffer);
  answer.ids.forEach((id, i) => { pixels[i] = table[id]; });
  if ($("unsure").checked) answer.sure.forEach((sure, i) => { if (pixels[i]) image.data[4 * i + 3] = sure; });
  context.putImageData(image, 0, 0);
  return canvas;
}

function difference(first, other) {
  const canvas = surface(first.width, first.height), context = canvas.getContext("2d");
  context.globalAlpha = 0.35;
  context.drawImage(state.photo, 0, 0);
  const image = context.getImageData(0, 0, first.width, first.height);
  const name = (answer, i) => classOf(answer, answer.ids[i])?.name;
  let differing = 0;
  for (let i = 0; i < first.ids.length; i++) {
    if (name(first, i) !== name(other, i)) {
      differing++;
      image.data.set([214, 39, 40, 255], 4 * i);
    }
  }
  context.putImageData(image, 0, 0);
  return [canvas, differing / first.ids.length];
}

function overlay(answer) {
  const canvas = surface(answer.width, answer.height), context = canvas.getContext("2d");
  context.drawImage(state.photo, 0, 0);
  context.globalAlpha = $("opacity").value / 100;
  context.drawImage(coloured(answer, { background: false }), 0, 0);
  context.globalAlpha = 1;
  const before = Math.round(answer.width * $("split").value / 100);
  if (before) context.drawImage(state.photo, 0, 0, before, answer.height, 0, 0, before, answer.height);
  return canvas;
}

function mask(answer) {
  const canvas = surface(answer.width, answer.height), context = canvas.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(coloured(answer, { background: true }), 0, 0);
  return canvas;
}

function confidence(answer) {
  const canvas = surface(answer.width, answer.height), context = canvas.getContext("2d");
  const image = context.createImageData(answer.width, answer.height);
  answer.sure.forEach((sure, i) => image.data.set([sure, sure, sure, 255], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}

function figure(canvas, caption, answer) {
  const made = document.createElement("figure"), text = document.createElement("figcaption");
  text.textContent = caption;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", caption);
  if (answer) hover(canvas, answer);
  made.append(canvas, text);
  return made;
}

function draw() {
  const several = state.answers.length > 1;
  const figures = [figure(state.photo, "photo", state.answers[0])];
  for (const answer of state.answers) {
    const whose = several ? `${answer.model}: ` : "";
    figures.push(figure(mask(answer), `${whose}mask`, answer), figure(overlay(answer), `${whose}overlay`, answer));
    if ($("sure").checked) figures.push(figure(confidence(answer), `${whose}confidence, black 0 to white 100 %`, answer));
  }
  for (const other of several ? state.answers.slice(1) : []) {
    const [canvas, share] = difference(state.answers[0], other);
    const caption = `${other.model} differs from ${state.answers[0].model} on ${percent(share)} of the pixels`;
    figures.push(figure(canvas, caption));
  }
  $("views").replaceChildren(...figures);
  if (!state.live) $("tip").hidden = true; // no pointer leaves what is gone
}

const percent = share => `${(100 * share).toFixed(1)} %`;

function show() {
  $("result").hidden = false;
  draw();
  const rows = state.answers.flatMap(answer => answer.told.classes.map(found => row(answer, found)));
  $("classes").tBodies[0].replaceChildren(...rows);
  downloads();
}

function row(answer, { name, colour, share, confidence }) {
  const made = document.createElement("tr"), swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.background = `rgb(${colour})`;
  const title = document.createElement("td");
  title.append(swatch, state.answers.length > 1 ? `${name} (${answer.model})` : name);
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !state.hidden.has(name) });
  box.setAttribute("aria-label", `show ${name}`);
  box.addEventListener("change", () => {
    state.hidden[box.checked ? "delete" : "add"](name);
    draw();
  });
  const numbers = [percent(share), percent(confidence)].map(text => {
    const cell = Object.assign(document.createElement("td"), { className: "number" });
    cell.textContent = text;
    return cell;
  });
  const shown = document.createElement("td");
  shown.append(box);
  made.append(title, ...numbers, shown);
  return made;
}

function hover(canvas, answer) {
  const tell = event => {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor((event.clientX - box.left) / box.width * answer.width);
    const y = Math.floor((event.clientY - box.top) / box.height * answer.height);
    const i = y * answer.width + x, found = classOf(answer, answer.ids[i]);
    if (!found) return;
    $("tip").textContent = `${found.name}, ${percent(answer.sure[i] / 255)} sure`;
    $("tip").style.left = `${Math.min(event.clientX + 12, innerWidth - 160)}px`;
    $("tip").style.top = `${event.clientY + 14}px`;
    $("tip").hidden = false;
  };
  canvas.addEventListener("pointermove", tell);
  canvas.addEventListener("click", tell);
  canvas.addEventListener("pointerleave", () => { $("tip").hidden = true; });
}

// Made when they are asked for: the mask by the server, which writes what the command line does.
function downloads() {
  const stem = (state.file.name || "photo").replace(/\.[^.]*$/, ""), answer = state.answers[0];
  const offer = (id, name, make) => {
    $(id).download = name;
    $(id).href = "#";
    $(id).onclick = async event => {
      event.preventDefault();
      try {
        const link = Object.assign(document.createElement("a"), { download: name });
        link.href = URL.createObjectURL(await make());
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      } catch (error) {
        say(`${name} cannot be saved: ${error.message}`, true);
      }
    };
  };
  const picture = canvas => new Promise(done => canvas.toBlob(done, "image/png"));
  const { file, turn } = state;
  offer("save-mask", `${stem}_mask.png`, async () => (await ask(turn, file, answer.how, "none", "image/png")).blob());
  offer("save-overlay", `${stem}_overlay.png`, () => picture(overlay(answer)));
  offer("save-panel", `${stem}_panel.png`, () => {
    const canvas = surface(3 * answer.width + 20, answer.height), context = canvas.getContext("2d");
    [state.photo, mask(answer), overlay(answer)].forEach((each, i) => {
      context.drawImage(each, i * (answer.width + 10), 0);
    });
    return picture(canvas);
  });
  offer("save-json", `${stem}.json`, async () => {
    const { mask: _, confidence: __, photo: ___, ...told } = answer.told;
    return new Blob([JSON.stringify(told, null, 2)], { type: "application/json" });
  });
}

function take(file) {
  if (!file) return;
  if ($("photo").hidden) location.hash = "#photo"; // dropped or pasted beside the runs
  stop();
  if (file.type.startsWith("video/")) return film(file);
  state.file = file;
  segment();
}

function stop() {
  if (!state.live) return;
  const video = $("video");
  video.pause();
  video.srcObject?.getTracks().forEach(track => track.stop());
  if (video.src) URL.revokeObjectURL(video.src);
  video.srcObject = null;
  video.removeAttribute("src");
  state.live = null;
  $("camera").textContent = "Camera, live";
}

async function camera() {
  if (state.live) return stop();
  if (state.prompted) return; // of two streams one would stay on
  state.prompted = true;
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    return say(`There is no camera to be had: ${error.message}`, true);
  } finally {
    state.prompted = false;
  }
  watch("Stop the camera", "camera");
}

function film(file) {
  $("video").src = URL.createObjectURL(file);
  watch("Stop the video", file.name.replace(/\.[^.]*$/, ""));
}

// Segments what is seen at the moment, again and again: as many pictures a second as the model allows.
async function watch(button, name) {
  const video = $("video"), live = state.live = {};
  $("camera").textContent = button;
  try {
    await video.play();
  } catch (error) {
    stop();
    return say(`The browser cannot play it: ${error.message}`, true);
  }
  while (state.live === live && !video.ended) {
    const begun = performance.now(), scale = Math.min(1, LIVE / Math.max(video.videoWidth, video.videoHeight));
    const frame = surface(Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
    frame.getContext("2d").drawImage(video, 0, 0, frame.width, frame.height);
    const data = await new Promise(done => frame.toBlob(done, "image/jpeg", 0.9));
    if (state.live !== live) return; // a photo was chosen meanwhile
    state.file = new File([data], `${name}-${video.currentTime.toFixed(2)}s.jpg`, { type: "image/jpeg" });
    if (!(await segment())) break;
    if (state.live === live) say(`${(1000 / (performance.now() - begun)).toFixed(1)} photos a second`);
  }
  if (state.live === live) stop();
}

for (const id of ["file", "shoot"]) $(id).addEventListener("change", event => {
  take(event.target.files[0]);
  event.target.value = ""; // or the same file, chosen again, would be no change
});
document.addEventListener("pointerdown", () => { $("tip").hidden = true; }); // a finger never leaves what it tapped
$("drop").addEventListener("dragover", event => { event.preventDefault(); $("drop").classList.add("over"); });
$("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", event => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files[0]);
});
document.addEventListener("dragover", event => event.preventDefault());
document.addEventListener("paste", event => take(event.clipboardData.files[0]));
document.querySelectorAll("[data-example]").forEach(button => button.addEventListener("click", async () => {
  try {
    const blob = await (await reach(`static/${button.dataset.example}`)).blob();
    take(new File([blob], button.dataset.example, { type: blob.type }));
  } catch (error) {
    say(error.message, true);
  }
}));
$("camera").addEventListener("click", camera);
$("more").addEventListener("change", event => {
  add(event.target.value);
  event.target.value = "";
});
for (const id of ["opacity", "split", "unsure", "sure"]) $(id).addEventListener("input", () => state.answers.length && draw());
for (const id of ["size", "flip"]) $(id).addEventListener("change", again);
$("entry").addEventListener("submit", event => {
  event.preventDefault();
  start();
});
addEventListener("DOMContentLoaded", start); // when all scripts are there, as the later one waits for "ready"
