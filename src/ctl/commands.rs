//! Each command: which words it has, what it asks, in which form it tells the answer.

mod diagnose;

use std::io::Write;

use serde_json::{Value, json};

use crate::ctl::Failure;
use crate::ctl::client::{Client, encoded};
use crate::ctl::forms;

/// Rows that are asked for at a time.
const PAGE: usize = 1000;

/// Words of a command, and what it does.
pub const COMMANDS: &[(&str, &str)] = &[
    ("status", "Whether the broker runs; exit code 1 if not"),
    ("ping", "Says pong"),
    ("broker [stats|metrics]", "Version and uptime; figures"),
    ("cluster status", "The nodes"),
    ("clients list", "All clients"),
    ("clients show <ClientId>", "One client"),
    (
        "clients kick <ClientId>",
        "Disconnects a client and ends its session",
    ),
    (
        "topics list",
        "All filters somebody has subscribed to (also: routes)",
    ),
    ("topics show <Topic>", "One of them (also: routes)"),
    ("subscriptions list", "All subscriptions"),
    ("subscriptions show <ClientId>", "Those of a client"),
    (
        "subscriptions add <ClientId> <Topic> <QoS>",
        "Subscribes a client",
    ),
    (
        "subscriptions del <ClientId> <Topic>",
        "Ends a subscription",
    ),
    (
        "listeners",
        "All listeners, and why their connections ended",
    ),
    (
        "listeners start|stop|restart <Id>",
        "Such as tcp:default (also: mqtt:tcp:default, or a kind and a port); clients stay",
    ),
    ("banned list", "Who is not let in"),
    (
        "banned add clientid|username|peerhost <Who> [<Seconds>|infinity] [<Reason>]",
        "Bans; for ever unless said otherwise",
    ),
    ("banned del clientid|username|peerhost <Who>", "Ends a ban"),
    (
        "acl cache-clean all|<ClientId>",
        "Forgets what sources have answered about access (also: authz)",
    ),
    ("retainer info", "How many messages are retained"),
    ("retainer topics", "Their topics"),
    ("retainer clean [<Filter>]", "Forgets them"),
    (
        "conf show [<Section>]",
        "Settings with their origin, such as of mqtt",
    ),
    ("trace list", "Traces that go on"),
    (
        "trace start client|topic|ip_address <Which> <File> [<Level>] [text|json]",
        "Writes what it does to a file in trace/ of the data directory (also: trace client <Which> <File>)",
    ),
    (
        "trace stop client|topic|ip_address <Which>",
        "Ends a trace (also: trace client <Which> off)",
    ),
    ("traces list", "All traces, by their names"),
    (
        "traces start <Name> client|topic|ip_address <Which> [<Seconds>] [text|json]",
        "Begins one; ten minutes unless said otherwise",
    ),
    ("traces stop <Name>", "Ends one"),
    ("traces delete <Name>", "Removes one and its file"),
    (
        "log primary-level [<Level>]",
        "The log's level, or another one until the restart",
    ),
    ("log set-level <Level>", "Another one"),
    ("log handlers list", "Where the log goes"),
    ("log handlers set-level <Id> <Level>", "Another level"),
    ("vm [all|load|memory|io]", "Load and memory of the machine"),
    ("admins list", "Users of the HTTP API"),
    (
        "admins add <Name> <Password> [<Description>] [administrator|viewer|publisher]",
        "Adds one",
    ),
    ("admins passwd <Name> <Password>", "Changes a password"),
    ("admins del <Name>", "Removes one"),
    ("api_keys list", "API keys"),
    (
        "api_keys add <Name> [administrator|viewer|publisher]",
        "Makes one and tells its secret, this once",
    ),
    ("api_keys del <Name>", "Removes one"),
    ("mgmt list", "EMQX 4's applications, which are API keys"),
    (
        "mgmt insert <AppId> <Name> [<Secret>]",
        "Makes one with this id; with a secret of 16 characters or more if scripts have one",
    ),
    ("mgmt lookup <AppId>", "One of them"),
    ("mgmt update <AppId> start|stop", "Lets it in, or not"),
    ("mgmt delete <AppId>", "Removes one"),
];

/// How commands whose first word is this are used; all if there are none.
pub fn usage(first: &str) -> String {
    let of = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        let found = COMMANDS.iter().filter(|(words, _)| wanted(words));
        let lines = found.map(|(words, what)| format!("  {words}\n      {what}"));
        lines.collect()
    };
    let group = match first {
        "routes" => "topics",
        "authz" => "acl",
        other => other,
    };
    let mut lines = of(&|words| words.split(' ').next() == Some(group));
    if lines.is_empty() {
        lines = of(&|_| true);
    }
    format!(
        "broker ctl [--data-dir DIR] [--json] <command>\n{}",
        lines.join("\n")
    )
}

