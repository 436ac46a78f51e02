//! SCRAM with the broker's own users: the method of enhanced authentication that is built in.

use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::access::credential::{EntrySecret, Users, read_file};
use crate::access::scram::{Credential, challenge, credential, finish, mac, read_first, user_of};
use crate::config::{ScramAuthn, ScramHash};
use crate::control::authn::builtin::{UserError, UserStore};
use crate::control::authn::member::Opinion;
use crate::gate::authn::{AuthnRequest, Exchange, Grant, Secret};
use crate::mqtt::reason::ReasonCode;

/// A table of users.
pub struct Scram {
    hash: ScramHash,
    iterations: u32,
    users: RwLock<Users<ScramUser>>,
    store: RwLock<Option<Arc<dyn UserStore<ScramUser>>>>,
    /// Makes the salts of users who are not there.
    seed: [u8; 32],
}

/// A user as SCRAM knows it.
#[derive(Clone)]
pub struct ScramUser {
    /// What is kept of the password.
    pub credential: Credential,
    /// No access rule holds for it.
    pub superuser: bool,
}

impl Scram {
    pub(super) fn new(config: &ScramAuthn) -> Result<Self, String> {
        if !(1..=10_000_000).contains(&config.iteration_count) {
            return Err("`iteration_count` is not from 1 to 10000000".to_owned());
        }
        let own = Self {
            hash: config.algorithm,
            iterations: config.iteration_count,
            users: RwLock::default(),
            store: RwLock::default(),
            seed: random()?,
        };
        if let Some(name) = &config.bootstrap_file {
            let text = std::fs::read_to_string(name)
                .map_err(|error| format!("the bootstrap file {name} cannot be read: {error}"))?;
            let entries = read_file(name, &text).map_err(|problem| format!("{name}:{problem}"))?;
            for entry in entries {
                let EntrySecret::Plain(password) = entry.secret else {
                    return Err(format!(
                        "{name}: `{}` has a hash, SCRAM needs `password`",
                        entry.user_id
                    ));
                };
                own.add(&entry.user_id, password.as_bytes(), entry.superuser)
                    .map_err(|_| format!("{name}: `{}` stands there twice", entry.user_id))?;
            }
        }
        Ok(own)
    }

