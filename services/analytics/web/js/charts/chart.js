// What the charts over time have in common: one uPlot in a host element, its axes, tooltip, size and theme.

import uPlot from "../../vendor/uplot/uPlot.esm.js";
import { axisLabel, bucketName, labelled } from "../period.js";
import { h, replace } from "../dom.js";
import { colours } from "./colours.js";

const FONT = '12px Inter, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const CURSORS = uPlot.sync("plaudit");
const LABEL_WIDTH = 60;
const VALUE_AXIS_WIDTH = 48;

/**
 * A chart over buckets. `plan(view, palette)` gives uPlot's {data, series, bands, y}; `rows(view, index)` gives the
 * tooltip's lines as [class, name, text]; `zoom(from, to)` hears of a stretch that was dragged over.
 *
 * A view: {buckets, series, previous, interval, timeZone}. x is a bucket's middle, in milliseconds.
 */
export class Chart {
  #view = null;
  #plot = null;

  constructor(host, { plan, rows, zoom }) {
    this.host = host;
    this.plan = plan;
    this.rows = rows;
    this.zoom = zoom;
    this.tip = h("div", { class: "tip", hidden: true });
    new ResizeObserver(() => this.#resize()).observe(host);
  }

  /** Draws a view; `description` is what a reader aloud says of it. */
  show(view, description) {
    this.#view = view;
    this.host.setAttribute("role", "img");
    this.host.setAttribute("aria-label", description);
    this.redraw();
  }

  /** Draws the same again, in the colours of now. */
  redraw() {
    if (this.#view === null) return;
    this.#plot?.destroy();
    replace(this.host);
    const { data, ...options } = this.#options(this.#view);
    this.#plot = new uPlot(options, data, this.host);
    this.#plot.over.append(this.tip);
    // For whoever wants to know what is drawn: tests, and the curious at the console.
    this.host.plot = this.#plot;
  }

  #size() {
    return { width: Math.max(this.host.clientWidth, 120), height: Math.max(this.host.clientHeight, 80) };
  }

  #resize() {
    if (this.#plot && this.host.clientWidth > 0) this.#plot.setSize(this.#size());
  }

  #options(view) {
    const palette = colours(this.host);
    const { data, series, bands, y } = this.plan(view, palette);
    const axis = {
      stroke: palette.muted,
      font: FONT,
      grid: { stroke: palette.line, width: 1 },
      ticks: { show: false },
    };
    return {
      ...this.#size(),
      data,
      bands,
      series: [{}, ...series],
      legend: { show: false },
      padding: [10, 12, 0, 0],
      scales: {
        x: { time: false, range: () => [view.buckets[0].start, view.buckets.at(-1).end] },
        y: { range: y.range },
      },
      axes: [
        this.#timeAxis(view, axis),
        { ...axis, size: VALUE_AXIS_WIDTH, space: 38, values: (_, splits) => splits.map(y.label) },
      ],
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false },
        sync: { key: CURSORS.key, setSeries: false },
      },
      hooks: {
        draw: [(plot) => paleEnds(plot, view, palette)],
        setCursor: [(plot) => this.#showTip(plot, view)],
        setSelect: [(plot) => this.#zoomed(plot, view)],
      },
    };
  }

  #timeAxis(view, axis) {
    const splits = (plot) => {
      const most = Math.max(2, Math.floor((plot.width - VALUE_AXIS_WIDTH) / LABEL_WIDTH));
      return labelled(view.buckets, view.interval, view.timeZone, most).map((bucket) => bucket.middle);
    };
    const starts = new Map(view.buckets.map((bucket) => [bucket.middle, bucket.start]));
    const values = (_, middles) => middles.map((middle) => axisLabel(starts.get(middle), view.interval, view.timeZone));
    // The gap keeps the first label clear of the lowest value beside it.
    return { ...axis, grid: { show: false }, size: 32, gap: 9, splits, values };
  }

  #showTip(plot, view) {
    const index = plot.cursor.idx;
    this.tip.hidden = index == null || plot.cursor.left < 0;
    if (this.tip.hidden) return;
    const bucket = view.buckets[index];
    const name = bucketName(bucket.start, view.interval, view.timeZone);
    replace(
      this.tip,
      h("p", { class: "tip-title" }, bucket.partial ? `${name} (a part)` : name),
      h(
        "dl",
        {},
        this.rows(view, index).map(([kind, label, text]) =>
          h("div", {}, h("dt", { class: kind || null }, label), h("dd", {}, text)),
        ),
      ),
    );
    const x = plot.valToPos(bucket.middle, "x");
    const onTheLeft = x > plot.over.clientWidth / 2;
    this.tip.style.setProperty("left", onTheLeft ? "auto" : `${x + 12}px`);
    this.tip.style.setProperty("right", onTheLeft ? `${plot.over.clientWidth - x + 12}px` : "auto");
  }

  #zoomed(plot, view) {
    const { left, width } = plot.select;
    if (width < 8) return;
    const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    const touched = view.buckets.filter((bucket) => bucket.end > from && bucket.start < to);
    if (touched.length) this.zoom(touched[0].start, touched.at(-1).end);
  }
}

/** Veils the bars and bands of buckets that the period cuts: they hold less than the others. */
function paleEnds(plot, view, palette) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.globalAlpha = 0.5;
  ctx.fillStyle = palette.card;
  for (const bucket of view.buckets.filter((candidate) => candidate.partial)) {
    const left = plot.valToPos(bucket.start, "x", true);
    ctx.fillRect(left, bbox.top, plot.valToPos(bucket.end, "x", true) - left, bbox.height);
  }
  ctx.restore();
}
