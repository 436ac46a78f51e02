//! All sources of rules in their order, as the cores share them.
//!
//! A superuser may do everything. Otherwise the first of these decides that has something to say: the
//! rules that came with the client's login, the file, the built-in table (rules for the client id, for
//! the user name, for all), the sources that have to be asked, the rules that hold by default, and at last
//! `authorization.no_match`.

use crate::access::acl::{Action, Permission, Rule, Subject, Text, Verb, Who};
use crate::access::acl_client::ClientAcl;
use crate::access::acl_compiled::CompiledRules;
use crate::access::cache::CacheRules;
use crate::mqtt::reason::ReasonCode;

/// What EMQX's default `acl.conf` says of subscriptions, for a broker without rules of its own: `$SYS` and
/// everything at once are for the user `dashboard` and for this machine.
pub const DEFAULT_RULES: &str = r##"
{allow, {user, "dashboard"}, subscribe, ["$SYS/#"]}.
{allow, {ipaddrs, ["127.0.0.0/8", "::1"]}, subscribe, ["$SYS/#", "#"]}.
{deny, all, subscribe, ["$SYS/#", {eq, "#"}, {eq, "+/#"}]}.
"##;

/// What happens to a client that did what it may not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DenyAction {
    /// It is told, where there are words for it, and stays.
    Ignore,
    /// Its connection ends.
    Disconnect,
}

/// Everything the cores decide access by. Immutable; a change is another value with a higher version.
#[derive(Debug)]
pub struct AccessRules {
    /// Distinguishes it from those before it.
    pub version: u64,
    /// The rules of the file, if there is one.
    pub file: Option<CompiledRules>,
    /// The built-in table, if there is one.
    pub built_in: Option<CompiledRules>,
    /// Whether there are sources that have to be asked.
    pub asks: bool,
    /// Rules about subscriptions that hold where none of these has anything to say.
    pub defaults: Option<CompiledRules>,
    /// How long one of them has for an answer.
    pub ask_timeout_ms: u64,
    /// What holds when no rule says anything.
    pub no_match: Permission,
    /// What happens to a client that did what it may not.
    pub deny_action: DenyAction,
    /// What the SUBACK of a denied subscription says.
    pub denied_subscription: ReasonCode,
    /// Whether a denying rule also hits a subscription to more than it is about.
    pub denies_overlap: bool,
    /// How answers of the asked are kept.
    pub cache: CacheRules,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Let it happen.
    Allow,
    /// Do not.
    Deny,
    /// Ask the other sources.
    Ask,
}

impl From<Permission> for Verdict {
    fn from(permission: Permission) -> Self {
        match permission {
            Permission::Allow => Self::Allow,
            Permission::Deny => Self::Deny,
        }
    }
}

impl AccessRules {
    /// No rules: everything is allowed.
    pub fn open() -> Self {
        Self {
            version: 0,
            file: None,
            built_in: None,
            asks: false,
            defaults: None,
            ask_timeout_ms: 5_000,
            no_match: Permission::Allow,
            deny_action: DenyAction::Ignore,
            denied_subscription: ReasonCode::NotAuthorized,
            denies_overlap: false,
            cache: CacheRules {
                size_max: 32,
                ttl_ms: 60_000,
            },
        }
    }

    /// Whether everybody may do this with any topic, unless a client's own rules forbid it.
    pub fn is_open(&self, action: Action) -> bool {
        let no_rules =
            |rules: &Option<CompiledRules>| rules.as_ref().is_none_or(CompiledRules::is_empty);
        let silent = no_rules(&self.file) && no_rules(&self.built_in) && !self.asks;
        let by_default = action.verb == Verb::Publish || self.defaults.is_none();
        silent && by_default && self.no_match == Permission::Allow
    }

    /// What holds when no source has anything to say.
    pub fn by_default(&self, subject: &Subject<'_>, action: Action, topic: &str) -> Permission {
        let rules = self.defaults.as_ref();
        let rules = rules.filter(|_| action.verb == Verb::Subscribe);
        let said = rules.and_then(|rules| rules.decide(subject, action, topic, false));
        said.unwrap_or(self.no_match)
    }

