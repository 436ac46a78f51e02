// The frame of all pages: navigation, theme, who is logged in.

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask, logOut, path, useAsked, useLogin, type Listed, type Login } from "./api";
import { Icon, type IconName } from "./icons";
import { Alarms } from "./pages/alarms";
import { Bans } from "./pages/bans";
import { ClientPage } from "./pages/client";
import { Clients } from "./pages/clients";
import { Keys } from "./pages/keys";
import { Listeners } from "./pages/listeners";
import { LogIn } from "./pages/login";
import { Metrics } from "./pages/metrics";
import { Overview } from "./pages/overview";
import { Retained } from "./pages/retained";
import { Settings } from "./pages/settings";
import { Slow } from "./pages/slow";
import { Subscriptions } from "./pages/subscriptions";
import { Tester } from "./pages/tester";
import { TopicMetrics } from "./pages/topic_metrics";
import { Topics } from "./pages/topics";
import { Trace } from "./pages/trace";
import { Users } from "./pages/users";
import { href, useRoute, type Route } from "./route";
import { choose, useTheme, type Theme } from "./theme";
import { Field, FormDialog, IconButton, Overlays, Page, say } from "./ui";

interface Entry {
  page: string;
  name: string;
  icon: IconName;
  show: (route: Route) => JSX.Element;
}

const GROUPS: [string, Entry[]][] = [
  ["Monitor", [
    { page: "overview", name: "Overview", icon: "overview", show: () => <Overview /> },
    { page: "metrics", name: "Metrics", icon: "metrics", show: () => <Metrics /> },
    { page: "alarms", name: "Alarms", icon: "alarms", show: () => <Alarms /> },
  ]],
  ["Traffic", [
    { page: "clients", name: "Clients", icon: "clients", show: (route) =>
      route.about === undefined ? <Clients query={route.query} /> : <ClientPage key={route.about} id={route.about} /> },
    { page: "subscriptions", name: "Subscriptions", icon: "subscriptions", show: (route) => <Subscriptions query={route.query} /> },
    { page: "topics", name: "Topics", icon: "topics", show: (route) => <Topics query={route.query} /> },
    { page: "retained", name: "Retained messages", icon: "retained", show: (route) => <Retained query={route.query} /> },
    { page: "listeners", name: "Listeners", icon: "listeners", show: () => <Listeners /> },
  ]],
  ["Diagnose", [
    { page: "tester", name: "WebSocket client", icon: "tester", show: () => <Tester /> },
    { page: "trace", name: "Trace", icon: "trace", show: (route) => <Trace about={route.about} query={route.query} /> },
    { page: "slow", name: "Slow subscriptions", icon: "slow", show: () => <Slow /> },
    { page: "topic-metrics", name: "Topic metrics", icon: "counter", show: () => <TopicMetrics /> },
  ]],
  ["Access", [
    { page: "bans", name: "Bans", icon: "bans", show: (route) => <Bans query={route.query} /> },
    { page: "users", name: "Users", icon: "users", show: () => <Users /> },
    { page: "keys", name: "API keys", icon: "keys", show: () => <Keys /> },
    { page: "settings", name: "Settings", icon: "settings", show: (route) => <Settings query={route.query} /> },
  ]],
];
const ENTRIES = GROUPS.flatMap(([, entries]) => entries);

export function App() {
  const login = useLogin();
  return (
    <>
      {login ? <Frame login={login} /> : <LogIn />}
      <Overlays />
    </>
  );
}

