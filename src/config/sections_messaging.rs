//! The settings of what EMQX adds to MQTT: delayed messages, topic rewrite, automatic subscriptions.
//! (Switches that are one word each stand with the protocol's, in `sections.rs`.)

use regex::Regex;

use super::kind::{Flag, Kind, Raw, choice, integer, unless};
use super::setting::{Change, Section, Setting, parses_to, section};
use super::template::{Places, Template};
use super::values::{Problem, Values};
use crate::mqtt::topic::{SharedFilter, TopicFilter};

/// Most rules of topic rewrite: each is looked at for every PUBLISH that none before it decides.
/// EMQX's manual advises against more than 30.
const REWRITE_RULES_MAX: usize = 256;
/// Most subscriptions that are made for every client.
const AUTO_SUBSCRIPTIONS_MAX: usize = 64;
/// Bytes of the compiled form of one regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

section! {
    /// Delayed messages: a PUBLISH to `$delayed/<seconds>/<topic>` is published to `<topic>` after so
    /// many seconds. (Numbers above 4294967 are moments of UNIX time.)
    pub struct Delayed at "delayed" {
        /// Whether messages are delayed. If not, `$delayed/...` is a topic like any other.
        enable: bool = "true", Flag, Live;

        /// Messages that may wait, on all cores together; the number is divided among the cores.
        /// What is above it is refused with 0x97 (clients of 3.x cannot be told) and counted.
        max_delayed_messages: Option<u32> = "0",
            unless(&["0", "infinity"], integer(1, u32::MAX as u64)), Live;
    }
}

section! {
    /// One rule of topic rewrite; in TOML, `[[rewrite]]` in the order in which they are tried. The
    /// first rule whose `source_topic` matches decides: if its `re` matches too, the topic becomes
    /// `dest_topic`, else it stays.
    pub struct RewriteSettings at "rewrite.<name>" {
        /// What it applies to: `publish`, `subscribe` (and UNSUBSCRIBE), or `all`.
        action: RewriteAction = "all", choice(RewriteAction::WORDS), Live;

        /// The topics and filters it is for: a topic filter.
        source_topic: String = "#", Filter, Live;

        /// A regular expression that finds the parts of the topic, in groups. It may match anywhere in
        /// the topic: use `^` and `$`.
        re: String = "^(.+)$", Expression, Live;

        /// The new topic. `$1` to `$9` are the groups of `re`; `${clientid}` (`%c`) and `${username}`
        /// (`%u`) are the client's.
        dest_topic: Template = "$1", Pattern(Places::Groups), Live;
    }
}

section! {
    /// A subscription that is made for every client when it connects; in TOML,
    /// `[[auto_subscribe.topics]]`.
    pub struct AutoSubscription at "auto_subscribe.topics.<name>" {
        /// The filter, which may be a shared one. `${clientid}` (`%c`), `${username}` (`%u`), `${host}`
        /// and `${port}` are the client's. A client without a user name gets no subscription that
        /// names it.
        topic: Template = "c/${clientid}", Pattern(Places::Peer), Joining;

        /// Its QoS.
        qos: u8 = "0", integer(0, 2), Joining;

        /// Retain handling: 0 sends the stored messages at every connect, 1 when the subscription is
        /// new, 2 never.
        rh: u8 = "0", integer(0, 2), Joining;

        /// Retain as published: 1 keeps the RETAIN flag.
        rap: u8 = "0", integer(0, 1), Joining;

        /// No local: 1 leaves out what the client has published itself.
        nl: u8 = "0", integer(0, 1), Joining;
    }
}

/// What a rule of topic rewrite applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewriteAction {
    /// PUBLISH and wills.
    Publish,
    /// SUBSCRIBE and UNSUBSCRIBE.
    Subscribe,
    /// All of them.
    All,
}

