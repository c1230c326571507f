// What a function of the report's scripts draws (sae/report/js): the same elements as in the report.
import { useLayoutEffect, useRef } from "react";

/** `draw` gives the elements, anew when `of` changes: what they are drawn of, as text. */
export function Drawn({ of, draw }: { of: string; draw: () => Node }) {
  const box = useRef<HTMLDivElement>(null);
  const latest = useRef(draw);
  latest.current = draw;
  useLayoutEffect(() => box.current?.replaceChildren(latest.current()), [of]);
  return <div ref={box} />;
}
