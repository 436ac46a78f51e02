//! Settings of access: who may do what, and the limits of those who may.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use super::kind::{FilePath, Flag, Kind, Raw, choice, integer, span, unless};
use super::quantity::{parse_bytes, parse_duration};
use super::setting::{Change, Section, Setting, parses_to, section};
use super::values::{Origin, Problem, Values};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

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

        /// Whether the SUBACK of a denied subscription says why: 0x87, not authorized. If not it says
        /// 0x80, unspecified error, as MQTT allows a server that does not wish to tell.
        deny_reason: bool = "true", Flag, Live;

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
        /// Without one, and with `node.profile` `open` and `no_match` `allow`, what EMQX's default file says
        /// of subscriptions holds at the end: `$SYS/#`, `#` and `+/#` are for clients on this machine, and
        /// `$SYS/#` for the user `dashboard`.
        path: Option<PathBuf> = "none", unless(&["none"], FilePath), Live;

        /// Whether its rules are in force, or without a file those that hold by default.
        enable: bool = "true", Flag, Live;
    }
}

section! {
    /// Clients that come and go too often.
    pub struct FlappingDetect at "flapping_detect" {
        /// Whether they are looked for.
        enable: bool = "false", Flag, Live;

        /// The time within which disconnects of one client id are counted.
        window_time: Duration = "1m", span(SECOND, DAY), Live;

        /// The disconnect that is one too many.
        max_count: u32 = "15", integer(1, 1_000_000), Live;

        /// For how long the client id is banned then.
        ban_time: Duration = "5m", span(SECOND, YEAR), Live;
    }
}

section! {
    /// Clients that are not let in; see `docs/authorization.md`.
    pub struct Banned at "banned" {
        /// A CSV file of bans that hold from the start: a line of column names, then lines
        /// `as,who,reason,by,at,until`.
        bootstrap_file: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;
    }
}

section! {
    /// What a core does when it has more to do than it can: it lets nobody new in for a while, which is
    /// cheap, so that those who are there stay served.
    pub struct OverloadProtection at "overload_protection" {
        /// Whether anything is done.
        enable: bool = "true", Flag, Live;

        /// A turn of a core's loop that takes longer is the sign of it: so long a client had to wait.
        turn_threshold: Duration = "1s", span(MILLISECOND, DAY), Live;

        /// For how long after such a turn CONNECT is refused with 0x9F (3.x: 3).
        cool_down: Duration = "1s", span(MILLISECOND, DAY), Live;

        /// For how long a core waits after each connection that it accepts meanwhile.
        accept_delay: Duration = "10ms", span(Duration::ZERO, SECOND), Live;
    }
}

/// So many in a time: `1000/s`, `300/5m`, `1MB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many.
    pub amount: NonZeroU64,
    /// In how many milliseconds.
    pub per_ms: NonZeroU64,
}

/// `rate,burst` in bytes, the rate a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateAndBurst {
    /// Bytes a second.
    pub rate: NonZeroU64,
    /// Bytes at once.
    pub burst: NonZeroU64,
}

/// See [`Quota`].
pub(crate) struct QuotaKind;

impl Kind for QuotaKind {
    type Out = Quota;

    fn parse(&self, raw: &Raw) -> Result<Quota, String> {
        let wrong = || format!("{raw} is not a rate such as 1000/s, 300/5m or 1MB/s");
        let text = match raw {
            Raw::Bare(text) | Raw::Text(text) => text.clone(),
            Raw::Integer(number) => number.to_string(),
            _ => return Err(wrong()),
        };
        let (amount, per) = text.split_once('/').unwrap_or((&text, "s"));
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
            per.to_owned()
        } else {
            format!("1{per}")
        };
        let per_ms = parse_duration(&per).and_then(|per| u64::try_from(per.as_millis()).ok());
        let quota = || {
            Some(Quota {
                amount: NonZeroU64::new(parse_bytes(amount)?)?,
                per_ms: NonZeroU64::new(per_ms?)?,
            })
        };
        quota().ok_or_else(wrong)
    }

    fn describe(&self) -> String {
        "rate such as 1000/s, 300/5m or 1MB/s".to_owned()
    }
}

/// See [`RateAndBurst`].
pub(crate) struct RateAndBurstKind;

impl Kind for RateAndBurstKind {
    type Out = RateAndBurst;

    fn parse(&self, raw: &Raw) -> Result<RateAndBurst, String> {
        let parts = match raw {
            Raw::Bare(text) | Raw::Text(text) => text.split_once(','),
            _ => None,
        };
        let bytes = |text: &str| parse_bytes(text.trim()).and_then(NonZeroU64::new);
        let both = parts.and_then(|(rate, burst)| {
            Some(RateAndBurst {
                rate: bytes(rate)?,
                burst: bytes(burst)?,
            })
        });
        both.ok_or_else(|| format!("{raw} is not a rate and a burst in bytes, such as 1024,4096"))
    }

    fn describe(&self) -> String {
        "bytes a second and bytes at once, such as 1024,4096".to_owned()
    }
}

/// What happens to what comes above a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateExceeded {
    /// Nothing is read until the rate allows it.
    Pause,
    /// Messages are dropped.
    Drop,
}

impl RateExceeded {
    pub(crate) const WORDS: &'static [(&'static str, Self)] =
        &[("pause", Self::Pause), ("drop", Self::Drop)];
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
    /// Who comes and goes too often.
    pub flapping: FlappingDetect,
    /// Who is not let in.
    pub banned: Banned,
    /// What happens when there is too much to do.
    pub overload: OverloadProtection,
}

impl AccessSettings {
    pub(crate) fn read(values: &Values) -> Self {
        Self {
            authorization: Authorization::read(values, Authorization::SECTION.prefix),
            cache: AuthorizationCache::read(values, AuthorizationCache::SECTION.prefix),
            file: AuthorizationFile::read(values, AuthorizationFile::SECTION.prefix),
            flapping: FlappingDetect::read(values, FlappingDetect::SECTION.prefix),
            banned: Banned::read(values, Banned::SECTION.prefix),
            overload: OverloadProtection::read(values, OverloadProtection::SECTION.prefix),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, amount, per_ms) in [
            ("1000", 1000, 1000),
            ("1000/s", 1000, 1000),
            ("300/5m", 300, 300_000),
            ("1MB/s", 1 << 20, 1000),
            ("10KB/100ms", 10 << 10, 100),
        ] {
            let quota = QuotaKind.parse(&Raw::Bare(text.to_owned())).unwrap();
            assert_eq!(
                (quota.amount.get(), quota.per_ms.get()),
                (amount, per_ms),
                "{text}"
            );
        }
        for text in ["", "0/s", "10/", "10/0s", "x/s", "10/s/s", "-1"] {
            assert!(
                QuotaKind.parse(&Raw::Bare(text.to_owned())).is_err(),
                "{text}"
            );
        }
        let pair = RateAndBurstKind
            .parse(&Raw::Bare("1024,4096".to_owned()))
            .unwrap();
        assert_eq!((pair.rate.get(), pair.burst.get()), (1024, 4096));
        for text in ["1024", "1024,", ",4096", "0,1", "1,2,3"] {
            assert!(
                RateAndBurstKind.parse(&Raw::Bare(text.to_owned())).is_err(),
                "{text}"
            );
        }
    }
}
