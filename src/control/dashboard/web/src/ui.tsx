// What pages are made of.

import type { ButtonHTMLAttributes, ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { ApiError, Asked } from "./api";
import { Icon, type IconName } from "./icons";

export function Page({ title, note, actions, children }: {
  title: ComponentChildren;
  note?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
}) {
  return (
    <main class="page">
      <header class="page-head">
        <div class="page-title">
          <h1>{title}</h1>
          {note && <p class="note">{note}</p>}
        </div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </main>
  );
}

export function Panel({ title, actions, children, flush }: {
  title?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
  /** Without a margin inside, for tables. */
  flush?: boolean;
}) {
  return (
    <section class={flush ? "panel flush" : "panel"}>
      {(title || actions) && (
        <header class="panel-head">
          <h2>{title}</h2>
          {actions && <div class="actions">{actions}</div>}
        </header>
      )}
      <div class="panel-body">{children}</div>
    </section>
  );
}

type ButtonProps = Omit<ButtonHTMLAttributes<HTMLButtonElement>, "icon" | "type"> & {
  kind?: "main" | "danger" | "quiet";
  icon?: IconName;
  type?: "button" | "submit";
  disabled?: boolean;
};

export function Button({ kind, icon, type = "button", children, ...rest }: ButtonProps) {
  return (
    <button type={type} class={kind ? `button ${kind}` : "button"} {...rest}>
      {icon && <Icon name={icon} />}
      {children && <span>{children}</span>}
    </button>
  );
}

/** A small button with a picture only. */
export function IconButton({ icon, label, ...rest }: ButtonProps & { icon: IconName; label: string }) {
  return (
    <button type="button" class={`icon-button ${rest.kind ?? ""}`} aria-label={label} title={label} {...(rest as object)}>
      <Icon name={icon} />
    </button>
  );
}

export function Badge({ tone, children }: { tone: "good" | "bad" | "warn" | "plain"; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

/** A column of a table. */
export interface Column<T> {
  head: string;
  cell: (row: T) => ComponentChildren;
  /** Numbers stand at the right. */
  number?: boolean;
  /** For buttons: no head on a narrow screen. */
  actions?: boolean;
  /** Takes the room that is left. */
  grow?: boolean;
}

export function Table<T>({ columns, rows, keyOf, empty }: {
  columns: Column<T>[];
  rows: readonly T[] | undefined;
  keyOf: (row: T) => string;
  empty: ComponentChildren;
}) {
  if (rows && rows.length === 0) return <div class="empty">{empty}</div>;
  const classOf = (column: Column<T>) =>
    [column.number && "number", column.actions && "row-actions", column.grow && "grow"].filter(Boolean).join(" ");
  return (
    <div class="table-wrap">
      <table>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.head} class={classOf(column)} scope="col">
                {column.actions ? <span class="unseen">{column.head}</span> : column.head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {(rows ?? []).map((row) => (
            <tr key={keyOf(row)}>
              {columns.map((column) => (
                <td key={column.head} class={classOf(column)} data-head={column.actions ? "" : column.head}>
                  <div class="cell">{column.cell(row)}</div>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {!rows && <div class="empty">Loading ...</div>}
    </div>
  );
}

/** Names and values. */
export function Facts({ rows }: { rows: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A text that may be long, such as a client id: cut where there is no room, whole in its title. */
export function Id({ children, href, whole }: { children: string; href?: string; whole?: boolean }) {
  const name = whole ? "id whole" : "id";
  if (href) return <a class={name} href={href} title={children}>{children}</a>;
  return <span class={name} title={children}>{children || "(empty)"}</span>;
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard?.writeText(text).catch(() => undefined);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  if (!navigator.clipboard) return null;
  return <IconButton icon="copy" label={done ? "Copied" : label} onClick={() => void copy()} />;
}

export function Field({ label, hint, children }: { label: string; hint?: string; children: ComponentChildren }) {
  return (
    <label class="field">
      <span class="field-label">{label}</span>
      {children}
      {hint && <span class="hint">{hint}</span>}
    </label>
  );
}

/** A choice that keeps what the reader chose: values, or values with how they are called. */
export function Select({ name, initial = "", options }: { name: string; initial?: string | undefined; options: readonly (string | readonly [string, string])[] }) {
  return (
    <select name={name}>
      {options.map((option) => {
        const [value, label] = typeof option === "string" ? [option, option] : option;
        return <option key={value} value={value} selected={value === initial}>{label}</option>;
      })}
    </select>
  );
}

/** The levels of delivery. */
export const QOS = ["0", "1", "2"] as const;

/** A bar of input fields that are sent with Enter or the button. */
export function Filters({ children, onSubmit, onClear }: {
  children: ComponentChildren;
  onSubmit: (values: Record<string, string>) => void;
  onClear?: (() => void) | undefined;
}) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    onSubmit(valuesOf(event.currentTarget as HTMLFormElement));
  };
  return (
    <form class="filters" onSubmit={submit}>
      {children}
      <div class="filter-buttons">
        <Button type="submit" icon="search">Search</Button>
        {onClear && <Button kind="quiet" onClick={onClear}>Clear</Button>}
      </div>
    </form>
  );
}

/** What is in a form by the names of its fields. */
export function valuesOf(form: HTMLFormElement): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [name, value] of new FormData(form)) values[name] = String(value);
  return values;
}

/** An error, said plainly; an endpoint that is not there by its path. */
export function Trouble({ error, path }: { error: ApiError | undefined; path?: string }) {
  if (!error) return null;
  const missing = error.status === 404 && path !== undefined;
  return (
    <div class={missing ? "trouble missing" : "trouble"} role="alert">
      {missing ? (
        <>
          <strong>This broker does not offer this.</strong> It answers 404 at <code>{path}</code>.
        </>
      ) : (
        <>
          {sentence(error.message)}
          {error.code && <code class="code">{error.code}</code>}
        </>
      )}
    </div>
  );
}

/** The API begins messages small and ends them without a period. */
export function sentence(text: string): string {
  return text === "" ? "" : `${text[0]?.toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

/** Pages of a list that only knows what comes next. */
export function Pager({ from, shown, more, total, back, next }: {
  from: number;
  shown: number;
  more: boolean;
  total?: number | undefined;
  back: (() => void) | undefined;
  next: () => void;
}) {
  const whole = new Intl.NumberFormat("en-US");
  if (shown === 0 && !back) return null;
  return (
    <nav class="pager" aria-label="Pages">
      <span>
        {shown === 0 ? "No more entries" : `${whole.format(from)} to ${whole.format(from + shown - 1)}`}
        {total !== undefined && shown > 0 && ` of ${whole.format(Math.max(total, from + shown - 1))}`}
      </span>
      <Button icon="back" kind="quiet" disabled={!back} onClick={back}>Previous</Button>
      <Button icon="next" kind="quiet" disabled={!more} onClick={next}>Next</Button>
    </nav>
  );
}

/** The place in a list with numbered pages; another list begins at its first. */
export function usePages(list: string): { page: number; back: (() => void) | undefined; next: () => void } {
  const [state, setState] = useState({ list, page: 1 });
  const page = state.list === list ? state.page : 1;
  return {
    page,
    back: page > 1 ? () => setState({ list, page: page - 1 }) : undefined,
    next: () => setState({ list, page: page + 1 }),
  };
}

export function Reload({ of }: { of: Asked<unknown> }) {
  return <Button icon="reload" onClick={of.reload} disabled={of.loading}>Reload</Button>;
}

// Messages that go by themselves.

interface Toast {
  id: number;
  text: string;
  bad: boolean;
}

let toasts: Toast[] = [];
let toastId = 0;
let showToasts: ((now: Toast[]) => void) | undefined;

/** Says something at the edge of the window. */
export function say(text: string, bad = false): void {
  toastId += 1;
  const toast = { id: toastId, text: sentence(text), bad };
  toasts = [...toasts.slice(-3), toast];
  showToasts?.(toasts);
  setTimeout(() => {
    toasts = toasts.filter((other) => other !== toast);
    showToasts?.(toasts);
  }, bad ? 8000 : 4000);
}

/** Does something and says what became of it, if that is not to be seen; whether it went well. */
export async function attempt(what: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await what();
    if (done !== undefined) say(done);
    return true;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), true);
    return false;
  }
}

// Dialogs: one at a time.

interface Question {
  title: string;
  text: ComponentChildren;
  yes: string;
  danger: boolean;
  answer: (yes: boolean) => void;
}

let showQuestion: ((question: Question | undefined) => void) | undefined;

/** Asks before something is done that cannot be undone. */
export function confirmed(title: string, text: ComponentChildren, yes: string, danger = true): Promise<boolean> {
  return new Promise((answer) => showQuestion?.({ title, text, yes, danger, answer }));
}

/** Where toasts and questions appear. */
export function Overlays() {
  const [now, setNow] = useState<Toast[]>([]);
  const [question, setQuestion] = useState<Question>();
  showToasts = setNow;
  showQuestion = setQuestion;
  const answer = (yes: boolean) => {
    question?.answer(yes);
    setQuestion(undefined);
  };
  return (
    <>
      <div class="toasts" role="status">
        {now.map((toast) => (
          <div key={toast.id} class={toast.bad ? "toast bad" : "toast"}>{toast.text}</div>
        ))}
      </div>
      {question && (
        <Dialog title={question.title} close={() => answer(false)}>
          <div class="dialog-text">{question.text}</div>
          <div class="dialog-buttons">
            <Button onClick={() => answer(false)}>Cancel</Button>
            <Button kind={question.danger ? "danger" : "main"} onClick={() => answer(true)}>{question.yes}</Button>
          </div>
        </Dialog>
      )}
    </>
  );
}

export function Dialog({ title, close, children, wide }: {
  title: string;
  close: () => void;
  children: ComponentChildren;
  wide?: boolean;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog ref={ref} class={wide ? "dialog wide" : "dialog"} aria-label={title}
      onCancel={(event) => { event.preventDefault(); close(); }}
      onClick={(event) => { if (event.target === ref.current) close(); }}>
      <div class="dialog-inner">
        <header>
          <h2>{title}</h2>
          <IconButton icon="close" label="Close" onClick={close} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

/** A dialog with fields; `send` says whether it may close. */
export function FormDialog({ title, yes, close, send, children, danger }: {
  title: string;
  yes: string;
  close: () => void;
  send: (values: Record<string, string>) => Promise<boolean>;
  children: ComponentChildren;
  danger?: boolean;
}) {
  const [busy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    setBusy(true);
    const ends = await send(valuesOf(event.currentTarget as HTMLFormElement));
    setBusy(false);
    if (ends) close();
  };
  return (
    <Dialog title={title} close={close}>
      <form class="dialog-form" onSubmit={(event) => void submit(event)}>
        {children}
        <div class="dialog-buttons">
          <Button onClick={close}>Cancel</Button>
          <Button kind={danger ? "danger" : "main"} type="submit" disabled={busy}>{yes}</Button>
        </div>
      </form>
    </Dialog>
  );
}