/// A command on its way.
struct Command<'a> {
    client: &'a Client,
    json: bool,
    out: &'a mut dyn Write,
}

/// Finds the command and does it.
///
/// # Errors
/// There is none such, or it cannot be done.
pub fn run(
    client: &Client,
    words: &[&str],
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut command = Command { client, json, out };
    match words {
        ["status"] => command.status(),
        ["ping"] => {
            client.exchange("GET", "/status", None)?;
            command.say(&json!("pong"), |_| "pong".to_owned())
        }
        ["broker"] => command.look("/api/v5/brokers", |all| forms::broker(&all[0])),
        ["broker", "stats"] => command.look("/api/v5/stats?aggregate=true", forms::figures),
        ["broker", "metrics"] => command.look("/api/v5/metrics?aggregate=true", forms::figures),
        ["cluster", "status"] => command.look("/api/v5/nodes", forms::cluster),
        ["conf", "show"] => command.settings(None),
        ["conf", "show", section] => command.settings(Some(section)),
        ["clients", rest @ ..] => command.clients(rest),
        ["topics" | "routes", rest @ ..] => command.topics(rest),
        ["subscriptions", rest @ ..] => command.subscriptions(rest),
        ["listeners", rest @ ..] => command.listeners(rest),
        ["banned", rest @ ..] => command.banned(rest),
        ["acl" | "authz", rest @ ..] => command.acl(rest),
        ["retainer", rest @ ..] => command.retainer(rest),
        ["trace", rest @ ..] => command.trace(rest),
        ["traces", rest @ ..] => command.traces(rest),
        ["log", rest @ ..] => command.log(rest),
        ["vm", rest @ ..] => command.vm(rest),
        ["admins", rest @ ..] => command.admins(rest),
        ["api_keys", rest @ ..] => command.api_keys(rest),
        ["mgmt", rest @ ..] => command.applications(rest),
        _ => Ok(None),
    }?
    .ok_or_else(|| Failure::Usage(usage(words.first().unwrap_or(&""))))
}

/// Done, or no such command.
type Done = Result<Option<()>, Failure>;

