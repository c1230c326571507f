// SAEs by explained variance and L0: each point is a link. Up and to the left is better; the line joins those that none surpasses.
import { useState } from "react";
import { useLocation } from "wouter";

import type { ArtifactItem } from "../api/schema";
import { artifactPath } from "../app/paths";
import { fixed, short, visible } from "../format";
import { titleOf } from "./ArtifactParts";

interface Point {
  item: ArtifactItem;
  l0: number;
  ev: number;
}
const WIDTH = 860, HEIGHT = 300, LEFT = 52, RIGHT = 16, TOP = 12, BOTTOM = 40;

/** The points that no other surpasses in both figures, by L0. */
export function paretoFront(points: { l0: number; ev: number }[]): { l0: number; ev: number }[] {
  let best = -Infinity;
  return [...points].sort((a, b) => a.l0 - b.l0 || b.ev - a.ev).filter(({ ev }) => {
    if (ev <= best) return false;
    best = ev;
    return true;
  });
}

export function ParetoPlot({ saes }: { saes: ArtifactItem[] }) {
  const [, go] = useLocation();
  const [shown, setShown] = useState<Point | null>(null);
  const points = saes.map((item): Point => ({ item, l0: Math.max(0.1, Number(item.fields["l0"])), ev: Number(item.fields["ev"]) }));
  if (points.length === 0) return null;
  const logs = points.map((point) => Math.log10(point.l0));
  const [x0, x1] = padded(Math.min(...logs), Math.max(...logs), 0.1);
  const [y0, y1] = padded(Math.min(...points.map((p) => p.ev)), Math.max(...points.map((p) => p.ev)), 0.02);
  const x = (l0: number) => LEFT + ((Math.log10(l0) - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
  const y = (ev: number) => HEIGHT - BOTTOM - ((ev - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const name = ({ item, ev, l0 }: Point) => `${visible(titleOf(item, item.id))}: EV ${fixed(ev, 3)}, L0 ${short(l0)}`;
  const steps = [0, 1, 2, 3, 4].map((i) => i / 4);
  return (
    <figure className="pareto">
      <figcaption><b>EV and L0</b><output>{shown ? name(shown) : "Up and left is better; a point leads to its SAE"}</output></figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-label="Explained variance against L0 of the SAEs" role="group">
        {steps.map((share) => y0 + share * (y1 - y0)).map((ev) => (
          <g key={ev}><line className="grid" x1={LEFT} x2={WIDTH - RIGHT} y1={y(ev)} y2={y(ev)} /><text x={LEFT - 6} y={y(ev) + 4} textAnchor="end">{fixed(ev, 2)}</text></g>
        ))}
        {steps.map((share) => 10 ** (x0 + share * (x1 - x0))).map((l0) => <text key={l0} x={x(l0)} y={HEIGHT - BOTTOM + 16} textAnchor="middle">{short(l0)}</text>)}
        <text x={WIDTH / 2} y={HEIGHT - 4} textAnchor="middle">L0 (log scale)</text>
        <polyline className="curve" points={paretoFront(points).map(({ l0, ev }) => `${x(l0)},${y(ev)}`).join(" ")} />
        {points.map((point) => {
          const path = artifactPath(point.item.ref);
          return (
            <a key={point.item.ref} href={path} aria-label={name(point)} onPointerEnter={() => setShown(point)} onFocus={() => setShown(point)} onBlur={() => setShown(null)}
              onClick={(event) => { if (event.ctrlKey || event.metaKey || event.shiftKey) return; event.preventDefault(); go(path); }}>
              <circle className="hit" cx={x(point.l0)} cy={y(point.ev)} r={12} />
              <circle className="dot" cx={x(point.l0)} cy={y(point.ev)} r={6} />
            </a>
          );
        })}
      </svg>
    </figure>
  );
}

const padded = (low: number, high: number, least: number): [number, number] => {
  const pad = Math.max(least, (high - low) * 0.08);
  return [low - pad, high + pad];
};
