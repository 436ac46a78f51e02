//! The rules of a file in EMQX's notation, both generations of it.
//!
//! ```erlang
//! {allow, {user, "dashboard"}, subscribe, ["$SYS/#"]}.
//! {allow, {ipaddrs, ["127.0.0.1", "::1"]}, pubsub, ["$SYS/#", "#"]}.
//! {deny, all, subscribe, ["$SYS/#", {eq, "#"}]}.
//! {allow, {'and', [{clientid, {re, "^dev-"}}, {listener, "ssl:default"}]}, {publish, [{qos, [1, 2]}, {retain, false}]}, ["dev/${clientid}/#"]}.
//! {allow, all}.
//! ```

use regex::{Regex, RegexBuilder};

use crate::access::acl::{
    ActionSet, Level, Net, Pattern, Permission, Piece, Rule, Text, Topics, Variable, Who,
};
use crate::access::acl_terms::{AclError, Kind, Place, Term, parse};
use crate::base::limits::{ACL_LEVELS_MAX, ACL_REGEX_BYTES_MAX, ACL_RULES_MAX};
use crate::mqtt::topic::TopicFilter;

/// Reads rules.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn read_rules(text: &str, is_hardened: bool) -> Result<Vec<Rule>, AclError> {
    let terms = parse(text)?;
    if let Some(beyond) = terms.get(ACL_RULES_MAX) {
        let what = format!("the file has more than {ACL_RULES_MAX} rules");
        return Err(AclError::at(beyond.place, what));
    }
    let reader = Reader { is_hardened };
    terms.iter().map(|term| reader.rule(term)).collect()
}

/// A rule's topic as databases and logins write it: a filter with placeholders, or `eq ` and literal
/// text.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub fn filter_pattern(text: &str) -> Result<Pattern, String> {
    if let Some(literal) = text.strip_prefix("eq ") {
        return Ok(Pattern::Exactly(literal.into()));
    }
    let levels: Result<Vec<Level>, String> = text.split('/').map(level).collect();
    let levels = levels.map_err(|what| format!("{text:?}: {what}"))?;
    if levels.len() > ACL_LEVELS_MAX {
        return Err(format!("{text:?} has more than {ACL_LEVELS_MAX} levels"));
    }
    let shape: Vec<&str> = levels
        .iter()
        .map(|level| match level {
            Level::Is(text) => text,
            Level::Any => "+",
            Level::Rest => "#",
            Level::Template(_) => "value",
        })
        .collect();
    TopicFilter::new(&shape.join("/")).map_err(|_| format!("{text:?} is not a topic filter"))?;
    Ok(Pattern::Filter(levels.into()))
}

/// A pattern for names.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(ACL_REGEX_BYTES_MAX)
        .dfa_size_limit(ACL_REGEX_BYTES_MAX)
        .build()
        .map_err(|_| format!("{pattern:?} is not a regular expression that is understood here"))
}

