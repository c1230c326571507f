// A path that is no page.
import { Link } from "wouter";

import { Page } from "../components/Page";

export function NotFound() {
  return (
    <Page title="No such page">
      <p>
        There is no page at this address. <Link href="/">Go to the overview</Link>.
      </p>
    </Page>
  );
}
