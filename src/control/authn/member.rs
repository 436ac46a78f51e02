//! One member of a chain: a backend with its figures and its breaker.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::access::password::{self, Stored};
use crate::config::{AuthnProvider, PasswordHash, ProviderKind, Time};
use crate::control::authn::breaker::Breaker;
use crate::control::authn::builtin::BuiltIn;
use crate::control::authn::directory::Directory;
use crate::control::authn::document::Documents;
use crate::control::authn::hashing::Hashing;
use crate::control::authn::http::Http;
use crate::control::authn::jwt::Jwt;
use crate::control::authn::key_value::KeyValue;
use crate::control::authn::scram::Scram;
use crate::control::authn::sql::{MySql, Postgres};
use crate::gate::authn::{AuthnRequest, Grant, Secret};
use crate::mqtt::reason::ReasonCode;

/// What a member of a chain says of a client.
#[derive(Debug)]
pub(super) enum Opinion {
    Allow(Box<Grant>),
    Deny(ReasonCode),
    /// Another may know.
    Ignore,
    /// Enhanced authentication goes on.
    Continue(Vec<u8>, Secret),
    /// Too much to do.
    Busy,
}

/// A user as a backend stores it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) stored: Stored,
    pub(super) superuser: bool,
}

#[allow(
    clippy::large_enum_variant,
    reason = "there is one for each entry of the configuration"
)]
pub(super) enum Backend {
    BuiltIn(BuiltIn),
    Jwt(Jwt),
    Http(Http),
    KeyValue(KeyValue),
    MySql(MySql),
    Postgres(Postgres),
    Documents(Documents),
    Directory(Directory),
    Scram(Scram),
}

/// A member's counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Clients let in.
    pub success: u64,
    /// Clients refused.
    pub failed: u64,
    /// Clients it had nothing to say about.
    pub nomatch: u64,
    /// Times that it could not be asked, or answered what cannot be understood.
    pub errors: u64,
}

/// One member of a chain.
pub struct Member {
    id: &'static str,
    backend: Backend,
    hashing: Hashing,
    counts: [AtomicU64; 4],
    breaker: Breaker,
}

impl Member {
    pub(super) fn new(provider: &AuthnProvider, hashing: &Hashing) -> Result<Self, String> {
        let backend = match &provider.kind {
            ProviderKind::BuiltIn(config) => Backend::BuiltIn(BuiltIn::new(config)?),
            ProviderKind::Jwt(config) => Backend::Jwt(Jwt::new(config)?),
            ProviderKind::Http(config) => Backend::Http(Http::new(config)?),
            ProviderKind::Redis(config) => Backend::KeyValue(KeyValue::new(config)?),
            ProviderKind::Mysql(config) => Backend::MySql(MySql::new(config)?),
            ProviderKind::Postgresql(config) => Backend::Postgres(Postgres::new(config)?),
            ProviderKind::Mongodb(config) => Backend::Documents(Documents::new(config)?),
            ProviderKind::Ldap(config) => Backend::Directory(Directory::new(config)?),
            ProviderKind::Scram(config) => Backend::Scram(Scram::new(config)?),
        };
        Ok(Self {
            id: provider.kind.id(),
            backend,
            hashing: hashing.clone(),
            counts: Default::default(),
            breaker: Breaker::default(),
        })
    }

    /// EMQX's id, such as `password_based:redis`.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// Whether it has failed so often that it is left alone.
    pub(super) fn is_down(&self) -> bool {
        self.breaker.is_down()
    }

    /// Its counters.
    pub fn figures(&self) -> Figures {
        let [success, failed, nomatch, errors] =
            [0, 1, 2, 3].map(|at: usize| self.counts[at].load(Ordering::Relaxed));
        Figures {
            success,
            failed,
            nomatch,
            errors,
        }
    }

    /// The table of users, if it is the broker's own.
    pub fn users(&self) -> Option<&BuiltIn> {
        match &self.backend {
            Backend::BuiltIn(users) => Some(users),
            _ => None,
        }
    }

    /// The table of SCRAM users, if it is one.
    pub fn scram_users(&self) -> Option<&Scram> {
        match &self.backend {
            Backend::Scram(users) => Some(users),
            _ => None,
        }
    }

    /// What it says of a client; a failure is counted, logged and says nothing.
    pub(super) async fn ask(&self, client: &AuthnRequest) -> Opinion {
        let is_scram = matches!(self.backend, Backend::Scram(_));
        if client.exchange.is_some() != is_scram {
            return Opinion::Ignore;
        }
        if self.breaker.is_paused() {
            self.count(3);
            return Opinion::Ignore;
        }
        match self.opinion(client).await {
            Ok(opinion) => {
                self.breaker.worked(self.id);
                match &opinion {
                    Opinion::Allow(_) => self.count(0),
                    Opinion::Deny(_) => self.count(1),
                    Opinion::Ignore => self.count(2),
                    Opinion::Busy => self.count(3),
                    Opinion::Continue(..) => {}
                }
                opinion
            }
            Err(what) => {
                self.count(3);
                self.breaker.failed(self.id, &what);
                Opinion::Ignore
            }
        }
    }

    async fn opinion(&self, client: &AuthnRequest) -> Result<Opinion, String> {
        match &self.backend {
            Backend::BuiltIn(users) => {
                let found = users.find(client);
                Ok(self.judge(users.hash(), found, client).await)
            }
            Backend::Jwt(jwt) => jwt.ask(client, &self.hashing).await,
            Backend::Http(http) => in_time(http.timeout(), http.ask(client)).await,
            Backend::KeyValue(redis) => {
                let found = in_time(redis.timeout(), redis.find(client)).await?;
                Ok(self.judge(redis.hash(), found, client).await)
            }
            Backend::MySql(sql) => {
                let found = in_time(sql.timeout(), sql.find(client)).await?;
                Ok(self.judge(sql.hash(), found, client).await)
            }
            Backend::Postgres(sql) => {
                let found = in_time(sql.timeout(), sql.find(client)).await?;
                Ok(self.judge(sql.hash(), found, client).await)
            }
            Backend::Documents(mongo) => {
                let found = in_time(mongo.timeout(), mongo.find(client)).await?;
                Ok(self.judge(mongo.hash(), found, client).await)
            }
            Backend::Directory(ldap) => in_time(ldap.timeout(), ldap.ask(client)).await,
            Backend::Scram(scram) => Ok(scram.ask(client)),
        }
    }

    /// Compares a client's password with the one that was found.
    async fn judge(
        &self,
        kind: &PasswordHash,
        found: Option<Found>,
        client: &AuthnRequest,
    ) -> Opinion {
        let (Some(found), Some(given)) = (found, client.password.clone()) else {
            return Opinion::Ignore;
        };
        let superuser = found.superuser;
        let good = if password::is_slow(kind) {
            let kind = kind.clone();
            let job = move || password::verify(&kind, given.bytes(), &found.stored);
            match self.hashing.run(job).await {
                Ok(good) => good,
                Err(_) => return Opinion::Busy,
            }
        } else {
            password::verify(kind, given.bytes(), &found.stored)
        };
        if good {
            Opinion::Allow(Box::new(Grant {
                superuser,
                ..Grant::default()
            }))
        } else {
            Opinion::Deny(ReasonCode::BadUserNameOrPassword)
        }
    }

    fn count(&self, which: usize) {
        if let Some(count) = self.counts.get(which) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(super) async fn in_time<T>(
    time: Time,
    answer: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    match tokio::time::timeout(time.0, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer in {:?}", time.0)),
    }
}
