//! Topic rewrite: rules that change the topics of PUBLISH packets and wills and the filters of
//! SUBSCRIBE and UNSUBSCRIBE.
//!
//! Rules are tried in the order of the file. The first whose `source_topic` matches decides: where its
//! expression matches, the topic becomes `dest_topic`; where not, it stays. A filter is matched as if
//! it were a topic (so `y/#` is for the filter `y/+/z`); of a shared or exclusive filter and of a
//! delayed topic only the real part is rewritten. Rights are checked before, on what the client said,
//! and a result is not rewritten again. A result that is no valid topic or filter is not used: the
//! original stays, counted. A client's id or name that holds `/`, `+` or `#` is not put into a topic:
//! it could widen a filter beyond what was allowed.
//!
//! Wills are rewritten when their connection ends, once they are allowed.

use regex::Regex;

use crate::config::{Piece, RewriteAction, RewriteSettings, Template, compile};
use crate::mqtt::topic::{TopicFilter, TopicName, topic_matches};
use crate::shard::mountpoint::placeable;

/// One core's rules. Each core has regular expressions of its own, since an expression has scratch
/// memory that is used by one at a time.
#[derive(Debug, Default)]
pub struct Rewriter {
    publish: Vec<Rule>,
    subscribe: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    source: String,
    expression: Regex,
    destination: Template,
}

/// The client whose topic is rewritten.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Its client id.
    pub client_id: &'a str,
    /// Its user name.
    pub username: Option<&'a str>,
}

/// What became of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rewritten {
    /// It stays.
    No,
    /// The new one, which is valid.
    To(String),
    /// The new one is not valid: the old one stays.
    Invalid,
}

impl Rewriter {
    /// From rules that were accepted.
    pub fn new(rules: &[RewriteSettings]) -> Self {
        let of = |without: RewriteAction| {
            let rules = rules.iter().filter(|rule| rule.action != without);
            rules.filter_map(Rule::new).collect()
        };
        Self {
            publish: of(RewriteAction::Subscribe),
            subscribe: of(RewriteAction::Publish),
        }
    }

    /// Whether no topic of a PUBLISH is rewritten.
    pub fn keeps_topics(&self) -> bool {
        self.publish.is_empty()
    }

    /// Whether no filter is rewritten.
    pub fn keeps_filters(&self) -> bool {
        self.subscribe.is_empty()
    }

    /// The topic of a PUBLISH or of a will.
    pub fn topic(&self, topic: &str, who: Who<'_>) -> Rewritten {
        let valid = |text: &str| TopicName::new(text).is_ok();
        rewrite(&self.publish, topic, who, valid)
    }

    /// The real filter of a SUBSCRIBE or UNSUBSCRIBE.
    pub fn filter(&self, filter: &str, who: Who<'_>) -> Rewritten {
        let valid = |text: &str| TopicFilter::new(text).is_ok();
        rewrite(&self.subscribe, filter, who, valid)
    }
}

impl Rule {
    fn new(settings: &RewriteSettings) -> Option<Self> {
        let expression = compile(&settings.re).ok();
        debug_assert!(expression.is_some(), "the configuration compiled it");
        Some(Self {
            source: settings.source_topic.clone(),
            expression: expression?,
            destination: settings.dest_topic.clone(),
        })
    }
}

