// The Pareto plot. It is loaded once; then every completed trial is patched in: one fetch of that trial, one restyle of
// the traces that changed. The server says who is on the front; only the staircase's corners are worked out here.

const FLUSH_MS = 150;
const RETRY_MS = 2000;
const TOO_MANY = 200; // after a long gap a new figure costs less than so many single trials

export class FrontPlot {
  constructor(element, url, onProblem) {
    this.element = element;
    this.url = url;
    this.onProblem = onProblem;
    this.waiting = [];
    this.timer = setTimeout(() => this.flush());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      if (this.meta) Plotly.relayout(this.element, theme());
    });
  }

  async load() {
    const response = await fetch(this.url);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const figure = await response.json();
    const layout = withTheme(figure.layout);
    const isTouched = matchMedia("(pointer: coarse)").matches;
    layout.dragmode = isTouched ? false : "zoom"; // a finger scrolls the page
    await Plotly.react(this.element, figure.data, layout, {
      responsive: true, displaylogo: false, displayModeBar: isTouched ? false : "hover",
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    });
    this.meta = figure.layout.meta;
    this.arms = armsOf(figure.data);
  }

  // Patch in a `trial_completed` event; several that come together are drawn together.
  add(event) {
    this.waiting.push(event);
    this.timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  async flush() {
    try {
      if (!this.meta || this.waiting.length > TOO_MANY) await this.load();
      while (this.waiting.length) await this.draw(this.waiting.splice(0, TOO_MANY));
      this.timer = null;
      this.onProblem(null);
    } catch (error) {
      this.meta = null; // load all of it when the server is back
      this.onProblem(error);
      this.timer = setTimeout(() => this.flush(), RETRY_MS);
    }
  }

  async draw(events) {
    const fresh = events.filter((event) => event.number > this.meta.last_event);
    if (!fresh.length) return;
    const trials = await Promise.all(fresh.map((event) => trialOf(event.trial_id)));
    const changed = new Set();
    fresh.forEach((event, place) => {
      const arm = this.arms.get(event.data.arm);
      arm.points.set(event.trial_id, { ...this.point(trials[place]), onFront: event.data.on_front });
      for (const id of event.data.off_front) if (arm.points.has(id)) arm.points.get(id).onFront = false;
      changed.add(arm);
    });
    this.restyle([...changed]);
    this.meta.last_event = fresh.at(-1).number;
  }

  point(trial) {
    const at = (path) => path.split(".").reduce((value, part) => value[part], trial);
    return { x: at(this.meta.x), y: at(this.meta.y), customdata: this.meta.customdata.map(at) };
  }

  restyle(arms) {
    const traces = arms.flatMap((arm) => {
      const points = [...arm.points.values()];
      const front = points.filter((point) => point.onFront);
      const parts = { dominated: points.filter((point) => !point.onFront), front, stairs: this.stairs(front) };
      return Object.entries(parts).map(([part, rows]) => [arm.traces[part], rows]);
    });
    const column = (name) => traces.map(([, rows]) => (rows.length ? rows.map((row) => row[name]) : [null]));
    const update = { x: column("x"), y: column("y"), customdata: column("customdata") };
    Plotly.update(this.element, update, this.meta.first_point, traces.map(([index]) => index));
    this.meta.first_point = {}; // it unmade the look of an empty figure; from now on a reader's zoom stays
  }

  // The front's corners in the plane of the plot, best x first.
  stairs(front) {
    const [byX, byY] = [this.meta.x_direction, this.meta.y_direction].map((way) => (way === "minimize" ? 1 : -1));
    const sorted = [...front].sort((a, b) => byX * (a.x - b.x) || byY * (a.y - b.y));
    let best = Infinity;
    return sorted.filter((point) => {
      const isCorner = byY * point.y < best;
      if (isCorner) best = byY * point.y;
      return isCorner;
    });
  }
}

// The arms of a figure: the points by trial id, and which trace shows which part.
function armsOf(traces) {
  const arms = new Map();
  traces.forEach(({ meta, x, y, customdata }, index) => {
    if (!arms.has(meta.arm)) arms.set(meta.arm, { traces: {}, points: new Map() });
    const arm = arms.get(meta.arm);
    arm.traces[meta.part] = index;
    if (meta.part === "stairs") return;
    (customdata ?? []).forEach((row, place) => {
      arm.points.set(row[0], { x: x[place], y: y[place], customdata: row, onFront: meta.part === "front" });
    });
  });
  return arms;
}

async function trialOf(id) {
  const response = await fetch(`/api/v1/trials/${id}`);
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.json();
}

function withTheme(layout) {
  const look = theme();
  for (const [path, value] of Object.entries(look)) {
    const parts = path.split(".");
    const leaf = parts.pop();
    parts.reduce((node, part) => (node[part] ??= {}), layout)[leaf] = value;
  }
  return layout;
}

// The page's colours, read from its style sheet.
function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = (name) => ({
    [`${name}.gridcolor`]: colour("--grid"), [`${name}.linecolor`]: colour("--line"), [`${name}.showline`]: true,
  });
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", "font.color": colour("--text"),
    "font.family": getComputedStyle(document.body).fontFamily, "font.size": 13,
    "hoverlabel.bgcolor": colour("--card"), "hoverlabel.font.color": colour("--text"),
    "modebar.color": colour("--muted"), "modebar.activecolor": colour("--accent"), "modebar.bgcolor": "rgba(0,0,0,0)",
    ...axis("xaxis"), ...axis("yaxis"),
  };
}
