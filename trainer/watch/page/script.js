// The page of a training: asks the server every second for what is new, and draws it.

const POLL_MS = 1000, REST_MS = 5000; // while a training runs, and while none does
const FEW_FAILURES = 2; // so many failed polls may pass before the page says so
const PLAY_MS = 350;
const SHORT = 100; // values of a series up to which smoothing is as strong as it is set
const NO_LOSS = ["learning_rate", "images_per_second", "gradient", "discriminator"];
const TOTAL = "total"; // the sum of the terms
const PHASES = {
  training: "training", publishing: "publishing", stopping: "stopping after this step", ended: "ended", away: "out of reach",
};

const element = (id) => document.getElementById(id);
const token = document.querySelector('meta[name="token"]').content;

let status = null; // the last answer of the server
let nextByte = 0; // of the metrics
let failures = 0;
let polling = null; // the poll in progress, a promise
let refusal = ""; // why the last POST failed
const steps = []; // of the metrics that were read
const series = new Map(); // name → values at `steps`
const charts = new Map(); // name → Chart
let cursor = null; // the step whose values are shown; null: the last

// --- numbers in words

const grouped = (number) => number.toLocaleString("en");

function figure(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : Number(value.toPrecision(4)).toString();
}

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  const hours = Math.floor(seconds / 3600);
  if (hours < 48) return `${hours} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.round(seconds / 86400)} days`;
}

function pace(seconds) {
  return seconds < 1 ? `${grouped(Number((1 / seconds).toPrecision(3)))} steps a second` : `${figure(seconds)} s a step`;
}

// --- the state of the training

function showStatus() {
  const phase = failures >= FEW_FAILURES && status?.phase !== "ended" ? "away" : status.phase;
  element("phase").dataset.phase = phase;
  setText("phase", PHASES[phase]);
  setText("title", status.title);
  element("title").hidden = !status.title;
  for (const name of ["folder", "store"]) setText(name, status[name]);
  for (const name of ["preview", "log"]) setText(`${name}-every`, grouped(status[`${name}_every`]));
  element("progress").max = status.steps || 1;
  element("progress").value = status.step;
  setText("progress-text", progressText());
  document.title = `${percent()} ${status.name} · training`;
  element("publish").disabled = phase !== "training" || !status.step;
  element("stop").disabled = phase !== "training" && phase !== "publishing";
  showMessage(phase);
}

function percent() {
  return `${Math.floor((100 * status.step) / (status.steps || 1))} %`;
}

function progressText() {
  const parts = [`step ${grouped(status.step)} of ${grouped(status.steps)}`];
  const unfinished = status.phase !== "ended" && status.step < status.steps;
  if (status.seconds_left !== null && unfinished) parts.push(`${duration(status.seconds_left)} left`);
  if (status.seconds_per_step !== null) parts.push(pace(status.seconds_per_step));
  return parts.join(" · ");
}

function showMessage(phase) {
  let text = [refusal, status.message].filter(Boolean).join(" ");
  if (phase === "away") text = "The training has ended, or its machine is out of reach. This page goes on when it is there again.";
  setText("message", text);
  element("message").hidden = !text;
}

function setText(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text; // live regions speak at every change
}

// --- pictures

let following = true; // the newest picture is shown
let playing = null; // a timer

function showPictures() {
  const previews = status.previews;
  element("pictures").hidden = !previews.length;
  element("no-pictures").hidden = previews.length > 0;
  if (!previews.length) return;
  const scrub = element("scrub");
  scrub.max = previews.length - 1;
  if (following) scrub.value = previews.length - 1;
  showPicture(previews[scrub.value]);
}

function showPicture(step) {
  const source = `previews/${step}.png`;
  const picture = element("picture");
  if (picture.getAttribute("src") !== source) picture.src = source;
  element("picture-link").href = source;
  picture.alt = `The photographs, and what the network makes of them after step ${grouped(step)}`;
  element("scrub").setAttribute("aria-valuetext", `step ${grouped(step)}`);
  element("scrub-text").textContent = `step ${grouped(step)}`;
}

function scrubbed() {
  const scrub = element("scrub");
  following = scrub.value === scrub.max;
  showPicture(status.previews[scrub.value]);
}

function play() {
  if (playing) return pause();
  const scrub = element("scrub");
  if (scrub.value === scrub.max) scrub.value = 0;
  element("play").textContent = "Pause";
  scrubbed();
  playing = setInterval(() => {
    scrub.value = Number(scrub.value) + 1;
    scrubbed();
    if (scrub.value === scrub.max) pause();
  }, PLAY_MS);
}

function pause() {
  clearInterval(playing);
  playing = null;
  element("play").textContent = "Play";
}