fn rewrite(
    rules: &[Rule],
    topic: &str,
    who: Who<'_>,
    is_valid: impl Fn(&str) -> bool,
) -> Rewritten {
    let Some(rule) = rules.iter().find(|rule| topic_matches(&rule.source, topic)) else {
        return Rewritten::No;
    };
    let Some(groups) = rule.expression.captures(topic) else {
        return Rewritten::No;
    };
    let mut out = String::new();
    let filled = rule.destination.fill(&mut out, |piece| match piece {
        Piece::ClientId => placeable(who.client_id),
        Piece::Username => who.username.and_then(placeable),
        // A group that took no part is empty.
        Piece::Group(number) => Some(groups.get(*number).map_or("", |group| group.as_str())),
        Piece::Text(_) | Piece::Host | Piece::Port => None,
    });
    if filled && is_valid(&out) {
        Rewritten::To(out)
    } else {
        Rewritten::Invalid
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Rules as a file would give them: action, source, expression, destination.
    pub(in crate::shard) fn rules(given: &[[&str; 4]]) -> Vec<RewriteSettings> {
        let text: String = given
            .iter()
            .map(|[action, source, re, dest]| {
                format!(
                    "[[rewrite]]\naction = '{action}'\nsource_topic = '{source}'\nre = '{re}'\n\
                     dest_topic = '{dest}'\n"
                )
            })
            .collect();
        crate::config::Config::from_text_for_tests(&text)
            .messaging
            .rewrite
    }

    fn rewriter(given: &[[&str; 4]]) -> Rewriter {
        Rewriter::new(&rules(given))
    }

    const WHO: Who<'_> = Who {
        client_id: "c1",
        username: Some("u1"),
    };

    fn to(text: &str) -> Rewritten {
        Rewritten::To(text.to_owned())
    }

    /// The example of EMQX's manual.
    #[test]
    fn the_first_filter_that_matches_decides() {
        let rules = rewriter(&[
            ["all", "y/+/z/#", "^y/(.+)/z/(.+)$", "y/z/$2"],
            ["all", "x/#", "^x/y/(.+)$", "z/y/x/$1"],
            ["all", "x/y/+", "^x/y/(\\d+)$", "z/y/$1"],
        ]);
        assert_eq!(rules.topic("y/a/z/b", WHO), to("y/z/b"));
        assert_eq!(rules.topic("y/def", WHO), Rewritten::No);
        assert_eq!(
            rules.topic("x/1/2", WHO),
            Rewritten::No,
            "its expression fails"
        );
        assert_eq!(rules.topic("x/y/2", WHO), to("z/y/x/2"), "not the third");
        assert_eq!(rules.filter("y/+/z/#", WHO), to("y/z/#"));
    }

    #[test]
    fn actions_and_the_names_of_the_client() {
        let rules = rewriter(&[
            ["publish", "p/#", "^p/(.*)$", "${clientid}/%u/$1"],
            ["subscribe", "s/#", "^s/(.*)$", "%c/${username}/$1"],
        ]);
        assert_eq!(rules.topic("p/x", WHO), to("c1/u1/x"));
        assert_eq!(rules.filter("p/x", WHO), Rewritten::No);
        assert_eq!(rules.filter("s/#", WHO), to("c1/u1/#"));
        assert_eq!(rules.topic("s/x", WHO), Rewritten::No);
        let nameless = Who {
            username: None,
            ..WHO
        };
        assert_eq!(rules.topic("p/x", nameless), Rewritten::Invalid);
        let sly = Who {
            client_id: "#",
            ..WHO
        };
        assert_eq!(rules.filter("s/x", sly), Rewritten::Invalid);
    }

    #[test]
    fn a_result_that_is_no_topic_is_not_used() {
        let rules = rewriter(&[["all", "a/#", "^a/(x?)(.*)$", "$1"]]);
        assert_eq!(rules.topic("a/x", WHO), to("x"));
        assert_eq!(rules.topic("a/y", WHO), Rewritten::Invalid, "empty");
        let rules = rewriter(&[["all", "a", "a", "b/#/c"]]);
        assert_eq!(rules.topic("a", WHO), Rewritten::Invalid);
        assert_eq!(rules.filter("a", WHO), Rewritten::Invalid);
    }

    #[test]
    fn matching_is_linear_in_the_topic() {
        let rules = rewriter(&[["all", "#", "^(a+)+$", "$1"]]);
        let topic = format!("{}b", "a".repeat(60_000));
        assert_eq!(rules.topic(&topic, WHO), Rewritten::No);
    }
}
