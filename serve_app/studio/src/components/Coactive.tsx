// Features that are active together with one, beside how often independent features would be.
import { Link } from "wouter";

import { $api } from "../api/client";
import { featurePath } from "../app/paths";
import { fixed, percent, whole } from "../format";
import { JsonLink } from "./Facts";
import { useLabelsOf } from "./FeatureLabels";
import { Section } from "./Page";
import { Loaded } from "./States";

export function Coactive({ features, latent }: { features: string; latent: number }) {
  const { id } = useLabelsOf(features);
  return id == null ? null : <Found id={id} features={features} latent={latent} />; // FeatureLabels says that there are none
}

function Found({ id, features, latent }: { id: string; features: string; latent: number }) {
  const found = $api.useQuery("get", "/v1/labels/{id}/latents/{latent}/coactivation", { params: { path: { id, latent } } });
  return (
    <Section title="Active together" beside={<JsonLink href={`/v1/labels/${id}/latents/${latent}/coactivation`} />}>
      <Loaded query={found} what="the features that are active together">
        {(data) => data.coactive.length === 0 ? <p className="quiet">No other feature is active with it often enough to be counted.</p> : (
          <>
            <div className="scroll">
              <table className="truth">
                <caption className="hidden">Features that are active together with this one, the closest first</caption>
                <thead><tr>{["Feature", "NPMI", "Positions of both", "If independent", "Share of this one", "Share of the other"].map((name, i) => <th key={name} scope="col" className={i > 0 ? "num" : undefined}>{name}</th>)}</tr></thead>
                <tbody>
                  {data.coactive.map((one) => (
                    <tr key={one.latent}>
                      <th scope="row"><Link href={featurePath(features, one.latent)}>{one.latent}</Link></th>
                      <td className="num">{fixed(one.npmi, 2)}</td><td className="num">{whole(one.joint)}</td><td className="num">{fixed(one.expected, 1)}</td>
                      <td className="num">{percent(one.share)}</td><td className="num">{percent(one.share_of_other)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
            <p className="quiet">Counted exactly over {whole(data.positions)} positions. NPMI: 1 is always together, 0 as often as independent features.</p>
          </>
        )}
      </Loaded>
    </Section>
  );
}
