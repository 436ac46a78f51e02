//! The configuration: read once, checked as a whole, then an immutable snapshot.
//!
//! Two steps: [`Sources`] (text, from a file, the environment, the command line) become [`Config`]
//! (typed, in range, consistent). A `Config` that exists is valid; nothing downstream checks again.
//! Precedence: default < file < run-time overrides < environment < `--set` < other options.
//! Every setting is declared once, in `sections.rs`; parsing, range checks, `--help` and
//! `docs/configuration.md` come from that declaration.
//!
//! Nothing here opens a file: the texts are given.

mod authn;
mod kind;
mod listener;
mod network;
mod quantity;
mod reference;
mod schema;
mod sections;
mod sections_access;
mod sections_authn;
mod sections_deflate;
mod sections_diagnose;
mod sections_http;
mod sections_listeners;
mod sections_messaging;
mod sections_observe;
mod sections_tls;
mod sections_webhook;
mod setting;
mod shown;
mod sizing;
mod source;
mod template;
mod values;

pub use authn::backends::{
    BootstrapType, BuiltInAuthn, HttpAuthn, HttpMethod, HttpShape, JwtAlgorithm, JwtAuthn, JwtFrom,
    LdapAuthn, LdapMethod, LdapType, MongoAuthn, RedisAuthn, RedisType, Salted, ScramAuthn,
    ScramHash, Servers, SqlAuthn, Ssl, Time, UserIdType,
};
pub use authn::password::{Digest, PasswordHash, SaltPosition};
pub use authn::sources::{AccessSource, AccessSourceKind};
pub use authn::{AuthnProvider, Hidden, ProviderKind};
pub use listener::{Bind, Listener, ListenerKind};
pub use network::{AccessRule, Network};
pub use reference::{help, reference};
pub use sections::{
    CORES_MAX, DefaultPriority, Log, LogFormat, LogLevel, Mqtt, Node, Retainer, ShareGroup,
    ShareGroupSettings, ShareStrategy,
};
pub use sections_access::{
    AccessSettings, Authorization, AuthorizationCache, AuthorizationFile, Banned, FlappingDetect,
    NoMatch, OnDeny, OverloadProtection, Profile, Quota, RateAndBurst, RateExceeded,
};
pub use sections_authn::{AccessSources, AuthnSettings, CertName, EnableAuthn, GlobalAuthn};
pub use sections_deflate::{DeflateLevel, DeflateOpts, Takeover};
pub use sections_diagnose::{SlowStats, SlowSubs, Trace};
pub use sections_http::{Dashboard, Http, HttpTls};
pub use sections_listeners::{
    ListenerSettings, Piggyback, SslListener, TcpListener, UnixListener, WebSocketSettings,
    WsListener, WsWebSocket, WssListener, WssWebSocket,
};
pub use sections_messaging::{
    AutoSubscription, Delayed, Messaging, RewriteAction, RewriteSettings, compile,
};
pub use sections_observe::{Observe, Prometheus, SysEventMessages, SysTopics, Sysmon};
pub use sections_tls::{
    OcspOptions, SessionTickets, SniOptions, SslOptions, Tls, TlsCipher, TlsListenerSettings,
    TlsVerify, TlsVersion,
};
pub use sections_webhook::{PayloadForm, Webhook, WebhookAction, WebhookRule};
pub use shown::Shown;
pub use sizing::{Machine, Sizing};
pub use source::{Sources, TomlFile};
pub use template::{Piece, Template};
pub use values::{Origin, Problem};

use std::fmt;

use sections_access::hardened_problems;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The process.
    pub node: Node,
    /// The listeners to open, in the order of their names; at least one.
    pub listeners: Vec<Listener>,
    /// The protocol.
    pub mqtt: Mqtt,
    /// What clients may do.
    pub access: AccessSettings,
    /// Who authenticates clients where a listener has no chain of its own.
    pub authentication: Vec<AuthnProvider>,
    /// Sources of access rules that have to be asked.
    pub access_sources: Vec<AccessSource>,
    /// Limits of authentication.
    pub authentication_settings: AuthnSettings,
    /// Groups of shared subscribers with a strategy of their own.
    pub share_groups: Vec<ShareGroup>,
    /// Retained messages.
    pub retainer: Retainer,
    /// What EMQX adds to MQTT.
    pub messaging: Messaging,
    /// TLS handshakes.
    pub tls: Tls,
    /// The HTTP API.
    pub http: Http,
    /// Its TLS.
    pub http_tls: HttpTls,
    /// The first user.
    pub dashboard: Dashboard,
    /// What is told about the running broker.
    pub observe: Observe,
    /// The log.
    pub log: Log,
    /// All settings as they were written.
    pub shown: Vec<Shown>,
    /// What the settings that say `auto` came to.
    pub sizing: Sizing,
}

/// Why there is no configuration: every problem found, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One sentence each.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// One problem that is not about one setting.
    #[cfg_attr(
        fuzzing,
        allow(dead_code, reason = "files are read by what is not fuzzed")
    )]
    pub(crate) fn overall(what: impl Into<String>) -> Self {
        Self {
            problems: vec![Problem::overall(what)],
        }
    }
}

