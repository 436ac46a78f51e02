//! What cores know of authentication.

use std::sync::Arc;

use crate::config::{CertName, Config, EnableAuthn, Listener, ProviderKind};

/// Who is asked about a client, and which of its names count.
#[derive(Clone, Debug)]
pub struct AuthnRules {
    /// By listener; a listener that is not named has no authentication.
    pub listeners: Arc<[ListenerAuthn]>,
    /// Methods of enhanced authentication.
    pub methods: Arc<[Box<str>]>,
    /// The user name becomes the client id.
    pub use_username_as_clientid: bool,
    /// What of a client's certificate becomes its user name.
    pub peer_cert_as_username: Option<CertName>,
    /// What of a client's certificate becomes its client id.
    pub peer_cert_as_clientid: Option<CertName>,
    /// Time for an answer.
    pub timeout_ms: u64,
    /// Clients of this core that may wait for an answer at once.
    pub waiting_max: u32,
}

impl Default for AuthnRules {
    fn default() -> Self {
        Self {
            listeners: Arc::from([]),
            methods: Arc::from([]),
            use_username_as_clientid: false,
            peer_cert_as_username: None,
            peer_cert_as_clientid: None,
            timeout_ms: 10_000,
            waiting_max: 4096,
        }
    }
}

/// How clients of one listener are authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerAuthn {
    /// Nothing is configured: `mqtt.allow_anonymous` decides.
    #[default]
    Unset,
    /// Nobody is asked, everybody enters.
    Off,
    /// The control plane is asked.
    Ask,
    /// The same, but who comes without a user name is refused at once.
    AskNamed,
}

impl AuthnRules {
    /// What the configuration says, for one of so many cores.
    pub fn new(config: &Config, cores: u8) -> Self {
        let (mqtt, settings) = (&config.mqtt, &config.authentication_settings);
        let mut methods: Vec<Box<str>> = Vec::new();
        let mut own = |listener: &Listener| {
            let mut asks = false;
            for provider in config.authentication_of(listener) {
                asks = true;
                if let ProviderKind::Scram(scram) = &provider.kind {
                    methods.push(scram.algorithm.method().into());
                }
            }
            match listener.settings.enable_authn {
                EnableAuthn::No => ListenerAuthn::Off,
                _ if !asks => ListenerAuthn::Unset,
                EnableAuthn::Yes => ListenerAuthn::Ask,
                EnableAuthn::QuickDenyAnonymous => ListenerAuthn::AskNamed,
            }
        };
        let listeners = config.listeners.iter().map(&mut own).collect();
        methods.sort_unstable();
        methods.dedup();
        Self {
            listeners,
            methods: methods.into(),
            use_username_as_clientid: mqtt.use_username_as_clientid,
            peer_cert_as_username: mqtt.peer_cert_as_username,
            peer_cert_as_clientid: mqtt.peer_cert_as_clientid,
            timeout_ms: u64::try_from(settings.timeout.as_millis()).unwrap_or(u64::MAX),
            waiting_max: settings.max_waiting.div_ceil(u32::from(cores.max(1))),
        }
    }

    /// How clients of a listener are authenticated.
    pub fn of_listener(&self, listener: u8) -> ListenerAuthn {
        let own = self.listeners.get(usize::from(listener));
        own.copied().unwrap_or_default()
    }
}