impl RewriteAction {
    /// EMQX's words, of both generations.
    const WORDS: &'static [(&'static str, Self)] = &[
        ("publish", Self::Publish),
        ("subscribe", Self::Subscribe),
        ("all", Self::All),
        ("pub", Self::Publish),
        ("sub", Self::Subscribe),
    ];
}

/// What EMQX adds to MQTT, as configured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Messaging {
    /// Delayed messages.
    pub delayed: Delayed,
    /// Rules of topic rewrite in their order.
    pub rewrite: Vec<RewriteSettings>,
    /// Subscriptions made for every client.
    pub auto_subscribe: Vec<AutoSubscription>,
}

impl Messaging {
    /// The sections, or what is wrong with them.
    pub(crate) fn read(values: &Values) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let rewrite = rewrite_rules(values, &mut problems);
        let auto_subscribe = auto_subscriptions(values, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            delayed: Delayed::read(values, Delayed::SECTION.prefix),
            rewrite,
            auto_subscribe,
        })
    }
}

fn rewrite_rules(values: &Values, problems: &mut Vec<Problem>) -> Vec<RewriteSettings> {
    let mut rules = Vec::new();
    for name in names(values, "rewrite", REWRITE_RULES_MAX, problems) {
        let prefix = format!("rewrite.{name}");
        require(
            values,
            &prefix,
            &["source_topic", "re", "dest_topic"],
            problems,
        );
        let rule = RewriteSettings::read(values, &prefix);
        let groups = compile(&rule.re).map_or(0, |re| re.captures_len() - 1);
        let wanted = rule.dest_topic.greatest_group();
        if wanted > groups {
            let what = format!("it names ${wanted}, but `re` has {groups} groups");
            problems.push(problem(values, &format!("{prefix}.dest_topic"), what));
        }
        rules.push(rule);
    }
    rules
}

fn auto_subscriptions(values: &Values, problems: &mut Vec<Problem>) -> Vec<AutoSubscription> {
    const PREFIX: &str = "auto_subscribe.topics";
    let mut topics = Vec::new();
    for name in names(values, PREFIX, AUTO_SUBSCRIPTIONS_MAX, problems) {
        let prefix = format!("{PREFIX}.{name}");
        require(values, &prefix, &["topic"], problems);
        let topic = AutoSubscription::read(values, &prefix);
        let mut example = String::new();
        topic.topic.fill(&mut example, |_| Some("x"));
        if SharedFilter::parse(&example).is_err() {
            let what = "this is not a topic filter".to_owned();
            problems.push(problem(values, &format!("{prefix}.topic"), what));
        }
        topics.push(topic);
    }
    topics
}

/// The names below a prefix: numbers in their order, then others.
pub(super) fn names(
    values: &Values,
    prefix: &str,
    max: usize,
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let below = values.below(prefix).into_iter();
    let mut names: Vec<String> = below
        .filter_map(|(key, _)| key.split_once('.').map(|(name, _)| name.to_owned()))
        .collect();
    names.sort_by_cached_key(|name| (name.parse().unwrap_or(u64::MAX), name.clone()));
    names.dedup();
    if names.len() > max {
        problems.push(Problem::overall(format!(
            "there are {} sections `{prefix}`, but {max} is the most there may be",
            names.len()
        )));
        names.clear();
    }
    names
}

/// Reports settings of a section that have no sensible default and were not given.
pub(super) fn require(values: &Values, prefix: &str, keys: &[&str], problems: &mut Vec<Problem>) {
    let missing = |key: &&&str| values.origin(&format!("{prefix}.{key}")).is_none();
    for key in keys.iter().filter(missing) {
        let first = values.below(prefix).into_iter().next();
        problems.push(Problem {
            origin: first.map(|(_, given)| given.origin.clone()),
            key: Some(format!("{prefix}.{key}")),
            what: "it is needed and missing".to_owned(),
        });
    }
}

fn problem(values: &Values, key: &str, what: String) -> Problem {
    Problem {
        origin: values.origin(key).cloned(),
        key: Some(key.to_owned()),
        what,
    }
}

