// Counts as a table whose cells have bars: a chart that can be read as numbers, by eye or by a screen reader.
import type { ReactNode } from "react";

import { percent, whole } from "../format";

export interface Bar {
  key: string;
  label: ReactNode;
  count: number;
}

interface Props {
  caption: string;
  /** Header of the labels. */
  what: string;
  unit: string;
  bars: Bar[];
  /** What 100% is; without it there are no shares. */
  total?: number;
}

export function Bars({ caption, what, unit, bars, total }: Props) {
  const largest = Math.max(1, ...bars.map((bar) => bar.count));
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={caption} style={{ maxHeight: 420 }}>
      <table className="bars">
        <caption className="hidden">{caption}</caption>
        <thead>
          <tr>
            <th scope="col"><span>{what}</span></th>
            <th scope="col" className="num"><span>{unit}</span></th>
            {total !== undefined && <th scope="col" className="num"><span>share</span></th>}
            <th scope="col" className="length"><span className="hidden">as a bar</span></th>
          </tr>
        </thead>
        <tbody>
          {bars.map((bar) => (
            <tr key={bar.key}>
              <th scope="row">{bar.label}</th>
              <td className="num">{whole(bar.count)}</td>
              {total !== undefined && <td className="num">{percent(total > 0 ? bar.count / total : null)}</td>}
              <td className="length"><span className="length-bar" style={{ width: `${(100 * bar.count) / largest}%` }} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Bars of a histogram [from, to, count]. */
export function histogramBars(histogram: unknown): Bar[] {
  const rows = Array.isArray(histogram) ? (histogram as [number, number, number][]) : [];
  return rows.map(([from, to, count]) => ({ key: String(from), label: `${whole(from)} to ${whole(to - 1)}`, count }));
}
