// The heat map of one row, layer and head. The depth of a box is the square root of its share, so
// that small shares show; the legend says so. Invariant: one scale, with the mask and without.
"use strict";

const heatMap = (() => {
  const LABELS = 74;
  const TOP = 64;
  const SHARES = 62;
  const SMALLEST = 15;
  const LARGEST = 40;
  const HINT = "Point at a box, or use the arrow keys, to read it.";
  const LEGEND = [0.01, 0.1, 0.25, 0.5, 1];
  const frame = elements.byId("map");
  const reading = elements.byId("reading");
  /** @type {Picture | null} */
  let current = null;
  let cursor = { row: 0, column: 0 };

  /**
   * @typedef {object} Picture
   * @property {string[]} tokens all tokens of the row, pads too
   * @property {number} length how many of them are real
   * @property {(row: number, column: number) => number} weight
   * @property {number[]} leaks the share on pads of each real token
   * @property {string} label the whole picture in words
   */

  /** @param {Picture} picture */
  function draw(picture) {
    current = picture;
    const columns = picture.tokens.length;
    const room = elements.innerWidth(frame) - LABELS - SHARES;
    const size = Math.max(SMALLEST, Math.min(LARGEST, Math.floor(room / columns)));
    const width = LABELS + size * columns + SHARES;
    const height = TOP + size * picture.length + 4;
    const svg = d3
      .select(frame)
      .selectAll("svg")
      .data([picture])
      .join((enter) => scaffold(enter.append("svg")))
      .attr("width", width)
      .attr("height", height)
      .attr("viewBox", `0 0 ${width} ${height}`)
      .attr("aria-label", picture.label);
    drawPads(svg, picture, size);
    drawBoxes(svg, picture, size);
    drawLabels(svg, picture, size);
    drawShares(svg, picture, size);
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
    for (const part of ["pads", "boxes", "rows", "columns", "shares"])
      svg.append("g").attr("class", part);
    svg.append("rect").attr("class", "cursor").attr("visibility", "hidden");
    return svg;
  }

  /** Hatching behind the columns of the pads. */
  function drawPads(svg, picture, size) {
    const pads = picture.tokens.length - picture.length;
    svg
      .select(".pads")
      .selectAll("rect")
      .data(pads ? [pads] : [])
      .join("rect")
      .attr("x", LABELS + size * picture.length)
      .attr("y", TOP)
      .attr("width", size * pads)
      .attr("height", size * picture.length)
      .attr("fill", "url(#hatch)");
  }

  function drawBoxes(svg, picture, size) {
    const boxes = d3
      .range(picture.length)
      .flatMap((row) =>
        picture.tokens.map((_, column) => ({ row, column, share: picture.weight(row, column) })),
      );
    svg
      .select(".boxes")
      .selectAll("rect")
      .data(boxes, (box) => `${box.row} ${box.column}`)
      .join("rect")
      .attr("class", (box) => (box.column < picture.length ? "box" : "box on-pad"))
      .attr("x", (box) => LABELS + size * box.column + 0.5)
      .attr("y", (box) => TOP + size * box.row + 0.5)
      .attr("width", size - 1)
      .attr("height", size - 1)
      .attr("fill-opacity", (box) => Math.sqrt(box.share).toFixed(3))
      .on("pointerenter", (event, box) => point(box, event.currentTarget))
      .on("pointerleave", () => tip.hide());
  }

  function drawLabels(svg, picture, size) {
    svg
      .select(".rows")
      .selectAll("text")
      .data(picture.tokens.slice(0, picture.length))
      .join("text")
      .attr("x", LABELS - 8)
      .attr("y", (_, row) => TOP + size * (row + 0.5))
      .attr("dy", "0.35em")
      .attr("text-anchor", "end")
      .text(shortened);
    svg
      .select(".columns")
      .selectAll("text")
      .data(picture.tokens)
      .join("text")
      .attr("class", (_, column) => (column < picture.length ? "" : "on-pad"))
      .attr(
        "transform",
        (_, column) => `translate(${LABELS + size * (column + 0.5) + 4},${TOP - 6}) rotate(-60)`,
      )
      .text(shortened);
  }

  /** The share on pads at the end of each row, as a figure. */
  function drawShares(svg, picture, size) {
    const left = LABELS + size * picture.tokens.length + 8;
    svg
      .select(".shares")
      .selectAll("text")
      .data(picture.leaks)
      .join("text")
      .attr("class", (leak) => (leak > 0 ? "leaks" : "tight"))
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

  /** Say what is in a box, and show where it is. */
  function point(box, target) {
    if (!current) return;
    const asking = current.tokens[box.row];
    const asked = current.tokens[box.column];
    const share = numbers.percent(current.weight(box.row, box.column));
    const pad = box.column < current.length ? "" : " (a pad)";
    tip.show(target, [`${asking} → ${asked}${pad}`, share]);
    const column = `column ${box.column + 1}`;
    reading.textContent = `${asking} gives ${share} of its attention to ${asked}${pad}, ${column}.`;
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
    const inside = next.row >= 0 && next.row < current.length;
    if (inside && next.column >= 0 && next.column < current.tokens.length) cursor = next;
    showCursor();
  }

  function showCursor() {
    const isHere = (box) => box.row === cursor.row && box.column === cursor.column;
    const box = d3.select(frame).select(".boxes").selectAll("rect").filter(isHere);
    const node = /** @type {Element | null} */ (box.node());
    if (!node) return;
    const outline = d3.select(frame).select(".cursor").attr("visibility", "visible");
    for (const name of ["x", "y", "width", "height"]) outline.attr(name, box.attr(name));
    node.scrollIntoView({ block: "nearest", inline: "nearest" });
    point(cursor, node);
  }

  function hideCursor() {
    d3.select(frame).select(".cursor").attr("visibility", "hidden");
    tip.hide();
  }

  /** Boxes of known shares, so that a depth can be read. */
  function drawLegend() {
    const key = elements.byId("legend");
    const svg = d3.select(key).append("svg").attr("class", "key").attr("role", "img");
    svg.attr("width", LEGEND.length * 44).attr("height", 34);
    svg.attr(
      "aria-label",
      "Depths of colour for shares of 1, 10, 25, 50 and 100 %; their square root is drawn",
    );
    const steps = svg.selectAll("g").data(LEGEND).join("g");
    steps.attr("transform", (_, index) => `translate(${index * 44},0)`);
    steps
      .append("rect")
      .attr("class", "box")
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
