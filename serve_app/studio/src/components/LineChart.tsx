// Curves over one axis (uPlot): zoom by dragging, values under the pointer, and the numbers as a table.
import "uplot/dist/uPlot.min.css";

import { useEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";

import { short, whole } from "../format";

export interface Curve {
  name: string;
  /** As many as `x`; null where there is no value. */
  values: (number | null)[];
  dash?: number[];
}
interface Props {
  title: string;
  xLabel: string;
  x: number[];
  curves: Curve[];
  log?: boolean;
  height?: number;
  /** Charts of the same key show the same place under the pointer. */
  syncKey?: string;
}

// Told apart by eyes that do not see all colours too (Okabe and Ito), and dashed from the eighth on.
const COLOURS = ["#0a8a7c", "#d55e00", "#0072b2", "#cc79a7", "#b8860b", "#56a5d8", "#7a6ff0"];
const TABLE_ROWS = 200;

export function LineChart({ title, xLabel, x, curves, log = false, height = 220, syncKey }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const [asTable, setAsTable] = useState(false);
  const [redraw, setRedraw] = useState(0);
  const names = JSON.stringify(curves.map((curve) => [curve.name, curve.dash]));
  const data = useMemo<uPlot.AlignedData>(() => [x, ...curves.map((curve) => curve.values)], [x, curves]);
  const latest = useRef(data);
  latest.current = data;

  useEffect(() => {
    const again = () => setRedraw((n) => n + 1);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    window.addEventListener("raylens-theme", again);
    scheme.addEventListener("change", again);
    return () => {
      window.removeEventListener("raylens-theme", again);
      scheme.removeEventListener("change", again);
    };
  }, []);

  useEffect(() => {
    const node = box.current;
    if (node === null || asTable) return;
    const series = (JSON.parse(names) as [string, number[] | null][]).map(([label, dash], i) => ({
      label,
      stroke: COLOURS[i % COLOURS.length]!,
      width: 1.6,
      dash: dash ?? (i >= COLOURS.length ? [6, 4] : []),
      spanGaps: true,
      value: (_: uPlot, value: number | null) => short(value),
    }));
    const style = getComputedStyle(node);
    const axis = { stroke: style.getPropertyValue("--muted-colour") || style.color, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8884" } };
    const made = new uPlot(
      {
        width: Math.max(200, node.clientWidth),
        height,
        scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
        axes: [
          { ...axis, label: xLabel, labelSize: 18, size: 36, values: (_, ticks) => ticks.map((tick) => short(tick)) },
          { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : short(tick))) },
        ],
        series: [{ label: xLabel, value: (_, value) => (value === null ? "–" : whole(value)) }, ...series],
        legend: { live: true },
        cursor: syncKey === undefined ? {} : { sync: { key: syncKey } },
      },
      latest.current,
      node,
    );
    chart.current = made;
    const sizes = new ResizeObserver(() => made.setSize({ width: Math.max(200, node.clientWidth), height }));
    sizes.observe(node);
    return () => {
      sizes.disconnect();
      made.destroy();
      chart.current = null;
    };
  }, [names, xLabel, height, log, syncKey, asTable, redraw]);

  useEffect(() => {
    chart.current?.setData(data, true);
  }, [data]);

  const summary = `${title}: ${curves.map((curve) => `${curve.name} ${short(curve.values.findLast((v) => v !== null) ?? null)}`).join(", ")}`;
  return (
    <figure className="chart">
      <figcaption>
        <b>{title}</b>
        <button type="button" className="inline" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
          {asTable ? "as a chart" : "as a table"}
        </button>
      </figcaption>
      {asTable ? (
        <div className="scroll" tabIndex={0} role="region" aria-label={`${title} as a table`} style={{ maxHeight: height + 60 }}>
          <table>
            <thead>
              <tr>
                {[xLabel, ...curves.map((curve) => curve.name)].map((name) => (
                  <th key={name} scope="col" className="num">
                    <span>{name}</span>
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rowsOf(x.length).map((i) => (
                <tr key={i}>
                  <td className="num">{whole(x[i]!)}</td>
                  {curves.map((curve) => (
                    <td key={curve.name} className="num">
                      {short(curve.values[i] ?? null)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div ref={box} className="plot" role="img" aria-label={summary} />
      )}
    </figure>
  );
}

/** Places of at most TABLE_ROWS rows, evenly over all, the last one among them. */
function rowsOf(length: number): number[] {
  const step = Math.max(1, Math.ceil(length / TABLE_ROWS));
  const found = Array.from({ length: Math.ceil(length / step) }, (_, i) => i * step);
  return found.at(-1) === length - 1 || length === 0 ? found : [...found, length - 1];
}
