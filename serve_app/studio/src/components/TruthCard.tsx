// The truth card of an evaluation: each figure of the SAE, that of its controls, the difference, and how sure they are.
import { at } from "./ArtifactParts";
import { ShownText } from "./ShownText";

interface Interval {
  value: number;
  low: number | null;
  high: number | null;
}
interface Control extends Interval {
  control: string;
  difference: Interval;
}
interface Figure {
  figure: string;
  over: string;
  sae: Interval;
  controls: Control[];
}

export function TruthCard({ metrics }: { metrics: unknown }) {
  const card = at(metrics, "card") as { figures: Figure[]; controls: { control: string; sae: string }[]; units: number; unit: string; method: string } | undefined;
  if (!card) return <p className="quiet">This evaluation has no truth card.</p>;
  const names = [...new Set(card.figures.flatMap((figure) => figure.controls.map((one) => one.control)))];
  return (
    <>
      <p className="quiet">
        {names.length === 0 ? "No controls were trained. " : `Controls: ${card.controls.map((one) => `${one.control} (${one.sae})`).join(", ")}. `}
        {card.units.toLocaleString("en-US")} {card.unit}. <ShownText text={card.method} />
      </p>
      <div className="scroll" tabIndex={0} role="region" aria-label="Truth card">
        <table className="truth-card">
          <thead>
            <tr>
              <th scope="col"><span>Figure</span></th><th scope="col" className="num"><span>SAE</span></th>
              {names.flatMap((name) => [
                <th key={name} scope="col" className="num"><span>{name}</span></th>,
                <th key={`${name}-d`} scope="col" className="num"><span>difference</span></th>,
              ])}
              <th scope="col"><span>Interval over</span></th>
            </tr>
          </thead>
          <tbody>
            {card.figures.map((figure) => (
              <tr key={figure.figure}>
                <th scope="row"><span>{figure.figure.replaceAll("_", " ")}</span></th>
                <td className="num">{interval(figure.sae)}</td>
                {names.flatMap((name) => {
                  const one = figure.controls.find((control) => control.control === name);
                  return [
                    <td key={name} className="num">{one ? interval(one) : "–"}</td>,
                    <td key={`${name}-d`} className="num">{one ? interval(one.difference, true) : "–"}</td>,
                  ];
                })}
                <td>{figure.over}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

/** "0.912 [0.908, 0.915]". */
function interval({ value, low, high }: Interval, signed = false): string {
  const text = (n: number) => (signed && n >= 0 ? "+" : "") + n.toFixed(3);
  return low === null || high === null ? text(value) : `${text(value)} [${text(low)}, ${text(high)}]`;
}
