// Heat map of one row, layer and head. Opacity is the square root of the share, so that small
// shares are visible; the legend says so. Invariant: one scale, with the mask and without.
"use strict";

const heatMap = (() => {
  const LABELS = 74;
  const TOP = 64;
  const SHARES = 62;
  const SMALLEST = 15;
  const LARGEST = 40;
  const HINT = "Hover over a cell, or use the arrow keys, to read it.";
  const LEGEND = [0.01, 0.1, 0.25, 0.5, 1];
  const frame = elements.byId("map");
  const reading = elements.byId("cell");
  /** @type {HeatMap | null} */
  let current = null;
  let cursor = { row: 0, column: 0 };

  /**
   * @typedef {object} HeatMap
   * @property {string[]} tokens all tokens of the row, padding included
   * @property {number} length number of real tokens
   * @property {(row: number, column: number) => number} weight
   * @property {number[]} leaks share on padding of each real token
   * @property {string} label text alternative of the heat map
   */

  /** @param {HeatMap} map */
  function draw(map) {
    current = map;
    const columns = map.tokens.length;
    const available = elements.innerWidth(frame) - LABELS - SHARES;
    const size = Math.max(SMALLEST, Math.min(LARGEST, Math.floor(available / columns)));
    const width = LABELS + size * columns + SHARES;
    const height = TOP + size * map.length + 4;
    const svg = d3
      .select(frame)
      .selectAll("svg")
      .data([map])
      .join((enter) => scaffold(enter.append("svg")))
      .attr("width", width)
      .attr("height", height)
      .attr("viewBox", `0 0 ${width} ${height}`)
      .attr("aria-label", map.label);
    drawPads(svg, map, size);
    drawCells(svg, map, size);
    drawLabels(svg, map, size);
    drawShares(svg, map, size);
    cursor = { row: 0, column: 0 };
    svg.select(".cursor").attr("visibility", "hidden");
    reading.textContent = HINT;
  }

  function scaffold(svg) {
    svg.attr("role", "img").attr("class", "heat");
    const pattern = svg.append("defs").append("pattern");
    pattern.attr("id", "hatch").attr("width", 6).attr("height", 6);
    pattern.attr("patternUnits", "userSpaceOnUse").attr("patternTransform", "rotate(45)");
    pattern.append("line").attr("y2", 6).attr("class", "hatch");
    for (const part of ["pads", "cells", "rows", "columns", "shares"])
      svg.append("g").attr("class", part);
    svg.append("rect").attr("class", "cursor").attr("visibility", "hidden");
    return svg;
  }

  /** Hatch the columns of padding. */
  function drawPads(svg, map, size) {
    const pads = map.tokens.length - map.length;
    svg
      .select(".pads")
      .selectAll("rect")
      .data(pads ? [pads] : [])
      .join("rect")
      .attr("x", LABELS + size * map.length)
      .attr("y", TOP)
      .attr("width", size * pads)
      .attr("height", size * map.length)
      .attr("fill", "url(#hatch)");
  }

  function drawCells(svg, map, size) {
    const cells = d3
      .range(map.length)
      .flatMap((row) =>
        map.tokens.map((_, column) => ({ row, column, share: map.weight(row, column) })),
      );
    svg
      .select(".cells")
      .selectAll("rect")
      .data(cells, (cell) => `${cell.row} ${cell.column}`)
      .join("rect")
      .attr("class", (cell) => (cell.column < map.length ? "cell" : "cell on-pad"))
      .attr("x", (cell) => LABELS + size * cell.column + 0.5)
      .attr("y", (cell) => TOP + size * cell.row + 0.5)
      .attr("width", size - 1)
      .attr("height", size - 1)
      .attr("fill-opacity", (cell) => Math.sqrt(cell.share).toFixed(3))
      .on("pointerenter", (event, cell) => point(cell, event.currentTarget))
      .on("pointerleave", () => tooltip.hide());
  }

  function drawLabels(svg, map, size) {
    svg
      .select(".rows")
      .selectAll("text")
      .data(map.tokens.slice(0, map.length))
      .join("text")
      .attr("x", LABELS - 8)
      .attr("y", (_, row) => TOP + size * (row + 0.5))
      .attr("dy", "0.35em")
      .attr("text-anchor", "end")
      .text(shortened);
    svg
      .select(".columns")
      .selectAll("text")
      .data(map.tokens)
      .join("text")
      .attr("class", (_, column) => (column < map.length ? "" : "on-pad"))
      .attr(
        "transform",
        (_, column) => `translate(${LABELS + size * (column + 0.5) + 4},${TOP - 6}) rotate(-60)`,
      )
      .text(shortened);
  }

  /** Write the share on padding at the end of each row. */
  function drawShares(svg, map, size) {
    const left = LABELS + size * map.tokens.length + 8;
    svg
      .select(".shares")
      .selectAll("text")
      .data(map.leaks)
      .join("text")
      .attr("class", (leak) => (leak > 0 ? "leaks" : "no-leak"))
      .attr("x", left)
      .attr("y", (_, row) => TOP + size * (row + 0.5))
      .attr("dy", "0.35em")
      .text((leak) => (leak > 0 && leak < 0.0005 ? "<\u00a00.1\u00a0%" : numbers.percent(leak)));
  }

  /** @param {string} token */
  function shortened(token) {
    const letters = [...token];
    return letters.length > 9 ? `${letters.slice(0, 8).join("")}…` : token;
  }

  /** Describe a cell. */
  function point(cell, target) {
    if (!current) return;
    const query = current.tokens[cell.row];
    const key = current.tokens[cell.column];
    const share = numbers.percent(current.weight(cell.row, cell.column));
    const pad = cell.column < current.length ? "" : " (padding)";
    tooltip.show(target, [`${query} → ${key}${pad}`, share]);
    const column = `column ${cell.column + 1}`;
    reading.textContent = `${query} gives ${share} of its attention to ${key}${pad}, ${column}.`;
  }

  /** Move the cursor by the arrow keys. @param {KeyboardEvent} event */
  function onKey(event) {
    if (!current) return;
    const { row, column } = cursor;
    const next = {
      ArrowLeft: { row, column: column - 1 },
      ArrowRight: { row, column: column + 1 },
      ArrowUp: { row: row - 1, column },
      ArrowDown: { row: row + 1, column },
      Home: { row, column: 0 },
      End: { row, column: current.tokens.length - 1 },
    }[event.key];
    if (!next) return;
    event.preventDefault();
    const hidden = d3.select(frame).select(".cursor").attr("visibility") === "hidden";
    if (hidden && event.key.startsWith("Arrow")) return showCursor();
    const inside = next.row >= 0 && next.row < current.length;
    if (inside && next.column >= 0 && next.column < current.tokens.length) cursor = next;
    showCursor();
  }

  function showCursor() {
    const isHere = (cell) => cell.row === cursor.row && cell.column === cursor.column;
    const cell = d3.select(frame).select(".cells").selectAll("rect").filter(isHere);
    const node = /** @type {Element | null} */ (cell.node());
    if (!node) return;
    const outline = d3.select(frame).select(".cursor").attr("visibility", "visible");
    for (const name of ["x", "y", "width", "height"]) outline.attr(name, cell.attr(name));
    node.scrollIntoView({ block: "nearest", inline: "nearest" });
    point(cursor, node);
  }

  function hideCursor() {
    d3.select(frame).select(".cursor").attr("visibility", "hidden");
    tooltip.hide();
  }

  /** Draw cells of known shares. */
  function drawLegend() {
    const svg = d3.select(elements.byId("legend")).append("svg");
    svg.attr("class", "key").attr("role", "img");
    svg.attr("width", LEGEND.length * 44).attr("height", 34);
    svg.attr(
      "aria-label",
      "Opacity for shares of 1, 10, 25, 50 and 100 %; their square root is drawn",
    );
    const steps = svg.selectAll("g").data(LEGEND).join("g");
    steps.attr("transform", (_, index) => `translate(${index * 44},0)`);
    steps
      .append("rect")
      .attr("class", "cell")
      .attr("width", 43)
      .attr("height", 14)
      .attr("fill-opacity", Math.sqrt);
    steps
      .append("text")
      .attr("y", 28)
      .text((share) => numbers.percent(share));
  }

  frame.addEventListener("keydown", onKey);
  frame.addEventListener("blur", hideCursor);
  drawLegend();

  return { draw };
})();
