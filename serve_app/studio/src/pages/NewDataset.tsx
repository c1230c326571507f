// Adding a dataset: from the hub, a data folder of the server, a package, or files of one's own.
import { useState } from "react";
import { useLocation } from "wouter";

import { $api } from "../api/client";
import { jobPath } from "../app/paths";
import { Page } from "../components/Page";
import { useToast } from "../components/Toasts";
import { JobCheck } from "../form/JobCheck";
import { SchemaForm } from "../form/SchemaForm";
import { UploadField } from "../form/UploadField";

const GROUPS = [
  { title: "Source", fields: ["source"] },
  { title: "Reading", fields: ["options"], closed: true },
  { title: "Name", fields: ["name", "tags", "notes"] },
];

export default function NewDataset() {
  const create = $api.useMutation("post", "/v1/datasets");
  const toast = useToast();
  const [, go] = useLocation();
  const [body, setBody] = useState<Record<string, unknown>>({});
  return (
    <Page title="Add a dataset" lead="Parquet, Arrow, JSON Lines, JSON, CSV, TSV, tar, text or Markdown, compressed or not.">
      <SchemaForm
        schema="DatasetRequest" submit="Add the dataset" draft="dataset" groups={GROUPS}
        custom={{ "source.upload": (field) => <UploadField {...field} /> }}
        onChange={setBody}
        onSubmit={async (sent) => {
          const accepted = await create.mutateAsync({ body: sent as never });
          toast(accepted.created ? "It is being added." : "The same dataset is there already, or is being added.");
          go(jobPath(accepted.job.id));
        }}
      >
        <JobCheck stage="download" what="dataset" body={body} ready={Boolean(body["source"])} manual />
      </SchemaForm>
    </Page>
  );
}