// --- charts

const WIDTH = 320, HEIGHT = 144, LEFT = 46, RIGHT = 4, TOP = 8, BOTTOM = 18;

function svg(name, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The exponential moving average, without the bias of its first value; of long series over more values. */
function smoothed(values, strength) {
  const weight = strength && 1 - (1 - strength) * Math.min(1, SHORT / values.length);
  let sum = 0, mass = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return NaN;
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return sum / mass;
  });
}

/** The indices of at most about 600 values that show the curve: the least and the largest of each stretch. */
function thinned(values) {
  const stretch = Math.ceil(values.length / 300);
  if (stretch <= 2) return values.map((_, index) => index);
  const kept = [];
  for (let begin = 0; begin < values.length; begin += stretch) {
    let low = begin, high = begin;
    for (let i = begin; i < Math.min(begin + stretch, values.length); i += 1) {
      if (values[i] < values[low]) low = i;
      if (values[i] > values[high]) high = i;
    }
    kept.push(Math.min(low, high), Math.max(low, high));
  }
  return kept;
}

class Chart {
  constructor(name, parent) {
    this.name = name;
    this.figure = document.createElement("figure");
    this.figure.className = "chart";
    const caption = this.figure.appendChild(document.createElement("figcaption"));
    caption.appendChild(document.createElement("b")).textContent = inWords(name);
    this.shown = caption.appendChild(document.createElement("output"));
    this.svg = this.figure.appendChild(svg("svg", { role: "img", tabindex: 0 }));
    this.svg.addEventListener("pointermove", (event) => moveCursor(this.indexAt(event.clientX)));
    this.svg.addEventListener("pointerdown", (event) => moveCursor(this.indexAt(event.clientX)));
    this.svg.addEventListener("pointerleave", () => moveCursor(null));
    this.svg.addEventListener("blur", () => moveCursor(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    parent.append(this.figure);
  }

  key(event) {
    const last = steps.length - 1;
    const by = Math.max(1, Math.round(steps.length / 50));
    const at = cursor === null ? last : cursor;
    const to = { ArrowLeft: at - by, ArrowRight: at + by, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    moveCursor(Math.min(last, Math.max(0, to)));
  }

  indexAt(clientX) {
    const box = this.svg.getBoundingClientRect();
    const share = (clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
    const step = steps[0] + share * (steps.at(-1) - steps[0]);
    let best = 0;
    steps.forEach((each, index) => { if (Math.abs(each - step) < Math.abs(steps[best] - step)) best = index; });
    return best;
  }

  draw() {
    const width = this.svg.clientWidth || WIDTH, height = this.svg.clientHeight || HEIGHT;
    const logarithmic = element("logarithmic").checked;
    const values = series.get(this.name);
    const smooth = smoothed(values, this.name === "learning_rate" ? 0 : Number(element("smoothing").value));
    const map = (value) => (logarithmic ? (value > 0 ? Math.log10(value) : NaN) : value);
    const [low, high] = this.range([...values, ...smooth].map(map));
    const span = steps.at(-1) - steps[0] || 1;
    const x = (index) => LEFT + ((steps[index] - steps[0]) / span) * (width - LEFT - RIGHT);
    const y = (mapped) => TOP + ((high - mapped) / (high - low)) * (height - TOP - BOTTOM);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...this.axes(width, height, low, high, logarithmic, y));
    for (const [kind, drawn] of [["raw", values], ["smooth", smooth]]) {
      const points = thinned(drawn).filter((i) => Number.isFinite(map(drawn[i])));
      const path = points.map((i) => `${x(i).toFixed(1)},${y(map(drawn[i])).toFixed(1)}`).join("L");
      if (path) this.svg.append(svg("path", { class: kind, d: points.length > 1 ? `M${path}` : `M${path}h3` }));
    }
    const at = cursor === null ? steps.length - 1 : cursor;
    if (cursor !== null) this.svg.append(svg("path", { class: "cursor", d: `M${x(at)},${TOP}V${height - BOTTOM}` }));
    this.shown.textContent = cursor === null ? figure(smooth[at]) : `${figure(values[at])} at ${grouped(steps[at])}`;
    this.svg.setAttribute("aria-label", this.description(values, smooth, at));
  }

  description(values, smooth, at) {
    const name = inWords(this.name);
    if (cursor !== null) return `${name}: ${figure(values[at])} at step ${steps[at]}`;
    return `${name}: ${figure(values[0])} at step ${steps[0]}, smoothed ${figure(smooth[at])} at step ${steps[at]}`;
  }

  range(mapped) {
    const finite = mapped.filter(Number.isFinite);
    if (!finite.length) return [0, 1];
    const low = finite.reduce((a, b) => Math.min(a, b)), high = finite.reduce((a, b) => Math.max(a, b));
    const margin = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
    return [low - margin, high + margin];
  }

  axes(width, height, low, high, logarithmic, y) {
    const drawn = [];
    for (const share of [0.05, 0.5, 0.95]) {
      const mapped = low + share * (high - low);
      drawn.push(svg("path", { class: "grid", d: `M${LEFT},${y(mapped)}H${width - RIGHT}` }));
      const label = svg("text", { x: LEFT - 6, y: y(mapped) + 4, "text-anchor": "end" });
      label.textContent = axisFigure(logarithmic ? 10 ** mapped : mapped);
      drawn.push(label);
    }
    for (const [x, anchor, step] of [[LEFT, "start", steps[0]], [width - RIGHT, "end", steps.at(-1)]]) {
      const label = svg("text", { x, y: height - 3, "text-anchor": anchor });
      label.textContent = grouped(step);
      drawn.push(label);
    }
    return drawn;
  }
}

function axisFigure(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e4) ? value.toExponential(1) : Number(value.toPrecision(2)).toString();
}

function moveCursor(index) {
  if (index === cursor || !steps.length) return;
  cursor = index;
  drawCharts();
}

function drawCharts() {
  if (!steps.length) return;
  element("no-losses").hidden = true;
  for (const name of series.keys()) {
    if (charts.has(name)) continue;
    const aside = NO_LOSS.includes(name);
    if (aside) element("others-section").hidden = false;
    charts.set(name, new Chart(name, element(aside ? "others" : "losses")));
  }
  for (const chart of charts.values()) chart.draw();
}

function addLines(lines) {
  for (const { step, ...terms } of lines) {
    const values = { ...total(terms), ...terms };
    steps.push(step);
    for (const name of Object.keys(values)) {
      if (!series.has(name)) series.set(name, Array(steps.length - 1).fill(NaN));
    }
    for (const [name, kept] of series) kept.push(values[name] ?? NaN);
  }
}

/** The sum of the terms of the loss, where there are several. */
function total(terms) {
  const losses = Object.keys(terms).filter((name) => !NO_LOSS.includes(name));
  return losses.length > 1 ? { [TOTAL]: losses.reduce((sum, name) => sum + terms[name], 0) } : {};
}

/** style_relu1_2 → style relu1_2, images_per_second → images per second */
function inWords(name) {
  return NO_LOSS.includes(name) ? name.replaceAll("_", " ") : name.replace("_", " ");
}

// --- the server

async function read(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(10000) });
  if (answer.status === 400) location.reload(); // no such place in the metrics: the training was resumed
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function readMetrics() {
  for (;;) {
    const { next, lines } = await read(`metrics?from=${nextByte}`);
    addLines(lines);
    if (next === nextByte) return lines.length;
    nextByte = next;
    if (lines.length) drawCharts();
  }
}

async function ask(what) {
  const sent = { method: "POST", headers: { "X-Watch-Token": token }, signal: AbortSignal.timeout(10000) };
  const answer = await fetch(what, sent).catch(() => null);
  if (answer?.status === 403) return location.reload(); // the training was begun again, with another token
  refusal = answer?.ok ? "" : `Nothing came of “${what}”: the server ${answer ? `answered ${answer.status}` : "did not answer"}.`;
  await polling; // which may have read the status before
  await poll();
}

/** What is new. One poll at a time: two would read the same metrics, and add them twice. */
function poll() {
  polling ??= readAll().finally(() => { polling = null; });
  return polling;
}

async function readAll() {
  try {
    const found = await read("status");
    if (failures >= FEW_FAILURES || (status && found.step < status.step)) return location.reload(); // another run
    status = found;
    failures = 0;
    await readMetrics();
    showPictures();
  } catch {
    failures += 1;
  }
  if (status) showStatus();
}

async function follow() {
  await poll();
  setTimeout(follow, failures || status?.phase === "ended" ? REST_MS : POLL_MS);
}

element("publish").addEventListener("click", () => ask("publish"));
element("stop").addEventListener("click", () => element("confirm").showModal());
element("confirm-no").addEventListener("click", () => element("confirm").close());
element("confirm-yes").addEventListener("click", () => { element("confirm").close(); ask("stop"); });
element("scrub").addEventListener("input", () => { pause(); scrubbed(); });
element("play").addEventListener("click", play);
element("smoothing").addEventListener("input", drawCharts);
element("logarithmic").addEventListener("change", drawCharts);
new ResizeObserver(drawCharts).observe(document.body);
follow();
