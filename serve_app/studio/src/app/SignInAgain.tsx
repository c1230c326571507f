// Over a page whose session has ended: signing in again keeps the page and all that was typed in it.
import { AlertDialog } from "radix-ui";

import { TokenForm } from "../pages/SignIn";

export function SignInAgain() {
  return (
    <AlertDialog.Root open>
      <AlertDialog.Portal>
        <div className="backdrop">
          <AlertDialog.Content className="dialog">
            <AlertDialog.Title>Your session has ended</AlertDialog.Title>
            <AlertDialog.Description>
              Sign in again to go on. The page behind this keeps all that you typed. You can also open a new link in another
              tab: <code>python -m serve_app sign-in</code>, then press “I have signed in”.
            </AlertDialog.Description>
            <TokenForm />
          </AlertDialog.Content>
        </div>
      </AlertDialog.Portal>
    </AlertDialog.Root>
  );
}