impl Command<'_> {
    /// Prints an answer.
    fn say(&mut self, answer: &Value, form: impl Fn(&Value) -> String) -> Done {
        match self.json {
            true => writeln!(self.out, "{answer}")?,
            false => writeln!(self.out, "{}", form(answer))?,
        }
        Ok(Some(()))
    }

    /// Prints what a path says.
    fn look(&mut self, path: &str, form: impl Fn(&Value) -> String) -> Done {
        let answer = self.client.ask("GET", path, None)?;
        self.say(&answer, form)
    }

    /// Prints each row of a path whose answer is a list.
    fn look_at_rows(&mut self, path: &str, form: impl Fn(&Value) -> String) -> Done {
        let answer = self.client.ask("GET", path, None)?;
        if self.json {
            return self.say(&answer, |_| String::new());
        }
        for row in answer.as_array().into_iter().flatten() {
            writeln!(self.out, "{}", form(row))?;
        }
        Ok(Some(()))
    }

    /// Changes something; says `ok`.
    fn act(&mut self, method: &str, path: &str, body: Option<&Value>) -> Done {
        self.client.ask(method, path, body)?;
        self.say(&json!("ok"), |_| "ok".to_owned())
    }

    /// Prints all rows of a long list, page by page as they come. `path` ends in `?` or `&`.
    fn walk(&mut self, path: &str, form: impl Fn(&Value) -> String) -> Done {
        let mut next = Some(format!("{path}limit={PAGE}"));
        let (mut page, mut is_first) = (1, true);
        if self.json {
            write!(self.out, "[")?;
        }
        while let Some(path_of_page) = next.take() {
            let answer = self.client.ask("GET", &path_of_page, None)?;
            for row in answer["data"].as_array().into_iter().flatten() {
                match (self.json, is_first) {
                    (true, true) => write!(self.out, "{row}")?,
                    (true, false) => write!(self.out, ",\n{row}")?,
                    (false, _) => writeln!(self.out, "{}", form(row))?,
                }
                is_first = false;
            }
            page += 1;
            let meta = &answer["meta"];
            next = match (meta["cursor"].as_str(), meta["hasnext"].as_bool()) {
                (Some(cursor), _) => Some(format!("{path}limit={PAGE}&cursor={}", encoded(cursor))),
                (None, Some(true)) => Some(format!("{path}limit={PAGE}&page={page}")),
                _ => None,
            };
        }
        if self.json {
            writeln!(self.out, "]")?;
        }
        Ok(Some(()))
    }

    fn status(&mut self) -> Done {
        let answer = self.client.exchange("GET", "/status?format=json", None)?;
        let status = answer.body;
        self.say(&status, |status| {
            format!(
                "Node '{}' is {}\nmillrace {} is {}",
                forms::word(&status["node_name"]),
                forms::word(&status["broker_status"]),
                forms::word(&status["rel_vsn"]),
                forms::word(&status["app_status"]).replace('_', " "),
            )
        })?;
        match status["app_status"] == "running" {
            true => Ok(Some(())),
            false => Err(Failure::Failed("the broker takes no clients in".to_owned())),
        }
    }

    fn settings(&mut self, section: Option<&str>) -> Done {
        let mut all = self.client.ask("GET", "/api/v5/configs_settings", None)?;
        if let (Some(section), Some(rows)) = (section, all.as_array_mut()) {
            let below = format!("{section}.");
            rows.retain(|row| {
                let key = row["key"].as_str().unwrap_or_default();
                key == section || key.starts_with(&below)
            });
            if rows.is_empty() {
                let why = format!("there is no section or setting `{section}`");
                return Err(Failure::Failed(why));
            }
        }
        self.say(&all, |all| {
            let rows = all.as_array().into_iter().flatten();
            rows.map(forms::setting).collect::<Vec<_>>().join("\n")
        })
    }

    fn clients(&mut self, words: &[&str]) -> Done {
        match words {
            ["list"] => self.walk("/api/v5/clients_v2?", forms::client),
            ["show", id] => self.look(&format!("/api/v5/clients/{}", encoded(id)), forms::client),
            ["kick", id] => self.act("DELETE", &format!("/api/v5/clients/{}", encoded(id)), None),
            _ => Ok(None),
        }
    }

    fn topics(&mut self, words: &[&str]) -> Done {
        match words {
            ["list"] => self.walk("/api/v5/topics?", forms::route),
            ["show", topic] => {
                let path = format!("/api/v5/topics/{}", encoded(topic));
                self.look_at_rows(&path, forms::route)
            }
            _ => Ok(None),
        }
    }

    fn subscriptions(&mut self, words: &[&str]) -> Done {
        let of = |id: &str, what: &str| format!("/api/v5/clients/{}/{what}", encoded(id));
        match words {
            ["list"] => self.walk("/api/v5/subscriptions?", forms::subscription),
            ["show", id] => self.look_at_rows(&of(id, "subscriptions"), forms::subscription),
            ["add", id, topic, qos @ ("0" | "1" | "2")] => {
                let qos = qos.parse::<u8>().unwrap_or_default();
                let wanted = json!({ "topic": topic, "qos": qos });
                self.act("POST", &of(id, "subscribe"), Some(&wanted))
            }
            ["del", id, topic] => {
                let unwanted = json!({ "topic": topic });
                self.act("POST", &of(id, "unsubscribe"), Some(&unwanted))
            }
            _ => Ok(None),
        }
    }

    fn listeners(&mut self, words: &[&str]) -> Done {
        let (verb, said, id) = match words {
            [] | ["list"] => return self.look_at_rows("/api/v5/listeners", forms::listener),
            ["start", id @ ..] => ("start", "Started", id),
            ["stop", id @ ..] => ("stop", "Stop", id),
            ["restart", id @ ..] => ("restart", "Restarted", id),
            _ => return Ok(None),
        };
        let id = match id {
            [id] => self.listener_id(id)?,
            [kind, port] => self.listener_at(kind, port)?,
            _ => return Ok(None),
        };
        let path = format!("/api/v5/listeners/{}/{verb}", encoded(&id));
        self.client.ask("POST", &path, None)?;
        self.say(&json!("ok"), |_| {
            format!("{said} {id} listener successfully.")
        })
    }

    /// The id of a listener, as EMQX 4 or 5 spells it.
    fn listener_id(&self, word: &str) -> Result<String, Failure> {
        let bare = word.strip_prefix("mqtt:").unwrap_or(word);
        let all = self.client.ask("GET", "/api/v5/listeners", None)?;
        let known = |id: &str| {
            let mut ids = all.as_array().into_iter().flatten();
            ids.any(|row| row["id"] == id)
        };
        // EMQX 4's first listener of a kind is called external.
        let first = bare.strip_suffix(":external");
        let first = first.map(|kind| format!("{kind}:default"));
        Ok(match first {
            Some(first) if !known(bare) && known(&first) => first,
            _ => bare.to_owned(),
        })
    }

    /// The listener of a kind at a port or an address, EMQX 4's way.
    fn listener_at(&self, kind: &str, place: &str) -> Result<String, Failure> {
        let kind = kind.strip_prefix("mqtt:").unwrap_or(kind);
        let all = self.client.ask("GET", "/api/v5/listeners", None)?;
        let port = format!(":{place}");
        let found = all.as_array().into_iter().flatten().find(|row| {
            let bind = row["bind"].as_str().unwrap_or_default();
            row["type"] == kind && (bind == place || bind.ends_with(&port))
        });
        let id = found.and_then(|row| row["id"].as_str());
        let none = || Failure::Failed(format!("there is no listener of {kind} at {place}"));
        id.map(str::to_owned).ok_or_else(none)
    }

    fn banned(&mut self, words: &[&str]) -> Done {
        let (verb, kind, who, rest) = match words {
            ["list"] => return self.walk("/api/v5/banned?", forms::ban),
            [
                verb,
                kind @ ("clientid" | "username" | "peerhost"),
                who,
                rest @ ..,
            ] => (*verb, *kind, *who, rest),
            _ => return Ok(None),
        };
        match (verb, rest) {
            ("del", []) => {
                let path = format!("/api/v5/banned/{kind}/{}", encoded(who));
                self.act("DELETE", &path, None)
            }
            ("add", [] | [_] | [_, _]) => {
                let mut ban = json!({ "as": kind, "who": who });
                match rest.first() {
                    None | Some(&"infinity") => {}
                    Some(seconds) => match until(seconds) {
                        Some(moment) => ban["until"] = json!(moment),
                        None => return Ok(None),
                    },
                }
                if let Some(reason) = rest.get(1) {
                    ban["reason"] = json!(reason);
                }
                self.act("POST", "/api/v5/banned", Some(&ban))
            }
            _ => Ok(None),
        }
    }

    fn acl(&mut self, words: &[&str]) -> Done {
        match words {
            ["cache-clean", "all"] => self.act("DELETE", "/api/v5/authorization/cache", None),
            ["cache-clean", "node", node] => {
                let node = format!("/api/v5/nodes/{}", encoded(node));
                self.client.ask("GET", &node, None)?;
                self.act("DELETE", "/api/v5/authorization/cache", None)
            }
            ["cache-clean", id] => {
                let path = format!("/api/v5/clients/{}/authorization/cache", encoded(id));
                self.act("DELETE", &path, None)
            }
            _ => Ok(None),
        }
    }

    fn retainer(&mut self, words: &[&str]) -> Done {
        let messages = "/api/v5/mqtt/retainer/messages";
        match words {
            [] | ["info"] => {
                let stats = self
                    .client
                    .ask("GET", "/api/v5/stats?aggregate=true", None)?;
                let info = json!({ "retained/total": stats["retained.count"] });
                self.say(&info, |info| {
                    format!("retained/total: {}", info["retained/total"])
                })
            }
            ["topics"] => self.walk(&format!("{messages}?"), |row| forms::word(&row["topic"])),
            ["clean"] => self.act("DELETE", messages, None),
            ["clean", filter] => {
                let path = format!("{messages}?topic={}", encoded(filter));
                self.act("DELETE", &path, None)
            }
            _ => Ok(None),
        }
    }

    fn admins(&mut self, words: &[&str]) -> Done {
        let of = |name: &str| format!("/api/v5/users/{}", encoded(name));
        match words {
            ["list"] => self.look_at_rows("/api/v5/users", forms::user),
            ["add", name, password, rest @ ..] if rest.len() <= 2 => {
                let mut user = json!({ "username": name, "password": password });
                if let Some(about) = rest.first() {
                    user["description"] = json!(about);
                }
                if let Some(role) = rest.get(1) {
                    user["role"] = json!(role);
                }
                self.act("POST", "/api/v5/users", Some(&user))
            }
            ["passwd", name, password] => {
                let change = json!({ "old_pwd": "", "new_pwd": password });
                self.act("POST", &format!("{}/change_pwd", of(name)), Some(&change))
            }
            ["del", name] => self.act("DELETE", &of(name), None),
            _ => Ok(None),
        }
    }

    fn api_keys(&mut self, words: &[&str]) -> Done {
        match words {
            ["list"] => self.look_at_rows("/api/v5/api_key", forms::api_key),
            ["add", name, rest @ ..] if rest.len() <= 1 => {
                let mut key = json!({ "name": name });
                if let Some(role) = rest.first() {
                    key["role"] = json!(role);
                }
                let made = self.client.ask("POST", "/api/v5/api_key", Some(&key))?;
                self.say(&made, forms::api_key)
            }
            ["del", name] => {
                let path = format!("/api/v5/api_key/{}", encoded(name));
                self.act("DELETE", &path, None)
            }
            _ => Ok(None),
        }
    }
}

