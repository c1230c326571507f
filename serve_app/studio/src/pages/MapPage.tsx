// All features as points of a plane, near those with near directions. Drawn on a canvas: 100,000 points are one picture.
import { type KeyboardEvent, type PointerEvent, useEffect, useMemo, useRef, useState } from "react";
import { Link, useLocation, useParams } from "wouter";

import { $api } from "../api/client";
import type { Artifact, FeatureMap } from "../api/schema";
import { featurePath } from "../app/paths";
import { ArtifactLink } from "../components/ArtifactLink";
import { JsonLink } from "../components/Facts";
import { Page } from "../components/Page";
import { ShownText } from "../components/ShownText";
import { Loaded } from "../components/States";
import { fixed, whole } from "../format";

// Colours that are told apart with any kind of colour vision (Okabe and Ito); the shape of the legend says the type in words.
const COLOURS: Record<string, string> = { tokens: "#0072b2", context: "#d55e00", writer: "#cc79a7", both: "#e69f00", positional: "#009e73", dense: "#56b4e9", obscure: "#8a8a8a" };
const SIZE = 720, EDGE = 16, REACH = 12, ZOOM = 1.5;

interface View { x: number; y: number; scale: number }

export default function MapPage() {
  const { id } = useParams<{ id: string }>();
  const labels = $api.useQuery("get", "/v1/labels/{id}", { params: { path: { id } } });
  const map = $api.useQuery("get", "/v1/labels/{id}/map", { params: { path: { id } } }, { staleTime: Infinity });
  return (
    <Page title="Map of features" lead={<>Of <ArtifactLink reference={`labels/${id}`} />: near each other where decoder directions are near. Distances far apart mean nothing. · <JsonLink href={`/v1/labels/${id}/map`} /></>}>
      <Loaded query={labels} what="the labels">
        {(found) => <Loaded query={map} what="the map">{(data) => <Plane id={id} map={data} features={(found as Artifact).inputs["features"]!} />}</Loaded>}
      </Loaded>
    </Page>
  );
}

