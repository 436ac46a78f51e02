//! Mosquitto's files of users and of rules.

use std::fmt::Write;

use crate::cli::import::Text;
use crate::cli::import::sheet::{Place, Sheet};
use crate::config::quoted;

/// Users as this broker's bootstrap file has them. Their hashes, `$6$` and `$7$`, stay as they are.
pub(super) fn users_of(file: &Text, sheet: &mut Sheet) -> String {
    let mut csv = "user_id,password_hash\n".to_owned();
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, hash) = line.split_once(':').unwrap_or((line, ""));
        let place = place(file, index, user);
        if user.is_empty() || hash.is_empty() {
            sheet.lose(&place, "a user without a password never gets in");
        } else if !hash.starts_with("$6$") && !hash.starts_with("$7$") {
            sheet.lose(
                &place,
                "the password is stored in a way that is not known; set it again",
            );
        } else {
            // Writing to a string does not fail.
            let _ = writeln!(csv, "{},{}", field(user), field(hash));
        }
    }
    csv
}

/// A field of CSV.
fn field(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn place(file: &Text, index: usize, what: &str) -> Place {
    Place {
        file: file.name.clone(),
        line: index + 1,
        what: what.to_owned(),
    }
}

/// A rule of mosquitto.
struct Rule<'t> {
    /// For whom: a user, nobody's name, or everybody.
    who: Who<'t>,
    /// `deny`, or what is allowed.
    right: &'t str,
    topic: &'t str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who<'t> {
    User(&'t str),
    Nameless,
    All,
}

/// Rules as this broker's file of access rules has them. There the first that fits decides; in
/// mosquitto one that denies goes before all others, and rules before the first `user` line are for
/// clients without a name.
pub(super) fn rules_of(file: &Text, sheet: &mut Sheet) -> String {
    let mut rules = Vec::new();
    let mut user = Who::Nameless;
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let who = match word {
            "user" if !rest.is_empty() => {
                user = Who::User(rest);
                continue;
            }
            "topic" => user,
            "pattern" => Who::All,
            _ => {
                sheet.lose(&place(file, index, line), "this is no rule");
                continue;
            }
        };
        let (right, topic) = right_and_topic(rest);
        match topic.is_empty() {
            true => sheet.lose(&place(file, index, line), "this is no rule"),
            false => rules.push(Rule { who, right, topic }),
        }
    }
    text_of(&rules, &file.name)
}

/// `[read|write|readwrite|deny] topic`; a topic may have spaces.
fn right_and_topic(rest: &str) -> (&str, &str) {
    match rest.split_once(char::is_whitespace) {
        Some((right @ ("read" | "write" | "readwrite" | "deny"), topic)) => (right, topic.trim()),
        _ => ("readwrite", rest),
    }
}

fn text_of(rules: &[Rule<'_>], name: &str) -> String {
    let mut text = format!("%% Made from {name}. The first rule that fits decides.\n");
    let mut write = |wanted: &dyn Fn(&Rule<'_>) -> bool| {
        for rule in rules.iter().filter(|rule| wanted(rule)) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", line_of(rule));
        }
    };
    let denies = |rule: &Rule<'_>| rule.right == "deny";
    write(&|rule| denies(rule) && rule.who != Who::Nameless);
    write(&|rule| !denies(rule) && rule.who != Who::Nameless);
    if rules.iter().any(|rule| rule.who == Who::Nameless) {
        text.push_str("%% Clients with a name end here; what follows is for those without.\n");
        text.push_str("{deny, {user, {re, \"\"}}, pubsub, [\"#\", \"$SYS/#\"]}.\n");
        let mut write = |wanted: &dyn Fn(&Rule<'_>) -> bool| {
            for rule in rules.iter().filter(|rule| wanted(rule)) {
                let _ = writeln!(text, "{}", line_of(rule));
            }
        };
        write(&|rule| denies(rule) && rule.who == Who::Nameless);
        write(&|rule| !denies(rule) && rule.who == Who::Nameless);
    }
    text
}

fn line_of(rule: &Rule<'_>) -> String {
    let permission = if rule.right == "deny" {
        "deny"
    } else {
        "allow"
    };
    let action = match rule.right {
        "read" => "subscribe",
        "write" => "publish",
        _ => "pubsub",
    };
    let who = match rule.who {
        Who::User(name) => format!("{{user, {}}}", quoted(name)),
        Who::Nameless | Who::All => "all".to_owned(),
    };
    format!(
        "{{{permission}, {who}, {action}, [{}]}}.",
        quoted(rule.topic)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Text {
            name: "f".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn users_keep_their_hashes() {
        let mut sheet = Sheet::default();
        let csv = users_of(
            &text("ann:$7$101$c2FsdA==$aGFzaA==\n\na,\"b:$6$x$y\nbob:plain\ncarl\n"),
            &mut sheet,
        );
        let want = "user_id,password_hash\nann,$7$101$c2FsdA==$aGFzaA==\n\"a,\"\"b\",$6$x$y\n";
        assert_eq!(csv, want);
        let lost = sheet.finish().unwrap().lost;
        assert!(
            lost[0].starts_with("f:4: bob: the password is stored"),
            "{lost:?}"
        );
        assert!(lost[1].starts_with("f:5: carl: "), "{lost:?}");
    }

    #[test]
    fn rules_come_in_the_order_in_which_they_decide() {
        let mut sheet = Sheet::default();
        let rules = rules_of(
            &text(
                "# all\ntopic read public/#\nuser ann\ntopic a/b c\ntopic deny a/secret\n\
                 topic write a/out\npattern read to/%c/%u\nnonsense\ntopic\n",
            ),
            &mut sheet,
        );
        let want = "%% Made from f. The first rule that fits decides.\n\
            {deny, {user, \"ann\"}, pubsub, [\"a/secret\"]}.\n\
            {allow, {user, \"ann\"}, pubsub, [\"a/b c\"]}.\n\
            {allow, {user, \"ann\"}, publish, [\"a/out\"]}.\n\
            {allow, all, subscribe, [\"to/%c/%u\"]}.\n\
            %% Clients with a name end here; what follows is for those without.\n\
            {deny, {user, {re, \"\"}}, pubsub, [\"#\", \"$SYS/#\"]}.\n\
            {allow, all, subscribe, [\"public/#\"]}.\n";
        assert_eq!(rules, want);
        assert_eq!(sheet.finish().unwrap().lost.len(), 2);
    }
}