/// EMQX 4's applications: an API key of which the user chose id and, maybe, secret.
impl Command<'_> {
    fn applications(&mut self, words: &[&str]) -> Done {
        let of = |id: &str| format!("/api/v5/api_key/{}", encoded(id));
        match words {
            ["list"] => self.look_at_rows("/api/v5/api_key", forms::application),
            ["lookup", id] => {
                let row = self.client.ask("GET", &of(id), None)?;
                self.say(&row, |row| forms::application(row).replace(", ", "\n"))
            }
            ["insert", id, name, rest @ ..] if rest.len() <= 1 => {
                let mut key = json!({ "name": id, "api_key": id, "desc": name });
                if let Some(secret) = rest.first() {
                    key["api_secret"] = json!(secret);
                }
                let made = self.client.ask("POST", "/api/v5/api_key", Some(&key))?;
                self.say(&made, |made| {
                    format!("AppSecret: {}", forms::word(&made["api_secret"]))
                })
            }
            ["update", id, status @ ("start" | "stop" | "true" | "false")] => {
                let enable = ["start", "true"].contains(status);
                let change = json!({ "enable": enable });
                self.client.ask("PUT", &of(id), Some(&change))?;
                self.say(&json!("ok"), |_| "update successfully.".to_owned())
            }
            ["delete", id] => self.act("DELETE", &of(id), None),
            _ => Ok(None),
        }
    }
}