function Plane({ id, map, features }: { id: string; map: FeatureMap; features: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [, go] = useLocation();
  const [type, setType] = useState("");
  const [at, setAt] = useState<number | null>(null);
  const fitted = useMemo(() => fit(map), [map]);
  const [view, setView] = useState<View>(fitted);
  const shown = useMemo(() => map.type.map((number) => type === "" || map.types[number] === type), [map, type]);
  const drag = useRef<{ x: number; y: number; view: View; moved: boolean } | null>(null);

  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    context.clearRect(0, 0, SIZE, SIZE);
    const side = map.x.length > 20_000 ? 1.5 : 3;
    map.types.forEach((name, number) => {
      context.fillStyle = COLOURS[name] ?? "#000";
      for (let i = 0; i < map.x.length; i++) {
        if (map.type[i] !== number || !shown[i]) continue;
        context.fillRect((map.x[i]! - view.x) * view.scale - side / 2, (map.y[i]! - view.y) * view.scale - side / 2, side, side);
      }
    });
    if (at === null) return;
    context.strokeStyle = getComputedStyle(canvas.current!).color;
    context.lineWidth = 2;
    context.beginPath();
    context.arc((map.x[at]! - view.x) * view.scale, (map.y[at]! - view.y) * view.scale, 7, 0, 2 * Math.PI);
    context.stroke();
  }, [map, shown, view, at]);

  const place = (event: PointerEvent) => {
    const box = canvas.current!.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * SIZE, y: ((event.clientY - box.top) / box.height) * SIZE };
  };
  const zoom = (by: number, x = SIZE / 2, y = SIZE / 2) => setView(({ x: left, y: top, scale }) => ({ x: left + x / scale - x / (scale * by), y: top + y / scale - y / (scale * by), scale: scale * by }));
  const pan = (x: number, y: number) => setView((now) => ({ ...now, x: now.x + (x * SIZE) / 8 / now.scale, y: now.y + (y * SIZE) / 8 / now.scale }));
  const keys = (event: KeyboardEvent) => {
    const steps: Record<string, () => void> = {
      "+": () => zoom(ZOOM), "-": () => zoom(1 / ZOOM), "0": () => setView(fitted), ArrowLeft: () => pan(-1, 0), ArrowRight: () => pan(1, 0), ArrowUp: () => pan(0, -1), ArrowDown: () => pan(0, 1),
      n: () => setAt(nearest(map, shown, view, SIZE / 2, SIZE / 2, Infinity)), Enter: () => at !== null && go(featurePath(features, at)),
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    steps[event.key]!();
  };
  return (
    <>
      <div className="controls">
        <label>Type{" "}
          <select value={type} onChange={(event) => setType(event.target.value)}><option value="">all</option>{map.types.map((name) => <option key={name}>{name}</option>)}</select>
        </label>
        <button type="button" onClick={() => zoom(ZOOM)}>Zoom in</button><button type="button" onClick={() => zoom(1 / ZOOM)}>Zoom out</button><button type="button" onClick={() => setView(fitted)}>Show all</button>
        <Link href={`/labels/${id}`} className="button">As a table</Link>
      </div>
      <ul className="legend">{map.types.map((name) => <li key={name}><span aria-hidden="true" className="swatch" data-type={name} /> {name}</li>)}</ul>
      <canvas
        ref={canvas} width={SIZE} height={SIZE} tabIndex={0} role="application" className="map"
        aria-label={`Map of ${whole(map.x.length)} features. Arrow keys move, plus and minus zoom, N chooses the feature nearest to the middle, Enter opens it. The same features are in a table.`}
        onKeyDown={keys}
        onWheel={(event) => { const box = canvas.current!.getBoundingClientRect(); zoom(event.deltaY < 0 ? ZOOM : 1 / ZOOM, ((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE); }}
        onPointerDown={(event) => { drag.current = { ...place(event), view, moved: false }; event.currentTarget.setPointerCapture?.(event.pointerId); }}
        onPointerUp={() => { const moved = drag.current?.moved; drag.current = null; if (!moved && at !== null) go(featurePath(features, at)); }}
        onPointerMove={(event) => {
          const now = place(event), from = drag.current;
          if (from === null) return setAt(nearest(map, shown, view, now.x, now.y, REACH));
          if (Math.hypot(now.x - from.x, now.y - from.y) > 4) from.moved = true;
          setView({ ...from.view, x: from.view.x - (now.x - from.x) / from.view.scale, y: from.view.y - (now.y - from.y) / from.view.scale });
        }}
      />
      <p role="status" className="map-feature">{at === null ? <span className="quiet">Point at a feature, or press N for the one in the middle.</span> : <Chosen id={id} features={features} latent={at} type={map.types[map.type[at]!]!} />}</p>
    </>
  );
}

function Chosen({ id, features, latent, type }: { id: string; features: string; latent: number; type: string }) {
  const found = $api.useQuery("get", "/v1/labels/{id}/latents/{latent}", { params: { path: { id, latent } } });
  const best = found.data?.[0];
  return (
    <>
      <Link href={featurePath(features, latent)}>Feature {latent}</Link> <span className="quiet">{type}</span>{" "}
      {best && <><ShownText text={best.label} most={120} /> <span className="quiet">{fixed(best.score, 2)} (permuted {fixed(best.permuted_score ?? 0, 2)})</span></>}
    </>
  );
}

/** The view that shows all points. */
export function fit(map: FeatureMap): View {
  const range = (values: number[]) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)] as [number, number], [Infinity, -Infinity] as [number, number]);
  const [left, right] = range(map.x), [top, bottom] = range(map.y);
  const scale = (SIZE - 2 * EDGE) / Math.max(right - left, bottom - top, 1e-9);
  return { x: (left + right) / 2 - SIZE / 2 / scale, y: (top + bottom) / 2 - SIZE / 2 / scale, scale };
}

/** The shown feature nearest to a place of the canvas, at most `reach` px away; null if there is none. */
export function nearest(map: FeatureMap, shown: boolean[], view: View, x: number, y: number, reach: number): number | null {
  const left = view.x + x / view.scale, top = view.y + y / view.scale;
  let best: number | null = null, distance = reach / view.scale;
  for (let i = 0; i < map.x.length; i++) {
    if (!shown[i]) continue;
    const away = Math.hypot(map.x[i]! - left, map.y[i]! - top);
    if (away < distance) [best, distance] = [i, away];
  }
  return best;
}
