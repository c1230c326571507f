// What a feature means, as far as labels say: each label with its score beside that of a permuted one.
import { Link } from "wouter";

import { $api } from "../api/client";
import type { FeatureLabel } from "../api/schema";
import { fixed } from "../format";
import { JsonLink } from "./Facts";
import { Section } from "./Page";
import { ShownText } from "./ShownText";
import { Loaded } from "./States";

/** The newest labels artifact of some features: its id, null if there is none. */
export function useLabelsOf(features: string) {
  const found = $api.useQuery("get", "/v1/labels", { params: { query: { features, limit: 1 } } });
  return { query: found, id: found.data === undefined ? undefined : (found.data.items[0]?.id ?? null) };
}

/** A figure with its interval, if it has one. */
export const between = (value: number | null, low: number | null, high: number | null): string =>
  value === null ? "–" : low === null || high === null ? fixed(value, 2) : `${fixed(value, 2)} [${fixed(low, 2)}, ${fixed(high, 2)}]`;

export function FeatureLabels({ features, latent }: { features: string; latent: number }) {
  const { query, id } = useLabelsOf(features);
  return (
    <Loaded query={query} what="the labels">
      {() => id == null ? (
        <Section title="Labels"><p className="quiet">These features have no labels yet: <Link href={`/${features}`}>all features</Link> has the button that makes them.</p></Section>
      ) : <Found id={id} latent={latent} />}
    </Loaded>
  );
}

function Found({ id, latent }: { id: string; latent: number }) {
  const found = $api.useQuery("get", "/v1/labels/{id}/latents/{latent}", { params: { path: { id, latent } } });
  return (
    <Section title="Labels" beside={<><Link href={`/labels/${id}`}>all labels</Link> <JsonLink href={`/v1/labels/${id}/latents/${latent}`} /></>}>
      <Loaded query={found} what="the labels">
        {(labels) => labels.length === 0 ? <p className="quiet">No method found a label that could be scored.</p> : <LabelTable labels={labels} />}
      </Loaded>
    </Section>
  );
}

const HEADERS = ["Label", "Method", "Score", "Permuted label", "Difference", "AUC by meaning", "Precision", "Recall"];

/** A figure with its interval, and the control's in brackets. */
const beside = (text: string, control: number | null) => <>{text}{control !== null && <span className="quiet"> ({fixed(control, 2)})</span>}</>;

function LabelTable({ labels }: { labels: FeatureLabel[] }) {
  const fuzzed = labels.some((one) => one.fuzzing !== null);
  return (
    <>
      <div className="scroll">
        <table className="truth">
          <caption className="hidden">Labels of this feature, the best first</caption>
          <thead><tr>{[...HEADERS.slice(0, 6), ...(fuzzed ? ["Fuzzing"] : []), ...HEADERS.slice(6)].map((name, i) => <th key={name} scope="col" className={i > 1 ? "num" : undefined}>{name}</th>)}</tr></thead>
          <tbody>
            {labels.map((one) => (
              <tr key={one.method}>
                <th scope="row" className="label"><ShownText text={one.label} most={400} /></th>
                <td>{one.method}{one.inherited_from !== null && <>, of {one.inherited_from}</>}</td>
                <td className="num">{between(one.score, one.score_low, one.score_high)}</td>
                <td className="num">{one.permuted_score === null ? "–" : fixed(one.permuted_score, 2)}</td>
                <td className="num">{between(one.difference, one.difference_low, one.difference_high)}</td>
                <td className="num">{beside(between(one.auc, one.auc_low, one.auc_high), one.auc_permuted)}</td>
                {fuzzed && <td className="num">{one.fuzzing === null ? "–" : beside(between(one.fuzzing.score, one.fuzzing.low, one.fuzzing.high), one.fuzzing.permuted)}</td>}
                <td className="num">{one.precision === null ? "–" : fixed(one.precision, 2)}</td>
                <td className="num">{one.recall === null ? "–" : fixed(one.recall, 2)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p className="quiet">Score: balanced accuracy on documents that the label was not made from, 0.5 by chance, with 95% intervals. A permuted label is another feature’s, on the same examples: believe the difference. AUC by meaning: how often text around an active position is nearer to the label’s words than text around a silent one, 0.5 by chance, with the permuted label’s in brackets.{fuzzed && " Of a label by a model server the score is by detection, which texts it is active in; fuzzing: at which marked tokens."}</p>
    </>
  );
}
