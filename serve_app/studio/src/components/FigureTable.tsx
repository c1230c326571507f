// Figures beside their controls: of each control the figure itself, and the difference from it, with their intervals.
import type { ReactNode } from "react";

import { ArtifactLink } from "./ArtifactLink";

export interface Interval {
  value: number;
  low: number | null;
  high: number | null;
}
interface Control extends Interval {
  /** What it is, or the SAE that it is of: `random latents`, `saes/67d5273bd9611bd1`. */
  control: string;
  difference: Interval;
}
export interface Figure {
  sae: Interval;
  controls: Control[];
}
export interface FigureRow {
  key: string;
  /** What the figure is of, under the headers of `head`; the first is the row's own header. */
  head: ReactNode[];
  figure: Figure;
  /** After the figure, under the headers of `tail`. */
  tail?: ReactNode[];
}
interface Props {
  caption: string;
  head: string[];
  rows: FigureRow[];
  tail?: string[];
}

export function FigureTable({ caption, head, rows, tail = [] }: Props) {
  const names = [...new Set(rows.flatMap((row) => row.figure.controls.map((one) => one.control)))];
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table className="figures">
        <thead>
          <tr>
            {head.map((name, i) => <th key={name} scope="col" className={i > 0 ? "num" : undefined}><span>{name}</span></th>)}
            <th scope="col" className="num"><span>SAE</span></th>
            {names.flatMap((name) => [
              <th key={name} scope="col" className="num"><span><ArtifactLink reference={name} /></span></th>,
              <th key={`${name}-d`} scope="col" className="num"><span>difference</span></th>,
            ])}
            {tail.map((name) => <th key={name} scope="col"><span>{name}</span></th>)}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.key}>
              <th scope="row"><span>{row.head[0]}</span></th>
              {row.head.slice(1).map((one, i) => <td key={head[i + 1]} className="num">{one}</td>)}
              <td className="num">{interval(row.figure.sae)}</td>
              {names.flatMap((name) => {
                const one = row.figure.controls.find((control) => control.control === name);
                return [
                  <td key={name} className="num">{one ? interval(one) : "–"}</td>,
                  <td key={`${name}-d`} className="num">{one ? interval(one.difference, true) : "–"}</td>,
                ];
              })}
              {row.tail?.map((one, i) => <td key={tail[i]}>{one}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** "0.912 [0.908, 0.915]"; signed: "+0.012 [-0.004, +0.028]". */
export function interval({ value, low, high }: Interval, signed = false): string {
  const text = (n: number) => (signed && n >= 0 ? "+" : "") + n.toFixed(3);
  return low === null || high === null ? text(value) : `${text(value)} [${text(low)}, ${text(high)}]`;
}
