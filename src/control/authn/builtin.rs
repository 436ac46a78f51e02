//! The broker's own users, by user name or client id.

use std::sync::{Arc, PoisonError, RwLock};

use crate::access::credential::{Entry, EntrySecret, User, Users, read_file};
use crate::access::password::{self, Stored};
use crate::config::{BootstrapType, BuiltInAuthn, PasswordHash, UserIdType};
use crate::control::authn::member::Found;
use crate::gate::authn::AuthnRequest;

/// Where users are kept beyond the process. Each call waits for the disk.
pub trait UserStore<T>: Send + Sync {
    /// Users are new or have changed.
    ///
    /// # Errors
    /// Why nothing is kept.
    fn save(&self, users: &[(String, T)]) -> Result<(), String>;

    /// A user is gone.
    ///
    /// # Errors
    /// Why it is still kept.
    fn remove(&self, user_id: &str) -> Result<(), String>;
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
    /// It cannot be kept over a restart; nothing has changed.
    Store(String),
}

/// What became of users that were to be taken in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// All of them.
    pub total: usize,
    /// New ones.
    pub added: usize,
    /// Those that were there and are others now.
    pub replaced: usize,
    /// Those whose password cannot be stored.
    pub failed: usize,
}

/// A table of users.
pub struct BuiltIn {
    hash: PasswordHash,
    by: UserIdType,
    users: RwLock<Users<User>>,
    store: RwLock<Option<Arc<dyn UserStore<User>>>>,
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
            let user_id = &entry.user_id;
            let user = match (&entry.secret, kind) {
                (EntrySecret::Plain(_), BootstrapType::Hash) => {
                    return Err(format!(
                        "{name}: `{user_id}` has a plain password; set bootstrap_type = \"plain\""
                    ));
                }
                (EntrySecret::Hash(_), BootstrapType::Plain) => {
                    return Err(format!(
                        "{name}: `{user_id}` has a hash; set bootstrap_type = \"hash\""
                    ));
                }
                _ => self
                    .user_of(&entry)
                    .map_err(|_| format!("{name}: the password of `{user_id}` cannot be hashed"))?,
            };
            let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
            users.add(&entry.user_id, user);
        }
        tracing::info!(file = name, count, "authentication: users were read");
        Ok(())
    }

    fn user_of(&self, entry: &Entry) -> Result<User, UserError> {
        let stored = match &entry.secret {
            EntrySecret::Hash(stored) => stored.clone(),
            EntrySecret::Plain(password) => self.stored(password.as_bytes())?,
        };
        Ok(User {
            stored,
            superuser: entry.superuser,
        })
    }

    /// Takes users in, in place of those of the same ids. Computes hashes: not for a thread that others
    /// wait for.
    ///
    /// # Errors
    /// They cannot be kept; nothing has changed.
    pub fn take_in(&self, entries: &[Entry]) -> Result<Taken, UserError> {
        let mut taken = Taken {
            total: entries.len(),
            ..Taken::default()
        };
        let mut users = Vec::new();
        for entry in entries {
            match self.user_of(entry) {
                Ok(user) => users.push((entry.user_id.clone(), user)),
                Err(_) => taken.failed += 1,
            }
        }
        self.kept(|store| store.save(&users))?;
        let mut table = self.users.write().unwrap_or_else(PoisonError::into_inner);
        for (id, user) in users {
            match table.delete(&id) {
                true => taken.replaced += 1,
                false => taken.added += 1,
            }
            table.add(&id, user);
        }
        Ok(taken)
    }

    /// Whether a user is a superuser; nothing if there is none of that id.
    pub fn is_superuser(&self, user_id: &str) -> Option<bool> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        users.find(user_id).map(|user| user.superuser)
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
    pub fn keep_in(&self, store: Arc<dyn UserStore<User>>, users: Vec<(String, User)>) {
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
        if self.is_superuser(user_id).is_some() {
            return Err(UserError::Exists);
        }
        let user = [(user_id.to_owned(), user)];
        self.kept(|store| store.save(&user))?;
        let [(_, user)] = user;
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users
            .add(user_id, user)
            .then_some(())
            .ok_or(UserError::Exists)
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
        let found = {
            let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
            users.find(user_id).cloned()
        };
        let mut user = found.ok_or(UserError::Unknown)?;
        if let Some(stored) = stored {
            user.stored = stored;
        }
        user.superuser = superuser.unwrap_or(user.superuser);
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
    /// There is none of that id.
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

    /// What comes before a change of the table, so that it is not lost.
    fn kept(
        &self,
        what: impl FnOnce(&dyn UserStore<User>) -> Result<(), String>,
    ) -> Result<(), UserError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        match store.clone() {
            Some(store) => what(&*store).map_err(UserError::Store),
            None => Ok(()),
        }
    }
}