    /// The name of the method.
    pub fn method(&self) -> &'static str {
        self.hash.method()
    }

    /// From now on changes go to `store` as well; `users` are those that it holds. They count, not what
    /// a bootstrap file says of them.
    pub fn keep_in(&self, store: Arc<dyn UserStore<ScramUser>>, users: Vec<(String, ScramUser)>) {
        let mut table = self.users.write().unwrap_or_else(PoisonError::into_inner);
        for (id, user) in users {
            table.delete(&id);
            table.add(&id, user);
        }
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
    }

    /// Whether a user is a superuser; nothing if there is none of that id.
    pub fn is_superuser(&self, user_id: &str) -> Option<bool> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        users.find(user_id).map(|user| user.superuser)
    }

    /// What comes before a change of the table, so that it is not lost.
    fn kept(
        &self,
        what: impl FnOnce(&dyn UserStore<ScramUser>) -> Result<(), String>,
    ) -> Result<(), UserError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        match store.clone() {
            Some(store) => what(&*store).map_err(UserError::Store),
            None => Ok(()),
        }
    }

    /// Adds a user. Computes for a while.
    ///
    /// # Errors
    /// There is one of that id; it cannot be kept.
    pub fn add(&self, user_id: &str, password: &[u8], superuser: bool) -> Result<(), UserError> {
        if self.is_superuser(user_id).is_some() {
            return Err(UserError::Exists);
        }
        let user = [(user_id.to_owned(), self.user(password, superuser)?)];
        self.kept(|store| store.save(&user))?;
        let [(_, user)] = user;
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users
            .add(user_id, user)
            .then_some(())
            .ok_or(UserError::Exists)
    }

    fn user(&self, password: &[u8], superuser: bool) -> Result<ScramUser, UserError> {
        let salt: [u8; 16] = random().map_err(|_| UserError::Password)?;
        Ok(ScramUser {
            credential: credential(self.hash, password, &salt, self.iterations),
            superuser,
        })
    }

    /// Gives a user another password, or makes it a superuser or none, or both.
    ///
    /// # Errors
    /// There is none of that id; it cannot be kept.
    pub fn update(
        &self,
        user_id: &str,
        password: Option<&[u8]>,
        superuser: Option<bool>,
    ) -> Result<(), UserError> {
        let found = {
            let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
            users.find(user_id).cloned()
        };
        let mut user = found.ok_or(UserError::Unknown)?;
        user.superuser = superuser.unwrap_or(user.superuser);
        if let Some(password) = password {
            user = self.user(password, user.superuser)?;
        }
        let user = [(user_id.to_owned(), user)];
        self.kept(|store| store.save(&user))?;
        let [(_, user)] = user;
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        let known = users.update(user_id, |own| *own = user);
        known.then_some(()).ok_or(UserError::Unknown)
    }

    /// Deletes a user.
    ///
    /// # Errors
    /// There is none of that id; it cannot be forgotten.
    pub fn delete(&self, user_id: &str) -> Result<(), UserError> {
        if self.is_superuser(user_id).is_none() {
            return Err(UserError::Unknown);
        }
        self.kept(|store| store.remove(user_id))?;
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users
            .delete(user_id)
            .then_some(())
            .ok_or(UserError::Unknown)
    }

    /// At most `limit` users behind `after`, in the order of their ids: id and whether it is a
    /// superuser.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Vec<(String, bool)> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let page = users.list(after, limit).into_iter();
        page.map(|(id, user)| (id, user.superuser)).collect()
    }

    pub(super) fn ask(&self, client: &AuthnRequest) -> Opinion {
        let Some(exchange) = client.exchange.as_deref() else {
            return Opinion::Ignore;
        };
        if *exchange.method != *self.method() {
            return Opinion::Ignore;
        }
        match &exchange.state {
            None => self.begin(client, exchange),
            Some(state) => self.end(exchange, state),
        }
    }

    fn begin(&self, client: &AuthnRequest, exchange: &Exchange) -> Opinion {
        let Ok(first) = read_first(&exchange.data) else {
            return Opinion::Deny(ReasonCode::NotAuthorized);
        };
        // Access rules go by the user name: it must be the one that is proved.
        let other = client
            .username
            .as_deref()
            .is_some_and(|u| u != first.username);
        let Ok(nonce) = random::<18>() else {
            return Opinion::Busy;
        };
        if other {
            return Opinion::Deny(ReasonCode::BadUserNameOrPassword);
        }
        let nonce = STANDARD.encode(nonce);
        let salt = mac(self.hash, &self.seed, first.username.as_bytes());
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let user = users.find(&first.username).map(|user| &user.credential);
        let of_nobody = salt.get(..16).unwrap_or_default();
        let asked = challenge(&first, user, &nonce, of_nobody);
        Opinion::Continue(
            asked.message.into_bytes(),
            Secret::new(asked.state.as_bytes()),
        )
    }

    fn end(&self, exchange: &Exchange, state: &Secret) -> Opinion {
        let refused = Opinion::Deny(ReasonCode::NotAuthorized);
        let Some(state) = state.text() else {
            return refused;
        };
        let Some(user_id) = user_of(state) else {
            return refused;
        };
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let user = users.find(user_id);
        let credential = user.map(|user| &user.credential);
        match finish(self.hash, state, &exchange.data, credential) {
            Ok(last) => Opinion::Allow(Box::new(Grant {
                superuser: user.is_some_and(|user| user.superuser),
                username: Some(user_id.into()),
                data: Some(last.into_bytes()),
                ..Grant::default()
            })),
            Err(_) => refused,
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("the system gives no random numbers: {error}"))?;
    Ok(bytes)
}