    /// Whether a client, which brought `own` rules along, may do something; `topic` is what
    /// [`real_topic`] or [`real_filter`] gives. Superusers need not be asked about.
    pub fn judge(
        &self,
        subject: &Subject<'_>,
        own: Option<&ClientAcl>,
        (action, topic): (Action, &str),
        now_unix_s: u64,
    ) -> Verdict {
        if let Some(said) = own.and_then(|acl| acl.decide(subject, action, topic, now_unix_s)) {
            return said.into();
        }
        let tables = [&self.file, &self.built_in];
        let said = tables
            .into_iter()
            .flatten()
            .find_map(|rules| rules.decide(subject, action, topic, self.denies_overlap));
        match said {
            Some(permission) => permission.into(),
            None if self.asks => Verdict::Ask,
            None => self.by_default(subject, action, topic).into(),
        }
    }
}

/// Whom a rule of the built-in table is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BuiltInFor {
    /// A client id.
    Client(Box<str>),
    /// A user name.
    User(Box<str>),
    /// Everybody.
    All,
}

/// The rules of the built-in table in the order in which they decide: those for the client id, those
/// for the user name, those for all.
pub fn built_in_rules(table: Vec<(BuiltInFor, Rule)>) -> Vec<Rule> {
    let rank = |whom: &BuiltInFor| match whom {
        BuiltInFor::Client(_) => 0,
        BuiltInFor::User(_) => 1,
        BuiltInFor::All => 2,
    };
    let mut table = table;
    table.sort_by_key(|(whom, _)| rank(whom));
    let named = |(whom, rule): (BuiltInFor, Rule)| {
        let named = match whom {
            BuiltInFor::Client(id) => Who::Client(Text::Is(id)),
            BuiltInFor::User(name) => Who::User(Text::Is(name)),
            BuiltInFor::All => return rule,
        };
        let who = match rule.who {
            Who::All => named,
            more => Who::And([named, more].into()),
        };
        Rule { who, ..rule }
    };
    table.into_iter().map(named).collect()
}

/// What a filter asks for, without the marks of how: `$share/<group>/`, `$queue/`, `$exclusive/`.
pub fn real_filter(filter: &str) -> &str {
    let filter = filter.strip_prefix("$exclusive/").unwrap_or(filter);
    if let Some(real) = filter.strip_prefix("$queue/") {
        return real;
    }
    let shared = filter.strip_prefix("$share/");
    shared
        .and_then(|rest| rest.split_once('/'))
        .map_or(filter, |(_, real)| real)
}

/// Where a message goes, without the mark of when: `$delayed/<seconds>/`.
pub fn real_topic(topic: &str) -> &str {
    let delayed = topic.strip_prefix("$delayed/");
    match delayed.and_then(|rest| rest.split_once('/')) {
        Some((seconds, real))
            if !real.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit()) =>
        {
            real
        }
        _ => topic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_really_asked_for() {
        for (filter, real) in [
            ("$share/g/secret/#", "secret/#"),
            ("$queue/secret", "secret"),
            ("$exclusive/secret", "secret"),
            ("$exclusive/$share/g/x", "x"),
            ("$share/g//x", "/x"),
            ("$SYS/#", "$SYS/#"),
            ("$shared/g/x", "$shared/g/x"),
        ] {
            assert_eq!(real_filter(filter), real, "{filter}");
        }
        for (topic, real) in [
            ("$delayed/10/secret", "secret"),
            ("$delayed/10/$SYS/x", "$SYS/x"),
            ("$delayed/ten/secret", "$delayed/ten/secret"),
            ("$delayed/10/", "$delayed/10/"),
            ("$delayed/10", "$delayed/10"),
            ("delayed/10/x", "delayed/10/x"),
        ] {
            assert_eq!(real_topic(topic), real, "{topic}");
        }
    }
}
