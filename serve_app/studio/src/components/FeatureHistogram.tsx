// The histogram of a feature's activations, drawn by the report's own script; its numbers as a table.
import { useState } from "react";

import { activationHistogram } from "../../../../sae/report/js/feature_parts.js";
import type { Bin } from "../api/schema";
import { figures } from "../format";
import { Bars } from "./Bars";
import { Drawn } from "./Drawn";

export function FeatureHistogram({ bins }: { bins: Bin[] }) {
  const [asTable, setAsTable] = useState(false);
  const bars = bins.map((bin) => ({ from: Math.log10(bin.start), to: Math.log10(bin.stop), count: bin.count }));
  return (
    <>
      {asTable ? <Bars caption="Activations by size" what="Activation" unit="positions" bars={bins.map((bin) => ({ key: String(bin.start), label: `${figures(bin.start)} to ${figures(bin.stop)}`, count: bin.count }))} />
        : <Drawn of={JSON.stringify(bars)} draw={() => activationHistogram(bars, "") as Node} />}
      <button type="button" className="inline" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>{asTable ? "as a chart" : "as a table"}</button>
    </>
  );
}