/// Compiles a regular expression that was accepted, or refuses it. Matching takes time linear in the
/// topic whatever the expression.
pub fn compile(text: &str) -> Result<Regex, String> {
    let mut builder = regex::RegexBuilder::new(text);
    builder.size_limit(REGEX_BYTES_MAX);
    builder.build().map_err(|error| {
        // The library draws the place on lines of its own; the last says what it is.
        let said = error.to_string();
        let last = said.lines().last().unwrap_or_default();
        let last = last.trim().trim_start_matches("error: ");
        format!("this is not a regular expression: {last}")
    })
}

/// A regular expression.
struct Expression;

impl Kind for Expression {
    type Out = String;

    fn parse(&self, raw: &Raw) -> Result<String, String> {
        let (Raw::Bare(text) | Raw::Text(text)) = raw else {
            return Err(format!("{raw} is not text; put it in quotes"));
        };
        compile(text).map(|_| text.clone())
    }

    fn describe(&self) -> String {
        "regular expression (without look-around and back-references)".to_owned()
    }
}

/// A topic filter that is not shared.
pub(super) struct Filter;

impl Kind for Filter {
    type Out = String;

    fn parse(&self, raw: &Raw) -> Result<String, String> {
        match raw {
            Raw::Bare(text) | Raw::Text(text) if TopicFilter::new(text).is_ok() => Ok(text.clone()),
            _ => Err(format!("{raw} is not a topic filter")),
        }
    }

    fn describe(&self) -> String {
        "topic filter".to_owned()
    }
}

/// A topic with places to fill in.
pub(super) struct Pattern(pub(super) Places);

impl Kind for Pattern {
    type Out = Template;

    fn parse(&self, raw: &Raw) -> Result<Template, String> {
        match raw {
            Raw::Bare(text) | Raw::Text(text) if !text.is_empty() => Template::parse(text, self.0),
            _ => Err(format!("{raw} is not a topic")),
        }
    }

    fn describe(&self) -> String {
        let places = match self.0 {
            Places::Client => "`${clientid}`, `${username}`",
            Places::Peer => "`${clientid}`, `${username}`, `${host}`, `${port}`",
            Places::Groups => "`$1` to `$9`, `${clientid}`, `${username}`",
        };
        format!("topic with {places}")
    }
}

/// Topics with priorities from 1 to 255; without any it is `disabled`.
pub(super) struct Priorities;

impl Kind for Priorities {
    type Out = Vec<(String, u8)>;

    fn parse(&self, raw: &Raw) -> Result<Self::Out, String> {
        let (Raw::Bare(text) | Raw::Text(text)) = raw else {
            return Err(format!("{raw} is not a table of topics"));
        };
        if text == "disabled" {
            return Ok(Vec::new());
        }
        // A table arrives with an entry a line, in which a comma is part of the topic.
        let separator = if text.contains('\n') { '\n' } else { ',' };
        let entries = text.split(separator).filter(|entry| !entry.is_empty());
        entries.map(priority).collect()
    }

    fn describe(&self) -> String {
        "table of topics with integers, 1 to 255, or text such as a/b=10,c=8; or `disabled`"
            .to_owned()
    }
}

