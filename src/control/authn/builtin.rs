//! The broker's own users, by user name or client id.

use std::sync::{Arc, PoisonError, RwLock};

use crate::access::credential::{EntrySecret, User, Users, read_file};
use crate::access::password::{self, Stored};
use crate::config::{BootstrapType, BuiltInAuthn, PasswordHash, UserIdType};
use crate::control::authn::member::Found;
use crate::gate::authn::AuthnRequest;

/// Where users are kept beyond the process.
pub trait UserStore: Send + Sync {
    /// A user is new or has changed.
    fn save(&self, user_id: &str, user: &User);
    /// A user is gone.
    fn remove(&self, user_id: &str);
}

/// Why users cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserError {
    /// There is one of that id.
    Exists,
    /// There is none of that id.
    Unknown,
    /// The password has a form that the hash does not take.
    Password,
}

/// A table of users.
pub struct BuiltIn {
    hash: PasswordHash,
    by: UserIdType,
    users: RwLock<Users<User>>,
    store: RwLock<Option<Arc<dyn UserStore>>>,
}

impl BuiltIn {
    pub(super) fn new(config: &BuiltInAuthn) -> Result<Self, String> {
        let own = Self {
            hash: config.password_hash_algorithm.0.clone(),
            by: config.user_id_type,
            users: RwLock::default(),
            store: RwLock::default(),
        };
        if let Some(name) = &config.bootstrap_file {
            own.read(name, config.bootstrap_type)?;
        }
        Ok(own)
    }

    /// Takes the users of a bootstrap file in; those that are there already stay as they are.
    fn read(&self, name: &str, kind: BootstrapType) -> Result<(), String> {
        let text = std::fs::read_to_string(name)
            .map_err(|error| format!("the bootstrap file {name} cannot be read: {error}"))?;
        let entries = read_file(name, &text).map_err(|problem| format!("{name}:{problem}"))?;
        let count = entries.len();
        for entry in entries {
            let stored = match (entry.secret, kind) {
                (EntrySecret::Hash(stored), BootstrapType::Hash) => stored,
                (EntrySecret::Plain(password), BootstrapType::Plain) => {
                    self.stored(password.as_bytes()).map_err(|_| {
                        format!(
                            "{name}: the password of `{}` cannot be hashed",
                            entry.user_id
                        )
                    })?
                }
                (EntrySecret::Plain(_), BootstrapType::Hash) => {
                    return Err(format!(
                        "{name}: `{}` has a plain password; set bootstrap_type = \"plain\"",
                        entry.user_id
                    ));
                }
                (EntrySecret::Hash(_), BootstrapType::Plain) => {
                    return Err(format!(
                        "{name}: `{}` has a hash; set bootstrap_type = \"hash\"",
                        entry.user_id
                    ));
                }
            };
            let user = User {
                stored,
                superuser: entry.superuser,
            };
            let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
            users.add(&entry.user_id, user);
        }
        tracing::info!(file = name, count, "authentication: users were read");
        Ok(())
    }

    fn stored(&self, password: &[u8]) -> Result<Stored, UserError> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|_| UserError::Password)?;
        password::store(&self.hash, password, salt).map_err(|_| UserError::Password)
    }

    /// How passwords are stored.
    pub fn hash(&self) -> &PasswordHash {
        &self.hash
    }

    /// By what users are found.
    pub fn user_id_type(&self) -> UserIdType {
        self.by
    }

    /// The user that a client says it is.
    pub(super) fn find(&self, client: &AuthnRequest) -> Option<Found> {
        let id = match self.by {
            UserIdType::Username => client.username.as_deref()?,
            UserIdType::Clientid => client.client_id.as_str(),
        };
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        users.find(id).map(|user| Found {
            stored: user.stored.clone(),
            superuser: user.superuser,
        })
    }

    /// From now on changes go to `store` as well; `users` are those that it holds. They count, not what
    /// a bootstrap file says of them.
    pub fn keep_in(&self, store: Arc<dyn UserStore>, users: Vec<(String, User)>) {
        let mut table = self.users.write().unwrap_or_else(PoisonError::into_inner);
        for (id, user) in users {
            table.delete(&id);
            table.add(&id, user);
        }
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
    }

    /// At most `limit` users behind `after`, in the order of their ids: id and whether it is a
    /// superuser.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Vec<(String, bool)> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let page = users.list(after, limit).into_iter();
        page.map(|(id, user)| (id, user.superuser)).collect()
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        users.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a user. Computes a hash: not for a thread that others wait for.
    ///
    /// # Errors
    /// There is one of that id; the password cannot be stored.
    pub fn add(&self, user_id: &str, password: &[u8], superuser: bool) -> Result<(), UserError> {
        let user = User {
            stored: self.stored(password)?,
            superuser,
        };
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        if !users.add(user_id, user.clone()) {
            return Err(UserError::Exists);
        }
        drop(users);
        self.tell(|store| store.save(user_id, &user));
        Ok(())
    }

    /// Changes a user's password, or whether it is a superuser, or both.
    ///
    /// # Errors
    /// There is none of that id; the password cannot be stored.
    pub fn update(
        &self,
        user_id: &str,
        password: Option<&[u8]>,
        superuser: Option<bool>,
    ) -> Result<(), UserError> {
        let stored = password.map(|password| self.stored(password)).transpose()?;
        let mut changed = None;
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users.update(user_id, |user| {
            if let Some(stored) = stored {
                user.stored = stored;
            }
            user.superuser = superuser.unwrap_or(user.superuser);
            changed = Some(user.clone());
        });
        drop(users);
        let user = changed.ok_or(UserError::Unknown)?;
        self.tell(|store| store.save(user_id, &user));
        Ok(())
    }

    /// Deletes a user.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn delete(&self, user_id: &str) -> Result<(), UserError> {
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        if !users.delete(user_id) {
            return Err(UserError::Unknown);
        }
        drop(users);
        self.tell(|store| store.remove(user_id));
        Ok(())
    }

    fn tell(&self, what: impl FnOnce(&dyn UserStore)) {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*store {
            what(&**store);
        }
    }
}
