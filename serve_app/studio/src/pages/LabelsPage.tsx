// Labels of all features of an SAE: filtered and sorted by the API, each score beside that of a permuted label.
import { Link, useParams } from "wouter";

import { $api } from "../api/client";
import { useCursorPages } from "../api/pages";
import type { Artifact, LabelledFeature, LabelledFeaturePage } from "../api/schema";
import { featurePath } from "../app/paths";
import { orderOf, sortOf, useUrlState } from "../app/urlState";
import { ArtifactLink } from "../components/ArtifactLink";
import { ArtifactLead, DeleteArtifact, Labels, Provenance, titleOf } from "../components/ArtifactParts";
import { type Column, DataTable } from "../components/DataTable";
import { Facts, JsonLink } from "../components/Facts";
import { between } from "../components/FeatureLabels";
import { Filter } from "../components/Filter";
import { MeaningSearch } from "../components/MeaningSearch";
import { Page, Section } from "../components/Page";
import { ShownText } from "../components/ShownText";
import { Empty, Loaded } from "../components/States";
import { fixed, percent, whole } from "../format";

const TYPES = ["tokens", "context", "writer", "both", "positional", "dense", "obscure"] as const;

interface Summary {
  n_features: number;
  labelled: number;
  beats: number;
  types: Record<string, number>;
}

export default function LabelsPage() {
  const { id } = useParams<{ id: string }>();
  const labels = $api.useQuery("get", "/v1/labels/{id}", { params: { path: { id } } });
  const data = labels.data as Artifact | undefined;
  const features = data?.inputs["features"];
  return (
    <Page
      title={data ? (data.name ? `Labels, ${data.name}` : `Labels ${data.label}`) : titleOf(undefined, id)}
      actions={data && <><Link href={`/labels/${id}/map`} className="button">Map</Link> <DeleteArtifact item={data} kind="labels" /></>}
      lead={data && <><ArtifactLead item={data} />{features && <> · of <ArtifactLink reference={features} /></>} · <JsonLink href={data.url} /></>}
    >
      <Loaded query={labels} what="the labels">
        {(found) => {
          const artifact = found as Artifact;
          const summary = artifact.summary as unknown as Summary;
          return (
            <>
              <Facts facts={[
                ["Features", whole(summary.n_features)], ["With a scored label", whole(summary.labelled)],
                ["Better than a permuted label", `${whole(summary.beats)}, ${percent(summary.beats / summary.n_features)}`],
              ]} />
              <p>By type: {Object.entries(summary.types).sort(([, a], [, b]) => b - a).map(([type, count]) => `${whole(count)} ${type}`).join(", ")}.</p>
              <MeaningSearch id={id} features={artifact.inputs["features"]!} />
              <Table id={id} features={artifact.inputs["features"]!} asked={artifact.config["endpoint"] != null} />
              <Labels item={artifact} kind="labels" />
              <Provenance item={artifact} />
            </>
          );
        }}
      </Loaded>
    </Page>
  );
}