fn priority(entry: &str) -> Result<(String, u8), String> {
    let parts = entry.rsplit_once('=');
    let parsed = parts.and_then(|(topic, priority)| {
        let priority = priority.trim().parse().ok().filter(|p| *p > 0)?;
        (!topic.trim().is_empty()).then(|| (topic.trim().to_owned(), priority))
    });
    parsed.ok_or_else(|| format!("`{entry}` is not a topic with a priority from 1 to 255"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DefaultPriority, Machine, Sources, TomlFile};

    fn read(text: &str) -> Result<Config, Vec<String>> {
        let file = Some(TomlFile {
            name: "m.toml".to_owned(),
            text: text.to_owned(),
        });
        let sources = Sources {
            file,
            ..Sources::default()
        };
        let machine = Machine {
            cpus: 1,
            memory_bytes: 1 << 30,
            descriptors_hard: 1 << 20,
        };
        let said = |error: crate::config::ConfigError| {
            let problems = error.problems.iter();
            problems.map(ToString::to_string).collect()
        };
        Config::new(&sources, &machine).map_err(said)
    }

    #[test]
    fn rules_come_in_their_order_however_many() {
        let rule = |n: usize| {
            format!(
                "[[rewrite]]\naction = 'publish'\nsource_topic = 'a/{n}'\nre = '(.+)'\n\
                 dest_topic = '$1/${{clientid}}'\n"
            )
        };
        let text: String = (0..12).map(rule).collect();
        let rules = read(&text).unwrap().messaging.rewrite;
        let sources: Vec<&str> = rules.iter().map(|r| r.source_topic.as_str()).collect();
        assert_eq!(sources[9..], ["a/9", "a/10", "a/11"]);
        assert_eq!(rules[0].action, RewriteAction::Publish);
    }

    #[test]
    fn what_is_wrong_with_a_rule_names_its_line_and_key() {
        let rule = "[[rewrite]]\nsource_topic = 'x/#'\nre = '^x/(y$'\ndest_topic = '$1'\n";
        assert_eq!(
            read(rule).unwrap_err(),
            ["m.toml:3: key `rewrite.1.re`: this is not a regular expression: unclosed group"]
        );
        let rule = "[[rewrite]]\nsource_topic = 'x/#'\nre = '^x/(y)$'\ndest_topic = 'z/$2'\n";
        assert_eq!(
            read(rule).unwrap_err(),
            ["m.toml:4: key `rewrite.1.dest_topic`: it names $2, but `re` has 1 groups"]
        );
        let rule = "[[rewrite]]\nsource_topic = 'x/#/y'\ndest_topic = 'z'\n";
        assert_eq!(
            read(rule).unwrap_err(),
            ["m.toml:2: key `rewrite.1.source_topic`: \"x/#/y\" is not a topic filter"]
        );
        let rule = "[[rewrite]]\nsource_topic = 'x/#'\ndest_topic = 'z'\n";
        assert_eq!(
            read(rule).unwrap_err(),
            ["m.toml:3: key `rewrite.1.re`: it is needed and missing"]
        );
    }

    #[test]
    fn subscriptions_for_everybody() {
        let text = "[[auto_subscribe.topics]]\ntopic = 'c/%c'\nqos = 1\nrh = 2\n\
                    [[auto_subscribe.topics]]\ntopic = '$share/g/${host}/${port}'\n";
        let topics = read(text).unwrap().messaging.auto_subscribe;
        assert_eq!((topics[0].qos, topics[0].rh, topics[1].qos), (1, 2, 0));
        let wrong = "[[auto_subscribe.topics]]\ntopic = 'a#/${clientid}'\n";
        let said = read(wrong).unwrap_err();
        let want = "m.toml:2: key `auto_subscribe.topics.1.topic`: this is not a topic filter";
        assert_eq!(said, [want]);
    }

    #[test]
    fn priorities_are_a_table_or_text() {
        let text = "[mqtt]\nmqueue_default_priority = 'highest'\n\
                    [mqtt.mqueue_priorities]\n'a/b,c' = 10\nd = 255\n";
        let mqtt = read(text).unwrap().mqtt;
        let want = [("a/b,c".to_owned(), 10), ("d".to_owned(), 255)];
        assert_eq!(mqtt.mqueue_priorities, want);
        assert_eq!(mqtt.mqueue_default_priority, DefaultPriority::Highest);
        let mqtt = read("[mqtt]\nmqueue_priorities = 'a=1,b=2'\n")
            .unwrap()
            .mqtt;
        assert_eq!(mqtt.mqueue_priorities.len(), 2);
        assert!(read("[mqtt]\nmqueue_priorities = { a = 256 }\n").is_err());
        assert!(read("[mqtt]\nmqueue_priorities = { a = 0 }\n").is_err());
    }
}