function Frame({ login }: { login: Login }) {
  const route = useRoute();
  const [open, setOpen] = useState(false);
  const entry = ENTRIES.find((one) => one.page === route.page);
  useEffect(() => {
    setOpen(false);
    document.title = entry ? `${entry.name} - Millrace` : "Millrace";
    scrollTo(0, 0);
  }, [route.page, route.about]);
  return (
    <div class={open ? "frame open" : "frame"}>
      <div class="top-bar">
        <IconButton icon={open ? "close" : "menu"} label={open ? "Close the menu" : "Open the menu"} onClick={() => setOpen(!open)} />
        <a class="brand" href={href("overview")}><img src="/dashboard/icon.svg" width="22" height="22" alt="" />Millrace</a>
      </div>
      <div class="shade" onClick={() => setOpen(false)} />
      <aside class="side">
        <a class="brand" href={href("overview")}><img src="/dashboard/icon.svg" width="24" height="24" alt="" />Millrace</a>
        <nav aria-label="Pages">
          {GROUPS.map(([group, entries]) => (
            <div class="nav-group" key={group}>
              <h2>{group}</h2>
              {entries.map((one) => (
                <a key={one.page} href={href(one.page)} class={one === entry ? "here" : ""} aria-current={one === entry ? "page" : undefined}>
                  <Icon name={one.icon} />
                  <span>{one.name}</span>
                  {one.page === "alarms" && <AlarmCount />}
                </a>
              ))}
            </div>
          ))}
        </nav>
        <Account login={login} />
      </aside>
      {entry ? entry.show(route) : <Page title="No such page"><p>There is no page <code>{route.page}</code>. <a href={href("overview")}>Overview</a></p></Page>}
    </div>
  );
}

/** How many alarms are active; asked once a minute. */
function AlarmCount() {
  const asked = useAsked<Listed<unknown>>("/alarms", { activated: true, limit: 1 }, 60_000);
  const count = asked.data?.meta.count ?? 0;
  return count > 0 ? <span class="nav-count">{count}</span> : null;
}

const THEMES: [Theme, IconName, string][] = [
  ["auto", "auto", "Theme of the system"],
  ["light", "sun", "Light theme"],
  ["dark", "moon", "Dark theme"],
];

function Account({ login }: { login: Login }) {
  const [changing, setChanging] = useState(false);
  return (
    <footer class="account">
      <ThemeSwitch />
      <div class="who">
        <div class="who-name"><strong title={login.username}>{login.username}</strong><span>{login.role}</span></div>
        <IconButton icon="keys" label="Change my password" onClick={() => setChanging(true)} />
        <IconButton icon="out" label="Log out" onClick={() => void logOut()} />
      </div>
      {changing && <PasswordDialog username={login.username} close={() => setChanging(false)} />}
    </footer>
  );
}

export function ThemeSwitch() {
  const [now] = useTheme();
  return (
    <div class="theme-switch" role="group" aria-label="Theme">
      {THEMES.map(([theme, icon, label]) => (
        <button key={theme} type="button" aria-label={label} title={label} aria-pressed={theme === now} onClick={() => choose(theme)}>
          <Icon name={icon} />
        </button>
      ))}
    </div>
  );
}

function PasswordDialog({ username, close }: { username: string; close: () => void }) {
  const [wrong, setWrong] = useState("");
  const send = async (values: Record<string, string>) => {
    if (values.next !== values.again) {
      setWrong("The two new passwords are not the same.");
      return false;
    }
    try {
      await ask("POST", path("/users/{}/change_pwd", username), { body: { old_pwd: values.old, new_pwd: values.next } });
    } catch (error) {
      setWrong(error instanceof Error ? error.message : String(error));
      return false;
    }
    say("your password is changed");
    await logOut("Your password is changed. Log in with the new one.");
    return true;
  };
  return (
    <FormDialog title="Change my password" yes="Change" close={close} send={send}>
      <Field label="Present password"><input name="old" type="password" autocomplete="current-password" required /></Field>
      <Field label="New password" hint="8 to 256 characters"><input name="next" type="password" autocomplete="new-password" minLength={8} maxLength={256} required /></Field>
      <Field label="New password again"><input name="again" type="password" autocomplete="new-password" required /></Field>
      {wrong && <p class="trouble" role="alert">{wrong}</p>}
      <p class="hint">All your logins end with the change.</p>
    </FormDialog>
  );
}

