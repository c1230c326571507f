// Short messages about what was done. Errors are no toasts: they stay where they belong (ProblemNotice).
import { Toast } from "radix-ui";
import { createContext, type ReactNode, useCallback, useContext, useState } from "react";

interface Message {
  id: number;
  text: string;
}
const Context = createContext<(text: string) => void>(() => undefined);

/** Shows a short message for some seconds; screen readers read it. */
export function useToast(): (text: string) => void {
  return useContext(Context);
}

export function ToastProvider({ children }: { children: ReactNode }) {
  const [messages, setMessages] = useState<Message[]>([]);
  const show = useCallback((text: string) => setMessages((old) => [...old, { id: (old.at(-1)?.id ?? 0) + 1, text }]), []);
  return (
    <Context.Provider value={show}>
      <Toast.Provider duration={5000} label="Message" swipeDirection="right">
        {children}
        {messages.map(({ id, text }) => (
          <Toast.Root
            key={id}
            className="toast"
            onOpenChange={(open) => !open && setMessages((old) => old.filter((one) => one.id !== id))}
          >
            <Toast.Description>{text}</Toast.Description>
            <Toast.Close aria-label="Close the message">×</Toast.Close>
          </Toast.Root>
        ))}
        <Toast.Viewport className="toasts" />
      </Toast.Provider>
    </Context.Provider>
  );
}
