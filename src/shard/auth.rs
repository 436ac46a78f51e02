//! Who may enter: what is decided on the core, and what the control plane is asked.
//!
//! A core decides at once where no secret has to be looked at: a listener without authentication, a
//! client without a name where those are not wanted. Everything else is a question to the control
//! plane ([`crate::gate::authn`]); the socket waits meanwhile with nothing armed, so that what a
//! client sends behind its CONNECT waits in the kernel and costs nothing here.
//!
//! Take-over: the client id alone decides, as in EMQX. A client that authenticates under another user
//! name takes the session of its client id over; what must not be shared is kept apart by
//! `mqtt.use_username_as_clientid` or by rules that bind `${clientid}` to `${username}`.

use compact_str::CompactString;

use crate::access::acl_client::ClientAcl;
use crate::base::envelope::PeerNames;
use crate::config::CertName;
use crate::gate::authn::{AuthnRequest, Grant, Secret, Ticket};
pub use crate::gate::rules::authn::{AuthnRules, ListenerAuthn};
use crate::metrics::{Counter, Latency};
use crate::mqtt::decode_connect::Connect;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::shard::Shard;
use crate::shard::connection::Extra;
use crate::shard::handshake::Handshake;

/// What is known of a client besides its client id; kept with its connection.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The user name.
    pub username: Option<Box<str>>,
    /// No access rule holds for it.
    pub superuser: bool,
    /// When it is disconnected, microseconds of UNIX time.
    pub expires_us: Option<u64>,
    /// Its own access rules.
    pub acl: Option<Box<ClientAcl>>,
    /// Named values for placeholders.
    pub attributes: Vec<(Box<str>, Box<str>)>,
    /// What its certificate says.
    pub peer_names: Option<Box<PeerNames>>,
    /// The method by which it was authenticated, for authenticating again.
    pub method: Option<Box<str>>,
    /// It is authenticating again.
    pub(super) again: Option<Box<Pending>>,
}

/// An authentication under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    /// The number of the question that is open; 0 while the client is to send AUTH.
    pub(super) serial: u64,
    /// When it was asked, microseconds of UNIX time.
    pub(super) asked_us: u64,
    /// When the step is given up, milliseconds since process start.
    pub(super) deadline_ms: u64,
    /// Steps so far.
    pub(super) steps: u8,
    /// What the method wants back.
    pub(super) state: Option<Secret>,
}

/// The clients of a core that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    count: u32,
    serial: u64,
}

impl Waiting {
    /// One more waits, under this number.
    pub(super) fn begin(&mut self) -> u64 {
        self.count += 1;
        self.serial += 1;
        self.serial
    }

    /// One waits no more.
    pub(super) fn end(&mut self) {
        debug_assert!(self.count > 0, "only who waits can stop waiting");
        self.count = self.count.saturating_sub(1);
    }

    /// Whether no other may wait.
    pub(super) fn is_full(&self, rules: &AuthnRules) -> bool {
        self.count >= rules.waiting_max
    }

    /// A connection ends that may be waiting.
    pub(super) fn forget(&mut self, extra: Option<&Extra>) {
        let again = extra
            .and_then(|extra| extra.identity.as_deref())
            .and_then(|identity| identity.again.as_deref());
        if again.is_some_and(|again| again.serial != 0) {
            self.end();
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> u32 {
        self.count
    }
}

/// Who a client is, from CONNECT and certificate.
#[derive(Clone, Debug)]
pub(super) struct Applicant {
    pub(super) version: Version,
    pub(super) connect_len: usize,
    pub(super) client_id: CompactString,
    pub(super) assigned: bool,
    pub(super) username: Option<Box<str>>,
    pub(super) method: Option<Box<str>>,
    /// The largest packet it takes, in bytes.
    pub(super) max_packet_size: u32,
}

impl AuthnRules {
    /// The user name that counts [EMQX: the certificate's goes before CONNECT's].
    pub(super) fn username<'a>(
        &self,
        connect: &Connect<'a>,
        names: Option<&'a PeerNames>,
    ) -> Option<&'a str> {
        let from_peer = names.and_then(|names| name_of(names, self.peer_cert_as_username?));
        from_peer.or(connect.username)
    }

