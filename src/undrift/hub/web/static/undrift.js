/* Draws the charts of a page from what the page says in #drawn and from the points it names. Nothing else needs it. */
"use strict";

(() => {
  const source = document.getElementById("drawn");
  if (!source || !window.echarts) return;
  const drawn = JSON.parse(source.textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const charts = [];

  // Told apart in light and dark, also by people who see few colours; dashes tell further ones apart.
  const COLOURS = {
    light: ["#0d7f7b", "#c8453b", "#3d55a5", "#b06d00", "#7b4fa3", "#4c7a2b", "#b0397f", "#5d6b66"],
    dark: ["#45c2b5", "#ff8d80", "#a9b9f5", "#e6ac4d", "#c9a2ee", "#9fd074", "#f08cc6", "#a8b8b2"],
  };
  const DASHES = ["solid", "dashed", "dotted", [8, 3, 2, 3]];
  const SHADES = { light: ["#8ab8d8", "#3d55a5", "#5b1a6b"], dark: ["#38589c", "#45c2b5", "#f4e27a"] };

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const mode = () => (dark.matches ? "dark" : "light");
  const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
  const digits = (value) => (typeof value === "number" ? String(Number(value.toPrecision(5))) : String(value));
  const two = (value) => String(value).padStart(2, "0");

  function moment(ms) {
    const at = new Date(ms);
    const day = `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`;
    return `${day} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())} UTC`;
  }

  /* One unit for a whole axis, so that its marks are round numbers. */
  function unitOf(seconds) {
    if (seconds < 120) return ["s", 1];
    if (seconds < 7200) return ["min", 60];
    return seconds < 172800 ? ["h", 3600] : ["days", 86400];
  }

  function span(values) {
    return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  }

  function axisStyle(extra) {
    return Object.assign(
      {
        nameTextStyle: { color: css("--soft") },
        axisLabel: { color: css("--soft"), hideOverlap: true },
        axisLine: { lineStyle: { color: css("--rule") } },
        axisTick: { lineStyle: { color: css("--rule") } },
        splitLine: { lineStyle: { color: css("--rule") } },
      },
      extra,
    );
  }

  function base() {
    return {
      animation: false,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: css("--ink") },
      // Rich text is drawn on the canvas: tooltips made of HTML would need inline styles, which the page forbids.
      tooltip: {
        renderMode: "richText",
        confine: true,
        backgroundColor: css("--card"),
        borderColor: css("--rule"),
        textStyle: { color: css("--ink"), fontSize: 12 },
      },
    };
  }

  function put(box, option) {
    let chart = charts.find((one) => one.box === box);
    if (!chart) {
      box.replaceChildren();
      chart = { box, shown: echarts.init(box, null, { renderer: "canvas" }) };
      charts.push(chart);
    }
    chart.shown.setOption(option, true);
    return chart.shown;
  }

  function say(box, text) {
    const place = box.closest("figure").querySelector(".said");
    if (place) place.textContent = text;
  }

  /* The mean of what came before, weighted by smooth^age and corrected for the beginning; gaps stay gaps. */
  function smoothed(values, smooth) {
    let sum = 0;
    let weight = 0;
    return values.map((value) => {
      if (value === null) return null;
      sum = smooth * sum + (1 - smooth) * value;
      weight = smooth * weight + (1 - smooth);
      return sum / weight;
    });
  }

  /* Whether no curve goes anywhere, as that of a score at the end: drawn as lines they would be a cloud of dots. */
  function isFlat(found) {
    const most = (column) => Math.max(...found.curves.map((curve) => new Set(curve[column]).size));
    return found.curves.length > 1 && most(drawn.x === "step" ? "steps" : "times") <= 1;
  }

  function barOption(box, found) {
    const known = new Map(drawn.runs.map((run) => [run.id, run]));
    const bars = found.curves
      .filter((curve) => typeof curve.values.at(-1) === "number")
      .map((curve) => ({ name: known.get(curve.run).name, value: curve.values.at(-1), link: known.get(curve.run).link }));
    const without = found.curves.length - bars.length;
    const once = found.curves.every((curve) => curve.values.length <= 1);
    const told = [once ? "No run has more than one point." : "All points of a run have one step: the newest are drawn."];
    if (without) told.push(`${without} ${without === 1 ? "run has" : "runs have"} no number.`);
    say(box, told.join(" "));
    const option = base();
    option.grid = { left: 24, right: 64, top: 8, bottom: 26, containLabel: true };
    option.tooltip.formatter = (given) => `${short(given.name, 60)}: ${digits(given.value)}`;
    option.xAxis = axisStyle({ type: "value" });
    option.xAxis.axisLabel.formatter = digits;
    option.yAxis = axisStyle({ type: "category", inverse: true, data: bars.map((bar) => bar.name) });
    option.yAxis.axisLabel.formatter = (name) => short(name, 24);
    option.series = [
      {
        type: "bar",
        data: bars,
        barMaxWidth: 22,
        itemStyle: { color: COLOURS[mode()][0] },
        label: { show: bars.length <= 14, position: "right", color: css("--ink"), formatter: (given) => digits(given.value) },
      },
    ];
    return option;
  }

  function curveOption(box, found) {
    const names = new Map(drawn.runs.map((run) => [run.id, run.name || run.id.slice(0, 8)]));
    const colours = COLOURS[mode()];
    const several = found.curves.length > 1;
    let gaps = 0;
    let hidden = 0;
    let sampled = false;
    const series = [];
    const spans = found.curves.map((curve) => (curve.times.length ? span(curve.times) : [0, 0]));
    const [unit, seconds] = unitOf(Math.max(...spans.map(([from, to]) => (to - from) / 1000)));
    let low = Infinity;
    let high = -Infinity;
    found.curves.forEach((curve, place) => {
      if (!curve.values.length) return;
      sampled = sampled || curve.values.length >= found.limit;
      const across =
        drawn.x === "time"
          ? curve.times
          : drawn.x === "elapsed"
            ? curve.times.map((at) => (at - spans[place][0]) / 1000 / seconds)
            : curve.steps;
      const values = curve.values.map((value) => {
        if (typeof value !== "number") {
          gaps += 1;
          return null;
        }
        if (drawn.log && value <= 0) {
          hidden += 1;
          return null;
        }
        low = Math.min(low, value);
        high = Math.max(high, value);
        return value;
      });
      const order = across.map((_, at) => at).sort((a, b) => across[a] - across[b] || a - b);
      const pairs = (column) => order.map((at) => [across[at], column[at]]);
      const sorted = order.map((at) => values[at]);
      const name = several ? `${short(names.get(curve.run) || curve.run, 40)} (${curve.run.slice(-4)})` : found.metric;
      const style = {
        color: colours[place % colours.length],
        type: DASHES[Math.floor(place / colours.length) % DASHES.length],
      };
      const one = {
        type: "line",
        symbol: "circle",
        symbolSize: 5,
        showSymbol: curve.values.length < 30,
        connectNulls: false,
        itemStyle: { color: style.color },
        emphasis: { focus: several ? "series" : "none" },
      };
      if (drawn.smooth > 0) {
        series.push({
          ...one,
          name,
          showSymbol: false,
          silent: true,
          tooltip: { show: false },
          data: pairs(values),
          lineStyle: { ...style, width: 1, opacity: 0.28 },
        });
        const calm = smoothed(sorted, drawn.smooth);
        series.push({
          ...one,
          name,
          showSymbol: false,
          data: order.map((at, rank) => [across[at], calm[rank]]),
          lineStyle: { ...style, width: 2.2 },
        });
      } else {
        series.push({ ...one, name, data: pairs(values), lineStyle: { ...style, width: 1.8 } });
      }
    });
    const told = [];
    if (!series.length) told.push("No points were logged.");
    if (sampled) told.push(`${found.limit} points of each curve are drawn.`);
    if (drawn.smooth > 0) told.push(`Bold: exponential mean with weight ${drawn.smooth}; faint: as logged.`);
    if (drawn.log) told.push("Logarithmic.");
    if (gaps) told.push(`${gaps} ${gaps === 1 ? "point that is" : "points that are"} no number ${gaps === 1 ? "is a gap" : "are gaps"}.`);
    if (hidden) told.push(`${hidden} of zero or less cannot be drawn on this scale.`);
    say(box, told.join(" "));
    const option = base();
    option.color = colours;
    option.grid = { left: 8, right: 20, top: several ? 40 : 14, bottom: 26, containLabel: true };
    const format = drawn.x === "time" ? moment : drawn.x === "elapsed" ? (at) => `${digits(at)} ${unit}` : (step) => `step ${step}`;
    option.tooltip.trigger = several ? "item" : "axis";
    option.tooltip.formatter = (given) => {
      const points = (Array.isArray(given) ? given : [given]).filter((one) => one.value[1] !== null);
      const lines = points.map((one) => `${several ? one.seriesName + ": " : ""}${digits(one.value[1])}`);
      return points.length ? [format(points[0].value[0]), ...lines].join("\n") : "";
    };
    option.xAxis = axisStyle({ type: drawn.x === "time" ? "time" : "value", scale: true, splitLine: { show: false } });
    option.useUTC = true;
    if (drawn.x === "elapsed") option.xAxis.axisLabel.formatter = (at) => `${digits(at)} ${unit}`;
    if (drawn.x === "step") option.xAxis.minInterval = 1;
    option.yAxis = axisStyle({ type: drawn.log ? "log" : "value", scale: true });
    option.yAxis.axisLabel.formatter = digits;
    if (drawn.log && high >= low) {
      // Whole decades would leave most of the picture empty.
      option.yAxis.min = Number((low * 0.9).toPrecision(2));
      option.yAxis.max = Number((high * 1.1).toPrecision(2));
    }
    option.series = series;
    if (several) {
      option.legend = {
        type: "scroll",
        top: 0,
        left: 0,
        itemWidth: 26,
        textStyle: { color: css("--ink"), fontSize: 12 },
        pageTextStyle: { color: css("--soft") },
        pageIconColor: css("--link"),
        pageIconInactiveColor: css("--rule"),
      };
    }
    option.dataZoom = [{ type: "inside", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false }];
    return option;
  }

  function axisOf(axis, place) {
    const one = { dim: place, name: short(axis.name.replace(/^(parameters|metrics)\./, ""), 24) };
    if (axis.kind === "word") {
      one.type = "category";
      one.data = [...new Set(axis.values.filter((value) => value !== null))].sort();
    } else {
      one.type = "value";
      one.scale = true;
    }
    return one;
  }

  function parallelOption(box) {
    const axes = drawn.parallel;
    const last = axes[axes.length - 1];
    const option = base();
    const numbers = last.kind === "number" ? last.values.filter((value) => value !== null) : [];
    // Side by side, axes need more room than a phone has: there they lie above each other.
    const narrow = box.clientWidth < 100 * axes.length;
    option.parallel = narrow
      ? { layout: "vertical", left: 12, right: 24, top: 30, bottom: 30 }
      : { left: 80, right: 90, top: 44, bottom: 24 };
    option.parallelAxis = axes.map((axis, place) => axisStyle({ ...axisOf(axis, place), nameTextStyle: { color: css("--ink"), fontSize: 12 } }));
    option.parallelAxis.forEach((axis) => {
      if (narrow) Object.assign(axis, { nameLocation: "start", nameGap: 8 });
      if (narrow) Object.assign(axis.nameTextStyle, { align: "left", verticalAlign: "bottom", padding: [0, 0, 4, 0] });
      axis.axisLabel.formatter = (value) => short(digits(value), 14);
      axis.axisLine.lineStyle = { color: css("--soft") };
    });
    option.tooltip.formatter = (given) => {
      const run = drawn.runs[given.dataIndex];
      return [run.name, ...axes.map((axis) => `${axis.name}: ${axis.values[given.dataIndex] ?? "-"}`)].map((line) => short(line, 90)).join("\n");
    };
    option.series = [
      {
        type: "parallel",
        smooth: false,
        progressive: 0,
        lineStyle: { width: 2, opacity: 0.75, color: COLOURS[mode()][0] },
        emphasis: { lineStyle: { width: 4, opacity: 1 } },
        data: drawn.runs.map((_, at) => axes.map((axis) => (axis.values[at] === null ? "-" : axis.values[at]))),
      },
    ];
    if (numbers.length > 1) {
      const low = Math.min(...numbers);
      const high = Math.max(...numbers);
      if (high > low)
        option.visualMap = {
          show: false,
          min: low,
          max: high,
          dimension: axes.length - 1,
          inRange: { color: SHADES[mode()] },
          outOfRange: { color: css("--dot") },
        };
    }
    return option;
  }

  function scatterOption() {
    const { across, up } = drawn;
    const option = base();
    const kind = (axis) => (axis.kind === "word" ? { type: "category", data: [...new Set(axis.values.filter((v) => v !== null))].sort() } : { type: "value", scale: true, boundaryGap: ["4%", "4%"] });
    option.grid = { left: 16, right: 30, top: 36, bottom: 34, containLabel: true };
    option.xAxis = axisStyle({ ...kind(across), name: short(across.name, 60), nameLocation: "middle", nameGap: 30 });
    option.yAxis = axisStyle({ ...kind(up), name: short(up.name, 60), nameTextStyle: { color: css("--soft"), align: "left" } });
    [option.xAxis, option.yAxis].forEach((axis) => {
      axis.axisLabel.formatter = (value) => short(digits(value), 18);
    });
    option.tooltip.formatter = (given) =>
      [given.name, `${across.name}: ${given.value[0]}`, `${up.name}: ${given.value[1]}`].map((line) => short(line, 90)).join("\n");
    option.series = [
      {
        type: "scatter",
        symbolSize: 11,
        itemStyle: { color: COLOURS[mode()][0], borderColor: css("--card"), borderWidth: 1 },
        data: drawn.runs
          .map((run, at) => ({ name: run.name, value: [across.values[at], up.values[at]], link: run.link }))
          .filter((one) => one.value.every((value) => value !== null)),
      },
    ];
    return option;
  }

  function openOnClick(chart, links) {
    chart.on("click", (given) => {
      const link = links(given);
      // Only what this hub has said: the address of a run.
      if (link && link.startsWith("/runs/")) location.assign(link);
    });
  }

  const redraw = [];

  function draw(box, option, links) {
    const once = () => put(box, option());
    const chart = once();
    if (links) openOnClick(chart, links);
    redraw.push(once);
  }

  async function drawCurve(box) {
    try {
      const answer = await fetch(box.dataset.curves, { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error(`the hub answered ${answer.status}`);
      const found = await answer.json();
      draw(box, () => (isFlat(found) ? barOption : curveOption)(box, found), (given) => given.data && given.data.link);
    } catch (error) {
      say(box, `The points could not be read: ${error.message}.`);
    }
  }

  // Only what comes into sight is fetched and drawn.
  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        seen.unobserve(entry.target);
        drawCurve(entry.target);
      }
    },
    { rootMargin: "300px" },
  );
  document.querySelectorAll("[data-curves]").forEach((box) => seen.observe(box));
  document.querySelectorAll("[data-parallel]").forEach((box) => draw(box, () => parallelOption(box)));
  document.querySelectorAll("[data-scatter]").forEach((box) => draw(box, scatterOption, (given) => given.data && given.data.link));

  dark.addEventListener("change", () => redraw.forEach((again) => again()));
  const fitted = new ResizeObserver((entries) => {
    for (const entry of entries) {
      const chart = charts.find((one) => one.box === entry.target);
      if (!chart) continue;
      chart.shown.resize();
      if ("parallel" in entry.target.dataset) put(entry.target, parallelOption(entry.target));
    }
  });
  document.querySelectorAll(".canvas").forEach((box) => fitted.observe(box));
})();
