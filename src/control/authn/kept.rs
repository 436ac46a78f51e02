//! Users of the broker's own tables over restarts: in `control.redb`, by chain, member and user id.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::access::credential::User;
use crate::access::password::Stored;
use crate::access::scram::Credential;
use crate::control::authn::builtin::UserStore;
use crate::control::authn::scram::ScramUser;
use crate::control::authn::{Authn, Member};
use crate::control::state::{Collection, KeptScramUser, KeptUser, State};

/// What stands between the parts of a record's name; neither chains nor members have it.
const BETWEEN: char = '/';

/// The records of one member's users.
struct Kept<R> {
    rows: Arc<Collection<R>>,
    prefix: String,
}

/// A user, and its record.
trait Recorded<R>: Sized {
    fn record(&self) -> R;
    fn of(record: &R) -> Self;
}

impl Recorded<KeptUser> for User {
    fn record(&self) -> KeptUser {
        KeptUser {
            hash: self.stored.hash.clone(),
            salt: self.stored.salt.clone(),
            superuser: self.superuser,
        }
    }

    fn of(record: &KeptUser) -> Self {
        Self {
            stored: Stored {
                hash: record.hash.clone(),
                salt: record.salt.clone(),
            },
            superuser: record.superuser,
        }
    }
}

impl Recorded<KeptScramUser> for ScramUser {
    fn record(&self) -> KeptScramUser {
        KeptScramUser {
            salt: self.credential.salt.clone(),
            iterations: self.credential.iterations,
            stored_key: self.credential.stored_key.clone(),
            server_key: self.credential.server_key.clone(),
            superuser: self.superuser,
        }
    }

    fn of(record: &KeptScramUser) -> Self {
        Self {
            credential: Credential {
                salt: record.salt.clone(),
                iterations: record.iterations,
                stored_key: record.stored_key.clone(),
                server_key: record.server_key.clone(),
            },
            superuser: record.superuser,
        }
    }
}

impl<R> Kept<R> {
    fn name(&self, user_id: &str) -> String {
        format!("{}{user_id}", self.prefix)
    }
}

impl<R, T> UserStore<T> for Kept<R>
where
    R: Clone + Serialize + DeserializeOwned + Send + Sync,
    T: Recorded<R>,
{
    fn save(&self, users: &[(String, T)]) -> Result<(), String> {
        let rows = users
            .iter()
            .map(|(id, user)| (self.name(id), user.record()));
        let kept = self.rows.put_all(rows.collect());
        kept.map_err(|error| error.to_string())
    }

    fn remove(&self, user_id: &str) -> Result<(), String> {
        let removed = self.rows.remove(&self.name(user_id));
        removed.map(drop).map_err(|error| error.to_string())
    }
}

/// What is kept of a member's users, and where changes go.
fn opened<R, T>(
    rows: &Arc<Collection<R>>,
    chain: &str,
    member: &Member,
) -> (Arc<dyn UserStore<T>>, Vec<(String, T)>)
where
    R: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    T: Recorded<R>,
{
    let prefix = format!("{chain}{BETWEEN}{}{BETWEEN}", member.id());
    let users = rows.read(|all| {
        let from = all.range(prefix.clone()..);
        let own = from.take_while(|(name, _)| name.starts_with(&prefix));
        own.map(|(name, record)| (name[prefix.len()..].to_owned(), T::of(record)))
            .collect()
    });
    let kept = Kept {
        rows: Arc::clone(rows),
        prefix,
    };
    (Arc::new(kept), users)
}

/// From now on users of the broker's own tables are kept; those that were are there again.
pub fn keep_users(authn: &Authn, state: &State) {
    for chain in authn.chains() {
        for member in chain.members() {
            if let Some(users) = member.users() {
                let (store, kept) = opened(&state.authn_users, chain.name(), member);
                users.keep_in(store, kept);
            }
            if let Some(users) = member.scram_users() {
                let (store, kept) = opened(&state.scram_users, chain.name(), member);
                users.keep_in(store, kept);
            }
        }
    }
}