/// The moment so many seconds from now, in seconds of UNIX time; nothing for what is no number.
fn until(seconds: &str) -> Option<i64> {
    let seconds: i64 = seconds.parse().ok().filter(|seconds| *seconds > 0)?;
    time::OffsetDateTime::now_utc()
        .unix_timestamp()
        .checked_add(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Without a broker: what is no command is refused before anyone is asked.
    fn tried(line: &str) -> Result<(), Failure> {
        let client = Client::of(Path::new("/nonexistent"));
        let words: Vec<&str> = line.split_whitespace().collect();
        run(&client, &words, false, &mut Vec::new())
    }

    #[test]
    fn what_is_no_command_says_how_it_is_used() {
        for line in [
            "",
            "x",
            "status x",
            "broker x",
            "clients",
            "clients kick",
            "clients kick a b",
            "subscriptions add c t 3",
            "subscriptions add c t",
            "banned add ip 1.2.3.4",
            "banned add clientid c soon",
            "listeners stop",
            "admins add x",
            "conf",
            "trace start user x f",
            "trace stop client",
            "traces start n client c soon",
            "log",
            "vm ports",
            "cluster join x",
            "banned add clientid c 5 why more",
        ] {
            let Err(Failure::Usage(usage)) = tried(line) else {
                panic!("`{line}` is a command");
            };
            assert!(usage.starts_with("broker ctl "), "{usage}");
        }
    }

    #[test]
    fn each_command_of_the_usage_is_one() {
        for (words, _) in COMMANDS {
            let words = words.replace("[stats|metrics]", "stats");
            let words = words.replace("start|stop|restart", "stop");
            let words = words.replace("clientid|username|peerhost", "clientid");
            let words = words.replace("client|topic|ip_address", "client");
            let words = words
                .replace("<Level>", "debug")
                .replace("text|json", "json");
            let words = words.replace("all|load|memory|io", "load");
            let words = words.replace("set-level <Id>", "set-level console");
            let words = words.replace("[<Seconds>]", "60");
            let words = words.replace("<QoS>", "1").replace(['[', ']'], "");
            let words = words.replace("<Seconds>|infinity", "60");
            let words = words.replace("all|<ClientId>", "all");
            let words = words.replace("start|stop", "stop");
            let words = words.replace("administrator|viewer|publisher", "viewer");
            assert!(matches!(tried(&words), Err(Failure::Failed(_))), "{words}");
        }
    }

    #[test]
    fn usage_is_that_of_the_group() {
        assert!(usage("clients").contains("clients kick"));
        assert!(!usage("clients").contains("banned"));
        assert!(usage("routes").contains("topics show"));
        assert!(usage("nonsense").contains("banned") && usage("").contains("clients"));
    }
}