    /// The client id that counts; empty to be assigned one.
    pub(super) fn client_id<'a>(
        &self,
        connect: &Connect<'a>,
        names: Option<&'a PeerNames>,
        username: Option<&'a str>,
    ) -> &'a str {
        if let Some(username) = username.filter(|_| self.use_username_as_clientid) {
            return username;
        }
        let from_peer = names.and_then(|names| name_of(names, self.peer_cert_as_clientid?));
        from_peer.unwrap_or(connect.client_id)
    }
}

fn name_of(names: &PeerNames, which: CertName) -> Option<&str> {
    match which {
        CertName::Cn => names.common_name.as_deref(),
        CertName::Dn => names.subject.as_deref(),
        CertName::Crt => names.crt.as_deref(),
        CertName::Pem => names.pem.as_deref(),
        CertName::Md5 => names.md5.as_deref(),
    }
}

/// What becomes of a client whose CONNECT is welcome.
pub(super) enum Entry {
    /// It enters without being asked for more.
    Open,
    /// The control plane decides.
    Ask,
    /// It is refused.
    Closed(ReasonCode),
}

impl Shard {
    /// What a core decides by itself.
    pub(super) fn entry(&self, listener: u8, applicant: &Applicant) -> Entry {
        let rules = &self.clients.rules;
        let authn = rules.authn.of_listener(listener);
        let asks = matches!(authn, ListenerAuthn::Ask | ListenerAuthn::AskNamed);
        // A method that is not offered is refused [MQTT-4.12.0-1].
        let known = |method: &str| rules.authn.methods.iter().any(|known| **known == *method);
        if let Some(method) = &applicant.method {
            return if asks && known(method) {
                Entry::Ask
            } else {
                Entry::Closed(ReasonCode::BadAuthenticationMethod)
            };
        }
        match authn {
            ListenerAuthn::Off => Entry::Open,
            ListenerAuthn::Unset if rules.allow_anonymous => Entry::Open,
            ListenerAuthn::Unset => Entry::Closed(ReasonCode::NotAuthorized),
            ListenerAuthn::AskNamed if applicant.username.is_none() => {
                Entry::Closed(ReasonCode::NotAuthorized)
            }
            ListenerAuthn::Ask | ListenerAuthn::AskNamed => Entry::Ask,
        }
    }

    /// How many clients wait.
    #[cfg(test)]
    pub(super) fn authn_waiting(&self) -> u32 {
        self.authn.len()
    }

    /// Counts what was answered and how long it took.
    pub(super) fn count_answer(&self, asked_us: u64, allowed: bool) {
        let clients = &self.clients;
        let us = clients.now.unix_us.saturating_sub(asked_us);
        clients.metrics.record(Latency::Authenticate, us);
        clients.metrics.inc(if allowed {
            Counter::AuthenticationSuccess
        } else {
            Counter::AuthenticationFailure
        });
    }
}

/// What is kept of a client that is let in; nothing for one of which nothing is known.
pub(super) fn identity_of(
    applicant: &mut Applicant,
    handshake: &mut Handshake,
    grant: Option<Grant>,
) -> Option<Box<Identity>> {
    let grant = grant.unwrap_or_default();
    let identity = Identity {
        username: grant.username.or_else(|| applicant.username.take()),
        superuser: grant.superuser,
        expires_us: grant.expires_us,
        acl: grant.acl,
        attributes: grant.attributes,
        peer_names: handshake.peer_names.take(),
        method: applicant.method.take(),
        again: None,
    };
    let known = identity.username.is_some()
        || identity.superuser
        || identity.expires_us.is_some()
        || identity.acl.is_some()
        || !identity.attributes.is_empty()
        || identity.peer_names.is_some()
        || identity.method.is_some();
    known.then(|| Box::new(identity))
}

/// The question about a client in handshake; the driver adds the number of its socket.
pub(super) fn question(
    ticket: Ticket,
    applicant: &Applicant,
    handshake: &Handshake,
    password: Option<Secret>,
) -> Box<AuthnRequest> {
    Box::new(AuthnRequest {
        ticket,
        client_id: applicant.client_id.clone(),
        username: applicant.username.clone(),
        password,
        peer: handshake.peer,
        listener: handshake.listener,
        peer_names: handshake.peer_names.clone(),
        version: applicant.version,
        exchange: None,
    })
}
