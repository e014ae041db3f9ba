// A strip plot: batches on the x axis, differences from alone on the y axis. Invariant: a point is
// on the zero line, and is a circle, only where the difference is exactly zero.
"use strict";

const stripPlot = (() => {
  const MARGIN = { left: 56, right: 10, top: 12, bottom: 12 };
  const HEIGHT = 132;
  const AXIS = 40;
  const UNITS = [
    { size: 1, name: "" },
    { size: 1e-3, name: "thousandths" },
    { size: 1e-6, name: "millionths" },
    { size: 1e-9, name: "billionths" },
  ];

  /**
   * @typedef {object} Panel
   * @property {number[]} differences
   * @property {number} reach the largest difference on the axis
   * @property {string} label text alternative of the plot
   * @property {boolean} isLast whether to draw the axis of batches
   * @property {(index: number, target: Element) => void} onPoint
   */

  /** @param {any} svg @param {Panel} panel @param {number} width */
  function draw(svg, panel, width) {
    const height = HEIGHT + (panel.isLast ? AXIS : 0);
    const total = panel.differences.length;
    const x = d3.scaleLinear([0.5, total + 0.5], [MARGIN.left, width - MARGIN.right]);
    const reach = panel.reach || 1e-6;
    const y = d3.scaleLinear([-reach, reach], [HEIGHT - MARGIN.bottom, MARGIN.top]).nice(4);
    svg.attr("role", "img").attr("class", "strip").attr("aria-label", panel.label);
    svg.attr("width", width).attr("height", height).attr("viewBox", `0 0 ${width} ${height}`);
    drawDifferences(svg, y, width, UNITS.find((unit) => reach >= 0.05 * unit.size) || UNITS[3]);
    drawPoints(svg, panel, x, y);
    if (panel.isLast) drawBatches(svg, x, width);
  }

  /** Draw the axis of differences, in a unit that keeps its numbers short. */
  function drawDifferences(svg, y, width, unit) {
    const inside = width - MARGIN.left - MARGIN.right;
    const shown = (value) =>
      numbers.signed(String(Number((Number(value) / unit.size).toPrecision(3))));
    const axis = d3.axisLeft(y).ticks(4).tickSize(-inside).tickPadding(6).tickFormat(shown);
    const group = svg.append("g").attr("class", "axis");
    group.attr("transform", `translate(${MARGIN.left},0)`).call(axis);
    svg
      .append("text")
      .attr("class", "unit")
      .attr("text-anchor", "middle")
      .attr("transform", `translate(12,${HEIGHT / 2}) rotate(-90)`)
      .text(unit.name || "difference");
    const zero = svg.append("line").attr("class", "zero").attr("x1", MARGIN.left);
    zero
      .attr("x2", width - MARGIN.right)
      .attr("y1", y(0))
      .attr("y2", y(0));
  }

  function drawPoints(svg, panel, x, y) {
    const circle = d3.symbol(d3.symbolCircle, 26)();
    const diamond = d3.symbol(d3.symbolDiamond, 34)();
    const band = x(2) - x(1);
    svg
      .append("rect")
      .attr("class", "at")
      .attr("width", band)
      .attr("y", MARGIN.top)
      .attr("height", HEIGHT - MARGIN.top - MARGIN.bottom)
      .attr("visibility", "hidden");
    const points = svg.selectAll("path.point").data(panel.differences).join("path");
    points.attr("class", (value) => (value === 0 ? "point unmoved" : "point moved"));
    points.attr("d", (value) => (value === 0 ? circle : diamond));
    points.attr("transform", (value, index) => `translate(${x(index + 1)},${y(value)})`);
    const bands = svg.selectAll("rect.band").data(d3.range(panel.differences.length)).join("rect");
    bands.attr("class", "band").attr("width", band).attr("height", HEIGHT);
    bands.attr("x", (index) => x(index + 0.5));
    bands.on("pointerenter", (event, index) => panel.onPoint(index, event.currentTarget));
  }

  /** Draw the axis of batches. */
  function drawBatches(svg, x, width) {
    const [first, last] = x.domain();
    const ticks = [1, 10, 20, 30, 40, 50].filter((batch) => batch > first && batch < last);
    const axis = d3.axisBottom(x).tickValues(ticks).tickFormat(d3.format("d")).tickSize(5);
    svg.append("g").attr("class", "axis").attr("transform", `translate(0,${HEIGHT})`).call(axis);
    const name = svg.append("text").attr("class", "unit").attr("text-anchor", "middle");
    name
      .attr("x", (MARGIN.left + width) / 2)
      .attr("y", HEIGHT + AXIS - 4)
      .text("batch");
  }

  /** Mark one batch. @param {any} svg @param {number} index */
  function mark(svg, index) {
    const band = svg.selectAll("rect.band").filter((each) => each === index);
    svg.select("rect.at").attr("visibility", band.empty() ? "hidden" : "visible");
    if (!band.empty()) svg.select("rect.at").attr("x", band.attr("x"));
  }

  return { draw, mark };
})();
