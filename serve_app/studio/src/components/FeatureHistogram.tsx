// The histogram of a feature's activations, as the report draws it; its numbers as a table.
import { useEffect, useRef, useState } from "react";

import { histogram } from "../../../../sae/report/js/charts.js";
import type { Bin } from "../api/schema";
import { figures, short, whole } from "../format";
import { Bars } from "./Bars";

export function FeatureHistogram({ bins }: { bins: Bin[] }) {
  const box = useRef<HTMLDivElement>(null);
  const [asTable, setAsTable] = useState(false);
  useEffect(() => {
    if (asTable || box.current === null) return;
    const total = bins.reduce((sum, bin) => sum + bin.count, 0);
    const drawn = histogram({
      title: "", xLabel: "activation when active (log scale)", aria: "Histogram of this feature's non-zero activations; use the arrow keys",
      summary: `${whole(total)} positions`, width: 330, height: 255,
      bars: bins.map((bin) => ({ from: Math.log10(bin.start), to: Math.log10(bin.stop), count: bin.count })),
      say: (bar: { from: number; to: number; count: number }) => `${short(10 ** bar.from)} to ${short(10 ** bar.to)}: ${whole(bar.count)}`,
    });
    box.current.replaceChildren(drawn as Node);
  }, [bins, asTable]);
  return (
    <>
      {asTable ? <Bars caption="Activations by size" what="Activation" unit="positions" bars={bins.map((bin) => ({ key: String(bin.start), label: `${figures(bin.start)} to ${figures(bin.stop)}`, count: bin.count }))} /> : <div ref={box} />}
      <button type="button" className="inline" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>{asTable ? "as a chart" : "as a table"}</button>
    </>
  );
}
