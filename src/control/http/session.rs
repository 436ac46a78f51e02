//! Who is logged in, and who has been wrong too often. Both lie in memory only: a restart logs out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::control::http::secret::{random_text, sha256_hex};
use tokio::time::Instant;

/// How long a login lasts.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// Logins at a time; beyond them the one that would end first ends.
const TOKENS_MAX: usize = 10_000;
/// Wrong logins in a row that lock a user and an address.
const FAILURES_MAX: u32 = 5;
/// How long the lock lasts, and how long wrong logins are remembered.
const LOCK: Duration = Duration::from_secs(300);
/// Users and addresses whose wrong logins are remembered; beyond them those that were wrong longest
/// ago are forgotten.
const SUSPECTS_MAX: usize = 10_000;

/// Someone whose logins were wrong.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Suspect {
    User(String),
    Address(IpAddr),
}

struct Failures {
    count: u32,
    last: Instant,
}

struct Login {
    user: String,
    ends: Instant,
}

/// Logins by the hash of their token, and the suspects.
#[derive(Default)]
pub struct Sessions {
    logins: Mutex<HashMap<String, Login>>,
    suspects: Mutex<HashMap<Suspect, Failures>>,
}

impl Sessions {
    /// Logs a user in; returns the token.
    pub fn open(&self, user: &str) -> std::io::Result<String> {
        let token = random_text(43)?;
        let now = Instant::now();
        let mut logins = lock(&self.logins);
        logins.retain(|_, login| login.ends > now);
        if logins.len() >= TOKENS_MAX {
            let first = logins.iter().min_by_key(|(_, login)| login.ends);
            let first = first.map(|(hash, _)| hash.clone());
            first.map(|hash| logins.remove(&hash));
        }
        let login = Login {
            user: user.to_owned(),
            ends: now + TOKEN_LIFE,
        };
        logins.insert(sha256_hex(token.as_bytes()), login);
        Ok(token)
    }

    /// The user of a token that is valid.
    pub fn user(&self, token: &str) -> Option<String> {
        let logins = lock(&self.logins);
        let login = logins.get(&sha256_hex(token.as_bytes()))?;
        (login.ends > Instant::now()).then(|| login.user.clone())
    }

    /// Ends a login.
    pub fn close(&self, token: &str) {
        lock(&self.logins).remove(&sha256_hex(token.as_bytes()));
    }

    /// Ends all logins of a user.
    pub fn close_all(&self, user: &str) {
        lock(&self.logins).retain(|_, login| login.user != user);
    }

    /// Whether this user, or this address, has to wait.
    pub fn is_locked(&self, user: &str, address: Option<IpAddr>) -> bool {
        let suspects = lock(&self.suspects);
        let now = Instant::now();
        of(user, address).any(|suspect| {
            suspects
                .get(&suspect)
                .is_some_and(|f| f.count >= FAILURES_MAX && f.last + LOCK > now)
        })
    }

    /// A login was wrong.
    pub fn failed(&self, user: &str, address: Option<IpAddr>) {
        let now = Instant::now();
        let mut suspects = lock(&self.suspects);
        suspects.retain(|_, failures| failures.last + LOCK > now);
        for suspect in of(user, address) {
            if suspects.len() >= SUSPECTS_MAX {
                let oldest = suspects.iter().min_by_key(|(_, failures)| failures.last);
                let oldest = oldest.map(|(suspect, _)| suspect.clone());
                oldest.map(|suspect| suspects.remove(&suspect));
            }
            let failures = suspects.entry(suspect).or_insert(Failures {
                count: 0,
                last: now,
            });
            failures.count += 1;
            failures.last = now;
        }
    }

    /// A login was right.
    pub fn succeeded(&self, user: &str, address: Option<IpAddr>) {
        let mut suspects = lock(&self.suspects);
        for suspect in of(user, address) {
            suspects.remove(&suspect);
        }
    }
}

fn of(user: &str, address: Option<IpAddr>) -> impl Iterator<Item = Suspect> {
    let address = address.map(|ip| Suspect::Address(ip.to_canonical()));
    std::iter::once(Suspect::User(user.to_owned())).chain(address)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_wrong_logins_lock_user_and_address_for_five_minutes() {
        let sessions = Sessions::default();
        let here = Some("127.0.0.1".parse().unwrap());
        let there = Some("127.0.0.2".parse().unwrap());
        for _ in 0..FAILURES_MAX - 1 {
            sessions.failed("ann", here);
        }
        assert!(!sessions.is_locked("ann", here));
        sessions.failed("ann", here);
        assert!(sessions.is_locked("ann", here) && sessions.is_locked("ann", there));
        assert!(sessions.is_locked("bob", here) && !sessions.is_locked("bob", there));
        tokio::time::advance(LOCK).await;
        assert!(!sessions.is_locked("ann", here) && !sessions.is_locked("bob", here));
        sessions.failed("ann", here);
        sessions.succeeded("ann", here);
        assert!(lock(&sessions.suspects).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_ends_by_itself_or_by_wish() {
        let sessions = Sessions::default();
        let (first, second) = (sessions.open("ann").unwrap(), sessions.open("ann").unwrap());
        assert_eq!(sessions.user(&first).as_deref(), Some("ann"));
        assert_eq!(sessions.user("guess"), None);
        sessions.close(&first);
        assert_eq!(sessions.user(&first), None);
        tokio::time::advance(TOKEN_LIFE).await;
        assert_eq!(sessions.user(&second), None);
        let third = sessions.open("ann").unwrap();
        sessions.close_all("ann");
        assert_eq!(sessions.user(&third), None);
    }
}
