//! Settings of access: who may do what, and the limits of those who may.

use std::path::PathBuf;
use std::time::Duration;

use super::kind::{FilePath, Flag, choice, integer, span, unless};
use super::setting::{Change, Section, Setting, parses_to, section};
use super::values::{Origin, Problem, Values};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

section! {
    /// What clients may do. The first of these decides that has something to say: the rules that came
    /// with a client's login, the file of `authorization.sources.file.path`, the built-in table, sources
    /// that have to be asked, and at last `authorization.no_match`. See `docs/authorization.md`.
    pub struct Authorization at "authorization" {
        /// What holds when no rule says anything. `auto`: `allow` with `node.profile` `open`, `deny` with
        /// `hardened`.
        no_match: Option<NoMatch> = "auto", unless(&["auto"], choice(NoMatch::WORDS)), Live;

        /// What happens to a client that did what it may not: `ignore` refuses that, `disconnect` ends
        /// the connection as well.
        deny_action: OnDeny = "ignore", choice(OnDeny::WORDS), Live;

        /// Whether a rule that denies `secret/#` also denies a subscription to `#` or `+/x`, which would
        /// get some of it. EMQX does not. `auto`: with `node.profile` `hardened`.
        deny_overlapping: Option<bool> = "auto", unless(&["auto"], Flag), Live;

        /// How long sources that have to be asked may take. What is not answered by then is denied.
        timeout: Duration = "5s", span(SECOND, DAY), Live;
    }
}

section! {
    /// Answers of sources that have to be asked, kept for each client. Decisions by rules in memory are
    /// not kept: to make one costs no more than to find it.
    pub struct AuthorizationCache at "authorization.cache" {
        /// Whether answers are kept.
        enable: bool = "true", Flag, Live;

        /// How many for one client; the oldest makes room.
        max_size: u32 = "32", integer(1, 1_000), Live;

        /// How long an answer is good for.
        ttl: Duration = "1m", span(SECOND, DAY), Live;
    }
}

section! {
    /// The file of access rules.
    pub struct AuthorizationFile at "authorization.sources.file" {
        /// The file, in EMQX's notation (`acl.conf`). The short name `acl_file` is understood as well.
        path: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;

        /// Whether its rules are in force.
        enable: bool = "true", Flag, Restart;
    }
}

/// What holds when no rule says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMatch {
    /// It is allowed.
    Allow,
    /// It is denied.
    Deny,
}

impl NoMatch {
    const WORDS: &'static [(&'static str, Self)] = &[("allow", Self::Allow), ("deny", Self::Deny)];
}

/// What happens to a client that did what it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeny {
    /// That is refused.
    Ignore,
    /// Its connection ends.
    Disconnect,
}

impl OnDeny {
    const WORDS: &'static [(&'static str, Self)] =
        &[("ignore", Self::Ignore), ("disconnect", Self::Disconnect)];
}

/// How careful the defaults are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Anybody may enter and do anything, unless settings say otherwise.
    Open,
    /// Nobody may, unless settings say otherwise.
    Hardened,
}

impl Profile {
    /// EMQX calls the first `legacy`.
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[
        ("open", Self::Open),
        ("legacy", Self::Open),
        ("hardened", Self::Hardened),
    ];
}

/// Names that other generations of EMQX, or habit, give to settings.
pub(crate) const ALIASES: &[(&str, &str)] = &[
    ("acl_file", "authorization.sources.file.path"),
    ("mqtt.acl_file", "authorization.sources.file.path"),
    ("acl_nomatch", "authorization.no_match"),
    ("mqtt.acl_nomatch", "authorization.no_match"),
    ("acl_deny_action", "authorization.deny_action"),
    ("enable_acl_cache", "authorization.cache.enable"),
    ("acl_cache_max_size", "authorization.cache.max_size"),
    ("acl_cache_ttl", "authorization.cache.ttl"),
];

/// Everything about access.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessSettings {
    /// What clients may do.
    pub authorization: Authorization,
    /// Answers that are kept.
    pub cache: AuthorizationCache,
    /// The file of rules.
    pub file: AuthorizationFile,
}

impl AccessSettings {
    pub(crate) fn read(values: &Values) -> Self {
        Self {
            authorization: Authorization::read(values, Authorization::SECTION.prefix),
            cache: AuthorizationCache::read(values, AuthorizationCache::SECTION.prefix),
            file: AuthorizationFile::read(values, AuthorizationFile::SECTION.prefix),
        }
    }
}

/// What does not go together with `node.profile = hardened`.
pub(crate) fn hardened_problems(
    listeners: &[super::Listener],
    values: &Values,
    allow_anonymous: bool,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let origin = |key: &str| values.origin(key).cloned().unwrap_or(Origin::Set);
    for listener in listeners {
        if !listener.kind.is_tls() && !listener.bind.is_inside() {
            problems.push(Problem::overall(format!(
                "node.profile is hardened, but listener {listener} takes connections without TLS on \
                 {}; bind it to 127.0.0.1, or use a listener of kind ssl",
                listener.bind
            )));
        }
    }
    let key = "mqtt.allow_anonymous";
    if allow_anonymous && values.origin(key).is_some() {
        let what = "node.profile is hardened, which lets nobody in without authentication";
        problems.push(Problem::with_key(origin(key), key, what));
    }
    problems
}
