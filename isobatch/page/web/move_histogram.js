// A histogram of how far texts move without their mask. Invariant: every bar is a number of texts,
// and the part of a bar whose label flipped is hatched as well as coloured.
"use strict";

const moveHistogram = (() => {
  const MARGIN = { left: 44, right: 12, top: 10, bottom: 44 };
  const HEIGHT = 230;

  /** @param {any} svg @param {MoveBin[]} bins @param {string} label @param {number} width */
  function draw(svg, bins, label, width) {
    const most = d3.max(bins, (bin) => bin.num_texts);
    const x = d3.scaleLinear([0, bins[bins.length - 1].high], [MARGIN.left, width - MARGIN.right]);
    const y = d3.scaleLinear([0, most], [HEIGHT - MARGIN.bottom, MARGIN.top]).nice(4);
    svg.attr("role", "img").attr("class", "histogram").attr("aria-label", label);
    svg.attr("width", width).attr("height", HEIGHT).attr("viewBox", `0 0 ${width} ${HEIGHT}`);
    drawHatch(svg);
    drawAxes(svg, x, y, width);
    const kept = (bin) => bin.num_texts - bin.num_flipped;
    drawBars(svg, "bar", bins, x, y, () => 0, kept);
    const flipped = (bin) => bin.num_flipped;
    const hatched = drawBars(svg, "bar flipped-part", bins, x, y, kept, flipped);
    hatched.attr("fill", "url(#flipped-hatch)");
  }

  function drawHatch(svg) {
    const hatch = svg.append("defs").append("pattern").attr("id", "flipped-hatch");
    hatch.attr("width", 5).attr("height", 5).attr("patternUnits", "userSpaceOnUse");
    hatch.attr("patternTransform", "rotate(45)");
    hatch.append("rect").attr("class", "ground").attr("width", 5).attr("height", 5);
    hatch.append("line").attr("class", "stroke").attr("y2", 5).attr("x1", 1).attr("x2", 1);
  }

  function drawAxes(svg, x, y, width) {
    const inside = width - MARGIN.left - MARGIN.right;
    const whole = y.ticks(4).filter(Number.isInteger);
    const left = d3.axisLeft(y).tickValues(whole).tickFormat(d3.format(",d")).tickSize(-inside);
    const group = svg.append("g").attr("class", "axis");
    group.attr("transform", `translate(${MARGIN.left},0)`).call(left);
    const bottom = d3.axisBottom(x).ticks(width < 480 ? 5 : 10).tickSize(5);
    const moves = svg.append("g").attr("class", "axis");
    moves.attr("transform", `translate(0,${HEIGHT - MARGIN.bottom})`).call(bottom);
    const across = svg.append("text").attr("class", "unit").attr("text-anchor", "middle");
    across
      .attr("x", (MARGIN.left + width) / 2)
      .attr("y", HEIGHT - 6)
      .text("largest change of a logit");
    const up = svg.append("text").attr("class", "unit").attr("text-anchor", "middle");
    up.attr("transform", `translate(10,${(HEIGHT - MARGIN.bottom) / 2}) rotate(-90)`).text("texts");
  }

  /** Draw one part of every bar, from `from` texts upwards. */
  function drawBars(svg, kind, bins, x, y, from, count) {
    const bars = svg
      .append("g")
      .selectAll("rect")
      .data(bins.filter((bin) => count(bin) > 0))
      .join("rect");
    bars.attr("class", kind).attr("x", (bin) => x(bin.low) + 1);
    bars.attr("width", (bin) => Math.max(1, x(bin.high) - x(bin.low) - 2));
    bars.attr("y", (bin) => y(from(bin) + count(bin)));
    return bars.attr("height", (bin) => y(from(bin)) - y(from(bin) + count(bin)));
  }

  return { draw };
})();
