// The truth card of an evaluation: each figure of the SAE, that of its controls, the difference, and how sure they are.
import { at } from "./ArtifactParts";
import { type Figure, FigureTable } from "./FigureTable";
import { ShownText } from "./ShownText";

interface Named extends Figure {
  figure: string;
  over: string;
}

export function TruthCard({ metrics }: { metrics: unknown }) {
  const card = at(metrics, "card") as { figures: Named[]; controls: { control: string; sae: string }[]; units: number; unit: string; method: string } | undefined;
  if (!card) return <p className="quiet">This evaluation has no truth card.</p>;
  const controls = card.figures.some((figure) => figure.controls.length > 0);
  return (
    <>
      <p className="quiet">
        {controls ? `Controls: ${card.controls.map((one) => `${one.control} (${one.sae})`).join(", ")}. ` : "No controls were trained. "}
        {card.units.toLocaleString("en-US")} {card.unit}. <ShownText text={card.method} />
      </p>
      <FigureTable
        caption="Truth card" head={["Figure"]} tail={["Interval over"]}
        rows={card.figures.map((figure) => ({ key: figure.figure, head: [figure.figure.replaceAll("_", " ")], figure, tail: [figure.over] }))}
      />
    </>
  );
}
