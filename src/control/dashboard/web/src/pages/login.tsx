import { useState } from "preact/hooks";
import { ThemeSwitch } from "../app";
import { endedBecause, logIn } from "../api";
import { Button, Field, sentence, valuesOf } from "../ui";

export function LogIn() {
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const { username = "", password = "" } = valuesOf(event.currentTarget as HTMLFormElement);
    setBusy(true);
    try {
      await logIn(username, password);
    } catch (error) {
      setWrong(error instanceof Error ? error.message : String(error));
    }
    setBusy(false);
  };
  return (
    <main class="login">
      <form onSubmit={(event) => void submit(event)}>
        <div class="brand"><img src="/dashboard/icon.svg" width="36" height="36" alt="" /><h1>Millrace</h1></div>
        {endedBecause && !wrong && <p class="trouble missing">{endedBecause}</p>}
        {wrong && <p class="trouble" role="alert">{sentence(wrong)}</p>}
        <Field label="User name"><input name="username" autocomplete="username" autofocus required spellcheck={false} autocapitalize="none" /></Field>
        <Field label="Password"><input name="password" type="password" autocomplete="current-password" required /></Field>
        <Button kind="main" type="submit" disabled={busy}>{busy ? "Logging in" : "Log in"}</Button>
        <p class="hint">The broker says the first user's password once, in the log of its first start, unless <code>dashboard.default_password</code> sets it.</p>
      </form>
      <ThemeSwitch />
    </main>
  );
}
