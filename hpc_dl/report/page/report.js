"use strict";
// Sorting and filtering of tables, and the plots. Texts of runs only ever become text nodes.
(() => {
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // ---- tables
  const valueOf = (cell) => (cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value));
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    if (!a || !b) return !a - !b;
    return a.localeCompare(b, undefined, { numeric: true });
  };
  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if ([...body.rows].some((row) => row.cells[column].classList.contains("n"))) head.classList.add("n");
      if (table.dataset.sort === undefined || !head.textContent) return;
      const button = make("button", { type: "button", title: "Sort by this column" }, head.textContent);
      button.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const rows = [...body.rows].sort((a, b) => compare(valueOf(a.cells[column]), valueOf(b.cells[column])));
        body.append(...(descending ? rows.reverse() : rows));
      });
      head.replaceChildren(button);
    });
    if (table.dataset.filter === undefined) continue;
    const input = make("input", { type: "search", placeholder: "all words must occur" });
    const count = make("output");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of body.rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown} of ${body.rows.length} rows` : "";
    });
    table.parentElement.before(make("label", { className: "filter" }, "Filter", input, count));
  }

  // ---- plots
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const color = (number) => css(`--c${number % 8}`);
  const short = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value));
  const axis = (name, log, extra = {}) => ({
    type: log ? "log" : "value", name, nameLocation: "middle", scale: true,
    nameTextStyle: { color: css("--soft") }, axisLabel: { color: css("--soft"), hideOverlap: true, formatter: short },
    axisLine: { show: true, lineStyle: { color: css("--line") } }, splitLine: { lineStyle: { color: css("--line"), opacity: 0.6 } },
    ...extra,
  });
  const tooltip = (extra) => ({
    renderMode: "richText", backgroundColor: css("--panel"), borderColor: css("--line"),
    textStyle: { color: css("--text"), fontSize: 12 }, confine: true, ...extra,
  });

  const band = (series, fill) => ({
    type: "custom", name: series.name, silent: true, clip: true, z: 1, tooltip: { show: false }, data: [[series.band[0][0], series.band[0][1]]],
    renderItem: (_, api) => ({
      type: "polygon", style: { fill, opacity: 0.16 },
      shape: { points: [...series.band.map((p) => api.coord([p[0], p[2]])), ...[...series.band].reverse().map((p) => api.coord([p[0], p[1]]))] },
    }),
  });

  const lines = (data, state) => {
    const shown = data.series.filter((series) => !state.hidden.has(series.name));
    const marks = data.marks.length && !state.hidden.has("restarts")
      ? [{ type: "line", data: [], markLine: {
          symbol: "none", silent: true, lineStyle: { color: css("--soft"), type: "dotted" },
          label: { formatter: (mark) => mark.name, color: css("--soft") },
          data: data.marks.map(([x, name]) => ({ xAxis: x, name })) } }]
      : [];
    return {
      animation: false, grid: { left: 62, right: 18, top: 18, bottom: 44 },
      tooltip: tooltip({ trigger: "axis", axisPointer: { type: "line" }, formatter: (points) => {
        const at = points[0].value;
        return [`${data.x} ${short(at[0])}${at[2] === undefined ? "" : ` (step ${at[2]})`}`, ...points.map((p) => `${p.seriesName}: ${short(p.value[1])}`)].join("\n");
      } }),
      xAxis: axis(data.x, false, { nameGap: 27, min: 0, max: "dataMax" }),
      yAxis: axis(data.y, state.log, { nameGap: 46 }),
      dataZoom: [{ type: "inside", xAxisIndex: 0, filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false }],
      series: [
        ...shown.filter((series) => series.band.length > 1).map((series) => band(series, color(series.color))),
        ...shown.map((series) => ({
          type: "line", name: series.name, data: series.points, showSymbol: series.points.length < 30, symbolSize: 4, z: 2,
          lineStyle: { width: series.dashed ? 1.3 : 2, type: series.dashed ? "dashed" : "solid" }, itemStyle: { color: color(series.color) },
        })),
        ...marks,
      ],
    };
  };

  const scale = () => ["--c0", "--c2", "--c4"].map(css);
  const parallel = (data) => ({
    animation: false, tooltip: tooltip({ formatter: (p) => [p.name, ...data.axes.map((a, i) => `${a.name}: ${short(p.value[i])}`)].join("\n") }),
    parallel: { left: 55, right: 75, top: 42, bottom: 28, parallelAxisDefault: { nameLocation: "end", nameGap: 14,
      nameTextStyle: { color: css("--text"), overflow: "truncate", width: 130 }, axisLabel: { color: css("--soft"), formatter: short }, axisLine: { lineStyle: { color: css("--soft") } } } },
    parallelAxis: data.axes.map((a, dim) => ({ dim, name: a.name, type: a.values ? "category" : a.log ? "log" : "value", scale: true, ...(a.values ? { data: a.values } : {}) })),
    visualMap: { show: false, type: "continuous", dimension: data.axes.length - 1, min: data.range[0], max: data.range[1],
      inRange: { color: data.lower ? scale() : scale().reverse() } },
    series: [{ type: "parallel", lineStyle: { width: 2, opacity: 0.75 }, data: data.rows.map((row) => ({ name: row.name, value: row.value })) }],
  });

  const slice = (data) => ({
    animation: false, grid: { left: 62, right: 18, top: 18, bottom: 44 },
    tooltip: tooltip({ formatter: (p) => `${p.value[2]}\n${data.x.name}: ${short(p.value[0])}\n${data.y}: ${short(p.value[1])}` }),
    xAxis: data.x.values ? { ...axis(data.x.name, false, { nameGap: 27 }), type: "category", data: data.x.values } : axis(data.x.name, data.x.log, { nameGap: 27 }),
    yAxis: axis(data.y, false, { nameGap: 46 }),
    series: [{ type: "scatter", symbolSize: 9, itemStyle: { color: color(0), opacity: 0.7 }, data: data.points }],
  });

  const forms = { lines, parallel, slice };
  const charts = [];
  for (const figure of document.querySelectorAll("figure.plot")) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const state = { hidden: new Set(data.hidden || []), log: Boolean(data.log) };
    const chart = echarts.init(figure.querySelector(".canvas"), null, { renderer: "svg" });
    const draw = () => chart.setOption(forms[figure.dataset.form](data, state), true);
    const controls = figure.querySelector(".controls");
    const build = () => {
      if (!data.series) return;
      controls.hidden = false;
      const boxes = data.series.map((series) => {
        const box = make("input", { type: "checkbox", checked: !state.hidden.has(series.name) });
        box.addEventListener("change", () => { state.hidden[box.checked ? "delete" : "add"](series.name); draw(); });
        const swatch = make("span", { className: `swatch${series.dashed ? " dashed" : ""}` });
        swatch.style.borderTopColor = color(series.color);
        return make("label", {}, box, swatch, series.name);
      });
      const positive = data.series.every((series) => series.points.every((point) => point[1] > 0));
      const log = make("input", { type: "checkbox", checked: state.log });
      log.addEventListener("change", () => { state.log = log.checked; draw(); });
      const reset = make("button", { type: "button" }, "Reset zoom");
      reset.addEventListener("click", draw);
      controls.replaceChildren(...boxes, ...(positive ? [make("label", {}, log, "logarithmic")] : []), reset);
    };
    build();
    draw();
    charts.push({ chart, draw, build });
  }
  const resize = () => charts.forEach(({ chart }) => chart.resize());
  addEventListener("resize", resize);
  addEventListener("beforeprint", resize);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(({ build, draw }) => { build(); draw(); }));
  document.documentElement.dataset.ready = String(charts.length);
})();