impl fmt::Display for ConfigError {
    /// One problem a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The configuration that the sources give on this machine.
    pub fn new(sources: &Sources, machine: &Machine) -> Result<Self, ConfigError> {
        let values = sources.collect()?;
        let listeners =
            listener::listeners(&values).map_err(|problems| ConfigError { problems })?;
        let messaging = Messaging::read(&values).map_err(|problems| ConfigError { problems })?;
        let node = Node::read(&values, Node::SECTION.prefix);
        let sizing = Sizing::new(&node, machine);
        let http_tls = HttpTls::read(&values, HttpTls::SECTION.prefix);
        if let Some(problem) = http_tls.problem(&values) {
            return Err(ConfigError {
                problems: vec![problem],
            });
        }
        let mut mqtt = Mqtt::read(&values, Mqtt::SECTION.prefix);
        if node.profile == Profile::Hardened {
            let problems = hardened_problems(&listeners, &values, mqtt.allow_anonymous);
            if !problems.is_empty() {
                return Err(ConfigError { problems });
            }
            mqtt.allow_anonymous = false;
        }
        Ok(Self {
            node,
            listeners,
            mqtt,
            access: AccessSettings::read(&values),
            authentication: GlobalAuthn::read(&values, GlobalAuthn::SECTION.prefix).authentication,
            access_sources: AccessSources::read(&values, AccessSources::SECTION.prefix).remote,
            authentication_settings: AuthnSettings::read(&values, AuthnSettings::SECTION.prefix),
            share_groups: ShareGroupSettings::groups(&values),
            retainer: Retainer::read(&values, Retainer::SECTION.prefix),
            messaging,
            tls: Tls::read(&values, Tls::SECTION.prefix),
            http: Http::read(&values, Http::SECTION.prefix),
            http_tls,
            dashboard: Dashboard::read(&values, Dashboard::SECTION.prefix),
            observe: Observe::read(&values).map_err(|problems| ConfigError { problems })?,
            log: Log::read(&values, Log::SECTION.prefix),
            shown: shown::shown(&values),
            sizing,
        })
    }

    /// The configuration that a file gives, which is right.
    #[cfg(test)]
    pub fn from_text_for_tests(text: &str) -> Self {
        let file = Some(TomlFile {
            name: "test.toml".to_owned(),
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
        match Self::new(&sources, &machine) {
            Ok(config) => config,
            Err(error) => panic!("{error}"),
        }
    }

    /// Everything at its default.
    pub fn defaults(machine: &Machine) -> Self {
        match Self::new(&Sources::default(), machine) {
            Ok(config) => config,
            Err(error) => panic!("the defaults are refused: {error}"),
        }
    }

    /// What a careful operator should know before the broker runs, one sentence each.
    pub fn warnings(&self, machine: &Machine) -> Vec<String> {
        let mut warnings = Vec::new();
        warnings.extend(self.open_access_warning());
        warnings.extend(self.no_rules_warning());
        if self.sizing.cores > machine.cpus {
            warnings.push(format!(
                "node.cores is {}, but this process may use {} CPUs only: cores will share them, at \
                 the cost of latency",
                self.sizing.cores, machine.cpus
            ));
        }
        warnings
    }

    /// The warning that those who enter without a name may do everything, if it is so.
    fn no_rules_warning(&self) -> Option<String> {
        let denies = self.access.authorization.no_match == Some(NoMatch::Deny);
        let has_file = self.access.file.enable && self.access.file.path.is_some();
        if denies || has_file || self.open_access_warning().is_none() {
            return None;
        }
        Some(
            "every client may publish and subscribe to everything, because node.profile is open and \
             there are no access rules; name a file in authorization.sources.file.path, or set \
             authorization.no_match=deny"
                .to_owned(),
        )
    }

    /// The chain that holds for the clients of a listener; those of its members that are not enabled
    /// left out.
    pub fn authentication_of<'a>(
        &'a self,
        listener: &'a Listener,
    ) -> impl Iterator<Item = &'a AuthnProvider> {
        let own = &listener.settings.authentication;
        let chain = if own.is_empty() {
            &self.authentication
        } else {
            own
        };
        chain.iter().filter(|provider| provider.enable)
    }

    /// Whether clients enter by a listener without being authenticated.
    fn is_open(&self, listener: &Listener) -> bool {
        match listener.settings.enable_authn {
            EnableAuthn::No => true,
            EnableAuthn::Yes | EnableAuthn::QuickDenyAnonymous => {
                self.mqtt.allow_anonymous && self.authentication_of(listener).next().is_none()
            }
        }
    }

    /// The warning that anyone who reaches this machine may connect, if it is so.
    pub fn open_access_warning(&self) -> Option<String> {
        let outside = |l: &&Listener| !l.bind.is_inside();
        let open: Vec<String> = self
            .listeners
            .iter()
            .filter(outside)
            .filter(|l| self.is_open(l))
            .filter(|l| {
                !l.tls
                    .as_ref()
                    .is_some_and(TlsListenerSettings::requires_certificate)
            })
            .map(|l| format!("{l} on {}", l.bind))
            .collect();
        if open.is_empty() {
            return None;
        }
        Some(format!(
            "anyone who can reach this machine may connect without a name or password ({}); set \
             mqtt.allow_anonymous=false, or bind to 127.0.0.1",
            open.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests;
