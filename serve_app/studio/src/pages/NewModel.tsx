// Registering a language model: from the hub, a data folder of the server, a package, or files of one's own.
import { useState } from "react";
import { useLocation } from "wouter";

import { $api } from "../api/client";
import { jobPath } from "../app/paths";
import { Page } from "../components/Page";
import { useToast } from "../components/Toasts";
import { JobCheck } from "../form/JobCheck";
import { SchemaForm } from "../form/SchemaForm";
import { UploadField } from "../form/UploadField";

const GROUPS = [{ title: "Source", fields: ["source"] }, { title: "Name", fields: ["name", "tags", "notes"] }];

export default function NewModel() {
  const create = $api.useMutation("post", "/v1/models");
  const toast = useToast();
  const [, go] = useLocation();
  const [body, setBody] = useState<Record<string, unknown>>({});
  return (
    <Page title="Register a model" lead="A folder as transformers writes it (safetensors), or a GGUF file. A revision is recorded as the commit that it stands for.">
      <SchemaForm
        schema="ModelRequest" submit="Register the model" draft="model" groups={GROUPS}
        custom={{ "source.upload": (field) => <UploadField {...field} /> }}
        onChange={setBody}
        onSubmit={async (sent) => {
          const accepted = await create.mutateAsync({ body: sent as never });
          toast(accepted.created ? "It is being read." : "The same model is there already, or is being read.");
          go(jobPath(accepted.job.id));
        }}
      >
        <JobCheck stage="download" what="model" body={body} ready={Boolean(body["source"])} manual />
      </SchemaForm>
    </Page>
  );
}