/// One level of a filter.
fn level(text: &str) -> Result<Level, String> {
    match text {
        "+" => return Ok(Level::Any),
        "#" => return Ok(Level::Rest),
        // As EMQX 4 writes them, as whole levels only.
        "%c" => return Ok(value(Variable::ClientId)),
        "%u" => return Ok(value(Variable::Username)),
        _ => {}
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((name, behind)) = behind.split_once('}') else {
            return Err("a placeholder has no `}`".to_owned());
        };
        let Some(variable) = Variable::named(name) else {
            return Err(format!("there is no placeholder ${{{name}}}"));
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        pieces.push(Piece::Value(variable));
        rest = behind;
    }
    if pieces.is_empty() {
        return Ok(Level::Is(text.into()));
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    let wild = |piece: &Piece| matches!(piece, Piece::Text(t) if t.contains(['+', '#', '\0']));
    if pieces.iter().any(wild) {
        return Err("a wildcard stands beside a placeholder in one level".to_owned());
    }
    Ok(Level::Template(pieces.into()))
}

fn value(variable: Variable) -> Level {
    Level::Template([Piece::Value(variable)].into())
}

struct Reader {
    is_hardened: bool,
}

type Read<T> = Result<T, AclError>;

impl Reader {
    fn rule(&self, term: &Term) -> Read<Rule> {
        let Kind::Tuple(parts) = &term.kind else {
            return Err(AclError::at(term.place, "a rule is a tuple: {allow, ...}"));
        };
        let permission = match parts.first() {
            Some(first) => permission(first)?,
            None => return Err(AclError::at(term.place, "the rule is empty")),
        };
        match parts.as_slice() {
            [_, who] if atom(who) == Some("all") => Ok(Rule {
                permission,
                who: Who::All,
                actions: ActionSet::ALL,
                topics: Topics::All,
            }),
            [_, who, actions, topics] => Ok(Rule {
                permission,
                who: self.who(who)?,
                actions: action_set(actions)?,
                topics: topic_list(topics)?,
            }),
            _ => {
                let what =
                    "a rule is {allow or deny, who, action, [topics]}, or {allow or deny, all}";
                Err(AclError::at(term.place, what))
            }
        }
    }

    fn who(&self, term: &Term) -> Read<Who> {
        if atom(term) == Some("all") {
            return Ok(Who::All);
        }
        let Kind::Tuple(parts) = &term.kind else {
            return Err(unknown_who(term.place));
        };
        let name = parts.first().and_then(atom).unwrap_or_default();
        match (name, parts.as_slice()) {
            // EMQX 3 and 4 take `all` here.
            ("user" | "client", [_, value]) if atom(value) == Some("all") => Ok(Who::All),
            ("user" | "username", [_, value]) => Ok(Who::User(name_text(value)?)),
            ("client" | "clientid", [_, value]) => Ok(Who::Client(name_text(value)?)),
            ("ipaddr", [_, value]) => Ok(Who::Nets([net(value)?].into())),
            ("ipaddrs", [_, list]) => {
                let nets: Read<Vec<Net>> = list_of(list)?.iter().map(net).collect();
                Ok(Who::Nets(nets?.into()))
            }
            ("client_attr", [_, attribute, value]) => {
                Ok(Who::Attribute(text(attribute)?.into(), name_text(value)?))
            }
            ("listener", [_, value]) => Ok(Who::Listener(name_text(value)?)),
            ("zone", [_, value]) => Ok(Who::Zone(name_text(value)?)),
            ("security_profile", [_, value]) => self.profile(value),
            ("and", [_, list]) => Ok(Who::And(self.every(list)?)),
            ("or", [_, list]) => Ok(Who::Or(self.every(list)?)),
            _ => Err(unknown_who(term.place)),
        }
    }

    fn every(&self, list: &Term) -> Read<Box<[Who]>> {
        let all: Read<Vec<Who>> = list_of(list)?.iter().map(|who| self.who(who)).collect();
        Ok(all?.into())
    }

    /// Whether this broker runs under a profile is known when the file is read.
    fn profile(&self, term: &Term) -> Read<Who> {
        let holds = match atom(term) {
            Some("hardened") => self.is_hardened,
            Some("legacy" | "open") => !self.is_hardened,
            _ => {
                let what = "a security profile is hardened or legacy";
                return Err(AclError::at(term.place, what));
            }
        };
        let nobody = Who::Or(Box::default());
        Ok(if holds { Who::All } else { nobody })
    }
}

fn unknown_who(place: Place) -> AclError {
    let what = "this does not say who: all, {user, ...}, {username, ...}, {client, ...}, \
                {clientid, ...}, {ipaddr, ...}, {ipaddrs, [...]}, {client_attr, name, ...}, \
                {listener, ...}, {zone, ...}, {security_profile, ...}, {'and', [...]} or {'or', [...]}";
    AclError::at(place, what)
}

fn permission(term: &Term) -> Read<Permission> {
    match atom(term) {
        Some("allow") => Ok(Permission::Allow),
        Some("deny") => Ok(Permission::Deny),
        _ => Err(AclError::at(term.place, "a rule begins with allow or deny")),
    }
}

fn action_set(term: &Term) -> Read<ActionSet> {
    let unknown = || {
        let what = "the action is none of publish, subscribe, pubsub, all";
        AclError::at(term.place, what)
    };
    match &term.kind {
        Kind::Atom(name) => named_actions(name).ok_or_else(unknown),
        Kind::Tuple(parts) => {
            let [name, options] = parts.as_slice() else {
                return Err(unknown());
            };
            let actions = atom(name).and_then(named_actions).ok_or_else(unknown)?;
            with_options(actions, options)
        }
        _ => Err(unknown()),
    }
}

fn named_actions(name: &str) -> Option<ActionSet> {
    match name {
        "publish" => Some(ActionSet::PUBLISH),
        "subscribe" => Some(ActionSet::SUBSCRIBE),
        "pubsub" | "all" => Some(ActionSet::ALL),
        _ => None,
    }
}

/// `[{qos, 1}, {retain, false}]`.
fn with_options(mut actions: ActionSet, options: &Term) -> Read<ActionSet> {
    let mut qos_bits = None;
    for option in list_of(options)? {
        let parts = match &option.kind {
            Kind::Tuple(parts) => parts.as_slice(),
            _ => &[],
        };
        match parts {
            [name, value] if atom(name) == Some("qos") => {
                *qos_bits.get_or_insert(0) |= qos(value)?;
            }
            [name, value] if atom(name) == Some("retain") && actions != ActionSet::SUBSCRIBE => {
                actions = match atom(value) {
                    Some("all") => actions,
                    Some("true") => actions.with_retain(true),
                    Some("false") => actions.with_retain(false),
                    _ => {
                        let what = "retain is none of true, false, all";
                        return Err(AclError::at(value.place, what));
                    }
                };
            }
            _ => {
                let what = "an option is {qos, ...} or, of publish and all, {retain, ...}";
                return Err(AclError::at(option.place, what));
            }
        }
    }
    Ok(qos_bits.map_or(actions, |bits| actions.at_qos(bits)))
}

fn qos(term: &Term) -> Read<u8> {
    match &term.kind {
        Kind::Integer(level @ 0..=2) => Ok(1 << level),
        Kind::List(levels) => levels.iter().try_fold(0, |bits, level| {
            let single = matches!(level.kind, Kind::Integer(_));
            match single {
                true => Ok(bits | qos(level)?),
                false => Err(AclError::at(level.place, "QoS is 0, 1 or 2")),
            }
        }),
        _ => Err(AclError::at(term.place, "QoS is 0, 1 or 2")),
    }
}

fn topic_list(term: &Term) -> Read<Topics> {
    if atom(term) == Some("all") {
        return Ok(Topics::All);
    }
    if matches!(term.kind, Kind::Text(_)) {
        return Ok(Topics::Listed([topic(term)?].into()));
    }
    let topics: Read<Vec<Pattern>> = list_of(term)?.iter().map(topic).collect();
    Ok(Topics::Listed(topics?.into()))
}

fn topic(term: &Term) -> Read<Pattern> {
    match &term.kind {
        Kind::Text(text) => filter_pattern(text).map_err(|what| AclError::at(term.place, what)),
        Kind::Tuple(parts) => match parts.as_slice() {
            [name, literal] if atom(name) == Some("eq") => {
                Ok(Pattern::Exactly(text(literal)?.into()))
            }
            _ => Err(AclError::at(
                term.place,
                "a topic is \"text\" or {eq, \"text\"}",
            )),
        },
        _ => Err(AclError::at(
            term.place,
            "a topic is \"text\" or {eq, \"text\"}",
        )),
    }
}

fn name_text(term: &Term) -> Read<Text> {
    if let Kind::Tuple(parts) = &term.kind
        && let [name, pattern] = parts.as_slice()
        && atom(name) == Some("re")
    {
        let pattern = text(pattern)?;
        return match regex(pattern) {
            Ok(pattern) => Ok(Text::Like(pattern)),
            Err(what) => Err(AclError::at(term.place, what)),
        };
    }
    Ok(Text::Is(text(term)?.into()))
}

fn net(term: &Term) -> Read<Net> {
    let text = text(term)?;
    let wrong = || AclError::at(term.place, format!("{text:?} is not an address or network"));
    Net::parse(text).ok_or_else(wrong)
}

fn list_of(term: &Term) -> Read<&[Term]> {
    match &term.kind {
        Kind::List(terms) => Ok(terms),
        _ => Err(AclError::at(term.place, "a list [...] is expected here")),
    }
}

fn text(term: &Term) -> Read<&str> {
    match &term.kind {
        Kind::Text(text) => Ok(text),
        _ => Err(AclError::at(term.place, "text in quotes is expected here")),
    }
}

fn atom(term: &Term) -> Option<&str> {
    match &term.kind {
        Kind::Atom(name) => Some(name),
        _ => None,
    }
}