/** `asked`: whether a model server was, so that some labels have its judgements. */
function Table({ id, features, asked }: { id: string; features: string; asked: boolean }) {
  const [search, set] = useUrlState();
  const sort = sortOf(search);
  const least = Number(search.get("min_label_score") ?? Number.NaN);
  const filters = {
    ...(search.get("label") && { label: search.get("label") }), ...(search.get("type") && { type: search.get("type") }),
    ...(search.get("beats") && { beats: search.get("beats") }), ...(!Number.isNaN(least) && search.get("min_label_score") && { min_label_score: least }),
  };
  const found = useCursorPages("/v1/labels/{id}/latents", { limit: 200, sort: sort.id, order: orderOf(sort), ...filters } as never, { id });
  const rows = found.rows as LabelledFeature[];
  const total = (found.query.data?.pages[0] as LabelledFeaturePage | undefined)?.total;
  const figure = (id: keyof LabelledFeature, header: string, title: string, control?: keyof LabelledFeature): Column<LabelledFeature> => ({
    id, header, title, numeric: true, sortable: true, wide: true, value: (row) => row[id] as number | null,
    cell: (row) => (row[id] == null ? "–" : <>{fixed(row[id] as number, 3)}{control && row[control] != null && <span className="quiet"> ({fixed(row[control] as number, 3)})</span>}</>),
  });
  const columns: Column<LabelledFeature>[] = [
    { id: "latent", header: "Feature", value: (row) => row.latent, numeric: true, sortable: true, cell: (row) => <Link href={featurePath(features, row.latent)}>{row.latent}</Link> },
    { id: "label", header: "Label", value: (row) => row.label, sortable: true, cell: (row) => (row.label === null ? <span className="quiet">none</span> : <ShownText text={row.label} most={70} />) },
    { id: "type", header: "Type", value: (row) => row.type, wide: true },
    { id: "label_score", header: "Score", value: (row) => row.label_score, numeric: true, sortable: true, title: "Balanced accuracy on other documents, 0.5 by chance; that of a permuted label in brackets", cell: (row) => (row.label_score === null ? "–" : <>{fixed(row.label_score, 2)}<span className="quiet"> ({fixed(row.permuted_score ?? 0, 2)})</span></>) },
    { id: "difference", header: "Difference", value: (row) => row.difference, numeric: true, sortable: true, wide: true, cell: (row) => between(row.difference, row.difference_low, row.difference_high) },
    figure("auc", "AUC", "By meaning: how often text around an active position is nearer to the label’s words than text around a silent one, 0.5 by chance; that of a permuted label in brackets", "auc_permuted"),
    ...(asked ? [
      figure("detection", "Detection", "Of the model server’s label: balanced accuracy at saying which texts the feature is active in; that of a permuted label in brackets", "detection_permuted"),
      figure("fuzzing", "Fuzzing", "Likewise at saying at which marked tokens it is active", "fuzzing_permuted"),
    ] : []),
    figure("ablation", "Ablation", "KL in nats of the next token when the feature is taken out; that of another direction in brackets", "ablation_control"),
    figure("promotion", "Promotion", "Change in nats of the log probability of its promoted tokens when it is doubled; that of another direction in brackets", "promotion_control"),
    figure("output_score", "Output score", "Amplified on a neutral prompt; that of another direction in brackets", "output_score_control"),
  ];
  return (
    <Section title="All features" beside={<>{total !== undefined && <span className="quiet" role="status">{whole(total)} match</span>}<JsonLink href={`/v1/labels/${id}/latents`} /></>}>
      <div className="controls">
        <Filter label="Label with" value={search.get("label") ?? ""} onChange={(value) => set({ label: value })} />
        <Filter label="Score, at least" value={search.get("min_label_score") ?? ""} numeric onChange={(value) => set({ min_label_score: value })} />
        <label>Type{" "}
          <select value={search.get("type") ?? ""} onChange={(event) => set({ type: event.target.value })}>
            <option value="">all</option>{TYPES.map((type) => <option key={type}>{type}</option>)}
          </select>
        </label>
        <label>Control{" "}
          <select value={search.get("beats") ?? ""} onChange={(event) => set({ beats: event.target.value })}>
            <option value="">all</option><option value="true">better than a permuted label</option><option value="false">not better</option>
          </select>
        </label>
        <Link href={`/labels/${id}/queue?${search.toString()}`} className="button">Name them one by one</Link>
      </div>
      <Loaded query={found.query} what="the labels">
        {() => (
          <DataTable caption="Features with their labels" columns={columns} rows={rows} rowKey={(row) => String(row.latent)} sort={sort} onEnd={found.more} {...(total !== undefined && { total })}
            onSort={(next) => set({ sort: next.id, order: orderOf(next) })}
            empty={<Empty title="No feature is like that."><button type="button" onClick={() => set(null)}>Show all</button></Empty>} />
        )}
      </Loaded>
    </Section>
  );
}
